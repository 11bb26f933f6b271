//! A page of another origin that uses the relay, in Chromium.

use pkdns_testing::{chromium, programs};
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Publishes with a condition, which a browser asks leave for, reads, and writes down what it may see of the answers.
const PAGE: &str = r#"<!DOCTYPE html><title>a page</title><p id=result>nothing</p><script>
(async () => {
  const put = await fetch(RELAY, {
    method: 'PUT', body: new Uint8Array(PACKET), headers: { 'if-match': '1' }, credentials: 'include'
  })
  const get = await fetch(RELAY + '?policy=NetworkOnly', { headers: { 'cache-control': 'no-cache' } })
  const read = new Uint8Array(await get.arrayBuffer())
  const unreadable = await fetch(UNREADABLE)
  return [
    put.status, put.headers.get('pkarr-dht-stored-nodes'), get.status, read.join(),
    unreadable.status, unreadable.headers.get('pkarr-invalid-signed-packet-seq')
  ].join(' ')
})().catch(error => error).then(text => { document.getElementById('result').textContent = text })
</script>"#;

/// The port of a web server that has this page and no other.
async fn serve(page: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}{page}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_publishes_and_reads() {
    let Some(chromium) = programs::find("chromium", |_| true, "chromium") else { return };
    let server = start();
    let packet = packet(1, SIGNED, 1);
    let unreadable = SignedPacket::sign(&keypair(2), 17, b"not a DNS message").unwrap();
    server.network.publish(unreadable);
    let url = |seed| format!("'http://{}{}'", server.http(), path_of(seed));
    let page = PAGE.replace("UNREADABLE", &url(2)).replace("RELAY", &url(1));
    let port = serve(page.replace("PACKET", &format!("{:?}", packet.to_payload()))).await;
    let directory = tempfile::tempdir().unwrap();
    let [profile, page] =
        [format!("--user-data-dir={}", directory.path().display()), format!("http://127.0.0.1:{port}/")];
    let arguments = [&chromium::FLAGS[..], &[&profile, &page]].concat();
    let page = clients::run(&chromium, &arguments).await;
    let bytes = packet.to_payload().iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    assert!(page.contains(&format!(">204 20 200 {bytes} 404 17<")), "{page}");
}
