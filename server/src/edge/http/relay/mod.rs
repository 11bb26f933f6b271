//! A PKARR relay: `GET` and `PUT` of `/<key>`, as PKARR clients ask, and of `/pkarr/<key>`, as iroh does. The body is the
//! packet without its key.
//!
//! What older clients (pkarr 3) say about the packet that they replace (`If-Match`, a timestamp) is heard: of two that
//! change a zone at the same time, the second learns of it (412) instead of undoing the first. That such a condition is
//! required (428) is never said: stores of one key come one after the other.

mod answer;
mod cors;
mod request;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::HeaderMap,
    middleware::{self, Next},
    response::Response,
    routing,
};
use pkdns_dht::{NetworkError, PutError, signed_packet::PublicKey};

use super::{Visitor, pages};
use crate::{
    base::{access::Forwarders, config, metrics::RelayMetrics, rate_limit::RateLimiter},
    edge::held::Budget,
    resolver::denied::DeniedKeys,
    sources::packets::{FetchError, Found, PacketAnswer, Packets},
};
use answer::{Answer, Form};
use request::{Policy, read_key, read_packet};

/// What the relay needs. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    packets: Packets,
    denied: DeniedKeys,
    reads: Quota,
    writes: Quota,
    metrics: RelayMetrics,
}

/// Requests of one kind per client.
struct Quota {
    limiter: RateLimiter,
    /// Seconds until there is one more.
    retry_after: u32,
}

impl Quota {
    fn new(per_minute: u32, burst: u32, forwarders: &Forwarders) -> Self {
        let limiter = RateLimiter::new(per_minute, burst).with_forwarders(forwarders.clone());
        Self { limiter, retry_after: 60_u32.div_ceil(per_minute.max(1)) }
    }

    fn admit(&self, visitor: Visitor) -> Result<(), Answer> {
        match self.limiter.admit(visitor.address) {
            true => Ok(()),
            false => Err(Answer::OverQuota { retry_after: self.retry_after }),
        }
    }
}

/// What stands in the place of a key. Where that is no text, it is nothing, which is no key either.
fn segment(key: &Result<Path<String>, PathRejection>) -> &str {
    key.as_ref().map_or("", |Path(key)| key)
}

/// Browsers look for icons and robots for rules where keys are. They find what they find without a relay.
async fn leave_out_others(request: Request, next: Next) -> Response {
    match request::is_meant_as_key(request.uri().path()) {
        true => next.run(request).await,
        false => pages::nothing(),
    }
}

impl Relay {
    /// Reads from `packets`, and stores through them, but for keys that are `denied`.
    pub fn new(
        settings: &config::Relay,
        forwarders: &Forwarders,
        packets: Packets,
        denied: DeniedKeys,
        metrics: RelayMetrics,
    ) -> Self {
        Self(Arc::new(Inner {
            packets,
            denied,
            reads: Quota::new(settings.reads_per_minute, settings.read_burst_size, forwarders),
            writes: Quota::new(settings.writes_per_minute, settings.write_burst_size, forwarders),
            metrics,
        }))
    }

    /// Its routes, to stand beside the pages.
    pub fn routes(self) -> Router {
        let methods = |form: Form| {
            let get = move |State(relay): State<Self>,
                            Extension(visitor): Extension<Visitor>,
                            key: Result<Path<String>, PathRejection>,
                            RawQuery(query): RawQuery,
                            headers: HeaderMap| async move {
                let answer =
                    relay.get(visitor, segment(&key), query.as_deref().unwrap_or_default(), &headers).await;
                relay.count_read(&answer);
                answer.response(form)
            };
            let put = move |State(relay): State<Self>,
                            Extension(visitor): Extension<Visitor>,
                            Extension(budget): Extension<Budget>,
                            key: Result<Path<String>, PathRejection>,
                            request: Request| async move {
                let answer = relay.try_put(visitor, &budget, segment(&key), request).await;
                let answer = answer.unwrap_or_else(|refusal| refusal);
                relay.count_write(&answer);
                answer.response(form)
            };
            routing::get(get).put(put)
        };
        Router::new()
            .route("/{key}", methods(Form::Pkarr))
            .route("/pkarr/{key}", methods(Form::Iroh))
            .route_layer(middleware::from_fn(leave_out_others))
            .route_layer(middleware::from_fn(cors::share))
            .with_state(self)
    }

