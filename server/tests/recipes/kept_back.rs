//! Names of one label, which public resolvers do not hear of, asked for by an Unbound that validates behind this server.

use pkdns_testing::namespace;

use super::{reserved::validating, *};

/// A public address, so that the root counts as one.
const ROOT: [u8; 4] = [9, 9, 9, 9];

#[test]
fn a_client_behind_a_validator_is_told_at_once_that_a_label_does_not_exist() {
    let name = "kept_back::a_client_behind_a_validator_is_told_at_once_that_a_label_does_not_exist";
    namespace::on_a_machine_of_its_own(name, async {
        let (Some(dig), Some(unbound)) = (Dig::find(), Program::unbound()) else { return };
        namespace::run("ip", ["address", "add", "9.9.9.9/32", "dev", "lo"]);
        for question in ["printer A", "printer AAAA", "printer HTTPS"] {
            // What a validator has learnt of one question would answer the next.
            let pkdns = Pkdns::start_behind(signed_root::start_at(ROOT.into()).await, "").await;
            let daemon = unbound.run_unbound(&validating(&pkdns.recipe("unbound.conf")));
            // One that has validated nothing yet cannot be told from a forwarder that does not.
            assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1"]);
            for _ in 0..2 {
                let reply = dig.ask(daemon.address, question);
                assert_eq!(reply.status(), "NXDOMAIN", "{question}: {reply:?}, {}", daemon.log());
            }
            // Whether it is signed is asked, and nobody asks for its addresses.
            let asked = pkdns.root.asked().into_iter().filter(|asked| asked.starts_with("printer "));
            assert_eq!(asked.collect::<Vec<_>>(), ["printer DS"]);
        }
    });
}
