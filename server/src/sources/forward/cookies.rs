//! DNS cookies of the servers that we ask (RFC 7873 section 5.3, RFC 9018 section 3): who has seen one of ours shows it in
//! its answer, which nobody can forge who has not.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use lru::LruCache;
use tokio::time::Instant;

use super::ExchangeError;
use crate::base::message::Cookie;

/// Servers that are remembered: more than anybody asks again and again. Some 200 KB.
const MAX_SERVERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// So long after its last word a server is one like any other.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A cookie of ours is replaced after this (RFC 7873 section 7.1), however often its server answers.
const CLIENT_LIFETIME: Duration = Duration::from_secs(86_400);

/// What is known of servers and their cookies. A server of which nothing is known gets a cookie of its own with each
/// question, so that none that it does not know comes to it twice (RFC 9018 section 3).
#[derive(Debug)]
pub(super) struct ServerCookies {
    servers: Mutex<Servers>,
}

/// A cookie on its way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentCookie {
    /// Ours, and the server's behind it if it has given us one.
    pub(super) cookie: Cookie,
    /// Whether the server's answers over UDP have borne cookies, so that one without is likely to be forged.
    pub(super) is_expected: bool,
    /// Of this machine. From another address a server's cookie is worth nothing, and ours would tell that it is us.
    local: IpAddr,
    /// When our part was made.
    made: Instant,
}

type Servers = LruCache<SocketAddr, Known, RandomState>;

#[derive(Debug, Clone, Copy)]
struct Known {
    /// What it gets next time; nothing where it does without.
    sent: Option<SentCookie>,
    until: Instant,
}

impl ServerCookies {
    pub(super) fn new() -> Self {
        Self { servers: Mutex::new(LruCache::with_hasher(MAX_SERVERS, RandomState::new())) }
    }

    /// What a question from `local` bears; nothing for a server that does without.
    pub(super) fn cookie_for(
        &self,
        server: SocketAddr,
        local: IpAddr,
        now: Instant,
    ) -> Result<Option<SentCookie>, ExchangeError> {
        let known = known(&mut self.lock(), server, now);
        let is_expected = match known.map(|known| known.sent) {
            Some(None) => return Ok(None),
            Some(Some(sent)) if sent.local == local && now < sent.made + CLIENT_LIFETIME => {
                return Ok(Some(sent));
            }
            Some(Some(sent)) => sent.is_expected,
            None => false,
        };
        let mut client = [0; Cookie::CLIENT_SIZE];
        getrandom::fill(&mut client).map_err(|_| ExchangeError::Predictable)?;
        Ok(Some(SentCookie { cookie: Cookie::of_client(client), is_expected, local, made: now }))
    }

    /// Remembers what an answer to `sent` bore, if there is a server's part in it. `is_expected` says whether it will be
    /// missed from now on: it is where it came over UDP, which some boxes on the way strip of cookies.
    pub(super) fn learn(
        &self,
        server: SocketAddr,
        sent: SentCookie,
        returned: Cookie,
        is_expected: bool,
        now: Instant,
    ) {
        if returned.server().is_empty() {
            return;
        }
        let mut servers = self.lock();
        let was_expected = match known(&mut servers, server, now).map(|known| known.sent) {
            // A question from before.
            Some(None) => return,
            Some(Some(sent)) => sent.is_expected,
            None => false,
        };
        let sent = SentCookie { cookie: returned, is_expected: is_expected || was_expected, ..sent };
        servers.put(server, Known { sent: Some(sent), until: now + LIFETIME });
    }

    /// A cookie was missing. Until the server gives one again no more are missed, so that one that has stopped giving them
    /// while TCP cannot be had loses those questions only that are under way.
    pub(super) fn doubt(&self, server: SocketAddr) {
        if let Some(Known { sent: Some(sent), .. }) = self.lock().get_mut(&server) {
            sent.is_expected = false;
        }
    }

    /// The server does without cookies.
    pub(super) fn leave_out(&self, server: SocketAddr, now: Instant) {
        self.lock().put(server, Known { sent: None, until: now + LIFETIME });
    }

