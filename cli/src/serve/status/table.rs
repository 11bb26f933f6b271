//! The status for people.

use std::time::Duration;

use super::{IdentityStatus, MICROSECONDS, State, Status};
use crate::{keeper::in_words, records, terminal::printable, time::age};

/// `now` is in seconds since 1970.
pub(super) fn table(status: &Status, running: bool, now: u64) -> String {
    let Status { version, process_id, started_at, written_at, identities } = status;
    let first = match running {
        true => format!(
            "pkdns-cli {} runs as process {process_id}, started {}",
            printable(version),
            ago(*started_at, now)
        ),
        false => format!("not running; written {} by process {process_id}", ago(*written_at, now)),
    };
    let counts = [State::Stored, State::Pending, State::Waiting, State::Failing, State::Unreadable];
    let counts = counts.into_iter().filter_map(|state| {
        let count = identities.iter().filter(|identity| identity.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let total = match identities.len() {
        0 => return format!("{first}\nno identities\n"),
        1 => "1 identity".to_owned(),
        total => format!("{total} identities"),
    };
    let rows = identities.iter().map(|identity| row(identity, now)).collect();
    let lines = records::columns(["IDENTITY", "STATE", "STORED", "NODES", "NEXT"], rows);
    let mut lines = lines.lines();
    let heading = lines.next().unwrap_or_default();
    let mut text = format!("{first}\n{total}: {counts}\n\n{heading}\n");
    for (line, identity) in lines.zip(identities) {
        text.push_str(line);
        text.push('\n');
        reasons(identity, now).iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
    }
    text
}

fn row(identity: &IdentityStatus, now: u64) -> [String; 5] {
    let relays = match identity.relays {
        0 => String::new(),
        1 => " and 1 relay".to_owned(),
        relays => format!(" and {relays} relays"),
    };
    [
        printable(&identity.identity),
        identity.state.name().to_owned(),
        identity.stored_at.map_or_else(|| "never".to_owned(), |at| ago(at, now)),
        identity.stored_at.map_or_else(String::new, |_| format!("{}{relays}", identity.nodes)),
        identity.next_at.map_or_else(String::new, |at| match at.checked_sub(now) {
            Some(left) => format!("in {}", in_words(Duration::from_secs(left))),
            None => "due".to_owned(),
        }),
    ]
}

/// Why it is not stored as it should be.
fn reasons(identity: &IdentityStatus, now: u64) -> Vec<String> {
    let error = identity.last_error.as_ref();
    let error = error.filter(|_| matches!(identity.state, State::Failing | State::Unreadable));
    let error = error.map(|error| format!("{}: {}", ago(error.at, now), printable(&error.message)));
    let waiting = identity.waiting_for.as_ref().map(|waiting| printable(waiting));
    error.into_iter().chain(waiting).collect()
}

fn ago(at: u64, now: u64) -> String {
    age(at.saturating_mul(MICROSECONDS), now.saturating_mul(MICROSECONDS))
}

#[cfg(test)]
mod tests {
    use super::{super::LastError, *};

    #[test]
    fn each_identity_has_a_row_and_below_it_what_is_wrong() {
        let of = |identity: &str, state, stored_at, next_at| IdentityStatus {
            identity: identity.into(),
            state,
            stored_at,
            nodes: 20,
            next_at,
            last_error: Some(LastError { at: 900, message: "no network\u{1b}[2J".into() }),
            ..IdentityStatus::default()
        };
        let identities = vec![
            of("a.seed aaaaaaaa", State::Stored, Some(400), Some(3100)),
            IdentityStatus { relays: 1, ..of("b.seed bbbbbbbb", State::Failing, Some(100), Some(1005)) },
            IdentityStatus {
                waiting_for: Some("waiting for an IPv4 address".into()),
                last_error: None,
                ..of("long-name.seed cc", State::Waiting, None, Some(999))
            },
        ];
        let status =
            Status { version: "1.2.3".into(), process_id: 7, started_at: 400, written_at: 940, identities };
        assert_eq!(
            table(&status, true, 1000),
            "pkdns-cli 1.2.3 runs as process 7, started 10 minutes ago\n\
             3 identities: 1 stored, 1 waiting, 1 failing\n\
             \n\
             IDENTITY           STATE    STORED          NODES           NEXT\n\
             a.seed aaaaaaaa    stored   10 minutes ago  20              in 35 min\n\
             b.seed bbbbbbbb    failing  15 minutes ago  20 and 1 relay  in 5 s\n  \
               1 minute ago: no network\\027[2J\n\
             long-name.seed cc  waiting  never                           due\n  \
               waiting for an IPv4 address\n"
        );
        assert!(table(&status, false, 1000).starts_with("not running; written 1 minute ago by process 7\n"));
        assert!(table(&Status::default(), true, 1).ends_with("no identities\n"));
    }
}
