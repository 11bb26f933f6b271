//! One question to one server, in a way that is hard to forge (RFC 5452 section 9): over UDP from a fresh socket with
//! a random port, id and spelling, and with a DNS cookie; over TCP where that does not do, and with less where the server
//! has shown that it takes no more.

mod datagram;

use std::{future::pending, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    ExchangeError,
    capabilities::{Capabilities, Capability, ServerCapabilities},
    cookies::ServerCookies,
    request::{Edns, Match, Request, Returned, Spelling, has_lost_its_code, is_refusal_of_form},
};
use crate::base::message::{Cookie, MIN_UDP_SIZE, Message, Question};
use datagram::{Doubt, TCP_HEAD_START};

/// A question with a cookie is sent so often over UDP before it goes over TCP (RFC 7873 section 5.3).
const COOKIE_TRIES: usize = 2;

/// Between the ways in which a silent server is asked, to find out which one works.
const NEXT_WAY: Duration = Duration::from_millis(200);

/// After this much silence it is found out. A name server has little more than a second in all.
const FIND_OUT_AFTER: Duration = Duration::from_millis(300);

/// Servers that are found out at once: each takes up to four sockets. The others are asked in the usual way alone.
const MAX_FINDING_OUT: usize = 64;

/// Asks servers, a bounded number of questions at once.
#[derive(Debug)]
pub struct Exchanger {
    questions: Semaphore,
    finding_out: Semaphore,
    cookies: Arc<ServerCookies>,
    capabilities: Arc<ServerCapabilities>,
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
    /// At most `capacity` questions are under way at once; each holds one socket, and up to three while an answer is in
    /// doubt. One more is [`ExchangeError::Busy`] at once: to wait for a turn is up to the caller, so that no time of
    /// `deadline` is spent on it.
    pub fn new(capacity: usize) -> Self {
        Self {
            questions: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            finding_out: Semaphore::new(MAX_FINDING_OUT),
            cookies: Arc::new(ServerCookies::new()),
            capabilities: Arc::new(ServerCapabilities::new()),
            #[cfg(test)]
            script: None,
        }
    }

    /// As [`Self::new`], and knows of servers what `other` knows, and learns.
    pub(super) fn knowing(capacity: usize, other: &Self) -> Self {
        let (cookies, capabilities) = (other.cookies.clone(), other.capabilities.clone());
        Self { cookies, capabilities, ..Self::new(capacity) }
    }

    /// Asks `server` until it answers or `deadline` passes. The datagram is sent once, unless there is something to be
    /// settled: to ask again is up to the caller. Any answer to the question counts, whatever its code; names that came
    /// from our random spelling are in lower case.
    pub async fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        self.within(server, question, flags, deadline, Exchange::ask).await
    }

    /// As [`Self::exchange`], of a server that has been silent: if it answers in another way than the usual one, that way
    /// is remembered, and whoever waits for its answers asks again in that way.
    pub(super) async fn find_out(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        self.within(server, question, flags, deadline, Exchange::find_out).await
    }

    /// As [`Self::exchange`], and where `server` is silent for a while, it is found out beside that in which way it answers.
    pub async fn exchange_or_find_out(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        self.within(server, question, flags, deadline, |one| one.ask_or_find_out(&self.finding_out)).await
    }

    /// What is known of `server`.
    pub(super) fn capabilities(&self, server: SocketAddr) -> Capabilities {
        self.capabilities.of(server, Instant::now())
    }

    async fn within<'a, W>(
        &'a self,
        server: SocketAddr,
        question: &'a Question,
        flags: Flags,
        deadline: Instant,
        way: impl FnOnce(Exchange<'a>) -> W,
    ) -> Result<Message, ExchangeError>
    where
        W: Future<Output = Result<Message, ExchangeError>>,
    {
        let _permit = self.questions.try_acquire().map_err(|_| ExchangeError::Busy)?;
        #[cfg(test)]
        if let Some(script) = &self.script {
            let answer = timeout_at(deadline, script.play(question)).await;
            return answer.unwrap_or(Err(ExchangeError::Silent));
        }
        let (cookies, capabilities) = (&self.cookies, &self.capabilities);
        let exchange = Exchange { server, question, flags, cookies, capabilities };
        timeout_at(deadline, way(exchange)).await.unwrap_or(Err(ExchangeError::Silent))
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
    capabilities: &'a ServerCapabilities,
}

