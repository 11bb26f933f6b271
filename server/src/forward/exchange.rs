//! One question to one server, in a way that is hard to forge (RFC 5452 section 9): over UDP from a fresh socket with
//! a random port, id and spelling, and with a DNS cookie; over TCP where that does not do.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, future::Fuse};
use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::{
    ExchangeError,
    cookies::ServerCookies,
    request::{Edns, Match, Request, Returned, Spelling, random_u16},
};
use crate::message::{Cookie, Message, Question};

/// Random ports that are tried before the system picks one.
const PORT_TRIES: usize = 8;

/// Ports below are for privileged services.
const FIRST_PORT: u16 = 1024;

/// Room for a datagram in bytes: a server that ignores the size we announce usually keeps to this one.
const DATAGRAM_ROOM: usize = 4096;

/// A question with a cookie is sent so often over UDP before it goes over TCP (RFC 7873 section 5.3).
const COOKIE_TRIES: usize = 2;

/// Between reads after an error of the socket, so that an error that stays does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Asks servers, a bounded number of questions at once.
#[derive(Debug)]
pub struct Exchanger {
    questions: Semaphore,
    cookies: ServerCookies,
    /// Answers in place of all servers.
    #[cfg(test)]
    pub(super) script: Option<super::testing::Script>,
}

/// What a question asks for besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// RD: set for a resolver, clear for a name server that is asked about its own zone.
    pub recursion_desired: bool,
    /// DO: DNSSEC records as well.
    pub dnssec_ok: bool,
    /// CD: data even where the server's validation fails.
    pub checking_disabled: bool,
}

impl Exchanger {
    /// At most `capacity` questions are under way at once; each holds one socket, two while it moves to TCP. One more is
    /// [`ExchangeError::Busy`] at once: to wait for a turn is up to the caller, so that no time of `deadline` is spent
    /// on it.
    pub fn new(capacity: usize) -> Self {
        Self {
            questions: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            cookies: ServerCookies::new(),
            #[cfg(test)]
            script: None,
        }
    }

    /// Asks `server` until it answers or `deadline` passes. The datagram is sent once: to ask again is up to the
    /// caller. Any answer to the question counts, whatever its code; names that came from our random spelling are in
    /// lower case.
    pub async fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let _permit = self.questions.try_acquire().map_err(|_| ExchangeError::Busy)?;
        #[cfg(test)]
        if let Some(script) = &self.script {
            let answer = timeout_at(deadline, script.play(question)).await;
            return answer.unwrap_or(Err(ExchangeError::Silent));
        }
        let exchange = Exchange { server, question, flags, cookies: &self.cookies };
        timeout_at(deadline, exchange.ask()).await.unwrap_or(Err(ExchangeError::Silent))
    }
}

/// What goes along with a question.
#[derive(Clone, Copy)]
enum Form {
    /// EDNS, and a cookie unless the server does without.
    Cookie,
    Edns,
    Bare,
}

/// One question to one server.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    server: SocketAddr,
    question: &'a Question,
    flags: Flags,
    cookies: &'a ServerCookies,
}

