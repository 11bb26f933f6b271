//! docs/origins.md, followed as it stands, on a machine of its own with a signed root: an operator delegates a zone to pkdns,
//! and a site owner publishes a key and opens its page over HTTPS in a browser.
//!
//! Needs what `server/tests/lab` does, and for the padlock Caddy, pebble, curl, Chromium and `certutil`. Without them the tests say so
//! and pass, unless `CI=true`; without the right to make network namespaces they always do.

mod scene;

use std::fs;

use pkdns_testing::{lab::internet, namespace::on_a_machine_of_its_own, pebble::Pebble, programs};
use scene::Scene;

/// What the page of the document says.
const PAGE: &str = "served by a key";

#[test]
fn an_operator_delegates_a_zone_and_the_world_finds_it() {
    on_a_machine_of_its_own("an_operator_delegates_a_zone_and_the_world_finds_it", async {
        let Some(scene) = Scene::start().await else { return };
        scene.run_and_compare("ask the server");
        for resolver in 0..scene.resolvers() {
            scene.resolve_at(resolver);
            scene.run_and_compare("ask the world");
        }
        let said = scene.run("all of it at once");
        assert!(said.contains("ok") && !said.contains("warning"), "{said}");
    });
}

#[test]
fn an_operator_has_a_relay_and_dns_over_https_beside_the_origin() {
    let config = scene::with_relay();
    assert!(config.relay.enabled && config.doh.enabled && config.acme.enabled);
    assert_eq!((config.origin.len(), config.certificate.names.len()), (1, 1));
}

#[test]
fn a_site_owner_publishes_and_the_page_opens_with_a_padlock() {
    on_a_machine_of_its_own("a_site_owner_publishes_and_the_page_opens_with_a_padlock", async {
        let find = |program, package| programs::find(program, |_| true, package);
        let (Some(_), Some(chromium)) = (find("caddy", "caddy"), find("chromium", "chromium")) else {
            return;
        };
        let Some(mut scene) = Scene::start().await else { return };
        let Some(authority) = Pebble::start_as_public(scene.resolver()) else { return };
        // The machine of the site.
        internet::add_address("203.0.113.10".parse().unwrap());
        scene.run("a key and its zone");
        scene.run_and_compare("the world finds it");
        scene.begin_with_caddy("a page, and Caddy", &authority);
        let Some(root) = authority.root() else { return };
        fs::write(scene.path().join("root.pem"), root).unwrap();
        let url = format!("https://{}.{}/", scene.key(), internet::ORIGIN);
        scene.wait_for_page(&url);
        assert!(scene.open(&chromium, &url).contains(PAGE), "{}", scene.shells.log());
    });
}

#[test]
fn a_site_owner_gets_a_certificate_in_each_way_and_nginx_shows_it() {
    on_a_machine_of_its_own("a_site_owner_gets_a_certificate_in_each_way_and_nginx_shows_it", async {
        let Some(_) = programs::find("nginx", |_| true, "nginx-light") else { return };
        let Some(mut scene) = Scene::start().await else { return };
        let Some(authority) = Pebble::start_as_public(scene.resolver()) else { return };
        internet::add_address("203.0.113.10".parse().unwrap());
        scene.run("a key and its zone");
        fs::create_dir(scene.path().join("html")).unwrap();
        fs::write(scene.path().join("html/index.html"), PAGE).unwrap();
        let Some(root) = authority.root() else { return };
        fs::write(scene.path().join("root.pem"), root).unwrap();
        let name = format!("{}.{}", scene.key(), internet::ORIGIN);

        scene.certify("a certificate by port 443", &authority);
        scene.begin_nginx();
        scene.wait_for_page(&format!("http://{name}/"));
        scene.certify("a certificate by a file on port 80", &authority);
        scene.certify("a certificate by the packet", &authority);
        scene.reload_nginx();
        for host in [format!("www.{name}"), name] {
            scene.wait_for_page(&format!("https://{host}/"));
        }
    });
}
