//! One question to one server over one transport, for programs that look at the server: its answer is shown as it came, and
//! nothing is asked in another way where it does not do.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    ExchangeError,
    exchange::{Flags, transfer},
    request::{Edns, Match, Request, Spelling},
};
use crate::base::message::{Message, Question};

/// A resolver that has to search the DHT gives up after 4.5 s and says so.
const DEADLINE: Duration = Duration::from_secs(5);

/// A datagram may get lost.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

/// AA, in the third byte of a header.
const AUTHORITATIVE: u8 = 0x04;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// In datagrams.
    Udp,
    /// On a connection.
    Tcp,
}

/// Asks `server` for at most five seconds, over UDP again and again. Returns its answer, which may be truncated over UDP,
/// and whether it speaks for the zone (AA).
pub async fn inspect(
    server: SocketAddr,
    question: &Question,
    flags: Flags,
    over: Over,
) -> Result<(Message, bool), ExchangeError> {
    let request = Request::new(question, flags, Edns::Sent(None), Spelling::LowerCase)?;
    let exchange = async {
        match over {
            Over::Udp => over_udp(server, &request).await,
            Over::Tcp => Ok(transfer(&mut TcpStream::connect(server).await?, &request.bytes).await?),
        }
    };
    let mut response = timeout(DEADLINE, exchange).await.unwrap_or(Err(ExchangeError::Silent))?;
    let is_authoritative = response.get(2).is_some_and(|flags| flags & AUTHORITATIVE != 0);
    let is_ours = !matches!(request.compare(&response), Match::None);
    let message = if is_ours { request.read(&mut response) } else { None };
    message.map(|message| (message, is_authoritative)).ok_or(ExchangeError::Malformed)
}

async fn over_udp(server: SocketAddr, request: &Request) -> Result<Vec<u8>, ExchangeError> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        socket.send(&request.bytes).await?;
        let answer = async {
            loop {
                let size = socket.recv(&mut bytes).await?;
                // What answers another question is late, or forged.
                let response = bytes.get(..size).unwrap_or_default();
                if !matches!(request.compare(response), Match::None) {
                    return Ok(response.to_vec());
                }
            }
        };
        if let Ok(answer) = timeout(ASK_AGAIN, answer).await {
            return answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use hickory_proto::rr::{DNSClass, Name, RecordType};

    use super::*;

    const FLAGS: Flags = Flags { recursion_desired: false, dnssec_ok: false, checking_disabled: false };

    #[tokio::test]
    async fn an_answer_is_shown_as_it_came_and_one_to_another_question_is_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let name = Name::from_ascii("a.example.").unwrap();
        let question = Question::new(&name, RecordType::A, DNSClass::IN).unwrap();
        let answering = async {
            let mut bytes = [0; 512];
            let (size, from) = server.recv_from(&mut bytes).await.unwrap();
            let mut answer = bytes[..size].to_vec();
            // QR, AA and TC.
            answer[2] |= 0x86;
            let mut other = answer.clone();
            other[0] ^= 1;
            for datagram in [other, answer] {
                server.send_to(&datagram, from).await.unwrap();
            }
        };
        let (answered, ()) = tokio::join!(inspect(address, &question, FLAGS, Over::Udp), answering);
        let (message, is_authoritative) = answered.unwrap();
        assert!(is_authoritative && message.truncated && message.answers.is_empty());
        drop(server);
        let closed = inspect(address, &question, FLAGS, Over::Udp).await;
        assert!(matches!(closed, Err(ExchangeError::Unreachable(ErrorKind::ConnectionRefused))));
    }
}
