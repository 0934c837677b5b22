use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::{ColumnType, Protect, Recipe};

/// Years between birth and the year that stands for all who are older (45 CFR 164.514(b)(2)(i)(C)).
const OLDEST: i32 = 90;

/// What becomes of fields that identify a person, and of redacted texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// HIPAA's Safe Harbor, 45 CFR 164.514(b)(2): no identifier, dates to the year, ZIP codes to three digits.
    #[default]
    SafeHarbor,
    /// A HIPAA limited data set, 45 CFR 164.514(e): dates, city, state and ZIP code stay.
    Limited,
    /// Nothing is withheld: the input is synthetic or public.
    Public,
}

impl Profile {
    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SafeHarbor => "safe-harbor",
            Self::Limited => "limited",
            Self::Public => "public",
        }
    }

    /// Reads the name users write.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SafeHarbor, Self::Limited, Self::Public].into_iter().find(|profile| profile.as_str() == text)
    }
}

/// What of a person a field identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identifies {
    /// A person's name: the patient's, a relative's, a provider's.
    Name,
    /// A date of birth.
    BirthDate,
    /// Another date or moment.
    Date,
    /// A telephone number.
    Phone,
    /// A fax number.
    Fax,
    /// An e-mail address.
    Email,
    /// A social security number.
    Ssn,
    /// A medical record number.
    Mrn,
    /// A number of a health plan.
    Plan,
    /// An account number.
    Account,
    /// A certificate or licence number.
    License,
    /// A vehicle's identifier.
    Vehicle,
    /// A device's identifier.
    Device,
    /// A web address.
    Url,
    /// An internet address.
    Ip,
    /// The name of a biometric record.
    Biometric,
    /// Street and number.
    Street,
    /// A city, town or county.
    City,
    /// A ZIP code.
    Zip,
    /// A hospital, school or employer.
    Organization,
    /// Any other number or code that is one person's.
    Id,
}

/// What takes the place of fields that would be withheld because they name or number a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identifiers {
    /// Null.
    #[default]
    Withhold,
    /// A token by key: the same value, the same token, in fields and in texts.
    Pseudonym,
}

/// What becomes of fields that hold dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateFields {
    /// What the profile says.
    #[default]
    Profile,
    /// They are moved, by key, by days that are constant for a subject, as in its texts. Not Safe Harbor.
    Shift,
}

/// What becomes of a column's values before anything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// They stay.
    #[default]
    Keep,
    /// They become null.
    Withhold,
    /// Dates and timestamps become the first of January of their year.
    Year,
    /// As `Year`; a year before the given one becomes that one, which stands for "or before".
    BirthYear(i32),
    /// Three digits of a ZIP code, or 000 for areas of 20,000 people or fewer.
    Zip3,
    /// A token that stands for the value, by key.
    Pseudonym(Identifies),
    /// Dates and timestamps are moved by days that are their subject's, by key; what is before the given year becomes the
    /// first of January of it.
    Shift(i32),
}

/// A text column loses what identifies persons.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactStep {
    /// The table.
    pub table: String,
    /// Its column.
    pub column: String,
    /// What stands in the place of what was found; where it is not said, tags, or pseudonyms where fields get them.
    #[serde(default)]
    pub style: Option<RedactStyle>,
    /// What becomes of dates in the text; where it is not said, as everything else, or moved where fields are.
    #[serde(default)]
    pub dates: Option<RedactDates>,
    /// A column that is added to the table: where in each text something was replaced, and what it was. Never the text.
    #[serde(default)]
    pub spans: Option<String>,
    /// A model of language that looks for names besides the rules.
    #[serde(default)]
    pub model: Option<ModelSpec>,
}

/// A model of language in a local folder, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Its folder: config.json, tokenizer.json or vocab.txt, and model.safetensors.
    pub path: String,
    /// Column of the same table that says why a text is null, where the model had no answer about it.
    pub reason: String,
    /// Class of each label, or `ignore`; labels that are called like classes need none.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Probability from which a word is taken for what the model says. Less finds more.
    #[serde(default = "ModelSpec::threshold")]
    pub threshold: f32,
    /// Tokens in one pass.
    #[serde(default = "ModelSpec::batch")]
    pub batch: usize,
    /// Longest time for one text, or for a few short ones together.
    #[serde(default = "ModelSpec::deadline", deserialize_with = "ModelSpec::read_deadline")]
    pub deadline: Duration,
}

