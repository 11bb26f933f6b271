//! Makes origins of their sections in the configuration, their zone files, and the addresses that are listened on.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use bytes::Bytes;
use hickory_proto::{
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, NS, SOA},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};
use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::{Origin, Origins, key_zone::in_origin, static_zone::StaticZone};
use crate::{
    base::{
        access::is_private,
        config::{self, Config},
        message::absolute_name,
        zone_file::{Limits, ZoneFile, ZoneFileError, ZoneRecord},
    },
    resolver::{
        name::{Suffixes, decode_key},
        zone::try_each_target,
    },
};

/// TTL in seconds of records that are made here.
const TTL: u32 = 3600;

/// Seconds for which it is believed that something does not exist, where the zone file has no SOA record: keys and names below
/// them come at any time.
const NEGATIVE_TTL: u32 = 60;

/// What an origin has besides keys are some servers. Each record is compared with all others when it is read.
const MAX_ZONE_FILE_SIZE: usize = 64 * 1024;

const LIMITS: Limits = Limits {
    size: MAX_ZONE_FILE_SIZE,
    advice: ": delegate names with many records to other name servers",
    name_of: |path: &Path| path.display().to_string(),
};

impl Origins {
    /// Reads the zone files of `config`, and makes what is not in them. `listen` are the addresses that are served, of which
    /// those of name servers are made that have none.
    ///
    /// # Errors
    ///
    /// What is wrong, beginning with the option, and what to write instead.
    pub fn open(config: &Config, listen: &[SocketAddr]) -> Result<Self, String> {
        Self::open_at(config, listen, &own_addresses())
    }

    /// `own`: the addresses of this machine.
    pub(super) fn open_at(config: &Config, listen: &[SocketAddr], own: &[IpAddr]) -> Result<Self, String> {
        let suffixes = Suffixes::new(config.names.suffixes.iter().map(String::as_str));
        let mut origins = Self::default();
        for settings in &config.origin {
            let opening = Opening::new(settings, &suffixes, published(listen, own))?;
            let (origin, warnings) = opening.finish()?;
            origins.origins.push(origin);
            origins.warnings.extend(warnings);
        }
        Ok(origins)
    }
}

/// What is known of one of them so far.
struct Opening<'a> {
    settings: &'a config::Origin,
    suffixes: &'a Suffixes,
    apex: Name,
    zone: StaticZone,
    /// Addresses under which this server can be known.
    addresses: Vec<IpAddr>,
    warnings: Vec<String>,
}

impl<'a> Opening<'a> {
    fn new(
        settings: &'a config::Origin,
        suffixes: &'a Suffixes,
        addresses: Vec<IpAddr>,
    ) -> Result<Self, String> {
        let apex = absolute_name(&settings.name).ok_or_else(|| {
            format!("origin.name: \"{}\" is not a name; write one such as \"pk.example.net\"", settings.name)
        })?;
        Ok(Self { settings, suffixes, apex, zone: StaticZone::default(), addresses, warnings: Vec::new() })
    }

    fn finish(mut self) -> Result<(Origin, Vec<String>), String> {
        self.take_file()?;
        let servers = self.servers()?;
        self.give_addresses(&servers)?;
        let soa = self.soa(&servers);
        let origin = Origin {
            apex: self.apex,
            soa,
            zone: self.zone,
            suffixes: self.suffixes.clone(),
            allow_private: self.settings.allow_private,
        };
        Ok((origin, self.warnings))
    }

