//! Requests to the byte, and replies as a line of text.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable},
};

const ID: [u8; 2] = [0xbe, 0xef];
const HEADER_SIZE: usize = 12;
const OPT: u16 = 41;

/// A request that may be wrong in any of its parts.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The second word of the header: QR, opcode and flags.
    flags: u16,
    /// How many questions the header speaks of.
    count: u16,
    questions: Vec<u8>,
    edns: Option<Edns>,
    /// Behind everything.
    tail: Vec<u8>,
    additionals: u16,
}

#[derive(Debug, Clone, Default)]
struct Edns {
    owner: Vec<u8>,
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<u8>,
}

/// One question as another server asks it: without RD.
pub(crate) fn ask(name: &str, record_type: u16) -> Message {
    asked(name, record_type, 1)
}

/// As [`ask`], of another class.
pub(crate) fn asked(name: &str, record_type: u16, class: u16) -> Message {
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).expect("a name");
    let mut questions = name.to_bytes().expect("it fits");
    questions.extend(record_type.to_be_bytes());
    questions.extend(class.to_be_bytes());
    Message { flags: 0, count: 1, questions, edns: None, tail: Vec::new(), additionals: 0 }
}

impl Message {
    /// Sets bits of the second word of the header.
    pub(crate) fn flags(mut self, bits: u16) -> Self {
        self.flags |= bits;
        self
    }

    pub(crate) fn opcode(self, opcode: u16) -> Self {
        self.flags(opcode << 11)
    }

    /// As many questions as the header speaks of, and as many of those as there are.
    pub(crate) fn count(mut self, count: u16, written: usize) -> Self {
        self.count = count;
        self.questions = self.questions.repeat(written);
        self
    }

    pub(crate) fn edns(mut self, size: u16) -> Self {
        self.edns = Some(Edns { owner: vec![0], size, ..Edns::default() });
        self
    }

    pub(crate) fn version(mut self, version: u8) -> Self {
        self.opt().version = version;
        self
    }

    pub(crate) fn edns_flags(mut self, bits: u16) -> Self {
        self.opt().flags |= bits;
        self
    }

    pub(crate) fn owner(mut self, owner: &[u8]) -> Self {
        self.opt().owner = owner.to_vec();
        self
    }

    pub(crate) fn option(mut self, code: u16, data: &[u8]) -> Self {
        let length = u16::try_from(data.len()).expect("a short option");
        let options = &mut self.opt().options;
        options.extend([code.to_be_bytes(), length.to_be_bytes()].concat());
        options.extend(data);
        self
    }

    /// Bytes where an option is expected.
    pub(crate) fn broken_option(mut self, data: &[u8]) -> Self {
        self.opt().options.extend(data);
        self
    }

    /// Bytes behind all that the header speaks of.
    pub(crate) fn tail(mut self, data: &[u8]) -> Self {
        self.tail.extend(data);
        self
    }

    /// A record behind the question, which the header counts.
    pub(crate) fn additional(mut self, record: &[u8]) -> Self {
        self.additionals += 1;
        self.tail(record)
    }

    fn opt(&mut self) -> &mut Edns {
        self.edns.get_or_insert_with(|| Edns { owner: vec![0], size: 1232, ..Edns::default() })
    }

    pub(crate) fn has_cookie(&self) -> bool {
        let options = self.edns.as_ref().map(|edns| edns.options.as_slice()).unwrap_or_default();
        options.starts_with(&[0, 10])
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let additionals = self.additionals + u16::from(self.edns.is_some());
        let mut bytes = ID.to_vec();
        for word in [self.flags, self.count, 0, 0, additionals] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(&self.questions);
        if let Some(edns) = &self.edns {
            bytes.extend(&edns.owner);
            bytes.extend(OPT.to_be_bytes());
            bytes.extend(edns.size.to_be_bytes());
            bytes.extend([0, edns.version]);
            bytes.extend(edns.flags.to_be_bytes());
            bytes.extend(u16::try_from(edns.options.len()).expect("short options").to_be_bytes());
            bytes.extend(&edns.options);
        }
        bytes.extend(&self.tail);
        bytes
    }

