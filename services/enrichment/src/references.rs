//! Local sources: reference files that are read once.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_api::{ErrorKind, ServiceError};
use forebay_budget::{Pool, Reservation};
use forebay_geo::{Centroids, Precision};
use forebay_medicare::{MedicareTables, Query, Setting};
use forebay_nppes::{Entry, Npi, StoreError};

pub(crate) use table::Table;

use crate::answer::{CellRef, Outcome};
use crate::keys::{Key, Keys};
use crate::rows::{Rows, Source};
use crate::upstreams::{Reference, provider_cells};

/// Most memory for loading the registry's files.
const LOADING: u64 = 48 << 20;

/// Reason of an error that another reference, if it is let go of, makes room for.
pub(crate) const EXCEEDS_MEMORY: &str = "REFERENCE_EXCEEDS_MEMORY";

/// What a reference holds of the budget, as long as it lives.
#[derive(Debug)]
pub(crate) struct Room {
    held: Reservation,
    refused: bool,
}

impl Room {
    pub(crate) fn new(pool: &Pool) -> Result<Self, ServiceError> {
        let held = pool.try_reserve(0).map_err(|error| exceeds(&error.to_string()))?;
        Ok(Self { held, refused: false })
    }

    /// Takes more bytes, or says why there are none.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), String> {
        let grown = self.held.try_grow(bytes);
        self.refused |= grown.is_err();
        grown.map_err(|error| format!("{error}; give the process more memory, or use fewer or smaller files"))
    }

    /// Takes half of what is free, no less than `least` and no more than `most`, so that others who come meanwhile find
    /// room too. Gives how much that is, or says why there is not enough.
    fn grow_to_half(&mut self, least: u64, most: u64) -> Result<u64, String> {
        loop {
            let pool = self.held.pool();
            let bytes = ((pool.capacity() - pool.used()) / 2).clamp(least, most);
            match self.grow(bytes) {
                // Others took some between the look and the grasp.
                Err(_) if bytes > least => self.refused = false,
                grown => return grown.map(|()| bytes),
            }
        }
    }

    /// The error of a load, which may have failed for want of room.
    pub(crate) fn failed(&self, error: impl std::fmt::Display) -> ServiceError {
        if self.refused { exceeds(&error.to_string()) } else { unusable(error) }
    }
}

fn exceeds(message: &str) -> ServiceError {
    ServiceError::new(ErrorKind::FailedPrecondition, EXCEEDS_MEMORY, message)
}

