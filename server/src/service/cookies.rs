//! DNS cookies of ours: made, and checked when they come back (RFC 7873, in the form of RFC 9018). Nothing is kept of
//! whom they were given to.

use std::{
    net::IpAddr,
    sync::{PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use siphasher::sip::SipHasher24;
use tokio::time::Instant;

use crate::base::message::{Cookie, ReplyCookie};

/// The one form of server cookies that there is (RFC 9018 section 4.2).
const VERSION: u8 = 1;

/// A cookie is believed for an hour, and from a clock of ours that goes so much ahead; after half of that time its client
/// gets a new one (RFC 9018 section 4.3).
const LIFETIME: i32 = 3600;
const AHEAD: i32 = 300;
const RENEWAL: i32 = 1800;

/// How long a secret makes cookies. What it made is believed until the next one is replaced, by when all of it is too
/// old: RFC 7873 section 7.1 wants a day and forbids more than 36.
const SECRET_LIFETIME: Duration = Duration::from_secs(86_400);

/// A secret that is only ever in memory.
type Secret = [u8; 16];

/// Makes and checks cookies.
pub struct Cookies {
    secrets: RwLock<Secrets>,
    start: Instant,
    /// When that was in seconds since 1970. From there on time is counted, so that a clock that is set leaves cookies
    /// what they are.
    start_seconds: u64,
}

struct Secrets {
    current: Secret,
    before: Option<Secret>,
    replace_at: Instant,
}

/// What a client's cookie is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is only the client's part (RFC 7873 section 5.2.3).
    New,
    /// The server's part is not ours, not this client's, or too old (section 5.2.4).
    Invalid,
    /// The client has had a reply of ours, so that it is where it says (section 5.2.5).
    Valid,
}

/// A cookie looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// What it is worth.
    pub standing: Standing,
    /// What the reply carries.
    pub reply: ReplyCookie,
}

impl Cookies {
    /// With a secret of their own; `None` where the system has no randomness for one.
    pub fn new(now: Instant) -> Option<Self> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Some(Self::with_secret(random_secret()?, now, seconds))
    }

    fn with_secret(current: Secret, start: Instant, start_seconds: u64) -> Self {
        let replace_at = start + SECRET_LIFETIME;
        Self { secrets: RwLock::new(Secrets { current, before: None, replace_at }), start, start_seconds }
    }

    /// Looks at a cookie from `client`.
    pub fn check(&self, cookie: &Cookie, client: IpAddr, now: Instant) -> Checked {
        self.replace_when_due(now);
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        // RFC 9018 section 4.2: 32 bits that wrap around.
        let seconds = self.start_seconds.wrapping_add(elapsed) as u32;
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = || ReplyCookie(make(&secrets.current, cookie.client(), client, [0; 3], seconds));
        let Ok(server) = <[u8; 16]>::try_from(cookie.server()) else {
            let standing = if cookie.server().is_empty() { Standing::New } else { Standing::Invalid };
            return Checked { standing, reply: fresh() };
        };
        let [version, r0, r1, r2, t0, t1, t2, t3, ..] = server;
        let made_at = u32::from_be_bytes([t0, t1, t2, t3]);
        // Serial number arithmetic (RFC 1982): right across the end of the 32 bits.
        let age = seconds.wrapping_sub(made_at) as i32;
        let given = |secret| {
            let made = make(secret, cookie.client(), client, [r0, r1, r2], made_at);
            is_equal(&made[Cookie::CLIENT_SIZE..], &server).then_some(made)
        };
        if version != VERSION || !(-AHEAD..=LIFETIME).contains(&age) {
            return Checked { standing: Standing::Invalid, reply: fresh() };
        }
        if let Some(made) = given(&secrets.current) {
            let reply = if age > RENEWAL { fresh() } else { ReplyCookie(made) };
            return Checked { standing: Standing::Valid, reply };
        }
        let is_from_before = secrets.before.as_ref().is_some_and(|before| given(before).is_some());
        let standing = if is_from_before { Standing::Valid } else { Standing::Invalid };
        Checked { standing, reply: fresh() }
    }

    fn replace_when_due(&self, now: Instant) {
        let is_due = |secrets: &Secrets| now >= secrets.replace_at;
        if !is_due(&self.secrets.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        // Without randomness the secret stays: a cookie that can be guessed would be worse than an old one.
        let Some(next) = random_secret() else { return };
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if is_due(&secrets) {
            secrets.before = Some(std::mem::replace(&mut secrets.current, next));
            secrets.replace_at = now + SECRET_LIFETIME;
        }
    }
}

