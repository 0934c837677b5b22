use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use forebay_api::ServiceError;
use forebay_budget::Pool;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Room, files};
use crate::answer::Cell;
use crate::keys::{Key, Keys};
use crate::rows::{Rows, Source};
use crate::upstreams::{Reference, defined_columns};

/// What a row costs besides its texts: its place in a table that is at least a third full, also while the table grows.
const ROW: u64 = 192;

/// What a text costs besides its bytes: where it is, and the allocator's rounding.
const TEXT: u64 = 24;

/// Bytes that are asked for at once.
const STEP: u64 = 64 << 10;

/// A user's own reference table, held whole: a bounded number of bytes.
pub(crate) struct Table {
    path: PathBuf,
    /// Where the key's parts are, then the columns, by the file's names.
    names: Vec<String>,
    keys: usize,
    types: Vec<DataType>,
    rows: HashMap<Key, Vec<Cell>>,
    room: Room,
    /// Of what the room holds, what is still free.
    free: u64,
}

impl Table {
    /// Reads the file; none if there is none. The key's columns are those of the setting `key`, or the parts' names.
    pub(crate) fn load(settings: &BTreeMap<String, String>, pool: &Pool) -> Result<Option<Self>, ServiceError> {
        let Some(path) = files(settings, "file").into_iter().next() else { return Ok(None) };
        let keys = settings.get("key").map(String::as_str).unwrap_or("key");
        let mut names: Vec<String> = keys.split(',').map(|name| name.trim().to_owned()).collect();
        let key_count = names.len();
        let mut types = Vec::new();
        for (column, path) in defined_columns(settings)? {
            names.push(path);
            types.push(column.data_type);
        }
        let mut table =
            Self { path, names, keys: key_count, types, rows: HashMap::new(), room: Room::new(pool)?, free: 0 };
        let file = File::open(&table.path).map_err(|error| table.fail(error))?;
        if is_parquet(&table.path).map_err(|error| table.fail(error))? {
            table.read_parquet(file)?;
        } else {
            table.read_csv(file)?;
        }
        Ok(Some(table))
    }

    fn fail(&self, error: impl std::fmt::Display) -> ServiceError {
        self.room.failed(format!("the reference table {}: {error}", self.path.display()))
    }

    fn place(&self, name: &str, mut columns: impl Iterator<Item = String>) -> Result<usize, ServiceError> {
        columns.position(|column| column == name).ok_or_else(|| self.fail(format!("it has no column '{name}'")))
    }

    /// Takes a row. Of two with the same key the first one stays.
    fn add(&mut self, texts: &[Option<&str>]) -> Result<(), ServiceError> {
        let parts: Vec<&str> = texts[..self.keys].iter().map(|text| text.unwrap_or_default()).collect();
        let cells: Vec<Cell> =
            texts[self.keys..].iter().zip(&self.types).map(|(text, data_type)| cell(*text, data_type)).collect();
        let texts = texts.iter().flatten().map(|text| text.len() as u64 + TEXT).sum::<u64>();
        let bytes = ROW + size_of_val(cells.as_slice()) as u64 + texts;
        if self.free < bytes {
            let more = STEP.max(bytes);
            self.room.grow(more).map_err(|problem| self.fail(problem))?;
            self.free += more;
        }
        self.free -= bytes;
        self.rows.entry(Key::of(&parts)).or_insert(cells);
        Ok(())
    }

    fn read_csv(&mut self, file: File) -> Result<(), ServiceError> {
        let mut reader = csv::ReaderBuilder::new().from_reader(file);
        let headers = reader.headers().map_err(|error| self.fail(error))?.clone();
        let header = || headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned());
        let places = self.names.iter().map(|name| self.place(name, header())).collect::<Result<Vec<_>, _>>()?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| self.fail(error))? {
            let texts: Vec<Option<&str>> =
                places.iter().map(|place| record.get(*place).map(str::trim).filter(|text| !text.is_empty())).collect();
            self.add(&texts)?;
        }
        Ok(())
    }

    fn read_parquet(&mut self, file: File) -> Result<(), ServiceError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| self.fail(error))?;
        for name in &self.names {
            self.place(name, builder.schema().fields().iter().map(|field| field.name().clone()))?;
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), self.names.iter().map(String::as_str));
        let reader = builder.with_projection(mask).build().map_err(|error| self.fail(error))?;
        for batch in reader {
            let batch = batch.map_err(|error| self.fail(error))?;
            let column = |name: &String| {
                let column =
                    batch.column_by_name(name).ok_or_else(|| self.fail(format!("it has no column '{name}'")))?;
                cast(column, &DataType::Utf8).map_err(|error| self.fail(error))
            };
            let columns = self.names.iter().map(column).collect::<Result<Vec<_>, _>>()?;
            let columns: Vec<&StringArray> = columns.iter().map(|column| column.as_string::<i32>()).collect();
            for row in 0..batch.num_rows() {
                let texts: Vec<Option<&str>> =
                    columns.iter().map(|column| column.is_valid(row).then(|| column.value(row))).collect();
                self.add(&texts)?;
            }
        }
        Ok(())
    }
}

