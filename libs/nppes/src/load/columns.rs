//! Rows of the dissemination file: which columns hold what, found by their names.

use std::borrow::Cow;

use jiff::civil::Date;

use super::rows::Row;
use crate::provider::{filled, parse_day};
use crate::store::{Active, LONGEST, TEXTS, Text, encode_deactivated};
use crate::{EnumerationType, Npi};

/// Taxonomies that a row can have.
const TAXONOMIES: usize = 15;

/// Where the columns are that a store keeps.
#[derive(Debug)]
pub(crate) struct Columns {
    count: usize,
    npi: usize,
    entity_type: usize,
    organization: usize,
    last_name: usize,
    first_name: usize,
    middle_name: Option<usize>,
    credential: Option<usize>,
    practice: Address,
    mailing: Address,
    enumerated: Option<usize>,
    updated: Option<usize>,
    deactivated: usize,
    reactivated: usize,
    /// Code and primary switch.
    taxonomies: Vec<(usize, Option<usize>)>,
}

#[derive(Debug)]
struct Address {
    line_1: usize,
    line_2: Option<usize>,
    city: usize,
    state: usize,
    postal_code: usize,
    country: Option<usize>,
    telephone: Option<usize>,
}

/// What a row is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It gave an entry.
    Entry(Npi),
    /// It has no valid identifier, or another number of columns than the header, or no day where it needs one.
    Unusable,
}

/// Names of the header, each with its place.
struct Header<'a>(Vec<Cow<'a, str>>);

impl Header<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// For names that carry a remark in brackets, which changes from release to release.
    fn find_start(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|c| c.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    }

    fn need(&self, name: &str) -> Result<usize, String> {
        self.find(name).ok_or_else(|| {
            format!("it has no column '{name}': it must be the registry's file 'npidata_pfile_...csv' with its header")
        })
    }

    fn address(&self, kind: &str) -> Result<Address, String> {
        Ok(Address {
            line_1: self.need(&format!("Provider First Line Business {kind} Address"))?,
            line_2: self.find(&format!("Provider Second Line Business {kind} Address")),
            city: self.need(&format!("Provider Business {kind} Address City Name"))?,
            state: self.need(&format!("Provider Business {kind} Address State Name"))?,
            postal_code: self.need(&format!("Provider Business {kind} Address Postal Code"))?,
            country: self.find_start(&format!("Provider Business {kind} Address Country Code")),
            telephone: self.find(&format!("Provider Business {kind} Address Telephone Number")),
        })
    }
}

impl Columns {
    /// Finds the columns in a header, or says which is missing.
    pub(crate) fn find(header: &Row<'_>) -> Result<Self, String> {
        let names = Header((0..header.len()).map(|column| header.text(column)).collect());
        let mut taxonomies = vec![(
            names.need("Healthcare Provider Taxonomy Code_1")?,
            names.find("Healthcare Provider Primary Taxonomy Switch_1"),
        )];
        taxonomies.extend((2..=TAXONOMIES).filter_map(|n| {
            let code = names.find(&format!("Healthcare Provider Taxonomy Code_{n}"))?;
            Some((code, names.find(&format!("Healthcare Provider Primary Taxonomy Switch_{n}"))))
        }));
        Ok(Self {
            count: header.len(),
            npi: names.need("NPI")?,
            entity_type: names.need("Entity Type Code")?,
            organization: names.need("Provider Organization Name (Legal Business Name)")?,
            last_name: names.need("Provider Last Name (Legal Name)")?,
            first_name: names.need("Provider First Name")?,
            middle_name: names.find("Provider Middle Name"),
            credential: names.find("Provider Credential Text"),
            practice: names.address("Practice Location")?,
            mailing: names.address("Mailing")?,
            enumerated: names.find("Provider Enumeration Date"),
            updated: names.find("Last Update Date"),
            deactivated: names.need("NPI Deactivation Date")?,
            reactivated: names.need("NPI Reactivation Date")?,
            taxonomies,
        })
    }

