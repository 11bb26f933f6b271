//! Writes packets with compression pointers between names that no honest encoder would write.

use pkdns_dht::signed_packet::MAX_DNS_SIZE;

/// SPF (RFC 4408): its data is not read.
const TYPE_WITHOUT_FORMAT: u16 = 99;

/// Writes a message whose first record has the names that others point to.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    count: u16,
    ttl: u32,
    /// Where the labels in common begin, and where the key.
    common: usize,
    key: usize,
    /// Where a name of many labels begins, once there is one.
    long: Option<usize>,
}

impl Writer {
    pub(crate) fn new(key: &str, depth: u8, ttl: u32) -> Self {
        let common = 12;
        let key_at = common + 2 * usize::from(depth);
        let mut writer = Self { bytes: vec![0; 12], count: 0, ttl, common, key: key_at, long: None };
        writer.bytes[2] = 0x84;
        let mut owner = [1, b'd'].repeat(depth.into());
        owner.push(key.len() as u8);
        owner.extend_from_slice(key.as_bytes());
        owner.push(0);
        writer.record(&owner, TYPE_WITHOUT_FORMAT, &[]);
        writer
    }

    fn pointer(at: usize) -> [u8; 2] {
        (0xc000 | at as u16).to_be_bytes()
    }

    pub(crate) fn deep(&self) -> Vec<u8> {
        Self::pointer(self.common).to_vec()
    }

    pub(crate) fn apex(&self) -> Vec<u8> {
        Self::pointer(self.key).to_vec()
    }

    pub(crate) fn own(&self, label: &str) -> Vec<u8> {
        [&[label.len() as u8], label.as_bytes(), &self.deep()].concat()
    }

    /// A name of so many labels, which lies in the data of a record.
    pub(crate) fn long(&mut self, labels: u8) -> Vec<u8> {
        let at = self.long.unwrap_or_else(|| {
            let mut name = [1, b't'].repeat(labels.into());
            name.push(0);
            let owner = self.apex();
            self.record(&owner, TYPE_WITHOUT_FORMAT, &name);
            self.bytes.len() - name.len()
        });
        self.long = Some(at);
        Self::pointer(at).to_vec()
    }

    pub(crate) fn record(&mut self, owner: &[u8], record_type: u16, data: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(owner);
        self.bytes.extend_from_slice(&record_type.to_be_bytes());
        self.bytes.extend_from_slice(&[0, 1]);
        self.bytes.extend_from_slice(&self.ttl.to_be_bytes());
        self.bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(data);
    }

    /// False where there is no more room.
    pub(crate) fn fill(&mut self, owner: &[u8], record_type: u16, data: &[u8]) -> bool {
        let fits = self.bytes.len() + owner.len() + 10 + data.len() <= MAX_DNS_SIZE;
        if fits {
            self.record(owner, record_type, data);
        }
        fits
    }

    /// As [`Writer::fill`]; the owner is written once.
    pub(crate) fn fill_shared(
        &mut self,
        place: &mut Option<usize>,
        owner: &[u8],
        record_type: u16,
        data: &[u8],
    ) -> bool {
        let at = self.bytes.len();
        let fits = match *place {
            Some(at) => self.fill(&Self::pointer(at), record_type, data),
            None => self.fill(owner, record_type, data),
        };
        place.get_or_insert(at);
        fits
    }

    /// Without what does not fit.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes[6..8].copy_from_slice(&self.count.to_be_bytes());
        self.bytes.truncate(MAX_DNS_SIZE);
        self.bytes
    }
}
