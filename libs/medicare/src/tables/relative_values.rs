//! `PPRRVU...csv`: relative values, status and indicators of every service.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use crate::LoadError;
use crate::decimal::Fixed;
use crate::file::{Named, Row, Table, open_table};
use crate::period::{Quarter, year_in};
use crate::room::Held;

const EXPECTED: &str =
    "a CSV of relative values (PPRRVU...csv from CMS's page 'PFS Relative Value Files', an archive such as rvu25d.zip)";

/// Most lines of titles above the header.
const PREAMBLE: usize = 50;

/// A code of five characters and a modifier of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// The key of a code and a modifier, which may be empty; `None` if they can't be in the file.
    pub(crate) fn new(code: &str, modifier: &str) -> Option<Self> {
        let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_modifier = matches!(modifier.len(), 0 | 2) && modifier.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let bytes = code.bytes().chain(modifier.bytes());
        (is_code && is_modifier)
            .then(|| Self(bytes.fold(0, |key, byte| key << 8 | u64::from(byte.to_ascii_uppercase()))))
    }
}

/// Relative values of practice expense and malpractice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expense {
    pub(crate) non_facility: Fixed,
    pub(crate) facility: Fixed,
    pub(crate) malpractice: Fixed,
}

/// One line of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelativeValues {
    pub(crate) status: u8,
    pub(crate) work: Fixed,
    pub(crate) expense: Expense,
    /// Values with which imaging would cost what a hospital's outpatient department gets: the rate is the lesser.
    pub(crate) cap: Option<Expense>,
    pub(crate) na_non_facility: bool,
    pub(crate) na_facility: bool,
}

/// All services of one release.
#[derive(Debug)]
pub(crate) struct Release {
    services: HashMap<Key, RelativeValues>,
}

impl Release {
    pub(crate) fn get(&self, key: Key) -> Option<&RelativeValues> {
        self.services.get(&key)
    }

    /// How many services it has.
    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }
}

/// Columns, found by the words that stand above each other in the header's lines.
struct Columns {
    code: usize,
    modifier: usize,
    status: usize,
    work: usize,
    non_facility: usize,
    na_non_facility: usize,
    facility: usize,
    na_facility: usize,
    malpractice: usize,
    cap: Option<[usize; 3]>,
}

impl Columns {
    fn find(names: &[String]) -> Result<Self, String> {
        let maybe = |name: &str| names.iter().position(|column| column == name);
        let need = |name: &str| maybe(name).ok_or_else(|| format!("it has no column '{name}'"));
        let cap = ["NON-FACILITY PE USED FOR OPPS PAYMENT AMOUNT", "FACILITY PE USED FOR OPPS PAYMENT AMOUNT"];
        let cap = cap.map(maybe);
        let malpractice = maybe("MP USED FOR OPPS PAYMENT AMOUNT");
        Ok(Self {
            code: need("HCPCS")?,
            modifier: need("MOD")?,
            status: need("STATUS CODE")?,
            work: need("WORK RVU")?,
            non_facility: need("NON-FAC PE RVU")?,
            na_non_facility: need("NON-FAC NA INDICATOR")?,
            facility: need("FACILITY PE RVU")?,
            na_facility: need("FACILITY NA INDICATOR")?,
            malpractice: need("MP RVU")?,
            cap: match (cap, malpractice) {
                ([Some(non_facility), Some(facility)], Some(malpractice)) => {
                    Some([non_facility, facility, malpractice])
                }
                _ => None,
            },
        })
    }

    fn read(&self, row: &Row<'_>) -> Result<RelativeValues, LoadError> {
        let value = |column: usize| match row.cell(column) {
            "" => Ok(Fixed::default()),
            text => Fixed::parse(text)
                .ok_or_else(|| row.problem("a relative value is not a number with at most four decimals")),
        };
        let expense = |[non_facility, facility, malpractice]: [usize; 3]| -> Result<Expense, LoadError> {
            Ok(Expense {
                non_facility: value(non_facility)?,
                facility: value(facility)?,
                malpractice: value(malpractice)?,
            })
        };
        let is_set =
            |cap: &Expense| ![cap.non_facility, cap.facility, cap.malpractice].iter().all(|value| value.is_zero());
        Ok(RelativeValues {
            status: row.cell(self.status).bytes().next().unwrap_or(b' ').to_ascii_uppercase(),
            work: value(self.work)?,
            expense: expense([self.non_facility, self.facility, self.malpractice])?,
            cap: self.cap.map(expense).transpose()?.filter(is_set),
            na_non_facility: row.cell(self.na_non_facility) == "NA",
            na_facility: row.cell(self.na_facility) == "NA",
        })
    }
}

