//! The addresses under which the world reaches this machine, as others see them.

mod detector;
mod https;
mod interface;
mod service;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use clap::Args;
use futures_util::future::join_all;
use pkdns::base::access::is_private;
use tokio::time::timeout;

use crate::{
    failure::Failure,
    zone_file::{ExternalAddresses, Macros},
};
pub(crate) use detector::{Detector, Want};
use https::Https;
pub(crate) use interface::addresses as own_addresses;
pub(crate) use service::Service;

/// How long one service may take.
const SERVICE_DEADLINE: Duration = Duration::from_secs(5);

/// Services that have to say the same, and are asked at once: one alone may be wrong, or lie.
const AGREEMENT: usize = 2;

/// Most services that can be named.
const MAX_SERVICES: usize = 16;

/// Asked in turn, of different operators each.
const SERVICES: [&str; 5] = [
    "https://icanhazip.com",
    "https://api64.ipify.org",
    "https://ident.me",
    "https://ifconfig.co/ip",
    "https://checkip.amazonaws.com",
];

/// How the address of this machine is found.
#[derive(Args)]
pub(crate) struct AddressArguments {
    /// Ask services on the Internet for the addresses of this machine
    ///
    /// The answers take the place of {external_ipv4} and {external_ipv6} in the zone file. Two services have to agree.
    #[arg(long)]
    detect_ip: bool,
    /// Ask this service instead; repeat it for more
    ///
    /// An address of HTTPS that answers with an IP address alone.
    #[arg(long = "ip-service", value_name = "URL")]
    services: Vec<Service>,
    /// Take {external_ipv6} from this machine's own interfaces, and ask nobody
    #[arg(long)]
    ipv6_from_interface: bool,
    /// Accept an address of a private network
    #[arg(long)]
    allow_private: bool,
}

impl AddressArguments {
    /// What finds the addresses, if any is to be found.
    pub(crate) fn finder(&self) -> Result<Option<Finder>, Failure> {
        let asks = self.detect_ip || !self.services.is_empty();
        if !asks && !self.ipv6_from_interface {
            return Ok(None);
        }
        let services = if asks { Some(self.services.clone()) } else { None };
        Finder::new(services, self.ipv6_from_interface, self.allow_private).map(Some)
    }
}

/// Finds the addresses.
#[derive(Clone)]
pub(crate) struct Finder {
    services: Vec<Service>,
    ipv6_from_interface: bool,
    allow_private: bool,
    https: Https,
}

impl Finder {
    /// Asks `services`, the usual ones where the list is empty, and nobody without a list.
    pub(crate) fn new(
        services: Option<Vec<Service>>,
        ipv6_from_interface: bool,
        allow_private: bool,
    ) -> Result<Self, Failure> {
        let services = match services {
            Some(services) if services.is_empty() => {
                SERVICES.iter().filter_map(|url| url.parse().ok()).collect()
            }
            Some(services) if services.len() > MAX_SERVICES => {
                return Err(Failure::Failed(format!(
                    "at most {MAX_SERVICES} services can be asked for the address: name fewer with --ip-service"
                )));
            }
            Some(services) => services,
            None => Vec::new(),
        };
        Ok(Self { services, ipv6_from_interface, allow_private, https: Https::new()? })
    }

    /// Each of the addresses that are wanted, or why it is not known.
    async fn find(
        &self,
        wanted: Macros,
    ) -> (Option<Result<Ipv4Addr, Failure>>, Option<Result<Ipv6Addr, Failure>>) {
        let ipv4 = async { if wanted.ipv4 { Some(self.ipv4().await) } else { None } };
        let ipv6 = async { if wanted.ipv6 { Some(self.ipv6().await) } else { None } };
        tokio::join!(ipv4, ipv6)
    }

    async fn ipv4(&self) -> Result<Ipv4Addr, Failure> {
        match self.agreed(Family::Ipv4).await? {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(unknown(Family::Ipv4, "it is an IPv6 address")),
        }
    }

    async fn ipv6(&self) -> Result<Ipv6Addr, Failure> {
        if self.ipv6_from_interface {
            return interface::ipv6(self.allow_private).map_err(|why| unknown(Family::Ipv6, &why));
        }
        match self.agreed(Family::Ipv6).await? {
            IpAddr::V6(address) => Ok(address),
            IpAddr::V4(_) => Err(unknown(Family::Ipv6, "it is an IPv4 address")),
        }
    }