    fn take_file(&mut self) -> Result<(), String> {
        let Some(path) = &self.settings.zone_file else {
            return Ok(());
        };
        let fault = |reason: &dyn std::fmt::Display| format!("origin.zone_file: {reason}");
        let here = |reason: String| fault(&format_args!("{}: {reason}", path.display()));
        // Opening a named pipe would wait for somebody to write to it.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(here("it is not a file; write the path of a zone file".into()));
        }
        let file = ZoneFile::open(path, LIMITS).map_err(|error| fault(&error))?;
        let macros = file.macros();
        if macros.ipv4 || macros.ipv6 {
            return Err(here(
                "{external_ipv4} and {external_ipv6} are for the zones of keys: write addresses".into(),
            ));
        }
        let apex = format!("{}.", self.settings.name).parse::<domain::base::Name<Bytes>>();
        let apex = apex.map_err(|error| format!("origin.name: {error}"))?;
        let records = match file.records_below(&apex) {
            Ok(records) => records,
            // What is made of the configuration is enough for keys.
            Err(ZoneFileError::Empty { .. }) => Vec::new(),
            Err(error) => return Err(fault(&error)),
        };
        for record in &records {
            let shown = format!("{} {}", record.owner(), record.rtype());
            let mut record = read(record)
                .ok_or_else(|| here(format!("{shown}: its data are malformed; write them anew")))?;
            self.refuse(&record).map_err(|reason| here(format!("{shown}: {reason}")))?;
            let is_placed = try_each_target(&mut record.data, |target| {
                let placed = in_origin(target, &self.apex, self.suffixes);
                placed.map(|placed| *target = placed).is_some()
            });
            if !is_placed {
                return Err(here(format!("{shown}: the name of the key would be too long in this origin")));
            }
            self.zone.add(record);
        }
        Ok(())
    }

    /// Says why a record cannot be in the zone file.
    fn refuse(&self, record: &Record) -> Result<(), &'static str> {
        let is_apex = record.name == self.apex;
        let below = record.name.iter().len().saturating_sub(self.apex.iter().len() + 1);
        if !is_apex && record.name.iter().nth(below).and_then(decode_key).is_some() {
            return Err("the name is a key's, and only its packet says what is there; take it out");
        }
        match record.record_type() {
            RecordType::SOA if !is_apex => Err("only the name of the origin has one; take it out"),
            RecordType::SOA if self.zone.set(&self.apex, RecordType::SOA).next().is_some() => {
                Err("there is another one already; keep one of them")
            }
            // RFC 1034 section 3.6.2: nothing stands beside an alias, and here SOA and NS do.
            RecordType::CNAME if is_apex => {
                Err("the name of a zone cannot be an alias; write addresses, or HTTPS 0 with the other name")
            }
            RecordType::DNAME if is_apex => Err("it would rename all keys; write it at a name below"),
            RecordType::RRSIG
            | RecordType::NSEC
            | RecordType::NSEC3
            | RecordType::NSEC3PARAM
            | RecordType::DNSKEY => {
                Err("an origin cannot be signed, as the names of keys come and go; take the signatures out")
            }
            _ => Ok(()),
        }
    }

    /// The name servers: those of the configuration, of the zone file, or one that is made up.
    fn servers(&mut self) -> Result<Vec<Name>, String> {
        let name = &self.settings.name;
        let written: Vec<Name> = targets(&self.zone, &self.apex);
        let mut servers: Vec<Name> =
            self.settings.name_servers.iter().filter_map(|server| absolute_name(server)).collect();
        if servers.is_empty() && written.is_empty() {
            let made = self.apex.prepend_label("ns").map_err(|_| {
                format!("origin.name_servers: ns.{name} would be too long; write their names")
            })?;
            let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
            self.warnings.push(format!(
                "origin.name_servers: {name} has none, so that it gets ns.{name} at {}; the zone above has to name the same",
                addresses.join(" and ")
            ));
            servers.push(made);
        }
        if servers.is_empty() {
            return Ok(written);
        }
        let is_other = |name: &Name, among: &[Name]| !among.contains(name);
        let differ = servers.iter().any(|server| is_other(server, &written))
            || written.iter().any(|server| is_other(server, &servers));
        if !written.is_empty() && differ {
            return Err(format!(
                "origin.name_servers: {name} has other name servers in its zone file; write the same in both, or only in one"
            ));
        }
        for server in &servers {
            self.zone.add(Record::from_rdata(self.apex.clone(), TTL, RData::NS(NS(server.clone()))));
        }
        Ok(servers)
    }

    /// Whoever asks a name server in the origin itself has to get its address with its name.
    fn give_addresses(&mut self, servers: &[Name]) -> Result<(), String> {
        let lacks = |server: &&Name| {
            let mut addresses =
                self.zone.set(server, RecordType::A).chain(self.zone.set(server, RecordType::AAAA));
            self.apex.zone_of(server) && addresses.next().is_none()
        };
        let lacking: Vec<&Name> = servers.iter().filter(lacks).collect();
        let shown = |server: &Name| server.to_ascii().trim_end_matches('.').to_owned();
        let is_alias = |server: &&Name| self.zone.set(server, RecordType::CNAME).next().is_some();
        if let Some(server) = servers.iter().find(is_alias) {
            // RFC 2181 section 10.3.
            return Err(format!(
                "origin.name_servers: {} is an alias in the zone file, and a name server has to have addresses of its own there",
                shown(server)
            ));
        }
        match lacking.as_slice() {
            [] => Ok(()),
            [server] if self.addresses.is_empty() => Err(format!(
                "origin.name_servers: {} has no address, and `listen` names none that the world could ask: give it one in \
                 origin.zone_file, as in \"{} A 192.0.2.1\", or write the address of this server in `listen`",
                shown(server),
                server.to_ascii()
            )),
            [server] => {
                if self.addresses.iter().all(|address| is_private(*address)) {
                    self.warnings.push(format!(
                        "origin.name_servers: {} has only addresses of this machine or its own network, where the world cannot \
                         ask it; give it a public one in origin.zone_file",
                        shown(server)
                    ));
                }
                for address in &self.addresses {
                    let data = match address {
                        IpAddr::V4(address) => RData::A(A(*address)),
                        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
                    };
                    self.zone.add(Record::from_rdata((*server).clone(), TTL, data));
                }
                Ok(())
            }
            [one, other, ..] => Err(format!(
                "origin.name_servers: neither {} nor {} has an address, and only one of them can be this server: give them \
                 theirs in origin.zone_file",
                shown(one),
                shown(other)
            )),
        }
    }

    /// The one of the zone file, or one that is made up.
    fn soa(&mut self, servers: &[Name]) -> Record {
        if let Some(soa) = self.zone.set(&self.apex, RecordType::SOA).next() {
            return soa.clone();
        }
        let server = servers.first().unwrap_or(&self.apex).clone();
        let mailbox = self.apex.prepend_label("hostmaster").unwrap_or_else(|_| self.apex.clone());
        // Several servers of one origin say the same, as nobody gets the zone from another.
        let data = SOA::new(server, mailbox, 1, 3600, 600, 604_800, NEGATIVE_TTL);
        let soa = Record::from_rdata(self.apex.clone(), TTL, RData::SOA(data));
        self.zone.add(soa.clone());
        soa
    }
}

