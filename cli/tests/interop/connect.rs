//! `connect`, on machines of its own with a real dnsmasq and a real Unbound, and on images of others, whose files are compared with
//! those that are kept here.
//!
//! Needs `dnsmasq`, `unbound` and `dig`. Without them the tests say so and pass, unless `CI=true`; without the right to make network
//! namespaces some always do.

mod images;
mod machine;

use std::fs;

use machine::Machine;
use pkdns_testing::namespace::on_a_machine_of_its_own;

/// What the machine's own upstream says, and what pkdns would say.
const FROM_THE_UPSTREAM: [&str; 2] = ["A 192.0.2.1", "A 192.0.2.2"];

#[test]
fn dnsmasq_sends_names_of_keys_alone_and_is_as_before_afterwards() {
    on_a_machine_of_its_own("dnsmasq_sends_names_of_keys_alone_and_is_as_before_afterwards", async {
        let Some(mut machine) = Machine::with_dnsmasq(true).await else { return };
        let before = machine.files();
        let connected = machine.run(&["connect", "--yes"]);
        assert_eq!(connected.code, 0, "{}{}", connected.out, connected.err);
        for part in [
            "dnsmasq: names that end in .key go to 127.0.0.1:5300",
            "+ server=/key/127.0.0.1#5300",
            "done: 127.0.0.1:53 sends names of keys such as KEY.key to pkdns",
        ] {
            assert!(connected.out.contains(part), "{part}: {}", connected.out);
        }
        assert!(machine.finds_keys());
        assert_eq!(machine.ask("example.com A").data(), FROM_THE_UPSTREAM);
        // Once more changes nothing.
        let again = machine.run(&["connect", "--yes"]);
        assert!(again.code == 0 && again.out.contains("nothing was changed"), "{}{}", again.out, again.err);

        // A pkdns that is down is in nobody's way.
        machine.stop_pkdns().await;
        let undone = machine.run(&["connect", "--undo", "--yes"]);
        assert_eq!(undone.code, 0, "{}{}", undone.out, undone.err);
        assert!(
            undone.out.contains("remove /etc/dnsmasq.d/pkdns.conf\n  - server=/key/127.0.0.1#5300\n"),
            "{}",
            undone.out
        );
        assert_eq!(machine.files(), before);
        assert!(!machine.finds_keys());
        assert_eq!(machine.ask("example.com A").data(), FROM_THE_UPSTREAM);
        let nothing = machine.run(&["connect", "--undo", "--yes"]);
        assert!(nothing.code == 0 && nothing.out.contains("nothing to take back"), "{}", nothing.out);
    });
}

#[test]
fn unbound_that_validates_sends_names_of_keys_alone_and_is_as_before_afterwards() {
    on_a_machine_of_its_own(
        "unbound_that_validates_sends_names_of_keys_alone_and_is_as_before_afterwards",
        async {
            let Some(machine) = Machine::with_unbound().await else { return };
            let before = machine.files();
            let connected = machine.run(&["connect", "--yes", "--server", "127.0.0.1:5300"]);
            assert_eq!(connected.code, 0, "{}{}", connected.out, connected.err);
            assert!(
                connected.out.contains("Unbound: ") && connected.out.contains("run unbound-checkconf"),
                "{}",
                connected.out
            );
            // Somebody asks for the suffix itself, of which the root proves that it does not exist.
            machine.ask("key. A");
            assert!(machine.finds_keys());
            assert_eq!(machine.ask("example.com A").data(), ["A 192.0.2.1"]);
            let undone = machine.run(&["connect", "--undo", "--yes"]);
            assert_eq!(undone.code, 0, "{}{}", undone.out, undone.err);
            assert_eq!(machine.files(), before);
            assert!(!machine.finds_keys());
            assert_eq!(machine.ask("example.com A").data(), ["A 192.0.2.1"]);
        },
    );
}

#[test]
fn nothing_is_changed_without_a_pkdns_or_consent_or_over_the_work_of_others() {
    on_a_machine_of_its_own(
        "nothing_is_changed_without_a_pkdns_or_consent_or_over_the_work_of_others",
        async {
            let Some(mut machine) = Machine::with_dnsmasq(true).await else { return };
            let before = machine.files();
            machine.fails(&["connect"], "answer y, or add --yes");
            machine.fails(
                &["connect", "--yes", "--server", "127.0.0.1:5301"],
                "127.0.0.1:5301 was asked for KEY.key: nothing listens",
            );
            machine.fails(
                &["connect", "--yes", "--server", "127.0.0.1:53"],
                "is the resolver of this machine itself",
            );
            let shown = machine.run(&["connect", "--dry-run"]);
            assert!(shown.code == 0 && shown.out.contains("+ server=/key/"), "{}{}", shown.out, shown.err);
            assert_eq!(machine.files(), before);

            let path = "/etc/dnsmasq.d/pkdns.conf";
            fs::write(path, "server=/key/192.0.2.1\n").unwrap();
            machine.fails(
                &["connect", "--yes"],
                "/etc/dnsmasq.d/pkdns.conf exists already, and pkdns-cli did not write it",
            );
            assert_eq!(fs::read_to_string(path).unwrap(), "server=/key/192.0.2.1\n");
            fs::remove_file(path).unwrap();

            assert_eq!(machine.run(&["connect", "--yes"]).code, 0);
            let edited = fs::read_to_string(path).unwrap() + "server=/lan/192.0.2.1\n";
            fs::write(path, &edited).unwrap();
            machine.fails(&["connect", "--undo", "--yes"], "was edited since, and stays: move what you need out of it, remove it (sudo rm /etc/dnsmasq.d/pkdns.conf), and then:\nrun service dnsmasq restart");
            machine.fails(
                &["connect", "--yes", "--server", "127.0.0.1:5300", "--private-addresses"],
                "has edited it since",
            );
            assert_eq!(fs::read_to_string(path).unwrap(), edited);

            machine.stop_pkdns().await;
            machine.fails(&["connect", "--yes"], "no pkdns answers: 127.0.0.1:53");
        },
    );
}

#[test]
fn a_change_that_fails_is_taken_back_and_one_that_has_no_effect_is_told_with_what_helps() {
    on_a_machine_of_its_own(
        "a_change_that_fails_is_taken_back_and_one_that_has_no_effect_is_told_with_what_helps",
        async {
            let Some(machine) = Machine::with_dnsmasq(false).await else { return };
            let before = machine.files();
            machine.fails(
                &["connect", "--yes"],
                "put the line conf-dir=/etc/dnsmasq.d/,*.conf into /etc/dnsmasq.conf",
            );
            let undone = machine.run(&["connect", "--undo", "--yes"]);
            assert_eq!((undone.code, machine.files()), (0, before.clone()), "{}", undone.err);
            machine.let_restarts_fail();
            machine.fails(&["connect", "--yes"], "no such service); all is as it was before");
            assert_eq!(machine.files(), before);
        },
    );
}
