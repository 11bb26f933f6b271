//! `dig`, and what it prints.

use std::{fmt, net::SocketAddr, path::PathBuf, process::Command};

use crate::programs;

/// Asks servers through the real program, once per question and for 10 seconds at most.
#[derive(Clone)]
pub struct Dig(PathBuf);

/// What `dig` printed about a reply.
pub struct Reply(String);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dig {
    /// `None`: it is not installed, and that is to be accepted.
    pub fn find() -> Option<Self> {
        programs::find("dig", |_| true, "Debian's bind9-dnsutils").map(Self)
    }

    /// Asks `server`; `question` is in the words of the command line: name, type, options.
    pub fn ask(&self, server: SocketAddr, question: &str) -> Reply {
        let mut command = Command::new(&self.0);
        // `-r`: whatever this user's ~/.digrc says does not count.
        command.args(["-r", &format!("@{}", server.ip()), "-p", &server.port().to_string()]);
        command.args(["+tries=1", "+time=10"]).args(question.split_whitespace());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{question}: {text}");
        Reply(text)
    }

    /// Asks several questions, in their order: names and types.
    pub fn ask_all(&self, server: SocketAddr, questions: &[String]) -> Vec<Reply> {
        const START: &str = ";; ->>HEADER<<-";
        let together = self.ask(server, &questions.join(" "));
        let replies = together.0.split(START).skip(1).map(|reply| Reply(format!("{START}{reply}")));
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies.len(), questions.len(), "{together:?}");
        replies
    }
}

impl Reply {
    /// Such as `NOERROR`.
    pub fn status(&self) -> &str {
        let (_, rest) = self.0.split_once("status: ").unwrap_or_else(|| panic!("{}", self.0));
        rest.split(',').next().unwrap()
    }

    /// The INFO-CODE of the extended error, if there is one.
    pub fn extended_error(&self) -> Option<u16> {
        let (_, rest) = self.0.split_once("\n; EDE: ")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(digits.parse().unwrap())
    }

    /// Such as `qr` and `aa`.
    pub fn flags(&self) -> Vec<&str> {
        let (_, rest) = self.0.split_once("\n;; flags: ").unwrap_or_else(|| panic!("{}", self.0));
        rest.split(';').next().unwrap().split(' ').collect()
    }

    /// Whether the server vouches for it (AD).
    pub fn is_authentic(&self) -> bool {
        self.flags().contains(&"ad")
    }

    /// The name in the question section.
    pub fn question(&self) -> String {
        let line = self.section("QUESTION").remove(0);
        line.split(' ').next().unwrap().trim_start_matches(';').to_owned()
    }

    /// Records of the answer section, their fields separated by one space.
    pub fn answers(&self) -> Vec<String> {
        self.section("ANSWER")
    }

    /// Types and data of the answer section, in order of the alphabet: without what depends on time or chance.
    pub fn data(&self) -> Vec<String> {
        let data = |line: &String| line.splitn(4, ' ').nth(3).unwrap().to_owned();
        let mut data: Vec<_> = self.answers().iter().map(data).collect();
        data.sort();
        data
    }

    /// Records of the authority section.
    pub fn authority(&self) -> Vec<String> {
        self.section("AUTHORITY")
    }

    fn section(&self, name: &str) -> Vec<String> {
        let Some((_, rest)) = self.0.split_once(&format!(";; {name} SECTION:\n")) else { return Vec::new() };
        let lines = rest.lines().take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}