impl ModelSpec {
    /// The threshold where none is written.
    pub const fn threshold() -> f32 {
        0.5
    }

    /// Tokens in one pass where nothing is written.
    pub const fn batch() -> usize {
        1024
    }

    /// The deadline where none is written.
    pub const fn deadline() -> Duration {
        Duration::from_secs(120)
    }

    fn read_deadline<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::duration(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("'{text}' is no duration: write 250ms, 30s, 5m or 1h")))
    }

    /// What of it can't be, as a key and what to write.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.path.is_empty() {
            return Err(("path", "must be a model's folder"));
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return Err(("threshold", "must be above 0, and at most 1"));
        }
        if !(16..=1 << 16).contains(&self.batch) {
            return Err(("batch", "must be between 16 and 65536 tokens"));
        }
        Ok(())
    }
}

/// What stands in the place of what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedactStyle {
    /// `[NAME]`
    #[default]
    Tag,
    /// `[NAME-3f9c20a1b7d4e865]`, by key: the same person, the same token.
    Pseudonym,
    /// Asterisks.
    Mask,
}

/// What becomes of dates in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedactDates {
    /// As everything else.
    #[default]
    Style,
    /// Moved, by key, by days that are constant for a record. Not Safe Harbor.
    Shift,
}

impl Recipe {
    /// The profile that is in force: with protection off, nothing is withheld.
    pub fn profile(&self) -> Profile {
        match self.protect {
            Protect::On => self.profile,
            Protect::Off => Profile::Public,
        }
    }
}

impl RedactStep {
    /// What stands in the place of what was found, by a recipe's leave.
    pub fn style(&self, recipe: &Recipe) -> RedactStyle {
        self.style.unwrap_or(match recipe.identifiers {
            Identifiers::Withhold => RedactStyle::Tag,
            Identifiers::Pseudonym => RedactStyle::Pseudonym,
        })
    }

    /// What becomes of dates in the text.
    pub fn dates(&self, recipe: &Recipe) -> RedactDates {
        self.dates.unwrap_or(match recipe.dates {
            DateFields::Profile => RedactDates::Style,
            DateFields::Shift => RedactDates::Shift,
        })
    }
}

impl Identifies {
    /// What a recipe does to such a field, if it is text or not.
    pub fn treatment(self, recipe: &Recipe, text: bool) -> Treatment {
        let profile = recipe.profile();
        let oldest = recipe.release_year - OLDEST;
        let by_profile = self.by_profile(profile, oldest);
        match self {
            Self::BirthDate if profile == Profile::SafeHarbor && recipe.dates == DateFields::Shift => {
                Treatment::Shift(oldest)
            }
            Self::BirthDate | Self::Date if profile != Profile::Public && recipe.dates == DateFields::Shift => {
                Treatment::Shift(i32::MIN)
            }
            // A city's token would tell who lives together, and is no one's name.
            Self::City | Self::Zip | Self::BirthDate | Self::Date => by_profile,
            _ if by_profile == Treatment::Withhold && recipe.identifiers == Identifiers::Pseudonym && text => {
                Treatment::Pseudonym(self)
            }
            _ => by_profile,
        }
    }

    fn by_profile(self, profile: Profile, oldest: i32) -> Treatment {
        match (profile, self) {
            (Profile::Public, _) | (Profile::Limited, Self::BirthDate | Self::Date | Self::City | Self::Zip) => {
                Treatment::Keep
            }
            (Profile::SafeHarbor, Self::BirthDate) => Treatment::BirthYear(oldest),
            (Profile::SafeHarbor, Self::Date) => Treatment::Year,
            (Profile::SafeHarbor, Self::Zip) => Treatment::Zip3,
            (Profile::SafeHarbor | Profile::Limited, _) => Treatment::Withhold,
        }
    }

    /// The kinds of columns that can identify so, for an error; none if this kind can.
    pub fn refuses(self, kind: &ColumnType) -> Option<&'static str> {
        match (self, kind) {
            (Self::BirthDate, ColumnType::Date(_)) | (Self::Date, ColumnType::Date(_) | ColumnType::Timestamp) => None,
            (Self::BirthDate, _) => Some("a date"),
            (Self::Date, _) => Some("a date or timestamp"),
            (_, ColumnType::String) => None,
            (Self::Zip, _) => Some("a string"),
            (_, ColumnType::Int64 | ColumnType::Int32 | ColumnType::Json) => None,
            (_, _) => Some("a string"),
        }
    }
}
