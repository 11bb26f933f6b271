//! One row for each case.

use super::*;

/// A request, and what its response must be.
struct Row {
    what: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    cache_control: &'static str,
    content_type: &'static str,
    check: fn(&Reply) -> bool,
}

fn row(what: &'static str, method: Method, path: impl Into<String>) -> Row {
    Row {
        what,
        method,
        path: path.into(),
        headers: Vec::new(),
        body: Vec::new(),
        status: 200,
        cache_control: "no-store",
        content_type: MESSAGE,
        check: |_| true,
    }
}

fn get(what: &'static str, path: impl Into<String>) -> Row {
    row(what, Method::GET, path)
}

fn post(what: &'static str, body: impl Into<Vec<u8>>) -> Row {
    Row { body: body.into(), ..row(what, Method::POST, "/dns-query") }.with(&[("content-type", MESSAGE)])
}

impl Row {
    fn with(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        self.headers.extend(headers);
        self
    }

    fn keeps(self, cache_control: &'static str) -> Self {
        Self { cache_control, ..self }
    }

    /// An error with something to read.
    fn fails(self, status: u16) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            check: |reply| reply.text().contains("/ explains"),
            ..self
        }
    }

    fn gives(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    fn has(self, check: fn(&Reply) -> bool) -> Self {
        Self { check, ..self }
    }
}

fn code(reply: &Reply) -> ResponseCode {
    Message::from_vec(&reply.body).unwrap().metadata.response_code
}

fn rows() -> Vec<Row> {
    let icann = || query("www.example.com", RecordType::A);
    let key = |label: &str, record_type| query(&key_name(label), record_type);
    let with_flags = |flags: u16| {
        let mut message = icann();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message
    };
    let with_questions = |count: u8| {
        let mut message = icann();
        message[5] = count;
        if count == 0 { message[..12].to_vec() } else { [&message[..], &icann()[12..]].concat() }
    };
    let encoded = path_of(&query("www.example.com", RecordType::A));
    let uneven = path_of(&query("ww.example.com", RecordType::A));
    assert_ne!((uneven.len() - "/dns-query?dns=".len()) % 4, 0, "{uneven} needs padding");
    vec![
        // How long an answer may be kept. Failures and denials were kept for 300 s.
        get("an ICANN name", &encoded).keeps("max-age=300").has(|reply| code(reply) == ResponseCode::NoError),
        post("an ICANN name by POST", icann()).keeps("max-age=300"),
        get("a key", path_of(&key("", RecordType::A))).keeps("max-age=120"),
        get("the smallest TTL of a chain", path_of(&key("www.", RecordType::A))).keeps("max-age=60"),
        get("no such type, by the zone's SOA", path_of(&key("", RecordType::MX))).keeps("max-age=60"),
        get("no such name, by the zone's SOA", path_of(&key("none.", RecordType::A)))
            .keeps("max-age=60")
            .has(|reply| code(reply) == ResponseCode::NXDomain),
        get("MINIMUM below the SOA's TTL", path_of(&query("nothing.example", RecordType::A)))
            .keeps("max-age=77")
            .has(|reply| code(reply) == ResponseCode::NXDomain),
        get("SERVFAIL is not kept", path_of(&query("broken.example", RecordType::A)))
            .has(|reply| code(reply) == ResponseCode::ServFail),
        get("transfers are refused", path_of(&query("example.com", RecordType::AXFR)))
            .has(|reply| code(reply) == ResponseCode::Refused || code(reply) == ResponseCode::NotImp),
        // ANY was answered in full.
        get("any type, by the record that stands for it", path_of(&query("example.com", RecordType::ANY)))
            .keeps("max-age=3600")
            .has(|reply| {
                let answers = Message::from_vec(&reply.body).unwrap().answers;
                answers.len() == 1 && answers[0].record_type() == RecordType::HINFO
            }),
        get("the set-up probe of Chrome", path_of(&query("www.gstatic.com", RecordType::A)))
            .keeps("max-age=300"),
        // What is no question. Garbage got 200 and no body, and any media type was taken.
        post("an unknown opcode is an outcome of DNS", with_flags(0x2900))
            .has(|reply| code(reply) == ResponseCode::NotImp),
        post("no question is an outcome of DNS", with_questions(0))
            .has(|reply| code(reply) == ResponseCode::FormErr),
        post("two questions are an outcome of DNS", with_questions(2))
            .has(|reply| code(reply) == ResponseCode::FormErr),
        post("a response", with_flags(0x8180)).fails(400),
        post("a question without its end", &icann()[..icann().len() - 1]).fails(400),
        post("garbage", *b"garbage").fails(400),
        post("long garbage", [b'x'; 300]).fails(400),
        post("nothing", []).fails(400),
        get("garbage in the address", "/dns-query?dns=Z2FyYmFnZQ").fails(400),
        get("nothing in the address", "/dns-query?dns=").fails(400),
        get("no parameter", "/dns-query").fails(400),
        get("not base64url", "/dns-query?dns=AAB%20%20").fails(400),
        get("a person with a browser", "/dns-query").with(&[("accept", "text/html,*/*;q=0.8")]).fails(400),
        // Forms of a question.
        get("other parameters around", format!("/dns-query?a=b&{}&c", &encoded[11..])).keeps("max-age=300"),
        get("padding", format!("{uneven}=")).keeps("max-age=300"),
        get("escaped padding", format!("{uneven}%3D")).keeps("max-age=300"),
        get("too long for an address", format!("/dns-query?dns={}", "A".repeat(6000))).fails(414),
        post("longer than questions are", vec![0; 4097])
            .fails(413)
            .has(|reply| reply.text().contains("4096")),
        post("too large for a message", vec![0; 65_536]).fails(413),
        Row {
            headers: vec![("content-type", "Application/DNS-Message; charset=binary")],
            ..post("another spelling", icann())
        }
        .keeps("max-age=300"),
        Row { headers: vec![("content-type", "text/plain")], ..post("another media type", icann()) }
            .fails(415),
        Row { headers: Vec::new(), ..post("no media type", icann()) }.fails(415),
        // Forms of an answer. All but one form of Accept got 400.
        get("any", &encoded).with(&[("accept", "*/*")]).keeps("max-age=300"),
        get("exactly ours", &encoded).with(&[("accept", MESSAGE)]).keeps("max-age=300"),
        get("a list", &encoded)
            .with(&[("accept", "text/html, application/dns-message;q=0.1")])
            .keeps("max-age=300"),
        get("JSON instead", &encoded).with(&[("accept", JSON)]).gives(JSON).keeps("max-age=300"),
        post("JSON for a message", icann()).with(&[("accept", JSON)]).gives(JSON).keeps("max-age=300"),
        get("nothing of ours", &encoded).with(&[("accept", "text/html")]).keeps("max-age=300"),
        get("what drafts called it", &encoded)
            .with(&[("accept", "application/dns-udpwireformat")])
            .keeps("max-age=300"),
        get("a slash at the end", encoded.replace("/dns-query?", "/dns-query/?")).keeps("max-age=300"),
        get("not ours", &encoded).with(&[("accept", "application/*;q=0")]).fails(406),
        // Methods.
        row("PUT", Method::PUT, "/dns-query")
            .fails(405)
            .has(|reply| reply.header("allow") == "GET, HEAD, POST, OPTIONS"),
        row("DELETE", Method::DELETE, &encoded[..]).fails(405),
        row("HEAD", Method::HEAD, &encoded[..]).keeps("max-age=300").has(|reply| {
            reply.body.is_empty() && reply.header("content-length").parse::<usize>().unwrap() > 12
        }),
        Row { status: 204, ..row("OPTIONS", Method::OPTIONS, "/dns-query") }
            .with(&[("origin", "https://example.com"), ("access-control-request-method", "POST")])
            .gives("")
            .keeps("")
            .has(|reply| {
                reply.header("access-control-allow-methods").contains("POST")
                    && reply.header("access-control-allow-headers").contains("content-type")
                    && reply.header("allow").contains("HEAD")
            }),
        // Other paths.
        Row { status: 404, cache_control: "no-store", ..get("no such path", "/dns-queries") }
            .gives("text/html; charset=utf-8")
            .has(|reply| reply.text().contains("There is nothing here")),
        get("the landing page", "/")
            .gives("text/html; charset=utf-8")
            .has(|reply| reply.text().contains("Names that nobody can take away")),
        get("JSON at its own path", "/resolve?name=www.example.com").gives(JSON).keeps("max-age=300"),
        get("wire format at the path of JSON", format!("/resolve?{}", &encoded[11..])).keeps("max-age=300"),
    ]
}

