//! Bencode, as far as KRPC needs it: a reader that borrows and a writer that appends.

/// Nested values deeper than this are refused. KRPC needs three levels.
const MAX_DEPTH: u32 = 16;

/// Most digits of a length: no datagram is longer than 65,535 bytes.
const MAX_LENGTH_DIGITS: usize = 5;

/// Reads a value at a time. Every method consumes what it returns, and `None` means that the input is not bencode.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(super) fn enter_dictionary(&mut self) -> Option<()> {
        self.take(b'd').then_some(())
    }

    /// The next key of the dictionary; `Some(None)` at its end, which is consumed. The value has to be read next.
    pub(super) fn next_key(&mut self) -> Option<Option<&'a [u8]>> {
        if self.take(b'e') { Some(None) } else { self.byte_string().map(Some) }
    }

    /// Whether a list begins here, which is then entered.
    pub(super) fn enter_list(&mut self) -> bool {
        self.take(b'l')
    }

    /// Whether the list ends here, which is then left. `None` at the end of the input.
    pub(super) fn leave(&mut self) -> Option<bool> {
        if self.rest.is_empty() { None } else { Some(self.take(b'e')) }
    }

    pub(super) fn at_integer(&self) -> bool {
        self.rest.first() == Some(&b'i')
    }

    pub(super) fn byte_string(&mut self) -> Option<&'a [u8]> {
        let colon = self.rest.iter().take(MAX_LENGTH_DIGITS + 1).position(|&byte| byte == b':')?;
        let (digits, rest) = self.rest.split_at_checked(colon)?;
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (string, rest) = rest.get(1..)?.split_at_checked(length)?;
        self.rest = rest;
        Some(string)
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        let digits = self.rest.strip_prefix(b"i")?;
        // The longest is that of i64::MIN.
        let end = digits.iter().take(21).position(|&byte| byte == b'e')?;
        let (digits, rest) = digits.split_at_checked(end)?;
        let value =
            std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?.parse().ok()?;
        self.rest = rest.get(1..)?;
        Some(value)
    }

    /// The inner `None`: a value of another type, which is skipped.
    pub(super) fn optional_byte_string(&mut self) -> Option<Option<&'a [u8]>> {
        if self.rest.first()?.is_ascii_digit() {
            self.byte_string().map(Some)
        } else {
            self.skip().map(|()| None)
        }
    }

    /// The inner `None`: a value of another type or length, which is skipped.
    pub(super) fn optional_array<const SIZE: usize>(&mut self) -> Option<Option<&'a [u8; SIZE]>> {
        Some(self.optional_byte_string()?.and_then(|string| string.try_into().ok()))
    }

    /// The inner `None`: a value of another type or out of range, which is skipped.
    pub(super) fn optional_integer(&mut self) -> Option<Option<i64>> {
        match self.integer() {
            Some(value) => Some(Some(value)),
            None => self.skip().map(|()| None),
        }
    }

    /// Leaves out a value with all that is in it.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut depth = 0u32;
        loop {
            match self.rest.first()? {
                b'd' | b'l' => {
                    depth += 1;
                    self.rest = self.rest.get(1..)?;
                    if depth > MAX_DEPTH {
                        return None;
                    }
                }
                b'e' => {
                    depth = depth.checked_sub(1)?;
                    self.rest = self.rest.get(1..)?;
                }
                b'i' => {
                    let end = self.rest.iter().position(|&byte| byte == b'e')?;
                    self.rest = self.rest.get(end + 1..)?;
                }
                _ => {
                    self.byte_string()?;
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// Appends values to a buffer.
pub(super) struct Encoder<'a> {
    buffer: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer }
    }

    pub(super) fn begin_dictionary(&mut self) {
        self.buffer.push(b'd');
    }

    pub(super) fn begin_list(&mut self) {
        self.buffer.push(b'l');
    }

    /// Ends a dictionary or a list.
    pub(super) fn end(&mut self) {
        self.buffer.push(b'e');
    }

    pub(super) fn key(&mut self, key: &[u8]) {
        self.byte_string(key);
    }

    pub(super) fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.byte_string(key);
        self.byte_string(value);
    }

    pub(super) fn byte_string(&mut self, string: &[u8]) {
        self.decimal(string.len());
        self.buffer.push(b':');
        self.buffer.extend_from_slice(string);
    }

    /// A short string that `write` makes.
    pub(super) fn byte_string_of(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut string = Vec::with_capacity(18);
        write(&mut string);
        self.byte_string(&string);
    }

    pub(super) fn integer(&mut self, value: i64) {
        self.buffer.push(b'i');
        self.decimal(value);
        self.buffer.push(b'e');
    }

    fn decimal(&mut self, value: impl std::fmt::Display) {
        self.buffer.extend_from_slice(value.to_string().as_bytes());
    }
}
