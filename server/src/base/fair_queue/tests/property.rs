//! Whatever happens, the right one is called.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What may happen to the turns.
#[derive(Debug, Clone)]
enum Event {
    Comes(u8),
    /// One of those who wait, by a number that is taken modulo their count.
    Leaves(usize),
    /// One of those at work, in the same way.
    Ends(usize),
    Resizes(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => prop_oneof![2 => Just(0), 3 => 0u8..5].prop_map(Event::Comes),
        2 => any::<usize>().prop_map(Event::Leaves),
        5 => any::<usize>().prop_map(Event::Ends),
        1 => (0..=BOUNDS.in_flight).prop_map(Event::Resizes),
    ]
}

/// Few enough for every bound to be reached, and enough for shares to differ.
const BOUNDS: Limits = Limits { in_flight: 12, queued: 6, queued_per_client: 4 };

/// What an observer sees: who works, with numbers and whether they are to end, who waits, in order of arrival, and when
/// each line had its last turn or began.
struct Observer {
    in_flight: usize,
    at_work: Vec<(u8, u64, bool)>,
    waiting: Vec<(u8, u64)>,
    tickets: HashMap<u64, u64>,
    since: HashMap<u8, usize>,
}

impl Observer {
    fn new() -> Self {
        let (at_work, waiting) = (Vec::new(), Vec::new());
        let (tickets, since) = (HashMap::new(), HashMap::new());
        Self { in_flight: BOUNDS.in_flight, at_work, waiting, tickets, since }
    }

    fn at_work(&self, client: u8) -> usize {
        self.at_work.iter().filter(|(other, ..)| *other == client).count()
    }

    fn may_start(&self, client: u8) -> bool {
        let free = self.in_flight.saturating_sub(self.at_work.len());
        free > 0 && self.at_work(client) < (free * SHARES.times_free).max(SHARES.least)
    }

    /// Checks that one of the right client is to end, if any, for one more of `client`.
    fn revoked(&mut self, client: u8, revoked: Option<u64>) {
        let wanted = self.at_work(client) + self.line(client);
        let stays = |client| self.at_work.iter().filter(|(other, _, ends)| *other == client && !ends).count();
        let most = (0..5).map(stays).max().unwrap_or(0);
        assert_eq!(revoked.is_some(), wanted <= SHARES.least && most > wanted);
        if let Some(number) = revoked {
            let (rich, ..) = *self.at_work.iter().find(|(_, other, _)| *other == number).expect("it works");
            assert_eq!(stays(rich), most);
            let oldest = self.at_work.iter_mut().filter(|(other, _, ends)| *other == rich && !ends);
            let oldest = oldest.min_by_key(|(_, number, _)| *number).expect("it has the most");
            assert_eq!(oldest.1, number);
            oldest.2 = true;
        }
    }

    fn line(&self, client: u8) -> usize {
        self.waiting.iter().filter(|(other, _)| *other == client).count()
    }

    /// Checks that nobody else should have been called, `now` being a count of events.
    fn called(&mut self, called: Called<u8, (u8, u64)>, now: usize) {
        let (client, ticket) = called.waiting;
        assert_eq!(called.client, client);
        assert!(self.may_start(client), "it has its share");
        let first = self.waiting.iter().position(|(other, _)| *other == client).expect("it waits");
        assert_eq!(self.waiting.remove(first), (client, ticket), "first in, first out");
        let next = self.since.iter().min_by_key(|(client, since)| (self.at_work(**client), **since));
        assert_eq!(next.map(|(client, _)| *client), Some(client), "its turn has not come");
        self.since.insert(client, now);
        self.at_work.push((client, called.number, false));
        self.forget_empty_lines();
    }

    fn forget_empty_lines(&mut self) {
        let waiting = &self.waiting;
        self.since.retain(|client, _| waiting.iter().any(|(other, _)| other == client));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_the_bounds_hold_and_all_who_stay_get_their_turn(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let (mut turns, mut seen) = (Turns::with_shares(BOUNDS, SHARES), Observer::new());
        // In the end all who work end, and so do those who take their places.
        let drain = vec![Event::Ends(0); BOUNDS.in_flight + BOUNDS.queued];
        let end = [Event::Resizes(BOUNDS.in_flight)].into_iter().chain(drain);
        // Several may be called in one event, in an order that is to be seen.
        for (now, event) in events.into_iter().chain(end).enumerate().map(|(now, event)| (now * 100, event)) {
            match event {
                Event::Comes(client) if seen.may_start(client) => {
                    let number = turns.start(client);
                    prop_assert!(number.is_some(), "client {client} has to wait for nothing");
                    seen.at_work.extend(number.map(|number| (client, number, false)));
                }
                Event::Comes(client) => {
                    prop_assert_eq!(turns.start(client), None, "client {} has its share", client);
                    let length = seen.line(client);
                    let longest = (0..5).map(|client| seen.line(client)).max().unwrap_or(0);
                    let is_full = length == BOUNDS.queued_per_client
                        || seen.waiting.len() == BOUNDS.queued && longest <= length + 1;
                    // Called by its own number, to see which one comes out.
                    let number = now as u64;
                    let joined = turns.wait(client, (client, number));
                    prop_assert_eq!(joined.is_err(), is_full);
                    if let Ok(Waits { ticket, gives_way, revoked }) = joined {
                        prop_assert_eq!(gives_way.is_some(), seen.waiting.len() == BOUNDS.queued);
                        if let Some((other, number)) = gives_way {
                            prop_assert_eq!(seen.line(other), longest);
                            let last = seen.waiting.iter().rposition(|(client, _)| *client == other).unwrap();
                            prop_assert_eq!(seen.waiting.remove(last), (other, number));
                            seen.forget_empty_lines();
                        }
                        seen.waiting.push((client, number));
                        seen.tickets.insert(number, ticket);
                        seen.since.entry(client).or_insert(now);
                        seen.revoked(client, revoked);
                    }
                }
                Event::Leaves(which) if !seen.waiting.is_empty() => {
                    let (client, number) = seen.waiting.remove(which % seen.waiting.len());
                    turns.leave(client, seen.tickets[&number]);
                    turns.leave(client, seen.tickets[&number]);
                    seen.forget_empty_lines();
                }
                Event::Ends(which) if !seen.at_work.is_empty() => {
                    let (client, number, _) = seen.at_work.remove(which % seen.at_work.len());
                    if let Some(called) = turns.end(client, number) {
                        seen.called(called, now);
                    }
                }
                Event::Resizes(in_flight) => {
                    seen.in_flight = in_flight;
                    for (index, called) in turns.resize(in_flight).into_iter().enumerate() {
                        seen.called(called, now + index);
                    }
                }
                Event::Leaves(_) | Event::Ends(_) => {}
            }
            let waits = seen.waiting.iter().find(|(client, _)| seen.may_start(*client));
            prop_assert!(waits.is_none(), "{waits:?} could work");
            prop_assert_eq!((turns.in_flight(), turns.queued()), (seen.at_work.len(), seen.waiting.len()));
            prop_assert_eq!(turns.lines(), (seen.since.len(), seen.since.len()));
        }
        prop_assert_eq!((turns.in_flight(), turns.queued(), turns.clients()), (0, 0, 0));
    }
}
