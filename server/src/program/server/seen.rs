//! What is seen of the server while it runs: whether it is ready, and its status.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::Server;
use crate::{
    base::metrics::{CertificateReading, Metrics, Process, RequestOutcomes, UpstreamReading, UpstreamState},
    edge::{
        certificates::Certificates,
        status::{
            Caches, CertificateStatus, Counted, Counts, DeniedStatus, DenyListStatus, DhtStatus, DhtWatch,
            Facts, Period, ProcessStatus, Readiness, ReloadStatus, Sample, Socket, SocketError, Status,
            Trends, UpstreamStatus,
        },
    },
    resolver::denied::{DeniedKeys, ListReading},
    sources::{
        forward::Forwarder,
        packets::{Packets, Stores},
    },
};

/// The DHT is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whether the server is ready is found out anew after this, so that a flood of requests for it costs nothing.
const JUDGED_FOR: Duration = Duration::from_secs(1);

/// Where another server still answers, as while one takes over from it, the socket is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A server whose place this one takes has ended by then, with its connections.
const LONGEST_SUCCESSION: Duration = Duration::from_secs(35);

/// The certificates that clients are shown, of which a reload makes others.
pub(super) type Shown = Arc<ArcSwap<Vec<Certificates>>>;

/// The parts of a server that tell how it does.
pub(super) struct Sight {
    metrics: Metrics,
    forwarder: Arc<Forwarder>,
    certificates: Shown,
    packets: Packets,
    denied: DeniedKeys,
    stores: Stores,
    has_dht: bool,
    /// As `udp 127.0.0.1:53`.
    listening: Mutex<Vec<String>>,
    stop: CancellationToken,
    start: Instant,
    dht: Mutex<DhtWatch>,
    trends: Mutex<Trends>,
    /// What was found, without and with all that there may be.
    judged: Mutex<[Option<(Instant, Readiness)>; 2]>,
}

