//! What passes through, and what does not.

use http::StatusCode;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use pkdns_testing::program::KEY;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Scene, backend,
    client::{of_key, request, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_found_verified_and_read_in_either_form_over_either_version_of_http() {
    let scene = Scene::new().await;
    let backend = backend::start("first").await;
    scene.configure(&backend.to_string(), "");
    let _publisher = scene.start();
    let published = scene.published();
    let https = scene.records().into_iter().find(|record| record[1] == "HTTPS").unwrap();
    assert_eq!(https[2], format!("1 . alpn=h2,http/1.1 port={}", scene.address.port()));
    for proof in [of_key(KEY), published] {
        let forged = |mut request: http::Request<_>| {
            request.headers_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
            request
        };
        let mut http1 = scene.http1(proof.clone()).await;
        let answer = http1.send_request(forged(request("GET", "/page?x=y", ""))).await.unwrap();
        assert!(!answer.headers().contains_key("keep-alive"), "{answer:?}");
        let old = text(answer).await;
        let mut http2 = scene.http2(proof.clone()).await;
        let mut two = forged(request("GET", "/page?x=y", ""));
        two.headers_mut().remove("host");
        let new = text(http2.send_request(two).await.unwrap()).await;
        for told in [old, new] {
            assert!(told.starts_with("first GET /page?x=y\n"), "{told}");
            for line in [
                &format!("host: {KEY}.key"),
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-proto: https",
                &format!("x-forwarded-host: {KEY}.key"),
                &format!("forwarded: for=127.0.0.1;host=\"{KEY}.key\";proto=https"),
            ] {
                assert!(told.lines().any(|told| told == line), "{line} in {told}");
            }
        }
    }
    let foreign = scene.connect(of_key("8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo"), "h2").await;
    assert!(foreign.unwrap_err().to_string().contains(KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_come_back_as_they_went_and_a_websocket_says_what_it_hears() {
    let scene = Scene::new().await;
    scene.configure(&backend::start("first").await.to_string(), "");
    let _publisher = scene.start();
    let large: Vec<u8> = (0..10_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut http1 = scene.http1(of_key(KEY)).await;
    let answer = http1.send_request(request("POST", "/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);
    let mut http2 = scene.http2(of_key(KEY)).await;
    let answer = http2.send_request(request("POST", "/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);

    let mut http1 = scene.http1(of_key(KEY)).await;
    let mut turning = request("GET", "/socket", "");
    turning.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    turning.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let answer = http1.send_request(turning).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["upgrade"], "websocket");
    let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for said in [b"one", b"two"] {
        socket.write_all(said).await.unwrap();
        socket.flush().await.unwrap();
        let mut heard = [0; 3];
        socket.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_that_is_gone_is_told_in_words_and_may_come_back_elsewhere_on_the_same_connection() {
    let scene = Scene::new().await;
    let closed = super::free_address();
    scene.configure(&closed.to_string(), "");
    let mut publisher = scene.start();
    let mut http2 = scene.http2(of_key(KEY)).await;
    let mut ask = async || http2.send_request(request("GET", "/", "")).await.unwrap();
    let answer = ask().await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let page = text(answer).await;
    assert!(page.contains("its web server does not answer") && !page.contains("127.0.0.1"), "{page}");
    let line = publisher.wait_for("cannot be reached");
    assert!(line.contains(&format!("error: the web server at {closed}")), "{line}");
    for name in ["first", "second"] {
        scene.configure(&backend::start(name).await.to_string(), "");
        publisher.signal("HUP");
        publisher.wait_for("https at");
        publisher.wait_for("read again");
        let told = text(ask().await).await;
        assert!(told.starts_with(&format!("{name} GET /\n")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_host_that_is_not_of_the_site_is_misdirected_over_either_version_of_http() {
    let scene = Scene::new().await;
    scene.configure(&backend::start("first").await.to_string(), "");
    let _publisher = scene.start();
    let for_another = || {
        let mut request = request("GET", "/", "");
        *request.uri_mut() = "https://evil.example/".parse().unwrap();
        request.headers_mut().insert("host", "evil.example".parse().unwrap());
        request
    };
    let mut http1 = scene.http1(of_key(KEY)).await;
    let answer = http1.send_request(for_another()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    let mut http2 = scene.http2(of_key(KEY)).await;
    let mut two = for_another();
    two.headers_mut().remove("host");
    assert_eq!(http2.send_request(two).await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    // The connection is good for what is of the site.
    assert_eq!(http2.send_request(request("GET", "/", "")).await.unwrap().status(), StatusCode::OK);
}
