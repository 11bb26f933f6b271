//! What a packet holds besides the zone, such as the challenge of a certificate.

use super::*;
use crate::{certificate::SiteNames, zone_file::ZoneRecord};

fn challenge(value: &str) -> ZoneRecord {
    let names = SiteNames::new(&secret_key(0).public_key(), "pk.example.net", &[], false).unwrap();
    names.challenge(&names.apex(), value).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_published_and_taken_out_at_once_and_never_costs_the_zone() {
    for (zone, fits) in
        [("@ A 192.0.2.1".to_string(), true), (format!("@ TXT {}", "aaaaaaaaaa ".repeat(82)), false)]
    {
        let world = World::new();
        let secret_key = secret_key(0);
        let zone = ZoneSource::Text(zone.into_bytes());
        let identity = Identity { secret_key, zone, interval: Interval::default(), force: false };
        let (destination, addresses) = (world.network.clone(), world.addresses.subscribe());
        let (timestamp, permits) = (TimestampFile::in_memory(), world.permits.clone());
        let keeper = Keeper::new(identity, destination, addresses, timestamp, permits, Want::default());
        let extras = watch::Sender::<Extras>::default();
        let (told, mut said) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(keeper.with_extras(extras.subscribe()).run(move |event| {
            if let Event::Crowded(LeftOut::Extras, failure) = event {
                let _ = told.send(failure.to_string());
            }
            Ok(())
        }));
        let values = || {
            let stored = world.only();
            let records =
                crate::records::read(&stored.last().unwrap().dns, &super::secret_key(0).public_key());
            let challenges = records.into_iter().filter(|record| record.owner == "_acme-challenge");
            challenges.map(|record| record.data).collect::<Vec<_>>()
        };
        sleep(HOUR / 2).await;
        let before = world.only();
        extras.send_modify(|extras| extras.extend([challenge("one"), challenge("two")]));
        sleep(TIME * 2).await;
        let expected: &[&str] = if fits { &["\"one\"", "\"two\""] } else { &[] };
        assert_eq!(values(), expected);
        assert_eq!(said.try_recv().is_err(), fits, "it is said that there is no room");
        extras.send_modify(Vec::clear);
        sleep(TIME * 2).await;
        assert_eq!(world.only().last().unwrap().dns, before.last().unwrap().dns);
        assert_eq!(world.attempts(), if fits { 3 } else { 1 });
    }
}
