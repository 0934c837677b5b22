//! Local sources: reference files that are read once.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_api::{ErrorKind, ServiceError};
use forebay_geo::{Centroids, Precision};
use forebay_medicare::{MedicareTables, Query, Setting};
use forebay_nppes::{Entry, Npi};

pub(crate) use table::Table;

use crate::answer::{CellRef, Outcome};
use crate::keys::{Key, Keys};
use crate::rows::{Rows, Source};
use crate::upstreams::{Reference, provider_cells};

/// Memory for loading the registry's files.
const LOADING: u64 = 48 << 20;

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
}

/// Reads the fee schedule's files; none if there are none.
pub(crate) fn medicare(settings: &BTreeMap<String, String>) -> Result<Option<Arc<dyn Reference>>, ServiceError> {
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
    let tables = MedicareTables::load(&sources).map_err(unusable)?;
    Ok(Some(Arc::new(Medicare { tables, qp })))
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
struct Zips(Centroids);

/// Reads the gazetteer; none if there is none.
pub(crate) fn zips(settings: &BTreeMap<String, String>) -> Result<Option<Arc<dyn Reference>>, ServiceError> {
    let Some(path) = files(settings, "file").into_iter().next() else { return Ok(None) };
    Ok(Some(Arc::new(Zips(Centroids::load(&path).map_err(unusable)?))))
}

impl Reference for Zips {
    fn look_up(&self, keys: &Keys, row: usize, rows: &mut Rows) {
        match self.0.get(keys.text(row, &mut String::new())) {
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
pub(crate) struct Registry(forebay_nppes::Store);

/// Opens the store that `file` is, or loads the files into one in `folder`; none if there are none.
pub(crate) fn registry(
    settings: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<Option<Arc<Registry>>, ServiceError> {
    let Some(file) = files(settings, "file").into_iter().next() else { return Ok(None) };
    if forebay_nppes::Store::is_store(&file).map_err(unusable)? {
        return Ok(Some(Arc::new(Registry(forebay_nppes::Store::open(file).map_err(unusable)?))));
    }
    let sources = forebay_nppes::Sources {
        full: Some(file),
        updates: files(settings, "weekly"),
        deactivations: files(settings, "deactivated"),
    };
    let (store, _) = forebay_nppes::open_or_load(&folder.join("nppes.store"), &sources, LOADING).map_err(unusable)?;
    Ok(Some(Arc::new(Registry(store))))
}

impl Registry {
    /// What it knows of a key. What the file does not have, the registry may have since: that is for the upstream to
    /// say.
    pub(crate) fn look_up(&self, key: &Key) -> Outcome {
        let Ok(npi) = Npi::parse(key.text()) else { return Outcome::Failed("invalid_npi".into()) };
        match self.0.get(npi) {
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
