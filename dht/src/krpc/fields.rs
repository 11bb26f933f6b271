//! The dictionaries of queries and responses.

use super::{Id, Item, Method, Nodes, Put, Query, Response, Want, bencode::Reader};

/// Everything that any of them holds.
#[derive(Default)]
pub(super) struct Fields<'a> {
    cas: Option<i64>,
    id: Option<&'a [u8; 20]>,
    info_hash: Option<&'a [u8; 20]>,
    key: Option<&'a [u8; 32]>,
    nodes: Nodes<'a>,
    salted: bool,
    seq: Option<i64>,
    signature: Option<&'a [u8; 64]>,
    target: Option<&'a [u8; 20]>,
    token: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    want: Want,
}

impl<'a> Fields<'a> {
    /// A field of another type than it should have counts as missing.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut fields = Self::default();
        let (mut v4, mut v6): (&[u8], &[u8]) = (&[], &[]);
        reader.enter_dictionary()?;
        while let Some(key) = reader.next_key()? {
            match key {
                b"cas" => fields.cas = reader.optional_integer()?,
                b"id" => fields.id = reader.optional_array()?,
                b"info_hash" => fields.info_hash = reader.optional_array()?,
                b"k" => fields.key = reader.optional_array()?,
                b"nodes" => v4 = reader.optional_byte_string()?.unwrap_or_default(),
                b"nodes6" => v6 = reader.optional_byte_string()?.unwrap_or_default(),
                b"salt" => {
                    fields.salted = reader.optional_byte_string()?.is_some_and(|salt| !salt.is_empty())
                }
                b"seq" => fields.seq = reader.optional_integer()?,
                b"sig" => fields.signature = reader.optional_array()?,
                b"target" => fields.target = reader.optional_array()?,
                b"token" => fields.token = reader.optional_byte_string()?,
                b"v" => fields.value = reader.optional_byte_string()?,
                b"want" => fields.want = Want::read(reader)?,
                _ => reader.skip()?,
            }
        }
        fields.nodes = Nodes::new(v4, v6);
        Some(fields)
    }

    /// A salted value is not the zone of its key.
    fn item(&self) -> Option<Item<'a>> {
        let (false, Some(key), Some(signature), Some(seq), Some(value)) =
            (self.salted, self.key, self.signature, self.seq, self.value)
        else {
            return None;
        };
        Some(Item { key, signature, seq, value })
    }

    pub(super) fn query(&self, method: &'a [u8]) -> Option<Query<'a>> {
        let target = self.target.map(Id::from);
        let method = match method {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode(target?),
            b"get_peers" => Method::GetPeers(self.info_hash.map(Id::from)?),
            b"get" => Method::Get { target: target?, newer_than: self.seq },
            b"put" => match self.item() {
                Some(item) => Method::Put(Put { target, token: self.token?, item, cas: self.cas }),
                None => Method::Unknown(method),
            },
            _ => Method::Unknown(method),
        };
        Some(Query { id: self.id?.into(), want: self.want, method })
    }

    pub(super) fn response(&self) -> Option<Response<'a>> {
        let (item, seq) = (self.item(), self.seq);
        Some(Response { id: self.id?.into(), nodes: self.nodes, token: self.token, item, seq })
    }
}

impl Want {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut want = Self::default();
        if !reader.enter_list() {
            reader.skip()?;
            return Some(want);
        }
        while !reader.leave()? {
            match reader.optional_byte_string()? {
                Some(b"n4") => want.v4 = true,
                Some(b"n6") => want.v6 = true,
                Some(_) | None => {}
            }
        }
        Some(want)
    }
}