fn serve_everybody(config: &mut Config) {
    config.access.allow = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
}

#[tokio::test]
async fn where_only_some_are_served_no_page_from_elsewhere_reads_what_they_may_know() {
    let server = Running::start_with(|config| config.doh.hosts = vec!["dns.example.net".into()]).await;
    let path = path_of(&query("www.example.com", RecordType::A));
    let ask = async |version, method, path: &str, host: &str| {
        let headers =
            [("host", host), ("origin", "https://evil.example"), ("access-control-request-method", "POST")];
        let reply = server.send(version, method, path, &headers, &[]).await;
        let with_cors = reply.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(with_cors.count(), 0, "{host} {path} {}", reply.text());
        reply
    };
    for version in VERSIONS {
        for (method, status) in [(Method::GET, 200), (Method::OPTIONS, 204), (Method::PUT, 405)] {
            assert_eq!(ask(version, method, &path, "127.0.0.1").await.status, status);
        }
    }
    for version in VERSIONS {
        // Rebinding: for the browser, the page and we are one origin.
        for path in [&path[..], "/resolve?name=nas.corp", "/", "/ca.pem"] {
            let reply = ask(version, Method::GET, path, "evil.example").await;
            assert_eq!(reply.status, 421);
            assert!(reply.text().contains("doh.hosts"), "{}", reply.text());
        }
        for host in ["dns.example.net", "localhost:80", "pkdns.lan"] {
            assert_eq!(ask(version, Method::GET, &path, host).await.status, 200, "{host}");
        }
    }
    let public = Running::start_with(serve_everybody).await;
    let reply = public.send(Version::HTTP_11, Method::GET, &path, &[("host", "any.example")], &[]).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, "*"));
}

#[tokio::test]
async fn every_case_is_answered_as_the_table_says() {
    for version in VERSIONS {
        // One server for each row: what an earlier row left in the cache is older.
        for row in rows() {
            let server = Running::start_with(serve_everybody).await;
            let reply = server.send(version, row.method.clone(), &row.path, &row.headers, &row.body).await;
            let what = format!("{} over {version:?}: {}", row.what, reply.text());
            assert_eq!(reply.status, row.status, "{what}");
            assert_eq!(reply.header("cache-control"), row.cache_control, "{what}");
            assert_eq!(reply.header("content-type"), row.content_type, "{what}");
            assert!((row.check)(&reply), "{what}");
            let is_page = reply.headers.contains_key("content-security-policy");
            assert_eq!(reply.header("access-control-allow-origin"), if is_page { "" } else { "*" }, "{what}");
            if row.status == 200 && !is_page {
                assert_eq!(reply.header("vary"), "accept", "{what}");
            }
        }
    }
}
