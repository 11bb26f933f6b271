//! A server that answers, and goes on to when its configuration changes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{
    ReloadError, Reloaded, Server,
    control::State,
    derived,
    encrypted::EncryptedListeners,
    listeners::{self, Listener, Open, Sockets, Wanted},
    own_networks,
    parts::connector,
    places::Places,
    reload::{Prepared, Present, Reloads},
    seen::{Shown, Sight},
    web::{BridgeCertificates, SharedPort, Web},
};
use crate::{
    base::{access::Forwarders, config::Config, metrics::Metrics},
    edge::transport::{Ending, Purpose, SharedTls, tcp, udp},
    resolver::{DEADLINE, Resolver, denied::DeniedKeys},
    service::{QueryLog, Service},
    sources::{connector::Connector, forward::Forwarder, packets::Packets},
};

pub(super) struct Running {
    /// In effect.
    config: Config,
    /// The same, with the ports that there are.
    bound: Config,
    service: Arc<Service>,
    forwarder: Arc<Forwarder>,
    packets: Packets,
    denied: DeniedKeys,
    /// The way to lists of these.
    connector: Connector,
    metrics: Metrics,
    /// Of all transports.
    forwarders: Forwarders,
    waiting: Arc<udp::Waiting>,
    tcp: Arc<tcp::Connections>,
    tls: Arc<tcp::Connections>,
    encryption: EncryptedListeners,
    shown: Shown,
    sight: Arc<Sight>,
    dot_tls: Option<SharedTls>,
    web: Web,
    open: Vec<Open>,
    watches: Watches,
    /// What the program sees of it.
    state: Arc<State>,
    ending: Ending,
    tasks: TaskTracker,
}

/// The parts of a server that what is served over HTTP is made of.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) config: &'a Config,
    pub(super) bound: &'a Config,
    pub(super) service: &'a Arc<Service>,
    pub(super) packets: &'a Packets,
    pub(super) denied: &'a DeniedKeys,
    pub(super) metrics: &'a Metrics,
    pub(super) forwarders: &'a Forwarders,
    pub(super) encryption: &'a EncryptedListeners,
}

/// What goes on beside, and ends when something else takes its place.
struct Watches {
    certificates: CancellationToken,
    hosts_files: CancellationToken,
    denied_keys: CancellationToken,
    keep_alive: CancellationToken,
}

impl Running {
    /// Begins to answer. All ends with `ending`.
    pub(super) fn start(server: Server, ending: &Ending, tasks: &TaskTracker) -> (Self, Reloads) {
        let sight = Sight::new(&server, ending.leaving());
        let status_path = server.config.status.socket().map(PathBuf::from);
        let Server { config, listeners, service, forwarder, metrics, places, .. } = server;
        let Server { web, packets, denied, connector, encryption, reloads, shown, state, .. } = server;
        let (ending, tasks, service) = (ending.clone(), tasks.clone(), Arc::new(service));
        let addresses: Vec<_> = listeners.iter().map(|one| (one.wanted.purpose, one.address)).collect();
        let bound = derived::with_ports(&config, &addresses);
        let forwarders = places.tcp.forwarders.clone();
        let [over_tcp, over_tls] = derived::admissions(&config, &metrics);
        let around = Around {
            config: &config,
            bound: &bound,
            service: &service,
            packets: &packets,
            denied: &denied,
            metrics: &metrics,
            forwarders: &forwarders,
            encryption: &encryption,
        };
        let web = Web::start(web, &around, &places, &sight, &ending, &tasks);
        let mut dot_tls = None;
        encryption.encrypt_dot(&mut dot_tls);
        let watches = Watches {
            certificates: ending.leaving().child_token(),
            hosts_files: ending.leaving().child_token(),
            denied_keys: ending.leaving().child_token(),
            keep_alive: ending.leaving().child_token(),
        };
        let mut running = Self {
            waiting: udp::Waiting::new(forwarders.clone()),
            tcp: tcp::Connections::new(places.tcp, over_tcp),
            tls: tcp::Connections::new(places.tls, over_tls),
            dot_tls,
            web,
            open: Vec::new(),
            config,
            bound,
            service,
            forwarder,
            packets,
            denied,
            connector,
            metrics,
            forwarders,
            encryption,
            shown,
            sight,
            watches,
            state,
            ending,
            tasks,
        };
        running.serve(listeners);
        running.tasks.spawn(running.sight.clone().watch());
        if let Some(path) = status_path {
            running.tasks.spawn(running.sight.clone().serve(path, running.tasks.clone()));
        }
        running.spawn(running.ending.leaving(), own_networks::watch());
        running.encryption.watch(&running.watches.certificates, &running.tasks);
        running.watch_hosts_files();
        running.watch_denied_keys();
        running.keep_alive();
        (running, reloads)
    }

