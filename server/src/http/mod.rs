//! HTTP/1.1 listeners. The only place that names axum.

mod metrics;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use metrics::metrics_routes;

use crate::{
    access::AccessList,
    transport::{Slot, Slots, accept},
};

/// Bytes of a request that are read ahead; a head that does not fit is refused.
const READ_BUFFER: usize = 16 << 10;

/// What was asked before the stop is answered within this time of it.
const DRAIN: Duration = Duration::from_secs(1);

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all. One more is closed at once.
    pub connections: usize,
    /// Connections per client, an IPv4 address or an IPv6 /64.
    pub connections_per_client: usize,
    /// How long the head of a request may take.
    pub head: Duration,
    /// How long a connection may take from first to last. It carries one request.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            connections_per_client: 16,
            head: Duration::from_secs(5),
            connection: Duration::from_secs(10),
        }
    }
}

/// Starts answering on every listener, which share the limits. Clients that `access` does not allow are told so.
pub fn serve(
    listeners: Vec<TcpListener>,
    routes: Router,
    access: AccessList,
    limits: Limits,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let entrance = Arc::new(Entrance {
        open: Slots::new(limits.connections, limits.connections_per_client),
        denied: Router::new().fallback((StatusCode::FORBIDDEN, "[access] does not allow this address.\n")),
        routes,
        access,
        limits,
    });
    for listener in listeners {
        let (entrance, stop, spawner) = (entrance.clone(), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            accept(listener, &stop, |stream, address| {
                if let Some(slot) = entrance.open.take(address) {
                    let routes = entrance.routes_for(address).clone();
                    spawner.spawn(answer(stream, routes, entrance.limits.clone(), stop.clone(), slot));
                }
            })
            .await;
        });
    }
}

/// Who comes in, and what they see.
struct Entrance {
    open: Arc<Slots>,
    access: AccessList,
    routes: Router,
    denied: Router,
    limits: Limits,
}

impl Entrance {
    fn routes_for(&self, address: IpAddr) -> &Router {
        if self.access.allows(address) { &self.routes } else { &self.denied }
    }
}

/// Answers one request. A connection that is kept costs a place and saves little to whom a minute passes between two.
async fn answer(stream: TcpStream, routes: Router, limits: Limits, stop: CancellationToken, slot: Slot) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(READ_BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let connection = timeout(limits.connection, connection);
    tokio::pin!(connection);
    let outcome = match stop.run_until_cancelled(&mut connection).await {
        Some(outcome) => Ok(outcome),
        None => timeout(DRAIN, connection).await,
    };
    match outcome {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::debug!(%error, "http connection ended"),
        Ok(Err(_)) | Err(_) => tracing::debug!("http connection closed: it took too long"),
    }
    drop(slot);
}
