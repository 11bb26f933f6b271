//! What a server can do less than others: learnt from what it answers, and forgotten after a while, so that what has been
//! mended is noticed.
//!
//! Each of these protects an answer or makes it better, so that nobody off the path may be able to switch one off: what a
//! single datagram says that could have been guessed never counts. `exchange` says what does.

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroUsize,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use lru::LruCache;
use tokio::{sync::Notify, time::Instant};

/// Servers that are remembered: more than anybody asks again and again. Some 150 KB.
const MAX_SERVERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// So long is what was learnt believed. It is tried anew after that, which costs a question or two.
pub(super) const LIFETIME: Duration = Duration::from_secs(900);

/// Answers in a row that were cut or unreadable though any datagram would have held them, after which a server is asked over
/// TCP at once.
/// Those that are too large say nothing: whoever asks chooses how many they are.
const CUT_BEFORE_TCP: u8 = 3;

/// Questions in a row to which an answer came in another spelling while TCP kept it, as a box on the way may do it. Whoever
/// would forge that has to guess a port and an id each time.
const MISSPELT_BEFORE_PLAIN: u8 = 3;

/// What a server can do, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// It keeps the spelling of a question (0x20), which makes an answer harder to guess.
    pub(super) spelling: bool,
    /// It understands EDNS.
    pub(super) edns: bool,
    /// It answers over UDP, and not with cut answers alone.
    pub(super) udp: bool,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    Spelling,
    Edns,
    Udp,
}

/// What is known of servers.
#[derive(Debug)]
pub(super) struct ServerCapabilities {
    servers: Mutex<LruCache<SocketAddr, Known, RandomState>>,
    /// A server that was silent has shown what it minds.
    explained: Notify,
}

/// What is known of one server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Until when it is believed to do without.
    no_spelling: Option<Instant>,
    no_edns: Option<Instant>,
    no_udp: Option<Instant>,
    /// Until when it is sure to understand EDNS.
    edns: Option<Instant>,
    /// In a row.
    misspelt: u8,
    cut: u8,
}

impl ServerCapabilities {
    pub(super) fn new() -> Self {
        let servers = Mutex::new(LruCache::with_hasher(MAX_SERVERS, RandomState::new()));
        Self { servers, explained: Notify::new() }
    }

    pub(super) fn of(&self, server: SocketAddr, now: Instant) -> Capabilities {
        self.lock().get(&server).copied().unwrap_or_default().capabilities(now)
    }

    /// The server does without `capability`.
    pub(super) fn lacks(&self, server: SocketAddr, capability: Capability, now: Instant) {
        self.change(server, |known| *known.lacking(capability) = Some(now + LIFETIME));
    }

    /// As [`Self::lacks`], which is why the server was silent: those who wait for its answers ask again.
    pub(super) fn was_silent_for_want_of(&self, server: SocketAddr, capability: Capability, now: Instant) {
        self.lacks(server, capability, now);
        self.explained.notify_waiters();
    }

    /// Waits until less is known to be of use than `known` when a question left that got no answer.
    pub(super) async fn explained(&self, server: SocketAddr, known: Capabilities) {
        loop {
            let mut news = pin!(self.explained.notified());
            // From here on no news is missed.
            news.as_mut().enable();
            let present = self.of(server, Instant::now());
            if (known.edns && !present.edns) || (known.udp && !present.udp) {
                return;
            }
            news.await;
        }
    }

    /// The server has answered a question with EDNS.
    pub(super) fn has_edns(&self, server: SocketAddr, now: Instant) {
        self.change(server, |known| known.has_edns(now));
    }

    /// The server refused a question with EDNS, and answered it without.
    pub(super) fn refused_edns(&self, server: SocketAddr, now: Instant) {
        self.change(server, |known| known.refused_edns(now));
    }

    /// Whether the server has answered a question with EDNS lately, so that its silence has other reasons.
    pub(super) fn is_sure_of_edns(&self, server: SocketAddr, now: Instant) -> bool {
        self.lock().get(&server).is_some_and(|known| known.is_sure_of_edns(now))
    }

    /// A whole answer came over UDP in the spelling of its question.
    pub(super) fn answered_over_udp(&self, server: SocketAddr) {
        if let Some(known) = self.lock().get_mut(&server) {
            (known.misspelt, known.cut, known.no_udp) = (0, 0, None);
        }
    }

    /// A datagram came in another spelling, and over TCP the spelling was kept.
    pub(super) fn misspelt(&self, server: SocketAddr, now: Instant) {
        self.change(server, |known| {
            known.misspelt = known.misspelt.saturating_add(1);
            if known.misspelt >= MISSPELT_BEFORE_PLAIN {
                (known.misspelt, known.no_spelling) = (0, Some(now + LIFETIME));
            }
        });
    }

    /// Over UDP nothing came but an answer that would have fit and was cut or unreadable, or that nothing listens. Over TCP
    /// it came.
    pub(super) fn cut(&self, server: SocketAddr, now: Instant) {
        self.change(server, |known| {
            known.cut = known.cut.saturating_add(1);
            if known.cut >= CUT_BEFORE_TCP {
                (known.cut, known.no_udp) = (0, Some(now + LIFETIME));
            }
        });
    }

    fn change(&self, server: SocketAddr, change: impl FnOnce(&mut Known)) {
        change(self.lock().get_or_insert_mut(server, Known::default));
    }

