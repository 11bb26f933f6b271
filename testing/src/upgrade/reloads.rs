//! Reloads, one after the other, of a server that is asked all the time.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    PATIENCE,
    load::upstream,
    server::{Place, Server},
};

/// Quota, access and upstreams are changed in turn, and then comes a file with a mistake.
pub struct Reloads<'a> {
    place: &'a Place,
    server: &'a Server,
    /// Of which each configuration is made.
    base: String,
    upstreams: [SocketAddr; 2],
    done: u32,
}

impl<'a> Reloads<'a> {
    /// `base` is the configuration that the server has.
    pub fn new(place: &'a Place, server: &'a Server, base: &str) -> Self {
        let upstreams = [upstream(), upstream()];
        Self { place, server, base: base.to_owned(), upstreams, done: 0 }
    }

    /// The next one. Returns when the server says that it has taken the file, or has refused it as it should.
    pub fn next(&mut self) {
        let before = self.said().len();
        let (text, expected) = self.file(self.done);
        self.place.configure(&text);
        self.server.send("HUP");
        let end = Instant::now() + PATIENCE;
        let said = loop {
            if let Some(said) = self.said().into_iter().nth(before) {
                break said;
            }
            assert!(Instant::now() < end, "{:#?}", self.server.log.lines());
            sleep(Duration::from_millis(5));
        };
        assert!(said.contains(expected), "{expected}: {said}");
        self.done += 1;
    }

    /// How many there have been.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// What the server has said of reloads.
    fn said(&self) -> Vec<String> {
        let lines = self.server.log.lines();
        lines
            .into_iter()
            .filter(|line| line.contains(" reloaded: ") || line.contains(" not reloaded, "))
            .collect()
    }

    /// Each option has another value every fourth time. The quota is beyond what any load takes, so that it refuses nobody.
    fn file(&self, number: u32) -> (String, &'static str) {
        let changed = |turn: u32| (number + 4 - turn) / 4;
        let (quota, access, asked) = (changed(0), changed(1), changed(2));
        if number % 4 == 3 {
            return ("verbos = true\n".to_owned(), "there is no option `verbos`");
        }
        let upstream = self.upstreams[asked as usize % 2];
        let text: String = self
            .base
            .lines()
            .map(|line| match line {
                "requests_per_minute = 0" => {
                    format!("requests_per_minute = {}\nburst_size = 50000000\n", 60_000_000 + quota)
                }
                line if line.starts_with("fallback_dns") => format!("fallback_dns = '{upstream}'\n"),
                line => format!("{line}\n"),
            })
            .collect();
        let expected = ["rate_limit.requests_per_minute", "access.deny", "fallback_dns"][number as usize % 4];
        (format!("access.deny = ['203.0.113.{}']\n{text}", access % 256), expected)
    }
}
