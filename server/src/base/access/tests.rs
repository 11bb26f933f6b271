use super::*;

#[test]
fn deny_wins_over_allow() {
    let list = list(&["10.0.0.0/8"], &["10.1.0.0/16"]);
    assert!(allows(&list, "10.0.0.1"));
    assert!(!allows(&list, "10.1.0.1"));
    assert!(allows(&list, "10.2.0.0"));
    assert!(!allows(&list, "11.0.0.0"));
}

#[test]
fn a_list_is_public_that_leaves_nobody_out_by_what_it_allows() {
    for allow in [&["0.0.0.0/0", "::/0"][..], &["0.0.0.0/0"], &["::/0"], &["0.0.0.0/1", "128.0.0.0/1"]] {
        assert!(list(allow, &["192.0.2.0/24"]).is_public(), "{allow:?}");
    }
    for allow in [&["0.0.0.0/1"][..], &["10.0.0.0/8", "2000::/3"], &[]] {
        assert!(!list(allow, &[]).is_public(), "{allow:?}");
    }
}

#[test]
fn an_empty_list_serves_nobody() {
    let list = list(&[], &[]);
    assert!(!allows(&list, "127.0.0.1"));
    assert!(!allows(&list, "::1"));
}

#[test]
fn a_mapped_address_counts_as_ipv4_so_that_it_cannot_walk_around_the_list() {
    let list = list(&["0.0.0.0/0", "::/0"], &["192.0.2.0/24"]);
    assert!(!allows(&list, "::ffff:192.0.2.7"));
    assert!(allows(&list, "::ffff:192.0.3.7"));
    assert!(allows(&list, "2001:db8::1"));
}

#[test]
fn a_range_of_mapped_addresses_counts_as_ipv4() {
    let list = list(&["::ffff:10.0.0.0/104"], &[]);
    assert!(allows(&list, "10.255.255.255"));
    assert!(!allows(&list, "11.0.0.0"));
}

#[test]
fn ranges_that_overlap_touch_or_carry_host_bits_are_found() {
    let list = list(&["10.0.0.7/24", "10.0.0.0/30", "10.0.1.0/24", "172.16.0.0/12", "fe80::1/10"], &[]);
    for inside in ["10.0.0.0", "10.0.0.255", "10.0.1.255", "172.31.255.255", "febf::1"] {
        assert!(allows(&list, inside), "{inside}");
    }
    for outside in ["9.255.255.255", "10.0.2.0", "172.32.0.0", "fec0::", "::"] {
        assert!(!allows(&list, outside), "{outside}");
    }
}

#[test]
fn the_default_list_serves_private_networks_and_nobody_else() {
    let access = crate::base::config::Access::default();
    let list = access.list();
    for inside in ["127.0.0.53", "192.168.1.20", "100.64.0.1", "::1", "fd00::1", "fe80::1"] {
        assert!(allows(&list, inside), "{inside}");
    }
    for outside in ["8.8.8.8", "172.15.0.1", "100.128.0.1", "2001:4860:4860::8888", "::2"] {
        assert!(!allows(&list, outside), "{outside}");
    }
}

#[test]
fn machines_beside_this_one_are_served_whatever_their_addresses() {
    let deny = vec!["2001:db8:7::66/128".parse().unwrap()];
    let list = AccessList::new(crate::base::config::Access::default().allow, deny);
    assert!(!allows(&list, "2001:db8:7::5"));
    // In a container, the gateway is a proxy of the host that speaks for strangers.
    let gateway = "203.0.113.1".parse().unwrap();
    set_connected_networks(
        vec!["2001:db8:7::1/64".parse().unwrap(), "203.0.113.9/28".parse().unwrap()],
        Some(gateway),
    );
    assert!(allows(&list, "2001:db8:7::5") && allows(&list, "203.0.113.14"));
    for outside in ["2001:db8:7:1::5", "203.0.113.16", "2001:db8:7::66", "203.0.113.1"] {
        assert!(!allows(&list, outside), "{outside}");
    }
    let private = AccessList::new(vec![Allowed::Range("10.0.0.0/8".parse().unwrap())], Vec::new());
    assert!(!allows(&private, "2001:db8:7::5"), "where the list does not say so");
    set_connected_networks(Vec::new(), None);
    assert!(!allows(&list, "2001:db8:7::5"), "the interface is gone");
}

fn list(allow: &[&str], deny: &[&str]) -> AccessList {
    let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
    AccessList::new(allow, deny.iter().map(|range| range.parse().unwrap()).collect())
}

fn allows(list: &AccessList, address: &str) -> bool {
    list.allows(address.parse().unwrap())
}