    /// Looks for upstreams that send our questions back to us, and for those that are silent. What it asks is not waited for at the stop.
    pub(super) fn watch_for_loops(&self) -> JoinHandle<()> {
        let (forwarder, stop) = (self.forwarder.clone(), self.ending.stop().clone());
        tokio::spawn(async move {
            tokio::join!(forwarder.watch_for_loops(stop.clone()), forwarder.keep_in_touch(stop));
        })
    }

    /// Puts `new` in effect, as far as it does not need a restart, or changes nothing.
    pub(super) async fn reload(&mut self, new: Config) -> Result<Reloaded, ReloadError> {
        let present = Present {
            config: self.config.clone(),
            bound: self.bound.clone(),
            forwarder: self.forwarder.clone(),
            resolver: self.service.resolver(),
            denied: self.denied.clone(),
            open: self.open.clone(),
        };
        let prepared = present.prepare(new).await?;
        let changes = prepared.changes.clone();
        self.swap(prepared);
        Ok(Reloaded { changes, listening: self.listening() })
    }

    fn listening(&self) -> Vec<(&'static str, SocketAddr)> {
        let of = |open: &Open| {
            let shared = open.shared.as_ref().filter(|shared| shared.is_on());
            let protocols = open.wanted.purpose.protocols().iter().copied();
            let protocols = protocols.chain(shared.map(|_| Purpose::Bridge.name()));
            protocols.zip(std::iter::repeat(open.address)).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    /// Cannot fail, so that nothing is half done.
    fn swap(&mut self, prepared: Prepared) {
        let Prepared { config, bound, tls, resolver, denied, encryption, added, removed, .. } = prepared;
        let bridge_certificates = prepared.bridge_certificates;
        let old = std::mem::replace(&mut self.config, config);
        let old_bound = std::mem::replace(&mut self.bound, bound);
        self.forwarders.replace(self.config.rate_limit.forwarders.clone());
        self.forwarder.reload(self.config.fallback_dns.clone(), &self.config.forward, &tls);
        self.packets.reload(&old.cache, &self.config.cache);
        // Answers of before are not kept where the lists are others.
        if let Some(lists) = denied {
            self.denied.replace(lists);
            self.connector = connector(&self.forwarder, &tls);
            renew(&mut self.watches.denied_keys, &self.ending);
            self.watch_denied_keys();
        }
        let query_log = self.query_log(&old);
        self.service.reload(&old_bound, &self.bound, resolver, query_log);
        if let Some(encryption) = encryption {
            self.encrypt(encryption);
        }
        self.admit(&old, bridge_certificates.as_ref());
        for open in self.open.extract_if(.., |open| removed.contains(&open.wanted)) {
            info!("no longer listening {} {}", open.wanted.purpose.protocols().join(" and "), open.address);
            open.ending.end();
            self.state.remove(&open.wanted);
        }
        self.serve(added);
        if Resolver::reads_hosts_files_anew(&old, &self.config) {
            renew(&mut self.watches.hosts_files, &self.ending);
            self.watch_hosts_files();
        }
        let per_hour = self.config.dht.keep_alive_per_hour;
        if old.dht.keep_alive_per_hour != per_hour {
            self.packets.set_keep_alive(per_hour);
            renew(&mut self.watches.keep_alive, &self.ending);
            self.keep_alive();
        }
    }

    /// The record of queries from now on. One that is replaced gets what was asked before, and ends.
    fn query_log(&self, old: &Config) -> QueryLog {
        let before = self.service.query_log();
        if (&old.query_log, &old.dnstap) == (&self.config.query_log, &self.config.dnstap) {
            return before;
        }
        let stop = self.ending.stop().clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(sleep(DEADLINE)).await;
            before.close().await;
        });
        QueryLog::start(&self.config.query_log, &self.config.dnstap, &self.metrics.logs)
    }

