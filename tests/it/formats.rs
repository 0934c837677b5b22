//! The same records give the same rows in whatever format they come, and every rule of a recipe is kept.

mod columnar;
mod csv;
mod rules;
mod same;
mod unknown;

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray, StringViewArray};

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    // With a checksum, as the command-line tool writes it.
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The slices of a batch.
fn slices(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    (0..batch.num_rows()).step_by(rows).map(move |at| batch.slice(at, rows.min(batch.num_rows() - at)))
}

/// A Parquet file with row groups of some rows.
pub(crate) fn parquet_file(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

/// An Arrow IPC file with batches of some rows.
pub(crate) fn arrow_file(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
    }
    writer.into_inner().unwrap()
}

/// An Arrow IPC stream, compressed as Feather files are.
pub(crate) fn arrow_stream(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let options = arrow_ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    let mut writer =
        arrow_ipc::writer::StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
    }
    writer.into_inner().unwrap()
}

/// The claims of [`claims`], typed.
pub(crate) fn claims_batch(count: u64) -> RecordBatch {
    let text =
        |value: &dyn Fn(u64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..count).map(value))) };
    let view = |value: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values((0..count).map(value)))
    };
    let number = |value: &dyn Fn(u64) -> Option<String>| -> ArrayRef {
        Arc::new(Float64Array::from_iter((0..count).map(|n| value(n).map(|text| text.parse::<f64>().unwrap()))))
    };
    // Days from 1970-01-01 to the last of February and to the last of March 2024.
    let date = |before: i32| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values((0..count).map(|n| before + (n % 28) as i32 + 1)))
    };
    let int =
        |value: &dyn Fn(u64) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values((0..count).map(value))) };
    RecordBatch::try_from_iter(vec![
        ("claim_id", text(&|n| format!("C{n:08}"))),
        ("line_no", int(&|n| (n % 3) as i32 + 1)),
        ("patient_id", view(&|n| format!("P{:06}", n % 1000))),
        ("npi", text(&|_| "1234567893".to_owned())),
        ("provider_name", view(&|n| format!("O'Brien, \"Ann\"{}MD", if n % 50 == 0 { "\n" } else { " " }))),
        ("cpt", text(&|_| "99213".to_owned())),
        ("icd10", text(&|_| "E11.9".to_owned())),
        ("service_date", date(19_782)),
        ("paid_date", date(19_813)),
        ("billed_amount", number(&|n| Some(format!("{}.50", n % 900)))),
        ("allowed_amount", number(&|n| Some(format!("{}.10", n % 700)))),
        ("paid_amount", number(&|n| (n % 7 != 0).then(|| format!("{}.25", n % 400)))),
        ("zip", text(&|n| format!("0{:04}", n % 9999))),
        ("payer", text(&|_| "AETNA".to_owned())),
        ("place_of_service", int(&|_| 11)),
    ])
    .unwrap()
}

const NESTED: &str = "
name: nested
record:
  table: items
  key: id
  fields:
    id: {type: string, required: true}
    place:
      type: object
      fields:
        city: {type: string, max_length: 8}
        zip: {type: string}
    parts:
      type: list
      table: parts
      fields:
        name: {type: string, required: true}
        n: {type: int32, min: 0}
";
