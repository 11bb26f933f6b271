use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    base::metrics::{Metrics, Refusals},
    edge::held::Budget,
    service::Service,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time enough for none of the time limits to be what ends a connection.
fn without_hurry() -> Limits {
    let long = PATIENCE * 10;
    Limits { opening: long, head: long, keep_alive: long, idle: long, request: long, ..Limits::for_metrics() }
}

fn serve_pages(
    listener: TcpListener,
    routes: Router,
    access: &[&str],
    limits: Limits,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let access = AccessList::new(access.iter().map(|range| range.parse().unwrap()).collect(), Vec::new());
    let site = Site::<Service>::new(routes, access, TrustedProxies::new(Vec::new()), limits);
    serve(listener, None, Arc::new(site), stop.clone(), tasks);
}

struct Listening {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listening {
    async fn start(access: &[&str], limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listening = Self {
            address: listener.local_addr().unwrap(),
            metrics: Metrics::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let routes = metrics_routes(listening.metrics.clone());
        serve_pages(listener, routes, access, limits, &listening.stop, &listening.tasks);
        listening
    }

    async fn without_hurry() -> Self {
        Self::start(&["127.0.0.0/8"], without_hurry()).await
    }

    async fn connect(&self) -> TcpStream {
        self.connect_from([127, 0, 0, 1]).await
    }

    async fn connect_from(&self, client: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// The whole reply to `request`; ends because the server closes the connection.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(stream).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\n\r\n")).await
    }
}

/// Reads until the server has closed the connection, whether or not it had something to say.
async fn read_to_end(mut stream: TcpStream) -> String {
    let mut reply = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the connection is closed");
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn metrics_are_at_one_path_and_other_paths_name_it() {
    let listening = Listening::without_hurry().await;
    listening.metrics.dht.lookups.found.inc_by(3);
    let page = listening.get("/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(page.contains("pkdns_dht_lookups_total{outcome=\"found\"} 3\n"), "{page}");
    for path in ["/", "/metrics/", "/dns-query"] {
        let reply = listening.get(path).await;
        assert!(reply.starts_with("HTTP/1.1 404 ") && reply.contains(" /metrics\n"), "{reply}");
    }
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let listening = Listening::without_hurry().await;
    let reply = listening
        .ask("POST /metrics HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
    let reply = listening.ask("HEAD /metrics HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn what_is_not_http_ends_the_connection_and_nothing_else() {
    let listening = Listening::without_hurry().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(2 * (16 << 10)));
    for request in ["\u{0}\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", &long] {
        let reply = listening.ask(request).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply}");
    }
    assert!(listening.get("/metrics").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn clients_outside_the_access_list_are_told_so() {
    let listening = Listening::start(&["192.0.2.0/24"], Limits::for_metrics()).await;
    let reply = listening.get("/metrics").await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("access.allow"), "{reply}");
    assert!(!reply.contains("pkdns_"), "{reply}");
}

#[tokio::test]
async fn connections_are_bounded_and_places_come_back() {
    let limits = Limits { connections: 2, connections_per_client: 2, ..Limits::for_metrics() };
    let listening = Listening::start(&["127.0.0.0/8"], limits).await;
    let held = [listening.connect_from([127, 0, 0, 2]).await, listening.connect_from([127, 0, 0, 2]).await];
    assert_eq!(listening.get("/metrics").await, "", "one more is closed");
    drop(held);
    let answered = async {
        while listening.get("/metrics").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("the places come back");
}

#[tokio::test]
async fn one_more_connection_of_a_client_replaces_its_longest_silent_one() {
    let limits = Limits { connections: 64, connections_per_client: 2, ..without_hurry() };
    let listening = Listening::start(&["127.0.0.0/8"], limits).await;
    let (silent, other) = (listening.connect().await, listening.connect().await);
    assert!(listening.get("/metrics").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(read_to_end(silent).await, "");
    drop(other);
}

#[tokio::test]
async fn whoever_sends_no_request_or_half_of_one_is_not_waited_for() {
    let limits =
        Limits { opening: Duration::from_millis(50), head: Duration::from_millis(50), ..without_hurry() };
    let listening = Listening::start(&["127.0.0.0/8"], limits).await;
    for start in ["", "GET /metrics HTTP/1.1\r\nHost: pk"] {
        listening.ask(start).await;
    }
}

#[tokio::test]
async fn whoever_does_not_read_is_not_waited_for() {
    let unread = Budget::new(1 << 30, Refusals::default());
    let limits = Limits { request: Duration::from_millis(100), unread: unread.clone(), ..without_hurry() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    // More than the buffers of both ends take.
    let routes = Router::new().fallback(|| async { vec![b'y'; 64 << 20] });
    serve_pages(listener, routes, &["127.0.0.0/8"], limits, &stop, &tasks);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\n\r\n").await.unwrap();
    while tasks.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let closed = async {
        while tasks.len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the connection is given up");
    assert_eq!(unread.held(), 0);
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (asked, stopped) = (CancellationToken::new(), stop.clone());
    let routes = Router::new().fallback({
        let asked = asked.clone();
        || async move {
            asked.cancel();
            stopped.cancelled().await;
            "answered\n"
        }
    });
    serve_pages(listener, routes, &["127.0.0.0/8"], without_hurry(), &stop, &tasks);
    let _silent = TcpStream::connect(address).await.unwrap();
    let asking: JoinHandle<String> = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\n\r\n").await.unwrap();
        read_to_end(stream).await
    });
    timeout(PATIENCE, asked.cancelled()).await.expect("the request arrives");
    stop.cancel();
    tasks.close();
    assert!(asking.await.unwrap().ends_with("\r\n\r\nanswered\n"));
    timeout(PATIENCE, tasks.wait()).await.expect("every task ends");
}
