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

use crate::answer::{Cell, Outcome};
use crate::keys::Key;
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

impl Reference for Medicare {
    fn look_up(&self, key: &Key) -> Outcome {
        let mut parts = key.parts();
        let mut part = || parts.next().unwrap_or_default();
        let (code, modifier, zip, place, date) = (part(), part(), part(), part(), part());
        let Ok(date) = date.parse() else { return Outcome::Missing("invalid_date".into()) };
        let query = Query { code, modifier, zip, setting: Setting::PlaceOfService(place), date, qp: self.qp };
        match self.tables.rate(&query) {
            Ok(cents) => {
                let locality = self.tables.locality(zip, date).ok();
                let (carrier, locality) = match locality {
                    Some(locality) => (Some(locality.contractor()), Some(locality.number())),
                    None => (None, None),
                };
                Outcome::Found(vec![Cell::Decimal(i128::from(cents.0)), Cell::text(carrier), Cell::text(locality)])
            }
            Err(reason) => Outcome::Missing(reason.code().into()),
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
    fn look_up(&self, key: &Key) -> Outcome {
        match self.0.get(key.text()) {
            Some(point) => Outcome::Found(vec![
                Cell::Float(point.latitude),
                Cell::Float(point.longitude),
                Cell::text(Some(Precision::Zcta.as_str())),
            ]),
            None => Outcome::Missing("unknown_zip".into()),
        }
    }
}

/// The registry's dissemination file, as a local store.
struct Registry(forebay_nppes::Store);

/// Opens the store that `file` is, or loads the files into one in `folder`; none if there are none.
pub(crate) fn registry(
    settings: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<Option<Arc<dyn Reference>>, ServiceError> {
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

impl Reference for Registry {
    /// What the file does not have, the registry may have since: that is for the upstream to say.
    fn look_up(&self, key: &Key) -> Outcome {
        let Ok(npi) = Npi::parse(key.text()) else { return Outcome::Missing("invalid_npi".into()) };
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
