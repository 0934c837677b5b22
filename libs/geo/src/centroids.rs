//! The middle of each ZIP code tabulation area, from the Census Bureau's Gazetteer.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use zip::ZipArchive;

use crate::Point;

/// Most bytes that are read; the file has some 2 MB.
const LONGEST: u64 = 64 << 20;

/// Centroids of ZIP code tabulation areas, which are made of census blocks: ZIP codes of post-office boxes and single
/// buildings have none. Some 33,000; less than 1 MB.
#[derive(Clone, Debug, Default)]
pub struct Centroids {
    /// Sorted by ZIP code.
    points: Vec<(u32, Point)>,
}

/// A Gazetteer file that can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CentroidsError {
    /// It can't be read.
    #[error("can't read '{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is another file.
    #[error(
        "'{}' is not the Census Gazetteer of ZIP code tabulation areas (..._Gaz_zcta_national.txt or .zip): {problem}",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which row.
        problem: String,
    },
}

impl Centroids {
    /// Reads the Gazetteer's file, packed or not, with tabs (to 2024) or bars (from 2025) between its columns.
    pub fn load(path: &Path) -> Result<Self, CentroidsError> {
        Self::load_within(path, &mut |_| Ok(()))
    }

    /// As [`Centroids::load`], in memory that is asked for as it is needed: `room` says why there is none.
    pub fn load_within(path: &Path, room: &mut dyn FnMut(u64) -> Result<(), String>) -> Result<Self, CentroidsError> {
        let io = |source| CentroidsError::Io { path: path.to_owned(), source };
        let format = |problem| CentroidsError::Format { path: path.to_owned(), problem };
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut start = [0; 2];
        let is_packed = file.read_exact(&mut start).is_ok() && &start == b"PK";
        file.rewind().map_err(io)?;
        if !is_packed {
            return Self::read(file, room).map_err(format);
        }
        let packed =
            |error: zip::result::ZipError| format(format!("the archive can't be read ({error}): fetch it again"));
        let mut archive = ZipArchive::new(file).map_err(packed)?;
        let names = archive.file_names().collect::<Result<Vec<_>, _>>().map_err(packed)?;
        let member = names.iter().find(|name| name.ends_with(".txt")).map(ToString::to_string);
        drop(names);
        let member = member.ok_or_else(|| format("the archive has no text file".to_owned()))?;
        Self::read(archive.by_name(&member).map_err(packed)?, room).map_err(format)
    }

    fn read(reader: impl Read, room: &mut dyn FnMut(u64) -> Result<(), String>) -> Result<Self, String> {
        let mut reader = BufReader::new(reader.take(LONGEST));
        let is_tab = std::io::BufRead::fill_buf(&mut reader).map_err(|error| error.to_string())?;
        let is_tab =
            is_tab.iter().find_map(|byte| matches!(byte, b'\t' | b'|').then_some(*byte == b'\t')).unwrap_or(true);
        let delimiter = if is_tab { b'\t' } else { b'|' };
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .quoting(false)
            .delimiter(delimiter)
            .from_reader(reader);
        let mut points = Vec::new();
        let mut columns: Option<[usize; 3]> = None;
        let mut record = ByteRecord::new();
        for row in 1_u64.. {
            if !reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
                break;
            }
            // Blanks stand behind the last name and the values.
            let cell =
                |column: usize| std::str::from_utf8(record.get(column).unwrap_or_default()).unwrap_or_default().trim();
            let Some([zip, latitude, longitude]) = columns else {
                let find = |name: &str| {
                    let column = (0..record.len()).find(|column| cell(*column).trim_start_matches('\u{feff}') == name);
                    column.ok_or_else(|| format!("it has no column '{name}'"))
                };
                columns = Some([find("GEOID")?, find("INTPTLAT")?, find("INTPTLONG")?]);
                continue;
            };
            let point = five_digits(cell(zip)).zip(Point::parse(cell(latitude), cell(longitude)));
            if points.len() == points.capacity() {
                // While they move into a place twice as large, they are there in both.
                let more = points.len().max(1_024) * 2;
                room((more * size_of::<(u32, Point)>()) as u64)?;
                points.reserve_exact(more - points.len());
            }
            points.push(point.ok_or_else(|| format!("row {row} has no ZIP code of five digits or no coordinates"))?);
        }
        if points.is_empty() {
            return Err("it has no rows".to_owned());
        }
        points.sort_unstable_by_key(|(zip, _)| *zip);
        Ok(Self { points })
    }

    /// The centroid of a ZIP code of five digits, or of the first five of nine.
    pub fn get(&self, zip: &str) -> Option<Point> {
        let zip = zip.trim();
        let zip = match zip.len() {
            5 => zip,
            9 | 10 => zip.get(..5)?,
            _ => return None,
        };
        let zip = five_digits(zip)?;
        self.points.binary_search_by_key(&zip, |(zip, _)| *zip).ok().map(|place| self.points[place].1)
    }

    /// How many areas there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

