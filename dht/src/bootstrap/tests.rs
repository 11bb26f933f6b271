use super::*;
use crate::BOOTSTRAP;

#[test]
fn a_bootstrap_node_is_a_host_and_a_port() {
    assert_eq!(split_host_port("router.example:6881"), Some(("router.example", 6881)));
    assert_eq!(split_host_port("192.0.2.1:1"), Some(("192.0.2.1", 1)));
    assert_eq!(split_host_port("[2001:db8::1]:6881"), Some(("2001:db8::1", 6881)));
    for wrong in [
        "",
        ":",
        "host",
        "host:",
        ":6881",
        "host:0",
        "host:65536",
        "::1:6881",
        "[::1]",
        "[router]:1",
        "[127.0.0.1]:1",
    ] {
        assert_eq!(split_host_port(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn nodes_that_are_known_and_silent_do_not_make_us_flood_the_bootstrap_nodes() {
    let (sender, mut commands) = mpsc::channel(16);
    let (_known_sender, known) = watch::channel(5);
    let bootstrap = vec!["127.0.0.1:7".to_owned()];
    let first_retry = Duration::from_millis(200);
    let settings = Arc::new(DhtSettings { first_retry, ..DhtSettings::on_loopback(bootstrap) });
    let resolver: HostResolver = Arc::new(|_| Box::pin(async { Vec::new() }));
    let joining = tokio::spawn(keep_joined(settings, resolver, sender.downgrade(), known));
    let mut joins = 0;
    let _ = timeout(Duration::from_secs(1), async {
        while let Some(command) = commands.recv().await {
            match command {
                Command::IsDisconnected(reply) => _ = reply.send(true),
                Command::Join(_) => joins += 1,
                _ => {}
            }
        }
    })
    .await;
    // After 0, 200 and 600 ms.
    assert!((1..=3).contains(&joins), "{joins}");
    drop(sender);
    drop(commands);
    timeout(Duration::from_secs(5), joining).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_of_the_public_dht_leads_out_into_the_world_and_one_of_the_operator_anywhere() {
    let inner: IpAddr = "192.168.1.1".parse().unwrap();
    let resolver: HostResolver = Arc::new(move |_| Box::pin(async move { vec![inner] }));
    let public = BOOTSTRAP.map(String::from);
    assert_eq!(resolve(&public, &resolver).await, []);
    let own = ["testnet.lan:53".to_string(), "10.0.0.1:53".to_string()];
    let expected: Vec<SocketAddr> =
        ["10.0.0.1:53", "192.168.1.1:53"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(resolve(&own, &resolver).await, expected);
}

#[tokio::test]
async fn saved_nodes_of_inner_networks_are_not_asked_when_the_public_dht_is_joined() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nodes");
    let saved = ["8.8.8.8:6881", "8.8.8.8:53", "100.64.0.1:6881"].map(|text| text.parse().unwrap());
    let nodes = |kept: &[SocketAddr]| {
        let contact = |address: &SocketAddr| Contact {
            id: crate::krpc::Id::random(),
            address: *address,
            rtt: None,
            stores: true,
        };
        kept.iter().map(contact).collect::<Vec<_>>()
    };
    for (bootstrap, kept) in
        [(BOOTSTRAP.map(String::from).to_vec(), &saved[..1]), (vec!["10.0.0.1:6881".to_string()], &saved[..])]
    {
        saved_nodes::save(&path, &bootstrap, nodes(&saved).into_iter(), SystemTime::now()).unwrap();
        let (sender, mut commands) = mpsc::channel(1);
        let settings = DhtSettings { nodes_path: Some(path.clone()), bootstrap, ..DhtSettings::default() };
        remember(&settings, &sender.downgrade()).await;
        let Ok(Command::Remember(nodes)) = commands.try_recv() else { panic!("nothing is remembered") };
        let mut remembered: Vec<_> = nodes.into_iter().map(|contact| contact.address).collect();
        let mut kept = kept.to_vec();
        remembered.sort_unstable();
        kept.sort_unstable();
        assert_eq!(remembered, kept);
    }
}

#[tokio::test]
async fn only_names_are_resolved() {
    let resolver: HostResolver = Arc::new(|host| {
        assert!(host == "router.example", "a resolver that fails");
        Box::pin(async { vec!["2001:db8::1".parse().unwrap(), "192.0.2.7".parse().unwrap()] })
    });
    let bootstrap =
        ["127.0.0.1:7", "[::1]:9", "router.example:6881", "127.0.0.1:7", "nonsense", "fails.example:1"]
            .map(String::from)
            .to_vec();
    let expected: Vec<SocketAddr> = ["127.0.0.1:7", "192.0.2.7:6881", "[::1]:9", "[2001:db8::1]:6881"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    assert_eq!(resolve(&bootstrap, &resolver).await, expected);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn that_the_dht_is_joined_is_said_once_also_where_nodes_of_an_earlier_run_answer() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (sender, mut commands) = mpsc::channel(16);
    let (_known_sender, known) = watch::channel(5);
    let settings = Arc::new(DhtSettings::on_loopback(vec!["127.0.0.1:7".to_owned()]));
    let resolver: HostResolver = Arc::new(|_| Box::pin(async { Vec::new() }));
    let joining = tokio::spawn(keep_joined(settings, resolver, sender.downgrade(), known));
    let _ = timeout(CHECK_EVERY * 3, async {
        while let Some(command) = commands.recv().await {
            if let Command::IsDisconnected(reply) = command {
                let _ = reply.send(false);
            }
        }
    })
    .await;
    joining.abort();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("joined the DHT").count(), 1, "{log}");
}
