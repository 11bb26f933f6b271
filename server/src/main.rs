//! `pkdns`: the server.

fn main() {}