    /// Each change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, LruCache<SocketAddr, Known, RandomState>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    pub(super) fn capabilities(&self, now: Instant) -> Capabilities {
        let can = |lacking: Option<Instant>| lacking.is_none_or(|until| now >= until);
        Capabilities { spelling: can(self.no_spelling), edns: can(self.no_edns), udp: can(self.no_udp) }
    }

    pub(super) fn has_edns(&mut self, now: Instant) {
        self.edns = Some(now + LIFETIME);
    }

    /// Where other questions with EDNS have been answered, it is this name that is refused, by the server or by one behind
    /// it: whoever chooses names is not to switch EDNS off for everybody.
    pub(super) fn refused_edns(&mut self, now: Instant) {
        if !self.is_sure_of_edns(now) {
            self.no_edns = Some(now + LIFETIME);
        }
    }

    fn is_sure_of_edns(&self, now: Instant) -> bool {
        self.edns.is_some_and(|until| now < until)
    }

    fn lacking(&mut self, capability: Capability) -> &mut Option<Instant> {
        match capability {
            Capability::Spelling => &mut self.no_spelling,
            Capability::Edns => &mut self.no_edns,
            Capability::Udp => &mut self.no_udp,
        }
    }
}

impl Capabilities {
    /// What is believed of a server of which nothing is known.
    pub(super) const ALL: Self = Self { spelling: true, edns: true, udp: true };
}

/// What is missing, as the log says it.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = [
            (self.spelling, "does not keep the spelling of questions (0x20)"),
            (self.edns, "wants no EDNS"),
            (self.udp, "has to be asked over TCP"),
        ];
        let missing: Vec<_> = missing.iter().filter(|(can, _)| !can).map(|(_, text)| *text).collect();
        f.write_str(&missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn server(number: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 1], number))
    }

    #[tokio::test]
    async fn what_a_server_lacks_is_believed_for_a_while_and_then_tried_anew() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        for (capability, expected) in [
            (Capability::Spelling, Capabilities { spelling: false, ..Capabilities::ALL }),
            (Capability::Edns, Capabilities { edns: false, ..Capabilities::ALL }),
            (Capability::Udp, Capabilities { udp: false, ..Capabilities::ALL }),
        ] {
            servers.lacks(server(1), capability, now);
            assert_eq!(servers.of(server(1), now + LIFETIME - SECOND), expected);
            assert_eq!(servers.of(server(2), now), Capabilities::ALL, "another server");
            assert_eq!(servers.of(server(1), now + LIFETIME), Capabilities::ALL);
            servers.lock().clear();
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_over_udp_is_asked_there_again() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        servers.lacks(server(1), Capability::Udp, now);
        servers.answered_over_udp(server(1));
        assert_eq!(servers.of(server(1), now), Capabilities::ALL);
    }

    #[tokio::test]
    async fn one_name_that_is_refused_with_edns_does_not_switch_it_off() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        servers.has_edns(server(1), now);
        servers.refused_edns(server(1), now + LIFETIME - SECOND);
        assert!(servers.of(server(1), now + LIFETIME - SECOND).edns);
        servers.refused_edns(server(1), now + LIFETIME);
        assert!(!servers.of(server(1), now + LIFETIME).edns, "nothing else has been answered for a while");
    }

    #[tokio::test]
    async fn only_answers_in_a_row_count_that_are_cut_or_in_another_spelling() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        for _ in 0..10 {
            (1..CUT_BEFORE_TCP).for_each(|_| servers.cut(server(1), now));
            (1..MISSPELT_BEFORE_PLAIN).for_each(|_| servers.misspelt(server(1), now));
            assert_eq!(servers.of(server(1), now), Capabilities::ALL);
            servers.answered_over_udp(server(1));
        }
        (0..CUT_BEFORE_TCP).for_each(|_| servers.cut(server(1), now));
        assert_eq!(servers.of(server(1), now), Capabilities { udp: false, ..Capabilities::ALL });
        (0..MISSPELT_BEFORE_PLAIN).for_each(|_| servers.misspelt(server(2), now));
        assert_eq!(servers.of(server(2), now), Capabilities { spelling: false, ..Capabilities::ALL });
    }

    #[tokio::test]
    async fn who_waits_is_told_what_a_silent_server_minds() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        let known = servers.of(server(1), now);
        let mut waiting = Box::pin(servers.explained(server(1), known));
        assert!((&mut waiting).now_or_never().is_none());
        servers.was_silent_for_want_of(server(2), Capability::Edns, now);
        servers.was_silent_for_want_of(server(1), Capability::Spelling, now);
        assert!((&mut waiting).now_or_never().is_none(), "not why it was silent");
        servers.was_silent_for_want_of(server(1), Capability::Edns, now);
        assert!((&mut waiting).now_or_never().is_some());
        let known = servers.of(server(1), now);
        assert!(servers.explained(server(1), known).now_or_never().is_none(), "that was known");
    }

    #[tokio::test]
    async fn a_server_is_sure_of_edns_for_a_while_after_each_answer() {
        let (servers, mut now) = (ServerCapabilities::new(), Instant::now());
        assert!(!servers.is_sure_of_edns(server(1), now));
        for _ in 0..10 {
            servers.has_edns(server(1), now);
            now += LIFETIME / 2 + SECOND;
            assert!(servers.is_sure_of_edns(server(1), now));
        }
        assert!(!servers.is_sure_of_edns(server(1), now + LIFETIME));
    }

    #[tokio::test]
    async fn of_many_servers_the_last_are_remembered() {
        let (servers, now) = (ServerCapabilities::new(), Instant::now());
        for number in 0..2 * MAX_SERVERS.get() as u16 {
            servers.lacks(server(number), Capability::Edns, now);
            servers.has_edns(server(number), now);
        }
        assert_eq!(servers.lock().len(), MAX_SERVERS.get());
        assert_eq!(servers.of(server(1), now), Capabilities::ALL);
    }
}
