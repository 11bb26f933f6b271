//! Who was refused or cut off, and why: counted, and said in the log now and then.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{metrics::family::Family, registry::Registry};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Label, StripedCounter};

/// A reason is said once in this time, without the client's address. With `verbose` every refusal is, with it.
const SAY_EVERY: Duration = Duration::from_secs(3600);

/// Each reason with its label and with what an operator should know.
macro_rules! reasons {
    ($($(#[$about:meta])* $reason:ident = $label:literal, $text:literal;)+) => {
        /// Why a request was refused or a connection closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$about])* $reason,)+
        }

        impl Reason {
            const ALL: &[Self] = &[$(Self::$reason),+];

            /// The label in metrics.
            pub fn label(self) -> &'static str {
                match self { $(Self::$reason => $label),+ }
            }

            /// What happened, and which option decides it.
            fn text(self) -> &'static str {
                match self { $(Self::$reason => $text),+ }
            }
        }
    };
}

reasons! {
    /// `[access]` does not serve this address.
    Access = "access", "a client asked that [access] does not serve; if it is one of yours, add its network to access.allow";
    /// More queries than `[rate_limit]` allows.
    QueryQuota = "query_quota",
        "a client asked more than rate_limit.requests_per_minute and burst_size allow";
    /// More datagrams bear this address than `[rate_limit]` allows, and one of them was told to come back over TCP.
    Truncated = "truncated",
        "more datagrams bear a client's address than rate_limit.requests_per_minute and burst_size allow; now and then one is told to come back over TCP";
    /// The same, and one of them was given a cookie to come back with.
    BadCookie = "bad_cookie",
        "more datagrams bear a client's address than rate_limit.requests_per_minute and burst_size allow; now and then one is given a cookie to come back with";
    /// More new keys than `[rate_limit]` allows.
    LookupQuota = "lookup_quota",
        "a client asked for more new keys than rate_limit.dht_requests_per_minute and dht_burst_size allow";
    /// More new keys than an origin may look up.
    OriginBudget = "origin_budget",
        "names of so many new keys were asked for in an [[origin]] that one was not looked up";
    /// More connections than a client may have.
    ClientConnections = "client_connections",
        "a client had all the connections that connections_per_client allows, or [dot] and [doh] connections_per_client";
    /// More connections than an IPv6 network may have.
    NetworkConnections = "network_connections",
        "an IPv6 network had all its connections: 8 times connections_per_client, 32 times for one of our own";
    /// More connections than there may be.
    AllConnections = "all_connections",
        "all places for connections were taken; doh.max_connections and the limit of open files decide how many there are";
    /// A client had a new connection in place of an old one.
    ConnectionDisplaced = "connection_displaced",
        "a client had all the connections that connections_per_client allows: a silent one was closed for a new one";
    /// More connections than those may have whom `[access]` does not serve.
    StrangersConnections = "strangers_connections",
        "clients that [access] does not serve had all the connections that there are to tell them so";
    /// More TLS handshakes than those may have whom `[access]` does not serve.
    StrangersHandshakes = "strangers_handshakes",
        "clients that [access] does not serve had all the TLS handshakes that there are to tell them so";
    /// A TLS handshake of a client that has spent its quota.
    HandshakeQuota = "handshake_quota",
        "a client began more TLS handshakes than rate_limit.requests_per_minute and burst_size allow";
    /// More queries wait for an answer than may.
    Waiting = "waiting", "too many queries waited for their answers";
    /// Replies that wait to be read take more than this client may hold of `[memory]`.
    Unread = "unread", "a client read too little of its replies: memory.unread_megabytes decides how much may wait";
    /// Bodies of requests take more than this client may hold of `[memory]`.
    Bodies = "bodies", "a client sent too many bodies at once: memory.unread_megabytes decides how much may wait";
    /// A reply was not read, or a request not sent, in time.
    TooSlow = "too_slow", "a client took too long to send a request or to read its reply";
    /// Lookups that got no turn.
    Turn = "turn", "so many lookups were under way that one got no turn in time";
    /// Answers that were not asked for again ahead of time.
    Refresh = "refresh", "a client had as many answers asked for again ahead of time as it may";
    /// Replies over UDP that were ready late, beyond the few that a network gets.
    LateReply = "late_reply", "many replies to one network were ready late, and some of them were not sent";
}

