//! `pkdns-cli`: keys, zones and the DHT from the command line.

fn main() {}
