#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, Decimal128Array, Int64Array, NullArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema, TimeUnit};
use arrow_select::concat::concat_batches;

use super::*;

fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let metadata = HashMap::from([("source".to_owned(), "test".to_owned())]);
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata);
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

/// A column of every shape that a recipe can make, with nulls.
fn all_types(rows: i64) -> RecordBatch {
    let every_third = |i: &i64| (i % 3 != 0).then_some(*i);
    let numbers: Int64Array = (0..rows).map(|i| every_third(&i)).collect();
    let times: TimestampMicrosecondArray = (0..rows).map(|i| every_third(&i).map(|i| i * 86_400_000_001)).collect();
    let mut codes = StringDictionaryBuilder::<Int32Type>::new();
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    let mut views = StringViewBuilder::new();
    for i in 0..rows {
        codes.append_option(every_third(&i).map(|i| format!("code {}", i % 5)));
        lists.append_option(every_third(&i).map(|i| (0..i % 4).map(move |j| Some(format!("{i}.{j}")))));
        maps.keys().append_value("key");
        maps.values().append_option(every_third(&i).map(|i| i.to_string()));
        maps.append(true).unwrap();
        views.append_option(every_third(&i).map(|i| format!("a text that is longer than a view {i}")));
    }
    let texts: StringArray = (0..rows).map(|i| every_third(&i).map(|i| "ü".repeat(i as usize % 50))).collect();
    let pairs = StructArray::from(vec![(
        Arc::new(Field::new("inner", DataType::Utf8, true)),
        Arc::new(texts.clone()) as ArrayRef,
    )]);
    batch_of(vec![
        ("number", Arc::new(numbers)),
        ("time", Arc::new(times.with_timezone("UTC"))),
        ("text", Arc::new(texts)),
        ("amount", Arc::new(Decimal128Array::from_iter((0..rows).map(|i| every_third(&i).map(i128::from))))),
        ("bytes", Arc::new(BinaryArray::from_iter((0..rows).map(|i| every_third(&i).map(i64::to_le_bytes))))),
        ("code", Arc::new(codes.finish())),
        ("list", Arc::new(lists.finish())),
        ("map", Arc::new(maps.finish())),
        ("view", Arc::new(views.finish())),
        ("pair", Arc::new(pairs)),
        ("nothing", Arc::new(NullArray::new(rows as usize))),
    ])
}

fn texts(rows: usize, length: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("{i:05}{}", "x".repeat(length)))))
}

/// Sends batches through one stream.
fn trip(batches: impl IntoIterator<Item = RecordBatch>) -> Vec<RecordBatch> {
    let (mut encoder, mut decoder) = (BatchEncoder::default(), BatchDecoder::default());
    let mut received = Vec::new();
    for batch in batches {
        for part in encoder.encode(&batch).unwrap() {
            assert!(part.body.len() <= PART_LIMIT);
            received.extend(decoder.push(part).unwrap());
        }
        assert!(!decoder.is_incomplete());
    }
    received
}

#[test]
fn every_type_with_nulls_comes_through_whole_sliced_and_empty() {
    let batch = all_types(1000);
    let batches = vec![batch.clone(), batch.slice(17, 500), batch.slice(3, 0), batch.slice(999, 1)];
    let received = trip(batches.clone());
    assert_eq!(received, batches);
    assert_eq!(received[0].schema(), batch.schema());
    assert_eq!(
        received[0].schema().field(1).data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
}

#[test]
fn a_schema_is_sent_once_and_again_when_it_changes() {
    let (numbers, words) = (batch_of(vec![("n", texts(3, 4))]), batch_of(vec![("w", texts(2, 8))]));
    let mut encoder = BatchEncoder::default();
    assert_eq!(encoder.encode(&numbers).unwrap().len(), 2);
    assert_eq!(encoder.encode(&numbers).unwrap().len(), 1);
    let batches = vec![numbers.clone(), numbers.clone(), words, numbers];
    assert_eq!(trip(batches.clone()), batches);
}

#[test]
fn a_batch_without_columns_keeps_its_rows() {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(7));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(trip([batch.clone()]), [batch]);
}

