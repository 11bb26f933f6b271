//! The DNS message inside a packet: a reply with id 0 that holds the records as answers, names compressed.

mod edit;

use std::{cmp::Reverse, fmt};

use domain::base::{
    MessageBuilder,
    message_builder::{AnswerBuilder, TreeCompressor},
    record::ComposeRecord,
};
use pkdns_dht::signed_packet::{MAX_DNS_SIZE, PublicKey};
use thiserror::Error;

use crate::{
    failure::Failure,
    records::{self, TextRecord},
    zone_file::ZoneRecord,
};

pub(crate) use edit::edited;

/// Records listed when a zone is too large.
const HEAVIEST: usize = 10;

/// Characters of a record that are listed.
const LINE_LENGTH: usize = 70;

/// Why records do not make a packet.
#[derive(Debug, Error)]
pub enum PacketError {
    #[error("{0}")]
    TooLarge(TooLarge),
    #[error("the zone has more records than a DNS message can count")]
    TooMany,
    #[error("the packet that is published now cannot be read as a DNS message: publish the whole zone again")]
    Broken,
    #[error("other implementations of PKARR could not read this zone ({0}): take out what is unusual in it")]
    Unreadable(String),
}

/// A message that does not fit, and what each record adds to it in bytes, in the order of the zone.
#[derive(Debug)]
pub struct TooLarge {
    size: usize,
    weights: Vec<(usize, TextRecord)>,
}

/// A message of any size, and what each record adds to it in bytes, in the order of the zone.
pub(crate) struct Weighed {
    pub(crate) dns: Vec<u8>,
    pub(crate) weights: Vec<usize>,
}

/// A message that is being written, of any size.
struct Writing {
    answers: AnswerBuilder<TreeCompressor<Vec<u8>>>,
    weights: Vec<usize>,
}

impl Writing {
    fn begin() -> Result<Self, PacketError> {
        let target = TreeCompressor::new(Vec::with_capacity(MAX_DNS_SIZE));
        let mut builder = MessageBuilder::from_target(target).map_err(|_| PacketError::TooMany)?;
        builder.header_mut().set_qr(true);
        Ok(Self { answers: builder.answer(), weights: Vec::new() })
    }

    fn add(&mut self, record: impl ComposeRecord) -> Result<(), PacketError> {
        let before = self.answers.as_slice().len();
        self.answers.push(record).map_err(|_| PacketError::TooMany)?;
        self.weights.push(self.answers.as_slice().len().saturating_sub(before));
        Ok(())
    }

    fn finish(self) -> Weighed {
        Weighed { dns: self.answers.finish().into_target(), weights: self.weights }
    }
}

/// Writes a message with the records of a zone, which may be larger than a packet.
pub(crate) fn weigh(zone: &[ZoneRecord]) -> Result<Weighed, PacketError> {
    let mut writing = Writing::begin()?;
    zone.iter().try_for_each(|record| writing.add(record))?;
    Ok(writing.finish())
}

/// Writes the message for the zone of `key`.
pub fn compose(zone: &[ZoneRecord], key: &PublicKey) -> Result<Vec<u8>, PacketError> {
    fitting(weigh(zone)?, key)
}

/// The message, if it fits into a packet and others can read it.
fn fitting(weighed: Weighed, key: &PublicKey) -> Result<Vec<u8>, PacketError> {
    let Weighed { dns, weights } = weighed;
    if dns.len() > MAX_DNS_SIZE {
        let size = dns.len();
        let weights = weights.into_iter().zip(records::read(&dns, key)).collect();
        return Err(PacketError::TooLarge(TooLarge { size, weights }));
    }
    // The reader that most others use. What it refuses is lost to them as a whole.
    pkarr::dns::Packet::parse(&dns).map_err(|error| PacketError::Unreadable(error.to_string()))?;
    Ok(dns)
}

impl From<PacketError> for Failure {
    fn from(error: PacketError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = self.size.saturating_sub(MAX_DNS_SIZE);
        writeln!(f, "the zone takes {} bytes, {over} more than the {MAX_DNS_SIZE} of a packet.", self.size)?;
        let mut heaviest: Vec<_> = self.weights.iter().collect();
        heaviest.sort_by_key(|(size, _)| Reverse(*size));
        let listed = heaviest.len().min(HEAVIEST);
        writeln!(f, "The heaviest {listed} of {} records:", self.weights.len())?;
        write!(f, "  bytes  record")?;
        for (size, record) in heaviest.into_iter().take(HEAVIEST) {
            write!(f, "\n  {size:5}  {}", shortened(&record.to_string()))?;
        }
        Ok(())
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_LENGTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests;