    fn encrypt(&mut self, encryption: EncryptedListeners) {
        renew(&mut self.watches.certificates, &self.ending);
        encryption.watch(&self.watches.certificates, &self.tasks);
        encryption.encrypt_dot(&mut self.dot_tls);
        self.shown.store(Arc::new(encryption.shown.clone()));
        self.encryption = encryption;
    }

    /// Who may connect, how often, and what there is over HTTP.
    fn admit(&mut self, old: &Config, bridge_certificates: Option<&BridgeCertificates>) {
        let (config, metrics) = (&self.config, &self.metrics);
        let wanted = listeners::wanted(config, |purpose| listeners::assigned(&self.open, purpose));
        let places = Places::new(config, |purpose| wanted.iter().any(|wanted| wanted.purpose == purpose));
        let [over_tcp, over_tls] = derived::admissions(config, metrics);
        for (connections, limits, admission) in
            [(&self.tcp, &places.tcp, over_tcp), (&self.tls, &places.tls, over_tls)]
        {
            connections.reload(limits.connections, limits.connections_per_client, admission);
        }
        let around = Around {
            config,
            bound: &self.bound,
            service: &self.service,
            packets: &self.packets,
            denied: &self.denied,
            metrics,
            forwarders: &self.forwarders,
            encryption: &self.encryption,
        };
        self.web.reload(old, &around, &places, bridge_certificates, &self.ending, &self.tasks);
    }

    fn serve(&mut self, listeners: Vec<Listener>) {
        for listener in listeners {
            listener.log();
            let heirlooms = listener.heirlooms();
            let Listener { wanted, address, sockets } = listener;
            let ending = self.ending.of_listener();
            let shared = self.web.shared_port(wanted.purpose);
            self.open.push(Open { wanted, address, ending: ending.clone(), shared: shared.clone() });
            let pulses = self.answer(wanted, sockets, shared, ending);
            self.state.add(wanted, heirlooms, pulses);
        }
        listeners::share_ports(&self.config, &self.open);
        let listening = self.listening();
        let described = listening.iter().map(|(protocol, address)| format!("{protocol} {address}"));
        self.sight.listens(described.collect());
    }

    /// Returns whether its threads run.
    fn answer(
        &self,
        wanted: Wanted,
        sockets: Sockets,
        shared: Option<SharedPort>,
        ending: Ending,
    ) -> Vec<udp::Pulse> {
        let (service, tasks) = (self.service.clone(), &self.tasks);
        let listener = match sockets {
            Sockets::Dns(over_udp, over_tcp) => {
                let (waiting, leaving) = (self.waiting.clone(), ending.leaving().clone());
                tcp::serve(over_tcp, service.clone(), self.tcp.clone(), ending, tasks);
                return udp::serve(over_udp, service, waiting, leaving, tasks);
            }
            Sockets::Stream(listener) => listener,
        };
        match (wanted.purpose, &self.dot_tls) {
            (Purpose::Tls, Some(tls)) => {
                tcp::serve_tls(listener, tls.clone(), service, self.tls.clone(), ending, tasks);
            }
            (purpose, _) => self.web.serve(purpose, listener, shared, ending, tasks),
        }
        Vec::new()
    }

    fn watch_hosts_files(&self) {
        self.spawn(&self.watches.hosts_files, self.service.resolver().watch_hosts_files());
    }

    fn watch_denied_keys(&self) {
        self.spawn(&self.watches.denied_keys, self.denied.clone().watch(self.connector.clone()));
    }

    fn keep_alive(&self) {
        let (outcomes, denied) = (self.metrics.dht.keep_alive.clone(), self.denied.clone());
        let keeping_alive = self.packets.clone().keep_alive(outcomes, move |key| denied.of(key).is_none());
        self.spawn(&self.watches.keep_alive, keeping_alive);
    }

    fn spawn(&self, stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(task));
    }
}

/// Ends what watches, for another one.
pub(super) fn renew(watch: &mut CancellationToken, ending: &Ending) {
    std::mem::replace(watch, ending.leaving().child_token()).cancel();
}
