//! Requests with and without cookies, and what replies say.

use hickory_proto::rr::RecordType;
use pkdns::message::read_cookie;
use pkdns_testing::server::query;

/// What the client of these tests calls itself.
pub(crate) const CLIENT_COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

pub(crate) const NOERROR: u16 = 0;
pub(crate) const FORMERR: u16 = 1;
pub(crate) const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;
pub(crate) const BADVERS: u16 = 16;
pub(crate) const BADCOOKIE: u16 = 23;

/// Asks for `localhost`, which needs nobody else, without EDNS.
pub(crate) fn plain() -> Vec<u8> {
    query("localhost", RecordType::A)
}

/// Adds an OPT record with these options to a request.
pub(crate) fn with_options(mut request: Vec<u8>, options: &[u8]) -> Vec<u8> {
    request[11] += 1;
    request.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, options.len() as u8]);
    request.extend_from_slice(options);
    request
}

/// Adds an OPT record with this cookie.
pub(crate) fn with_cookie(request: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    with_options(request, &[&[0, 10, 0, cookie.len() as u8], cookie].concat())
}

/// The header alone, as a client sends it that wants a cookie and nothing else.
pub(crate) fn without_question() -> Vec<u8> {
    vec![0x12, 0x34, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The code of a reply, with the bits that its OPT record holds.
pub(crate) fn code(reply: &[u8]) -> u16 {
    u16::from(pkdns::message::read_message(reply).unwrap().code)
}

pub(crate) fn is_truncated(reply: &[u8]) -> bool {
    reply[2] & 0x02 != 0
}

/// Whether there is an OPT record. Replies in these tests have no other additional records.
pub(crate) fn has_edns(reply: &[u8]) -> bool {
    reply[10..12] == [0, 1]
}

/// Both parts of the cookie in a reply.
pub(crate) fn cookie(reply: &[u8]) -> Option<Vec<u8>> {
    let cookie = read_cookie(reply)?;
    Some([&cookie.client()[..], cookie.server()].concat())
}
