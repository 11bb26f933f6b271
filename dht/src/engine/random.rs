//! Numbers that nobody can foresee, drawn from the system in bulk.

/// Transaction ids: an attacker who guesses one and forges the address of its node could answer in its place.
#[derive(Debug)]
pub(super) struct Random {
    bytes: [u8; 1024],
    used: usize,
}

impl Random {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 1024], used: 1024 }
    }

    /// The next one. `None`: the system has none to give, which on Linux it has once it has started.
    pub(super) fn number(&mut self) -> Option<u32> {
        if self.used + 4 > self.bytes.len() {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let number = self.bytes.get(self.used..)?.first_chunk().copied()?;
        self.used += 4;
        Some(u32::from_be_bytes(number))
    }
}
