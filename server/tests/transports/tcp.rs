use std::{
    fs::File,
    io::{Read, Seek},
    net::SocketAddr,
    process::Command,
    time::Instant,
};

use pkdns::edge::transport::{
    bind_tcp,
    tcp::{self, Connections, Limits},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;

#[tokio::test]
async fn pipelined_queries_are_answered_as_soon_as_their_answers_are_there() {
    let (serving, server) = start(Limits::default());
    let mut client = TcpStream::connect(server).await.unwrap();
    let pipeline = [(1, "slow.400"), (2, "slow.200"), (3, "now"), (4, "slow.1"), (5, "now")];
    client.write_all(&framed(&pipeline)).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id_of(&read_reply(&mut client).await.unwrap()));
    }
    assert_eq!(ids, [3, 5, 4, 2, 1]);
    serving.stop().await;
}

#[tokio::test]
async fn a_client_that_half_closes_still_gets_all_its_answers() {
    let (serving, server) = start(Limits::default());
    let mut client = TcpStream::connect(server).await.unwrap();
    client.write_all(&framed(&[(1, "slow.200"), (2, "now"), (3, "slow.100")])).await.unwrap();
    client.shutdown().await.unwrap();
    for id in [2, 3, 1] {
        assert_eq!(id_of(&read_reply(&mut client).await.unwrap()), id);
    }
    assert_eq!(read_reply(&mut client).await, None, "then the server closes too");
    serving.stop().await;
}

#[tokio::test]
async fn queries_that_arrive_byte_by_byte_are_put_together() {
    let (serving, server) = start(Limits::default());
    let mut client = TcpStream::connect(server).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in framed(&[(1, "now"), (2, "slow.1"), (3, "now")]) {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(id_of(&read_reply(&mut client).await.unwrap()));
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    serving.stop().await;
}

#[tokio::test]
async fn connections_are_capped_in_all_and_places_come_back() {
    let limits = Limits { connections: 3, connections_per_client: 2, ..Limits::default() };
    let (serving, server) = start(limits);
    let mut first = connect_from("127.0.0.1", server).await;
    let mut second = connect_from("127.0.0.1", server).await;
    let mut third = connect_from("127.0.0.2", server).await;
    assert!(is_served(&mut first).await && is_served(&mut second).await && is_served(&mut third).await);
    assert!(!is_served(&mut connect_from("127.0.0.3", server).await).await, "cap in all");

    drop((second, third));
    let start = Instant::now();
    while !is_served(&mut connect_from("127.0.0.3", server).await).await {
        assert!(start.elapsed() < PATIENCE, "places come back");
    }
    assert!(is_served(&mut first).await);
    serving.stop().await;
}

#[tokio::test]
async fn one_more_connection_of_a_client_replaces_its_longest_silent_one_and_never_another_client() {
    let limits = Limits { connections: 100, connections_per_client: 2, ..Limits::default() };
    let (serving, server) = start(limits);
    let mut other = connect_from("127.0.0.2", server).await;
    assert!(is_served(&mut other).await);
    let mut last = connect_from("127.0.0.1", server).await;
    assert!(is_served(&mut last).await);
    for _ in 0..20 {
        let mut next = connect_from("127.0.0.1", server).await;
        // What the one that is to go was asked before is answered.
        assert!(is_served(&mut next).await && is_served(&mut last).await);
        last = next;
    }
    assert!(is_served(&mut other).await && is_served(&mut last).await);
    serving.stop().await;
}

#[tokio::test]
async fn an_older_connection_that_is_used_stays_and_a_younger_silent_one_goes() {
    let limits = Limits { connections: 100, connections_per_client: 8, ..Limits::default() };
    let (serving, server) = start(limits);
    let mut clients = Vec::new();
    // With the last, all that there were have had their chance, and the first is gone.
    for _ in 0..9 {
        let mut client = connect_from("127.0.0.1", server).await;
        assert!(is_served(&mut client).await);
        clients.push(client);
    }
    assert!(is_served(&mut clients[1]).await);
    assert!(is_served(&mut connect_from("127.0.0.1", server).await).await);
    assert!(is_served(&mut clients[1]).await, "the older one");
    assert!(!is_served(&mut clients[2]).await, "the silent one");
    serving.stop().await;
}

#[tokio::test]
async fn who_is_not_served_gets_one_reply_and_the_end_whatever_it_has_sent() {
    let (serving, server) = start(Limits::default());
    let mut denied = connect_from("127.0.0.66", server).await;
    let pipeline: Vec<_> = (0..1000).map(|id| (id, "now")).collect();
    denied.write_all(&framed(&pipeline)).await.unwrap();
    assert_eq!(read_reply(&mut denied).await.map(|reply| id_of(&reply)), Some(0));
    assert_eq!(read_reply(&mut denied).await, None);
    // One that takes work is not looked for.
    let mut denied = connect_from("127.0.0.66", server).await;
    denied.write_all(&framed(&[(1, "slow.1"), (2, "now")])).await.unwrap();
    assert_eq!(read_reply(&mut denied).await, None);
    serving.stop().await;
}

/// A socket that is closed with unread bytes in it sends a reset and throws away what it has not delivered.
#[tokio::test]
async fn a_client_that_sends_more_than_it_may_still_gets_the_replies_it_has_not_read() {
    let (serving, server) = start(Limits { queries_per_connection: 100, ..Limits::default() });
    let mut client = TcpStream::connect(server).await.unwrap();
    let pipeline: Vec<_> = (0..2000).map(|id| (id, "big.4000")).collect();
    client.write_all(&framed(&pipeline)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let mut replies = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut replies)).await.unwrap().expect("no reset");
    assert_eq!(replies.len(), 100 * 4002);
    serving.stop().await;
}

