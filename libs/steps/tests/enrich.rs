//! The `enrich` step against a service that knows some keys.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type};
use arrow_array::{Array, ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, ServiceError};
use forebay_recipe::Recipe;
use forebay_steps::{ChunkTable, StepContext, StepError, StepResult, Steps};
use futures::StreamExt;
use tokio::sync::Semaphore;

/// Knows keys that begin with a letter: their rate is their length, and their carrier is what they are.
#[derive(Default)]
struct Rates {
    requests: Mutex<Vec<EnrichRequest>>,
    keys: Mutex<Vec<ArrayRef>>,
    /// Rows that it leaves out of its answers.
    lost: usize,
}

#[async_trait]
impl Enrichment for Rates {
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        self.requests.lock().unwrap().push(request);
        let keys: Vec<ArrayRef> = keys.map(|keys| keys.unwrap().keys).collect().await;
        self.keys.lock().unwrap().extend(keys.iter().cloned());
        let lost = self.lost;
        Ok(futures::stream::iter(keys).map(move |keys| Ok(answer(&keys, lost))).boxed())
    }
}

fn answer(keys: &ArrayRef, lost: usize) -> RecordBatch {
    let text = keys.as_struct().column_by_name("code").unwrap().as_string::<i32>();
    let keys = (0..text.len() - lost).map(|row| if text.is_valid(row) { text.value(row) } else { "" });
    let keys: Vec<&str> = keys.collect();
    let known = |key: &&str| key.starts_with(char::is_alphabetic);
    let rates = keys.iter().map(|key| known(key).then_some(key.len() as i128 * 100));
    let rates = rates.collect::<Decimal128Array>().with_precision_and_scale(12, 2).unwrap();
    let carriers: StringArray = keys.iter().map(|key| known(key).then_some(*key)).collect();
    let reasons: StringArray = keys.iter().map(|key| (!known(key)).then_some("unknown_code")).collect();
    let sources: StringArray = keys.iter().map(|key| Some(if known(key) { "reference" } else { "none" })).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("carrier", Arc::new(carriers)),
        ("rate", Arc::new(rates)),
        ("_reason", Arc::new(reasons)),
        ("_source", Arc::new(sources)),
        ("_calls", Arc::new(Int64Array::from(vec![0; keys.len()]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

const RECIPE: &str = "\
name: r
record: {table: t, fields: {code: {type: string}, day: {type: date}, place: {type: int32}}}
steps:
  - enrich:
      table: t
      enricher: medicare
      key: {code: code, date: day, place_of_service: place}
      columns: {rate: medicare_rate}
      reason: why
      settings: {rvu: rates.csv}
";

fn batch(codes: &[Option<&str>], days: &[Option<i32>], places: &[Option<i32>]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("code", Arc::new(StringArray::from(codes.to_vec()))),
        ("day", Arc::new(Date32Array::from(days.to_vec()))),
        ("place", Arc::new(Int32Array::from(places.to_vec()))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

async fn run(service: &Arc<Rates>, recipe: &str, batches: Vec<RecordBatch>) -> Result<StepResult, StepError> {
    let recipe = Recipe::parse("r", recipe).unwrap();
    let layout = recipe.layout().unwrap();
    let steps = Steps::plan(&recipe, &layout).await?;
    let schema = layout.tables[0].schema();
    let tables = vec![ChunkTable { name: "t".to_owned(), schema, batches }];
    let enrichment = Arc::clone(service) as Arc<dyn Enrichment>;
    let context = StepContext { memory: 1 << 20, enrichment, cpu: Arc::new(Semaphore::new(1)) };
    let result = steps.run(tables, &context).await?;
    assert_eq!(result.tables[0].schema, steps.tables()[0].1);
    assert!(result.tables[0].batches.iter().all(|batch| batch.schema() == result.tables[0].schema));
    Ok(result)
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_key_is_asked_for_once_and_every_row_has_its_columns_or_a_reason() {
    let service = Arc::new(Rates::default());
    let batches = vec![
        batch(
            &[Some("AB"), None, Some("1"), Some("AB")],
            &[Some(1), None, Some(1), Some(1)],
            &[Some(11), None, Some(11), Some(11)],
        ),
        batch(&[Some("AB"), Some("AB"), None], &[Some(2), Some(1), Some(1)], &[Some(11), Some(11), Some(11)]),
    ];
    let result = run(&service, RECIPE, batches).await.unwrap();
    let [first, second] = result.tables[0].batches.as_slice() else { panic!("two batches go in") };
    let rates = |batch: &RecordBatch| -> Vec<Option<i128>> {
        batch.column_by_name("medicare_rate").unwrap().as_primitive::<Decimal128Type>().iter().collect()
    };
    assert_eq!(rates(first), [Some(200), None, None, Some(200)]);
    assert_eq!(rates(second), [Some(200), Some(200), None]);
    let reason = |text: &str| Some(text.to_owned());
    assert_eq!(texts(first, "why"), [None, reason("no_key"), reason("unknown_code"), None]);
    assert_eq!(texts(second, "why"), [None, None, reason("unknown_code")]);
    // One struct of the parts, in the columns' own types.
    let keys = service.keys.lock().unwrap();
    let parts = keys[0].as_struct();
    assert_eq!((keys.len(), parts.len()), (1, 4));
    assert_eq!(parts.column_names(), ["code", "date", "place_of_service"]);
    assert_eq!(parts.column(1).data_type(), &DataType::Date32);
    assert_eq!(parts.column(2).as_primitive::<Int32Type>().values()[..2], [11, 11]);
    let requests = service.requests.lock().unwrap();
    assert_eq!((requests[0].columns.join(","), requests[0].settings["rvu"].as_str()), ("rate".to_owned(), "rates.csv"));
    let counts: BTreeMap<&str, u64> = result.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counts["enrichment.keys"], 4);
    assert_eq!((counts["enrichment.reference"], counts["enrichment.none"], counts["enrichment.calls"]), (2, 2, 0));
}

#[tokio::test]
async fn a_chunk_without_rows_or_without_keys_asks_nobody() {
    let service = Arc::new(Rates::default());
    for batches in [vec![], vec![batch(&[], &[], &[])], vec![batch(&[None, None], &[None, None], &[None, None])]] {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let result = run(&service, RECIPE, batches).await.unwrap();
        let reasons: Vec<_> = result.tables[0].batches.iter().flat_map(|batch| texts(batch, "why")).collect();
        assert_eq!(reasons, vec![Some("no_key".to_owned()); rows]);
    }
    assert!(service.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reason_is_said_only_where_there_is_one() {
    let service = Arc::new(Rates::default());
    let reason = |text: &str| Some(text.to_owned());
    for (codes, reasons) in [
        (vec![Some("A"), Some("B")], vec![None, None]),
        (vec![Some("A"), None, Some("B")], vec![None, reason("no_key"), None]),
        (vec![Some("1"), Some("A")], vec![reason("unknown_code"), None]),
        (vec![Some("1"), None], vec![reason("unknown_code"), reason("no_key")]),
    ] {
        let nothing = vec![None; codes.len()];
        let result = run(&service, RECIPE, vec![batch(&codes, &nothing, &nothing)]).await.unwrap();
        assert_eq!(texts(&result.tables[0].batches[0], "why"), reasons, "{codes:?}");
    }
}

#[tokio::test]
async fn many_keys_go_in_batches_that_the_service_takes() {
    let service = Arc::new(Rates::default());
    let codes: Vec<String> = (0..20_000).map(|n| format!("K{n}")).collect();
    let codes: Vec<Option<&str>> = codes.iter().map(|code| Some(code.as_str())).collect();
    let nothing = vec![None; 20_000];
    let result = run(&service, RECIPE, vec![batch(&codes, &nothing, &nothing)]).await.unwrap();
    assert_eq!(result.tables[0].batches[0].column_by_name("medicare_rate").unwrap().null_count(), 0);
    let keys: Vec<usize> = service.keys.lock().unwrap().iter().map(|keys| keys.len()).collect();
    assert_eq!(keys, [8192, 8192, 3616]);
}

#[tokio::test]
async fn an_answer_that_lacks_rows_is_an_error() {
    let service = Arc::new(Rates { lost: 1, ..Rates::default() });
    let error = run(&service, RECIPE, vec![batch(&[Some("A")], &[None], &[None])]).await.unwrap_err();
    assert!(error.to_string().contains("answered 0 of 1 keys"), "{error}");
}

#[tokio::test]
async fn without_its_file_an_enricher_is_not_asked() {
    let service = Arc::new(Rates::default());
    let recipe = RECIPE.replace("      settings: {rvu: rates.csv}\n", "");
    let result = run(&service, &recipe, vec![batch(&[Some("A"), None], &[None; 2], &[None; 2])]).await.unwrap();
    assert_eq!(texts(&result.tables[0].batches[0], "why"), vec![Some("no_reference_file".to_owned()); 2]);
    assert!(service.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn keys_must_be_texts_numbers_or_dates_and_names_must_be_free() {
    let service = Arc::new(Rates::default());
    for (from, to, problem) in [
        ("place: {type: int32}", "place: {type: float}", "'place' is Float64"),
        ("reason: why", "reason: Code", "has a column 'Code' already"),
        ("date: day", "date: month", "'month' is none of the table"),
    ] {
        let error = run(&service, &RECIPE.replace(from, to), Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}
