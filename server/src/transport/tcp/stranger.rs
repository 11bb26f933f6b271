//! What a client gets that `[access]` does not serve: one reply that says so, and the end.

use std::{io, net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    super::{MAX_REQUEST_SIZE, at_once},
    connection::{LINGER, set_length},
};
use crate::{
    message::Reply,
    service::{AtOnce, Client, Respond, Transport},
};

/// Answers the first query, if that takes no work. The caller has the deadline.
pub(super) async fn refuse<R, I, O>(
    responder: &R,
    address: IpAddr,
    transport: Transport,
    mut input: I,
    mut output: O,
) -> io::Result<()>
where
    R: Respond,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let size = usize::from(input.read_u16().await?);
    if size == 0 || size > MAX_REQUEST_SIZE {
        return Ok(());
    }
    let mut message = vec![0; size];
    input.read_exact(&mut message).await?;
    // The connection is not kept (RFC 7828 section 3.2.2).
    let idle_timeout = Some(Duration::ZERO);
    let reply = Reply::Stream { idle_timeout, is_encrypted: transport == Transport::Tls };
    let client = Client { address, transport, reply, now: Instant::now() };
    let mut reply = vec![0; 2];
    if matches!(at_once(responder, &message, client, &mut reply), AtOnce::Replied | AtOnce::OverQuota)
        && set_length(&mut reply, 0)
    {
        output.write_all(&reply).await?;
    }
    output.shutdown().await?;
    // Closing while its bytes are unread would reset the connection and take the refusal with it.
    let _ = timeout(LINGER, tokio::io::copy(&mut input, &mut tokio::io::sink())).await;
    Ok(())
}