    /// Asks until enough services have said the same.
    async fn agreed(&self, family: Family) -> Result<IpAddr, Failure> {
        let mut vote = AddressVote::new(AGREEMENT.min(self.services.len()), self.allow_private);
        for services in self.services.chunks(AGREEMENT) {
            let answers = join_all(services.iter().map(async |service| {
                let answer = timeout(SERVICE_DEADLINE, self.ask(service, family)).await;
                (service, answer.unwrap_or_else(|_| Err("it did not answer in time".to_string())))
            }));
            for (service, answer) in answers.await {
                if let Some(address) = vote.count(service, answer) {
                    return Ok(address);
                }
            }
        }
        Err(unknown(family, &vote.told()))
    }

    async fn ask(&self, service: &Service, family: Family) -> Result<IpAddr, String> {
        let address = self.https.ask(service.0.clone(), family).await?;
        if family.holds(address) {
            Ok(address)
        } else {
            Err(format!("it said {address}, which is of the other family"))
        }
    }
}

/// Finds the addresses that are wanted, once.
pub(crate) async fn find(finder: Option<&Finder>, wanted: Macros) -> Result<ExternalAddresses, Failure> {
    let Some(finder) = finder else { return Ok(ExternalAddresses::default()) };
    let (ipv4, ipv6) = finder.find(wanted).await;
    Ok(ExternalAddresses { ipv4: ipv4.transpose()?, ipv6: ipv6.transpose()? })
}

/// One of the two kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::Ipv4)
    }
}

fn unknown(family: Family, why: &str) -> Failure {
    let (name, place) = match family {
        Family::Ipv4 => ("IPv4", "{external_ipv4}"),
        Family::Ipv6 => ("IPv6", "{external_ipv6}"),
    };
    Failure::Failed(format!(
        "the {name} address of this machine is not known: {why}. Name services that know it with --ip-service, or \
         write the address into the zone file in place of {place}"
    ))
}

/// What the services said.
struct AddressVote {
    needed: usize,
    allow_private: bool,
    votes: BTreeMap<IpAddr, usize>,
    told: Vec<String>,
}

impl AddressVote {
    fn new(needed: usize, allow_private: bool) -> Self {
        Self { needed, allow_private, votes: BTreeMap::new(), told: Vec::new() }
    }

    /// The address, as soon as enough have said it.
    fn count(&mut self, service: &Service, answer: Result<IpAddr, String>) -> Option<IpAddr> {
        let address = match answer {
            Ok(address) if is_private(address) && !self.allow_private => {
                self.told.push(format!(
                    "{service} said {address}, which is of a private network (--allow-private accepts it)"
                ));
                return None;
            }
            Ok(address) => address,
            Err(why) => {
                self.told.push(format!("{service}: {why}"));
                return None;
            }
        };
        self.told.push(format!("{service} said {address}"));
        let votes = self.votes.entry(address).or_default();
        *votes += 1;
        (*votes >= self.needed).then_some(address)
    }

    /// Why there is no result.
    fn told(&self) -> String {
        match self.told.as_slice() {
            [] => "nobody was asked; add --detect-ip".to_string(),
            told if self.votes.is_empty() => told.join("; "),
            told => format!("{} services have to agree, but {}", self.needed, told.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voted(needed: usize, answers: &[Result<&str, &str>]) -> Result<IpAddr, String> {
        let mut vote = AddressVote::new(needed, false);
        let service: Service = "https://a.example/".parse().unwrap();
        for answer in answers {
            let answer = answer.map(|address| address.parse().unwrap()).map_err(str::to_string);
            if let Some(address) = vote.count(&service, answer) {
                return Ok(address);
            }
        }
        Err(vote.told())
    }

    #[test]
    fn two_services_have_to_agree() {
        let (right, wrong) = ("198.51.100.7", "203.0.113.1");
        assert_eq!(voted(2, &[Ok(right), Ok(right)]), Ok(right.parse().unwrap()));
        assert_eq!(voted(2, &[Ok(wrong), Ok(right), Err("silence"), Ok(right)]), Ok(right.parse().unwrap()));
        let told = voted(2, &[Ok(wrong), Ok(right), Err("silence")]).unwrap_err();
        assert!(told.contains("have to agree") && told.contains(wrong) && told.contains("silence"), "{told}");
        assert_eq!(voted(1, &[Ok(right)]), Ok(right.parse().unwrap()), "a single service that was chosen");
    }

    #[test]
    fn a_private_address_is_refused_and_the_refusal_says_how_to_accept_it() {
        let told = voted(2, &[Ok("192.168.1.2"), Ok("192.168.1.2")]).unwrap_err();
        assert!(told.contains("192.168.1.2") && told.contains("--allow-private"), "{told}");
    }

    #[test]
    fn every_service_that_is_asked_by_default_can_be_named_and_is_certified() {
        let services = Finder::new(Some(Vec::new()), false, false).ok().unwrap().services;
        assert_eq!(services.len(), SERVICES.len());
        assert!(services.iter().all(|service| service.0.scheme_str() == Some("https")));
    }
}
