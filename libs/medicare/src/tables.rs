//! All tables together, and the formula.

mod factors;
mod localities;
mod relative_values;

use std::fmt;
use std::path::PathBuf;

use jiff::civil::Date;

use crate::decimal::{Cents, Fixed, price, times};
use crate::period::Editions;
use crate::room::{Held, Room};
use crate::{LoadError, Reason};
use factors::{Facilities, Factors};
pub use localities::Locality;
use localities::{Indices, Places, Zip};
use relative_values::{Key, RelativeValues, Release};

/// Files of CMS, or the archives that hold them: one such as `rvu25d.zip` can be given for each kind that is in it. Each
/// says itself for which time it is; give as many of a kind as there are years or quarters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `PPRRVU...csv`: relative values.
    pub relative_values: Vec<PathBuf>,
    /// `GPCI...csv`: price indices.
    pub price_indices: Vec<PathBuf>,
    /// `ZIP5...txt`: localities of ZIP codes.
    pub zip5: Vec<PathBuf>,
    /// `ZIP9...txt`: localities of ZIP codes that lie in several.
    pub zip9: Vec<PathBuf>,
    /// `ANES...csv`: anaesthesia conversion factors of localities.
    pub anesthesia: Vec<PathBuf>,
    /// A CSV of conversion factors in the place of the shipped one: columns `from` (a day), `qp` (`yes`, `no` or
    /// nothing) and `factor`.
    pub conversion_factors: Option<PathBuf>,
    /// A CSV of places of service that are facilities in the place of the shipped one: column `place`.
    pub facilities: Option<PathBuf>,
}

/// Where a service was performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<'a> {
    /// A place-of-service code such as `11`; `2` is read as `02`.
    PlaceOfService(&'a str),
    /// In a facility, which is paid apart.
    Facility,
    /// Elsewhere, such as in an office.
    NonFacility,
}

/// A service whose rate is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// HCPCS code, five characters.
    pub code: &'a str,
    /// Modifier, or nothing. 26, 53 and TC choose another line of the fee schedule; all others are passed over, because
    /// what they do is policy on top of the rate.
    pub modifier: &'a str,
    /// ZIP code of the place where the service was performed, five or nine digits.
    pub zip: &'a str,
    /// Facility or not.
    pub setting: Setting<'a>,
    /// Day of service.
    pub date: Date,
    /// Whether the clinician is a qualifying participant of an advanced payment model. It matters from 2026.
    pub qp: bool,
}

// Day and place of a service are the patient's: they must not get into logs.
impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

/// Everything that rates are made of. A few megabytes; it is read once and never changes.
#[derive(Debug)]
pub struct MedicareTables {
    releases: Editions<Release>,
    places: Places,
    factors: Factors,
    facilities: Facilities,
}

impl MedicareTables {
    /// Reads the files, each as a stream. Blocks, for about a tenth of a second a year.
    pub fn load(sources: &Sources) -> Result<Self, LoadError> {
        Self::load_within(sources, &mut |_| Ok(()))
    }

    /// As [`MedicareTables::load`], in memory that is asked for as it is needed. The tables keep what they were given.
    pub fn load_within(sources: &Sources, room: &mut Room<'_>) -> Result<Self, LoadError> {
        let mut held = Held::new(room);
        let mut tables = Self {
            releases: Editions::default(),
            places: Places::default(),
            factors: sources.conversion_factors.as_deref().map_or_else(Factors::shipped, Factors::load)?,
            facilities: sources.facilities.as_deref().map_or_else(Facilities::shipped, Facilities::load)?,
        };
        for path in &sources.relative_values {
            let (from, release) = relative_values::read(path, &mut held)?;
            tables.releases.add(from, release);
        }
        for path in &sources.price_indices {
            tables.places.add_indices(path, &mut held)?;
        }
        for path in &sources.zip5 {
            tables.places.add_five(path, &mut held)?;
        }
        for path in &sources.zip9 {
            tables.places.add_nine(path, &mut held)?;
        }
        for path in &sources.anesthesia {
            tables.places.add_anesthesia(path, &mut held)?;
        }
        Ok(tables)
    }

