//! The way to a site through an origin, from outside in: the delegation, the name servers, the key, who may certify it, its
//! ports, and the certificate that it shows.

#[cfg(test)]
mod tests;
mod verdicts;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use pkdns::edge::certificates::look;
use pkdns_dht::signed_packet::PublicKey;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::finding::Finding;
use crate::{
    certificate::{SiteNames, origin},
    dns::{self, Over, server_address},
    failure::Failure,
    name,
    name_servers::{NameServer, Resolvers, Statement, ask_all},
    terminal,
};
use verdicts::{judge_certificates, judge_delegation, judge_key, judge_permission, judge_port, judge_server};

/// All of it ends within this time.
const DEADLINE: Duration = Duration::from_secs(40);

/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How an origin is looked at.
#[derive(Args)]
pub(super) struct OriginArguments {
    /// Look at this origin instead, a zone such as pk.example.net, from outside in
    #[arg(long, value_name = "NAME", value_parser = origin)]
    origin: Option<String>,
    /// Also check whether the site of this key opens
    ///
    /// Without --origin: whether https://KEY.key/ opens on this machine. With --origin: whether the world can reach the site.
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// With --origin: resolver that finds the name servers [default: the system's]
    #[arg(long, value_name = "ADDR", value_parser = server_address, requires = "origin")]
    resolver: Option<SocketAddr>,
    /// With --origin: name server to look at, not those found; repeat it for more
    #[arg(long, value_name = "ADDR", value_parser = server_address, requires = "origin")]
    name_server: Vec<SocketAddr>,
    /// With --origin: certificates of authorities to believe, in PEM
    ///
    /// The public ones are believed as well.
    #[arg(long, value_name = "FILE", requires = "origin")]
    authority_ca: Option<PathBuf>,
    /// For tests, where others have the usual ports
    #[arg(long, value_name = "PORT", hide = true, default_value_t = 80)]
    http_port: u16,
    #[arg(long, value_name = "PORT", hide = true, default_value_t = 443)]
    https_port: u16,
}

/// What is looked at.
pub(super) struct Route<'a> {
    arguments: &'a OriginArguments,
    zone: Name,
    site: Option<SiteNames>,
}

impl OriginArguments {
    /// Whose site is looked at.
    pub(super) fn key(&self) -> Result<Option<PublicKey>, Failure> {
        self.key.as_deref().map(name::key).transpose().map_err(Failure::Failed)
    }

    pub(super) fn https_port(&self) -> u16 {
        self.https_port
    }

    /// What is to be looked at, if that is an origin.
    pub(super) fn route(&self) -> Result<Option<Route<'_>>, Failure> {
        let Some(origin) = &self.origin else { return Ok(None) };
        let names = |key: PublicKey| SiteNames::new(&key, origin, &[], false);
        let site = self.key()?.map(names).transpose().map_err(Failure::Failed)?;
        Ok(Some(Route { arguments: self, zone: dns::complete(origin), site }))
    }
}

impl Route<'_> {
    pub(super) async fn examine(&self) -> Vec<Finding> {
        let end = Instant::now() + DEADLINE;
        let mut findings = Vec::new();
        if timeout_at(end, self.look(&mut findings)).await.is_err() {
            let advice = "do what the other lines say, then try again";
            findings.push(Finding::failed("origin", "it took too long", advice));
        }
        findings
    }

    async fn look(&self, findings: &mut Vec<Finding>) {
        let resolvers = Resolvers::new(self.arguments.resolver);
        let named = &self.arguments.name_server;
        let found = match &resolvers {
            _ if !named.is_empty() => Ok(named.iter().copied().map(NameServer::at).collect()),
            Ok(resolvers) => resolvers.name_servers(&self.zone).await,
            Err(failure) => Err(failure.clone()),
        };
        findings.push(judge_delegation(&dns::shown(&self.zone), &found, !named.is_empty()));
        let Ok(servers) = found else { return };
        terminal::progress("asking each name server…");
        let speaking = servers.iter().map(async |server| {
            let over = |over| server.ask(&self.zone, RecordType::SOA, over);
            let (udp, tcp) = tokio::join!(over(Over::Udp), over(Over::Tcp));
            udp.into_iter().zip(tcp).map(|(udp, tcp)| judge_server(&udp, &tcp.reply)).collect::<Vec<_>>()
        });
        findings.extend(join_all(speaking).await.concat());
        let Some(site) = &self.site else { return };
        let name = site.apex_name();
        terminal::progress("asking for the key…");
        let (v4, v6) =
            tokio::join!(ask_all(&servers, &name, RecordType::A), ask_all(&servers, &name, RecordType::AAAA));
        findings.push(judge_key(&site.apex(), &[v4.clone(), v6.clone()].concat()));
        let mut addresses = verdicts::addresses_of(v4.iter().chain(&v6));
        if let (true, Ok(resolvers)) = (addresses.is_empty(), &resolvers) {
            // An alias may lead out of the origin.
            addresses = resolvers.addresses(&name).await;
        }
        findings.push(self.permission(&servers, resolvers.as_ref().ok(), &name).await);
        if addresses.is_empty() {
            return;
        }
        terminal::progress("looking at the site…");
        for (check, port) in [("port 80", self.arguments.http_port), ("port 443", self.arguments.https_port)]
        {
            let connected = addresses.iter().map(async |ip| {
                let address = SocketAddr::from((*ip, port));
                let connecting = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
                (address, connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(drop))
            });
            findings.push(judge_port(check, &join_all(connected).await));
        }
        let looks = addresses.iter().map(async |ip| {
            let address = SocketAddr::from((*ip, self.arguments.https_port));
            (address, look(address, &site.apex(), self.arguments.authority_ca.as_deref()).await)
        });
        findings.push(judge_certificates(&join_all(looks).await, SystemTime::now()));
    }

    /// The CAA records that hold for the key: the nearest ones on the way up (RFC 8659 section 3).
    async fn permission(
        &self,
        servers: &[NameServer],
        resolvers: Option<&Resolvers>,
        name: &Name,
    ) -> Finding {
        let mut place = name.clone();
        while !place.is_root() {
            let is_inside = self.zone.zone_of(&place);
            let statements = match (is_inside, resolvers) {
                (true, _) => ask_all(servers, &place, RecordType::CAA).await,
                (false, Some(resolvers)) => {
                    let reply = resolvers.ask(&place, RecordType::CAA).await;
                    vec![Statement { server: resolvers.to_string(), reply }]
                }
                (false, None) => break,
            };
            if let Some(finding) = judge_permission(&dns::shown(&place), &statements) {
                return finding;
            }
            place = place.base_name();
        }
        Finding::ok("caa", "no CAA record forbids any authority")
    }
}
