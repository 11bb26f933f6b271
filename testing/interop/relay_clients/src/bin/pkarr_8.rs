//! The crate `pkarr` 8 as a client of a relay.
//!
//!     pkarr_8 RELAY publish TEXT     prints the key whose packet says so
//!     pkarr_8 RELAY resolve KEY      prints what it says

use std::env::args;

use pkarr::{Client, Keypair, PublicKey, ResolvePolicy, SignedPacket, dns::rdata::RData};

const NAME: &str = "_text";

#[tokio::main]
async fn main() {
    let [_, relay, command, argument] = args().collect::<Vec<_>>().try_into().expect("three arguments");
    let client =
        Client::builder().no_default_network().relays(&[relay]).expect("a URL").build().expect("a client");
    if command == "publish" {
        let keypair = Keypair::random();
        let text = argument.as_str().try_into().expect("a text");
        let packet = SignedPacket::builder().txt(NAME.try_into().expect("a name"), text, 300).sign(&keypair);
        let packet = packet.expect("a packet");
        assert!(client.publish(&packet).await.expect("it is stored") > 0);
        // The same again is no conflict.
        client.publish(&packet).await.expect("it is stored again");
        println!("{}", keypair.public_key());
        return;
    }
    let key = PublicKey::try_from(argument.as_str()).expect("a key");
    let mut texts = Vec::new();
    for policy in [ResolvePolicy::NetworkOnly, ResolvePolicy::CacheFirst] {
        let packet = client.resolve(&key, policy).await.expect("a packet");
        texts.push(text_of(&packet).expect("a text"));
    }
    assert_eq!(texts[0], texts[1]);
    println!("{}", texts[0]);
}

fn text_of(packet: &SignedPacket) -> Option<String> {
    packet.resource_records(NAME).find_map(|record| match &record.rdata {
        RData::TXT(text) => text.clone().try_into().ok(),
        _ => None,
    })
}