    /// How many services the release that holds on a day has; 0 if there is none.
    pub fn services_on(&self, day: Date) -> usize {
        self.releases.on(day).map_or(0, Release::len)
    }

    /// What Medicare allows for a service: relative values times price indices, summed, times the conversion factor,
    /// rounded once to the cent; for imaging the lesser of that and the hospital outpatient amount
    /// (CMS, "Physician Fee Schedule Search: Documentation"; section 1848(b)(4) of the Social Security Act).
    /// Payment adjustments on top, such as for several procedures, assistants or quality scores, are not made.
    pub fn rate(&self, query: &Query<'_>) -> Result<Cents, Reason> {
        let values = self.values(query)?;
        let in_facility = match query.setting {
            Setting::PlaceOfService(place) => self.facilities.contain(place)?,
            Setting::Facility => true,
            Setting::NonFacility => false,
        };
        if in_facility && values.na_facility {
            return Err(Reason::NaFacility);
        }
        if !in_facility && values.na_non_facility {
            return Err(Reason::NaNonFacility);
        }
        let locality = self.locality(query.zip, query.date)?;
        let indices = self.places.indices(locality, query.date)?;
        let factor = self.factors.on(query.date, query.qp)?;
        Ok(values.price(in_facility, indices, factor))
    }

    /// The payment locality of a ZIP code on a day.
    pub fn locality(&self, zip: &str, date: Date) -> Result<Locality, Reason> {
        self.places.locality(Zip::parse(zip)?, date)
    }

    /// What Medicare allows for anaesthesia: base and time units times the locality's conversion factor.
    pub fn anesthesia_rate(&self, zip: &str, date: Date, units: Fixed) -> Result<Cents, Reason> {
        let locality = self.locality(zip, date)?;
        Ok(times(units, self.places.anesthesia_factor(locality, date)?))
    }

    /// The line of the fee schedule for a service, if it is priced at all.
    fn values(&self, query: &Query<'_>) -> Result<&RelativeValues, Reason> {
        let release = self.releases.on(query.date).ok_or(Reason::NoReleaseForDate)?;
        let find = |modifier: &str| Key::new(query.code, modifier).and_then(|key| release.get(key));
        let modifier = query.modifier.to_ascii_uppercase();
        let chooses = matches!(modifier.as_str(), "26" | "53" | "TC");
        let values = match find(if chooses { &modifier } else { "" }) {
            Some(values) => values,
            None if chooses && find("").is_some() => return Err(Reason::ModifierNotPriced),
            None => return Err(Reason::UnknownCode),
        };
        match values.status {
            b'A' | b'R' | b'T' if values.is_priced() => Ok(values),
            b'A' | b'R' | b'T' => Err(Reason::NoRelativeValues),
            b'C' => Err(Reason::CarrierPriced),
            b'J' => Err(Reason::Anesthesia),
            b'B' => Err(Reason::Bundled),
            _ => Err(Reason::NotPayable),
        }
    }
}

impl RelativeValues {
    fn is_priced(&self) -> bool {
        let expense = &self.expense;
        [self.work, expense.non_facility, expense.facility, expense.malpractice].iter().any(|value| !value.is_zero())
    }

    fn price(&self, in_facility: bool, indices: Indices, factor: Fixed) -> Cents {
        let with = |expense: relative_values::Expense| {
            let practice = if in_facility { expense.facility } else { expense.non_facility };
            let products =
                [(self.work, indices.work), (practice, indices.expense), (expense.malpractice, indices.malpractice)];
            price(products, factor)
        };
        let uncapped = with(self.expense);
        self.cap.map_or(uncapped, |cap| uncapped.min(with(cap)))
    }
}
