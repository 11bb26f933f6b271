//! docs/https.md, followed as it stands, on a machine of its own: a site owner serves a site with its key, an operator switches the bridge
//! on, and Chromium and Firefox open the site with a padlock.
//!
//! Needs Chromium, Firefox, `certutil`, and Python with aiohttp. Without them the tests say so and pass, unless `CI=true`; without
//! the right to make network namespaces they always do.

mod browser;
mod homeserver;
mod scene;
mod site;

use browser::{Browser, Kind, Way};
use pkdns_testing::namespace::on_a_machine_of_its_own;
use scene::{IPV6, Scene};

/// How much the page moves in each direction.
const TEN_MEGABYTES: u64 = 10 * 1024 * 1024;

/// Opens the site by both of its names, and looks at what its page could do there.
async fn opens_with_a_padlock(kind: Kind, way: Way) {
    let Some(browser) = Browser::find(kind) else { return };
    let Some(mut scene) = Scene::start().await else { return };
    scene.follow_the_site_owner();
    scene.follow_the_operator(way);
    scene.wait_until_known(&format!("{}.key", scene.key()));
    let profile = browser.profile(&scene, way);
    scene.follow_the_visitor(way);
    for host in [format!("{}.key", scene.key()), format!("www.{}.key", scene.key())] {
        let open = browser.open(&scene, &profile, &format!("https://{host}/"));
        let report = scene.report(&host);
        drop(open);
        let said = &report["report"];
        assert_eq!(said["origin"], format!("https://{host}"), "{report}");
        assert_eq!((&said["secure"], &said["worker"]), (&true.into(), &true.into()), "{report}");
        assert_eq!(said["protocol"], "h2", "{report}");
        assert_eq!(said["echo"], "a word", "{report}");
        assert_eq!(
            (said["down"].as_u64(), said["up"].as_u64()),
            (Some(TEN_MEGABYTES), Some(TEN_MEGABYTES)),
            "{report}"
        );
        assert_eq!(report["X-Forwarded-Proto"], "https", "{report}");
    }
}

#[test]
fn chromium_shows_a_padlock_through_dns_over_https() {
    let name = "chromium_shows_a_padlock_through_dns_over_https";
    on_a_machine_of_its_own(name, opens_with_a_padlock(Kind::Chromium, Way::DnsOverHttps));
}

#[test]
fn chromium_shows_a_padlock_through_plain_dns() {
    let name = "chromium_shows_a_padlock_through_plain_dns";
    on_a_machine_of_its_own(name, opens_with_a_padlock(Kind::Chromium, Way::PlainDns));
}

#[test]
fn firefox_shows_a_padlock_through_dns_over_https() {
    let name = "firefox_shows_a_padlock_through_dns_over_https";
    on_a_machine_of_its_own(name, opens_with_a_padlock(Kind::Firefox, Way::DnsOverHttps));
}

#[test]
fn firefox_shows_a_padlock_through_plain_dns() {
    let name = "firefox_shows_a_padlock_through_plain_dns";
    on_a_machine_of_its_own(name, opens_with_a_padlock(Kind::Firefox, Way::PlainDns));
}

/// The bridge has an IPv6 address and no other, and browsers come to that.
#[test]
fn chromium_opens_a_site_through_a_bridge_that_has_ipv6_alone() {
    let name = "chromium_opens_a_site_through_a_bridge_that_has_ipv6_alone";
    on_a_machine_of_its_own(name, async {
        let Some(browser) = Browser::find(Kind::Chromium) else { return };
        let Some(mut scene) = Scene::start().await else { return };
        scene.follow_the_site_owner();
        scene.follow_the_operator_over_ipv6();
        let host = format!("{}.key", scene.key());
        let ask = format!("getent ahostsv6 {host} | grep -F {IPV6}");
        scene.shells.wait_until("the resolver answers", |shells| shells.succeeds(&ask));
        assert!(!scene.shells.succeeds(&format!("getent ahostsv4 {host}")), "it has an IPv4 address as well");
        let profile = browser.profile(&scene, Way::PlainDns);
        scene.follow_the_visitor(Way::PlainDns);
        let shown = browser.look(&scene, &profile, &format!("https://{host}/"));
        assert!(shown.contains("served by a key"), "{shown}");
        assert_eq!(scene.site().pages(), 1);
    });
}

/// Whoever has taken the site's address, but not its key.
async fn is_warned(kind: Kind) {
    let Some(browser) = Browser::find(kind) else { return };
    let Some(mut scene) = Scene::start().await else { return };
    scene.follow_the_site_owner();
    scene.replace_the_key_of_the_site();
    scene.follow_the_operator(Way::PlainDns);
    scene.wait_until_known(&format!("{}.key", scene.key()));
    let profile = browser.profile(&scene, Way::PlainDns);
    scene.follow_the_visitor(Way::PlainDns);
    let url = format!("https://{}.key/", scene.key());
    let shown = browser.look(&scene, &profile, &url);
    // All of this is one machine, of which nobody is told more.
    assert!(shown.contains("could not be verified"), "{shown}");
    assert_eq!(scene.site().pages(), 0, "the request reached a site that is not the key's");
}

#[test]
fn chromium_shows_what_is_wrong_where_a_site_has_another_key() {
    let name = "chromium_shows_what_is_wrong_where_a_site_has_another_key";
    on_a_machine_of_its_own(name, is_warned(Kind::Chromium));
}

/// The authority signs for `example.com`, as whoever has stolen it would.
async fn refuses_example_com(kind: Kind) {
    let Some(browser) = Browser::find(kind) else { return };
    let Some(mut scene) = Scene::start().await else { return };
    scene.follow_the_site_owner();
    scene.follow_the_operator(Way::PlainDns);
    scene.wait_until_known(&format!("{}.key", scene.key()));
    let profile = browser.profile(&scene, Way::PlainDns);
    scene.follow_the_visitor(Way::PlainDns);
    let thief = scene.serve_example_com();
    let open = browser.open(&scene, &profile, "https://example.com/");
    let outcome = thief.outcome();
    drop(open);
    assert!(
        outcome.contains("ALERT"),
        "{kind:?} believes an authority for .key about example.com: {outcome}"
    );
}

#[test]
fn chromium_does_not_believe_the_authority_about_other_names() {
    let name = "chromium_does_not_believe_the_authority_about_other_names";
    on_a_machine_of_its_own(name, refuses_example_com(Kind::Chromium));
}

#[test]
fn firefox_does_not_believe_the_authority_about_other_names() {
    let name = "firefox_does_not_believe_the_authority_about_other_names";
    on_a_machine_of_its_own(name, refuses_example_com(Kind::Firefox));
}

/// It has no certificate at all, and no idea of the bridge.
#[test]
fn chromium_opens_a_pubky_homeserver_under_its_key() {
    let name = "chromium_opens_a_pubky_homeserver_under_its_key";
    on_a_machine_of_its_own(name, async {
        let Some(browser) = Browser::find(Kind::Chromium) else { return };
        let Some(mut scene) = Scene::start().await else { return };
        let Some(key) = homeserver::start(&mut scene) else { return };
        scene.follow_the_operator(Way::PlainDns);
        scene.wait_until_known(&format!("{key}.key"));
        let profile = browser.profile(&scene, Way::PlainDns);
        scene.follow_the_visitor(Way::PlainDns);
        let shown = browser.look(&scene, &profile, &format!("https://{key}.key/"));
        assert!(shown.contains(homeserver::PAGE), "{shown}");
    });
}
