//! Replies without records, for those who get no answer.

use hickory_proto::op::ResponseCode;

use super::{
    HEADER_SIZE, OPTION_HEAD_SIZE, Query, Rejected, ReplyCookie,
    edns::{OPT_SIZE, Options},
    encoded::recursion_available,
};
use crate::base::view::View;

const TRUNCATED: u8 = 0x02;

impl Rejected {
    /// Appends a bare header: same id, opcode and RD, RA as in this view, everything else clear (RFC 8906 section 3).
    /// Behind it the OPT record, with a cookie if there is one, for whoever sent one (RFC 6891 section 6.1.1).
    pub fn write(&self, view: View, cookie: Option<ReplyCookie>, out: &mut Vec<u8>) {
        let mut header = [0; HEADER_SIZE];
        header[..2].copy_from_slice(&self.header[..2]);
        header[2] = 0x80 | self.header[2] & 0x79;
        header[3] = recursion_available(view) | self.code.low();
        header[11] = u8::from(self.edns.is_some());
        out.extend_from_slice(&header);
        if let Some(edns) = self.edns {
            Options::bare(cookie).write(self.code, edns.dnssec_ok, None, out);
        }
    }
}

impl Query {
    /// Appends a reply that says only that the answer has to be asked for over TCP. It is no larger than the query.
    pub fn write_truncated(&self, out: &mut Vec<u8>) {
        self.write_bare(ResponseCode::NoError, TRUNCATED, None, out);
    }

    /// Appends a reply that tells the client to ask again with this cookie (RFC 7873 section 5.2.3). It is 16 bytes
    /// larger than the shortest query with a cookie, which has 40.
    pub fn write_bad_cookie(&self, cookie: ReplyCookie, out: &mut Vec<u8>) {
        self.write_bare(ResponseCode::BADCOOKIE, 0, Some(cookie), out);
    }

    /// Bytes of what [`Query::write_bad_cookie`] writes.
    pub fn bad_cookie_size(&self) -> usize {
        let cookie = self.edns.map_or(0, |_| OPT_SIZE + OPTION_HEAD_SIZE + ReplyCookie::SIZE);
        HEADER_SIZE + self.question.size() + cookie
    }

    fn write_bare(&self, code: ResponseCode, flags: u8, cookie: Option<ReplyCookie>, out: &mut Vec<u8>) {
        let mut header = [0; HEADER_SIZE];
        header[..2].copy_from_slice(&self.id.to_be_bytes());
        header[2] = 0x80 | flags | u8::from(self.recursion_desired);
        header[3] = recursion_available(self.view) | u8::from(self.checking_disabled) << 4 | code.low();
        header[5] = 1;
        header[11] = u8::from(self.edns.is_some());
        out.extend_from_slice(&header);
        self.question.write(out);
        if self.edns.is_some() {
            Options::bare(cookie).write(code, self.dnssec_ok(), None, out);
        }
    }
}
