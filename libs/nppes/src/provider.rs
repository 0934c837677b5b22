//! What is known of one provider, whichever way it came.

use jiff::civil::Date;

use crate::Npi;

/// Person or organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnumerationType {
    /// `NPI-1`, a person.
    Individual,
    /// `NPI-2`, an organisation.
    Organization,
}

impl EnumerationType {
    /// The registry's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Individual => "NPI-1",
            Self::Organization => "NPI-2",
        }
    }

    /// Reads the API's `NPI-1` and the file's `1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "NPI-1" | "1" => Some(Self::Individual),
            "NPI-2" | "2" => Some(Self::Organization),
            _ => None,
        }
    }
}

/// One active provider of the registry. What the registry leaves empty is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The identifier.
    pub npi: Npi,
    /// Person or organisation.
    pub enumeration_type: Option<EnumerationType>,
    /// The organisation's legal name, or the person's first, middle and last name.
    pub org_name: Option<String>,
    /// `A` for active.
    pub status: Option<String>,
    /// The credential after a person's name, such as `M.D.`.
    pub credential: Option<String>,
    /// The NUCC code of the taxonomy marked as primary, or of the first where none is.
    pub primary_taxonomy_code: Option<String>,
    /// Its description; the dissemination file has none.
    pub primary_taxonomy_desc: Option<String>,
    /// First line of the address of the practice, or of the mailing address where there is no other.
    pub address_1: Option<String>,
    /// Its second line.
    pub address_2: Option<String>,
    /// City of the same address.
    pub city: Option<String>,
    /// State of the same address; outside the United States a name.
    pub state: Option<String>,
    /// Five or nine digits without a dash; outside the United States any text.
    pub postal_code: Option<String>,
    /// Country of the same address, `US` and so on.
    pub country_code: Option<String>,
    /// Telephone of the same address, as the registry writes it.
    pub telephone: Option<String>,
    /// When the identifier was issued.
    pub enumeration_date: Option<Date>,
    /// When the registry last changed the entry.
    pub last_updated: Option<Date>,
}

impl Provider {
    /// A provider of whom only the identifier is known.
    pub fn new(npi: Npi) -> Self {
        Self {
            npi,
            enumeration_type: None,
            org_name: None,
            status: None,
            credential: None,
            primary_taxonomy_code: None,
            primary_taxonomy_desc: None,
            address_1: None,
            address_2: None,
            city: None,
            state: None,
            postal_code: None,
            country_code: None,
            telephone: None,
            enumeration_date: None,
            last_updated: None,
        }
    }
}

/// The text without blanks around it; `None` where the registry says nothing, which it also writes as `--`.
pub(crate) fn filled(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text != "--").then_some(text)
}

/// The parts of a person's name that are filled, with one blank between them.
pub(crate) fn full_name(parts: [Option<&str>; 3]) -> Option<String> {
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Reads `2006-05-23`, as the API writes days, or `05/23/2006`, as the files do.
pub(crate) fn parse_day(text: &str) -> Option<Date> {
    let number = |part: &str| -> Option<i16> {
        (part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    };
    let separator = if text.contains('/') { '/' } else { '-' };
    let mut parts = text.split(separator).map(number);
    let (Some(Some(a)), Some(Some(b)), Some(Some(c)), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let (year, month, day) = if separator == '/' { (c, a, b) } else { (a, b, c) };
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_both_notations() {
        let day = Date::constant(2006, 5, 23);
        assert_eq!(parse_day("2006-05-23"), Some(day));
        assert_eq!(parse_day("05/23/2006"), Some(day));
        for text in ["", "2006-05", "2006-02-30", "13/01/2006", "2006-05-23-1", "a/b/c", "99999-01-01", "-2006-05-23"] {
            assert_eq!(parse_day(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_placeholder_is_nothing() {
        assert_eq!(filled(" -- "), None);
        assert_eq!(filled(" A. "), Some("A."));
        assert_eq!(full_name([Some("A"), None, Some("B")]), Some("A B".to_owned()));
        assert_eq!(full_name([None; 3]), None);
    }
}
