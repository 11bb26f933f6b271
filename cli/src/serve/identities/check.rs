//! What identities are made of, read and looked at before anything is started.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    super::{
        certificates,
        config::{Config, Identity},
        sites::{TlsKey, Wanted},
    },
    source,
};
use crate::{
    failure::Failure, keeper::Besides, secret_key::SecretKey, seed, terminal, zone_file::ExternalAddresses,
    zone_source::Zone,
};

/// The keys of an identity.
pub(super) struct Keys {
    /// What signs its packet.
    pub(super) secret_key: SecretKey,
    /// What ends TLS, where there is a site.
    pub(super) tls: Option<Arc<TlsKey>>,
}

/// The keys of all identities, in their order.
pub(super) fn read(identities: &[Identity]) -> Result<Vec<Keys>, Failure> {
    let mut known = HashMap::new();
    let keys = identities.iter().map(|identity| {
        let passphrase = identity.passphrase_file.as_deref();
        let secret_key = seed::secret_key_unattended(&identity.seed, passphrase)?;
        let seed = seed::FileName::of(&identity.seed);
        if let Some(other) = known.insert(secret_key.public_key().to_z32(), seed.to_string()) {
            return Err(Failure::Failed(format!("{seed} and {other} hold the same key; name it once")));
        }
        let tls = match (&identity.tls_key, identity.tls.is_empty()) {
            (_, true) => None,
            (Some(path), false) => Some(seed::secret_key_unattended(path, passphrase)?),
            (None, false) => Some(secret_key.clone()),
        };
        let tls = tls.map(|tls| TlsKey::new(&Arc::new(tls), &secret_key.public_key()).map(Arc::new));
        Ok(Keys { tls: tls.transpose()?, secret_key })
    });
    keys.collect()
}

impl Keys {
    /// The site that these keys are for, which is taken out of its identity.
    pub(super) fn site(&self, identity: &mut Identity) -> Option<Wanted> {
        let tls = identity.take_tls()?;
        Some(Wanted { key: self.secret_key.public_key(), tls, tls_key: self.tls.clone()? })
    }
}

/// Reads every seed and every zone. Returns how many there are. What is probably not meant in a zone is said on the way.
pub(in crate::serve) fn check(config: &Config, state: &Path) -> Result<usize, Failure> {
    let mistakes: Vec<String> = read(&config.identities)?
        .iter()
        .zip(&config.identities)
        .filter_map(|(keys, identity)| {
            let key = keys.secret_key.public_key();
            let zone = source(identity).read(&key);
            // An address is not known yet, so any stands in for it.
            let addresses = ExternalAddresses { ipv4: Some([192, 0, 2, 1].into()), ipv6: Some(1.into()) };
            let composed = zone.and_then(|zone: Zone| {
                zone.compose(&addresses)?;
                let mut mistakes = zone.mistakes();
                if let Some(site) = keys.site(&mut identity.clone()) {
                    let site = site.records(None)?;
                    mistakes.extend(
                        zone.contradictions(&addresses, &site).into_iter().map(|what| format!("tls: {what}")),
                    );
                    let whole = zone
                        .compose_known(&addresses, Besides { site: &site, everywhere: true, extras: &[] });
                    mistakes.extend(
                        whole.err().map(|failure| format!("tls: its records are left out: {failure}")),
                    );
                }
                Ok(mistakes)
            });
            let seed = seed::FileName::of(&identity.seed);
            if let Err(why) = certificates::check(&key, identity, state) {
                return Some(format!("identity {seed}: {why}"));
            }
            // Records in the configuration have no file that a message could name.
            let place =
                if identity.zone_file.is_some() { String::new() } else { format!("identity {seed}: ") };
            composed.map(|mistakes| warn(&place, &mistakes)).err().map(|failure| format!("{place}{failure}"))
        })
        .collect();
    if mistakes.is_empty() { Ok(config.identities.len()) } else { Err(Failure::Failed(mistakes.join("\n"))) }
}

fn warn(place: &str, mistakes: &[String]) {
    for mistake in mistakes {
        terminal::note(&format!("warning: {place}{mistake}"));
    }
}