fn is_parquet(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::with_capacity(4);
    std::io::Read::read_to_end(&mut std::io::Read::take(File::open(path)?, 4), &mut start)?;
    Ok(start == b"PAR1")
}

/// A text that does not fit the column's type is null.
fn cell(text: Option<&str>, data_type: &DataType) -> Cell {
    match (data_type, text) {
        (_, None) => Cell::Null,
        (DataType::Int64, Some(text)) => text.parse().map_or(Cell::Null, Cell::Int),
        (DataType::Float64, Some(text)) => text.parse().map_or(Cell::Null, Cell::Float),
        (_, Some(text)) => Cell::Text(text.into()),
    }
}

impl Table {
    fn get(&self, key: &Key) -> Option<&[Cell]> {
        self.rows.get(key).map(Vec::as_slice)
    }
}

impl Reference for Table {
    fn look_up(&self, keys: &Keys, row: usize, rows: &mut Rows) {
        match self.get(&keys.key(row)) {
            Some(cells) => rows.found(&cells.iter().map(Cell::as_ref).collect::<Vec<_>>(), Source::Reference),
            None => rows.without("not_found", Source::Reference),
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_budget::Budget;

    use super::*;

    fn load(text: &str, more: &[(&str, &str)]) -> Result<Table, ServiceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        let base = [("file", path.to_str().unwrap()), ("column.price", "float:Price"), ("column.name", "string:Name")];
        let settings = base.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ok(Table::load(&settings, &Budget::new(1 << 20).pool("references", 1 << 20).unwrap())?.unwrap())
    }

    #[test]
    fn rows_are_found_by_their_key() {
        let text = "Code,Zone,Name,Price\nA,1,\"Ann, Inc\",2.5\nA,2,Bob,x\n";
        let table = load(text, &[("key", "Code,Zone")]).unwrap();
        let found = |parts: &[&str]| table.get(&Key::of(parts)).map(<[Cell]>::to_vec);
        // Columns are in the order of their names.
        assert_eq!(found(&["A", "1"]), Some(vec![Cell::Text("Ann, Inc".into()), Cell::Float(2.5)]));
        assert_eq!(found(&["A", "2"]), Some(vec![Cell::Text("Bob".into()), Cell::Null]));
        assert_eq!(found(&["B", "1"]), None);
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused_with_the_remedy() {
        let rows: String = (0..10_000).map(|n| format!("{n},Name {n},1\n")).collect();
        let error = load(&format!("Code,Name,Price\n{rows}"), &[("key", "Code")]).err().unwrap();
        assert_eq!(error.reason, crate::references::EXCEEDS_MEMORY);
        assert!(error.message.contains("table.csv") && error.message.contains("more memory"), "{error}");
    }

    #[test]
    fn cells_without_a_value_are_counted_too() {
        // 1,000 rows of 100 cells, of which two have a value.
        let columns: Vec<String> = (0..98).map(|n| format!("column.empty{n}")).collect();
        let empty: Vec<(&str, &str)> = columns.iter().map(|name| (name.as_str(), "string:Empty")).collect();
        let rows: String = (0..1_000).map(|n| format!("{n},Name,1,\n")).collect();
        let more = [&[("key", "Code")], empty.as_slice()].concat();
        let error = load(&format!("Code,Name,Price,Empty\n{rows}"), &more).err().unwrap();
        assert_eq!(error.reason, crate::references::EXCEEDS_MEMORY);
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = load("Code,Name\nA,B\n", &[("key", "Code")]).err().unwrap();
        assert!(error.message.contains("'Price'"), "{error}");
    }
}
