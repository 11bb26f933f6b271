//! Looks up what a decision about a site needs: packets as for any question of the client, and addresses outside of keys.

use std::net::IpAddr;

use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::time::timeout;

use super::{
    Decided, Site, SiteError, Wanted,
    at_hand::{AtHand, Need, OutsideAddresses, Standing, Undecided},
    decision::decide,
};
use crate::{
    base::{
        message::{Query, Question, address},
        metrics::Farthest,
        view::View,
    },
    resolver::{
        DEADLINE, Resolver,
        chain::Chain,
        error::ResolveError,
        name::{KeyName, Route},
        work::{KeyZone, WorkBudget},
    },
};

impl Resolver {
    /// The site over TLS at `name`, for a client that has come over a connection: it is charged for what has to be searched, as
    /// for a question. Ends within [`DEADLINE`].
    ///
    /// # Errors
    ///
    /// Why there is none, or it is not known.
    pub async fn site(&self, name: &Name, client: IpAddr) -> Result<Site, SiteError> {
        self.find_site(Wanted::Tls, name, client).await
    }

    /// Where `name` is over HTTP in the clear, for a name whose site has no TLS. What is there is not verified.
    ///
    /// # Errors
    ///
    /// Why there are none, or they are not known.
    pub async fn plain_site(&self, name: &Name, client: IpAddr) -> Result<Site, SiteError> {
        self.find_site(Wanted::Plain, name, client).await
    }

    async fn find_site(&self, wanted: Wanted, name: &Name, client: IpAddr) -> Result<Site, SiteError> {
        let name = name.to_lowercase();
        let asked = self.site_name(&name).ok_or(SiteError::NotUnderAKey)?;
        if self.0.bridge.is_exempt(&asked, &name) {
            return Err(SiteError::Exempt);
        }
        // A page of this server asks for names in its own zone, to see whether the browser trusts the bridge's authority. Nobody has
        // published anything there.
        if self.0.own_zone.is(&asked.key) {
            return Err(SiteError::Unknown);
        }
        let question = Question::new(&name, RecordType::A, DNSClass::IN).ok_or(SiteError::NotUnderAKey)?;
        let query = Query {
            id: 0,
            recursion_desired: true,
            authentic_data: false,
            checking_disabled: false,
            question,
            edns: None,
            // A connection shows that the client is where it says.
            is_proven: true,
            reply_cookie: None,
            view: View::Resolver,
        };
        let (mut budget, mut chain) = (WorkBudget::new(), Chain::new());
        let decided = self.decide_site(wanted, &name, &query, client, &mut budget, &mut chain);
        match timeout(DEADLINE, decided).await {
            Ok(decided) => Ok(decided??.site),
            Err(_) => Err(ResolveError::Deadline.into()),
        }
    }

    /// The key of a name that a site may have: one below a key and a suffix of `[names]`, and below no origin of this server.
    pub(in crate::resolver) fn site_name(&self, name: &Name) -> Option<KeyName> {
        if self.0.origins.of(name).is_some() {
            return None;
        }
        match self.0.suffixes.classify(name) {
            Route::PublicKey(asked) if asked.apex.iter().len() > 1 => Some(asked),
            _ => None,
        }
    }

    /// The site at `name`, which is in lower case and below a key. Notes in the chain what it was decided by.
    ///
    /// # Errors
    ///
    /// What could not be looked up. Within: why there is no site.
    pub(in crate::resolver) async fn decide_site(
        &self,
        wanted: Wanted,
        name: &Name,
        query: &Query,
        client: IpAddr,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Result<Decided, SiteError>, ResolveError> {
        let mut at_hand = AtHand::default();
        loop {
            let may_dial = |address| self.may_dial(address);
            let need = match decide(wanted, name, &at_hand, &self.0.suffixes, &may_dial) {
                Ok(decided) => return Ok(Ok(decided)),
                Err(Undecided::No(error)) => return Ok(Err(error)),
                Err(Undecided::Needs(need)) => *need,
            };
            match need {
                Need::Key(asked) => {
                    let standing = self.standing(&asked, query, client, budget, chain).await?;
                    at_hand.add_key(asked.key, standing);
                }
                Need::Addresses(name) => {
                    let addresses = self.outside_addresses(&name, query, client, budget, chain).await?;
                    at_hand.add_outside(name, addresses);
                }
            }
        }
    }

    async fn standing(
        &self,
        asked: &KeyName,
        query: &Query,
        client: IpAddr,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Standing, ResolveError> {
        chain.by_key = true;
        if budget.zone(asked.key.as_bytes()).is_none() {
            let verdict = self.0.denied.judge_question(&asked.key);
            chain.revisions.extend(verdict.revision);
            if verdict.denial.is_some() {
                return Ok(Standing::Denied);
            }
            chain.revisions.push(self.revisions().current(asked.key.as_bytes()));
        }
        Ok(match self.zone(query, client, asked, budget, chain).await? {
            KeyZone::Known(known) => Standing::Known(known),
            KeyZone::Absent => Standing::Absent,
        })
    }

    /// Asks the upstream resolvers, of both families. Names that this server or its own network has are nobody's site.
    async fn outside_addresses(
        &self,
        name: &Name,
        query: &Query,
        client: IpAddr,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<OutsideAddresses, ResolveError> {
        let mut found = OutsideAddresses { addresses: Vec::new(), ttl: u32::MAX };
        let is_public = matches!(self.0.suffixes.classify(name), Route::Icann)
            && !self.is_local_name(name)
            && !self.keeps_back(name, RecordType::A);
        if !is_public {
            return Ok(found);
        }
        chain.by_upstream = true;
        for record_type in [RecordType::A, RecordType::AAAA] {
            if !query.recursion_desired {
                return Err(ResolveError::NotHeld);
            }
            chain.went_to(Farthest::Upstream);
            let reply = self.ask_upstream(name, record_type, query, client, budget).await?;
            for record in &reply.answers {
                found.ttl = found.ttl.min(record.ttl);
                found.addresses.extend(address(&record.data));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