impl Sight {
    /// Of a server that runs until `stop` is cancelled.
    pub(super) fn new(server: &Server, stop: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            metrics: server.metrics.clone(),
            forwarder: server.forwarder.clone(),
            certificates: server.shown.clone(),
            packets: server.packets.clone(),
            denied: server.denied.clone(),
            stores: server.stores.clone(),
            has_dht: server.dht.is_some(),
            listening: Mutex::default(),
            stop: stop.clone(),
            start: Instant::now(),
            dht: Mutex::default(),
            trends: Mutex::default(),
            judged: Mutex::default(),
        })
    }

    /// Takes note of where the server can be reached from now on, as `udp 127.0.0.1:53`.
    pub(super) fn listens(&self, listening: Vec<String>) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    /// Looks at what is counted until the stop.
    pub(super) async fn watch(self: Arc<Self>) {
        let watching = async {
            loop {
                self.note_trends();
                sleep(LOOK_EVERY).await;
            }
        };
        self.stop.run_until_cancelled(watching).await;
    }

    /// Answers `pkdns status` at `path` until the stop.
    pub(super) async fn serve(self: Arc<Self>, path: PathBuf, tasks: TaskTracker) {
        let (began, mut has_complained) = (Instant::now(), false);
        let binding = async {
            loop {
                match Socket::bind(&path) {
                    Err(error @ SocketError::InUse(_)) => {
                        if began.elapsed() > LONGEST_SUCCESSION && !has_complained {
                            has_complained = true;
                            warn!("pkdns status does not show this server: {error}");
                        }
                    }
                    bound => return bound,
                }
                sleep(RETRY_AFTER).await;
            }
        };
        match self.stop.run_until_cancelled(binding).await {
            Some(Ok(socket)) => {
                let (sight, stop) = (self.clone(), self.stop.clone());
                socket.serve(move || sight.status(), stop, tasks).await;
            }
            Some(Err(error)) => warn!("pkdns status does not show this server: {error}"),
            None => {}
        }
    }

    /// How it went, in short and in long.
    pub(super) fn trends(&self) -> (Period, Period) {
        let trends = self.trends.lock().unwrap_or_else(PoisonError::into_inner);
        (trends.short(), trends.long())
    }

    fn look(&self) -> Sample {
        let requests = &self.metrics.dht.requests;
        let (mut answered, mut ended) = (0, 0);
        for outcomes in [&requests.find_node, &requests.get, &requests.put] {
            let RequestOutcomes { answered: well, unsupported, refused, unanswered, .. } = outcomes;
            // A node that refuses is there.
            let replies = well.get() + unsupported.get() + refused.get();
            answered += replies;
            ended += replies + unanswered.get();
        }
        let round_trips = self.metrics.dht.round_trip.observed();
        let sample = Sample { at: Instant::now(), answered, ended, round_trips };
        self.dht.lock().unwrap_or_else(PoisonError::into_inner).note(sample);
        sample
    }

    /// Takes note of what has been counted, for drawings of how it went.
    fn note_trends(&self) {
        let dht = self.look();
        let service = &self.metrics.service;
        let upstreams = self.forwarder.snapshot(dht.at);
        let codes =
            [&service.udp, &service.tcp, &service.tls, &service.http].map(|queries| &queries.answered);
        let counted = Counted {
            replies: service.replies(),
            failures: codes.iter().map(|codes| codes.server_failure.get()).sum(),
            refusals: self.metrics.refusals.readings().iter().map(|(_, count)| count).sum(),
            hits: service.answer_cache.hit.get(),
            misses: service.answer_cache.miss.get(),
            answers: service.times.observed(),
            dht_answered: dht.answered,
            dht_ended: dht.ended,
            dht_round_trips: dht.round_trips,
            upstreams: upstreams.iter().map(|upstream| upstream.metrics.latency.observed()).sum(),
        };
        self.trends.lock().unwrap_or_else(PoisonError::into_inner).note(dht.at, counted);
    }

    pub(super) fn readiness(&self, all: bool) -> Readiness {
        let now = Instant::now();
        let is_stopping = self.stop.is_cancelled();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let [some, each] = &mut *judged;
        let judged = if all { each } else { some };
        if let Some((at, readiness)) = judged
            && now.saturating_duration_since(*at) < JUDGED_FOR
        {
            return Readiness { is_stopping, ..readiness.clone() };
        }
        let readiness = self.facts(now).judge(all, SystemTime::now());
        *judged = Some((now, readiness.clone()));
        readiness
    }

    fn facts(&self, now: Instant) -> Facts {
        self.look();
        let has_dht_answered = || self.dht.lock().unwrap_or_else(PoisonError::into_inner).has_answered(now);
        let mut upstreams = self.forwarder.snapshot(now);
        // Those of zones of their own are not asked while nobody asks them.
        upstreams.retain(|upstream| upstream.zone == ".");
        Facts {
            is_stopping: self.stop.is_cancelled(),
            certificates: self.certificates.load().iter().map(Certificates::reading).collect(),
            has_dht_answered: self.has_dht.then(has_dht_answered),
            upstreams,
        }
    }

    pub(super) fn status(&self) -> Status {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let facts = self.facts(now);
        let service = &self.metrics.service;
        let transports =
            [("udp", &service.udp), ("tcp", &service.tcp), ("dot", &service.tls), ("doh", &service.http)];
        let mut unanswered = Counts::new();
        for (_, queries) in transports {
            for (reason, count) in queries.unanswered.readings() {
                *unanswered.entry(reason.to_owned()).or_default() += count;
            }
        }
        let queries: BTreeMap<_, _> = transports
            .into_iter()
            .map(|(name, queries)| (name.to_owned(), counts(queries.answered.readings())))
            .collect();
        let process = Process::read();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: process::id(),
            uptime_seconds: now.saturating_duration_since(self.start).as_secs(),
            ready: facts.judge(false, clock).is_ready(),
            missing: facts.judge(true, clock).missing,
            listening: self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            queries,
            unanswered,
            refusals: counts(self.metrics.refusals.readings()),
            caches: Caches {
                answer_hits: service.answer_cache.hit.get(),
                answer_misses: service.answer_cache.miss.get(),
                packets_in_memory: self.packets.len() as u64,
                packets_on_disk: self.stores.disk.as_ref().map(|disk| disk.len() as u64),
                disk_failed: self.stores.disk.as_ref().is_some_and(|disk| disk.has_failed()),
                shared_store_failed: self.stores.shared.as_ref().map(|shared| shared.has_failed()),
            },
            dht: self.has_dht.then(|| self.dht_status()),
            upstreams: self.forwarder.snapshot(now).iter().map(upstream_status).collect(),
            certificates: facts
                .certificates
                .iter()
                .flatten()
                .map(|shown| certificate_status(shown, clock))
                .collect(),
            connections: counts(self.metrics.connections.open.readings()),
            bridge: counts(self.metrics.bridge.connections.readings()),
            tls_handshake_failures: counts(self.metrics.connections.handshake_failures.readings()),
            denied: DeniedStatus {
                lists: self.denied.readings().into_iter().map(deny_list_status).collect(),
                lookups: counts(self.metrics.denied.readings()),
            },
            last_reload: self.metrics.reload.last().map(|(at, succeeded)| ReloadStatus {
                seconds_ago: clock.duration_since(at).unwrap_or_default().as_secs(),
                succeeded,
            }),
            process: ProcessStatus {
                resident_bytes: process.resident_bytes,
                open_descriptors: process.open_descriptors,
                max_descriptors: process.max_descriptors,
                cpu_seconds: process.cpu_seconds,
            },
        }
    }

    fn dht_status(&self) -> DhtStatus {
        let dht = self.dht.lock().unwrap_or_else(PoisonError::into_inner).now();
        DhtStatus {
            nodes: self.metrics.dht.nodes.readings().into_iter().map(|(_, nodes)| nodes).sum(),
            requests: dht.requests,
            reply_share: dht.reply_share,
            round_trip_ms: dht.round_trip.map(milliseconds),
            lookups_in_flight: self.metrics.dht.lookups_in_flight.get().try_into().unwrap_or(0),
            lookups_queued: self.metrics.dht.lookups_queued.get().try_into().unwrap_or(0),
        }
    }
}

