//! What a check came to.

use std::io::IsTerminal;

use serde::Serialize;

use crate::terminal::{Colour, coloured};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
    /// Not checked.
    Skipped,
}

/// One line of the report, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) seen: String,
    /// What to do. There is something unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, seen: seen.into(), advice: None }
    }

    pub(super) fn warning(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, seen: seen.into(), advice: Some(advice.into()) }
    }

    pub(super) fn failed(check: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, seen: seen.into(), advice: Some(advice.into()) }
    }

    pub(super) fn skipped(check: &'static str, why: &str, advice: impl Into<String>) -> Self {
        let seen = format!("not checked, because {why}");
        Self { check, verdict: Verdict::Skipped, seen, advice: Some(advice.into()) }
    }

    /// A failure that others make up for.
    pub(super) fn softened(self) -> Self {
        let verdict = if self.verdict == Verdict::Failed { Verdict::Warning } else { self.verdict };
        Self { verdict, ..self }
    }

    /// For people: a line, and the advice on the next one. In colour where `stream` is a terminal.
    pub(super) fn text(&self, stream: &impl IsTerminal) -> String {
        let (verdict, colour) = match self.verdict {
            Verdict::Ok => ("ok", Colour::Good),
            Verdict::Warning => ("warning", Colour::Doubtful),
            Verdict::Failed => ("failed", Colour::Bad),
            Verdict::Skipped => ("skipped", Colour::Faint),
        };
        let verdict = coloured(&format!("{verdict:7}"), colour, stream);
        let line = format!("{verdict}  {:13}  {}\n", self.check, self.seen);
        self.advice.iter().fold(line, |line, advice| format!("{line}{:24}-> {advice}\n", ""))
    }
}

#[cfg(test)]
impl Finding {
    /// That it says all of this, and what to do unless all is well.
    #[track_caller]
    pub(super) fn assert(&self, verdict: Verdict, parts: &[&str]) {
        let text = format!("{} -> {}", self.seen, self.advice.clone().unwrap_or_default());
        let has_parts = parts.iter().all(|part| text.contains(part));
        assert!(self.verdict == verdict && has_parts, "{:?} {parts:?}: {text}", self.verdict);
        assert_eq!(self.advice.is_none(), verdict == Verdict::Ok, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_stands_below_what_was_seen() {
        let failed = Finding::failed("clock", "an hour slow", "set it");
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            failed.text(&file),
            "failed   clock          an hour slow\n                        -> set it\n"
        );
        assert_eq!(Finding::ok("clock", "right").text(&file), "ok       clock          right\n");
        assert_eq!(failed.clone().softened().verdict, Verdict::Warning);
        assert_eq!(Finding::skipped("clock", "x", "y").softened().verdict, Verdict::Skipped);
    }
}
