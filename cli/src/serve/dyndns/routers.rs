//! What routers, and the programs that stand in for them, send as far as their documents and sources say, the answer to it,
//! and the addresses that are known afterwards.

use std::sync::Mutex;

use axum::body::to_bytes;
use tower_service::Service;

use super::{
    tests::{accounts, client, headers, headers_of, known, public_key, quick, visitor},
    *,
};

/// What is known before each row.
const BEFORE: (&str, &str) = ("198.51.100.1", "2001:db8::1");

/// And what stands in the log.
fn noting(accounts: &Accounts) -> (Updates, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let noted = lines.clone();
    let note = move |line: &str| noted.lock().unwrap().push(line.to_string());
    (Updates::working(accounts.clone(), false, Labour { note: Box::new(note), ..quick() }), lines)
}

/// Answers a request, and says what is known afterwards and what stands in the log.
async fn ask(
    query: &str,
    headers: HeaderMap,
    from: IpAddr,
) -> (StatusCode, String, ExternalAddresses, Vec<String>) {
    let key = public_key(1).to_z32();
    let (_directory, accounts) = accounts(1..2);
    let before = ExternalAddresses { ipv4: BEFORE.0.parse().ok(), ipv6: BEFORE.1.parse().ok() };
    accounts.read().await[&key].addresses.send_replace(before);
    let (updates, lines) = noting(&accounts);
    let query = query.replace("HOST", "KEY.key").replace("KEY", &key);
    let uri: Uri = format!("/nic/update?{query}").parse().unwrap();
    let response = update(State(updates), Extension(visitor(from)), uri, headers, Bytes::new()).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), 4096).await.unwrap();
    let after = known(&accounts).await;
    let lines = lines.lock().unwrap().clone();
    (status, String::from_utf8(body.to_vec()).unwrap(), after, lines)
}

#[tokio::test]
async fn every_router_is_understood_and_every_push_is_a_line() {
    let rows = include_str!("routers.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let [from, agent, query, answer, after, line] = row[..] else { panic!("{row:?}") };
        let mut headers = headers();
        headers.insert(header::USER_AGENT, agent.parse().unwrap());
        let (status, body, known, lines) = ask(query, headers, client(1)).await;
        let body = body.trim_end().replace('\n', " / ");
        assert_eq!((status, body.as_str()), (StatusCode::OK, answer), "{from}");
        let (ipv4, ipv6) = after.split_once(' ').unwrap();
        let or_before = |told, before| if told == "=" { before } else { told };
        let after = ExternalAddresses {
            ipv4: or_before(ipv4, BEFORE.0).parse().ok(),
            ipv6: or_before(ipv6, BEFORE.1).parse().ok(),
        };
        assert_eq!(known, after, "{from}");
        let [said] = &lines[..] else { panic!("{from}: {lines:?}") };
        assert!(
            said.starts_with("router at 198.51.100.1, user \"router\": ") && said.contains(line),
            "{from}: {said}"
        );
    }
}

#[tokio::test]
async fn what_a_form_says_counts_as_what_the_address_says() {
    let (_directory, accounts) = accounts(1..2);
    let key = public_key(1).to_z32();
    let updates = Updates::working(accounts.clone(), false, quick());
    for (address, form) in [
        ("/nic/update".to_string(), format!("hostname={key}.key&myip=198.51.100.7")),
        (format!("/nic/update?hostname={key}"), "myip=198.51.100.8".to_string()),
    ] {
        let codes = updates.tell(&address.parse().unwrap(), &form, &headers(), client(1)).await;
        assert!(matches!(codes[..], [ReturnCode::Good(_)]), "{address}");
    }
    assert_eq!(known(&accounts).await.ipv4, Some([198, 51, 100, 8].into()));
}

#[tokio::test]
async fn a_prefix_is_left_out_where_no_host_is_configured_alone() {
    let (_directory, accounts) = accounts(1..3);
    let [one, two] = [1, 2].map(|seed| public_key(seed).to_z32());
    accounts.write().await.get_mut(&one).unwrap().ipv6_host = "::20".parse().ok();
    let (updates, lines) = noting(&accounts);
    for (names, expected, is_left_out) in [
        (one.clone(), "good 2001:db8:1::20", false),
        (format!("{one},{two}"), "nochg 2001:db8:1::20, dnserr 2001:db8:1::/64", true),
    ] {
        let uri = format!("/nic/update?hostname={names}&myipv6=2001:db8:1::/64").parse().unwrap();
        let codes = updates.tell(&uri, "", &headers(), client(1)).await;
        let said = codes.iter().map(|code| code.line()).collect::<Vec<_>>().join(", ");
        assert!(said.starts_with(expected), "{said}");
        let line = lines.lock().unwrap().pop().unwrap();
        assert_eq!(
            line.contains("left out: 2001:db8:1::/64 is the prefix of a network"),
            is_left_out,
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_push_that_is_refused_is_a_line_without_the_password() {
    let query = "hostname=KEY&myip=198.51.100.7";
    let wrong = headers_of("router", "hunter2");
    let swapped = headers_of("hunter2", "router");
    for (query, headers, from, status, line) in [
        (
            query,
            wrong,
            client(1),
            StatusCode::UNAUTHORIZED,
            "router at 198.51.100.1, user \"router\": badauth (",
        ),
        (query, swapped, client(1), StatusCode::UNAUTHORIZED, "router at 198.51.100.1: badauth ("),
        (query, HeaderMap::new(), client(1), StatusCode::UNAUTHORIZED, "router at 198.51.100.1: badauth ("),
        ("hostname=home.example", headers(), client(1), StatusCode::OK, "\"home.example\": notfqdn ("),
        ("hostname=", headers(), client(1), StatusCode::OK, ": notfqdn ("),
        (
            "hostname=KEY",
            headers(),
            [192, 168, 1, 1].into(),
            StatusCode::OK,
            "dnserr 192.168.1.1 is of a private network",
        ),
    ] {
        let (answered, _, _, lines) = ask(query, headers, from).await;
        let [said] = &lines[..] else { panic!("{line}: {lines:?}") };
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(line) && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn what_is_over_the_limit_is_a_line() {
    let (_directory, accounts) = accounts(1..2);
    let (updates, lines) = noting(&accounts);
    for _ in 0..=BURST {
        updates.tell(&"/nic/update?hostname=x".parse().unwrap(), "", &headers(), client(1)).await;
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), BURST as usize + 1);
    assert!(
        lines.last().unwrap().starts_with("router at 198.51.100.1: abuse (too many requests"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_router_that_was_told_another_path_is_a_line() {
    let (_directory, accounts) = accounts(1..2);
    let (updates, lines) = noting(&accounts);
    let mut routes = updates.routes().layer(Extension(visitor(client(1))));
    let uri = "/v3/update?hostname=home.example&password=hunter2";
    let request = axum::http::Request::get(uri).body(axum::body::Body::empty()).unwrap();
    let response = routes.call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let lines = lines.lock().unwrap();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(
        line.starts_with("198.51.100.1 asked for \"/v3/update\", ") && !line.contains("hunter2"),
        "{line}"
    );
}
