use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{base::metrics::Metrics, edge::bridge::peer::PlainPeer};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A client and a site at the far ends, whose sockets take a kilobyte each, and how the copying between them has ended.
fn start(is_crowded: bool) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<io::Result<()>>, Budget) {
    let [(client, near), (site, far)] = [duplex(1024), duplex(1024)];
    let metrics = Metrics::default();
    let unread = Budget::new(1 << 20, metrics.refusals.clone());
    let held = unread.clone();
    let copying = tokio::spawn(async move {
        let bytes = &metrics.bridge.bytes;
        let terms =
            Terms { client: CLIENT, unread: &unread, to_site: &bytes.to_site, to_client: &bytes.to_client };
        let ending = Ending::new(CancellationToken::new());
        let (near, far) = (PlainPeer::new(near, Vec::new()), PlainPeer::new(far, Vec::new()));
        copy(near, far, terms, &ending, || is_crowded).await
    });
    (client, site, copying, held)
}

/// After how many seconds it ends, to the next look.
async fn ends_after(copying: tokio::task::JoinHandle<io::Result<()>>) -> (u64, io::Result<()>) {
    let start = Instant::now();
    let outcome = copying.await.unwrap();
    (start.elapsed().as_secs(), outcome)
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_for_a_minute_is_closed_on_either_side_and_holds_nothing_then() {
    for is_client in [true, false] {
        let (mut client, mut site, copying, held) = start(false);
        let (from, _reads_nothing) =
            if is_client { (&mut site, &mut client) } else { (&mut client, &mut site) };
        let sending = async { while from.write_all(&[7; 1024]).await.is_ok() {} };
        let ((), (seconds, outcome)) = tokio::join!(sending, ends_after(copying));
        assert!((60..=90).contains(&seconds), "{seconds}");
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(held.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_goes_on() {
    let (mut client, mut site, copying, _) = start(false);
    let sending = tokio::spawn(async move { while site.write_all(&[7; 1024]).await.is_ok() {} });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        client.read_exact(&mut [0; 1024]).await.unwrap();
    }
    assert!(!copying.is_finished());
    drop(client);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_kept_for_an_hour_and_for_less_where_places_are_scarce_or_one_side_has_ended()
{
    for (is_crowded, has_ended, expected) in
        [(false, false, 3600..=3630), (true, false, 300..=330), (false, true, 300..=330)]
    {
        let (client, mut site, copying, _) = start(is_crowded);
        if has_ended {
            site.shutdown().await.unwrap();
        }
        let (seconds, outcome) = ends_after(copying).await;
        outcome.unwrap();
        assert!(expected.contains(&seconds), "{seconds}");
        drop((client, site));
    }
}
