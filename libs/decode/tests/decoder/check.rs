//! What holds for any input in any pieces. The property tests and the fuzz targets share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_select::concat::concat_batches;
use forebay_decode::{CsvHeader, Decoded, Decoder, Dialect, Position};
use forebay_framing::{Cut, CutKind, Framer, Framing, Targets};
use forebay_recipe::{Layout, Prepared};
use forebay_types::{Reason, Reject};

/// A column of every type, and two levels of children.
pub(crate) const NESTED: &str = "
name: nested
unknown_fields: keep
record:
  table: items
  key: id
  fields:
    id: {type: string, required: true}
    s: {type: string, min_length: 1, max_length: 3}
    n: {type: int, min: -5}
    m: {type: int32}
    f: {type: float}
    d: {type: decimal, precision: 9, scale: 2}
    j: {type: json}
    day: {type: date}
    at: {type: timestamp}
    yes: {type: bool}
    place: {type: object, fields: {city: {type: string}, zip: {type: string, required: true}}}
    parts:
      type: list
      table: parts
      key: name
      fields:
        name: {type: string, required: true}
        n: {type: int32, max: 1000}
        bits: {type: list, table: bits, fields: {b: {type: json}, c: {type: string}}}
";

const FLAT: &str = "
name: flat
source: {csv: {header: false, nulls: [NA]}}
record:
  table: items
  fields:
    id: {type: string, required: true}
    n: {type: int, min: -5}
    d: {type: decimal, precision: 9, scale: 2}
    j: {type: json}
    at: {type: timestamp}
";

/// A way to read bytes, with a recipe for it.
pub(crate) struct Subject {
    layout: Arc<Layout>,
    dialect: Dialect,
    framing: Framing,
}

/// What an input became.
#[derive(Debug, PartialEq)]
struct Whole {
    tables: Vec<RecordBatch>,
    rejects: Vec<Reject>,
    records: u64,
    end: Position,
}

/// The tables of a recipe.
pub(crate) fn layout(text: &str) -> Arc<Layout> {
    Prepared::new("test", text, &BTreeMap::new()).expect("the recipe is right").layout
}

impl Subject {
    /// A JSON object a line.
    pub(crate) fn lines() -> Self {
        Self { layout: layout(NESTED), dialect: Dialect::Lines, framing: Framing::Lines }
    }

    /// One JSON array.
    pub(crate) fn array() -> Self {
        Self { layout: layout(NESTED), dialect: Dialect::JsonArray, framing: Framing::JsonArray }
    }

    /// Rows of five columns, without a header.
    pub(crate) fn csv() -> Self {
        let prepared = Prepared::new("test", FLAT, &BTreeMap::new()).expect("the recipe is right");
        let csv = &prepared.recipe.source.csv;
        let header = CsvHeader::new(&prepared.layout, csv, None).expect("the columns are the recipe's");
        let framing = Framing::Csv { delimiter: b',', quote: b'"' };
        Self { layout: prepared.layout, dialect: Dialect::Csv(header), framing }
    }

    /// Cuts the input as the gateway does, decodes the chunk in one piece and in pieces of a length, and panics unless
    /// both give the same, with every record in the tables or in the rejects.
    pub(crate) fn check(&self, input: &[u8], piece: usize) {
        // The framer takes a byte order mark alone for a record, as it takes a blank line.
        let blank = input == b"\xef\xbb\xbf";
        for cut in self.cuts(input).iter().filter(|cut| cut.kind == CutKind::Chunk && !blank) {
            let chunk = &input[cut.start as usize..cut.end as usize];
            let at = Position { record: cut.first_record + 1, offset: cut.start };
            let whole = self.decode(chunk, at, chunk.len().max(1));
            assert_eq!(whole.end, Position { record: cut.first_record + cut.records + 1, offset: cut.end });
            check_rejects(&whole.rejects, input, cut);
            assert_eq!(whole, self.decode(chunk, at, piece));
        }
    }

