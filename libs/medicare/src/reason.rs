//! Why there is no rate, and why a file can't be loaded.

use std::path::{Path, PathBuf};

/// Why a service has no rate. Codes are stable: they stand in reason columns and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// No release of relative values that was loaded covers the day.
    #[error("no relative values for the year of service were loaded")]
    NoReleaseForDate,
    /// No conversion factor holds on the day.
    #[error("no conversion factor for the day of service is known")]
    NoFactorForDate,
    /// The code is not in the release.
    #[error("the code is not in the fee schedule")]
    UnknownCode,
    /// The code has no line of its own for the modifier 26, 53 or TC.
    #[error("the fee schedule has no line for the code with this modifier")]
    ModifierNotPriced,
    /// Status C: the contractor sets the price.
    #[error("the contractor sets the price (status C)")]
    CarrierPriced,
    /// Status J: anaesthesia is paid by units.
    #[error("anesthesia is paid by units (status J)")]
    Anesthesia,
    /// Status B: payment is part of another service's.
    #[error("payment is bundled into another service's (status B)")]
    Bundled,
    /// Any other status: not paid under this fee schedule.
    #[error("the service is not payable under the fee schedule")]
    NotPayable,
    /// The service is payable, but has no relative values: the contractor decides.
    #[error("the fee schedule has no relative values for the service")]
    NoRelativeValues,
    /// Marked NA outside facilities: rarely or never performed there.
    #[error("the service is not priced outside facilities (NA)")]
    NaNonFacility,
    /// Marked NA in facilities.
    #[error("the service is not priced in facilities (NA)")]
    NaFacility,
    /// The place of service is not a code of one or two digits.
    #[error("the place of service is not a code of one or two digits")]
    InvalidPlaceOfService,
    /// The ZIP code does not have five or nine digits.
    #[error("the ZIP code does not have five or nine digits")]
    InvalidZip,
    /// No locality is known for the ZIP code.
    #[error("no payment locality is known for the ZIP code")]
    UnknownZip,
    /// The ZIP code lies in several localities, and the four digits that tell which are missing or unknown.
    #[error("the ZIP code lies in several localities: its last four digits decide")]
    ZipNeedsPlusFour,
    /// The locality is not among the price indices of the year.
    #[error("no price indices are known for the locality in the year of service")]
    UnknownLocality,
}

impl Reason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoReleaseForDate => "no_release_for_date",
            Self::NoFactorForDate => "no_factor_for_date",
            Self::UnknownCode => "unknown_code",
            Self::ModifierNotPriced => "modifier_not_priced",
            Self::CarrierPriced => "carrier_priced",
            Self::Anesthesia => "anesthesia",
            Self::Bundled => "bundled",
            Self::NotPayable => "not_payable",
            Self::NoRelativeValues => "no_relative_values",
            Self::NaNonFacility => "na_non_facility",
            Self::NaFacility => "na_facility",
            Self::InvalidPlaceOfService => "invalid_place_of_service",
            Self::InvalidZip => "invalid_zip",
            Self::UnknownZip => "unknown_zip",
            Self::ZipNeedsPlusFour => "zip_needs_plus_four",
            Self::UnknownLocality => "unknown_locality",
        }
    }
}

/// A file that can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It can't be read.
    #[error("can't read '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not the file that it should be.
    #[error("'{}' is not {expected}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected, and where it comes from.
        expected: &'static str,
        /// What is wrong, and in which line.
        problem: String,
    },
    /// What is in it does not fit in the memory that there is for it.
    #[error("'{}' does not fit in memory: {problem}", path.display())]
    Room {
        /// The file.
        path: PathBuf,
        /// How much there is.
        problem: String,
    },
}

impl LoadError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
