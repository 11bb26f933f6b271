//! `pkdns-cli`: keys, zones and the DHT from the command line.

mod failure;
mod packet;
mod records;
mod seed;
mod terminal;
mod zone_file;

fn main() {}