    /// The key in a path, if it may be asked for here.
    fn key(&self, text: &str) -> Result<PublicKey, Answer> {
        let key = read_key(text)?;
        self.0.denied.of(&key).map_or(Ok(key), |denial| Err(Answer::Denied(denial)))
    }

    async fn get(&self, visitor: Visitor, key: &str, query: &str, headers: &HeaderMap) -> Answer {
        self.try_get(visitor, key, query, headers).await.unwrap_or_else(|refusal| refusal)
    }

    async fn try_get(
        &self,
        visitor: Visitor,
        key: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, Answer> {
        let packets = &self.0.packets;
        self.0.reads.admit(visitor)?;
        let key = self.key(key)?;
        let packet = match Policy::read(query)? {
            Policy::CacheOnly => Ok(packets.held(&key).await.unwrap_or(PacketAnswer::Absent(Duration::ZERO))),
            // The quota of reads has been asked.
            Policy::CacheFirst => packets.get(&key, visitor.address, || true).await,
            Policy::NetworkOnly => packets.newest(&key, visitor.address).await,
        };
        Ok(match packet {
            Ok(PacketAnswer::Found(Found { packet, .. })) if !packet.is_readable() => {
                Answer::Absent { unreadable: Some(packet.timestamp()) }
            }
            Ok(PacketAnswer::Found(found)) if request::is_known(headers, &found.packet) => {
                Answer::NotModified(found)
            }
            Ok(PacketAnswer::Found(found)) => Answer::Found(found),
            Ok(PacketAnswer::Absent(_)) => Answer::Absent { unreadable: None },
            // Nobody is refused a search here.
            Err(FetchError::Network(_) | FetchError::Refused) => Answer::Unreachable,
        })
    }

    async fn try_put(
        &self,
        visitor: Visitor,
        budget: &Budget,
        key: &str,
        request: Request,
    ) -> Result<Answer, Answer> {
        self.0.writes.admit(visitor)?;
        let key = self.key(key)?;
        let cas = request::cas(request.headers());
        let packet = read_packet(key, request.into_body(), visitor.address, budget).await?;
        Ok(match self.0.packets.put(packet, cas).await {
            Ok(nodes) => Answer::Stored { nodes },
            Err(PutError::NotMostRecent) => Answer::NotMostRecent,
            Err(PutError::CasFailed) => Answer::CasFailed,
            Err(PutError::Network(NetworkError::Busy)) => Answer::Busy,
            Err(error @ (PutError::Refused(..) | PutError::Network(_))) => {
                Answer::NotStored(error.to_string())
            }
        })
    }

    fn count_read(&self, answer: &Answer) {
        let reads = &self.0.metrics.reads;
        let counter = match answer {
            Answer::Found(_) => &reads.found,
            Answer::NotModified(_) => &reads.not_modified,
            Answer::Absent { .. } => &reads.absent,
            Answer::OverQuota { .. } => &reads.quota,
            Answer::Unreachable => &reads.unavailable,
            Answer::Denied(_) => &reads.denied,
            _ => &reads.invalid,
        };
        counter.inc();
    }

    fn count_write(&self, answer: &Answer) {
        let writes = &self.0.metrics.writes;
        let counter = match answer {
            Answer::Stored { .. } => &writes.stored,
            Answer::NotMostRecent => &writes.not_most_recent,
            Answer::CasFailed => &writes.cas_failed,
            Answer::OverQuota { .. } => &writes.quota,
            Answer::Busy => &writes.busy,
            Answer::NotStored(_) => &writes.unavailable,
            Answer::Denied(_) => &writes.denied,
            _ => &writes.invalid,
        };
        counter.inc();
    }
}
