//! The DHT, as the commands reach it.

use std::{env, iter, sync::Arc, time::Duration};

use clap::Args;
use pkdns::{
    config::{self, RelayUrl},
    metrics::RelayOutcomes,
    sources::{forward::TlsClient, relay_client::Relays},
};
use pkdns_dht::{Dht, DhtSettings, HostResolver, NetworkError, split_host_port};
use tokio::{net::lookup_host, runtime, time::timeout};

use crate::{failure::Failure, sources::Sources, terminal};

/// How long the system's resolver may take for a bootstrap node.
const HOST_DEADLINE: Duration = Duration::from_secs(3);

/// How long joining may take: a few attempts over a poor connection.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);

/// With a relay there is something to go on with. As long as a relay may take.
const JOIN_DEADLINE_BESIDE_RELAYS: Duration = Duration::from_secs(3);

/// Nodes that are known at most. Behind many a command is a home router, which keeps a place for each that is asked.
const MAX_NODES: usize = 8192;

/// Where the server keeps the nodes that it knows, in the user's directory.
const NODES_OF_SERVER: &str = ".pkdns/dht-nodes";

/// Nodes to join through where the command line names none, so that not each of ten commands has to.
const VARIABLE: &str = "PKDNS_BOOTSTRAP";

/// Where the DHT of `pkdns --testnet` is joined, and that of `pkdns-cli testnet`, unless the port is taken.
pub(crate) const TESTNET: &str = "127.0.0.1:6881";

/// Under which the help of each command has them.
const HEADING: &str = "Network";

/// The network that is used.
#[derive(Args)]
pub(crate) struct NetworkArguments {
    /// DHT node to join through; repeat it for more [default: those of the public DHT]
    ///
    /// PKDNS_BOOTSTRAP in the environment names nodes as well, with commas between them.
    #[arg(long, global = true, help_heading = HEADING, value_name = "HOST:PORT", value_parser = host_and_port)]
    bootstrap: Vec<String>,
    /// Use the DHT of `pkdns --testnet` on this machine
    ///
    /// Short for --bootstrap 127.0.0.1:6881.
    #[arg(long, global = true, help_heading = HEADING, conflicts_with = "bootstrap")]
    testnet: bool,
    /// PKARR relay to use besides the DHT; repeat it for more
    ///
    /// For example `https://relay.pkarr.org`. A relay learns which keys are looked up.
    #[arg(long = "relay", global = true, help_heading = HEADING, value_name = "URL")]
    relays: Vec<RelayUrl>,
    /// What the environment says.
    #[arg(skip)]
    environment: Vec<String>,
}

impl NetworkArguments {
    /// With what the environment says. Fails where that is no address.
    pub(crate) fn with_environment(self) -> Result<Self, Failure> {
        let text = env::var(VARIABLE).unwrap_or_default();
        let nodes = text.split([',', ' ']).filter(|node| !node.is_empty()).map(host_and_port);
        let environment = nodes.collect::<Result<_, _>>().map_err(|error| {
            let text = terminal::printable(&text);
            Failure::Failed(format!("{VARIABLE}={text}: {error}; or unset {VARIABLE}"))
        })?;
        Ok(Self { environment, ..self })
    }

    /// Begins to join the DHT, and does not wait for that.
    pub(crate) fn sources(&self) -> Result<Sources, Failure> {
        Network::join(&self.bootstrap(&[]))?.sources(&self.relays)
    }

    /// The same for many keys.
    pub(crate) fn sources_for_many(&self) -> Result<Sources, Failure> {
        Network::join_for_long(&self.bootstrap(&[]))?.sources(&self.relays)
    }

    /// The nodes to join through: those of the command line, of the environment, or `others`, or those of the public network.
    pub(crate) fn bootstrap(&self, others: &[String]) -> Vec<String> {
        if self.testnet {
            return vec![TESTNET.to_owned()];
        }
        let chosen = [self.bootstrap.as_slice(), self.environment.as_slice(), others];
        let chosen = chosen.into_iter().find(|nodes| !nodes.is_empty());
        chosen.map_or_else(|| config::Dht::default().bootstrap, <[_]>::to_vec)
    }

