//! What a client gets that `[access]` does not serve: one reply that says so, and the end. Where there are names for
//! everybody, it gets answers for a few seconds, one after the other.

use std::{io, net::IpAddr, time::Duration};

use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    super::{MAX_REQUEST_SIZE, STRANGER_TIME, at_once},
    connection::{LINGER, set_length},
};
use crate::{
    base::message::{Reply, read_outcome},
    service::{AtOnce, Client, Respond, Transport},
};

/// How long a connection may take in all that is answered: two answers that are looked up, and what they take on the way.
const LONGEST: Duration = Duration::from_secs(10);

/// Questions on one such connection: what a resolver asks at once when a page is opened.
const QUESTIONS: usize = 32;

/// How long such a connection may take in all.
pub(super) fn longest<R: Respond>(responder: &R, transport: Transport) -> Duration {
    if is_answered(responder, transport) { LONGEST } else { STRANGER_TIME }
}

fn is_answered<R: Respond>(responder: &R, transport: Transport) -> bool {
    transport == Transport::Tcp && responder.has_names_for_everybody()
}

/// Answers the first query, if that takes no work; where there are names for everybody, queries until one is refused. Each may
/// take [`STRANGER_TIME`] to come, and its reply as long to leave. The caller has the deadline for all.
pub(super) async fn serve<R, I, O>(
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
    // The connection is not kept (RFC 7828 section 3.2.2).
    let idle_timeout = Some(Duration::ZERO);
    let reply = Reply::Stream { idle_timeout, is_encrypted: transport == Transport::Tls };
    let is_answered = is_answered(responder, transport);
    for _ in 0..if is_answered { QUESTIONS } else { 1 } {
        let message = timeout(STRANGER_TIME, read(&mut input)).await??;
        let client = Client { address, transport, reply, now: Instant::now() };
        let mut reply = vec![0; 2];
        match at_once(responder, &message, client, &mut reply) {
            AtOnce::Replied | AtOnce::OverQuota => {}
            AtOnce::Later(query) if is_answered => responder.later(&query, client, &mut reply).await,
            AtOnce::Silence | AtOnce::Later(_) => reply.truncate(2),
        }
        if !set_length(&mut reply, 0) {
            break;
        }
        timeout(STRANGER_TIME, output.write_all(&reply)).await??;
        output.flush().await?;
        let outcome = reply.get(2..).and_then(read_outcome);
        if outcome.is_none_or(|outcome| outcome.code == ResponseCode::Refused) {
            break;
        }
    }
    output.shutdown().await?;
    // Closing while its bytes are unread would reset the connection and take the last reply with it.
    let _ = timeout(LINGER, tokio::io::copy(&mut input, &mut tokio::io::sink())).await;
    Ok(())
}

/// One message.
async fn read<I: AsyncRead + Unpin>(input: &mut I) -> io::Result<Vec<u8>> {
    let size = usize::from(input.read_u16().await?);
    if size == 0 || size > MAX_REQUEST_SIZE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; size];
    input.read_exact(&mut message).await?;
    Ok(message)
}
