//! One page over a connection, in place of the site, and the end.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::timeout,
};

use super::{
    error_page::{Failure, POLICY},
    names::SiteName,
};

/// How long a client may take to ask and to read the page.
const LONGEST: Duration = Duration::from_secs(20);

/// A client that has the page has this long for what else it asked for with it, such as an icon.
const AFTER_THE_FIRST: Duration = Duration::from_secs(2);

/// Bytes of the head of a request.
const HEAD_SIZE: usize = 16 << 10;

/// Answers every request on `stream` with the page of `failure`, without looking at it, and ends.
pub(super) async fn answer<S>(stream: S, is_http2: bool, failure: &Failure, site: &SiteName)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let page = Bytes::from(failure.page(site));
    let (status, why) = (failure.status(), HeaderValue::try_from(failure.proxy_status()).ok());
    let asked = Notify::new();
    let service = service_fn(|_| {
        asked.notify_one();
        let response = response(status, why.clone(), page.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let stream = TokioIo::new(stream);
    let limited = timeout(LONGEST, async {
        if is_http2 {
            let mut connection = std::pin::pin!(
                http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(16)
                    .max_header_list_size(HEAD_SIZE as u32)
                    .serve_connection(stream, service)
            );
            tokio::select! {
                _ = connection.as_mut() => return,
                () = asked.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = timeout(AFTER_THE_FIRST, connection).await;
        } else {
            // What a client sends besides is left unread.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LONGEST)
                .keep_alive(false)
                .max_buf_size(HEAD_SIZE)
                .serve_connection(stream, service);
            let _ = connection.await;
        }
    });
    // Whoever takes too long goes without.
    let _ = limited.await;
}

fn response(status: StatusCode, why: Option<HeaderValue>, page: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(page));
    *response.status_mut() = status;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().extend(why.map(|why| (HeaderName::from_static("proxy-status"), why)));
    response
}
