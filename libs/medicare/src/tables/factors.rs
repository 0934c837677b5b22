//! Small tables that are shipped and can be replaced: conversion factors by day, and which places are facilities.

use std::io::Read;
use std::path::Path;

use jiff::civil::Date;

use crate::decimal::Fixed;
use crate::file::{Named, Table, open_table};
use crate::{LoadError, Reason};

const EXPECTED_FACTORS: &str = "a table of conversion factors, a CSV with the columns from, qp and factor";
const EXPECTED_PLACES: &str = "a table of facilities, a CSV with the column place";

/// Conversion factors by the day from which they hold.
#[derive(Debug)]
pub(crate) struct Factors(Vec<Factor>);

#[derive(Clone, Copy, Debug)]
struct Factor {
    from: Date,
    /// For qualifying participants only, for all others only, or for everybody.
    qp: Option<bool>,
    factor: Fixed,
}

impl Factors {
    /// The shipped table.
    pub(crate) fn shipped() -> Result<Self, LoadError> {
        let shipped = include_bytes!("../../data/conversion_factors.csv").as_slice();
        Self::read(&mut Table::new(factors_at(Path::new("conversion_factors.csv")), shipped))
    }

    /// A table of the user's.
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        open_table(factors_at(path), |table, _| Self::read(table))
    }

    fn read(table: &mut Table<'_, impl Read>) -> Result<Self, LoadError> {
        let mut factors = Vec::new();
        let mut columns = None;
        while let Some(row) = table.next()? {
            let Some((from, qp, factor)) = columns else {
                let find = |name: &str| (0..row.len()).find(|column| row.cell(*column) == name);
                let found =
                    find("from").zip(find("qp")).zip(find("factor")).map(|((from, qp), factor)| (from, qp, factor));
                columns = Some(found.ok_or_else(|| row.problem("a column is missing"))?);
                continue;
            };
            let read = || {
                Some(Factor {
                    from: row.cell(from).parse().ok()?,
                    qp: match row.cell(qp) {
                        "" => None,
                        "yes" => Some(true),
                        "no" => Some(false),
                        _ => return None,
                    },
                    factor: Fixed::parse(row.cell(factor))?,
                })
            };
            factors.push(read().ok_or_else(|| {
                row.problem(
                    "it must have a day such as 2026-01-01, 'yes', 'no' or nothing, and a factor such as 33.4009",
                )
            })?);
        }
        factors.sort_by_key(|factor: &Factor| factor.from);
        Ok(Self(factors))
    }

    /// The factor of a day. A factor holds until the next one or the end of its year.
    pub(crate) fn on(&self, day: Date, qp: bool) -> Result<Fixed, Reason> {
        let holds = |factor: &&Factor| {
            factor.from <= day && factor.from.year() == day.year() && factor.qp.is_none_or(|only| only == qp)
        };
        self.0.iter().rfind(holds).map(|factor| factor.factor).ok_or(Reason::NoFactorForDate)
    }
}

/// Places of service that are facilities; every other is none.
#[derive(Debug)]
pub(crate) struct Facilities([bool; 100]);

impl Facilities {
    /// The shipped table.
    pub(crate) fn shipped() -> Result<Self, LoadError> {
        let shipped = include_bytes!("../../data/facility_places.csv").as_slice();
        Self::read(&mut Table::new(places_at(Path::new("facility_places.csv")), shipped))
    }

    /// A table of the user's.
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        open_table(places_at(path), |table, _| Self::read(table))
    }

    fn read(table: &mut Table<'_, impl Read>) -> Result<Self, LoadError> {
        let mut places = [false; 100];
        let mut column = None;
        while let Some(row) = table.next()? {
            let Some(column) = column else {
                let found = (0..row.len()).find(|column| row.cell(*column) == "place");
                column = Some(found.ok_or_else(|| row.problem("the column 'place' is missing"))?);
                continue;
            };
            let place = place(row.cell(column)).ok_or_else(|| row.problem("a place of service has two digits"))?;
            places[place] = true;
        }
        Ok(Self(places))
    }

    /// Whether a place of service is a facility.
    pub(crate) fn contain(&self, place_of_service: &str) -> Result<bool, Reason> {
        place(place_of_service).map(|place| self.0[place]).ok_or(Reason::InvalidPlaceOfService)
    }
}

fn factors_at(path: &Path) -> Named<'_> {
    Named { path, expected: EXPECTED_FACTORS, member: ("", ".CSV") }
}

fn places_at(path: &Path) -> Named<'_> {
    Named { path, expected: EXPECTED_PLACES, member: ("", ".CSV") }
}

/// A code of two digits; who keeps it as a number has lost a zero in front.
fn place(text: &str) -> Option<usize> {
    let is_code = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| text.parse().ok()).flatten()
}
