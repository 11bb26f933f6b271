//! The crate `pkarr` 3.8 as a client of a relay: it sends `If-Match`, and knows no policies.
//!
//!     pkarr_3 RELAY publish TEXT     prints the key whose packet says so
//!     pkarr_3 RELAY resolve KEY      prints what it says

use std::{env::args, time::Duration};

use pkarr_3::{
    Client, Keypair, PublicKey, SignedPacket, Timestamp,
    dns::rdata::RData,
    errors::{ConcurrencyError, PublishError},
};

const NAME: &str = "_text";

#[tokio::main]
async fn main() {
    let [_, relay, command, argument] = args().collect::<Vec<_>>().try_into().expect("three arguments");
    let client = Client::builder()
        .no_default_network()
        .relays(&[relay])
        .expect("a URL")
        .request_timeout(Duration::from_secs(10))
        .build()
        .expect("a client");
    if command == "publish" {
        let keypair = Keypair::random();
        let draft = packet(&keypair, "a draft");
        client.publish(&draft, None).await.expect("it is stored");
        let held = client.resolve_most_recent(&keypair.public_key()).await.expect("the draft");
        assert_eq!(held.timestamp(), draft.timestamp());
        let last = packet(&keypair, &argument);
        let elsewhere = Some(Timestamp::from(held.timestamp().as_u64() - 1));
        let refused = client.publish(&last, elsewhere).await;
        assert!(
            matches!(refused, Err(PublishError::Concurrency(ConcurrencyError::CasFailed))),
            "{refused:?}"
        );
        client.publish(&last, Some(held.timestamp())).await.expect("it replaces the draft");
        let older = client.publish(&draft, None).await;
        assert!(
            matches!(older, Err(PublishError::Concurrency(ConcurrencyError::NotMostRecent))),
            "{older:?}"
        );
        println!("{}", keypair.public_key());
        return;
    }
    let key = PublicKey::try_from(argument.as_str()).expect("a key");
    let packet = client.resolve_most_recent(&key).await.expect("a packet");
    println!("{}", text_of(&packet).expect("a text"));
}

fn packet(keypair: &Keypair, text: &str) -> SignedPacket {
    let text = text.try_into().expect("a text");
    SignedPacket::builder().txt(NAME.try_into().expect("a name"), text, 300).sign(keypair).expect("a packet")
}

fn text_of(packet: &SignedPacket) -> Option<String> {
    packet.resource_records(NAME).find_map(|record| match &record.rdata {
        RData::TXT(text) => text.clone().try_into().ok(),
        _ => None,
    })
}
