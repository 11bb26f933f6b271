//! What the nodes that answered say about absence and about density.

use super::{ENOUGH_ANSWERS, Lookup, candidates::Candidate, crowd::crowd};

/// Answers that count as evidence of absence, the nearest.
const MAX_WITNESSES: usize = 14;

/// So many nodes that lack a value which each of them would probably hold are a sign that there is none.
const DOUBTS: usize = 3;

impl Lookup {
    /// Whether it is to be expected that no node will have the value: some have answered without it that are among the
    /// nearest by what is known of the density. This is no evidence, and a reason to look elsewhere as well.
    pub(crate) fn is_probably_absent(&self) -> bool {
        let near = self.radius() / 2.0;
        let nearest = self.answered_candidates().take_while(|candidate| candidate.distance() <= near);
        self.sees_crowds && nearest.count() >= DOUBTS
    }

    /// Whether so many nodes from near the target have answered that what none of them holds does not exist. `known`:
    /// nodes that we know in all. Each node near the target would hold it, so that a few answers are enough; but a
    /// search that lost most of its answers has not come near.
    pub(crate) fn is_evidence(&self, known: usize, spacing: Option<f64>) -> bool {
        // The table may have lost many since the search began.
        let needed = (known.max(self.seeds) / 2).clamp(1, ENOUGH_ANSWERS);
        let witnesses = self.answered_candidates().count().min(MAX_WITNESSES).max(needed);
        let Some(last) = self.answered_candidates().nth(witnesses - 1) else { return false };
        // The 14th of evenly spread nodes is 14 spacings away, in one of a thousand cases 28, and some of those on the way
        // there have not been heard. If it is much farther, those who would know have not answered: of hostile nodes
        // alone, one in five, the 14th is 70 away.
        let slack = if self.is_widened { 4.0 } else { 2.75 };
        spacing.is_none_or(|spacing| last.distance() <= spacing * slack * witnesses as f64)
    }

    /// Share of the key space per node that may hold values, from how near the nearest are, those beyond a crowd. `None`
    /// where too few answered.
    pub(crate) fn spacing(&self) -> Option<f64> {
        let nearest = self.answered_candidates().nth(ENOUGH_ANSWERS - 1)?;
        Some((nearest.distance() - self.crowd_edge.unwrap_or(0.0)) / ENOUGH_ANSWERS as f64)
    }

    /// Nodes whose answers count, nearest first: they may hold the value and are not of a crowd.
    pub(super) fn witnesses(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let counts = |(_, candidate): &(usize, &Candidate)| candidate.stores && !self.is_of_crowd(candidate);
        self.candidates.open_or_late().filter(counts)
    }

    pub(super) fn answered_candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.witnesses().map(|(_, candidate)| candidate).filter(|candidate| candidate.has_answered())
    }

    pub(super) fn is_of_crowd(&self, candidate: &Candidate) -> bool {
        self.crowd_edge.is_some_and(|edge| candidate.distance() <= edge)
    }

    /// Where the crowd beside the target ends, if there is one. Once found it does not shrink.
    pub(super) fn crowd_edge(&self) -> Option<f64> {
        let Some(spacing) = self.spacing.filter(|_| self.sees_crowds) else { return self.crowd_edge };
        let answered = || {
            let storing = self.candidates.iter().filter(|candidate| candidate.stores);
            storing.filter(|candidate| candidate.has_answered()).map(Candidate::distance)
        };
        let crowd = crowd(answered(), spacing);
        let edge = crowd.checked_sub(1).and_then(|last| answered().nth(last));
        edge.into_iter().chain(self.crowd_edge).max_by(f64::total_cmp)
    }
}
