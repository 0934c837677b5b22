//! The list of deactivated identifiers: a title, a header with `NPI` and `NPPES Deactivation Date`, and two columns.

use jiff::ToSpan;
use jiff::civil::Date;

use crate::Npi;
use crate::provider::parse_day;

/// Rows within which the header has to come.
const PREAMBLE: u64 = 50;

/// Reads the list row by row.
#[derive(Default)]
pub(crate) struct List {
    rows: u64,
    columns: Option<(usize, usize)>,
}

/// What one row of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A title, the header, or nothing.
    None,
    /// An identifier that was deactivated, and when.
    Deactivated(Npi, Date),
    /// Below the header, but not such a pair.
    Unusable,
}

impl List {
    /// Reads the next row; an error says that there was no header.
    pub(crate) fn read(&mut self, cells: &[&str]) -> Result<Line, String> {
        self.rows += 1;
        let Some((npi, day)) = self.columns else {
            self.columns = header(cells);
            return match self.columns {
                None if self.rows >= PREAMBLE => Err(Self::NO_HEADER.to_owned()),
                _ => Ok(Line::None),
            };
        };
        let cell = |column: usize| cells.get(column).map_or("", |cell| cell.trim());
        if cell(npi).is_empty() && cell(day).is_empty() {
            return Ok(Line::None);
        }
        let found = Npi::parse(cell(npi)).ok().zip(parse_day(cell(day)).or_else(|| serial_day(cell(day))));
        Ok(found.map_or(Line::Unusable, |(npi, day)| Line::Deactivated(npi, day)))
    }

    /// Ends the list; an error says that there was no header.
    pub(crate) fn finish(&self) -> Result<(), String> {
        self.columns.map(|_| ()).ok_or_else(|| Self::NO_HEADER.to_owned())
    }

    const NO_HEADER: &str =
        "no row has a column 'NPI' and one with 'Deactivation Date': is it the registry's deactivation list?";
}

fn header(cells: &[&str]) -> Option<(usize, usize)> {
    let npi = cells.iter().position(|cell| cell.trim().eq_ignore_ascii_case("NPI"))?;
    let day = cells.iter().position(|cell| cell.to_ascii_lowercase().contains("deactivation date"))?;
    Some((npi, day))
}

/// A day as sheets store it: days since the end of 1899, of which only the whole part counts.
fn serial_day(text: &str) -> Option<Date> {
    let days = text.split('.').next().filter(|_| text.len() < 20)?.parse::<i32>().ok()?;
    let plausible = (30_000..80_000).contains(&days);
    plausible.then(|| Date::constant(1899, 12, 30).checked_add(days.days()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_below_its_header() {
        let mut list = List::default();
        let npi = Npi::parse("1234567893").unwrap();
        let rows: [(&[&str], Line); 8] = [
            (&["NPPES Deactivated Records as of Apr 08 2024"], Line::None),
            (&["NPI", "NPPES Deactivation Date"], Line::None),
            (&["1234567893", "05/22/2023"], Line::Deactivated(npi, Date::constant(2023, 5, 22))),
            (&["1234567893", "45068"], Line::Deactivated(npi, Date::constant(2023, 5, 22))),
            (&["1234567893", "45068.0"], Line::Deactivated(npi, Date::constant(2023, 5, 22))),
            (&["1234567890", "05/22/2023"], Line::Unusable),
            (&["1234567893"], Line::Unusable),
            (&["", ""], Line::None),
        ];
        for (cells, expected) in rows {
            assert_eq!(list.read(cells), Ok(expected), "{cells:?}");
        }
        assert_eq!(list.finish(), Ok(()));
    }

    #[test]
    fn a_file_without_the_header_is_refused() {
        let mut list = List::default();
        assert!((0..PREAMBLE).any(|_| list.read(&["1234567893", "05/22/2023"]).is_err()));
        assert!(List::default().finish().is_err());
    }
}
