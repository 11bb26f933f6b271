//! Addresses of the own network in answers from outside.

use super::*;

#[tokio::test]
async fn private_addresses_are_kept_out_by_every_way_into_an_icann_answer() {
    let private = || RData::A(A::new(192, 168, 1, 1));
    let alice = keypair(1);
    let key = alice.to_z32();
    let target = key.clone();
    let upstream = Upstream::start(move |query, response| {
        let question = &query.queries[0];
        let name = question.name().clone();
        match name.to_ascii().to_lowercase().as_str() {
            "mail.example.com." => {
                response.add_answer(Record::from_rdata(name, 300, address(1)));
                response.add_additional(Record::from_rdata(self::name("mx.example.com"), 300, private()));
            }
            "signed.example.com." => {
                response.add_answer(Record::from_rdata(name.clone(), 300, private()));
                let signature = raw(RecordType::RRSIG, &[0, 1, 8, 3, 0, 0, 0, 1]);
                response.add_answer(Record::from_rdata(name, 300, signature));
            }
            "alias.example.com." => {
                response.add_answer(Record::from_rdata(name, 300, alias(&target)));
            }
            // Priority 1, the owner as target, and `ipv4hint` with one address.
            _ => {
                let data = [0, 1, 0, 0, 4, 0, 4, 192, 168, 1, 1];
                response.add_answer(Record::from_rdata(name, 300, raw(RecordType::HTTPS, &data)));
            }
        }
    });
    let server = TestServer::builder()
        .upstream(upstream)
        .change(|config| config.rebind_protection.icann = true)
        .start();
    server.publish(&alice, 1, &[record(&alice, "", 300, private())]);
    let reply = server.ask("mail.example.com", RecordType::A).await;
    assert_eq!((reply.answers.len(), reply.additionals.len()), (1, 0));
    let reply = server.send(&with_edns(query("signed.example.com", RecordType::A), true)).await;
    assert!(parse(&reply).answers.is_empty(), "a signature without what it signs");
    let reply = server.ask("alias.example.com", RecordType::A).await;
    assert_eq!(reply.answers.len(), 1, "the alias alone: {:?}", reply.answers);
    assert!(server.ask("hint.example.com", RecordType::HTTPS).await.answers.is_empty());
    // Keys asked for by name may have them.
    assert_eq!(server.ask(&key, RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn an_alias_to_localhost_is_a_private_address_too() {
    let server = TestServer::start_with(|config| config.rebind_protection.keys = true);
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 300, alias("localhost"))]);
    assert_eq!(server.ask(&alice.to_z32(), RecordType::A).await.answers.len(), 1, "the alias alone");
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
}
