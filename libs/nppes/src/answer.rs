//! Answers of the registry's API, version 2.1, in the shapes of 2018 to 2022 and of 2024 and later.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::provider::{filled, full_name, parse_day};
use crate::{EnumerationType, Npi, Provider};

/// What the registry says of one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has an entry.
    Found(Box<Provider>),
    /// It has none. The registry also answers so for some deactivated identifiers.
    NotFound,
    /// The identifier was issued and may no longer be used.
    Deactivated,
    /// It is no answer to the question; asking again may help.
    Failed(AnswerError),
}

/// Why a body is no answer. It never repeats what the body says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not JSON: the registry's pages about maintenance come with status 200 too.
    #[error("the registry's answer is not JSON; it may be under maintenance")]
    NotJson,
    /// It is JSON, but has neither results nor errors, or not of the documented kinds.
    #[error("the registry's answer has neither results nor errors in a known shape")]
    UnknownShape,
    /// Results are there, but none is about the identifier that was asked for.
    #[error("the registry answered for another identifier")]
    OtherProvider,
    /// The registry refused the request.
    #[error("the registry refused the request with error {number}")]
    Refused {
        /// The registry's number of the error; 0 where it has none.
        number: u32,
    },
}

impl Answer {
    /// A short code for reports and reason columns; `None` for an entry that was found.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Found(_) => None,
            Self::NotFound => Some("not_found"),
            Self::Deactivated => Some("deactivated"),
            Self::Failed(AnswerError::NotJson) => Some("upstream_not_json"),
            Self::Failed(AnswerError::UnknownShape) => Some("upstream_unknown_shape"),
            Self::Failed(AnswerError::OtherProvider) => Some("upstream_other_key"),
            Self::Failed(AnswerError::Refused { .. }) => Some("upstream_refused"),
        }
    }

    /// Reads the body of an answer with status 200 to a request with `number=npi`. The caller bounds the body's size.
    pub fn parse(npi: Npi, body: &[u8]) -> Self {
        match serde_json::from_slice::<Body>(body) {
            Ok(body) => body.answer(npi),
            Err(error) if error.is_data() => Self::Failed(AnswerError::UnknownShape),
            Err(_) => Self::Failed(AnswerError::NotJson),
        }
    }
}

/// The number that the registry gives to the error "CMS deactivated NPI".
const DEACTIVATED: u32 = 15;

#[derive(serde::Deserialize)]
struct Body {
    #[serde(default, rename = "Errors", alias = "errors")]
    errors: Option<Vec<ErrorEntry>>,
    #[serde(default)]
    results: Option<Vec<Entry>>,
}

#[derive(serde::Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    number: Text,
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(default)]
    number: Text,
    #[serde(default)]
    enumeration_type: Text,
    #[serde(default)]
    basic: Option<Basic>,
    #[serde(default)]
    addresses: Option<Vec<Address>>,
    #[serde(default)]
    taxonomies: Option<Vec<Taxonomy>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Basic {
    name: Text,
    organization_name: Text,
    first_name: Text,
    middle_name: Text,
    last_name: Text,
    credential: Text,
    status: Text,
    enumeration_date: Text,
    last_updated: Text,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Address {
    address_purpose: Text,
    address_1: Text,
    address_2: Text,
    city: Text,
    state: Text,
    postal_code: Text,
    country_code: Text,
    telephone_number: Text,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Taxonomy {
    code: Text,
    desc: Text,
    primary: Text,
}

impl Body {
    fn answer(self, npi: Npi) -> Answer {
        if let Some(error) = self.errors.as_deref().and_then(<[ErrorEntry]>::first) {
            let number = error.number.get().and_then(|number| number.parse().ok()).unwrap_or(0);
            return match number {
                DEACTIVATED => Answer::Deactivated,
                number => Answer::Failed(AnswerError::Refused { number }),
            };
        }
        let Some(results) = self.results else {
            return Answer::Failed(AnswerError::UnknownShape);
        };
        if results.is_empty() {
            return Answer::NotFound;
        }
        let asked = npi.to_string();
        match results.into_iter().find(|entry| entry.number.get() == Some(&asked)) {
            Some(entry) => Answer::Found(Box::new(entry.provider(npi))),
            None => Answer::Failed(AnswerError::OtherProvider),
        }
    }
}

impl Entry {
    fn provider(self, npi: Npi) -> Provider {
        let basic = self.basic.unwrap_or_default();
        let addresses = self.addresses.unwrap_or_default();
        // The mailing address often comes first, so the place in the list says nothing.
        let with_purpose = |purpose| addresses.iter().find(|a: &&Address| a.address_purpose.get() == Some(purpose));
        let address = with_purpose("LOCATION").or_else(|| with_purpose("MAILING"));
        let in_address = |field: fn(&Address) -> &Text| address.and_then(|address| field(address).owned());
        let taxonomies = self.taxonomies.unwrap_or_default();
        let taxonomy = taxonomies.iter().find(|taxonomy| taxonomy.is_primary()).or_else(|| taxonomies.first());
        Provider {
            npi,
            enumeration_type: self.enumeration_type.get().and_then(EnumerationType::parse),
            org_name: basic.display_name(),
            status: basic.status.owned(),
            credential: basic.credential.owned(),
            primary_taxonomy_code: taxonomy.and_then(|taxonomy| taxonomy.code.owned()),
            primary_taxonomy_desc: taxonomy.and_then(|taxonomy| taxonomy.desc.owned()),
            address_1: in_address(|a| &a.address_1),
            address_2: in_address(|a| &a.address_2),
            city: in_address(|a| &a.city),
            state: in_address(|a| &a.state),
            postal_code: in_address(|a| &a.postal_code),
            country_code: in_address(|a| &a.country_code),
            telephone: in_address(|a| &a.telephone_number),
            enumeration_date: basic.enumeration_date.get().and_then(parse_day),
            last_updated: basic.last_updated.get().and_then(parse_day),
        }
    }
}

impl Basic {
    /// The legal name; `name`, which only the older answers have, where the parts are missing.
    fn display_name(&self) -> Option<String> {
        self.organization_name
            .owned()
            .or_else(|| full_name([self.first_name.get(), self.middle_name.get(), self.last_name.get()]))
            .or_else(|| self.name.owned())
    }
}

impl Taxonomy {
    fn is_primary(&self) -> bool {
        matches!(self.primary.get(), Some("true" | "Y"))
    }
}

/// A scalar that the registry has written as text in one year and as a number in another. Anything else is nothing.
#[derive(Default)]
struct Text(Option<String>);

impl Text {
    fn get(&self) -> Option<&str> {
        self.0.as_deref().and_then(filled)
    }

    fn owned(&self) -> Option<String> {
        self.get().map(str::to_owned)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Text, E> {
        Ok(Text(Some(value.to_owned())))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Text, E> {
        Ok(Text(Some(value)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Text, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests;