    /// Whether the server may never have seen a cookie: it has given none, and is not known to do without. What it minds of a
    /// question may be the cookie then.
    pub(super) fn is_new(&self, server: SocketAddr, now: Instant) -> bool {
        known(&mut self.lock(), server, now).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(servers: &mut Servers, server: SocketAddr, now: Instant) -> Option<Known> {
    servers.get(&server).copied().filter(|known| now < known.until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn server(number: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 1], number))
    }

    fn next(cookies: &ServerCookies, local: IpAddr, now: Instant) -> SentCookie {
        cookies.cookie_for(server(1), local, now).expect("random numbers").expect("a cookie")
    }

    fn returned(sent: SentCookie) -> Cookie {
        Cookie::read(&[&sent.cookie.client()[..], &[7; 16]].concat()).expect("a sound length")
    }

    #[tokio::test]
    async fn a_server_that_is_not_known_gets_another_cookie_each_time() {
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        assert_ne!(next(&cookies, HERE, now).cookie, next(&cookies, HERE, now).cookie);
        assert_eq!(cookies.lock().len(), 0);
    }

    #[tokio::test]
    async fn a_cookie_is_sent_for_an_hour_after_each_answer_for_a_day_and_from_its_address_only() {
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        let sent = next(&cookies, HERE, now);
        cookies.learn(server(1), sent, returned(sent), true, now);
        let late = now + LIFETIME - Duration::from_secs(1);
        assert_eq!(next(&cookies, HERE, late).cookie, returned(sent));
        let elsewhere = next(&cookies, IpAddr::from([192, 0, 2, 2]), now);
        assert!(elsewhere.cookie.server().is_empty() && elsewhere.is_expected);
        assert_ne!(elsewhere.cookie.client(), sent.cookie.client());
        let forgotten = next(&cookies, HERE, now + LIFETIME);
        assert!(forgotten.cookie.server().is_empty() && !forgotten.is_expected);
        // A server that answers all the time.
        let mut time = now;
        while time < now + CLIENT_LIFETIME {
            cookies.learn(server(1), next(&cookies, HERE, time), returned(sent), true, time);
            time += Duration::from_secs(1800);
        }
        let replaced = next(&cookies, HERE, time);
        assert!(replaced.cookie.client() != sent.cookie.client() && replaced.is_expected);
    }

    #[tokio::test]
    async fn a_cookie_that_only_tcp_bore_is_not_missed_over_udp() {
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        let sent = next(&cookies, HERE, now);
        cookies.learn(server(1), sent, returned(sent), false, now);
        assert!(!next(&cookies, HERE, now).is_expected);
        cookies.learn(server(1), sent, returned(sent), true, now);
        cookies.learn(server(1), sent, returned(sent), false, now);
        assert!(next(&cookies, HERE, now).is_expected);
        cookies.doubt(server(1));
        assert_eq!(next(&cookies, HERE, now), SentCookie { cookie: returned(sent), ..sent });
    }

    #[tokio::test]
    async fn a_server_that_does_without_gets_none_for_an_hour() {
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        let sent = next(&cookies, HERE, now);
        assert!(cookies.is_new(server(1), now));
        cookies.leave_out(server(1), now);
        assert!(!cookies.is_new(server(1), now), "it got none");
        cookies.learn(server(1), sent, returned(sent), true, now);
        cookies.doubt(server(1));
        let late = now + LIFETIME - Duration::from_secs(1);
        assert_eq!(cookies.cookie_for(server(1), HERE, late), Ok(None));
        let sent = next(&cookies, HERE, now + LIFETIME);
        cookies.learn(server(1), sent, returned(sent), true, now + LIFETIME);
        assert!(!cookies.is_new(server(1), now + LIFETIME), "it gave one");
    }

    #[tokio::test]
    async fn of_many_servers_the_last_are_remembered() {
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        let sent = next(&cookies, HERE, now);
        for number in 0..2 * MAX_SERVERS.get() as u16 {
            cookies.learn(server(number), sent, returned(sent), true, now);
        }
        assert_eq!(cookies.lock().len(), MAX_SERVERS.get());
        assert!(known(&mut cookies.lock(), server(1), now).is_none());
    }
}