/// Files that a setting names, separated by commas.
pub(crate) fn files(settings: &BTreeMap<String, String>, key: &str) -> Vec<PathBuf> {
    let names = settings.get(key).map(String::as_str).unwrap_or_default().split(',');
    names.map(str::trim).filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

fn unusable(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::new(ErrorKind::FailedPrecondition, "REFERENCE_UNUSABLE", error.to_string())
}

/// The Medicare Physician Fee Schedule.
struct Medicare {
    tables: MedicareTables,
    qp: bool,
    _room: Room,
}

/// Reads the fee schedule's files; none if there are none.
pub(crate) fn medicare(
    settings: &BTreeMap<String, String>,
    pool: &Pool,
) -> Result<Option<Arc<dyn Reference>>, ServiceError> {
    let sources = forebay_medicare::Sources {
        relative_values: files(settings, "rvu"),
        price_indices: files(settings, "gpci"),
        zip5: files(settings, "zip5"),
        zip9: files(settings, "zip9"),
        anesthesia: files(settings, "anes"),
        conversion_factors: files(settings, "factors").into_iter().next(),
        facilities: files(settings, "facilities").into_iter().next(),
    };
    if sources.relative_values.is_empty() {
        return Ok(None);
    }
    let qp = matches!(settings.get("qp").map(String::as_str), Some("yes" | "true"));
    let mut room = Room::new(pool)?;
    let tables = MedicareTables::load_within(&sources, &mut |bytes| room.grow(bytes));
    let tables = tables.map_err(|error| room.failed(error))?;
    Ok(Some(Arc::new(Medicare { tables, qp, _room: room })))
}

/// The parts of its key, and the columns that cost something.
const CODE: usize = 0;
const MODIFIER: usize = 1;
const ZIP: usize = 2;
const PLACE: usize = 3;
const DATE: usize = 4;
const CARRIER: usize = 1;
const LOCALITY: usize = 2;

impl Reference for Medicare {
    fn look_up(&self, keys: &Keys, row: usize, rows: &mut Rows) {
        let Some(date) = keys.date(DATE, row) else { return rows.without("invalid_date", Source::Reference) };
        let [mut code, mut modifier, mut zip, mut place] = [const { String::new() }; 4];
        let zip = keys.part(ZIP, row, &mut zip);
        let query = Query {
            code: keys.part(CODE, row, &mut code),
            modifier: keys.part(MODIFIER, row, &mut modifier),
            zip,
            setting: Setting::PlaceOfService(keys.part(PLACE, row, &mut place)),
            date,
            qp: self.qp,
        };
        let cents = match self.tables.rate(&query) {
            Ok(cents) => CellRef::Decimal(i128::from(cents.0)),
            Err(reason) => return rows.without(reason.code(), Source::Reference),
        };
        if !rows.wants(CARRIER) && !rows.wants(LOCALITY) {
            return rows.found(&[cents], Source::Reference);
        }
        match self.tables.locality(zip, date) {
            Ok(locality) => {
                let (carrier, number) = (locality.contractor(), locality.number());
                rows.found(&[cents, CellRef::Text(&carrier), CellRef::Text(&number)], Source::Reference);
            }
            Err(_) => rows.found(&[cents], Source::Reference),
        }
    }
}

/// Centroids of ZIP code areas.
struct Zips {
    centroids: Centroids,
    _room: Room,
}

/// Reads the gazetteer; none if there is none.
pub(crate) fn zips(
    settings: &BTreeMap<String, String>,
    pool: &Pool,
) -> Result<Option<Arc<dyn Reference>>, ServiceError> {
    let Some(path) = files(settings, "file").into_iter().next() else { return Ok(None) };
    let mut room = Room::new(pool)?;
    let centroids = Centroids::load_within(&path, &mut |bytes| room.grow(bytes));
    let centroids = centroids.map_err(|error| room.failed(error))?;
    Ok(Some(Arc::new(Zips { centroids, _room: room })))
}

impl Reference for Zips {
    fn look_up(&self, keys: &Keys, row: usize, rows: &mut Rows) {
        match self.centroids.get(keys.text(row, &mut String::new())) {
            Some(point) => {
                let precision = CellRef::Text(Precision::Zcta.as_str());
                let cells = [CellRef::Float(point.latitude), CellRef::Float(point.longitude), precision];
                rows.found(&cells, Source::Reference);
            }
            None => rows.without("unknown_zip", Source::Reference),
        }
    }
}

/// The registry's dissemination file, as a local store.
pub(crate) struct Registry {
    store: forebay_nppes::Store,
    _room: Room,
}

/// Opens the store that `file` is, or loads the files into one in `folder`; none if there are none.
pub(crate) fn registry(
    settings: &BTreeMap<String, String>,
    folder: &Path,
    pool: &Pool,
) -> Result<Option<Arc<Registry>>, ServiceError> {
    let Some(file) = files(settings, "file").into_iter().next() else { return Ok(None) };
    let mut room = Room::new(pool)?;
    let store = if forebay_nppes::Store::is_store(&file).map_err(unusable)? {
        forebay_nppes::Store::open(file).map_err(unusable)?
    } else {
        let sources = forebay_nppes::Sources {
            full: Some(file),
            updates: files(settings, "weekly"),
            deactivations: files(settings, "deactivated"),
        };
        open_or_load(&folder.join("nppes.store"), &sources, pool)?
    };
    room.grow(store.index_bytes()).map_err(|problem| exceeds(&problem))?;
    Ok(Some(Arc::new(Registry { store, _room: room })))
}

/// Opens the store of the files; loads them first if it is another one's, which holds memory for as long as that takes.
fn open_or_load(
    path: &Path,
    sources: &forebay_nppes::Sources,
    pool: &Pool,
) -> Result<forebay_nppes::Store, ServiceError> {
    if let Some(open) = forebay_nppes::open_if_loaded(path, sources).map_err(unusable)? {
        return Ok(open);
    }
    // A load does with less: it sorts on disk what does not fit.
    let mut room = Room::new(pool)?;
    let memory = room.grow_to_half(forebay_nppes::LEAST_MEMORY, LOADING).map_err(|problem| exceeds(&problem))?;
    let loaded = forebay_nppes::open_or_load(path, sources, memory);
    let loaded = loaded.map_err(|error| match error {
        StoreError::Memory { .. } => exceeds(&error.to_string()),
        error => unusable(error),
    });
    Ok(loaded?.0)
}

impl Registry {
    /// What it knows of a key. What the file does not have, the registry may have since: that is for the upstream to
    /// say.
    pub(crate) fn look_up(&self, key: &Key) -> Outcome {
        let Ok(npi) = Npi::parse(key.text()) else { return Outcome::Failed("invalid_npi".into()) };
        match self.store.get(npi) {
            Ok(Some(Entry::Active(provider))) => Outcome::Found(provider_cells(&provider)),
            Ok(Some(Entry::Deactivated { .. })) => Outcome::Missing("deactivated".into()),
            Ok(None) => Outcome::Failed("not_in_file".into()),
            Err(error) => {
                tracing::warn!(%error, "the registry's store can't be read");
                Outcome::Failed("store_unreadable".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_budget::Budget;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_load_leaves_room_for_other_references_and_does_with_the_least() {
        let mib = |count: u64| Ok(count * MIB);
        let pool = Budget::new(64 * MIB).pool("references", 64 * MIB).unwrap();
        let room = || Room::new(&pool).unwrap();
        let (mut first, mut second, mut third, mut last) = (room(), room(), room(), room());
        let load = |room: &mut Room| room.grow_to_half(12 * MIB, 48 * MIB);
        assert_eq!([load(&mut first), load(&mut second), load(&mut third)], [32, 16, 12].map(mib));
        assert!(load(&mut last).is_err_and(|problem| problem.contains("more memory")));
        assert_eq!(last.failed("").reason, EXCEEDS_MEMORY);
        drop(first);
        assert_eq!(load(&mut last), mib(18));
    }
}
