//! The COOKIE option (RFC 7873): by it a client that asks over UDP shows that it is at the address that it names.

/// What a client sends: a cookie of its own, and behind it the server's, if it has one from us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

/// What a reply carries: the client's cookie and ours (RFC 9018 section 4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplyCookie(pub [u8; ReplyCookie::SIZE]);

impl Cookie {
    /// Length of a client's cookie in bytes (RFC 7873 section 4.1).
    pub const CLIENT_SIZE: usize = 8;

    /// With the longest cookie of a server, in bytes (RFC 7873 section 4.2).
    const LONGEST: usize = 40;

    /// With the shortest cookie of a server, in bytes.
    const SHORTEST_WITH_SERVER: usize = 16;

    /// Reads the data of the option; `None` for a length that cannot be (RFC 7873 section 5.2.2).
    pub fn read(data: &[u8]) -> Option<Self> {
        if data.len() != Self::CLIENT_SIZE && data.len() < Self::SHORTEST_WITH_SERVER {
            return None;
        }
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { bytes, length: u8::try_from(data.len()).ok()? })
    }

    /// The client's part.
    pub fn client(&self) -> [u8; Self::CLIENT_SIZE] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// The server's part; empty when the client has none yet.
    pub fn server(&self) -> &[u8] {
        self.bytes.get(Self::CLIENT_SIZE..usize::from(self.length)).unwrap_or_default()
    }
}

impl ReplyCookie {
    /// The data of the option in bytes.
    pub const SIZE: usize = 24;
}

/// Whoever reads a cookie can pass for its client: it stays out of logs.
impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({} bytes)", self.length)
    }
}

impl std::fmt::Debug for ReplyCookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyCookie")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_that_the_rfc_does_not_know_are_malformed() {
        for length in 0..=64 {
            let is_known = length == 8 || (16..=40).contains(&length);
            assert_eq!(Cookie::read(&vec![7; length]).is_some(), is_known, "{length}");
        }
    }

    #[test]
    fn neither_part_is_shown() {
        let cookie = Cookie::read(&[0xab; 24]).unwrap();
        assert_eq!(format!("{cookie:?} {:?}", ReplyCookie([0xab; 24])), "Cookie(24 bytes) ReplyCookie");
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_behind_the_eighth(data in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(cookie) = Cookie::read(&data) {
                prop_assert_eq!([&cookie.client()[..], cookie.server()].concat(), data);
            }
        }
    }
}
