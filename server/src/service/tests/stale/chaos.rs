//! An upstream that fails in every way and comes back, over names with all kinds of TTL, against the best that was held.

use super::*;

/// The same numbers each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// What is to be held after these words: the last, but a denial leaves a positive answer its time.
fn held(words: &[Word]) -> Option<Word> {
    let mut held: Option<Word> = None;
    for word in words.iter().filter(|word| !word.lifetime.is_zero()) {
        let is_denial = !matches!(word.said, Said::Address(_));
        let stays = held.is_some_and(|held| {
            is_denial && matches!(held.said, Said::Address(_)) && word.at < held.at + held.lifetime
        });
        if !stays {
            held = Some(*word);
        }
    }
    held
}

/// Compares a reply with the best that was to be had.
fn check(
    words: &[Word],
    heard: &Heard,
    started: Instant,
    ended: Instant,
    is_well_for: Duration,
) -> Result<(), String> {
    let (before, during): (Vec<Word>, Vec<Word>) = words.iter().partition(|word| word.at < started);
    let before = held(&before);
    let fail = |what: &str| Err(format!("{what}: {heard:?}, held {before:?}, new {during:?}"));
    if let Some(before) = before.filter(|before| started < before.at + before.lifetime) {
        let left = (before.at + before.lifetime - started).as_secs() as u32 + 1;
        // Of what is kept for less than it says, more is said.
        let has_aged = before.lifetime >= Duration::from_secs(3600) || heard.ttl <= Some(left);
        let is_right = heard.said == Some(before.said) && !heard.is_stale() && has_aged;
        return if is_right { Ok(()) } else { fail("an answer was alive") };
    }
    let is_old = |before: &Word| {
        let is_marked = heard.is_stale() && heard.ttl <= Some(STALE_TTL);
        heard.said == Some(before.said) && is_marked
    };
    let is_servable = |before: &Word, at: Instant| at < before.at + before.lifetime + MAX_STALE;
    if let Some(new) = during.last() {
        let is_new = heard.said == Some(new.said) && !heard.is_stale();
        let was_late = ended - started >= PATIENCE_WITH_STALE;
        let is_right = is_new || was_late && before.is_some_and(|before| is_old(&before));
        return if is_right { Ok(()) } else { fail("there was news") };
    }
    match before.filter(|before| is_servable(before, ended)) {
        Some(before) if !is_old(&before) => fail("an old answer could be served"),
        // Nobody is asked for half a minute after a failure.
        Some(_) if is_well_for > 31 * SECOND => fail("the upstream has been back for long"),
        None if before.is_some_and(|before| is_servable(&before, started)) => Ok(()),
        None if heard.said.is_some() => fail("nobody said so"),
        None if is_well_for > 5 * SECOND => fail("the failure was long ago"),
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_upstream_does_no_answer_is_worse_than_the_best_that_is_held() {
    let ttls = [0_u32, 1, 2, 5, 9, 10, 11, 30, 60, 300, 3600, 86_400, 0x7fff_ffff];
    let kinds = ["www", "no", "nodata"];
    let names: Vec<String> =
        kinds.iter().flat_map(|kind| ttls.map(|ttl| format!("{kind}-{ttl}.example"))).collect();
    for seed in 1..=4 {
        let (world, mut dice) = (World::new(), Dice(0x9e37_79b9_7f4a_7c15 ^ seed));
        let mut well_since = Some(Instant::now());
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for step in 0..6000 {
            if dice.below(5) == 0 {
                let mood = match dice.below(5) {
                    0 | 1 => Mood::Well,
                    2 => Mood::Mistaken,
                    _ => dice.one_of(&BAD),
                };
                world.is(mood);
                well_since = (mood == Mood::Well).then(|| well_since.unwrap_or_else(Instant::now));
            }
            let pause = match dice.below(40) {
                0 => dice.below(20_000_000),
                1..4 => dice.below(120_000),
                _ => dice.below(3000),
            };
            sleep(Duration::from_millis(pause)).await;
            // A few names often, all of them now and then.
            let name = match dice.below(2) {
                0 => &names[dice.below(names.len() as u64) as usize],
                _ => &names[3 + seed as usize],
            };
            let started = Instant::now();
            let heard = world.ask(name).await;
            let is_well_for = well_since.map_or(Duration::ZERO, |since| started - since);
            let words = world.words(&format!("{name}."));
            if let Err(error) = check(&words, &heard, started, Instant::now(), is_well_for) {
                panic!("seed {seed}, step {step}, {name}: {error}");
            }
            let kind = match (heard.said, heard.is_stale()) {
                (None, _) => "failed",
                (Some(_), true) => "stale",
                (Some(Said::Address(_)), false) => "address",
                (Some(_), false) => "denied",
            };
            *counts.entry(kind).or_default() += 1;
        }
        // All of it has happened.
        for kind in ["failed", "stale", "address", "denied"] {
            assert!(counts.get(kind).is_some_and(|count| *count > 20), "seed {seed}: {counts:?}");
        }
    }
}
