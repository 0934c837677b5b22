//! Where a ZIP code lies, and what things cost there: `ZIP5...txt`, `ZIP9...txt`, `GPCI...csv`, `ANES...csv`.

use std::collections::HashMap;
use std::path::Path;

use jiff::civil::Date;

use crate::decimal::Fixed;
use crate::file::{Named, Row, Table, lines, open_table};
use crate::period::{Editions, Quarter, year_in};
use crate::room::Held;
use crate::{LoadError, Reason};

const EXPECTED_ZIP: &str = "a text file of ZIP codes and localities (ZIP5_...txt or ZIP9_...txt from CMS's page \
     'Fee Schedules - General Information', archive 'Zip Code to Carrier Locality File')";
const EXPECTED_GPCI: &str = "a CSV of price indices (GPCI...csv from an archive such as rvu25d.zip)";
const EXPECTED_ANES: &str = "a CSV of anesthesia conversion factors (ANES...csv from an archive such as rvu25d.zip)";

/// A payment locality: a Medicare administrative contractor and a number within it.
// Kept as `contractor * 100 + number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality(u32);

impl Locality {
    /// The contractor's five digits.
    pub fn contractor(self) -> String {
        format!("{:05}", self.0 / 100)
    }

    /// The locality's two digits.
    pub fn number(self) -> String {
        format!("{:02}", self.0 % 100)
    }

    /// Reads a contractor of five digits and a number of two; some files have lost the zeros in front.
    fn parse(contractor: &str, number: &str) -> Option<Self> {
        let digits = |text: &str, most: usize| -> Option<u32> {
            let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse().ok()).flatten()
        };
        Some(Self(digits(contractor, 5)? * 100 + digits(number, 2)?))
    }
}

/// A ZIP code of five digits, or of nine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zip {
    five: u32,
    nine: Option<u32>,
}

impl Zip {
    /// Reads `03001`, `030011234` or `03001-1234`.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        let digits = |part: &str| -> Option<u32> {
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        let (five, four) = match text.len() {
            5 => (text, None),
            9 => text.split_at_checked(5).map(|(five, four)| (five, Some(four))).ok_or(Reason::InvalidZip)?,
            10 => text.split_once('-').map(|(five, four)| (five, Some(four))).ok_or(Reason::InvalidZip)?,
            _ => return Err(Reason::InvalidZip),
        };
        let fits = five.len() == 5 && four.is_none_or(|four| four.len() == 4);
        let read = |part| digits(part).filter(|_| fits).ok_or(Reason::InvalidZip);
        let five = read(five)?;
        Ok(Self { five, nine: four.map(read).transpose()?.map(|four| five * 10_000 + four) })
    }
}

/// One edition of the ZIP code file: sorted, eight bytes a code.
#[derive(Debug, Default)]
pub(crate) struct ZipTable(Vec<(u32, Locality)>);

impl ZipTable {
    fn find(&self, zip: u32) -> Option<Locality> {
        self.0.binary_search_by_key(&zip, |(zip, _)| *zip).ok().map(|place| self.0[place].1)
    }
}

/// ZIP codes of five digits, with those apart that lie in several localities.
#[derive(Debug, Default)]
pub(crate) struct FiveDigits {
    whole: ZipTable,
    /// Sorted.
    divided: Vec<u32>,
}

/// All that is known of places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    five: Editions<FiveDigits>,
    nine: Editions<ZipTable>,
    indices: Editions<HashMap<Locality, Indices>>,
    anesthesia: Editions<HashMap<Locality, Fixed>>,
}

/// Geographic practice cost indices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indices {
    pub(crate) work: Fixed,
    pub(crate) expense: Fixed,
    pub(crate) malpractice: Fixed,
}

impl Places {
    /// The locality of a ZIP code on a day.
    pub(crate) fn locality(&self, zip: Zip, day: Date) -> Result<Locality, Reason> {
        let five = self.five.on(day).ok_or(Reason::UnknownZip)?;
        if five.divided.binary_search(&zip.five).is_ok() {
            let found = self.nine.on(day).zip(zip.nine).and_then(|(table, nine)| table.find(nine));
            return found.ok_or(Reason::ZipNeedsPlusFour);
        }
        five.whole.find(zip.five).ok_or(Reason::UnknownZip)
    }

    pub(crate) fn indices(&self, locality: Locality, day: Date) -> Result<Indices, Reason> {
        let indices = self.indices.on(day).and_then(|indices| indices.get(&locality));
        indices.copied().ok_or(Reason::UnknownLocality)
    }

