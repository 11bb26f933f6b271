//! Which site is asked for.

use super::*;
use crate::secret_key::SecretKey;

fn served(seed: u8) -> (String, Arc<Served>) {
    let secret_key = Arc::new(SecretKey::from_seed(&[seed; 32]));
    let public_key = secret_key.public_key();
    let key = Arc::new(TlsKey::new(&secret_key, &public_key).unwrap());
    let backend = Mutex::new(Backend::new(config::Backend::Tcp("127.0.0.1:9".to_string())));
    let name = public_key.to_z32();
    let identity = name.clone();
    let site = Served { name: name.clone(), identity, key, backend, stop: CancellationToken::new() };
    (name, Arc::new(site))
}

#[tokio::test]
async fn a_name_leads_to_the_site_of_its_key_and_one_without_a_key_to_none() {
    let (one, two, foreign) = (served(1), served(2), served(3).0);
    let both = Table(Mutex::new(HashMap::from([one.clone(), two.clone()])));
    let alone = Table(Mutex::new(HashMap::from([one.clone()])));
    let (first, second) = (&one.0, &two.0);
    for (name, of_both, of_one) in [
        (Some(first.clone()), Some(first), Some(first)),
        (Some(format!("a.www.{second}.key")), Some(second), Some(first)),
        (Some(second.to_ascii_uppercase()), Some(second), Some(first)),
        // A name that leads here by a record of its own.
        (Some(foreign.clone()), None, Some(first)),
        (Some("example.com".to_string()), None, None),
        (None, None, Some(first)),
    ] {
        for (table, expected) in [(&both, of_both), (&alone, of_one)] {
            let found = table.site(name.as_deref()).map(|site| site.name.clone());
            assert_eq!(found.as_ref(), expected, "{name:?}");
        }
    }
}

#[test]
fn a_key_always_shows_the_same_certificate_and_what_is_published_is_its_public_key() {
    let secret_key = Arc::new(SecretKey::from_seed(&[1; 32]));
    let key = TlsKey::new(&secret_key, &secret_key.public_key()).unwrap();
    let again = TlsKey::new(&secret_key, &secret_key.public_key()).unwrap();
    assert_eq!(key.certificate(), again.certificate());
    let info = key.public_key_info();
    assert!(key.certificate().windows(info.len()).any(|part| part == info));
}
