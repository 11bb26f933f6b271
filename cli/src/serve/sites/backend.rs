//! The web server behind a site.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use pkdns::sources::connector::{Stream, cause};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::either::Either;
use tower_service::Service;

use super::body::Outgoing;
use crate::{serve::config, terminal};

/// A web server on the same machine or network takes a connection at once, or is not there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Connections that wait for the next request, and for how long: shorter than web servers keep them, so that none is closed from
/// the other side while a request is on its way.
const IDLE: usize = 32;
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Bytes of the head of a response.
const HEAD_SIZE: usize = 64 << 10;

/// A web server, and the connections to it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Backend {
    address: config::Backend,
    client: Client<Connector, Outgoing>,
    is_down: Arc<AtomicBool>,
}

impl Backend {
    pub(super) fn new(address: config::Backend) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_TIME)
            .http1_max_buf_size(HEAD_SIZE)
            .build(Connector(address.clone()));
        Self { address, client, is_down: Arc::default() }
    }

    pub(super) fn address(&self) -> &config::Backend {
        &self.address
    }

    /// Passes a request on. `name` is that of its identity in the log, where it is said when the web server goes away and comes
    /// back.
    pub(super) async fn request(
        &self,
        name: &str,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Error> {
        let answered = self.client.request(request).await;
        let is_down = answered.as_ref().is_err_and(Error::is_connect);
        match (self.is_down.swap(is_down, Ordering::Relaxed), &answered) {
            (false, Err(error)) if is_down => {
                let why = unreachable(&self.address, &terminal::printable(&cause(error).to_string()));
                let advice = "visitors are told so until it answers: start it, or mend backend";
                terminal::note_about(name, &format!("error: {why}; {advice}"));
            }
            (true, _) if !is_down => {
                terminal::note_about(name, &format!("the web server at {} answers again", self.address));
            }
            _ => {}
        }
        answered
    }
}

/// Whether a web server takes connections, for who starts it afterwards.
pub(in crate::serve) async fn look(address: &config::Backend) -> Result<(), String> {
    connect(address).await.map(drop).map_err(|error| unreachable(address, &error.to_string()))
}

fn unreachable(address: &config::Backend, error: &str) -> String {
    format!("the web server at {address} cannot be reached: {error}")
}

async fn connect(address: &config::Backend) -> io::Result<Stream<UnixStream>> {
    let connecting = async {
        match address {
            config::Backend::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream).into())
            }
            config::Backend::Unix(path) => Ok(Either::Right(UnixStream::connect(path).await?).into()),
        }
    };
    timeout(CONNECT_DEADLINE, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Makes connections to one place, whatever the address of a request says.
#[derive(Clone)]
struct Connector(config::Backend);

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream<UnixStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Stream<UnixStream>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0.clone();
        Box::pin(async move { connect(&address).await.map(TokioIo::new) })
    }
}
