//! The matrix of upstreams over UDP and TCP.

use hickory_proto::op::ResponseCode;

use super::{
    Expected, Row, cost,
    plain::{
        Act::{Elsewhere, Reply},
        Asked, Script, Tcp, Upstream, answers, changed, closed, lives, lower, over_tcp_alone, record, says,
        start, truncated, upper,
    },
};

/// What an upstream does, over which transport, what comes of it, and what the first and the tenth question cost: so many
/// questions and connections.
type Line = (&'static str, Box<Script>, Tcp, Expected, (usize, usize), (usize, usize));

/// The matrix, and what has to be held while it is worked through.
pub(crate) async fn rows() -> (Vec<Row>, Vec<Box<dyn Send>>) {
    use Expected::{Address, Because, Code, Second};
    use Tcp::{Closes, Drips, Hangs, Refuses, Serves};
    let udp_only = |udp: fn(&Asked) -> Vec<u8>| {
        says(move |asked| if asked.is_tcp { asked.answer(1) } else { udp(asked) })
    };
    let without_edns = |refusal: fn(&Asked) -> Vec<u8>| {
        says(move |asked| if asked.has_edns() { refusal(asked) } else { asked.answer(1) })
    };
    let silent_if = |is_silent: fn(&Asked) -> bool| -> Box<Script> {
        Box::new(move |asked| if is_silent(asked) { Vec::new() } else { vec![Reply(asked.answer(1))] })
    };
    let first_then_right = |first: fn(&Asked) -> Vec<u8>| -> Box<Script> {
        Box::new(move |asked| vec![Reply(first(asked)), Reply(asked.answer(1))])
    };
    let wrong_id = |asked: &Asked| changed(asked.answer(66), |bytes| bytes[0] ^= 1);
    let wrong_name = |asked: &Asked| changed(asked.answer(66), |bytes| bytes[13] = b'-');
    // A pointer to itself, where the data of a CNAME begins.
    let compression_loop = |asked: &Asked| {
        let at = (asked.reply().len() + 12) as u8;
        record(asked.reply(), 5, 60, &[0xc0, at])
    };
    let garbage = |_: &Asked| vec![0xff; 40];

    let table: Vec<Line> = vec![
        ("nothing odd", answers(1), Serves, Address, (1, 0), (1, 0)),
        ("nothing odd, without TCP", answers(1), Refuses, Address, (1, 0), (1, 0)),
        // Spelling.
        ("lower-cases", says(|asked| lower(asked.answer(1))), Serves, Address, (2, 1), (1, 0)),
        ("lower-cases, without TCP", says(|asked| lower(asked.answer(1))), Refuses, Address, (2, 0), (1, 0)),
        ("lower-cases, TCP closes", says(|asked| lower(asked.answer(1))), Closes, Address, (2, 1), (1, 0)),
        ("lower-cases, TCP hangs", says(|asked| lower(asked.answer(1))), Hangs, Address, (3, 1), (1, 0)),
        ("lower-cases over UDP", udp_only(|asked| lower(asked.answer(1))), Serves, Address, (2, 1), (1, 0)),
        ("upper-cases, without TCP", says(|asked| upper(asked.answer(1))), Refuses, Address, (2, 0), (1, 0)),
        (
            "lower-cases and cuts",
            udp_only(|asked| lower(truncated(asked.reply()))),
            Serves,
            Address,
            (2, 1),
            (2, 1),
        ),
        // EDNS.
        ("FORMERR to EDNS", without_edns(|asked| asked.code(1)), Serves, Address, (3, 0), (1, 0)),
        ("NOTIMP to EDNS", without_edns(|asked| asked.code(4)), Serves, Address, (3, 0), (1, 0)),
        ("BADVERS to EDNS", without_edns(|asked| asked.extended(16)), Serves, Address, (3, 0), (1, 0)),
        (
            "a header with FORMERR to EDNS",
            without_edns(|asked| asked.header(1)),
            Serves,
            Address,
            (5, 2),
            (1, 0),
        ),
        (
            "a header with NOTIMP to EDNS",
            without_edns(|asked| asked.header(4)),
            Refuses,
            Address,
            (5, 0),
            (1, 0),
        ),
        ("silence to EDNS", silent_if(Asked::has_edns), Refuses, Address, (2, 0), (1, 0)),
        (
            "FORMERR to cookies",
            says(|asked| if asked.has_cookie() { asked.code(1) } else { asked.answer(1) }),
            Serves,
            Address,
            (2, 0),
            (1, 0),
        ),
        (
            "BADCOOKIE to cookies",
            says(|asked| if asked.has_cookie() { asked.extended(23) } else { asked.answer(1) }),
            Serves,
            Address,
            (4, 1),
            (1, 0),
        ),
        // TCP.
        ("silence over UDP", silent_if(|asked| !asked.is_tcp), Serves, Address, (2, 2), (1, 1)),
        ("cuts every answer", udp_only(|asked| truncated(asked.reply())), Serves, Address, (2, 1), (1, 1)),
        (
            "cuts every answer, in pieces over TCP",
            udp_only(|asked| truncated(asked.reply())),
            Drips,
            Address,
            (2, 1),
            (1, 1),
        ),
        (
            "cuts in a record",
            udp_only(|asked| changed(truncated(asked.answer(1)), |bytes| bytes.truncate(bytes.len() - 2))),
            Serves,
            Address,
            (2, 1),
            (1, 1),
        ),
        (
            "cuts, without TCP",
            says(|asked| truncated(asked.reply())),
            Refuses,
            Because("connection refused"),
            (1, 0),
            (1, 0),
        ),
        (
            "cuts, TCP closes",
            says(|asked| truncated(asked.reply())),
            Closes,
            Because("it cannot be reached"),
            (1, 1),
            (1, 1),
        ),
        (
            "cuts over TCP too",
            says(|asked| truncated(asked.reply())),
            Serves,
            Because("malformed"),
            (2, 1),
            (2, 1),
        ),
        // What cannot be read.
        ("a compression loop over UDP", udp_only(compression_loop), Serves, Address, (2, 1), (1, 1)),
        ("a compression loop", says(compression_loop), Serves, Because("malformed"), (2, 1), (2, 1)),
        (
            "a compression loop, without TCP",
            says(compression_loop),
            Refuses,
            Because("malformed"),
            (2, 0),
            (2, 0),
        ),
        // Failures.
        (
            "a header with SERVFAIL",
            says(|asked| asked.header(2)),
            Serves,
            Code(ResponseCode::ServFail),
            (2, 1),
            (2, 1),
        ),
        (
            "a header with REFUSED, without TCP",
            says(|asked| asked.header(5)),
            Refuses,
            Code(ResponseCode::Refused),
            (2, 0),
            (2, 0),
        ),
        ("REFUSED", says(|asked| asked.code(5)), Serves, Code(ResponseCode::Refused), (1, 0), (1, 0)),
        ("SERVFAIL", says(|asked| asked.code(2)), Serves, Code(ResponseCode::ServFail), (1, 0), (1, 0)),
        (
            "NOTIMP to everything",
            says(|asked| asked.code(4)),
            Serves,
            Code(ResponseCode::NotImp),
            (3, 0),
            (3, 0),
        ),
        // Oddities within an answer.
        ("no records and no SOA", says(Asked::reply), Serves, Code(ResponseCode::NoError), (1, 0), (1, 0)),
        (
            "NXDOMAIN and no SOA",
            says(|asked| asked.code(3)),
            Serves,
            Code(ResponseCode::NXDomain),
            (1, 0),
            (1, 0),
        ),
        ("a TTL of 2^31", lives(1 << 31), Serves, Address, (1, 0), (1, 0)),
        (
            "garbage behind the answer",
            says(|asked| [asked.answer(1), vec![0xff; 30]].concat()),
            Serves,
            Address,
            (1, 0),
            (1, 0),
        ),
        (
            "no RA, but AA",
            says(|asked| changed(asked.answer(1), |bytes| bytes[2..4].copy_from_slice(&[0x85, 0]))),
            Serves,
            Address,
            (1, 0),
            (1, 0),
        ),
        // Several datagrams.
        ("a wrong id first", first_then_right(wrong_id), Serves, Address, (1, 0), (1, 0)),
        ("a wrong question first", first_then_right(wrong_name), Serves, Address, (1, 0), (1, 0)),
        ("garbage first", first_then_right(garbage), Serves, Address, (1, 0), (1, 0)),
        ("the answer twice", first_then_right(|asked| asked.answer(1)), Serves, Address, (1, 0), (1, 0)),
        // What is no answer: the next one is asked.
        ("silence", silent_if(|_| true), Hangs, Second, (1, 0), (1, 0)),
        ("a wrong id alone", says(wrong_id), Hangs, Second, (1, 0), (1, 0)),
        ("a wrong question alone", says(wrong_name), Hangs, Second, (1, 0), (1, 0)),
        ("another port", Box::new(|asked| vec![Elsewhere(asked.answer(66))]), Hangs, Second, (1, 0), (1, 0)),
        ("the question back", says(|asked| asked.bytes.clone()), Hangs, Second, (1, 0), (1, 0)),
        ("a compression loop before a second", says(compression_loop), Hangs, Second, (3, 1), (3, 1)),
        (
            "two questions",
            says(|asked| changed(asked.answer(66), |bytes| bytes[5] = 2)),
            Hangs,
            Second,
            (1, 0),
            (1, 0),
        ),
        ("REFUSED before a second", says(|asked| asked.code(5)), Serves, Second, (1, 0), (1, 0)),
        (
            "cuts before a second, TCP closes",
            says(|asked| truncated(asked.reply())),
            Closes,
            Second,
            (1, 1),
            (1, 1),
        ),
    ];
    let (mut rows, mut held) = (Vec::new(), Vec::<Box<dyn Send>>::new());
    let mut add = |what, upstream: Upstream, expected, first: (usize, usize), tenth: (usize, usize)| {
        rows.push(Row {
            what,
            upstream: upstream.address.into(),
            counts: upstream.counts.clone(),
            expected,
            first: cost(first.0, first.1),
            tenth: cost(tenth.0, tenth.1),
        });
        held.push(Box::new(upstream));
    };
    for (what, script, tcp, expected, first, tenth) in table {
        add(what, start(script, tcp).await, expected, first, tenth);
    }
    let upstream = over_tcp_alone(answers(1)).await;
    add("a closed port for UDP", upstream, Address, (1, 1), (1, 1));
    let (upstream, port) = closed().await;
    add("a closed port", upstream, Because("connection refused"), (0, 0), (0, 0));
    let (upstream, other_port) = closed().await;
    add("a closed port before a second", upstream, Second, (0, 0), (0, 0));
    held.push(Box::new((port, other_port)));
    (rows, held)
}