/// A record of a zone file as the resolver has them.
fn read(record: &ZoneRecord) -> Option<Record> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = record.compose(&mut bytes);
    let mut decoder = BinDecoder::new(&bytes);
    Record::read(&mut decoder).ok().filter(|_| decoder.index() == bytes.len())
}

/// Where the NS records of a name lead.
fn targets(zone: &StaticZone, name: &Name) -> Vec<Name> {
    let target = |record: &Record| match &record.data {
        RData::NS(target) => Some(target.0.to_lowercase()),
        _ => None,
    };
    zone.set(name, RecordType::NS).filter_map(target).collect()
}

/// Addresses that can stand for this server in the DNS: what is listened on, and in the place of 0.0.0.0 and [::] what this
/// machine has of the Internet.
fn published(listen: &[SocketAddr], own: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in listen.iter().map(|address| address.ip().to_canonical()) {
        let of_family = |address: &&IpAddr| address.is_ipv4() == ip.is_ipv4() && !is_private(**address);
        match ip.is_unspecified() {
            true => addresses.extend(own.iter().filter(of_family)),
            false => addresses.push(ip),
        }
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The addresses of this machine. None where the system does not say.
fn own_addresses() -> Vec<IpAddr> {
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let interfaces = getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| interface.address.and_then(ip)).collect()
}