    pub(crate) fn anesthesia_factor(&self, locality: Locality, day: Date) -> Result<Fixed, Reason> {
        let factors = self.anesthesia.on(day).ok_or(Reason::NoFactorForDate)?;
        factors.get(&locality).copied().ok_or(Reason::UnknownLocality)
    }

    /// Adds a file of five-digit codes.
    pub(crate) fn add_five(&mut self, path: &Path, held: &mut Held<'_, '_>) -> Result<(), LoadError> {
        let mut found = FiveDigits::default();
        let from = read_zips(path, "ZIP5_", held, |line| {
            let zip = line.number(2..7)?;
            match line.0.get(20) {
                Some(b'1') => found.divided.push(zip),
                _ => found.whole.0.push((zip, line.locality()?)),
            }
            Some(())
        })?;
        found.divided.sort_unstable();
        found.whole.0.sort_unstable();
        self.five.add(from, found);
        Ok(())
    }

    /// Adds a file of nine-digit codes.
    pub(crate) fn add_nine(&mut self, path: &Path, held: &mut Held<'_, '_>) -> Result<(), LoadError> {
        let mut found = ZipTable::default();
        let from = read_zips(path, "ZIP9_", held, |line| {
            if !line.0.get(21..25)?.trim_ascii().is_empty() {
                found.0.push((line.number(2..7)? * 10_000 + line.number(21..25)?, line.locality()?));
            }
            Some(())
        })?;
        found.0.sort_unstable();
        found.0.shrink_to_fit();
        self.nine.add(from, found);
        Ok(())
    }

    /// Adds a file of price indices.
    pub(crate) fn add_indices(&mut self, path: &Path, held: &mut Held<'_, '_>) -> Result<(), LoadError> {
        let name = Named { path, expected: EXPECTED_GPCI, member: ("GPCI", ".CSV") };
        let (from, found) = open_table(name, |table, _| {
            let columns = header(name, table, IndexColumns::find)?;
            let found = by_locality(name, table, held, [columns.contractor, columns.number], |row| columns.read(row))?;
            Ok((columns.from, found))
        })?;
        self.indices.add(from, found);
        Ok(())
    }

    /// Adds a file of anaesthesia conversion factors. It says its year in its name only.
    pub(crate) fn add_anesthesia(&mut self, path: &Path, held: &mut Held<'_, '_>) -> Result<(), LoadError> {
        let name = Named { path, expected: EXPECTED_ANES, member: ("ANES", ".CSV") };
        let (from, found) = open_table(name, |table, file_name| {
            let from = year_in(file_name).and_then(|year| Quarter::new(year, 1));
            let from = from.ok_or_else(|| name.problem("its name does not have the year, as 'ANES2025.csv' does"))?;
            let (contractor, number, factor) = header(name, table, |row| {
                let find = |start: &str| (0..row.len()).find(|column| row.cell(*column).starts_with(start));
                Some((find("Contractor")?, find("Locality")?, find("National Anes CF")?))
            })?;
            let found = by_locality(name, table, held, [contractor, number], |row| Fixed::parse(row.cell(factor)))?;
            Ok((from, found))
        })?;
        self.anesthesia.add(from, found);
        Ok(())
    }
}

/// Columns of the price indices; their names begin with the year.
struct IndexColumns {
    from: Quarter,
    contractor: usize,
    number: usize,
    work: usize,
    expense: usize,
    malpractice: usize,
}

impl IndexColumns {
    fn find(row: &Row<'_>) -> Option<Self> {
        let find = |part: &str| (0..row.len()).find(|column| row.cell(*column).contains(part));
        // Where both are published, the index with the floor is what is paid. "without" does not contain "(with ".
        let work = find("PW GPCI (with 1.0").or_else(|| find("PW GPCI"))?;
        Some(Self {
            from: Quarter::new(year_in(row.cell(work))?, 1)?,
            contractor: find("(MAC)")?,
            number: find("Locality Number")?,
            work,
            expense: find("PE GPCI")?,
            malpractice: find("MP GPCI")?,
        })
    }

    fn read(&self, row: &Row<'_>) -> Option<Indices> {
        let index = |column: usize| Fixed::parse(row.cell(column));
        Some(Indices { work: index(self.work)?, expense: index(self.expense)?, malpractice: index(self.malpractice)? })
    }
}

