//! What a question means, by where it came in.

/// As whom the server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum View {
    /// As a resolver, for those whom `[access]` serves: every name is answered.
    #[default]
    Resolver,
    /// As a resolver that leads to the bridge: so are those whom the bridge is for, where their question may be about a site.
    Bridged,
    /// As a name server, for everybody else: names in an `[[origin]]` are answered, and nobody is asked for others.
    Origin,
}

impl View {
    /// RA in the header of replies.
    pub fn offers_recursion(self) -> bool {
        self != Self::Origin
    }
}
