//! A connection of a visitor: the handshake with the right key, then requests.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pkdns::edge::{bridge::hello::UNRECOGNIZED_NAME, transport::TLS_BUFFER};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, rustls::server::Acceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Served, Table,
    activity::{Activity, Watched},
    forward::{Visitor, forward},
    places::{Places, Seat},
};

/// For all of the handshake.
const OPENING: Duration = Duration::from_secs(10);

/// For the head of a request over HTTP/1.1, and for the next one to begin. HTTP/2 has no such heads.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Bytes of the head of a request.
const HEAD_SIZE: usize = 64 << 10;

/// Requests of one connection at once, as RFC 9113 section 6.5.2 wants it at least.
const STREAMS: u32 = 100;

/// Requests that a client may take back before they are looked at. More of them end the connection (Rapid Reset).
const PENDING_RESETS: usize = 20;

/// Bytes of bodies that a client may send before the web server takes them: of one request, and of all.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Bytes of a response that may wait for a client that does not read.
const SEND_BUFFER: usize = 64 << 10;

/// What was asked before the end is answered within this time of it.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves a visitor until either side has had enough.
pub(super) async fn serve(stream: TcpStream, address: IpAddr, table: Arc<Table>, seat: Seat, places: Places) {
    // Only delays responses when it fails.
    let _ = stream.set_nodelay(true);
    // Boxed, because a handshake is large and soon over. One that fails is the visitor's affair.
    let (activity, leave) = (seat.activity().clone(), seat.leave().clone());
    let opening = Box::pin(timeout(OPENING, open(stream, &table)));
    let Some(Ok(Ok(Some((site, stream))))) = leave.run_until_cancelled(opening).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let server_name = stream.get_ref().1.server_name().map(str::to_owned);
    let stream = TokioIo::new(Watched::new(stream, activity.clone()));
    let stop = site.stop.clone();
    let visitor = Arc::new(Visitor { address, server_name, places, seat });
    let service = service_fn(move |request| {
        let forwarded = forward(site.clone(), visitor.clone(), request);
        async move { Ok::<_, Infallible>(forwarded.await) }
    });
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_SIZE as u32)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(stream, service);
        drive(connection, http2::Connection::graceful_shutdown, &activity, [&stop, &leave]).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_SIZE)
            .serve_connection(stream, service)
            .with_upgrades();
        drive(connection, http1::UpgradeableConnection::graceful_shutdown, &activity, [&stop, &leave]).await;
    }
}

/// Shakes hands with the key of the site that is asked for; `None` where there is no such site.
async fn open(stream: TcpStream, table: &Table) -> io::Result<Option<(Arc<Served>, TlsStream<TcpStream>)>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    let Some(site) = table.site(hello.server_name()) else {
        let StartHandshake { mut io, .. } = start;
        io.write_all(&UNRECOGNIZED_NAME).await?;
        io.shutdown().await?;
        return Ok(None);
    };
    let config = site.key.config_for(&hello);
    let bounded = |connection: &mut tokio_rustls::rustls::ServerConnection| {
        connection.set_buffer_limit(Some(TLS_BUFFER));
    };
    let stream = start.into_stream_with(config, bounded).await?;
    Ok(Some((site, stream)))
}

async fn drive<C: Future>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    [stop, leave]: [&CancellationToken; 2],
) {
    let mut connection = pin!(connection);
    tokio::select! {
        // How it ended is known to both sides.
        _ = connection.as_mut() => return,
        () = activity.silence() => {}
        () = stop.cancelled() => {}
        () = leave.cancelled() => {}
    }
    shut_down(connection.as_mut());
    let _ = timeout(DRAIN, connection).await;
}
