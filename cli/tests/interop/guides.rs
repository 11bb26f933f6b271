//! The guides for whoever has a network: for a LAN behind Pi-hole, and for the operator of a public server. They type what
//! docs/lan-resolvers.md and docs/operating.md say and nothing else, make ten mistakes each, and are told what to do.
//!
//! Each runs on a machine of its own. Needs `dnsmasq` and `dig`, and for the operator `curl`, `kdig` and `pebble`. Without them the tests
//! say so and pass, unless `CI=true`; without the right to make network namespaces they always do.

mod lan;
mod operator;
mod shell;

use pkdns_testing::namespace::on_a_machine_of_its_own;

#[test]
fn a_lan_behind_pi_hole_resolves_keys_and_ten_mistakes_say_what_to_do() {
    on_a_machine_of_its_own(
        "a_lan_behind_pi_hole_resolves_keys_and_ten_mistakes_say_what_to_do",
        lan::hour(),
    );
}

#[test]
fn a_public_server_answers_everybody_and_ten_mistakes_say_what_to_do() {
    on_a_machine_of_its_own(
        "a_public_server_answers_everybody_and_ten_mistakes_say_what_to_do",
        operator::hour(),
    );
}
