//! What tells a request in the clear that this bridge has sent itself: the address in a site's records may be that of a router
//! which leads back here, and each connection would then make another one. Pure but for the random part of the mark.

use super::plain_head::MAX_FIELDS;

/// The name of one bridge in the field Via (RFC 9110 section 7.6.3), which proxies add to what they pass on.
#[derive(Debug)]
pub(super) struct Mark(String);

impl Mark {
    /// One that no other bridge has. Without randomness, all bridges have the same one, and loops still end.
    pub(super) fn new() -> Self {
        let mut bytes = [0; 8];
        let _ = getrandom::fill(&mut bytes);
        Self(format!("pkdns-bridge-{:016x}", u64::from_ne_bytes(bytes)))
    }

    /// The head of a request with this mark in it, and with what follows the head.
    pub(super) fn put_into(&self, head: &[u8], is_http10: bool) -> Vec<u8> {
        let start = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let line = head.iter().skip(start).position(|&byte| byte == b'\n');
        let Some((line, rest)) = line.and_then(|end| head.split_at_checked(start + end + 1)) else {
            return head.to_vec();
        };
        let version = if is_http10 { "1.0" } else { "1.1" };
        [line, format!("Via: {version} {}\r\n", self.0).as_bytes(), rest].concat()
    }

    /// Whether the head of a request has this mark.
    pub(super) fn is_in(&self, head: &[u8]) -> bool {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        if request.parse(head).is_err() {
            return false;
        }
        let vias = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("via"));
        let mut said = vias.filter_map(|field| str::from_utf8(field.value).ok());
        said.any(|said| said.split([',', ' ', '\t']).any(|word| word == self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_the_mark_is_known_again_and_no_other_is() {
        let (mark, other) = (Mark::new(), Mark::new());
        for (head, line) in [
            ("GET / HTTP/1.1\r\nhost: a.key\r\n\r\nbody", "GET / HTTP/1.1\r\n"),
            ("\r\nGET / HTTP/1.1\nhost: a.key\n\n", "\r\nGET / HTTP/1.1\n"),
            ("GET http://a.key/ HTTP/1.1\r\n\r\n", "GET http://a.key/ HTTP/1.1\r\n"),
            ("GET / HTTP/1.1\r\nvia: 1.1 proxy\r\nhost: a\r\n\r\nVia: 1.1 body", "GET / HTTP/1.1\r\n"),
        ] {
            assert!(!mark.is_in(head.as_bytes()));
            let marked = mark.put_into(head.as_bytes(), false);
            let rest = head.strip_prefix(line).unwrap();
            assert_eq!(
                String::from_utf8(marked.clone()).unwrap(),
                format!("{line}Via: 1.1 {}\r\n{rest}", mark.0)
            );
            assert!(mark.is_in(&marked) && !other.is_in(&marked));
            assert!(mark.is_in(&other.put_into(&marked, true)), "behind another bridge");
        }
        let by_a_proxy = format!("GET / HTTP/1.1\r\nVIA: 1.0 one,1.1 {} (x), 1.1 two\r\n\r\n", mark.0);
        assert!(mark.is_in(by_a_proxy.as_bytes()));
        assert!(!mark.is_in(format!("GET / HTTP/1.1\r\nhost: a\r\n\r\nVia: 1.1 {}", mark.0).as_bytes()));
    }

    #[test]
    fn what_is_no_head_stays_as_it_is() {
        for head in [&b""[..], b"\r\n\r\n", b"GET / HTTP/1.1"] {
            assert_eq!(Mark::new().put_into(head, false), head);
        }
    }
}
