use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, ServiceError};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Meter, Via, conformance, error_number, error_of, errors, watched};

/// Answers keys in capitals, and says that keys with a question mark are missing. The name of the enricher and keys
/// such as `error 3` say what to fail with; the enricher `verbose` answers a megabyte a key.
#[derive(Clone, Default)]
pub(crate) struct TestEnrichment {
    requests: Arc<Mutex<Vec<EnrichRequest>>>,
    key_types: Arc<Mutex<Vec<DataType>>>,
    answered: Meter,
    dropped: CancellationToken,
}

fn answer(keys: &ArrayRef, verbose: bool) -> Result<RecordBatch, ServiceError> {
    let texts: Vec<String> = match keys.as_string_opt::<i32>() {
        Some(texts) => texts.iter().flatten().map(str::to_owned).collect(),
        None => keys.as_primitive::<arrow_array::types::Int64Type>().values().iter().map(i64::to_string).collect(),
    };
    if let Some(error) = texts.iter().find_map(|key| error_number(key)) {
        return Err(error);
    }
    let repeat = if verbose { 1 << 20 } else { 1 };
    let names = texts.iter().map(|key| (!key.contains('?')).then(|| key.to_uppercase().repeat(repeat)));
    let reasons = texts.iter().map(|key| key.contains('?').then_some("missing"));
    let columns: [(&str, ArrayRef); 2] =
        [("name", Arc::new(names.collect::<StringArray>())), ("_reason", Arc::new(reasons.collect::<StringArray>()))];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap())
}

#[async_trait]
impl Enrichment for TestEnrichment {
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        if let Some(error) = error_number(&request.enricher) {
            return Err(error);
        }
        let verbose = request.enricher == "verbose";
        self.requests.lock().unwrap().push(request);
        let (types, answered) = (Arc::clone(&self.key_types), self.answered.clone());
        let rows = keys.map(move |keys| {
            let keys = keys?.keys;
            types.lock().unwrap().push(keys.data_type().clone());
            answered.add(1);
            answer(&keys, verbose)
        });
        Ok(watched(rows.boxed(), &self.dropped))
    }
}

fn request(enricher: &str) -> EnrichRequest {
    EnrichRequest {
        enricher: enricher.to_owned(),
        settings: BTreeMap::from([("rate".to_owned(), "5".to_owned())]),
        columns: vec!["name".to_owned()],
    }
}

fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<KeyBatch, ServiceError> {
    Ok(KeyBatch { keys: Arc::new(StringArray::from_iter_values(keys)) })
}

fn names(rows: &RecordBatch) -> Vec<Option<&str>> {
    rows.column_by_name("name").unwrap().as_string::<i32>().iter().collect()
}

fn reasons(rows: &RecordBatch) -> Vec<Option<&str>> {
    rows.column_by_name("_reason").unwrap().as_string::<i32>().iter().collect()
}

async fn one_answer_a_batch_comes_in_order(via: Via) {
    let service = TestEnrichment::default();
    let (enrichment, _running) = via.enrichment(Arc::new(service.clone())).await;
    let sent = [keys(["b", "?", "ü"]), keys([]), keys(["a"])];
    let rows = enrichment.enrich(request("upper"), stream::iter(sent).boxed()).await.unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(names).collect::<Vec<_>>(), [vec![Some("B"), None, Some("Ü")], vec![], vec![Some("A")]]);
    assert_eq!(reasons(&rows[0]), [None, Some("missing"), None]);
    assert_eq!(*service.requests.lock().unwrap(), [request("upper")]);
}

async fn no_keys_have_no_answers(via: Via) {
    let (enrichment, _running) = via.enrichment(Arc::new(TestEnrichment::default())).await;
    let mut rows = enrichment.enrich(request("upper"), stream::empty().boxed()).await.unwrap();
    assert!(rows.next().await.is_none());
}

async fn keys_keep_their_type(via: Via) {
    let service = TestEnrichment::default();
    let (enrichment, _running) = via.enrichment(Arc::new(service.clone())).await;
    let sent = [Ok(KeyBatch { keys: Arc::new(Int64Array::from_iter_values(7..10)) }), keys(["a"])];
    let rows = enrichment.enrich(request("upper"), stream::iter(sent).boxed()).await.unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(names(&rows[0]), [Some("7"), Some("8"), Some("9")]);
    assert_eq!(*service.key_types.lock().unwrap(), [DataType::Int64, DataType::Utf8]);
}

