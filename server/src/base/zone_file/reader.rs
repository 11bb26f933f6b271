//! Turns the lines of a zone file into records.

use bytes::Bytes;
use domain::{
    base::{
        Name, ParsedName, Record, Rtype, Ttl,
        iana::Class,
        rdata::{ComposeRecordData, ParseRecordData, RecordData, UnknownRecordData},
        scan::{Scanner, ScannerError},
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
};

use super::{
    DEFAULT_TTL, ExternalAddresses, Lacking, Macros, Position, ZoneFile, ZoneFileError, ZoneRecord,
    apex::Apex,
    include::Item,
    lexer::{self, Entry, Token},
    other_types,
    remarks::{self, Remark, Target},
    scanner::{Names, Tokens, Unexpected},
    substitution::{self, Family},
    times::{ttl, ttl_class_and_type},
};

const EXPECTED_TTL: Unexpected = Unexpected("expected a TTL: seconds, or for example 1h30m");

type Data = ZoneRecordData<Bytes, Name<Bytes>>;

/// Which macros are in the lines of a zone file.
pub(super) fn macros(items: &[Item]) -> Macros {
    items.iter().fold(Macros::default(), |all, item| match item {
        Item::Entry(_, entry) => {
            let found = substitution::macros(&entry.tokens);
            Macros { ipv4: all.ipv4 || found.ipv4, ipv6: all.ipv6 || found.ipv6 }
        }
        Item::Begin(..) | Item::End => all,
    })
}

/// Stand in for addresses that are not known, in records that are left out (RFC 5737, RFC 3849).
const UNKNOWN: ExternalAddresses = ExternalAddresses {
    ipv4: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    ipv6: Some(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
};

/// Reads the zone of `key`, and says what is probably not meant in it. Names in the zone `moved_from` are moved to it.
pub(super) fn read(
    file: &ZoneFile,
    apex: &Apex,
    addresses: &ExternalAddresses,
    moved_from: Option<&Name<Bytes>>,
) -> Result<(Vec<ZoneRecord>, Vec<Remark>), ZoneFileError> {
    let zone = take(file, apex, addresses, moved_from, None)?;
    if zone.records.is_empty() {
        return Err(ZoneFileError::Empty { file: file.name() });
    }
    let remarks = zone.remarks().into_iter().map(|((number, position), text)| {
        let path = number.and_then(|number| file.paths.get(number));
        Remark { file: path.map(|path| (file.name_of)(path)), position, text }
    });
    let remarks = remarks.collect();
    Ok((zone.records, remarks))
}

/// As [`read`], without the records that need an address that is not known, which are named.
pub(super) fn read_known(
    file: &ZoneFile,
    apex: &Apex,
    known: &ExternalAddresses,
) -> Result<(Vec<ZoneRecord>, Vec<Lacking>), ZoneFileError> {
    let addresses =
        ExternalAddresses { ipv4: known.ipv4.or(UNKNOWN.ipv4), ipv6: known.ipv6.or(UNKNOWN.ipv6) };
    let zone = take(file, apex, &addresses, None, Some(known))?;
    if zone.records.is_empty() && zone.lacking.is_empty() {
        return Err(ZoneFileError::Empty { file: file.name() });
    }
    let lacking = zone.lacking.iter().map(|(family, (number, position))| {
        let path = number.and_then(|number| file.paths.get(number));
        Lacking { family: *family, file: path.map(|path| (file.name_of)(path)), position: *position }
    });
    let lacking = lacking.collect();
    Ok((zone.records, lacking))
}

fn take<'a>(
    file: &ZoneFile,
    zone: &'a Apex,
    addresses: &'a ExternalAddresses,
    moved_from: Option<&Name<Bytes>>,
    known: Option<&'a ExternalAddresses>,
) -> Result<Zone<'a>, ZoneFileError> {
    let apex = zone.name();
    let moved = moved_from.map(|from| (from.clone(), apex.clone()));
    let mut zone = Zone {
        apex: zone,
        addresses,
        known,
        names: Names { origin: apex.clone(), moved },
        owner: None,
        default_ttl: None,
        last_ttl: None,
        records: Vec::new(),
        places: Vec::new(),
        remarks: Vec::new(),
        targets: Vec::new(),
        lacking: Vec::new(),
    };
    // Included files leave origin and owner as they were (RFC 1035 section 5.1).
    let mut outer = Vec::new();
    for item in &file.items {
        let in_file = |number: &Option<usize>| number.and_then(|number| file.paths.get(number));
        let named = |number: &Option<usize>| in_file(number).map(|path| (file.name_of)(path));
        match item {
            Item::Entry(number, entry) => {
                let within = |error: ZoneFileError| error.within(named(number));
                zone.take(entry, *number).map_err(within)?;
            }
            Item::Begin(number, origin) => {
                outer.push((zone.names.origin.clone(), zone.owner.clone()));
                if let Some(token) = origin {
                    let within = |error: ZoneFileError| error.within(named(number));
                    zone.names.origin = zone.name(token).map_err(within)?;
                }
            }
            Item::End => (zone.names.origin, zone.owner) = outer.pop().unwrap_or((apex.clone(), None)),
        }
    }
    if let Some((at, error)) = zone.lone_cname() {
        let (number, position) = at;
        let path = number.and_then(|number| file.paths.get(number));
        return Err(position.error(error).within(path.map(|path| (file.name_of)(path))));
    }
    Ok(zone)
}

