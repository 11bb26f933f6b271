//! The other direction: messages into datagrams.

use std::net::{IpAddr, SocketAddr};

use super::{Body, Message, Method, Put, Query, Response, Want, bencode::Encoder};

impl Message<'_> {
    /// Appends the datagram to `buffer`. Keys are in the order that strict readers insist on.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let mut encoder = Encoder::new(buffer);
        encoder.begin_dictionary();
        match &self.body {
            Body::Query(query) => query.encode_arguments(&mut encoder),
            Body::Error(refusal) => {
                encoder.key(b"e");
                encoder.begin_list();
                encoder.integer(refusal.code);
                encoder.byte_string(refusal.text);
                encoder.end();
            }
            Body::Response(_) => {}
        }
        if let Some(address) = self.observed {
            encoder.key(b"ip");
            encoder.byte_string_of(|bytes| write_socket_address(address, bytes));
        }
        match &self.body {
            Body::Query(query) => encoder.entry(b"q", query.method.name()),
            Body::Response(response) => response.encode(&mut encoder),
            Body::Error(_) => {}
        }
        if self.read_only {
            encoder.key(b"ro");
            encoder.integer(1);
        }
        encoder.entry(b"t", self.transaction);
        let kind: &[u8] = match self.body {
            Body::Query(_) => b"q",
            Body::Response(_) => b"r",
            Body::Error(_) => b"e",
        };
        encoder.entry(b"y", kind);
        encoder.end();
    }
}

impl Query<'_> {
    fn encode_arguments(&self, encoder: &mut Encoder) {
        encoder.key(b"a");
        encoder.begin_dictionary();
        if let Method::Put(Put { cas: Some(cas), .. }) = self.method {
            encoder.key(b"cas");
            encoder.integer(cas);
        }
        encoder.entry(b"id", self.id.as_bytes());
        match &self.method {
            Method::GetPeers(info_hash) => encoder.entry(b"info_hash", info_hash.as_bytes()),
            Method::FindNode(target) => encoder.entry(b"target", target.as_bytes()),
            Method::Get { target, newer_than } => {
                if let Some(seq) = newer_than {
                    encoder.key(b"seq");
                    encoder.integer(*seq);
                }
                encoder.entry(b"target", target.as_bytes());
            }
            Method::Put(Put { target, token, item, cas: _ }) => {
                encoder.entry(b"k", item.key);
                encoder.key(b"seq");
                encoder.integer(item.seq);
                encoder.entry(b"sig", item.signature);
                if let Some(target) = target {
                    encoder.entry(b"target", target.as_bytes());
                }
                encoder.entry(b"token", token);
                encoder.entry(b"v", item.value);
            }
            Method::Ping | Method::Unknown(_) => {}
        }
        if self.want != Want::default() {
            encoder.key(b"want");
            encoder.begin_list();
            if self.want.v4 {
                encoder.byte_string(b"n4");
            }
            if self.want.v6 {
                encoder.byte_string(b"n6");
            }
            encoder.end();
        }
        encoder.end();
    }
}

impl Response<'_> {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.key(b"r");
        encoder.begin_dictionary();
        encoder.entry(b"id", self.id.as_bytes());
        if let Some(item) = &self.item {
            encoder.entry(b"k", item.key);
        }
        if !self.nodes.v4.is_empty() {
            encoder.entry(b"nodes", self.nodes.v4);
        }
        if !self.nodes.v6.is_empty() {
            encoder.entry(b"nodes6", self.nodes.v6);
        }
        if let Some(seq) = self.item.map(|item| item.seq).or(self.seq) {
            encoder.key(b"seq");
            encoder.integer(seq);
        }
        if let Some(item) = &self.item {
            encoder.entry(b"sig", item.signature);
        }
        if let Some(token) = self.token {
            encoder.entry(b"token", token);
        }
        if let Some(item) = &self.item {
            encoder.entry(b"v", item.value);
        }
        encoder.end();
    }
}

pub(super) fn write_socket_address(address: SocketAddr, buffer: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => buffer.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => buffer.extend_from_slice(&ip.octets()),
    }
    buffer.extend_from_slice(&address.port().to_be_bytes());
}
