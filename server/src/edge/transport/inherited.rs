//! Listening sockets that another process has bound: a service manager, or the process whose place we take.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::sockopt::socket_acceptconn;
use socket2::{Socket, Type};
use tokio::net::TcpListener;

use super::{BindError, Protocol, UdpSockets, bind::prepare_udp};

/// What is spoken on a socket, as far as whoever binds sockets for us has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// DNS over UDP and TCP.
    Dns,
    /// DNS over TLS.
    Tls,
    /// HTTPS.
    Https,
    /// HTTP in the clear.
    Http,
    /// Metrics over HTTP.
    Metrics,
    /// HTTPS to sites under keys.
    Bridge,
    /// HTTP in the clear to sites under keys.
    BridgePlain,
}

/// A socket on its way from one process to another.
#[derive(Debug)]
pub struct Heirloom {
    /// The socket.
    pub socket: OwnedFd,
    /// A name that [`Purpose::from_name`] may know.
    pub name: String,
    /// Whether it is served for the sake of its name, wherever it listens, in place of what the configuration says.
    pub is_assigned: bool,
}

/// Sockets of another process that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    socket: Socket,
    protocol: Protocol,
    address: SocketAddr,
    name: String,
    purpose: Option<Purpose>,
    is_assigned: bool,
}

impl Purpose {
    const ALL: [Self; 7] =
        [Self::Dns, Self::Tls, Self::Https, Self::Http, Self::Metrics, Self::Bridge, Self::BridgePlain];

    /// As in `FileDescriptorName=` and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Http => "http",
            Self::Metrics => "metrics",
            Self::Bridge => "bridge",
            Self::BridgePlain => "bridge-http",
        }
    }

    /// What is spoken, as in the log.
    pub fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::Dns => &["udp", "tcp"],
            Self::Tls => &["tls"],
            Self::Https => &["https"],
            Self::Http => &["http"],
            Self::Metrics => &["metrics"],
            Self::Bridge => &["bridge"],
            Self::BridgePlain => &["bridge-http"],
        }
    }

    /// The purpose with this name; `dot` is another one of `tls`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "dot" { "tls" } else { name };
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

impl Heirloom {
    /// A further descriptor of the same socket.
    ///
    /// # Errors
    ///
    /// When there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { socket, name, is_assigned } = self;
        Ok(Self { socket: socket.try_clone()?, name: name.clone(), is_assigned: *is_assigned })
    }
}

impl Inherited {
    /// Sorts the sockets. Those that are of no use are closed, and named in a warning.
    pub fn new(heirlooms: impl IntoIterator<Item = Heirloom>) -> Self {
        let mut candidates = Vec::new();
        for heirloom in heirlooms {
            let name = heirloom.name.clone();
            match Candidate::new(heirloom) {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => tracing::warn!("a socket was handed over as `{name}` and is closed: {error}"),
            }
        }
        Self(candidates)
    }

    /// Where `purpose` is to be served in place of what is configured; empty if as configured.
    pub fn assigned(&self, purpose: Purpose) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> =
            self.0.iter().filter(|it| it.is_assigned_to(purpose)).map(|it| it.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The address with its real port of a socket that is there for `address`, whose port may be 0 for any.
    pub fn find(&self, purpose: Purpose, address: SocketAddr) -> Option<SocketAddr> {
        let fits = |it: &&Candidate| match address.port() {
            0 => it.purpose == Some(purpose) && it.address.ip() == address.ip(),
            _ => it.is_for(purpose) && it.address == address,
        };
        self.0.iter().find(fits).map(|it| it.address)
    }

    /// Takes every socket for datagrams at `address`, if there is one.
    ///
    /// # Errors
    ///
    /// When they are of no use.
    pub fn take_udp(
        &mut self,
        purpose: Purpose,
        address: SocketAddr,
    ) -> Result<Option<UdpSockets>, BindError> {
        let taken = self.take(purpose, Protocol::Udp, address);
        if taken.is_empty() {
            return Ok(None);
        }
        for socket in &taken {
            prepare_udp(socket, address).map_err(|error| BindError::new(Protocol::Udp, address, error))?;
        }
        Ok(Some(UdpSockets { sockets: taken.into_iter().map(Into::into).collect(), address }))
    }

    /// Takes the listener for connections at `address`, if there is one. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When it is of no use.
    pub fn take_tcp(
        &mut self,
        purpose: Purpose,
        address: SocketAddr,
    ) -> Result<Option<TcpListener>, BindError> {
        let Some(socket) = self.take(purpose, Protocol::Tcp, address).pop() else { return Ok(None) };
        let listener = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket.into()));
        listener.map(Some).map_err(|error| BindError::new(Protocol::Tcp, address, error))
    }

    fn take(&mut self, purpose: Purpose, protocol: Protocol, address: SocketAddr) -> Vec<Socket> {
        let fits =
            |it: &mut Candidate| it.is_for(purpose) && it.protocol == protocol && it.address == address;
        self.0.extract_if(.., fits).map(|it| it.socket).collect()
    }

    /// Closes what nobody has taken, with a warning for each.
    pub fn close(self) {
        for Candidate { protocol, address, name, .. } in self.0 {
            tracing::warn!(
                "the socket `{name}`, {protocol} {address}, was handed over and is closed: the configuration \
                 does not listen there, and its name is not one of dns, tls, https, http and metrics of what is enabled"
            );
        }
    }
}

