use std::{net::Ipv4Addr, sync::Arc};

use hickory_proto::{
    rr::{RData, Record},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::{
    NetworkError,
    signed_packet::{Keypair, SignedPacket},
    testing::FakeNetwork,
};

use super::*;
use crate::{
    base::{config::Config, message::absolute_name, metrics::DeniedLookups},
    resolver::{denied::DeniedKeys, origin::Origins},
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn keypair(number: u8) -> Keypair {
    Keypair::from_secret_key(&[number; 32])
}

fn unreachable() -> Keypair {
    keypair(99)
}

fn packet(number: u8, records: &[(&str, RecordType, &str)]) -> SignedPacket {
    let apex = absolute_name(&keypair(number).public_key().to_z32()).unwrap();
    let mut dns = Vec::new();
    let mut encoder = BinEncoder::new(&mut dns);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    for (label, record_type, data) in records {
        let owner = if label.is_empty() { apex.clone() } else { apex.prepend_label(*label).unwrap() };
        let data = RData::try_from_str(*record_type, data).unwrap();
        Record::from_rdata(owner, 300, data).emit(&mut encoder).unwrap();
    }
    SignedPacket::sign(&keypair(number), 1_700_000_000_000_000, &dns).unwrap()
}

fn resolver(settings: &str) -> Resolver {
    let config: Config = toml::from_str(settings).unwrap();
    let dark = format!("0 {}.", unreachable().public_key().to_z32());
    let hot = format!("0 {}.", keypair(1).public_key().to_z32());
    let packets = [
        packet(
            1,
            &[
                ("", RecordType::HTTPS, "1 . port=6287"),
                ("", RecordType::A, "203.0.113.1"),
                ("plain", RecordType::A, "203.0.113.2"),
                ("here", RecordType::HTTPS, "1 ."),
                ("here", RecordType::A, "192.0.2.99"),
                ("lan", RecordType::HTTPS, "1 ."),
                ("lan", RecordType::A, "192.168.1.2"),
                ("nowhere", RecordType::HTTPS, "1 ."),
                ("nowhere", RecordType::A, "0.0.0.0"),
                ("nowhere", RecordType::AAAA, "::ffff:0.0.0.0"),
                ("nowhere", RecordType::AAAA, "::"),
            ],
        ),
        packet(2, &[("", RecordType::HTTPS, &hot), ("dark", RecordType::HTTPS, &dark)]),
    ];
    let network = FakeNetwork::holding(packets);
    network.cut_off(&unreachable().public_key());
    let packets = Packets::new(&config.cache, Arc::new(network));
    let forwarder = Arc::new(Forwarder::new(Vec::new(), &TlsClient::new(None).unwrap()));
    let origins = Origins::open(&config, &[]).unwrap();
    let denied = DeniedKeys::open(&config, packets.revisions(), &DeniedLookups::default());
    Resolver::with_origins(&config, packets, forwarder, origins, denied)
}

fn below(label: &str, number: u8, suffix: &str) -> Name {
    absolute_name(&format!("{label}{}{suffix}", keypair(number).public_key().to_z32())).unwrap()
}

const BRIDGE: &str = "[bridge]\nlisten = '0.0.0.0:8443'\naddresses = '192.0.2.99'\n";

#[tokio::test]
async fn a_site_is_found_as_an_answer_is_and_charged_to_its_client() {
    let quota = format!("{BRIDGE}[rate_limit]\ndht_requests_per_minute = 1\ndht_burst_size = 1");
    for (settings, number, expected) in [
        (BRIDGE, 1, Ok("203.0.113.1:6287")),
        (BRIDGE, 2, Ok("203.0.113.1:6287")),
        // One search is paid for, and the second key takes another.
        (&quota, 1, Ok("203.0.113.1:6287")),
        (&quota, 2, Err(ResolveError::LookupQuota.into())),
    ] {
        let found = resolver(settings).site(&below("", number, ".key"), CLIENT).await;
        assert_eq!(found.clone().map(|site| site.addresses), expected.map(|it| vec![it.parse().unwrap()]));
        if let Ok(site) = found {
            assert_eq!(site.end_point, below("", 1, ""));
            assert_eq!(site.proof.key, Some(keypair(1).public_key()));
        }
    }
}

#[tokio::test]
async fn why_there_is_no_site_is_said() {
    let exempt = format!("{BRIDGE}exempt = '{}'", keypair(1).public_key().to_z32());
    let origin = format!("{BRIDGE}[[origin]]\nname = 'pk.example.net'\nname_servers = 'ns.example.net'");
    let allowed = format!("{BRIDGE}[delegation]\nallow_private = true");
    let unreachable = SiteError::Lookup(ResolveError::Network(NetworkError::Unreachable).to_string());
    for (settings, name, expected) in [
        (BRIDGE, below("", 1, ""), Err(SiteError::NotUnderAKey)),
        (BRIDGE, below("www.", 1, ""), Err(SiteError::NotUnderAKey)),
        (BRIDGE, below("", 1, ".pk.example.net"), Err(SiteError::NotUnderAKey)),
        (BRIDGE, absolute_name("www.example.com").unwrap(), Err(SiteError::NotUnderAKey)),
        (&origin, below("", 1, ".pk.example.net"), Err(SiteError::NotUnderAKey)),
        (&exempt, below("www.", 1, ".key"), Err(SiteError::Exempt)),
        (BRIDGE, below("plain.", 1, ".key"), Err(SiteError::NoTls)),
        (BRIDGE, below("none.", 1, ".key"), Err(SiteError::Unknown)),
        (BRIDGE, below("", 3, ".key"), Err(SiteError::Unknown)),
        (BRIDGE, below("dark.", 2, ".key"), Err(unreachable)),
        // The bridge itself, and the network behind it.
        (BRIDGE, below("here.", 1, ".key"), Err(SiteError::NoAddress)),
        (BRIDGE, below("lan.", 1, ".key"), Err(SiteError::NoAddress)),
        (&allowed, below("lan.", 1, ".key"), Ok("192.168.1.2:443")),
        (&allowed, below("nowhere.", 1, ".key"), Err(SiteError::NoAddress)),
    ] {
        let found = resolver(settings).site(&name, CLIENT).await;
        let found = found.map(|site| site.addresses);
        assert_eq!(found, expected.map(|it| vec![it.parse().unwrap()]), "{name}");
    }
    let resolver = resolver(BRIDGE);
    let own = absolute_name(&format!("a.{}.key", resolver.own_zone().name())).unwrap();
    assert_eq!(resolver.site(&own, CLIENT).await, Err(SiteError::Unknown));
    let plain = resolver.plain_site(&below("plain.", 1, ".key"), CLIENT).await;
    assert_eq!(plain.map(|site| site.addresses), Ok(vec!["203.0.113.2:80".parse().unwrap()]));
}
