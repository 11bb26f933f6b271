//! A web server that tells what it was asked.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{copy, split},
    net::TcpListener,
};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Starts one that calls itself `name`.
pub(crate) async fn start(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    address
}

fn answer(name: &str, mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().contains_key(header::UPGRADE) {
        let turning = upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut reading, mut writing) = split(TokioIo::new(turning.await.unwrap()));
            copy(&mut reading, &mut writing).await
        });
        let mut response = Response::new(full(String::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        return response;
    }
    match request.uri().path() {
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        _ => {
            let mut told = format!("{name} {} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                told += &format!("{name}: {}\n", value.to_str().unwrap());
            }
            let mut response = Response::new(full(told));
            // What is about the connection to us alone must not reach the visitor.
            response.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=5"));
            response
        }
    }
}

fn full(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}