    fn cuts(&self, input: &[u8]) -> Vec<Cut> {
        let targets = Targets { records: u64::MAX, bytes: u64::MAX, record_limit: u64::MAX };
        let mut framer = Framer::new(self.framing.clone(), targets);
        let mut cuts = Vec::new();
        framer.push(input, &mut cuts);
        framer.finish(&mut cuts);
        cuts
    }

    fn decode(&self, chunk: &[u8], at: Position, piece: usize) -> Whole {
        let mut decoder = Decoder::new(Arc::clone(&self.layout), at);
        let (mut buffer, mut out) = (Vec::new(), Vec::new());
        let mut pieces = chunk.chunks(piece).peekable();
        loop {
            buffer.extend_from_slice(pieces.next().unwrap_or_default());
            let last = pieces.peek().is_none();
            let used = decoder.decode(&self.dialect, &buffer, last, &mut out).expect("the columns fit");
            assert!(used <= buffer.len() && (!last || used == buffer.len()));
            buffer.drain(..used);
            if last {
                break;
            }
        }
        decoder.finish(&mut out).expect("the columns fit");
        Whole::new(&self.layout, out, decoder.position())
    }
}

impl Whole {
    fn new(layout: &Layout, runs: Vec<Decoded>, end: Position) -> Self {
        let records = runs.iter().map(|run| run.records).sum();
        let tables = (0..layout.tables.len())
            .map(|table| {
                let batches: Vec<&RecordBatch> = runs.iter().map(|run| &run.batches[table]).collect();
                concat_batches(&layout.tables[table].schema(), batches).expect("batches of one table")
            })
            .collect();
        runs.iter().for_each(|run| check_parents(layout, run));
        let whole = Self { tables, rejects: runs.into_iter().flat_map(|run| run.rejects).collect(), records, end };
        assert_eq!(whole.records, whole.tables[0].num_rows() as u64 + whole.rejects.len() as u64);
        for column in whole.tables.iter().flat_map(RecordBatch::columns) {
            // Offsets in order, and UTF-8 in all texts.
            column.to_data().validate_full().expect("a valid array");
        }
        whole
    }
}

/// Every row of a child table has the key of the row that is said to be its parent.
fn check_parents(layout: &Layout, run: &Decoded) {
    for (index, table) in layout.tables.iter().enumerate() {
        assert_eq!(run.parents[index].len(), run.batches[index].num_rows());
        let Some((parent, key)) = table.parent.and_then(|parent| Some((parent, layout.tables[parent].key?))) else {
            continue;
        };
        let own = table.columns.iter().position(|column| column.inherited == Some((parent, key))).expect("a key");
        let keys = arrow_select::take::take(run.batches[parent].column(key), &run.parents[index], None);
        assert_eq!(&keys.expect("rows of the parent"), run.batches[index].column(own));
    }
}

/// Every reject says where its record is, in order, and holds it.
fn check_rejects(rejects: &[Reject], input: &[u8], cut: &Cut) {
    let mut before = cut.first_record;
    for reject in rejects {
        assert!(before < reject.record && reject.record <= cut.first_record + cut.records, "{reject:?}");
        before = reject.record;
        let bytes = &input[reject.offset as usize..(reject.offset + reject.length) as usize];
        assert_eq!(reject.raw.as_deref(), Some(bytes), "{reject:?}");
        assert_eq!(reject.reason == Reason::InvalidUtf8, std::str::from_utf8(bytes).is_err(), "{reject:?}");
    }
}

/// Decodes a columnar input in one batch and in batches of some rows, and panics unless both give the same.
pub(crate) fn check_columnar(layout: &Arc<Layout>, batch: &RecordBatch, rows: usize) {
    let decode = |rows: usize| {
        let mut decoder = Decoder::new(Arc::clone(layout), Position { record: 1, offset: 0 });
        let runs = (0..batch.num_rows())
            .step_by(rows)
            .map(|at| batch.slice(at, rows.min(batch.num_rows() - at)))
            .map(|part| decoder.decode_batch(&part).expect("the columns fit"))
            .collect();
        Whole::new(layout, runs, decoder.position())
    };
    let whole = decode(batch.num_rows().max(1));
    assert_eq!(whole.records, batch.num_rows() as u64);
    assert_eq!(whole, decode(rows));
}
