//! The JSON interface.

use serde_json::{Value, json};

use super::*;

async fn resolve(server: &TestServer, parameters: &str) -> Value {
    let reply = get(server, Version::HTTP_11, &format!("/resolve?{parameters}"), &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, JSON), "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn an_answer_has_the_form_that_others_give_it() {
    let server = start();
    assert_eq!(
        resolve(&server, "name=www.example.com&type=A&random_padding=xxx").await,
        json!({
            "Status": 0, "TC": false, "RD": true, "RA": true, "AD": false, "CD": false,
            "Question": [{"name": "www.example.com.", "type": 1}],
            "Answer": [{"name": "www.example.com.", "type": 1, "TTL": 300, "data": "192.0.2.53"}],
        })
    );
    let key = key_name("");
    let www = resolve(&server, &format!("name={}", key_name("www."))).await;
    assert_eq!(www["Answer"][0]["data"], format!("{key}."));
    assert_eq!((&www["Answer"][0]["type"], &www["Answer"][1]["data"]), (&json!(5), &json!("192.0.2.7")));
    let text = resolve(&server, &format!("name={}&type=txt", key_name("text."))).await;
    assert_eq!(text["Answer"][0]["data"], "\"say \\\"hello\\\"\" \"world\"");
    let absent = resolve(&server, &format!("name=none.{key}")).await;
    assert_eq!(resolve(&server, "name=signed.example").await["AD"], true);
    assert_eq!((&absent["Status"], &absent["Authority"][0]["type"]), (&json!(3), &json!(6)));
    assert_eq!(absent["Answer"], Value::Null);
}

#[tokio::test]
async fn names_and_types_are_taken_as_people_write_them() {
    let server = start();
    for (parameters, name, record_type) in [
        ("name=example.com.", "example.com.", 1),
        ("name=eXample.com&type=", "eXample.com.", 1),
        ("name=example.com&type=65", "example.com.", 65),
        ("name=example.com&type=https", "example.com.", 65),
        ("name=example.com&type=TYPE65", "example.com.", 65),
        ("type=AAAA&name=example.com", "example.com.", 28),
        ("name=_443._tcp.example.com&type=TLSA", "_443._tcp.example.com.", 52),
        ("name=%65xample%2Ecom", "example.com.", 1),
        ("name=a%5C.b.example&type=16", "a\\.b.example.", 16),
        ("name=.&type=NS", ".", 2),
    ] {
        let question = resolve(&server, parameters).await["Question"][0].clone();
        assert_eq!(question, json!({"name": name, "type": record_type}), "{parameters}");
    }
    for parameters in [
        "",
        "name=",
        "name=a..b",
        "name=example.com&type=NONSENSE",
        "name=example.com&type=65536",
        "name=%ff",
        "type=A",
    ] {
        let reply = get(&server, Version::HTTP_2, &format!("/resolve?{parameters}"), &[]).await;
        assert_eq!(reply.status, 400, "{parameters}: {}", reply.text());
    }
    let long = "a".repeat(64);
    assert_eq!(
        get(&server, Version::HTTP_2, &format!("/resolve?name={long}.example"), &[]).await.status,
        400
    );
}

#[tokio::test]
async fn flags_and_forms_can_be_asked_for() {
    let server = start();
    assert_eq!(resolve(&server, "name=example.com&cd=1&do=true").await["CD"], true);
    assert_eq!(resolve(&server, "name=example.com&cd=0&do=false").await["CD"], false);
    for (parameters, accept, content_type) in [
        ("ct=application/dns-message", JSON, MESSAGE),
        ("ct=application/x-javascript", MESSAGE, "application/json"),
        ("ct=application/dns-json", "*/*", JSON),
        ("ct=nonsense", MESSAGE, MESSAGE),
        ("x=y", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("x=y", "application/json", "application/json"),
    ] {
        for path in ["/resolve", "/dns-query"] {
            let path = format!("{path}?name=www.example.com&{parameters}");
            let reply = get(&server, Version::HTTP_2, &path, &[("accept", accept)]).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, content_type), "{path}");
            assert_eq!(reply.header("cache-control").len(), "max-age=300".len(), "{path}");
            let nosniff = if content_type == MESSAGE { "" } else { "nosniff" };
            assert_eq!(reply.header("x-content-type-options"), nosniff, "{path}");
        }
    }
}

#[tokio::test]
async fn a_failure_comes_with_its_reason() {
    let server = start();
    server.network.fail(NetworkError::Unreachable);
    let failed = resolve(&server, &format!("name={}", keypair(9).to_z32())).await;
    assert_eq!(failed["Status"], 2);
    assert!(failed["Comment"].as_str().unwrap().ends_with("(extended error 22)"), "{failed}");
}
