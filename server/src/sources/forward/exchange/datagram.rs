//! Questions on their way over UDP, and what comes back to their sockets: answers, and what may be one.

use std::{
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Fuse, FusedFuture},
};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Instant, sleep},
};

use super::{Exchange, Form};
use crate::{
    base::message::{Cookie, Message},
    sources::forward::{
        ExchangeError,
        capabilities::Capability,
        request::{Match, Request, Returned, random_u16},
    },
};

/// Random ports that are tried before the system picks one.
const PORT_TRIES: usize = 8;

/// Ports below are for privileged services.
pub(super) const FIRST_PORT: u16 = 1024;

/// Room for a datagram in bytes: a server that ignores the size we announce usually keeps to this one.
const DATAGRAM_ROOM: usize = 4096;

/// Between reads after an error of the socket, so that an error that stays does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A datagram that is almost right is settled over TCP alone for so long, and a server that has to be asked over TCP is asked
/// there alone. Then, or once TCP has failed, the question goes out over UDP as well.
pub(super) const TCP_HEAD_START: Duration = Duration::from_millis(400);

impl Exchange<'_> {
    /// Over UDP, and over TCP where the answer was cut or where a datagram was almost right.
    ///
    /// Almost right is what a server sends that does not keep the spelling, has stopped giving cookies or refuses with
    /// nothing but a header, but also what someone sends who guessed all but those. TCP tells them apart. Where it cannot
    /// be had, the question is sent a second time, from another port and with another id: what is almost right twice, in
    /// the same way, is the server's own. Meanwhile the true answer may still come as a datagram.
    ///
    /// So is an answer that cannot be read behind its question. Whoever can forge that could forge an answer.
    ///
    /// That nothing listens, ICMP says, of which only the port has to be guessed. It ends the waiting only where TCP fails
    /// as well and ICMP says so of both ports.
    pub(super) async fn ask_over_udp(self, form: Form) -> Result<Message, ExchangeError> {
        self.settle(self.send(form).await?, form).await
    }

    pub(super) async fn settle(self, first: Sent, form: Form) -> Result<Message, ExchangeError> {
        let mut second: Option<Sent> = None;
        let mut doubt: Option<Doubt> = None;
        let mut tcp_failure: Option<io::ErrorKind> = None;
        let mut over_tcp = pin!(Fuse::terminated());
        let mut head_start = pin!(Fuse::terminated());
        loop {
            let (heard, is_second) = tokio::select! {
                heard = first.listen(self.server) => (heard, false),
                heard = listen_to(second.as_ref(), self.server) => (heard, true),
                answer = &mut over_tcp => {
                    match answer {
                        Ok(message) => return Ok(message),
                        // Nobody else can speak there.
                        Err(ExchangeError::Malformed) if doubt == Some(Doubt::Unreadable) => {
                            return Err(ExchangeError::Malformed);
                        }
                        Err(ExchangeError::Unreachable(kind)) => tcp_failure = Some(kind),
                        Err(_) => {}
                    }
                    head_start.set(Fuse::terminated());
                    if second.is_none() {
                        second = Some(self.send(form).await?);
                    }
                    continue;
                }
                () = &mut head_start => {
                    if second.is_none() {
                        second = Some(self.send(form).await?);
                    }
                    continue;
                }
            };
            match heard {
                Heard::Answer(message, cookie) => {
                    let sent = second.as_ref().filter(|_| is_second).unwrap_or(&first);
                    self.learn(&sent.request, cookie, true);
                    self.capabilities.answered_over_udp(self.server);
                    return Ok(message);
                }
                Heard::Truncated => return self.ask_over_tcp(form, Some(Doubt::Cut)).await,
                Heard::AlmostRight(Doubt::NobodyThere, _) if doubt.is_some() => {
                    if let Some(kind) = tcp_failure
                        && is_second
                        && doubt == Some(Doubt::NobodyThere)
                    {
                        return Err(ExchangeError::Unreachable(kind));
                    }
                    sleep(ERROR_PAUSE).await;
                }
                Heard::AlmostRight(Doubt::Unreadable, _) if is_second && doubt == Some(Doubt::Unreadable) => {
                    return Err(ExchangeError::Malformed);
                }
                // Whoever has guessed one of the sockets can send there as often as they like.
                Heard::AlmostRight(same, Some(message)) if is_second && doubt == Some(same) => {
                    if same == Doubt::Misspelt {
                        self.capabilities.lacks(self.server, Capability::Spelling, Instant::now());
                    }
                    return Ok(message);
                }
                Heard::AlmostRight(..) if is_second => {}
                Heard::AlmostRight(new, _) => {
                    if new == Doubt::NoCookie {
                        self.cookies.doubt(self.server);
                    }
                    if doubt.is_none() {
                        over_tcp.set(self.ask_over_tcp(form, Some(new)).fuse());
                    }
                    if new != Doubt::NobodyThere && second.is_none() && head_start.is_terminated() {
                        head_start.set(sleep(TCP_HEAD_START).fuse());
                    }
                    doubt = Some(new);
                }
            }
        }
    }

    pub(super) async fn send(self, form: Form) -> Result<Sent, ExchangeError> {
        let socket = random_socket(self.server).await?;
        let request = self.request(form, socket.local_addr()?)?;
        socket.send(&request.bytes).await?;
        Ok(Sent { socket, request })
    }
}

