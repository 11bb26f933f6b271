//! What a reload leaves alone: connections, answers, packets, quotas, and listeners that stay.

use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use pkdns_testing::{server::query, tls_client, wait::eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use super::{
    probes::{get, over, over_tcp, over_tls, over_udp, response, www},
    stage::{Stage, World, key},
};

const ALL: &str = "doh.enabled = true\ndoh.listen = '127.0.0.1:0'\ndoh.cert_path = '{dir}/a.pem'\ndoh.key_path = '{dir}/a.key'\n\
                   dot.enabled = true\ndot.listen = '127.0.0.1:0'\ndoh.plain_listen = ['127.0.0.1:0']\nrelay.enabled = true\n";
const USUAL: &str = "NoError 192.0.2.53";

/// A GET on a connection that stays open; the status.
async fn ask_http(stream: &mut TcpStream) -> String {
    let question = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE";
    let request = format!("GET /dns-query?dns={question} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    // The code of the reply.
    format!("{} {}", head.split(' ').nth(1).unwrap(), body[3] & 15)
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_live_on_and_hear_of_what_has_changed() {
    let world = World::new().await;
    let stage = Stage::set(&world, ALL).await;
    let mut tcp = TcpStream::connect(stage.address("tcp")).await.unwrap();
    let tls = tls_client::trusting_anyone(DEFAULT_VERSIONS, &["dot"]);
    let mut tls = tls_client::connect(stage.address("tls"), "localhost", tls).await.unwrap();
    let mut http = TcpStream::connect(stage.address("http")).await.unwrap();
    assert_eq!(
        (over(&mut tcp, &www()).await.as_str(), over(&mut tls, &www()).await.as_str()),
        (USUAL, USUAL)
    );
    assert_eq!(ask_http(&mut http).await, "200 0");
    let addresses = ["udp", "tls", "https", "http"].map(|protocol| stage.all(protocol));

    // Whom is asked, who is served, pages, certificates, caps.
    let much = "fallback_dns = '{other}'\nidentity.id = 'one'\nrelay.reads_per_minute = 7\nconnections_per_client = 50\n\
                doh.cert_path = '{dir}/b.pem'\ndoh.key_path = '{dir}/b.key'\nrate_limit.burst_size = 77";
    stage.reload(much).await.unwrap();
    let other = "NoError 192.0.2.99";
    assert_eq!(
        (over(&mut tcp, &www()).await.as_str(), over(&mut tls, &www()).await.as_str()),
        (other, other)
    );
    assert_eq!(ask_http(&mut http).await, "200 0");
    assert_eq!(["udp", "tls", "https", "http"].map(|protocol| stage.all(protocol)), addresses);
    assert_eq!(over_tls(stage.address("tls"), &www()).await, other);

    // One abuser is denied without harm to anybody else's connections, and on its own ones.
    stage.reload("access.deny = ['127.0.0.0/8']").await.unwrap();
    for reply in [over(&mut tcp, &www()).await, over(&mut tls, &www()).await] {
        assert_eq!(reply, "Refused");
    }
    assert_eq!(ask_http(&mut http).await, "200 5");
    stage.reload("access.deny = []").await.unwrap();
    assert_eq!(
        (over(&mut tcp, &www()).await.as_str(), over(&mut tls, &www()).await.as_str()),
        (other, other)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_until_the_rules_change_and_packets_stay_even_then() {
    let world = World::new().await;
    let stage = Stage::set(&world, ALL).await;
    let of_key = query(&key().to_z32(), RecordType::A);
    let ask = async || {
        assert_eq!(over_udp(stage.address("udp"), &www()).await, USUAL);
        assert_eq!(over_udp(stage.address("udp"), &of_key).await, "NoError 192.0.2.1");
        (world.asked(), stage.lookups())
    };
    let first = ask().await;
    for change in [
        "identity.id = 'one'",
        "access.deny = ['192.0.2.0/24']",
        "rate_limit.burst_size = 77",
        "cache.ttl_seconds = 200",
        "connections_per_client = 50",
        "doh.enabled = false",
        "listen = ['127.0.0.1:0', '127.0.0.2:0']",
        "certificate.names = ['dns.example']",
        "names.keep_browsers = true",
        "metrics.listen = ['127.0.0.1:0']",
    ] {
        stage.reload(change).await.unwrap();
        assert_eq!(ask().await, first, "{change}");
    }
    let mut asked = first.0;
    for change in [
        "local.records = ['nas.lan A 192.168.1.9']",
        "names.suffixes = ['pk']",
        "delegation.port = 5353",
        "rebind_protection.icann = true",
        "forward = [{ zone = 'lan', to = '{other}' }]",
        "fallback_dns = ['{upstream}', '{other}']",
        "fallback_ca_path = '{dir}/authority.pem'",
        "cache.max_entries = 1000",
        "cache.max_stale_seconds = 7",
    ] {
        stage.reload(change).await.unwrap();
        asked += 1;
        assert_eq!(ask().await, (asked, first.1), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quota_has_counted_stays_unless_its_numbers_change() {
    let world = World::new().await;
    let stage = Stage::set(&world, "rate_limit.requests_per_minute = 1\nrate_limit.burst_size = 2").await;
    for expected in [USUAL, USUAL, "Refused"] {
        assert_eq!(over_tcp(stage.address("tcp"), &www()).await, expected);
    }
    stage.reload("rate_limit.dht_burst_size = 7\nidentity.id = 'one'").await.unwrap();
    assert_eq!(over_tcp(stage.address("tcp"), &www()).await, "Refused");
    stage.reload("rate_limit.burst_size = 1").await.unwrap();
    assert_eq!(over_tcp(stage.address("tcp"), &www()).await, USUAL);
    assert_eq!(over_tcp(stage.address("tcp"), &www()).await, "Refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_removed_is_free_and_what_was_asked_there_is_answered() {
    let world = World::new().await;
    let stage = Stage::set(&world, &format!("{ALL}metrics.listen = ['127.0.0.1:0']")).await;
    let (dns, http, metrics) = (stage.address("tcp"), stage.address("http"), stage.address("metrics"));
    let mut open = TcpStream::connect(dns).await.unwrap();
    assert_eq!(over(&mut open, &www()).await, USUAL);
    stage.reload("listen = ['127.0.0.2:0']\ndoh.plain_listen = []\nmetrics.listen = []").await.unwrap();
    assert_eq!(over_udp(stage.address("udp"), &www()).await, USUAL);
    // Its connections come to an end, and nobody listens there any more.
    let mut byte = [0];
    assert_eq!(open.read(&mut byte).await.unwrap_or(0), 0);
    let is_free = |address| std::net::TcpListener::bind(address).is_ok();
    let are_free =
        async || [dns, http, metrics].into_iter().all(is_free) && UdpSocket::bind(dns).await.is_ok();
    eventually("the addresses are free", are_free).await;
    // And it can be had back.
    stage.reload(&format!("listen = ['{dns}']\ndoh.plain_listen = ['{http}']")).await.unwrap();
    assert_eq!(over_udp(dns, &www()).await, USUAL);
    assert_eq!(get(http, "/", "").await, "200");
    assert!(response(http, "GET", "/", "").await.1.contains("pkdns"));
}

/// Whoever has let the system choose ports, and writes down which it has chosen.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_given_can_be_named_afterwards() {
    let world = World::new().await;
    let stage = Stage::set(&world, &format!("{ALL}metrics.listen = ['127.0.0.1:0']")).await;
    let [dns, tls, https, http, metrics] =
        ["tcp", "tls", "https", "http", "metrics"].map(|protocol| stage.address(protocol));
    let mut open = TcpStream::connect(dns).await.unwrap();
    assert_eq!(over(&mut open, &www()).await, USUAL);
    let named = format!(
        "listen = ['{dns}']\ndot.listen = '{tls}'\ndoh.listen = '{https}'\ndoh.plain_listen = ['{http}']\n\
         metrics.listen = ['{metrics}']"
    );
    // The second time, they are named already.
    for change in [named, "identity.id = 'two'".to_owned()] {
        stage.reload(&change).await.unwrap();
        for (protocol, address) in
            [("udp", dns), ("tcp", dns), ("tls", tls), ("https", https), ("http", http), ("metrics", metrics)]
        {
            assert_eq!(stage.all(protocol), [address], "{protocol}");
        }
        assert_eq!(over(&mut open, &www()).await, USUAL);
        assert_eq!(over_udp(dns, &www()).await, USUAL);
    }
    // Where both are wanted, the named one is in the way of the other.
    let error = stage.reload(&format!("listen = ['{dns}', '127.0.0.1:0']")).await.err();
    assert!(error.is_none_or(|error| error.to_string().contains("holds this port")));
    assert_eq!(over(&mut open, &www()).await, USUAL);
}

/// The upstream is slow, and answers when the rules are others.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_under_way_when_the_rules_changed_is_kept_for_nobody() {
    let world = World::new().await;
    let slow = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stage = Stage::set(&world, &format!("fallback_dns = '{}'", slow.local_addr().unwrap())).await;
    let asking = tokio::spawn({
        let server = stage.address("udp");
        async move { over_udp(server, &www()).await }
    });
    let mut buffer = [0; 4096];
    // Not what the server asks for itself.
    let (question, peer) = loop {
        let (size, peer) = slow.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..size]).unwrap();
        if question.queries[0].name().to_ascii().eq_ignore_ascii_case("www.example.") {
            break (question, peer);
        }
    };
    stage.reload("fallback_dns = '{other}'").await.unwrap();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(question.queries[0].clone());
    let name = question.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, 300, RData::A(A::new(192, 0, 2, 53))));
    slow.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
    assert_eq!(asking.await.unwrap(), USUAL);
    assert_eq!(over_udp(stage.address("udp"), &www()).await, "NoError 192.0.2.99");
}
