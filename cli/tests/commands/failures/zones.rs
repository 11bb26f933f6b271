//! Zone files, and zones from elsewhere.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::{NOBODY, assert_each, assert_failure, place};
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::program::{KEY, World, now, secret};

/// A name server that says this to every question, whose id it repeats in place of `??`.
fn name_server(reply: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, mut question) = (stream, [0; 512]);
            let _ = stream.read(&mut question);
            let mut reply = reply.to_vec();
            if let Some(at) = reply.windows(2).position(|two| two == b"??") {
                reply[at..at + 2].copy_from_slice(&question[2..4]);
            }
            let _ = stream.write_all(&reply);
        }
    });
    address
}

#[test]
fn what_is_wrong_with_a_zone_file_is_told_with_what_to_write() {
    let directory = place(&[
        ("outside", "www.example.com. A 192.0.2.1\n"),
        ("quote", "@ TXT \"never closed\n"),
        ("include", "$INCLUDE ../seed\n"),
        ("circle", "$INCLUDE circle\n"),
        ("alias", "www CNAME a\nwww A 192.0.2.1\n"),
        ("directive", "$GENERATE 1-9 a A 192.0.2.1\n"),
        ("macro", "@ A {external_ipv4}\n"),
        ("empty", "; nothing\n"),
        ("large", &"; comment\n".repeat(2000)),
    ]);
    let publish = |zone: &'static str| ["publish", "seed", zone];
    assert_each(
        &directory,
        &[
            (
                &publish("outside"),
                1,
                ["\"outside\": line 1, column 1: the name is outside", "it must end in"],
            ),
            (&publish("quote"), 1, ["\"quote\": line 1, column 7: ", "this quote is not closed"]),
            (&publish("include"), 1, ["\"include\": line 1, column 10: ", "expected a file in the folder"]),
            (&publish("circle"), 1, ["includes itself", "this line"]),
            (&publish("alias"), 1, ["\"alias\": line ", "CNAME"]),
            (&publish("directive"), 1, ["\"directive\": line 1, column 1: ", "expected"]),
            (&publish("macro"), 1, ["\"macro\": line 1, column 5: ", "--detect-ip"]),
            (&publish("empty"), 1, ["the zone file holds no records", "write one, for example"]),
            (&publish("large"), 1, ["larger than 16384 bytes", "take out what is not needed"]),
            (&publish("missing"), 1, ["cannot read the zone file \"missing\"", "check its name"]),
            (&["publish", "missing", "zone"], 1, ["cannot read the seed file \"missing\"", "check its name"]),
        ],
    );
}

#[test]
fn what_is_no_zone_in_json_is_told() {
    let directory = place(&[
        ("key", r#"{"key": "nonsense", "records": []}"#),
        ("none", r#"{"records": []}"#),
        ("large", &" ".repeat(300_000)),
    ]);
    let json = |file: &'static str| ["zone", "--key", KEY, "--from-json", file];
    assert_each(
        &directory,
        &[
            (&json("key"), 1, ["\"key\": \"key\" is no public key", "correct it"]),
            (&json("none"), 1, ["there are no records", "choose a source"]),
            (&json("large"), 1, ["larger than 262144 bytes", "name another file"]),
            (&json("missing"), 1, ["\"missing\": cannot read it", "check its name"]),
            (&["zone", "--from-json", "none"], 1, ["the key of the zone is not written there", "add --key"]),
        ],
    );
}

#[test]
fn a_name_server_that_does_not_give_the_zone_is_told() {
    let directory = place(&[]);
    for (server, parts) in [
        (NOBODY.to_string(), ["cannot copy example.com from 127.0.0.1:9: ", "is this the address"]),
        (name_server(b""), ["closed the connection before the end", "its log says why"]),
        (name_server(b"\0\x0cHTTP/1.1 400"), ["is no answer to the question", "is it a name server?"]),
        (name_server(b"\0\x0c??\x84\x05\0\0\0\0\0\0\0\0"), ["answers REFUSED", "allow-transfer"]),
        (name_server(b"\xff\xff"), ["closed the connection", "its log"]),
    ] {
        let arguments = ["zone", "--from-server", &server, "--origin", "example.com"];
        assert_failure(directory.path(), &arguments, "", 1, &parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_there_are_told_with_what_to_do() {
    let world = World::new().await;
    let name = format!("www.{KEY}");
    let bootstrap = world.bootstrap();
    let resolve = ["--bootstrap", &bootstrap[0], "resolve", &name];
    assert_failure(world.path(), &resolve, "", 1, &["there is no packet of", "have its owner"]);
    world.publish_elsewhere(&Keypair::from_secret_key(&secret()), now()).await;
    assert_failure(world.path(), &resolve, "", 1, &["there is no www.", "resolve the key alone"]);
}
