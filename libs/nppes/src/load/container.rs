//! Files as the registry offers them: a CSV, a sheet, or either in a zip archive beside files of other kinds.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use crate::StoreError;

/// First bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `npidata_pfile_...csv`.
    Providers,
    /// The deactivation list, a sheet or CSV.
    Deactivations,
}

/// What was found.
pub(crate) enum Content<'a> {
    /// Comma-separated text.
    Csv(&'a mut dyn Read),
    /// A sheet: a zip archive of its own.
    Sheet(ZipArchive<BufReader<File>>),
}

/// Opens a file and hands its content to `use_it`. A sheet within an archive goes through `spool` on disk.
pub(crate) fn open<T>(
    path: &Path,
    wanted: Wanted,
    spool: &Path,
    use_it: impl FnOnce(Content<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut start = Vec::with_capacity(ZIP.len());
    (&mut file).take(ZIP.len() as u64).read_to_end(&mut start).map_err(StoreError::io("read", path))?;
    if start != ZIP {
        return use_it(Content::Csv(&mut start.as_slice().chain(file)));
    }
    let mut archive = archive(path)?;
    let names = archive.file_names().collect::<Result<Vec<_>, _>>().map_err(|error| broken(path, &error))?;
    if wanted == Wanted::Deactivations && names.iter().any(|name| name == "xl/workbook.xml") {
        drop(names);
        return use_it(Content::Sheet(archive));
    }
    let fitting: Vec<String> = names.iter().filter(|name| wanted.fits(name)).map(|name| name.to_string()).collect();
    drop(names);
    let [member] = fitting.as_slice() else {
        return Err(StoreError::source(path, wanted.miscounted(fitting.len())));
    };
    let mut content = archive.by_name(member).map_err(|error| broken(path, &error))?;
    if member.to_ascii_lowercase().ends_with(".csv") {
        return use_it(Content::Csv(&mut content));
    }
    let mut copy = File::create(spool).map_err(StoreError::io("create", spool))?;
    io::copy(&mut content, &mut copy).map_err(StoreError::io("unpack a member of", path))?;
    use_it(Content::Sheet(self::archive(spool)?))
}

fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    ZipArchive::new(BufReader::with_capacity(256 << 10, file)).map_err(|error| broken(path, &error))
}

pub(crate) fn broken(path: &Path, error: &zip::result::ZipError) -> StoreError {
    StoreError::source(path, format!("it is no whole zip archive ({error}): fetch it again"))
}

impl Wanted {
    /// Whether a member of an archive is the one. The archive also holds headers, other names, practice locations and
    /// end points, as CSV and with documents.
    fn fits(self, member: &str) -> bool {
        let name = member.rsplit('/').next().unwrap_or(member).to_ascii_lowercase();
        match self {
            Self::Providers => {
                name.starts_with("npidata_pfile") && name.ends_with(".csv") && !name.contains("fileheader")
            }
            Self::Deactivations => name.ends_with(".xlsx") || name.ends_with(".csv"),
        }
    }

    fn miscounted(self, found: usize) -> String {
        let what = match self {
            Self::Providers => "member 'npidata_pfile_...csv'",
            Self::Deactivations => "sheet or CSV with deactivated NPIs",
        };
        match found {
            0 => format!("the archive has no {what}: is it another of the registry's files?"),
            _ => format!("the archive has more than one {what}: unpack it, and name the file that is meant"),
        }
    }
}
