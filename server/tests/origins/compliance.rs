//! What authoritative servers are tested for by others: RFC 8906 section 8, RFC 6891, RFC 7873, RFC 9619, RFC 8482, RFC 8020,
//! RFC 4035 section 3.1.4.1. Each row is a real message of a stranger to a whole server, and its reply.

use std::net::SocketAddr;

use pkdns_testing::support::client::{Transport, exchange};

use crate::{
    messages::{Message, ask, asked, shown},
    world::{ABSENT, KEY, ORIGIN, OTHER, Stage, UNREACHABLE, large, stage},
};

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const DS: u16 = 43;
const DNSKEY: u16 = 48;
const HTTPS: u16 = 65;
const ANY: u16 = 255;
const CAA: u16 = 257;

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const Z: u16 = 0x0040;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;
const DO: u16 = 0x8000;

const COOKIE: u16 = 10;

/// One question, over UDP unless it says so, and what is answered.
struct Row {
    what: &'static str,
    request: Message,
    transport: Transport,
    reply: &'static str,
}

fn over(transport: Transport, what: &'static str, request: Message, reply: &'static str) -> Row {
    Row { what, request, transport, reply }
}

fn row(what: &'static str, request: Message, reply: &'static str) -> Row {
    over(Transport::Udp, what, request, reply)
}

