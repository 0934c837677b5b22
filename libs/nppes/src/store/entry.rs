//! An entry as it is stored: little-endian, the dates at fixed places so that two entries of one identifier can be
//! compared without decoding them.

use jiff::civil::Date;

use crate::{EnumerationType, Npi, Provider};

/// What a store says of one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is in use.
    Active(Box<Provider>),
    /// It was deactivated and not reactivated.
    Deactivated {
        /// Since when.
        since: Date,
    },
}

const DEACTIVATED: u8 = 0;
const ACTIVE: u8 = 1;

/// Length of what comes before the texts of an active entry: kind, type and three days.
const FIXED: usize = 14;
const UPDATED_AT: usize = 6;
const REACTIVATED_AT: usize = 10;

/// Longest body of an entry in bytes: no row of the registry comes near it.
pub(crate) const LONGEST: usize = 60_000;

/// The texts of an active entry, in the order in which they are stored.
#[derive(Clone, Copy)]
pub(crate) enum Text {
    Name,
    Credential,
    Taxonomy,
    Address1,
    Address2,
    City,
    State,
    PostalCode,
    Country,
    Telephone,
}

/// How many texts there are.
pub(crate) const TEXTS: usize = 10;

/// An active entry before it is stored. An empty text is none.
pub(crate) struct Active<'a> {
    pub(crate) enumeration_type: Option<EnumerationType>,
    pub(crate) enumerated: Option<Date>,
    pub(crate) updated: Option<Date>,
    pub(crate) reactivated: Option<Date>,
    pub(crate) texts: [&'a str; TEXTS],
}

