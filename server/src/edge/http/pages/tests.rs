use axum::body::Body;
use hickory_proto::rr::Name;
use http_body_util::BodyExt;
use tower_service::Service;

use super::*;

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn about() -> About {
    let config = Config::default();
    About::new(&config, Arc::new(OwnZone::new()), None, Vec::new())
}

async fn get(about: &About, is_encrypted: bool, host: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    get_with(about, is_encrypted, host, path, "").await
}

async fn get_with(
    about: &About,
    is_encrypted: bool,
    host: &str,
    path: &str,
    user_agent: &str,
) -> (StatusCode, HeaderMap, String) {
    let visitor =
        Visitor { address: [127, 0, 0, 1].into(), is_encrypted, is_tls: is_encrypted, may_be_a_proxy: false };
    let mut request = axum::http::Request::builder()
        .uri(path)
        .header("host", host)
        .header("user-agent", user_agent)
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(visitor);
    let (head, body) = pages(about.clone(), None).call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_page_shows_the_address_by_which_it_was_reached() {
    let about = about();
    let (status, headers, page) = get(&about, true, "dns.example:8443", "/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(page.contains(">https://dns.example:8443/dns-query</code>"), "{page}");
    assert!(page.contains(&format!("data-zone=\"{}.key\"", about.own_zone.name())), "{page}");
    assert!(!page.contains("{{") && !page.contains("plain HTTP") && !page.contains("ca.pem"), "{page}");
    let (_, _, page) = get(&about, false, "192.0.2.1", "/").await;
    assert!(page.contains("curl 'http://192.0.2.1/resolve?") && page.contains("plain HTTP"), "{page}");
    assert!(page.contains("dig @192.0.2.1 +https +http-plain "), "{page}");
    let (_, _, page) = get(&about, false, "192.0.2.1:8080", "/").await;
    assert!(page.contains("dig @192.0.2.1 -p 8080 +https +http-plain "), "{page}");
}

#[tokio::test]
async fn what_is_served_decides_what_is_explained() {
    let mut about = about();
    let (_, _, page) = get(&about, true, "dns.example", "/").await;
    assert!(!page.contains("systemd-resolved"), "it takes DNS over TLS alone: {page}");
    assert_eq!(get(&about, true, "dns.example", "/ca.pem").await.0, StatusCode::NOT_FOUND);
    about.tls_port = Some(853);
    about.authorities = vec![AUTHORITY.into()];
    let (_, _, page) = get(&about, true, "dns.example:8443", "/").await;
    assert!(page.contains("\nDNS=ADDRESS:853#dns.example\n"), "{page}");
    // An authority of our own is nobody's whom Android believes.
    assert!(page.contains("Android cannot use this server yet") && !page.contains("enter <code>"), "{page}");
    assert!(page.contains("href=\"/ca.pem\""), "{page}");
    about.address = Some("192.0.2.99".parse().unwrap());
    let (_, _, page) = get(&about, true, "dns.example", "/").await;
    assert!(page.contains("DNS=192.0.2.99:853#dns.example\n"), "the host is no address: {page}");
    let (_, _, page) = get(&about, true, "[2001:db8::53]:8443", "/").await;
    assert!(page.contains("DNS=[2001:db8::53]:853#2001:db8::53\n"), "{page}");
    assert!(page.contains("dig @2001:db8::53 -p 853 +tls +tls-ca=ca.pem "), "{page}");
    assert!(
        page.contains("server=2001:db8::53 dohtemplate=https://[2001:db8::53]:8443/dns-query "),
        "{page}"
    );
    let (_, headers, pem) = get(&about, true, "dns.example", "/ca.pem").await;
    assert_eq!(
        (&headers["content-type"], &pem[..5]),
        (&HeaderValue::from_static("application/x-pem-file"), "-----")
    );
}

/// An address in the browser is the address of this server, whatever the configuration names.
#[tokio::test]
async fn commands_have_the_address_by_which_the_page_was_opened() {
    let mut about = about();
    about.tls_port = Some(8853);
    about.address = Some("192.0.2.99".parse().unwrap());
    let (_, _, page) = get(&about, true, "192.168.1.2:8444", "/").await;
    assert!(page.contains("server=192.168.1.2 dohtemplate=https://192.168.1.2:8444/dns-query"), "{page}");
    assert!(page.contains("DNS=192.168.1.2:8853#192.168.1.2") && !page.contains("ADDRESS"), "{page}");
    assert!(!page.contains("192.0.2.99"), "{page}");
}

#[tokio::test]
async fn over_plain_http_nothing_is_advised_that_needs_https() {
    let mut about = about();
    about.authorities = vec![AUTHORITY.into()];
    let (_, _, page) = get(&about, false, "192.0.2.1:5380", "/").await;
    for part in ["pkdns.mobileconfig", "netsh", "--doh-url", "Max Protection", "id=\"doh\""] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    assert_eq!(get(&about, false, "192.0.2.1", "/pkdns.mobileconfig").await.0, StatusCode::NOT_FOUND);
    about.https_port = Some(8443);
    let (_, _, page) = get(&about, false, "192.0.2.1:5380", "/").await;
    assert!(page.contains("<a href=\"https://192.0.2.1:8443/\">Open this page over HTTPS</a>"), "{page}");
}

#[tokio::test]
async fn what_the_visitor_sits_at_comes_first_and_is_open() {
    let mut about = about();
    about.tls_port = Some(853);
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/18.6 Mobile Safari/604.1";
    for (user_agent, first) in [(firefox, "Firefox"), (iphone, "iPhone, iPad"), ("", "Firefox")] {
        let (_, _, page) = get_with(&about, true, "dns.example", "/", user_agent).await;
        let steps: Vec<&str> = page.split("<details class=\"step\"").skip(1).collect();
        let title = steps[0].split_once("<summary>").unwrap().1;
        assert!(title.starts_with(first), "{user_agent}: {title}");
        assert_eq!(steps[0].starts_with(" open>"), !user_agent.is_empty(), "{user_agent}");
        assert!(steps[1..].iter().all(|step| step.starts_with('>')), "one is open");
        // All are there for those whose browser says something else.
        assert_eq!(steps.len(), 8, "{user_agent}");
    }
}

#[tokio::test]
async fn each_command_and_address_can_be_copied_by_itself() {
    let (_, _, page) = get(&about(), true, "dns.example", "/").await;
    assert_eq!(page.matches("<pre").count(), page.matches("<div class=\"copyable\"><pre").count());
    assert!(page.contains("<div class=\"copyable\"><code class=\"value\" id=\"doh\">"));
}

#[tokio::test]
async fn the_profile_has_the_authorities_that_its_resolver_needs() {
    let mut about = about();
    about.authorities = vec![AUTHORITY.into(), AUTHORITY.replace("AAAA", "BBBB").as_str().into()];
    let (_, headers, profile) = get(&about, true, "dns.example", "/pkdns.mobileconfig").await;
    assert_eq!(headers["content-type"], "application/x-apple-aspen-config");
    assert!(profile.contains("<data>AAAA</data>") && profile.contains("<data>BBBB</data>"), "{profile}");
    let (_, _, page) = get(&about, true, "dns.example", "/").await;
    assert!(page.contains("Certificate Trust Settings"), "{page}");
    assert!(!page.contains("data-bridge") && !page.contains("/bridge-ca.pem"), "{page}");
    assert_eq!(get(&about, true, "dns.example", "/bridge-ca.pem").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn where_there_is_a_bridge_its_authority_is_in_the_profile_and_the_page_tries_it() {
    let mut about = about();
    about.authorities = vec![AUTHORITY.into()];
    about.bridge_authority = Some(AUTHORITY.replace("AAAA", "BBBB").as_str().into());
    about.bridge_port = Some(8443);
    let (_, _, profile) = get(&about, true, "dns.example", "/pkdns.mobileconfig").await;
    assert!(profile.contains("<data>AAAA</data>") && profile.contains("<data>BBBB</data>"), "{profile}");
    let (_, _, pem) = get(&about, true, "dns.example", "/bridge-ca.pem").await;
    assert!(pem.contains("BBBB"), "{pem}");
    let (_, _, page) = get(&about, true, "dns.example", "/").await;
    assert!(page.contains("data-bridge=\"8443\"") && page.contains("/bridge-ca.pem"), "{page}");
}

#[tokio::test]
async fn where_the_bridge_alone_has_an_authority_each_step_imports_that_one() {
    let mut about = about();
    about.bridge_authority = Some(AUTHORITY.into());
    let linux = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
    let (_, _, page) = get_with(&about, true, "dns.example", "/", linux).await;
    for part in [
        "-n pkdns-bridge -i bridge-ca.pem</pre>",
        "certutil -user -addstore Root bridge-ca.pem</pre>",
        "switch on the authority of its bridge",
        "holds the address above and the certificate of the authority of its bridge",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Firefox, Chrome, Edge, Windows, Android.
    assert_eq!(
        page.matches("<li>For HTTPS under keys, <a href=\"/bridge-ca.pem\" download>").count(),
        5,
        "{page}"
    );
    for part in ["\"/ca.pem\"", "--cacert", "nothing else. It is not signed", "signs its own certificate"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    about.authorities = vec![AUTHORITY.into()];
    let (_, _, page) = get_with(&about, true, "dns.example", "/", linux).await;
    for part in [
        "addstore Root ca.pem\ncertutil -user -addstore Root bridge-ca.pem</pre>",
        "switch on the authority of this server and that of its bridge",
        "--cacert ca.pem ",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn over_plain_http_the_bridge_is_told_of_and_its_authority_not_handed_out_by_the_page() {
    let mut about = about();
    about.bridge_authority = Some(AUTHORITY.into());
    (about.bridge_port, about.https_port) = (Some(443), Some(8443));
    let (_, _, page) = get(&about, false, "192.0.2.1:5380", "/").await;
    assert!(page.contains("<h2>HTTPS under keys</h2>"), "{page}");
    for part in ["bridge-ca.pem", "id=\"padlock\"", "data-bridge"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    let link = "<a href=\"https://192.0.2.1:8443/\">Open this page over HTTPS</a> to import it.";
    assert!(page.contains(link), "{page}");
}

/// An authority that devices hold to its constraints is not said to be able to do more than they permit.
#[tokio::test]
async fn the_warning_says_what_the_authority_may_sign_for() {
    let mut about = about();
    let warning = async |about: &About| {
        let (_, _, page) = get(about, true, "dns.example", "/").await;
        page.split_once("This server signs its own certificate")
            .unwrap()
            .1
            .split_once("</p>")
            .unwrap()
            .0
            .to_owned()
    };
    let directory = tempfile::tempdir().unwrap();
    let names = ["dns.example".to_owned()];
    let own = crate::edge::certificates::BridgeAuthority::open(
        directory.path(),
        &names,
        std::time::SystemTime::now(),
    );
    about.authorities = vec![own.unwrap().certificate().clone()];
    let text = warning(&about).await;
    assert!(
        text.contains("may sign for names under .dns.example only") && !text.contains("any site"),
        "{text}"
    );
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    about.authorities = vec![pem.as_str().into()];
    assert!(warning(&about).await.contains("could vouch for any site"));
}

#[tokio::test]
async fn a_host_that_is_none_does_not_get_into_a_page() {
    for host in ["\"><script>", "a b", "", "&amp;", &"a".repeat(300)] {
        for path in ["/", "/pkdns.mobileconfig"] {
            let (_, _, page) = get(&about(), true, host, path).await;
            assert!(page.contains("https://localhost/dns-query"), "{host}: {page}");
        }
    }
}

#[tokio::test]
async fn nothing_comes_from_elsewhere_and_all_of_it_is_small() {
    let mut size = 0;
    for path in ["/", "/pkdns.css", "/pkdns.js", "/favicon.svg", "/nothing"] {
        let (_, headers, page) = get(&about(), true, "dns.example", path).await;
        assert_eq!(headers["content-security-policy"], CONTENT_SECURITY_POLICY, "{path}");
        assert_eq!(
            (&headers["cache-control"], &headers["x-content-type-options"]),
            (&"no-store".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        for attribute in
            ["src=\"", "<link rel=\"stylesheet\" href=\"http", "url(", "import ", "style=\"", " onclick="]
        {
            let found = page.replace("<script src=\"/pkdns.js\"", "").contains(attribute);
            assert!(!found, "{attribute} in {path}");
        }
        size += page.len();
    }
    assert!(size < 60_000, "{size}");
}

#[tokio::test]
async fn browsers_find_an_icon_and_robots_find_their_rules() {
    for path in ["/favicon.ico", "/favicon.svg"] {
        let (status, headers, icon) = get(&about(), true, "dns.example", path).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"image/svg+xml".parse().unwrap()));
        assert!(icon.starts_with("<svg xmlns="), "{icon}");
    }
    let (status, _, robots) = get(&about(), true, "dns.example", "/robots.txt").await;
    assert_eq!((status, robots.lines().last()), (StatusCode::OK, Some("Disallow: /")));
}

#[tokio::test]
async fn the_check_tells_once_whether_the_name_was_asked_for() {
    let about = about();
    let ask = async |token: &str| get(&about, true, "dns.example", &format!("/check/{token}")).await.2;
    let token = "0123456789abcdef01234567";
    assert_eq!(ask(token).await, "{\"asked\":false}\n");
    let apex = Name::from_ascii(about.own_zone.name() + ".").unwrap();
    about.own_zone.answer(&Name::from_ascii(format!("{token}.{apex}")).unwrap(), &apex);
    assert_eq!(ask(&token.to_uppercase()).await, "{\"asked\":true}\n");
    assert_eq!(ask(token).await, "{\"asked\":false}\n");
}