impl Candidate {
    fn new(Heirloom { socket, name, is_assigned }: Heirloom) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let address = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("it is not of IP"))?;
        let protocol = match socket.r#type()? {
            Type::DGRAM => Protocol::Udp,
            Type::STREAM if socket_acceptconn(socket.as_fd())? => Protocol::Tcp,
            Type::STREAM => {
                return Err(io::Error::other(
                    "it is a connection and no listener; write Accept=no in its unit",
                ));
            }
            _ => return Err(io::Error::other("it is neither for datagrams nor for connections")),
        };
        let purpose = Purpose::from_name(&name);
        Ok(Self { socket, protocol, address, is_assigned: is_assigned && purpose.is_some(), purpose, name })
    }

    /// What was bound by its address may change its purpose: the configuration may have changed.
    fn is_for(&self, purpose: Purpose) -> bool {
        !self.is_assigned || self.purpose == Some(purpose)
    }

    fn is_assigned_to(&self, purpose: Purpose) -> bool {
        self.is_assigned && self.purpose == Some(purpose)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, UdpSocket};

    use super::*;
    use crate::edge::transport::{bind, bind_udp};

    const ANY: &str = "127.0.0.1:0";

    fn heirloom(socket: impl Into<OwnedFd>, name: &str, is_assigned: bool) -> Heirloom {
        Heirloom { socket: socket.into(), name: name.into(), is_assigned }
    }

    #[tokio::test]
    async fn sockets_are_found_by_their_address_and_all_of_an_address_are_taken() {
        let (udp, tcp) = bind(ANY.parse().unwrap(), 3).unwrap();
        let address = udp.local_address();
        let elsewhere = bind_udp(ANY.parse().unwrap(), 1).unwrap();
        let duplicates = |sockets: &UdpSockets| sockets.duplicates().unwrap();
        let all = duplicates(&udp)
            .into_iter()
            .chain(duplicates(&elsewhere))
            .map(|it| heirloom(it, "pkdns.socket", true));
        let tcp = heirloom(tcp.into_std().unwrap(), "pkdns.socket", true);
        let mut inherited = Inherited::new(all.chain([tcp]));
        assert!(inherited.assigned(Purpose::Dns).is_empty(), "the name says nothing");
        assert_eq!(inherited.find(Purpose::Dns, address), Some(address));
        assert_eq!(inherited.take_udp(Purpose::Dns, address).unwrap().unwrap().sockets.len(), 3);
        assert!(inherited.take_udp(Purpose::Dns, address).unwrap().is_none());
        let taken = inherited.take_tcp(Purpose::Dns, address).unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        assert_eq!(inherited.0.len(), 1, "what is elsewhere stays");
    }

    #[tokio::test]
    async fn a_name_assigns_a_socket_wherever_it_listens() {
        let socket = UdpSocket::bind(ANY).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = StdListener::bind(ANY).unwrap();
        let secure = listener.local_addr().unwrap();
        let mut inherited = Inherited::new([heirloom(socket, "dns", true), heirloom(listener, "dot", true)]);
        assert_eq!(inherited.assigned(Purpose::Dns), [address]);
        assert_eq!(inherited.assigned(Purpose::Tls), [secure]);
        assert!(inherited.take_tcp(Purpose::Https, secure).unwrap().is_none(), "it is for another purpose");
        assert!(inherited.take_tcp(Purpose::Tls, secure).unwrap().is_some());
    }

    #[tokio::test]
    async fn any_port_finds_that_of_the_purpose() {
        let listeners = [(); 2].map(|()| StdListener::bind(ANY).unwrap());
        let addresses = [0, 1].map(|index: usize| listeners[index].local_addr().unwrap());
        let [http, metrics] = listeners;
        let inherited = Inherited::new([heirloom(metrics, "metrics", false), heirloom(http, "http", false)]);
        assert!(inherited.assigned(Purpose::Http).is_empty());
        assert_eq!(inherited.find(Purpose::Http, ANY.parse().unwrap()), Some(addresses[0]));
        assert_eq!(inherited.find(Purpose::Metrics, ANY.parse().unwrap()), Some(addresses[1]));
    }

    #[test]
    fn every_purpose_is_found_by_its_name() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_name(purpose.name()), Some(purpose));
        }
        assert_eq!(Purpose::from_name("dot"), Some(Purpose::Tls));
        assert_eq!(Purpose::from_name("bridge-http"), Some(Purpose::BridgePlain));
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = StdListener::bind(ANY).unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(
            Inherited::new([heirloom(connection, "dns", true), heirloom(unix, "dns", true)]).0.is_empty()
        );
    }
}
