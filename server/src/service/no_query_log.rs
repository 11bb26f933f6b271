//! In place of the records of queries where they are left out. A configuration that asks for them is refused.

use super::event::Event;
use crate::base::{config, metrics::LogMetrics};

/// Records nothing.
#[derive(Clone, Default)]
pub struct QueryLog;

impl QueryLog {
    pub fn start(_: &config::QueryLog, _: &config::Dnstap, _: &LogMetrics) -> Self {
        Self
    }

    pub fn is_on(&self) -> bool {
        false
    }

    pub fn note_asked(&self, _: &Event<'_>) {}

    pub fn note_answered(&self, _: &Event<'_>) {}

    pub async fn close(&self) {}
}