#[test]
fn a_large_batch_is_sliced_and_its_rows_come_through_in_order() {
    let batch = batch_of(vec![("text", texts(8000, 2600)), ("more", Arc::clone(all_types(8000).column(6)))]);
    assert!(batch_size(&batch) > 20 << 20);
    let sliced: Vec<_> = slices(batch.clone()).collect();
    assert!((20..60).contains(&sliced.len()), "{}", sliced.len());
    assert!(sliced.iter().all(|slice| batch_size(slice) <= SLICE_TARGET));
    assert_eq!(concat_batches(&batch.schema(), &trip(sliced)).unwrap(), batch);
}

#[test]
fn slices_are_small_where_rows_are_large_and_large_where_rows_are_small() {
    let lengths = (0..2000).map(|i| if i == 1500 { 900_000 } else { 100 });
    let batch = batch_of(vec![("text", Arc::new(StringArray::from_iter_values(lengths.map(|n| "x".repeat(n)))))]);
    let rows: Vec<_> = slices(batch).map(|slice| slice.num_rows()).collect();
    assert!(rows.len() <= 4, "{rows:?}");
    let tall = batch_of(vec![("number", Arc::new(Int64Array::from_iter_values(0..20_000)))]);
    assert_eq!(slices(tall).map(|slice| slice.num_rows()).collect::<Vec<_>>(), [8192, 8192, 3616]);
    let empty = batch_of(vec![("number", Arc::new(Int64Array::from_iter_values(0..0)))]);
    assert_eq!(slices(empty).count(), 1);
}

#[test]
fn few_views_into_large_buffers_are_sent_without_the_buffers() {
    let mut views = StringViewBuilder::new();
    for i in 0..10_000 {
        views.append_value(format!("{i:01000}"));
    }
    let batch = batch_of(vec![("view", Arc::new(views.finish()))]).slice(5000, 10);
    let parts = BatchEncoder::default().encode(&batch).unwrap();
    assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() < 20_000);
    assert_eq!(trip([batch.clone()]), [batch]);
}

#[test]
fn one_large_row_goes_in_parts_and_one_too_large_is_refused() {
    let large = batch_of(vec![("text", texts(1, 10 << 20))]);
    let sliced: Vec<_> = slices(large.clone()).collect();
    assert_eq!(sliced.len(), 1);
    assert_eq!(trip(sliced), [large]);
    let error = BatchEncoder::default().encode(&batch_of(vec![("text", texts(1, BATCH_LIMIT))])).unwrap_err();
    assert_eq!(&*error.reason, "BATCH_EXCEEDS_LIMIT");
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let batch = batch_of(vec![("text", texts(1, 5 << 20))]);
    let parts = BatchEncoder::default().encode(&batch).unwrap();
    let [schema, first, second, third] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    let refused = |parts: &[&ArrowPart]| {
        let mut decoder = BatchDecoder::default();
        parts.iter().find_map(|part| decoder.push((*part).clone()).err()).unwrap().to_string()
    };
    assert_eq!(refused(&[first, second, third]), "'schema' is missing");
    assert_eq!(refused(&[schema, second]), "'header' is missing");
    assert!(refused(&[schema, first, first]).contains("before the last one is complete"));
    assert!(refused(&[schema, first, third]).starts_with("'body'"));
    let endless = ArrowPart { header: Bytes::new(), ..second.clone() };
    let endless: Vec<_> = [schema, first].into_iter().chain(std::iter::repeat_n(&endless, 20)).collect();
    assert!(refused(&endless).contains("is more than"));
    let rows = batch_of(vec![("number", Arc::new(Int64Array::from_iter_values(0..8193)))]);
    let parts = BatchEncoder::default().encode(&rows).unwrap();
    assert!(refused(&parts.iter().collect::<Vec<_>>()).contains("more than 8192"));
}

#[test]
fn no_changed_byte_makes_the_decoder_panic() {
    let parts = BatchEncoder::default().encode(&all_types(20)).unwrap();
    let mut refused = 0;
    for (at, part) in parts.iter().enumerate() {
        for position in 0..part.header.len() + part.body.len() {
            let (mut header, mut body) = (part.header.to_vec(), part.body.to_vec());
            match position.checked_sub(header.len()) {
                None => header[position] ^= 0xff,
                Some(position) => body[position] ^= 0xff,
            }
            let changed = ArrowPart { header: header.into(), body: body.into(), more: false };
            let mut decoder = BatchDecoder::default();
            let sent = parts[..at].iter().chain([&changed]).chain(&parts[at + 1..]);
            refused += usize::from(sent.map(|part| decoder.push(part.clone())).any(|result| result.is_err()));
        }
    }
    assert!(refused > 100, "{refused}");
}
