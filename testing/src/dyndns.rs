//! What docs/dyn-dns.md has routers be told.

use crate::shell::block;

pub const DOCUMENT: &str = include_str!("../../docs/dyn-dns.md");

/// A configuration of the document, for a publisher at `server`. Where `address` comes from is said by other lines.
pub fn from_document(title: &str, server: &str, password: &str, key: &str, address: &str) -> String {
    let mut text = block(DOCUMENT, "conf", &format!("# {title}"));
    for (there, here) in [("192.168.1.20:8245", server), ("PASSWORD", password), ("KEY", key)] {
        assert!(text.contains(there), "{there}: {text}");
        text = text.replace(there, here);
    }
    let line = |beginning: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(beginning));
        line.unwrap_or_else(|| panic!("{text}")).to_string()
    };
    if title.contains("ddclient") {
        text.replace(&line("use="), &format!("use=cmd, cmd='echo {address}'"))
    } else {
        let command = format!("checkip-command = \"echo {address}\"");
        text.replace(&line("checkip-server"), &command).replace(&line("checkip-path"), "")
    }
}