/// A question that left over UDP.
pub(super) struct Sent {
    pub(super) socket: UdpSocket,
    pub(super) request: Request,
}

impl Sent {
    pub(super) async fn listen(&self, server: SocketAddr) -> Heard {
        listen(&self.socket, server, &self.request).await
    }
}

async fn listen_to(sent: Option<&Sent>, server: SocketAddr) -> Heard {
    match sent {
        Some(sent) => sent.listen(server).await,
        None => pending().await,
    }
}

pub(super) enum Heard {
    /// With the cookie that was ours.
    Answer(Message, Option<Cookie>),
    Truncated,
    /// With what it says, if that is whole.
    AlmostRight(Doubt, Option<Message>),
}

/// What keeps a datagram from being the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It lacks the cookie that the server has given before.
    NoCookie,
    /// It has the question in another spelling.
    Misspelt,
    /// It is a refusal without a question.
    BareRefusal,
    /// What stands behind the question cannot be read.
    Unreadable,
    /// It is ICMP's, and says that nothing listens.
    NobodyThere,
    /// The answer goes on.
    Cut,
}

/// Waits for a datagram that says something. Garbage and strangers can be made by anyone, so neither ends the waiting
/// (the TuDoor attack).
pub(super) async fn listen(socket: &UdpSocket, server: SocketAddr, request: &Request) -> Heard {
    loop {
        // Thousands may wait here, each without a buffer.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await;
        let heard = ready.and_then(|ready| {
            if ready.is_error() {
                take_error(socket)?;
            }
            hear(socket, server, request)
        });
        match heard {
            Ok(Some(heard)) => return heard,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_by_icmp(&error) => return Heard::AlmostRight(Doubt::NobodyThere, None),
            Err(_) => sleep(ERROR_PAUSE).await,
        }
    }
}

/// What the system has noted of the socket, which is no datagram and so would not be received.
fn take_error(socket: &UdpSocket) -> io::Result<()> {
    let error = socket.take_error()?;
    // Tells the runtime that it is taken.
    let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    error.map_or(Ok(()), Err)
}

/// Whether a socket that waits for datagrams fails with this because of an ICMP message.
fn is_by_icmp(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// Takes one datagram that has arrived.
fn hear(socket: &UdpSocket, server: SocketAddr, request: &Request) -> io::Result<Option<Heard>> {
    let mut buffer = [0; DATAGRAM_ROOM];
    let (length, from) = socket.try_recv_from(&mut buffer)?;
    // A datagram that came between bind and connect may be from anyone.
    if (from.ip(), from.port()) != (server.ip(), server.port()) {
        return Ok(None);
    }
    let Some(response) = buffer.get_mut(..length) else { return Ok(None) };
    let compared = request.compare(response);
    let returned = request.returned_cookie(response);
    // Some servers cut in the middle of a record, and what fills all the room there is was cut here.
    let is_cut = length == DATAGRAM_ROOM || response.get(2).is_some_and(|flags| flags & 0x02 != 0);
    let mut whole = || request.read(response).filter(|_| !is_cut);
    Ok(match compared {
        Match::None => None,
        _ if matches!(returned, Returned::Foreign) => None,
        Match::Exact if is_cut => Some(Heard::Truncated),
        Match::Exact => Some(match (returned, whole()) {
            (Returned::Missing, message) => Heard::AlmostRight(Doubt::NoCookie, message),
            (_, None) => Heard::AlmostRight(Doubt::Unreadable, None),
            (Returned::Ours(cookie), Some(message)) => Heard::Answer(message, Some(cookie)),
            (Returned::Nothing | Returned::Foreign, Some(message)) => Heard::Answer(message, None),
        }),
        Match::OtherSpelling => Some(Heard::AlmostRight(Doubt::Misspelt, whole())),
        Match::BareRefusal => Some(Heard::AlmostRight(Doubt::BareRefusal, whole())),
    })
}

async fn random_socket(server: SocketAddr) -> Result<UdpSocket, ExchangeError> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = bind_random(local).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Systems hand out ports from a smaller range, and some of them in order.
async fn bind_random(local: IpAddr) -> Result<UdpSocket, ExchangeError> {
    for _ in 0..PORT_TRIES {
        let port = random_u16()?;
        if port >= FIRST_PORT
            && let Ok(socket) = UdpSocket::bind((local, port)).await
        {
            return Ok(socket);
        }
    }
    Ok(UdpSocket::bind((local, 0)).await?)
}
