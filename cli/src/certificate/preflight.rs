//! What can be seen beforehand of an order that will fail. Authorities count failures, and say less.

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::names::SiteNames;
use crate::{
    failure::Failure,
    name_servers::{NameServer, Statement, ask_all},
    terminal,
};

/// Asks the origin for the key. Warns where it cannot be asked from here: the authority may be better off.
///
/// # Errors
///
/// When the origin answers, and the authority would not find what it needs.
pub(super) async fn check(
    names: &SiteNames,
    servers: &[NameServer],
    needs_address: bool,
) -> Result<(), Failure> {
    let name = names.apex_name();
    let (v4, v6) =
        tokio::join!(ask_all(servers, &name, RecordType::A), ask_all(servers, &name, RecordType::AAAA));
    let statements = [v4, v6].concat();
    match judge(names, &statements, needs_address) {
        Ok(None) => Ok(()),
        Ok(Some(warning)) => {
            terminal::note(&format!("warning: {warning}"));
            Ok(())
        }
        Err(why) => Err(Failure::Failed(why)),
    }
}

/// `Ok` with what to warn of.
fn judge(names: &SiteNames, statements: &[Statement], needs_address: bool) -> Result<Option<String>, String> {
    let apex = names.apex();
    let said = |code| statements.iter().find(|statement| statement.reply.code() == Some(code));
    if let Some(statement) = said(ResponseCode::Refused) {
        return Err(format!(
            "the name server {} refuses questions about {apex}: it has no such origin, so ask its operator, or look at the name \
             after --origin",
            statement.server
        ));
    }
    if let Some(statement) = said(ResponseCode::NXDomain) {
        return Err(format!(
            "the name server {} knows no {apex}: publish the zone of the key (pkdns-cli publish), and see what there is with \
             pkdns-cli resolve",
            statement.server
        ));
    }
    if statements.iter().all(|statement| statement.reply.response().is_none()) {
        let told = statements
            .first()
            .map(|statement| format!(" (from {} {})", statement.server, statement.reply.describe()));
        return Ok(Some(format!(
            "no name server of the origin answers from here{}; going on, for the authority may reach them",
            told.unwrap_or_default()
        )));
    }
    // An alias that leads out of the origin is followed by whoever resolves.
    let is_somewhere = statements.iter().any(|statement| !statement.reply.answers().is_empty());
    let failing = said(ResponseCode::ServFail);
    match failing {
        Some(statement) => Ok(Some(format!(
            "the name server {} cannot answer for {apex} right now: if the order fails, try again in a minute",
            statement.server
        ))),
        None if needs_address && !is_somewhere => Err(format!(
            "{apex} has no address that the origin shows: write a public A or AAAA record into the zone and publish it, or prove \
             the name by --challenge dns-01"
        )),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dns::Reply, testing::key};

    #[test]
    fn what_the_authority_would_fail_at_is_said_before_it_counts_the_failure() {
        let names = SiteNames::new(&key(), "pk.test", &[], false).unwrap();
        let of = |code, records| Reply::of(code, records, None);
        let (yes, empty) = (of(ResponseCode::NoError, 1), of(ResponseCode::NoError, 0));
        for (replies, needs_address, is_err, part) in [
            (vec![yes.clone(), empty.clone()], true, false, ""),
            (vec![empty.clone(), empty.clone()], true, true, "write a public A or AAAA record"),
            (vec![empty.clone(), empty.clone()], false, false, ""),
            (vec![yes.clone(), of(ResponseCode::Refused, 0)], true, true, "it has no such origin"),
            (vec![of(ResponseCode::NXDomain, 0)], true, true, "publish the zone of the key"),
            (vec![of(ResponseCode::NXDomain, 0)], false, true, "publish the zone of the key"),
            (
                vec![Reply::Silent, Reply::Closed],
                true,
                false,
                "no name server of the origin answers from here",
            ),
            (vec![], true, false, "no name server"),
            (vec![yes, of(ResponseCode::ServFail, 0)], true, false, "cannot answer for"),
        ] {
            let statements: Vec<Statement> =
                replies.into_iter().map(|reply| Statement { server: "ns.test".into(), reply }).collect();
            let judged = judge(&names, &statements, needs_address);
            assert_eq!(judged.is_err(), is_err, "{judged:?}");
            let text = judged.unwrap_or_else(Some).unwrap_or_default();
            assert!(text.contains(part) && text.is_empty() == part.is_empty(), "{text}");
        }
    }
}
