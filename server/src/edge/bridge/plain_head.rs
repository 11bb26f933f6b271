//! The head of a request in the clear, as far as it says where to. Pure.

/// Bytes that the head of a request may take.
pub(super) const MAX_HEAD_SIZE: usize = 8 << 10;

/// Fields of a head that are looked at.
pub(super) const MAX_FIELDS: usize = 64;

/// What the head of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// There is more to come.
    Partial,
    /// It cannot be read.
    Malformed,
    /// It is a request.
    Request(Target),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The host, as the client wrote it and without a port.
    pub(super) host: String,
    /// The port, if it wrote one.
    pub(super) port: Option<u16>,
    /// The path and what follows it, which begins with a slash.
    pub(super) path: String,
    /// Whether the client speaks HTTP/1.0, which knows no redirect that keeps the method.
    pub(super) is_http10: bool,
}

impl Head {
    /// What `bytes` say, which may go on.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => Target::of(&request).map_or(Self::Malformed, Self::Request),
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_SIZE => Self::Partial,
            _ => Self::Malformed,
        }
    }
}

impl Target {
    fn of(request: &httparse::Request<'_, '_>) -> Option<Self> {
        let (path, version) = (request.path?, request.version?);
        let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let host = hosts.next().map(|field| str::from_utf8(field.value));
        // Whichever of two was chosen, the site could choose the other.
        if hosts.next().is_some() {
            return None;
        }
        let (authority, path) = match path.as_bytes().first()? {
            b'/' => (host?.ok()?, path),
            b'*' => (host?.ok()?, "/"),
            // The form for proxies, which has the word (RFC 9112 section 3.2.2).
            _ => {
                let rest = path.strip_prefix("http://")?;
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                (authority, if path.starts_with('/') { path } else { "/" })
            }
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (authority, None),
        };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            is_http10: version == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Option<(String, Option<u16>, String)> {
        match Head::read(text.as_bytes()) {
            Head::Request(target) => Some((target.host, target.port, target.path)),
            _ => None,
        }
    }

    #[test]
    fn host_port_and_path_are_found_in_every_form_of_a_request() {
        let found = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        for (text, expected) in [
            ("GET /a?b HTTP/1.1\r\nHost: www.example.key\r\n\r\n", found("www.example.key", None, "/a?b")),
            (
                "GET / HTTP/1.0\r\nhOST:example.key:8080\r\nX: y\r\n\r\nbody",
                found("example.key", Some(8080), "/"),
            ),
            ("GET http://a.key/b HTTP/1.1\r\nHost: c\r\n\r\n", found("a.key", None, "/b")),
            ("GET http://a.key HTTP/1.1\r\nHost: c\r\n\r\n", found("a.key", None, "/")),
            ("GET http://a.key?b HTTP/1.1\r\n\r\n", found("a.key", None, "/")),
            ("OPTIONS * HTTP/1.1\r\nHost: a.key\r\n\r\n", found("a.key", None, "/")),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", None),
            ("GET / HTTP/1.1\r\n\r\n", None),
            ("CONNECT a.key:443 HTTP/1.1\r\nHost: a.key\r\n\r\n", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
            ("\x16\x03\x01", None),
        ] {
            assert_eq!(target(text), expected, "{text}");
        }
        assert_eq!(Head::read(b"GET / HTTP/1.1\r\nHost: a"), Head::Partial);
        assert_eq!(Head::read(&[b"GET /".as_slice(), &[b'a'; MAX_HEAD_SIZE]].concat()), Head::Malformed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_head_is_read_or_refused_and_its_path_goes_into_a_header(
            line in "(GET|X) ?(/|\\*|http://)?[ -~]{0,40} HTTP/1.[01]\r\n",
            fields in "((Host|host): ?[ -~]{0,40}\r\n){0,2}\r\n",
        ) {
            if let Head::Request(target) = Head::read((line + &fields).as_bytes()) {
                prop_assert!(target.path.starts_with('/'));
                prop_assert!(target.path.bytes().all(|byte| byte > b' ' && byte != 0x7f));
            }
        }
    }
}