/// In which file, and where there.
type Place = (Option<usize>, Position);

/// What the lines so far come to.
struct Zone<'a> {
    apex: &'a Apex,
    addresses: &'a ExternalAddresses,
    /// Those that are known, where records that need others are left out.
    known: Option<&'a ExternalAddresses>,
    names: Names,
    /// Of the record before.
    owner: Option<Name<Bytes>>,
    /// `$TTL`.
    default_ttl: Option<u32>,
    /// Of the last record that has one of its own.
    last_ttl: Option<u32>,
    records: Vec<ZoneRecord>,
    /// Where each of them is written.
    places: Vec<Place>,
    /// What is probably not meant, and names that are probably of another zone, in the order of the file.
    remarks: Vec<(Place, String)>,
    targets: Vec<Target>,
    /// Records that are left out.
    lacking: Vec<(Family, Place)>,
}

impl Zone<'_> {
    fn take(&mut self, entry: &Entry, file: Option<usize>) -> Result<(), ZoneFileError> {
        match entry.directive() {
            Some(word) => self.directive(&word, &entry.tokens),
            None => self.record(entry, file),
        }
    }

    fn directive(&mut self, word: &str, tokens: &[Token]) -> Result<(), ZoneFileError> {
        tokens.iter().try_for_each(substitution::refuse)?;
        let names = self.names.clone();
        let mut tokens = Tokens::new(tokens, &names);
        let mut read = || {
            tokens.next()?;
            match word.to_ascii_uppercase().as_str() {
                "$ORIGIN" => {
                    tokens.expect_more("expected a name behind $ORIGIN")?;
                    self.names.origin = tokens.scan_name()?;
                }
                "$TTL" => {
                    tokens.expect_more("expected a TTL behind $TTL: seconds, or for example 1h30m")?;
                    self.default_ttl = Some(ttl(tokens.next()?).ok_or(EXPECTED_TTL)??);
                }
                _ => return Err(Unexpected("expected $ORIGIN, $TTL or $INCLUDE")),
            }
            expect_end(&mut tokens)
        };
        read().map_err(|error| tokens.error(error))
    }

    fn record(&mut self, entry: &Entry, file: Option<usize>) -> Result<(), ZoneFileError> {
        let written = match entry.tokens.split_first() {
            Some((first, _)) if !entry.indented => Some(first),
            _ => None,
        };
        written.map_or(Ok(()), substitution::refuse)?;
        let all = substitution::substitute(&entry.tokens, self.addresses)?;
        let names = self.names.clone();
        let mut tokens = Tokens::new(&all, &names);
        let explain = |error: ZoneFileError| comment_explained(error, &entry.tokens);
        let owner = match (&self.owner, written) {
            (_, Some(token)) => {
                let owner = tokens.scan_name().map_err(|error| explain(tokens.error(error)))?;
                let remark = remarks::of_owner(token);
                self.remarks.extend(remark.map(|text| ((file, token.position), text)));
                self.apex.owner(&owner).map_err(|reason| token.position.error(reason))?
            }
            (Some(owner), None) => owner.clone(),
            (None, None) => {
                let reason =
                    "a line that begins with white space continues the owner before it; there is none";
                return Err(tokens.error(Unexpected(reason)));
            }
        };
        self.owner = Some(owner.clone());
        tokens.take_names();
        let (ttl, data) = self.ttl_and_data(&mut tokens).map_err(|error| explain(tokens.error(error)))?;
        self.look_at(data.rtype(), &mut tokens, entry, file);
        let record = Record::new(owner, Class::IN, Ttl::from_secs(ttl), data);
        if let Some((family, position)) =
            self.known.and_then(|known| substitution::lacking(&entry.tokens, known))
        {
            self.lacking.push((family, (file, position)));
            return Ok(());
        }
        if !self.records.contains(&record) {
            self.records.push(record);
            let start = entry.tokens.first().map_or(Position::START, |token| token.position);
            self.places.push((file, start));
        }
        Ok(())
    }

    /// Notes what is probably not meant in the data of a record.
    fn look_at(&mut self, record_type: Rtype, tokens: &mut Tokens<'_>, entry: &Entry, file: Option<usize>) {
        let data = entry.tokens.get(tokens.data_start()..).unwrap_or_default();
        let remark = remarks::of_data(record_type, data, entry.cut);
        self.remarks.extend(remark.map(|(position, text)| ((file, position), text)));
        for (token, name) in tokens.take_names() {
            match remarks::of_name(token) {
                Some(text) => self.remarks.push(((file, token.position), text)),
                None => self.targets.extend(remarks::target(record_type, token, &name, file)),
            }
        }
    }

    /// All that is probably not meant.
    fn remarks(&self) -> Vec<(Place, String)> {
        let missing = self
            .targets
            .iter()
            .filter_map(|target| Some(((target.file, target.position), target.missing(&self.records)?)));
        self.remarks.iter().cloned().chain(missing).collect()
    }

    fn ttl_and_data(&mut self, tokens: &mut Tokens<'_>) -> Result<(u32, Data), Unexpected> {
        let (own_ttl, record_type) = ttl_class_and_type(tokens)?;
        self.last_ttl = own_ttl.or(self.last_ttl);
        let ttl = own_ttl.or(self.default_ttl).or(self.last_ttl).unwrap_or(DEFAULT_TTL);
        tokens.begin_data();
        Ok((ttl, scan_data(record_type, tokens)?))
    }

    fn name(&self, token: &Token) -> Result<Name<Bytes>, ZoneFileError> {
        substitution::refuse(token)?;
        let mut tokens = Tokens::new(std::slice::from_ref(token), &self.names);
        tokens.scan_name().map_err(|error| tokens.error(error))
    }

    /// A CNAME with a record beside it, which RFC 1034 section 3.6.2 forbids. At the key itself resolvers of public-key
    /// domains answer with both. DNSSEC's own types may stand beside any (RFC 4035 section 2.5).
    fn lone_cname(&self) -> Option<((Option<usize>, Position), String)> {
        let exempt = self.apex.beside_alias();
        let mut records = self.records.iter().zip(&self.places).enumerate();
        records.find_map(|(index, (record, place))| {
            let mut before = self.records.iter().zip(&self.places).take(index);
            let clashes = |other: &ZoneRecord| {
                let (own, other_type) = (record.rtype(), other.rtype());
                let forbidden = match (own, other_type) {
                    (Rtype::CNAME, Rtype::CNAME) => true,
                    (Rtype::CNAME, other) | (other, Rtype::CNAME) => {
                        Some(record.owner()) != exempt.as_ref() && !matches!(other, Rtype::RRSIG | Rtype::NSEC)
                    }
                    _ => false,
                };
                forbidden && other.owner() == record.owner()
            };
            let (_, (_, first)) = before.find(|(other, _)| clashes(other))?;
            let reason = format!(
                "a CNAME must be the only record of its name, and this name has another record in line {}: take \
                 one of them out, or write the address itself instead of the CNAME",
                first.line
            );
            Some((*place, reason))
        })
    }
}