impl Exchange<'_> {
    /// In the form that the server understands. RFC 6891 section 7: one from before EDNS says so in one of two ways, and
    /// some say so of a cookie alone.
    async fn ask(self) -> Result<Message, ExchangeError> {
        let is_refused =
            |message: &Message| matches!(message.code, ResponseCode::FormErr | ResponseCode::NotImp);
        let mut message = self.ask_with_cookie().await?;
        if is_refused(&message) && self.cookies.leave_out_if_new(self.server, Instant::now()) {
            message = self.ask_as(Form::Edns).await?;
        }
        if is_refused(&message) {
            message = self.ask_as(Form::Bare).await?;
        }
        Ok(message)
    }

    /// Until the server likes the cookie. Each BADCOOKIE brings another one.
    async fn ask_with_cookie(self) -> Result<Message, ExchangeError> {
        for _ in 0..COOKIE_TRIES {
            let message = self.ask_as(Form::Cookie).await?;
            if message.code != ResponseCode::BADCOOKIE {
                return Ok(message);
            }
        }
        let message = self.ask_over_tcp(Form::Cookie, false).await?;
        if message.code != ResponseCode::BADCOOKIE {
            return Ok(message);
        }
        self.cookies.leave_out(self.server, Instant::now());
        self.ask_as(Form::Edns).await
    }

    /// Over UDP, and over TCP where the answer was cut or where a datagram was almost right.
    ///
    /// Almost right is what a server sends that does not keep the spelling or has stopped giving cookies, but also what
    /// someone sends who guessed all but those. TCP tells them apart. Meanwhile the true answer may still come as a
    /// datagram.
    async fn ask_as(self, form: Form) -> Result<Message, ExchangeError> {
        let socket = random_socket(self.server).await?;
        let request = self.request(form, socket.local_addr()?, Spelling::Random)?;
        socket.send(&request.bytes).await?;
        let mut over_tcp = pin!(Fuse::terminated());
        let mut tried_tcp = false;
        loop {
            tokio::select! {
                heard = listen(&socket, self.server, &request) => match heard {
                    Heard::Truncated => return self.ask_over_tcp(form, false).await,
                    Heard::Answer(message, cookie) => {
                        self.learn(&request, cookie, true);
                        return Ok(message);
                    }
                    Heard::AlmostRight { lacks_cookie } => {
                        if lacks_cookie {
                            self.cookies.doubt(self.server);
                        }
                        if !tried_tcp {
                            tried_tcp = true;
                            over_tcp.set(self.ask_over_tcp(form, lacks_cookie).fuse());
                        }
                    }
                },
                Ok(message) = &mut over_tcp => return Ok(message),
            }
        }
    }

    /// Nobody off the path can answer on a connection, so that neither the spelling need be random here nor a cookie
    /// come back. `lacked_cookie`: why it is asked here.
    async fn ask_over_tcp(self, form: Form, lacked_cookie: bool) -> Result<Message, ExchangeError> {
        let mut stream = TcpStream::connect(self.server).await?;
        let request = self.request(form, stream.local_addr()?, Spelling::LowerCase)?;
        let mut response = transfer(&mut stream, &request.bytes).await?;
        let message = request.read_whole(&mut response)?;
        match request.returned_cookie(&response) {
            Returned::Ours(cookie) => self.learn(&request, Some(cookie), lacked_cookie),
            // It costs TCP no more.
            Returned::Missing | Returned::Nothing if lacked_cookie => {
                self.cookies.leave_out(self.server, Instant::now());
            }
            Returned::Missing | Returned::Nothing | Returned::Foreign => {}
        }
        Ok(message)
    }

    fn request(&self, form: Form, local: SocketAddr, spelling: Spelling) -> Result<Request, ExchangeError> {
        let edns = match form {
            Form::Cookie => Edns::Sent(self.cookies.cookie_for(self.server, local.ip(), Instant::now())?),
            Form::Edns => Edns::Sent(None),
            Form::Bare => Edns::LeftOut,
        };
        Request::new(self.question, self.flags, edns, spelling)
    }

    fn learn(&self, request: &Request, returned: Option<Cookie>, is_expected: bool) {
        if let (Some(sent), Some(returned)) = (request.cookie, returned) {
            self.cookies.learn(self.server, sent, returned, is_expected, Instant::now());
        }
    }
}

enum Heard {
    /// With the cookie that was ours.
    Answer(Message, Option<Cookie>),
    Truncated,
    AlmostRight {
        lacks_cookie: bool,
    },
}

/// Waits for a datagram that says something. Garbage, strangers and ICMP errors can be made by anyone, so none of
/// them ends the waiting (the TuDoor attack).
async fn listen(socket: &UdpSocket, server: SocketAddr, request: &Request) -> Heard {
    loop {
        // Thousands may wait here, each without a buffer.
        let heard = socket.readable().await.and_then(|()| hear(socket, server, request));
        match heard {
            Ok(Some(heard)) => return heard,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => sleep(ERROR_PAUSE).await,
        }
    }
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
    Ok(match compared {
        Match::None => None,
        _ if matches!(returned, Returned::Foreign) => None,
        // Some servers cut in the middle of a record.
        Match::Exact if response.get(2).is_some_and(|flags| flags & 0x02 != 0) => Some(Heard::Truncated),
        Match::Exact => request.read(response).map(|message| match returned {
            Returned::Ours(cookie) => Heard::Answer(message, Some(cookie)),
            Returned::Missing => Heard::AlmostRight { lacks_cookie: true },
            Returned::Nothing | Returned::Foreign => Heard::Answer(message, None),
        }),
        Match::OtherSpelling | Match::BareRefusal => Some(Heard::AlmostRight { lacks_cookie: false }),
    })
}

async fn transfer(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    // RFC 7766 section 8: length and message in one segment.
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut response = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut response).await?;
    Ok(response)
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

#[cfg(test)]
mod tests;
