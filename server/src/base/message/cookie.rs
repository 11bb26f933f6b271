//! The COOKIE option (RFC 7873): by it a client that asks over UDP shows that it is at the address that it names, and a
//! server that it has seen the question.

use super::{
    MalformedMessage, TYPE_OPT,
    edns::{OPTION_COOKIE, OPTION_HEAD_SIZE, write_option},
    frame::Frame,
    records::skip_questions,
    u16_at,
};

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

    /// What a client sends that has nothing from the server yet.
    pub fn of_client(client: [u8; Self::CLIENT_SIZE]) -> Self {
        let mut bytes = [0; Self::LONGEST];
        if let Some(part) = bytes.first_chunk_mut() {
            *part = client;
        }
        Self { bytes, length: Self::CLIENT_SIZE as u8 }
    }

    /// The client's part.
    pub fn client(&self) -> [u8; Self::CLIENT_SIZE] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// The server's part; empty when the client has none yet.
    pub fn server(&self) -> &[u8] {
        self.bytes.get(Self::CLIENT_SIZE..usize::from(self.length)).unwrap_or_default()
    }

    /// The whole option in bytes.
    pub(crate) fn option_size(&self) -> usize {
        OPTION_HEAD_SIZE + usize::from(self.length)
    }

    /// Appends the whole option.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let data = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        write_option(OPTION_COOKIE, data, out);
    }
}

/// The cookie in a response to a question that bore one: the first, as far as the records can be read.
///
/// # Errors
///
/// Its length cannot be.
pub fn returned_cookie(response: &[u8]) -> Result<Option<Cookie>, MalformedMessage> {
    let Ok(mut at) = skip_questions(response) else { return Ok(None) };
    let records = [6, 8, 10].map(|at| u32::from(u16_at(response, at).unwrap_or_default()));
    for _ in 0..records.iter().sum() {
        let Some(record) = Frame::read(response, at) else { return Ok(None) };
        at = record.end;
        if record.record_type == TYPE_OPT
            && let Some(data) = find_option(record.data, OPTION_COOKIE)
        {
            return Cookie::read(data).map(Some).ok_or(MalformedMessage);
        }
    }
    Ok(None)
}

fn find_option(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (code, length) = (u16_at(options, 0)?, usize::from(u16_at(options, 2)?));
        let data = options.get(OPTION_HEAD_SIZE..OPTION_HEAD_SIZE + length)?;
        if code == wanted {
            return Some(data);
        }
        options = options.get(OPTION_HEAD_SIZE + length..)?;
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

        #[test]
        fn what_is_written_is_found_behind_any_other_options(
            others in prop::collection::vec((11..u16::MAX, prop::collection::vec(any::<u8>(), 0..9)), 0..9),
            data in prop::collection::vec(any::<u8>(), 16..=40),
            cut in 0..200_usize,
        ) {
            let cookie = Cookie::read(&data).unwrap();
            let mut options = Vec::new();
            for (code, data) in &others {
                write_option(*code, data, &mut options);
            }
            cookie.write(&mut options);
            let mut response = vec![0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 0, 0, 0, 0, 0];
            response.extend_from_slice(&(options.len() as u16).to_be_bytes());
            response.extend_from_slice(&options);
            prop_assert_eq!(returned_cookie(&response), Ok(Some(cookie)));
            // In a message that ends too early there is none, and nothing breaks.
            response.truncate(response.len().saturating_sub(1 + cut));
            prop_assert_eq!(returned_cookie(&response), Ok(None));
        }

        #[test]
        fn any_bytes_can_be_looked_through(
            mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(10), Just(41)], 0..256),
        ) {
            let _ = returned_cookie(&bytes);
            // With no question and one record, whose options are random.
            let head = [0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 200];
            for (byte, of_head) in bytes.iter_mut().zip(head) {
                *byte = of_head;
            }
            let _ = returned_cookie(&bytes);
        }
    }
}