impl Active<'_> {
    /// Appends the entry's body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(ACTIVE);
        out.push(match self.enumeration_type {
            None => 0,
            Some(EnumerationType::Individual) => 1,
            Some(EnumerationType::Organization) => 2,
        });
        for day in [self.enumerated, self.updated, self.reactivated] {
            out.extend_from_slice(&pack(day).to_le_bytes());
        }
        for text in self.texts {
            put_length(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends the body of a deactivated entry.
pub(crate) fn encode_deactivated(since: Date, out: &mut Vec<u8>) {
    out.push(DEACTIVATED);
    out.extend_from_slice(&pack(Some(since)).to_le_bytes());
}

/// Reads a body; `None` if it is none.
pub(crate) fn decode(npi: Npi, body: &[u8]) -> Option<Entry> {
    match *body.first()? {
        DEACTIVATED => Some(Entry::Deactivated { since: unpack(day_at(body, 1)?)? }),
        ACTIVE => decode_active(npi, body).map(|provider| Entry::Active(Box::new(provider))),
        _ => None,
    }
}

fn decode_active(npi: Npi, body: &[u8]) -> Option<Provider> {
    let mut texts: [Option<String>; TEXTS] = Default::default();
    let mut rest = body.get(FIXED..)?;
    for text in &mut texts {
        let length = take_length(&mut rest)?;
        let (bytes, after) = rest.split_at_checked(length)?;
        *text = (length > 0).then(|| std::str::from_utf8(bytes).map(str::to_owned)).transpose().ok()?;
        rest = after;
    }
    let mut text = |which: Text| texts[which as usize].take();
    Some(Provider {
        npi,
        enumeration_type: match body.get(1)? {
            1 => Some(EnumerationType::Individual),
            2 => Some(EnumerationType::Organization),
            _ => None,
        },
        org_name: text(Text::Name),
        status: Some("A".to_owned()),
        credential: text(Text::Credential),
        primary_taxonomy_code: text(Text::Taxonomy),
        primary_taxonomy_desc: None,
        address_1: text(Text::Address1),
        address_2: text(Text::Address2),
        city: text(Text::City),
        state: text(Text::State),
        postal_code: text(Text::PostalCode),
        country_code: text(Text::Country),
        telephone: text(Text::Telephone),
        enumeration_date: unpack(day_at(body, 2)?),
        last_updated: unpack(day_at(body, UPDATED_AT)?),
    })
}

/// Out of all that is said of one identifier, in any order, what holds: the entry updated last, unless the identifier
/// was deactivated after it was last reactivated. Of entries updated on one day the one offered last holds.
#[derive(Default)]
pub(crate) struct Newest {
    active: Vec<u8>,
    deactivated: Vec<u8>,
}

impl Newest {
    /// Forgets the identifier before.
    pub(crate) fn clear(&mut self) {
        self.active.clear();
        self.deactivated.clear();
    }

    /// Takes in one more body.
    pub(crate) fn offer(&mut self, body: &[u8]) {
        let (kept, day) = match body.first() {
            Some(&ACTIVE) => (&mut self.active, UPDATED_AT),
            _ => (&mut self.deactivated, 1),
        };
        if kept.is_empty() || day_at(body, day) >= day_at(kept, day) {
            kept.clear();
            kept.extend_from_slice(body);
        }
    }

    /// What holds, and whether it is active.
    pub(crate) fn chosen(&self) -> (&[u8], bool) {
        let in_use = !self.active.is_empty()
            && (self.deactivated.is_empty() || day_at(&self.active, REACTIVATED_AT) >= day_at(&self.deactivated, 1));
        if in_use { (&self.active, true) } else { (&self.deactivated, false) }
    }
}

/// The day on which the entry was last changed, packed; 0 if it does not say.
pub(crate) fn changed(body: &[u8]) -> u32 {
    let at = if body.first() == Some(&ACTIVE) { UPDATED_AT } else { 1 };
    day_at(body, at).unwrap_or(0)
}

fn day_at(body: &[u8], at: usize) -> Option<u32> {
    body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

/// A day as the number `yyyymmdd`, which sorts as days do; 0 is none.
fn pack(day: Option<Date>) -> u32 {
    day.map_or(0, |day| {
        day.year().unsigned_abs() as u32 * 10_000
            + day.month().unsigned_abs() as u32 * 100
            + day.day().unsigned_abs() as u32
    })
}

/// The day of a packed number.
pub(crate) fn unpack(packed: u32) -> Option<Date> {
    let part = |value: u32| i8::try_from(value).ok();
    Date::new(i16::try_from(packed / 10_000).ok()?, part(packed / 100 % 100)?, part(packed % 100)?).ok()
}

/// Appends a length: seven bits a byte, the highest bit set on all but the last.
pub(crate) fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Takes a length of at most four bytes off the front.
pub(crate) fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn active(updated: Option<Date>, reactivated: Option<Date>, name: &str) -> Vec<u8> {
        let mut texts = [""; TEXTS];
        texts[Text::Name as usize] = name;
        let mut body = Vec::new();
        Active { enumeration_type: None, enumerated: None, updated, reactivated, texts }.encode(&mut body);
        body
    }

    fn deactivated(since: Date) -> Vec<u8> {
        let mut body = Vec::new();
        encode_deactivated(since, &mut body);
        body
    }

    fn name(body: &[u8]) -> Option<String> {
        match decode(Npi::parse("1234567893").unwrap(), body).unwrap() {
            Entry::Active(provider) => provider.org_name,
            Entry::Deactivated { .. } => None,
        }
    }

    fn day(month: i8) -> Date {
        Date::constant(2024, month, 1)
    }

    #[test]
    fn the_newest_entry_holds_in_any_order() {
        let old = active(Some(day(1)), None, "old");
        let new = active(Some(day(5)), None, "new");
        let back = active(Some(day(7)), Some(day(7)), "back");
        let gone = deactivated(day(6));
        let cases: [(&[&Vec<u8>], Option<&str>); 6] = [
            (&[&old, &new], Some("new")),
            (&[&new, &old], Some("new")),
            (&[&new, &gone], None),
            (&[&gone, &new], None),
            (&[&gone, &back], Some("back")),
            (&[&back, &gone, &old], Some("back")),
        ];
        for (bodies, expected) in cases {
            let mut newest = Newest::default();
            bodies.iter().for_each(|body| newest.offer(body));
            let (body, in_use) = newest.chosen();
            assert_eq!(name(body).as_deref(), expected);
            assert_eq!(in_use, expected.is_some());
        }
    }

    #[test]
    fn of_one_day_the_last_offered_holds() {
        let mut newest = Newest::default();
        newest.offer(&active(Some(day(1)), None, "first"));
        newest.offer(&active(Some(day(1)), None, "second"));
        assert_eq!(name(newest.chosen().0).as_deref(), Some("second"));
        newest.clear();
        newest.offer(&active(None, None, "other"));
        assert_eq!(name(newest.chosen().0).as_deref(), Some("other"));
    }

    proptest! {
        #[test]
        fn entries_come_back(texts in proptest::collection::vec(".{0,40}", TEXTS), year in 1i16..3000, month in 1i8..13) {
            let day = Date::new(year, month, 28).unwrap();
            let mut body = Vec::new();
            let slices: Vec<&str> = texts.iter().map(String::as_str).collect();
            Active {
                enumeration_type: Some(EnumerationType::Organization),
                enumerated: Some(day),
                updated: None,
                reactivated: None,
                texts: slices.try_into().unwrap(),
            }
            .encode(&mut body);
            let Some(Entry::Active(provider)) = decode(Npi::parse("1234567893").unwrap(), &body) else {
                return Err(TestCaseError::fail("not active"));
            };
            prop_assert_eq!(provider.org_name.unwrap_or_default(), texts[Text::Name as usize].clone());
            prop_assert_eq!(provider.telephone.unwrap_or_default(), texts[Text::Telephone as usize].clone());
            prop_assert_eq!(provider.enumeration_date, Some(day));
            prop_assert_eq!(provider.last_updated, None);
            for end in 0..body.len() {
                prop_assert!(decode(Npi::parse("1234567893").unwrap(), &body[..end]).is_none());
            }
        }

        #[test]
        fn lengths_come_back(length in 0usize..(1 << 28)) {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length);
            prop_assert_eq!(take_length(&mut bytes.as_slice()), Some(length));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _entry = decode(Npi::parse("1234567893").unwrap(), &bytes);
            let mut newest = Newest::default();
            newest.offer(&bytes);
            prop_assert!(newest.chosen().0.len() <= bytes.len());
        }
    }
}