fn five_digits(text: &str) -> Option<u32> {
    (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// The layouts with the blanks that the real files have; the areas are invented.
    const TABS: &str = "GEOID\tALAND\tAWATER\tALAND_SQMI\tAWATER_SQMI\tINTPTLAT\tINTPTLONG                                   \n\
        03001\t166847909\t799292\t64.42\t0.309\t 42.800000\t -71.500000                                  \n\
        00601\t1\t2\t3\t4\t18.180555\t-66.749961  \n";
    const BARS: &str = "GEOID|GEOIDFQ|ALAND|AWATER|ALAND_SQMI|AWATER_SQMI|INTPTLAT|INTPTLONG\r\n\
        00601|860Z200US00601|1|2|3|4|18.180555|-66.749961\r\n03001|860Z200US03001|1|2|3|4|42.8|-71.5\r\n";

    fn read(text: &str) -> Result<Centroids, String> {
        Centroids::read(text.as_bytes(), &mut |_| Ok(()))
    }

    #[test]
    fn both_layouts_are_read() {
        for text in [TABS, BARS] {
            let centroids = read(text).unwrap();
            let point = Some(Point { latitude: 42.8, longitude: -71.5 });
            assert_eq!(centroids.len(), 2);
            for zip in ["03001", "03001-1234", "030011234", " 03001 "] {
                assert_eq!(centroids.get(zip), point, "{zip}");
            }
            for zip in ["", "3001", "03002", "0300112", "0300a", "é03001234"] {
                assert_eq!(centroids.get(zip), None, "{zip}");
            }
        }
    }

    #[test]
    fn a_packed_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("2025_Gaz_zcta_national.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("2025_Gaz_zcta_national.txt", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(BARS.as_bytes()).unwrap();
        zip.finish().unwrap();
        assert_eq!(Centroids::load(&path).unwrap().len(), 2);
        std::fs::write(&path, TABS).unwrap();
        assert_eq!(Centroids::load(&path).unwrap().len(), 2);
        std::fs::write(&path, "PK").unwrap();
        assert!(matches!(Centroids::load(&path), Err(CentroidsError::Format { .. })));
        assert!(matches!(Centroids::load(&folder.path().join("none")), Err(CentroidsError::Io { .. })));
    }

    #[test]
    fn what_does_not_fit_in_memory_is_refused() {
        let error = Centroids::read(TABS.as_bytes(), &mut |bytes| Err(format!("no room for {bytes}"))).unwrap_err();
        assert!(error.starts_with("no room for 49152"), "{error}");
    }

    #[test]
    fn another_file_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("", "no rows"),
            ("GEOID\tINTPTLAT\tINTPTLONG\n", "no rows"),
            ("GEOID,INTPTLAT,INTPTLONG\n", "no column 'GEOID'"),
            ("GEOID\tINTPTLAT\n", "no column 'INTPTLONG'"),
            ("GEOID|INTPTLAT|INTPTLONG\n03001|42.8|-71.5\n03002|x|y\n", "row 3"),
            ("GEOID|INTPTLAT|INTPTLONG\n3001|42.8|-71.5\n", "row 2"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..300) {
            let text = [&TABS.as_bytes()[..cut.min(TABS.len())], &bytes].concat();
            if let Ok(centroids) = Centroids::read(text.as_slice(), &mut |_| Ok(())) {
                prop_assert!(!centroids.is_empty());
            }
        }
    }
}