/// The data of a record as bytes, names in full. `text` is what comes after its type.
pub fn data(record_type: Rtype, text: &str) -> Option<Vec<u8>> {
    let names = Names { origin: Name::root_bytes(), moved: None };
    let entries = lexer::entries(text.as_bytes()).ok()?;
    let [entry] = entries.as_slice() else {
        return None;
    };
    let data = scan_data(record_type, &mut Tokens::new(&entry.tokens, &names)).ok()?;
    let mut bytes = Vec::new();
    let Ok(()) = data.compose_rdata(&mut bytes);
    Some(bytes)
}

/// Whoever writes a comment as in other languages is told so, and not what its words are not.
fn comment_explained(error: ZoneFileError, tokens: &[Token]) -> ZoneFileError {
    let ZoneFileError::At { position, .. } = &error else { return error };
    let at = (position.line, position.column);
    let is_before = |token: &&Token| (token.position.line, token.position.column) <= at;
    match tokens.iter().filter(is_before).find(|token| remarks::is_comment(token)) {
        Some(token) => token.position.error(remarks::COMMENTS),
        None => error,
    }
}

fn scan_data(record_type: Rtype, tokens: &mut Tokens<'_>) -> Result<Data, Unexpected> {
    tokens.expect_more("expected the data of the record before the end of the line")?;
    let data = match other_types::scan(record_type, tokens) {
        Some(data) => UnknownRecordData::from_octets(record_type, data?)
            .map(Data::Unknown)
            .map_err(|_| Unexpected::short_buf())?,
        None => Data::scan(record_type, tokens)?,
    };
    expect_end(tokens)?;
    if !is_well_formed(record_type, &data) {
        return Err(Unexpected("the data do not follow the format of their type"));
    }
    Ok(data)
}

fn expect_end(tokens: &mut Tokens<'_>) -> Result<(), Unexpected> {
    match tokens.next() {
        Ok(_) => Err(Unexpected::trailing_tokens()),
        Err(_) => Ok(()),
    }
}

/// Whether data that may have been given as bytes are what their type says.
fn is_well_formed(record_type: Rtype, data: &Data) -> bool {
    let mut bytes = Vec::new();
    let Ok(()) = data.compose_rdata(&mut bytes);
    let mut parser = Parser::from_ref(bytes.as_slice());
    ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(record_type, &mut parser)
        .is_ok_and(|read| read.is_some() && parser.remaining() == 0)
}
