//! Datagrams bear the address of anybody: what their cookie is worth, and what becomes of those over the quota.

use std::sync::atomic::Ordering;

use hickory_proto::op::ResponseCode;

use super::{AtOnce, Client, Inner, Transport};
use crate::{
    base::{
        message::{Query, Rejected, Rejection},
        metrics::{Queries, Reason},
        view::View,
    },
    service::cookies::{Checked, Standing},
};

/// Of the datagrams over a quota one in this many gets a short reply. A client whose address others use learns from it
/// within a few tries that it has to come over TCP or with a cookie; whoever forges the address to flood it gets a third
/// of what was sent. Servers of zones use 1 to 3 for the same purpose (response rate limiting).
pub(super) const SLIP: u32 = 3;

impl Inner {
    /// What the client's cookie is worth. Over HTTP there are none: RFC 7873 is about the address that datagrams bear.
    pub(super) fn check_cookie(&self, decoded: &Result<Query, Rejection>, client: Client) -> Option<Checked> {
        let edns = match decoded {
            Ok(query) => query.edns,
            Err(Rejection::Reply(rejected)) => rejected.edns,
            Err(Rejection::Silence) => None,
        };
        let cookies = self
            .cookies
            .as_ref()
            .filter(|_| !matches!(client.transport, Transport::Http | Transport::PlainHttp));
        let checked = cookies
            .zip(edns.and_then(|edns| edns.cookie))
            .map(|(cookies, cookie)| cookies.check(&cookie, client.address, client.now));
        if client.transport == Transport::Udp {
            let counted = &self.metrics.cookies;
            match checked.map(|checked| checked.standing) {
                None => &counted.none,
                Some(Standing::New) => &counted.new,
                Some(Standing::Invalid) => &counted.invalid,
                Some(Standing::Valid) => &counted.valid,
            }
            .inc();
        }
        checked
    }

    /// Answers a datagram over the quota of those that anybody can send, of so many bytes: silence for most, since whoever
    /// forges the address wants it flooded with replies. The others say how to come back with an address that is
    /// believed; what anybody in the world could be sent by that is no larger than what was sent in its name.
    pub(super) fn slip(
        &self,
        decoded: Result<Query, Rejection>,
        cookie: Option<Checked>,
        client: Client,
        view: Option<View>,
        size: usize,
        out: &mut Vec<u8>,
    ) -> AtOnce {
        let Queries { answered, unanswered } = self.queries(client);
        if self.slips.fetch_add(1, Ordering::Relaxed) % SLIP == SLIP - 1
            && let Some(view) = view
        {
            let decoded = decoded.map(|query| Query { view, ..query });
            let has_room = |query: &Query| view != View::Origin || query.bad_cookie_size() <= size;
            match (decoded, cookie) {
                (Ok(query), Some(checked)) if has_room(&query) => {
                    self.refusals.note(Reason::BadCookie, client.address);
                    answered.bad_cookie.inc();
                    query.write_bad_cookie(checked.reply, out);
                    return AtOnce::Replied;
                }
                (Ok(query), _) => {
                    self.refusals.note(Reason::Truncated, client.address);
                    answered.no_error.inc();
                    query.write_truncated(out);
                    return AtOnce::Replied;
                }
                (Err(Rejection::Reply(rejected)), Some(checked))
                    if rejected.code == ResponseCode::NoError && view != View::Origin =>
                {
                    return self.answer_rejected(rejected, Some(checked), client, view, out);
                }
                (Err(_), _) => {}
            }
        }
        self.refusals.note(Reason::QueryQuota, client.address);
        unanswered.quota.inc();
        AtOnce::OverQuota
    }

    /// Answers a request that holds no question.
    pub(super) fn answer_rejected(
        &self,
        mut rejected: Rejected,
        cookie: Option<Checked>,
        client: Client,
        view: View,
        out: &mut Vec<u8>,
    ) -> AtOnce {
        if rejected.code == ResponseCode::NoError {
            // RFC 7873 section 5.4; without cookies it is a query that asks nothing (RFC 9619).
            rejected.code = match cookie.map(|checked| checked.standing) {
                Some(Standing::New | Standing::Valid) => ResponseCode::NoError,
                Some(Standing::Invalid) => ResponseCode::BADCOOKIE,
                None => ResponseCode::FormErr,
            };
        }
        self.queries(client).answered.with(rejected.code).inc();
        rejected.write(view, cookie.map(|checked| checked.reply), out);
        AtOnce::Replied
    }
}