    /// The relays of the command line, then `others`, each once.
    pub(crate) fn relays(&self, others: &[RelayUrl]) -> Vec<RelayUrl> {
        let mut relays = self.relays.clone();
        relays.extend(others.iter().filter(|other| !self.relays.contains(other)).cloned());
        relays
    }

    /// The beginning of a command line that uses the same network.
    pub(crate) fn command(&self) -> String {
        let testnet = self.testnet.then(|| " --testnet".to_owned());
        let nodes = self.bootstrap.iter().map(|node| format!(" --bootstrap {node}"));
        let nodes = testnet.into_iter().chain(nodes);
        let relays = self.relays.iter().map(|url| format!(" --relay {url}"));
        iter::once("pkdns-cli".to_string()).chain(nodes).chain(relays).collect()
    }
}

/// The DHT, joined or about to be.
pub(crate) struct Network {
    dht: Dht,
    not_joined: String,
}

impl Network {
    /// For one key: knowing more of the network would come too late.
    pub(crate) fn join(bootstrap: &[String]) -> Result<Self, Failure> {
        Self::start(bootstrap, false)
    }

    /// For many keys, again and again.
    pub(crate) fn join_for_long(bootstrap: &[String]) -> Result<Self, Failure> {
        Self::start(bootstrap, true)
    }

    fn start(bootstrap: &[String], explore: bool) -> Result<Self, Failure> {
        let mut settings = DhtSettings::default();
        settings.bootstrap = bootstrap.to_vec();
        settings.explore = explore;
        settings.max_nodes = MAX_NODES;
        // Those of the server of the same user, if there is one. Of another network it holds none.
        let of_server = env::home_dir().map(|home| home.join(NODES_OF_SERVER));
        settings.nodes_path = of_server.filter(|path| path.is_file());
        settings.reads_nodes_only = true;
        let dht = Dht::start(settings, system_resolver())
            .map_err(|error| {
                Failure::Failed(format!(
                    "cannot open a UDP socket: {error}; close other programs, or allow this one more files (ulimit -n)"
                ))
            })?;
        let advice = match bootstrap {
            [node] if node == TESTNET => {
                "start `pkdns --testnet` in another terminal; it says at its start where its DHT is, if not here"
            }
            _ => "check the network connection (UDP), or choose other nodes with --bootstrap",
        };
        let not_joined = format!("the DHT could not be joined through {}: {advice}", bootstrap.join(", "));
        Ok(Self { dht, not_joined })
    }

    pub(crate) fn dht(&self) -> &Dht {
        &self.dht
    }

    /// The DHT and these relays.
    pub(crate) fn sources(&self, relays: &[RelayUrl]) -> Result<Sources, Failure> {
        let relays = match relays {
            [] => Relays::default(),
            urls => {
                Relays::new(urls, &authorities()?.for_tls(), system_resolver(), &RelayOutcomes::default())
            }
        };
        let patience = if relays.is_empty() { JOIN_DEADLINE } else { JOIN_DEADLINE_BESIDE_RELAYS };
        Ok(Sources::new(self.dht.clone(), self.not_joined.clone(), patience, relays))
    }
}

/// A search that said nothing about the key.
pub(crate) fn unreachable(error: NetworkError) -> Failure {
    Failure::Unreachable(format!("the DHT could not be asked ({error}): try again"))
}

/// Runs a command that waits for the network.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A host name that is still being resolved would hold up the end.
    runtime.shutdown_background();
    result
}

/// The system's resolver may be used here: this is not the DNS server, and a name that leads through the server's own
/// DHT client merely takes longer.
pub(crate) fn system_resolver() -> HostResolver {
    Arc::new(|host| {
        Box::pin(async move {
            match timeout(HOST_DEADLINE, lookup_host((host, 0))).await {
                Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            }
        })
    })
}

/// Whom the certificates of relays and other services have to be signed by: the public authorities.
pub(crate) fn authorities() -> Result<TlsClient, Failure> {
    TlsClient::new(None).map_err(|error| Failure::Failed(error.to_string()))
}

fn host_and_port(text: &str) -> Result<String, String> {
    match split_host_port(text) {
        Some(_) => Ok(text.to_string()),
        None => Err("expected HOST:PORT, for example router.bittorrent.com:6881".to_string()),
    }
}