/// Reads a release and the quarter from which it holds.
pub(crate) fn read(path: &Path, held: &mut Held<'_, '_>) -> Result<(Quarter, Release), LoadError> {
    let name = Named { path, expected: EXPECTED, member: ("PPRRVU", ".CSV") };
    open_table(name, |table, file_name| read_table(name, table, file_name, held))
}

fn read_table(
    name: Named<'_>,
    table: &mut Table<'_, impl Read>,
    file_name: &str,
    held: &mut Held<'_, '_>,
) -> Result<(Quarter, Release), LoadError> {
    let mut preamble = Preamble::default();
    loop {
        let Some(row) = table.next()? else {
            return Err(name.problem("no row starts with 'HCPCS'"));
        };
        if preamble.take(&row) {
            break;
        }
        if preamble.rows > PREAMBLE {
            return Err(name.problem("no row within the first starts with 'HCPCS'"));
        }
    }
    let from = quarter_in(&preamble.title).or_else(|| quarter_in(file_name)).ok_or_else(|| {
        name.problem("neither its title nor its name says year and month, as '2025 ... Relative Value File October Release' does")
    })?;
    let columns = Columns::find(&preamble.names).map_err(|problem| name.problem(problem))?;
    let mut services = HashMap::new();
    while let Some(row) = table.next()? {
        if row.cell(columns.code).is_empty() {
            continue;
        }
        let key = Key::new(row.cell(columns.code), row.cell(columns.modifier));
        let key = key.ok_or_else(|| row.problem("the code does not have five characters, or the modifier not two"))?;
        held.entry(size_of::<(Key, RelativeValues)>(), name.path)?;
        services.insert(key, columns.read(&row)?);
    }
    if services.is_empty() {
        return Err(name.problem("it has no services"));
    }
    Ok((from, Release { services }))
}

/// What stands above the services.
#[derive(Default)]
struct Preamble {
    rows: usize,
    title: String,
    /// Words above each other, joined; those of the titles are all in the third column.
    names: Vec<String>,
}

impl Preamble {
    /// Takes a row in; says whether it was the last line of the header.
    fn take(&mut self, row: &Row<'_>) -> bool {
        self.rows += 1;
        self.names.resize(self.names.len().max(row.len()), String::new());
        for (column, name) in self.names.iter_mut().enumerate() {
            let word = row.cell(column);
            if word.contains("Relative Value File") {
                self.title = word.to_owned();
            }
            // The line of a name that is cut at a hyphen or not: "CO-" and "SURG" are two words as well.
            if !word.is_empty() && column != 2 {
                if !name.is_empty() {
                    name.push(' ');
                }
                name.push_str(&word.to_ascii_uppercase());
            }
        }
        row.cell(0).eq_ignore_ascii_case("HCPCS")
    }
}

/// The quarter in a title or a file's name: a year and the name of a quarter's first month.
fn quarter_in(text: &str) -> Option<Quarter> {
    let lower = text.to_ascii_lowercase();
    let month = ["jan", "apr", "jul", "oct"]
        .iter()
        .position(|month| lower.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word.starts_with(month)))?;
    Quarter::new(year_in(text)?, month as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_say_when_they_begin() {
        let title = "2025 National Physician Fee Schedule Relative Value File October Release";
        assert_eq!(quarter_in(title), Quarter::new(2025, 4));
        assert_eq!(quarter_in("PPRRVU2026_Jan_nonQPP.csv"), Quarter::new(2026, 1));
        assert_eq!(quarter_in("PPRRVU2026.csv"), None);
        assert_eq!(quarter_in("October"), None);
    }

    #[test]
    fn keys_are_codes_with_modifiers() {
        assert_eq!(Key::new("g0011", "tc"), Key::new("G0011", "TC"));
        assert_ne!(Key::new("G0011", ""), Key::new("G0011", "26"));
        for (code, modifier) in
            [("", ""), ("G001", ""), ("G00111", ""), ("G0011", "2"), ("G001\u{e9}", ""), ("G 011", "")]
        {
            assert_eq!(Key::new(code, modifier), None);
        }
    }
}
