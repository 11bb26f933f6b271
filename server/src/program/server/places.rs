//! How many connections there may be, by what is spoken: as many as wished for, or as many as there are descriptors for.

use tracing::warn;

use crate::{
    base::{access::Forwarders, config::Config},
    edge::{
        held::Budget,
        http_limits::Limits as HttpLimits,
        transport::{Caps, PLACES_PER_EXTRA, Purpose, descriptors, tcp},
    },
};

/// The limits of connections, which fit the limit of open files together.
pub(super) struct Places {
    pub(super) tcp: tcp::Limits,
    pub(super) tls: tcp::Limits,
    pub(super) web: HttpLimits,
    pub(super) metrics: HttpLimits,
    pub(super) bridge: Caps,
}

impl Places {
    /// `speaks` says what is listened for. Says in the log when there are fewer than wished for.
    pub(super) fn new(config: &Config, speaks: impl Fn(Purpose) -> bool) -> Self {
        let mut places = Self::wished(config);
        let limit = descriptors::limit();
        let has_web = speaks(Purpose::Https) || speaks(Purpose::Http);
        let is_spoken =
            [true, speaks(Purpose::Tls), has_web, speaks(Purpose::Metrics), config.bridge.is_enabled()];
        if places.fit(limit, is_spoken) {
            warn!(
                "this process may open {limit} files, so that it takes at most {} connections over TCP, {} over TLS, {} over \
                 HTTP and {} for the bridge; raise that limit (LimitNOFILE=, ulimit -n) for more",
                places.tcp.connections,
                places.tls.connections,
                places.web.connections,
                places.bridge.connections
            );
        }
        places
    }

    /// What is held for clients counts in `unread`, whatever they speak.
    pub(super) fn with_unread(mut self, unread: &Budget) -> Self {
        for limits in [&mut self.tcp, &mut self.tls] {
            limits.unread = unread.clone();
        }
        for limits in [&mut self.web, &mut self.metrics] {
            limits.unread = unread.clone();
        }
        self
    }

    /// As many as the options say.
    fn wished(config: &Config) -> Self {
        let (doh, dot) = (&config.doh, &config.dot);
        let per_client = config.connections_per_client;
        let forwarders = Forwarders::new(config.rate_limit.forwarders.clone());
        Self {
            tcp: tcp::Limits {
                connections_per_client: per_client,
                forwarders: forwarders.clone(),
                ..tcp::Limits::default()
            },
            tls: tcp::Limits {
                connections_per_client: dot.connections_per_client.unwrap_or(per_client),
                forwarders: forwarders.clone(),
                ..tcp::Limits::for_tls()
            },
            web: HttpLimits {
                connections: doh.max_connections,
                connections_per_client: doh.connections_per_client.unwrap_or(per_client),
                forwarders,
                ..HttpLimits::default()
            },
            metrics: HttpLimits::for_metrics(),
            bridge: Caps { connections: config.bridge.max_connections, connections_per_client: per_client },
        }
    }

    /// Lowers what does not fit into `limit` descriptors, without the kinds that are not spoken; returns whether there
    /// was any.
    fn fit(&mut self, limit: usize, is_spoken: [bool; 5]) -> bool {
        // Each of these has one to the client, and one to the site.
        let mut bridge = self.bridge.connections.saturating_mul(2);
        let mut wishes = [
            &mut self.tcp.connections,
            &mut self.tls.connections,
            &mut self.web.connections,
            &mut self.metrics.connections,
            &mut bridge,
        ];
        // Strangers, and those that made room for others, have places beside them.
        let room = descriptors::for_connections(limit) / (PLACES_PER_EXTRA + 1) * PLACES_PER_EXTRA;
        let mut wished = [0; 5];
        for ((wished, wish), is_spoken) in wished.iter_mut().zip(&wishes).zip(is_spoken) {
            *wished = if is_spoken { **wish } else { 0 };
        }
        let shares = descriptors::share(room, wished);
        for ((wish, share), is_spoken) in wishes.iter_mut().zip(shares).zip(is_spoken) {
            **wish = if is_spoken { share } else { **wish };
        }
        self.bridge.connections = (bridge / 2).max(1);
        shares != wished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(limit: usize, is_spoken: [bool; 5]) -> (bool, [usize; 5]) {
        let mut places = Places::wished(&Config::default());
        let is_lowered = places.fit(limit, is_spoken);
        let Places { tcp, tls, web, metrics, bridge } = places;
        let bridge = 2 * bridge.connections;
        (is_lowered, [tcp.connections, tls.connections, web.connections, metrics.connections, bridge])
    }

    #[test]
    fn all_connections_together_leave_descriptors_for_questions_to_others() {
        assert_eq!(fitted(524_288, [true; 5]), (false, [2000, 20_000, 20_000, 64, 8192]));
        for limit in [64, 256, 1024, 4096, 20_000] {
            let (is_lowered, places) = fitted(limit, [true; 5]);
            assert!(is_lowered);
            // With a sixteenth for those that make room, and one for strangers.
            let most: usize = places.iter().map(|places| places + 2 * places.div_ceil(16)).sum();
            assert!(most <= limit - limit.div_ceil(5), "{most} of {limit}: {places:?}");
            assert!(places.iter().all(|places| *places > 0));
        }
    }

    #[test]
    fn connections_per_client_holds_for_every_transport_that_says_nothing_else() {
        let mut config = Config { connections_per_client: 7, ..Config::default() };
        let per_client = |config: &Config| {
            let Places { tcp, tls, web, .. } = Places::wished(config);
            [tcp.connections_per_client, tls.connections_per_client, web.connections_per_client]
        };
        assert_eq!(per_client(&config), [7, 7, 7]);
        (config.dot.connections_per_client, config.doh.connections_per_client) = (Some(8), Some(9));
        assert_eq!(per_client(&config), [7, 8, 9]);
    }

    #[test]
    fn what_is_not_spoken_takes_no_descriptors() {
        let only_tcp = [true, false, false, false, false];
        assert_eq!(fitted(8192, only_tcp), (false, [2000, 20_000, 20_000, 64, 8192]));
        assert_eq!(fitted(1100, only_tcp).1[0], 488);
    }
}