/// Reads up to the header, which is the first row that `find` makes something of.
fn header<R: std::io::Read, T>(
    name: Named<'_>,
    table: &mut Table<'_, R>,
    find: impl Fn(&Row<'_>) -> Option<T>,
) -> Result<T, LoadError> {
    for _ in 0..50 {
        let Some(row) = table.next()? else { break };
        if let Some(columns) = find(&row) {
            return Ok(columns);
        }
    }
    Err(name.problem("the header with the names of its columns is missing"))
}

/// Reads what `read` makes of each locality's row; rows of other kinds, such as notes, are passed over.
fn by_locality<T>(
    name: Named<'_>,
    table: &mut Table<'_, impl std::io::Read>,
    held: &mut Held<'_, '_>,
    [contractor, number]: [usize; 2],
    read: impl Fn(&Row<'_>) -> Option<T>,
) -> Result<HashMap<Locality, T>, LoadError> {
    let mut found = HashMap::new();
    while let Some(row) = table.next()? {
        if let Some(locality) = Locality::parse(row.cell(contractor), row.cell(number)) {
            let value = read(&row).ok_or_else(|| row.problem("a figure is not a number with at most four decimals"))?;
            held.entry(size_of::<(Locality, T)>(), name.path)?;
            found.insert(locality, value);
        }
    }
    if found.is_empty() { Err(name.problem("it has no localities")) } else { Ok(found) }
}

/// A line of the ZIP code files, with the places that their layout says (counted from 0).
struct ZipLine<'a>(&'a [u8]);

impl ZipLine<'_> {
    fn text(&self, place: std::ops::Range<usize>) -> Option<&str> {
        std::str::from_utf8(self.0.get(place)?).ok()
    }

    /// Digits only.
    fn number(&self, place: std::ops::Range<usize>) -> Option<u32> {
        let text = self.text(place)?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    }

    fn locality(&self) -> Option<Locality> {
        Locality::parse(self.text(7..12)?, self.text(12..14)?)
    }

    /// Year and quarter, as in `20254`.
    fn quarter(&self) -> Option<Quarter> {
        let number = self.number(75..80)?;
        Quarter::new(i16::try_from(number / 10).ok()?, (number % 10) as u8)
    }
}

/// Reads all lines, and the quarter that the first names.
fn read_zips(
    path: &Path,
    member: &'static str,
    held: &mut Held<'_, '_>,
    mut on_line: impl FnMut(&ZipLine<'_>) -> Option<()>,
) -> Result<Quarter, LoadError> {
    let name = Named { path, expected: EXPECTED_ZIP, member: (member, ".TXT") };
    let (mut from, mut full) = (None, None);
    let read = lines(name, |line| {
        let line = ZipLine(line);
        if from.is_none() {
            from = Some(line.quarter().ok_or("columns 76 to 80 do not hold year and quarter, as 20254")?);
        }
        on_line(&line).ok_or("ZIP code, contractor or locality are not at their places")?;
        held.entry(size_of::<(u32, Locality)>(), path).map_err(|error| {
            full = Some(error);
            "it is too large"
        })
    });
    full.map_or(Ok(()), Err)?;
    read?;
    from.ok_or_else(|| name.problem("it is empty"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zip_codes_are_read_in_their_three_forms() {
        let zip = |five, nine| Ok(Zip { five, nine });
        assert_eq!(Zip::parse("03001"), zip(3_001, None));
        assert_eq!(Zip::parse("030011234"), zip(3_001, Some(30_011_234)));
        assert_eq!(Zip::parse("03001-1234"), zip(3_001, Some(30_011_234)));
        for text in
            ["", "3001", "0300", "03001-123", "0300-12345", "03001 1234", "O3001", "03001-12a4", "123456789-", "٣٠"]
        {
            assert_eq!(Zip::parse(text), Err(Reason::InvalidZip), "{text:?}");
        }
    }

    #[test]
    fn localities_are_read_with_and_without_leading_zeros() {
        assert_eq!(Locality::parse("02102", "01"), Some(Locality(210_201)));
        assert_eq!(Locality::parse("2102", "1"), Some(Locality(210_201)));
        assert_eq!(Locality::parse("*Work", "01"), None);
        assert_eq!(Locality::parse("", ""), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,12}") {
            if let Ok(zip) = Zip::parse(&text) {
                prop_assert!(zip.five < 100_000);
            }
        }
    }
}