fn random_secret() -> Option<Secret> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).ok()?;
    Some(secret)
}

/// RFC 9018 section 4.4. An IPv4 client counts by its four bytes, however it is written.
fn make(
    secret: &Secret,
    cookie: [u8; Cookie::CLIENT_SIZE],
    client: IpAddr,
    reserved: [u8; 3],
    seconds: u32,
) -> [u8; ReplyCookie::SIZE] {
    let mut input = [0; 32];
    input[..8].copy_from_slice(&cookie);
    input[8] = VERSION;
    input[9..12].copy_from_slice(&reserved);
    input[12..16].copy_from_slice(&seconds.to_be_bytes());
    let length = match client.to_canonical() {
        IpAddr::V4(address) => {
            input[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            input[16..].copy_from_slice(&address.octets());
            32
        }
    };
    let hash = SipHasher24::new_with_key(secret).hash(&input[..length]);
    let mut made = [0; ReplyCookie::SIZE];
    made[..16].copy_from_slice(&input[..16]);
    made[16..].copy_from_slice(&hash.to_le_bytes());
    made
}

/// Takes the same time wherever they differ, so that no byte can be found before the others.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn secret(hex: &str) -> Secret {
        bytes(hex).try_into().unwrap()
    }

    fn cookie(hex: &str) -> Cookie {
        Cookie::read(&bytes(hex)).unwrap()
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// The cookies of a server that started at this time, and its clock.
    fn started(current: &str, seconds: u64) -> (Cookies, Instant) {
        let now = Instant::now();
        (Cookies::with_secret(secret(current), now, seconds), now)
    }

    /// What a client sends that got this reply.
    fn returned(reply: ReplyCookie) -> Cookie {
        Cookie::read(&reply.0).unwrap()
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT: &str = "2464c4abcf10c957";
    const SERVED: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";

    #[tokio::test]
    async fn the_examples_of_rfc_9018_hold() {
        // Appendix A.1 to A.3: the time of the reply, the client, what it sent, what it gets.
        let (a1, a2, a3) = (1_559_731_985, 1_559_734_385, 1_559_734_700);
        let reserved = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        for (seconds, client, sent, standing, reply) in [
            (a1, "198.51.100.100", CLIENT, Standing::New, SERVED),
            (
                a2,
                "198.51.100.100",
                SERVED,
                Standing::Valid,
                "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            ),
            // Made almost two hours before.
            (
                a3,
                "203.0.113.203",
                reserved,
                Standing::Invalid,
                "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
            ),
        ] {
            let (cookies, now) = started(SECRET, seconds);
            let checked = cookies.check(&cookie(sent), ip(client), now);
            assert_eq!((checked.standing, &checked.reply.0[..]), (standing, &bytes(reply)[..]), "{sent}");
        }
        // The reserved bytes of A.3 are part of what is hashed.
        let (cookies, now) = started(SECRET, 1_559_727_985);
        assert_eq!(cookies.check(&cookie(reserved), ip("203.0.113.203"), now).standing, Standing::Valid);
        // Appendix A.4: IPv6, and a secret that was replaced in between.
        let (cookies, now) = started("445536bcd2513298075a5d379663c962", 1_559_741_961);
        cookies.secrets.write().unwrap().before = Some(secret("dd3bdf9344b678b185a6f5cb60fca715"));
        let sent = cookie("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let checked = cookies.check(&sent, ip("2001:db8:220:1:59de:d0f4:8769:82b8"), now);
        assert_eq!(checked.standing, Standing::Valid);
        assert_eq!(checked.reply.0[..], bytes("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
    }

    #[tokio::test]
    async fn a_cookie_holds_for_an_hour_and_is_made_anew_after_half_of_one() {
        let (cookies, now) = started(SECRET, 1_559_731_985);
        let client = ip("198.51.100.100");
        for (age, standing, is_new) in [
            (0, Standing::Valid, false),
            (1800, Standing::Valid, false),
            (1801, Standing::Valid, true),
            (3600, Standing::Valid, true),
            (3601, Standing::Invalid, true),
        ] {
            let checked = cookies.check(&cookie(SERVED), client, now + Duration::from_secs(age));
            assert_eq!(
                (checked.standing, checked.reply.0[..] != bytes(SERVED)),
                (standing, is_new),
                "{age} s"
            );
        }
        for (early, standing) in [(300, Standing::Valid), (301, Standing::Invalid)] {
            let (cookies, now) = started(SECRET, 1_559_731_985 - early);
            assert_eq!(cookies.check(&cookie(SERVED), client, now).standing, standing, "{early} s early");
        }
    }

    #[tokio::test]
    async fn time_that_wraps_around_at_32_bits_takes_no_cookie() {
        let (cookies, now) = started(SECRET, (1 << 32) - 10);
        let client = ip("192.0.2.1");
        let reply = cookies.check(&cookie(CLIENT), client, now).reply;
        let later = now + Duration::from_secs(20);
        assert_eq!(cookies.check(&returned(reply), client, later).standing, Standing::Valid);
    }

    #[tokio::test]
    async fn a_cookie_of_another_client_server_or_form_is_worth_nothing() {
        let (cookies, now) = started(SECRET, 1_559_731_985);
        let standing = |sent: &str, client| cookies.check(&cookie(sent), ip(client), now).standing;
        assert_eq!(standing(SERVED, "198.51.100.100"), Standing::Valid);
        assert_eq!(standing(SERVED, "::ffff:198.51.100.100"), Standing::Valid, "the same client");
        assert_eq!(standing(SERVED, "198.51.100.101"), Standing::Invalid);
        assert_eq!(standing(&SERVED.replacen("2464", "2465", 1), "198.51.100.100"), Standing::Invalid);
        assert_eq!(standing(&SERVED.replacen("0100", "0200", 1), "198.51.100.100"), Standing::Invalid);
        assert_eq!(standing(&format!("{SERVED}00"), "198.51.100.100"), Standing::Invalid);
        assert_eq!(standing(&SERVED[..32], "198.51.100.100"), Standing::Invalid);
        let (other, now) = started("445536bcd2513298075a5d379663c962", 1_559_731_985);
        assert_eq!(other.check(&cookie(SERVED), ip("198.51.100.100"), now).standing, Standing::Invalid);
    }

    #[tokio::test]
    async fn a_secret_is_replaced_each_day_and_the_one_before_is_still_believed() {
        let (cookies, now) = started(SECRET, 1_559_731_985);
        let client = ip("192.0.2.1");
        let late = now + SECRET_LIFETIME - Duration::from_secs(600);
        let old = cookies.check(&cookie(CLIENT), client, late).reply;
        let next = now + SECRET_LIFETIME;
        let checked = cookies.check(&returned(old), client, next);
        assert_eq!(checked.standing, Standing::Valid);
        assert_ne!(checked.reply, old, "made with the new secret");
        assert_eq!(cookies.check(&returned(checked.reply), client, next).standing, Standing::Valid);
        assert!(cookies.secrets.read().unwrap().current != secret(SECRET));
        // Two replacements later nothing is left of the first.
        let first = Some(secret(SECRET));
        assert!(cookies.secrets.read().unwrap().before == first);
        cookies.check(&cookie(CLIENT), client, next + SECRET_LIFETIME);
        assert!(cookies.secrets.read().unwrap().before != first);
    }

    proptest! {
        #[test]
        fn no_cookie_but_ours_is_valid(server in prop::collection::vec(any::<u8>(), 8..=32), right in 0..16_usize) {
            let (cookies, now) = started(SECRET, 1_559_731_985);
            // Right up to a certain byte, the version and the time included.
            let mut sent = bytes(SERVED);
            let right = right.min(server.len());
            sent.truncate(8 + right);
            sent.extend_from_slice(&server[right..]);
            prop_assume!(sent != bytes(SERVED));
            let checked = cookies.check(&Cookie::read(&sent).unwrap(), ip("198.51.100.100"), now);
            prop_assert_eq!(checked.standing, Standing::Invalid);
            prop_assert_eq!(checked.reply.0.to_vec(), bytes(SERVED));
        }
    }
}