impl Exchange<'_> {
    /// What the server does not understand it may leave unanswered, and be found out meanwhile.
    async fn ask(self) -> Result<Message, ExchangeError> {
        loop {
            let known = self.capabilities.of(self.server, Instant::now());
            tokio::select! {
                biased;
                answer = self.ask_knowing(known) => return answer,
                () = self.capabilities.explained(self.server, known) => {}
            }
        }
    }

    /// The same, and where the server is silent for a while, as [`Self::find_out`] beside it, if there is a place for that.
    async fn ask_or_find_out(self, places: &Semaphore) -> Result<Message, ExchangeError> {
        let mut usual = pin!(self.ask());
        if let Ok(result) = timeout(FIND_OUT_AFTER, &mut usual).await {
            return result;
        }
        let Ok(_place) = places.try_acquire() else { return usual.await };
        tokio::select! {
            biased;
            result = &mut usual => result,
            Ok(message) = self.find_out() => Ok(message),
        }
    }

    /// In the form that the server understands. RFC 6891 section 7: one from before EDNS says so in one of two ways, some
    /// say so of a cookie alone, and some find the version wrong.
    async fn ask_knowing(self, known: Capabilities) -> Result<Message, ExchangeError> {
        if !known.edns {
            return self.ask_as(Form::Bare).await;
        }
        let mut message = self.ask_with_cookie().await?;
        if is_refusal_of_form(message.code) && self.cookies.is_new(self.server, Instant::now()) {
            message = self.ask_as(Form::Edns).await?;
            // A name that is refused without a cookie as well says nothing about cookies.
            if !is_refusal_of_form(message.code) {
                self.cookies.leave_out(self.server, Instant::now());
            }
        }
        if !is_refusal_of_form(message.code) {
            self.capabilities.has_edns(self.server, Instant::now());
            return Ok(message);
        }
        let bare = self.ask_as(Form::Bare).await?;
        if has_lost_its_code(&message, &bare) {
            return Ok(message);
        }
        // What is refused in this form too was not refused for EDNS.
        if matches!(bare.code, ResponseCode::NoError | ResponseCode::NXDomain) {
            self.capabilities.refused_edns(self.server, Instant::now());
        }
        Ok(bare)
    }

    /// Until the server likes the cookie. Each BADCOOKIE brings another one.
    async fn ask_with_cookie(self) -> Result<Message, ExchangeError> {
        for _ in 0..COOKIE_TRIES {
            let message = self.ask_as(Form::Cookie).await?;
            if message.code != ResponseCode::BADCOOKIE {
                return Ok(message);
            }
        }
        let message = self.ask_over_tcp(Form::Cookie, None).await?;
        if message.code != ResponseCode::BADCOOKIE {
            return Ok(message);
        }
        self.cookies.leave_out(self.server, Instant::now());
        self.ask_as(Form::Edns).await
    }

    /// Over UDP, unless the server has to be asked over TCP. It may have that no longer, or take questions there and leave
    /// them unanswered: then it is asked over UDP as well.
    async fn ask_as(self, form: Form) -> Result<Message, ExchangeError> {
        if self.capabilities.of(self.server, Instant::now()).udp {
            return self.ask_over_udp(form).await;
        }
        let mut over_tcp = pin!(self.ask_over_tcp(form, None).fuse());
        if let Ok(Ok(message)) = timeout(TCP_HEAD_START, &mut over_tcp).await {
            return Ok(message);
        }
        tokio::select! {
            biased;
            Ok(message) = over_tcp => Ok(message),
            answer = self.ask_over_udp(form) => answer,
        }
    }

    /// In each way in which a server may be silent, one after the other. A firewall before it may drop EDNS or UDP. What
    /// works is what the server wants only if the usual way does not work then: datagrams get lost, and networks come back.
    async fn find_out(self) -> Result<Message, ExchangeError> {
        let known = self.capabilities.of(self.server, Instant::now());
        let without_edns = async {
            sleep(NEXT_WAY).await;
            let sent = Instant::now();
            let is_worth_it = known.edns && !self.capabilities.is_sure_of_edns(self.server, Instant::now());
            // An error of this way is none of the usual one, which goes on.
            if is_worth_it && let Ok(message) = self.ask_over_udp(Form::Bare).await {
                (message, Capability::Edns, sent.elapsed())
            } else {
                pending().await
            }
        };
        let over_tcp = async {
            sleep(2 * NEXT_WAY).await;
            let sent = Instant::now();
            if known.udp
                && let Ok(message) = self.ask_over_tcp(Form::Edns, None).await
            {
                (message, Capability::Udp, sent.elapsed())
            } else {
                pending().await
            }
        };
        let (message, lacking, took) = tokio::select! {
            biased;
            answer = self.ask() => return answer,
            found = without_edns => found,
            found = over_tcp => found,
        };
        let usual = if known.edns { Form::Edns } else { Form::Bare };
        let patience = (2 * took).max(NEXT_WAY);
        if let Ok(Ok(message)) = timeout(patience, self.ask_over_udp(usual)).await {
            return Ok(message);
        }
        self.capabilities.was_silent_for_want_of(self.server, lacking, Instant::now());
        Ok(message)
    }

    async fn ask_over_tcp(self, form: Form, doubt: Option<Doubt>) -> Result<Message, ExchangeError> {
        self.ask_on(TcpStream::connect(self.server).await?, form, doubt).await
    }

    /// Nobody off the path can answer on a connection, so that no cookie need come back, and whatever spelling comes is
    /// the server's. `doubt`: why it is asked here.
    async fn ask_on(
        self,
        mut stream: TcpStream,
        form: Form,
        doubt: Option<Doubt>,
    ) -> Result<Message, ExchangeError> {
        let request = self.request(form, stream.local_addr()?)?;
        let mut response = transfer(&mut stream, &request.bytes).await?;
        let is_misspelt = matches!(request.compare(&response), Match::OtherSpelling);
        let message = request.read_whole(&mut response)?;
        let now = Instant::now();
        if is_misspelt {
            self.capabilities.lacks(self.server, Capability::Spelling, now);
        }
        match doubt {
            Some(Doubt::Misspelt) if !is_misspelt => self.capabilities.misspelt(self.server, now),
            Some(Doubt::NobodyThere) => self.capabilities.cut(self.server, now),
            Some(Doubt::Cut | Doubt::Unreadable) if response.len() <= MIN_UDP_SIZE => {
                self.capabilities.cut(self.server, now);
            }
            _ => {}
        }
        let lacked_cookie = doubt == Some(Doubt::NoCookie);
        match request.returned_cookie(&response) {
            Returned::Ours(cookie) => self.learn(&request, Some(cookie), lacked_cookie),
            // It costs TCP no more.
            Returned::Missing | Returned::Nothing if lacked_cookie => {
                self.cookies.leave_out(self.server, now);
            }
            Returned::Missing | Returned::Nothing | Returned::Foreign => {}
        }
        Ok(message)
    }

    fn request(&self, form: Form, local: SocketAddr) -> Result<Request, ExchangeError> {
        let now = Instant::now();
        let edns = match form {
            Form::Cookie => Edns::Sent(self.cookies.cookie_for(self.server, local.ip(), now)?),
            Form::Edns => Edns::Sent(None),
            Form::Bare => Edns::LeftOut,
        };
        let keeps_spelling = self.capabilities.of(self.server, now).spelling;
        let spelling = if keeps_spelling { Spelling::Random } else { Spelling::LowerCase };
        Request::new(self.question, self.flags, edns, spelling)
    }

    fn learn(&self, request: &Request, returned: Option<Cookie>, is_expected: bool) {
        if let (Some(sent), Some(returned)) = (request.cookie, returned) {
            self.cookies.learn(self.server, sent, returned, is_expected, Instant::now());
        }
    }
}

pub(super) async fn transfer(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    // RFC 7766 section 8: length and message in one segment.
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut response = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut response).await?;
    Ok(response)
}

#[cfg(test)]
mod tests;