    /// Whether a row has as many columns as the header.
    pub(crate) fn fits(&self, row: &Row<'_>) -> bool {
        row.len() == self.count
    }

    /// Puts what a row says into `body`, as a store keeps it.
    pub(crate) fn read(&self, row: &Row<'_>, body: &mut Vec<u8>) -> Use {
        body.clear();
        let (true, Ok(npi)) = (self.fits(row), Npi::from_bytes(row.bytes(self.npi))) else {
            return Use::Unusable;
        };
        let reactivated = day(row, Some(self.reactivated));
        if !row.bytes(self.deactivated).is_empty() {
            let Some(since) = day(row, Some(self.deactivated)) else {
                return Use::Unusable;
            };
            if reactivated.is_none_or(|back| back < since) {
                encode_deactivated(since, body);
                return Use::Entry(npi);
            }
        }
        self.active(row, reactivated, body);
        if body.len() > LONGEST { Use::Unusable } else { Use::Entry(npi) }
    }

    fn active(&self, row: &Row<'_>, reactivated: Option<Date>, body: &mut Vec<u8>) {
        let text = |column: usize| filled_text(row.text(column));
        let maybe = |column: Option<usize>| column.map(text).unwrap_or_default();
        let enumeration_type = EnumerationType::parse(&row.text(self.entity_type));
        let address = if self.practice.is_filled(row) { &self.practice } else { &self.mailing };
        let mut texts: [Cow<'_, str>; TEXTS] = Default::default();
        texts[Text::Name as usize] = match text(self.organization) {
            name if name.is_empty() => self.person(row),
            name => name,
        };
        texts[Text::Credential as usize] = maybe(self.credential);
        texts[Text::Taxonomy as usize] = self.taxonomy(row);
        texts[Text::Address1 as usize] = text(address.line_1);
        texts[Text::Address2 as usize] = maybe(address.line_2);
        texts[Text::City as usize] = text(address.city);
        texts[Text::State as usize] = text(address.state);
        texts[Text::PostalCode as usize] = text(address.postal_code);
        texts[Text::Country as usize] = maybe(address.country);
        texts[Text::Telephone as usize] = maybe(address.telephone);
        Active {
            enumeration_type,
            enumerated: day(row, self.enumerated),
            updated: day(row, self.updated),
            reactivated,
            texts: texts.each_ref().map(AsRef::as_ref),
        }
        .encode(body);
    }

    fn person<'a>(&self, row: &Row<'a>) -> Cow<'a, str> {
        let mut name = String::new();
        for column in [Some(self.first_name), self.middle_name, Some(self.last_name)].into_iter().flatten() {
            let part = filled_text(row.text(column));
            if !name.is_empty() && !part.is_empty() {
                name.push(' ');
            }
            name.push_str(&part);
        }
        Cow::Owned(name)
    }

    /// The taxonomy that is marked as primary, or the first.
    fn taxonomy<'a>(&self, row: &Row<'a>) -> Cow<'a, str> {
        let is_primary = |(_, switch): &&(usize, Option<usize>)| switch.is_some_and(|switch| row.bytes(switch) == b"Y");
        let marked = self.taxonomies.iter().find(is_primary);
        let first = || self.taxonomies.iter().find(|(code, _)| !row.bytes(*code).is_empty());
        marked.or_else(first).map(|(code, _)| row.text(*code)).unwrap_or_default()
    }
}

impl Address {
    fn is_filled(&self, row: &Row<'_>) -> bool {
        [self.line_1, self.city, self.state, self.postal_code].iter().any(|column| !row.bytes(*column).is_empty())
    }
}

/// The text, or nothing where it is a placeholder.
fn filled_text(text: Cow<'_, str>) -> Cow<'_, str> {
    if filled(&text).is_some() { text } else { Cow::Borrowed("") }
}

fn day(row: &Row<'_>, column: Option<usize>) -> Option<Date> {
    column.and_then(|column| std::str::from_utf8(row.bytes(column)).ok()).and_then(parse_day)
}