fn counts(readings: Vec<(&'static str, u64)>) -> Counts {
    readings.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn upstream_status(reading: &UpstreamReading) -> UpstreamStatus {
    let (state, left) = match reading.state {
        UpstreamState::InUse => ("in use", None),
        UpstreamState::LeftAlone(left) => ("left alone", Some(left.as_secs_f64())),
        UpstreamState::Looping => ("sends questions back", None),
        UpstreamState::NoRoute => ("no route", None),
    };
    UpstreamStatus {
        address: reading.address.clone(),
        zone: reading.zone.clone(),
        state: state.to_owned(),
        left_alone_seconds: left,
        latency_ms: reading.metrics.smoothed_latency().map(milliseconds),
        last_answer_seconds: reading.last_answer.map(|ago| ago.as_secs()),
        requests: counts(reading.metrics.readings()),
    }
}

fn deny_list_status(list: ListReading) -> DenyListStatus {
    DenyListStatus {
        name: list.name,
        reason: list.reason.to_owned(),
        keys: list.keys as u64,
        age_seconds: list.age.map(|age| age.as_secs()),
        fault: list.fault,
    }
}

fn certificate_status(shown: &CertificateReading, now: SystemTime) -> CertificateStatus {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = seconds(shown.to) as i64 - seconds(now) as i64;
    CertificateStatus {
        names: shown.names.clone(),
        expires_timestamp: seconds(shown.to),
        days_left: left.div_euclid(86_400),
    }
}
