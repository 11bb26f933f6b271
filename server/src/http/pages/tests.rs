use axum::body::Body;
use hickory_proto::rr::Name;
use http_body_util::BodyExt;
use tower_service::Service;

use super::*;

fn about() -> About {
    let config = Config::default();
    About::new(&config, Arc::new(OwnZone::new()), None, None)
}

async fn get(about: &About, is_encrypted: bool, host: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let visitor = Visitor { address: [127, 0, 0, 1].into(), is_encrypted, is_tls: is_encrypted };
    let mut request =
        axum::http::Request::builder().uri(path).header("host", host).body(Body::empty()).unwrap();
    request.extensions_mut().insert(visitor);
    let (head, body) = pages(about.clone()).call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_page_shows_the_address_by_which_it_was_reached() {
    let about = about();
    let (status, headers, page) = get(&about, true, "dns.example:8443", "/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(page.contains("value=\"https://dns.example:8443/dns-query\""), "{page}");
    assert!(page.contains(&format!("data-zone=\"{}.key\"", about.own_zone.name())), "{page}");
    assert!(!page.contains("{{") && !page.contains("plain HTTP") && !page.contains("ca.pem"), "{page}");
    let (_, _, page) = get(&about, false, "192.0.2.1", "/").await;
    assert!(page.contains("value=\"http://192.0.2.1/dns-query\"") && page.contains("plain HTTP"), "{page}");
    assert!(page.contains("dig @192.0.2.1 +https +http-plain "), "{page}");
    let (_, _, page) = get(&about, false, "192.0.2.1:8080", "/").await;
    assert!(page.contains("dig @192.0.2.1 -p 8080 +https +http-plain "), "{page}");
}

#[tokio::test]
async fn what_is_served_decides_what_is_explained() {
    let mut about = about();
    let (_, _, page) = get(&about, true, "dns.example", "/").await;
    assert!(page.contains("which this server does not serve"), "{page}");
    assert_eq!(get(&about, true, "dns.example", "/ca.pem").await.0, StatusCode::NOT_FOUND);
    about.tls_port = Some(853);
    about.authority = Some("-----BEGIN CERTIFICATE-----\n".into());
    let (_, _, page) = get(&about, true, "dns.example:8443", "/").await;
    assert!(page.contains(":853#dns.example\n"), "{page}");
    // An authority of our own is nobody's whom Android believes.
    assert!(page.contains("Android cannot use this server yet") && !page.contains("enter <code>"), "{page}");
    assert!(page.contains("href=\"ca.pem\""), "{page}");
    about.address = Some("2001:db8::53".parse().unwrap());
    let (_, _, page) = get(&about, true, "[2001:db8::53]:8443", "/").await;
    assert!(page.contains("DNS=[2001:db8::53]:853#2001:db8::53\n"), "{page}");
    assert!(page.contains("dig @2001:db8::53 -p 853 +tls "), "{page}");
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
async fn nothing_comes_from_elsewhere() {
    for path in ["/", "/pkdns.css", "/pkdns.js", "/nothing"] {
        let (_, headers, page) = get(&about(), true, "dns.example", path).await;
        assert_eq!(headers["content-security-policy"], CONTENT_SECURITY_POLICY, "{path}");
        assert_eq!(
            (&headers["cache-control"], &headers["x-content-type-options"]),
            (&"no-store".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        for attribute in ["src=\"http", "href=\"http", "url(http", "import "] {
            assert!(!page.contains(attribute), "{attribute} in {path}");
        }
    }
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

#[tokio::test]
async fn the_profile_is_the_same_each_time_and_another_for_another_server() {
    let (_, headers, profile) = get(&about(), true, "dns.example", "/pkdns.mobileconfig").await;
    assert_eq!(headers["content-type"], "application/x-apple-aspen-config");
    assert!(profile.contains("<string>https://dns.example/dns-query</string>") && !profile.contains("{{"));
    assert_eq!(get(&about(), true, "dns.example", "/pkdns.mobileconfig").await.2, profile);
    assert_ne!(identifier("profile", "dns.example"), identifier("profile", "dns2.example"));
    let id = identifier("profile", "dns.example");
    assert_eq!((id.len(), &id[14..15]), (36, "8"), "{id}");
    assert!("89AB".contains(&id[19..20]), "{id}");
}