#[tokio::test]
async fn a_responder_that_panics_costs_one_query_and_not_the_connection() {
    let (serving, server) = start(Limits::default());
    let mut client = TcpStream::connect(server).await.unwrap();
    client.write_all(&framed(&[(1, "now"), (2, "panic"), (3, "slowpanic"), (4, "now")])).await.unwrap();
    for id in [1, 4] {
        assert_eq!(id_of(&read_reply(&mut client).await.unwrap()), id);
    }
    assert!(is_served(&mut client).await);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_all_get_their_own_replies() {
    let (serving, server) = start(Limits::default());
    let clients: Vec<_> = (0..80)
        .map(|number: u16| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(server).await.unwrap();
                let mut expected: Vec<u16> = (0..40).map(|turn| number * 100 + turn).collect();
                let queries: Vec<_> =
                    expected.iter().map(|id| (*id, if id % 3 == 0 { "slow.1" } else { "now" })).collect();
                client.write_all(&framed(&queries)).await.unwrap();
                while !expected.is_empty() {
                    let id = id_of(&read_reply(&mut client).await.unwrap());
                    expected.remove(expected.iter().position(|expected| *expected == id).unwrap());
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    serving.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_then_closes() {
    let (serving, server) = start(Limits::default());
    let mut client = TcpStream::connect(server).await.unwrap();
    client.write_all(&framed(&[(1, "slow.300"), (2, "now")])).await.unwrap();
    assert_eq!(id_of(&read_reply(&mut client).await.unwrap()), 2);
    serving.stop.cancel();
    assert_eq!(id_of(&read_reply(&mut client).await.unwrap()), 1);
    assert_eq!(read_reply(&mut client).await, None);
    drop(client);
    serving.ended().await;
    assert!(TcpStream::connect(server).await.is_err(), "nobody listens any more");
}

/// hickory-server's accept loop takes a whole core while descriptors have run out.
#[tokio::test]
async fn accepting_rests_when_descriptors_have_run_out_and_goes_on_when_there_are_some() {
    const IN_CHILD: &str = "PKDNS_TEST_HAS_FEW_DESCRIPTORS";
    if std::env::var_os(IN_CHILD).is_some() {
        return run_out_of_descriptors().await;
    }
    let name = "tcp::accepting_rests_when_descriptors_have_run_out_and_goes_on_when_there_are_some";
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 48; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}{errors}");
}

async fn run_out_of_descriptors() {
    let (serving, server) = start(Limits::default());
    let mut early = TcpStream::connect(server).await.unwrap();
    assert!(is_served(&mut early).await);
    let mut stat = File::open("/proc/self/stat").unwrap();
    // The clients take the last descriptors and leave none for their other ends, which live in this process too.
    let sockets: Vec<_> = std::iter::from_fn(|| TcpSocket::new_v4().ok()).collect();
    let mut clients = Vec::new();
    for socket in sockets {
        clients.push(socket.connect(server).await.unwrap());
    }
    let before = cpu_time(&mut stat);
    sleep(Duration::from_millis(500)).await;
    let spent = cpu_time(&mut stat) - before;
    assert!(spent < Duration::from_millis(250), "{spent:?} of half a second");
    assert!(is_served(&mut early).await);
    drop(clients);
    assert!(is_served(&mut TcpStream::connect(server).await.unwrap()).await);
    serving.stop().await;
}

fn cpu_time(stat: &mut File) -> Duration {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    // User and system time in hundredths of a second, counted from behind the name in parentheses.
    let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn start(limits: Limits) -> (Serving, SocketAddr) {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving::new();
    let connections = Connections::new(limits, nobody());
    tcp::serve(listener, serving.responder.clone(), connections, serving.stop.clone(), &serving.tasks);
    (serving, address)
}

async fn connect_from(from: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(server).await.unwrap()
}

/// Whether a query on this connection gets its reply.
async fn is_served(client: &mut TcpStream) -> bool {
    client.write_all(&framed(&[(77, "now")])).await.is_ok()
        && read_reply(client).await.is_some_and(|reply| id_of(&reply) == 77)
}

fn framed(queries: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, name) in queries {
        let message = query(*id, name);
        bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&message);
    }
    bytes
}

async fn read_reply(client: &mut TcpStream) -> Option<Vec<u8>> {
    let read = async {
        let mut reply = vec![0; usize::from(client.read_u16().await.ok()?)];
        client.read_exact(&mut reply).await.ok()?;
        Some(reply)
    };
    timeout(PATIENCE, read).await.expect("a reply or the end comes")
}