/// Counts refusals and logs them. Clones count together.
#[derive(Debug, Clone)]
pub struct Refusals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    family: Family<Vec<Label>, StripedCounter>,
    by_reason: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    count: StripedCounter,
    /// When it may be said again, in seconds after the start.
    quiet_until: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        let family = Family::<Vec<Label>, StripedCounter>::default();
        let kind = |reason: &Reason| Kind {
            count: family.get_or_create_owned(&vec![("reason", reason.label())]),
            quiet_until: AtomicU64::new(0),
        };
        let by_reason = Reason::ALL.iter().map(kind).collect();
        Self(Arc::new(Inner { start: Instant::now(), family, by_reason }))
    }
}

impl Refusals {
    /// Counts one, and says so if that is due. Never blocks.
    pub fn note(&self, reason: Reason, client: IpAddr) {
        let Some(kind) = self.0.by_reason.get(reason as usize) else { return };
        kind.count.inc();
        debug!(%client, reason = reason.label(), "refused: {}", reason.text());
        let now = self.0.start.elapsed().as_secs();
        let quiet_until = kind.quiet_until.load(Ordering::Relaxed);
        let next = now + SAY_EVERY.as_secs();
        // Of many at once only one says it.
        if now >= quiet_until
            && kind
                .quiet_until
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            info!(reason = reason.label(), "{}; counted in pkdns_refusals, said once an hour", reason.text());
        }
    }

    /// How many there were.
    pub fn count(&self, reason: Reason) -> u64 {
        self.0.by_reason.get(reason as usize).map_or(0, |kind| kind.count.get())
    }

    /// Each reason with how many there were.
    pub fn readings(&self) -> Vec<(&'static str, u64)> {
        Reason::ALL.iter().map(|reason| (reason.label(), self.count(*reason))).collect()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("refusals", "Requests refused and connections closed", self.0.family.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::Ipv4Addr,
        sync::{Mutex, PoisonError},
    };

    use tokio::time::advance;

    use super::*;

    /// What was logged, as text.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn lines(&self) -> Vec<String> {
            let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            String::from_utf8(text).unwrap().lines().map(String::from).collect()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logging(level: tracing::Level) -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    #[tokio::test(start_paused = true)]
    async fn each_reason_is_counted_and_said_once_an_hour_without_the_address() {
        let (log, _guard) = logging(tracing::Level::INFO);
        let refusals = Refusals::default();
        let client = Ipv4Addr::new(192, 0, 2, 7).into();
        for _ in 0..100 {
            refusals.note(Reason::Access, client);
            refusals.note(Reason::QueryQuota, client);
        }
        assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
        advance(SAY_EVERY).await;
        refusals.note(Reason::Access, client);
        assert_eq!(log.lines().len(), 3);
        assert_eq!((refusals.count(Reason::Access), refusals.count(Reason::Waiting)), (101, 0));
        assert!(log.lines().iter().all(|line| !line.contains("192.0.2.7")), "{:?}", log.lines());
    }

    #[tokio::test(start_paused = true)]
    async fn verbose_says_each_with_its_client() {
        let (log, _guard) = logging(tracing::Level::DEBUG);
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(Reason::Access, Ipv4Addr::new(192, 0, 2, 7).into());
        }
        let with_address = |line: &&String| line.contains("192.0.2.7") && line.contains("access");
        assert_eq!(log.lines().iter().filter(with_address).count(), 3);
    }
}