async fn keys_may_wait_for_answers(via: Via) {
    let (enrichment, _running) = via.enrichment(Arc::new(TestEnrichment::default())).await;
    let (sender, receiver) = mpsc::channel(1);
    let sent = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let mut rows = enrichment.enrich(request("upper"), sent.boxed()).await.unwrap();
    for key in ["a", "b", "", "c"] {
        sender.send(keys([key].into_iter().filter(|key| !key.is_empty()))).await.unwrap();
        let rows = rows.next().await.unwrap().unwrap();
        assert_eq!(names(&rows).len(), key.len());
    }
    drop(sender);
    assert!(rows.next().await.is_none());
}

async fn a_large_batch_has_one_answer(via: Via) {
    let (enrichment, _running) = via.enrichment(Arc::new(TestEnrichment::default())).await;
    let large: Vec<_> = (0..8192).map(|n| format!("{n:01000}k")).collect();
    let sent = [keys(large.iter().map(String::as_str)), keys(["last"])];
    let rows = enrichment.enrich(request("upper"), stream::iter(sent).boxed()).await.unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [8192, 1]);
    assert!(names(&rows[0]).into_iter().flatten().eq(large.iter().map(|key| key.to_uppercase())));
}

async fn every_error_is_the_same_from_either_side(via: Via) {
    let (enrichment, _running) = via.enrichment(Arc::new(TestEnrichment::default())).await;
    for (number, error) in errors().into_iter().enumerate() {
        let name = format!("error {number}");
        assert_eq!(error_of(enrichment.enrich(request(&name), stream::pending().boxed()).await), error);
        for fault in [keys([name.as_str()]), Err(error.clone())] {
            let sent = [keys(["a"]), fault, keys(["never"])];
            let mut rows = enrichment.enrich(request("upper"), stream::iter(sent).boxed()).await.unwrap();
            assert_eq!(names(&rows.next().await.unwrap().unwrap()), [Some("A")]);
            assert_eq!(error_of(rows.next().await.unwrap()), error);
        }
    }
}

/// Keys for as long as somebody takes them, in batches of a megabyte.
fn endless(produced: &Meter) -> BoxStream<Result<KeyBatch, ServiceError>> {
    let produced = produced.clone();
    let batch: Vec<_> = (0..1000).map(|n| format!("{n:01000}")).collect();
    stream::repeat_with(move || {
        produced.add(1);
        keys(batch.iter().map(String::as_str))
    })
    .boxed()
}

async fn answers_that_nobody_reads_bound_the_keys(via: Via) {
    let service = TestEnrichment::default();
    let (enrichment, _running) = via.enrichment(Arc::new(service.clone())).await;
    let produced = Meter::default();
    let mut rows = enrichment.enrich(request("upper"), endless(&produced)).await.unwrap();
    for consumed in 1..5 {
        rows.next().await.unwrap().unwrap();
        let ahead = produced.settled().await - consumed;
        assert!(ahead <= 12, "{ahead} MB ahead");
    }
}

async fn dropping_the_answers_cancels_the_call(via: Via) {
    for sent in [stream::pending().boxed(), endless(&Meter::default())] {
        let service = TestEnrichment::default();
        let (enrichment, _running) = via.enrichment(Arc::new(service.clone())).await;
        let rows = enrichment.enrich(request("upper"), sent).await.unwrap();
        service.answered.settled().await;
        drop(rows);
        service.dropped.cancelled().await;
    }
}

async fn dropping_answers_of_which_none_fits_cancels_the_call(via: Via) {
    let service = TestEnrichment::default();
    let (enrichment, _running) = via.enrichment(Arc::new(service.clone())).await;
    let sent = stream::repeat_with(|| keys(["a"; 20])).boxed();
    let mut rows = enrichment.enrich(request("verbose"), sent).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 20);
    service.answered.settled().await;
    drop(rows);
    service.dropped.cancelled().await;
}

conformance! {
    one_answer_a_batch_comes_in_order,
    no_keys_have_no_answers,
    keys_keep_their_type,
    keys_may_wait_for_answers,
    a_large_batch_has_one_answer,
    every_error_is_the_same_from_either_side,
    answers_that_nobody_reads_bound_the_keys,
    dropping_the_answers_cancels_the_call,
    dropping_answers_of_which_none_fits_cancels_the_call,
}
