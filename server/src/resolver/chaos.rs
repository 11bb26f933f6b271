//! Questions about the server itself, in class CHAOS (RFC 4892): refused unless the operator gives an answer.

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::TXT},
};

use super::error::ResolveError;
use crate::base::{config, message::Answer};

/// What may be told.
#[derive(Debug)]
pub(super) struct Identity {
    version: String,
    id: String,
}

impl Identity {
    pub(super) fn new(settings: &config::Identity) -> Self {
        Self { version: settings.version.clone(), id: settings.id.clone() }
    }

    /// The answer for `name`, in lower case.
    pub(super) fn answer(&self, name: &Name, record_type: RecordType) -> Result<Answer, ResolveError> {
        let text = match name.to_ascii().as_str() {
            "version.bind." | "version.server." => &self.version,
            "id.server." | "hostname.bind." => &self.id,
            _ => return Err(ResolveError::Class),
        };
        if text.is_empty() || !matches!(record_type, RecordType::TXT | RecordType::ANY) {
            return Err(ResolveError::Class);
        }
        let mut record = Record::from_rdata(name.clone(), 0, RData::TXT(TXT::new(vec![text.clone()])));
        record.dns_class = DNSClass::CH;
        let mut answer = Answer::empty(ResponseCode::NoError);
        answer.answers = vec![record];
        answer.lifetime = Duration::ZERO;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(identity: &Identity, name: &str) -> Result<usize, ResolveError> {
        let name = Name::from_ascii(name).unwrap();
        identity.answer(&name, RecordType::TXT).map(|answer| answer.answers.len())
    }

    #[test]
    fn nothing_is_told_unless_the_operator_says_so() {
        let silent = Identity::new(&config::Identity::default());
        let open = Identity::new(&config::Identity { version: "pkdns".into(), id: String::new() });
        for name in ["version.bind.", "version.server."] {
            assert_eq!(ask(&silent, name), Err(ResolveError::Class));
            assert_eq!(ask(&open, name), Ok(1));
        }
        assert_eq!(ask(&open, "id.server."), Err(ResolveError::Class));
        assert_eq!(ask(&open, "example.com."), Err(ResolveError::Class));
    }
}