fn rows() -> Vec<Row> {
    let at = |label: &str| match label {
        "" => ORIGIN.to_owned(),
        label => format!("{label}.{ORIGIN}"),
    };
    let key = || at(&KEY);
    let of_key = |label: &str| at(&format!("{label}.{}", *KEY));
    let soa = || ask(ORIGIN, SOA);
    let mixed: String = key()
        .chars()
        .enumerate()
        .map(|(at, it)| if at % 3 == 0 { it.to_ascii_uppercase() } else { it })
        .collect();
    let tcp = Transport::Tcp;
    let client = [1, 2, 3, 4, 5, 6, 7, 8];
    vec![
        // RFC 8906 section 8.1: plain DNS.
        row("plain SOA", soa(), "NOERROR aa an=SOA"),
        row("plain A", ask(ORIGIN, A), "NOERROR aa an=A"),
        row("A of a key", ask(&key(), A), "NOERROR aa an=A"),
        row("unknown type", ask(ORIGIN, 1000), "NOERROR aa ns=SOA"),
        row("unknown type of a key", ask(&key(), 65_280), "NOERROR aa ns=SOA"),
        row("CD", soa().flags(CD), "NOERROR aa cd an=SOA"),
        row("AD", soa().flags(AD), "NOERROR aa an=SOA"),
        row("the last reserved bit", soa().flags(Z), "NOERROR aa an=SOA"),
        row("bits of replies", soa().flags(AA | TC | RA), "NOERROR aa an=SOA"),
        row("RD", ask(&key(), A).flags(RD), "NOERROR aa an=A"),
        row("IQUERY", soa().opcode(1), "NOTIMP"),
        row("STATUS", soa().opcode(2), "NOTIMP"),
        row("NOTIFY", soa().opcode(4), "NOTIMP"),
        row("UPDATE", soa().opcode(5), "NOTIMP"),
        row("DSO over UDP", soa().opcode(6), "NOTIMP"),
        row("unknown opcode", soa().opcode(15), "NOTIMP"),
        row("unknown opcode with EDNS", soa().opcode(15).edns(1232), "NOTIMP edns=0"),
        over(tcp, "TCP", soa(), "NOERROR aa an=SOA"),
        over(tcp, "a key over TCP", ask(&key(), A), "NOERROR aa an=A"),
        over(tcp, "unknown opcode over TCP", soa().opcode(15), "NOTIMP"),
        // RFC 8906 section 8.2: EDNS.
        row("EDNS", soa().edns(4096), "NOERROR aa an=SOA edns=0"),
        row("EDNS of a key", ask(&key(), A).edns(1232), "NOERROR aa an=A edns=0"),
        over(tcp, "EDNS over TCP", soa().edns(1232), "NOERROR aa an=SOA edns=0"),
        row("EDNS with the smallest size", soa().edns(512), "NOERROR aa an=SOA edns=0"),
        row("EDNS with no size", soa().edns(0), "NOERROR aa an=SOA edns=0"),
        row("EDNS version 1", soa().edns(1232).version(1), "BADVERS edns=0 ede=0"),
        row("EDNS version 1 of a key", ask(&key(), A).edns(1232).version(1), "BADVERS edns=0 ede=0"),
        row("EDNS version 255", soa().edns(1232).version(255), "BADVERS edns=0 ede=0"),
        row("unknown option", soa().edns(1232).option(100, &[]), "NOERROR aa an=SOA edns=0"),
        row(
            "unknown option with data",
            soa().edns(1232).option(65_001, &[1; 40]),
            "NOERROR aa an=SOA edns=0",
        ),
        row("unknown flags", soa().edns(1232).edns_flags(0x4001), "NOERROR aa an=SOA edns=0"),
        row(
            "version 1, unknown flag",
            soa().edns(1232).version(1).edns_flags(0x4000),
            "BADVERS edns=0 ede=0",
        ),
        row(
            "version 1, unknown option",
            soa().edns(1232).version(1).option(100, &[]),
            "BADVERS edns=0 ede=0",
        ),
        row("version 1 with DO", soa().edns(1232).version(1).edns_flags(DO), "BADVERS edns=0 do ede=0"),
        row("DO", soa().edns(1232).edns_flags(DO), "NOERROR aa an=SOA edns=0 do"),
        row("DO of a key", ask(&key(), A).edns(1232).edns_flags(DO), "NOERROR aa an=A edns=0 do"),
        row("DO and no data", ask(&key(), MX).edns(1232).edns_flags(DO), "NOERROR aa ns=SOA edns=0 do"),
        row(
            "DO, CD and AD",
            soa().flags(CD | AD).edns(1232).edns_flags(DO),
            "NOERROR aa cd an=SOA edns=0 do",
        ),
        row(
            "several options",
            soa().edns(1232).option(3, &[]).option(8, &[0, 1, 24, 0, 192, 0, 2]).option(12, &[0; 8]),
            "NOERROR aa an=SOA edns=0",
        ),
        row("NSID", soa().edns(1232).option(3, &[]), "NOERROR aa an=SOA edns=0"),
        row(
            "client subnet",
            ask(&key(), A).edns(1232).option(8, &[0, 1, 24, 0, 192, 0, 2]),
            "NOERROR aa an=A edns=0",
        ),
        row("EXPIRE", soa().edns(1232).option(9, &[]), "NOERROR aa an=SOA edns=0"),
        row("keepalive over UDP", soa().edns(1232).option(11, &[]), "NOERROR aa an=SOA edns=0"),
        row("chain query", soa().edns(1232).option(13, &[0]), "NOERROR aa an=SOA edns=0"),
        row(
            "two OPT records",
            soa().edns(1232).additional(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]),
            "FORMERR edns=0",
        ),
        row("OPT with a name", soa().edns(1232).owner(&[1, b'x', 0]), "FORMERR edns=0"),
        row("an option that is cut", soa().edns(1232).broken_option(&[0, 100, 0, 9, 1]), "FORMERR edns=0"),
        // RFC 7873.
        row(
            "a client cookie",
            soa().edns(1232).option(COOKIE, &client),
            "NOERROR aa an=SOA edns=0 cookie=24",
        ),
        row(
            "a key with a client cookie",
            ask(&key(), A).edns(1232).option(COOKIE, &client),
            "NOERROR aa an=A edns=0 cookie=24",
        ),
        row(
            "a server cookie that is not ours",
            soa().edns(1232).option(COOKIE, &[7; 24]),
            "NOERROR aa an=SOA edns=0 cookie=24",
        ),
        row("a cookie that is too short", soa().edns(1232).option(COOKIE, &client[..7]), "FORMERR edns=0"),
        row("half a server cookie", soa().edns(1232).option(COOKIE, &[7; 12]), "FORMERR edns=0"),
        row("a cookie that is too long", soa().edns(1232).option(COOKIE, &[7; 41]), "FORMERR edns=0"),
        row("an empty cookie", soa().edns(1232).option(COOKIE, &[]), "FORMERR edns=0"),
        row(
            "a cookie and no question",
            soa().count(0, 0).edns(1232).option(COOKIE, &client),
            "NOERROR edns=0 cookie=24",
        ),
        // RFC 9619, RFC 1035 section 4.1.
        row("no question", soa().count(0, 0), "FORMERR"),
        row("two questions", soa().count(2, 2), "FORMERR"),
        row("a question that is missing", soa().count(1, 0), "FORMERR"),
        row("two questions with EDNS", soa().count(2, 2).edns(1232), "FORMERR edns=0"),
        row("bytes behind the message", soa().tail(&[1, 2, 3]), "NOERROR aa an=SOA"),
        row("a TSIG record", soa().additional(&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]), "NOERROR aa an=SOA"),
        // Classes and types that are none of a zone.
        row("unknown class", asked(ORIGIN, A, 77), "REFUSED"),
        row("class NONE", asked(ORIGIN, A, 254), "REFUSED"),
        row("class ANY", asked(ORIGIN, A, 255), "REFUSED"),
        row("class CHAOS", asked("version.bind", TXT, 3), "REFUSED"),
        row("class CHAOS in the origin", asked(ORIGIN, TXT, 3), "REFUSED"),
        row("ANY", ask(ORIGIN, ANY), "NOERROR aa an=HINFO"),
        row("ANY of a key", ask(&key(), ANY), "NOERROR aa an=HINFO"),
        row("AXFR over UDP", ask(ORIGIN, 252), "REFUSED"),
        over(tcp, "AXFR", ask(ORIGIN, 252), "REFUSED"),
        over(tcp, "IXFR", ask(ORIGIN, 251), "REFUSED"),
        row("MAILA", ask(ORIGIN, 254), "REFUSED"),
        row("OPT as a type", ask(ORIGIN, 41), "REFUSED"),
        row("type 0", ask(ORIGIN, 0), "REFUSED"),
        row("TSIG as a type", ask(ORIGIN, 250), "REFUSED"),
        // RFC 1034 section 4.3.2, RFC 2308, RFC 8020, RFC 4592.
        row("NS with the addresses", ask(ORIGIN, NS), "NOERROR aa an=NS,NS ar=A,AAAA"),
        row("no such type", ask(ORIGIN, AAAA), "NOERROR aa ns=SOA"),
        row("no such name", ask(&at("nothing"), A), "NXDOMAIN aa ns=SOA"),
        row("an empty non-terminal", ask(&at("b.c"), A), "NOERROR aa ns=SOA"),
        row("below an empty non-terminal", ask(&at("x.b.c"), A), "NXDOMAIN aa ns=SOA"),
        row("a wildcard", ask(&at("any.dev"), A), "NOERROR aa an=A"),
        row("a wildcard without the type", ask(&at("any.dev"), MX), "NOERROR aa ns=SOA"),
        row("the wildcard itself", ask(&at("*.dev"), A), "NOERROR aa an=A"),
        row("an alias in the zone", ask(&at("www"), A), "NOERROR aa an=CNAME,A"),
        row("an alias as such", ask(&at("www"), CNAME), "NOERROR aa an=CNAME"),
        row("an alias to a key", ask(&at("blog"), A), "NOERROR aa an=CNAME,A"),
        row("an alias to nothing", ask(&at("gone"), A), "NXDOMAIN aa an=CNAME ns=SOA"),
        row("an alias out of the zone", ask(&at("out"), A), "NOERROR aa an=CNAME"),
        row("a renamed name", ask(&at("x.old"), A), "NOERROR aa an=DNAME,CNAME"),
        row("a referral", ask(&at("x.sub"), A), "NOERROR ns=NS ar=A"),
        row("a referral for the cut itself", ask(&at("sub"), NS), "NOERROR ns=NS ar=A"),
        row("a referral with RD", ask(&at("x.sub"), A).flags(RD), "NOERROR ns=NS ar=A"),
        row("DS at a cut", ask(&at("sub"), DS), "NOERROR aa ns=SOA"),
        row("DS at the apex", ask(ORIGIN, DS), "NOERROR aa ns=SOA"),
        row("DNSKEY", ask(ORIGIN, DNSKEY).edns(1232).edns_flags(DO), "NOERROR aa ns=SOA edns=0 do"),
        row("the longest name", ask(&at(&format!("{0}.{0}.{0}", "x".repeat(55))), A), "NXDOMAIN aa ns=SOA"),
        // Keys.
        row("0x20", ask(&mixed, A), "NOERROR aa an=A"),
        row("SOA of a key", ask(&key(), SOA), "NOERROR aa ns=SOA"),
        row("NS of a key", ask(&key(), NS), "NOERROR aa ns=SOA"),
        row("DS of a key", ask(&key(), DS), "NOERROR aa ns=SOA"),
        row("CAA of a key", ask(&key(), CAA), "NOERROR aa an=CAA"),
        row("CAA below a key", ask(&of_key("www"), CAA), "NOERROR aa an=CNAME,CAA"),
        row("HTTPS of a key", ask(&key(), HTTPS), "NOERROR aa an=HTTPS"),
        row("no such name of a key", ask(&at(&format!("nothing.{}", *OTHER)), A), "NXDOMAIN aa ns=SOA"),
        row("what a key leaves to name servers", ask(&of_key("nothing"), A), "NOERROR aa ns=SOA"),
        row("an empty non-terminal of a key", ask(&of_key("_tcp"), A), "NOERROR aa ns=SOA"),
        row("a challenge of a key", ask(&of_key("_acme-challenge"), TXT), "NOERROR aa an=TXT"),
        row("an endpoint of iroh", ask(&of_key("_iroh"), TXT), "NOERROR aa an=TXT"),
        row("an alias to another key", ask(&of_key("other"), A), "NOERROR aa an=CNAME,A"),
        row("an alias out of the origin", ask(&of_key("far"), A), "NOERROR aa an=CNAME"),
        row("a private address", ask(&of_key("home"), A), "NOERROR aa ns=SOA"),
        row("a key without a packet", ask(&at(&ABSENT), A), "NXDOMAIN aa ns=SOA"),
        row("a name of a key that cannot be", ask(&at(&"y".repeat(52)), A), "NXDOMAIN aa ns=SOA"),
        row(
            "a key that nobody can be asked about",
            ask(&at(&UNREACHABLE), A).edns(1232),
            "SERVFAIL edns=0 ede=22",
        ),
        // All others are none of a stranger's business.
        row("another zone", ask("www.example.com", A), "REFUSED"),
        row("another zone with RD", ask("www.example.com", A).flags(RD), "REFUSED"),
        row("another zone with EDNS", ask("www.example.com", A).edns(1232), "REFUSED edns=0 ede=18"),
        row("the zone above", ask("example.net", NS), "REFUSED"),
        row("the root", ask(".", NS), "REFUSED"),
        row("a key alone", ask(&KEY, A), "REFUSED"),
        row("a key with a suffix", ask(&format!("{}.key", *KEY), A), "REFUSED"),
        row("an address", ask("1.2.0.192.in-addr.arpa", 12), "REFUSED"),
        row("localhost", ask("localhost", A), "REFUSED"),
        // Sizes.
        row("more than 512 bytes", ask(&large(), TXT), "NOERROR aa tc"),
        row(
            "more than 512 bytes with the smallest size",
            ask(&large(), TXT).edns(512),
            "NOERROR aa tc edns=0",
        ),
        row("more than 512 bytes with room", ask(&large(), TXT).edns(1232), "NOERROR aa an=TXT edns=0"),
        row(
            "more than 512 bytes with more room than there is",
            ask(&large(), TXT).edns(4096),
            "NOERROR aa an=TXT edns=0",
        ),
        over(tcp, "more than 512 bytes over TCP", ask(&large(), TXT), "NOERROR aa an=TXT"),
    ]
}

/// Each kind of question that comes over UDP and bears no cookie.
pub(crate) fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let is_asked = |row: &Row| row.transport == Transport::Udp && !row.request.has_cookie();
    rows().into_iter().filter(is_asked).map(|row| (row.what, row.request.bytes())).collect()
}

/// A reply, or none within a second.
async fn reply(server: SocketAddr, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    exchange(server, request, transport).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_stranger_is_answered_as_the_rfcs_say() {
    let Stage { server, .. } = stage(|_| ());
    let rows = rows();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let mut faults = Vec::new();
    for Row { what, request, transport, reply: expected } in &rows {
        let Some(got) = reply(server.address, &request.bytes(), *transport).await else {
            faults.push(format!("{what}: no reply"));
            continue;
        };
        let said = shown(&got);
        if said != *expected {
            faults.push(format!("{what}: {said}\n    is not {expected}"));
        }
        let fault = request.faults(&got, *transport == Transport::Udp);
        faults.extend(fault.map(|fault| format!("{what}: {fault}")));
    }
    assert!(faults.is_empty(), "{} of {} rows\n{}", faults.len(), rows.len(), faults.join("\n"));
}