    /// What no reply may be, whatever it answers.
    pub(crate) fn faults(&self, reply: &[u8], is_datagram: bool) -> Option<&'static str> {
        let flags = u16::from_be_bytes([*reply.get(2)?, *reply.get(3)?]);
        let limit = self.edns.as_ref().map_or(512, |edns| usize::from(edns.size).clamp(512, 1232));
        let has_question = reply.get(4..6) != Some(&[0, 0]);
        let echoed = reply.get(HEADER_SIZE..HEADER_SIZE + self.questions.len());
        [
            (reply.get(..2) != Some(&ID), "the id is another one"),
            (flags & 0x8000 == 0, "QR is not set"),
            (flags & 0x7800 != self.flags & 0x7800, "the opcode is another one"),
            (flags & 0x0100 != self.flags & 0x0100, "RD is not echoed"),
            (flags & 0x0040 != 0, "Z is set"),
            (has_question && echoed != Some(&self.questions), "the question is not echoed byte for byte"),
            (is_datagram && reply.len() > limit, "the datagram is larger than the client takes"),
        ]
        .into_iter()
        .find_map(|(is_wrong, what)| is_wrong.then_some(what))
    }
}

/// A reply as text: code, flags, the types in its sections, what the OPT record says.
pub(crate) fn shown(reply: &[u8]) -> String {
    read(reply).unwrap_or_else(|| format!("unreadable: {reply:02x?}"))
}

fn read(reply: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes([*reply.get(at)?, *reply.get(at + 1)?]));
    let flags = word(2)?;
    let mut decoder = BinDecoder::new(reply);
    decoder.read_slice(HEADER_SIZE).ok()?;
    for _ in 0..word(4)? {
        Name::read(&mut decoder).ok()?;
        decoder.read_slice(4).ok()?;
    }
    let mut parts = Vec::new();
    let mut edns = Vec::new();
    let mut high = 0;
    for (at, section) in [(6, "an"), (8, "ns"), (10, "ar")] {
        let mut types = Vec::new();
        for _ in 0..word(at)? {
            Name::read(&mut decoder).ok()?;
            let record_type = decoder.read_u16().ok()?.unverified();
            decoder.read_u16().ok()?;
            let ttl = decoder.read_u32().ok()?.unverified().to_be_bytes();
            let length = decoder.read_u16().ok()?.unverified();
            let data = decoder.read_slice(length.into()).ok()?.unverified();
            if record_type != OPT {
                types.push(RecordType::from(record_type).to_string());
                continue;
            }
            high = ttl[0];
            edns.push(format!("edns={}", ttl[1]));
            if ttl[2] & 0x80 != 0 {
                edns.push("do".into());
            }
            if ttl[2] & 0x7f != 0 || ttl[3] != 0 {
                edns.push("z".into());
            }
            edns.extend(options(data)?);
        }
        if !types.is_empty() {
            parts.push(format!("{section}={}", types.join(",")));
        }
    }
    if !decoder.is_empty() {
        return None;
    }
    let named = [(0x0400, "aa"), (0x0200, "tc"), (0x0080, "ra"), (0x0020, "ad"), (0x0010, "cd")];
    let set = named.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned());
    let code = match ResponseCode::from(high, flags as u8 & 0x0f) {
        // The number means this in an OPT record, and BADSIG in a TSIG record.
        ResponseCode::BADSIG => "BADVERS".to_owned(),
        code => format!("{code:?}").to_uppercase(),
    };
    Some([code].into_iter().chain(set).chain(parts).chain(edns).collect::<Vec<_>>().join(" "))
}

fn options(mut data: &[u8]) -> Option<Vec<String>> {
    let mut options = Vec::new();
    while !data.is_empty() {
        let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
        let (code, length) = (word(0)?, usize::from(word(2)?));
        let value = data.get(4..4 + length)?;
        options.push(match code {
            10 => format!("cookie={length}"),
            15 => format!("ede={}", u16::from_be_bytes(*value.first_chunk()?)),
            other => format!("option{other}={length}"),
        });
        data = data.get(4 + length..)?;
    }
    Some(options)
}
