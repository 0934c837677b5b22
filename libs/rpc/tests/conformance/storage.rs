use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use forebay_api::{
    AttemptHeader, AttemptItem, AttemptOutcome, AttemptReceipt, BoxStream, ErrorKind, ServiceError, Storage,
};
use forebay_types::{ChunkId, GroupId, JobId};
use futures::stream::{self, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{Meter, Via, conformance, error_of, errors, watched};

/// Collects an attempt and fails one without an end. A job's number says what else to do.
#[derive(Clone, Default)]
pub(crate) struct TestStorage {
    headers: Arc<Mutex<Vec<AttemptHeader>>>,
    batches: Arc<Mutex<Vec<(String, RecordBatch)>>>,
    outcome: Arc<Mutex<Option<AttemptOutcome>>>,
    received: Meter,
    proceed: Arc<Notify>,
    dropped: CancellationToken,
}

/// Jobs from here on fail with the error of that number.
const FAILING: i64 = 1000;
const SLOW: i64 = 1;
const STUCK: i64 = 2;

#[async_trait]
impl Storage for TestStorage {
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        let mut items = watched(items, &self.dropped);
        let job = header.job.0;
        self.headers.lock().unwrap().push(header);
        if job >= FAILING {
            return Err(errors().remove((job - FAILING) as usize));
        }
        if job == STUCK {
            std::future::pending::<()>().await;
        }
        let mut rows = BTreeMap::new();
        while let Some(item) = items.next().await {
            match item? {
                AttemptItem::Batch { table, batch } => {
                    self.received.add(batch.num_rows());
                    *rows.entry(table.clone()).or_default() += batch.num_rows() as u64;
                    self.batches.lock().unwrap().push((table, batch));
                }
                AttemptItem::Done(outcome) => {
                    *self.outcome.lock().unwrap() = Some(outcome);
                    return Ok(AttemptReceipt { group: GroupId(-5), rows });
                }
            }
            if job == SLOW {
                self.proceed.notified().await;
            }
        }
        Err(ServiceError::new(ErrorKind::FailedPrecondition, "ATTEMPT_INCOMPLETE", "the attempt has no outcome"))
    }

    async fn flush(&self, job: JobId) -> Result<(), ServiceError> {
        errors().into_iter().nth(job.0 as usize).map_or(Ok(()), Err)
    }
}

impl TestStorage {
    /// What a table got, as one batch.
    fn table(&self, name: &str) -> RecordBatch {
        let batches = self.batches.lock().unwrap();
        let batches: Vec<_> = batches.iter().filter(|(table, _)| table == name).map(|(_, batch)| batch).collect();
        arrow_select::concat::concat_batches(&batches[0].schema(), batches).unwrap()
    }
}

fn header(job: i64) -> AttemptHeader {
    AttemptHeader { job: JobId(job), chunk: ChunkId(i64::MIN), attempt: u32::MAX, commit_now: true }
}

fn events(first: i64, rows: i64) -> RecordBatch {
    let numbers = first..first + rows;
    let times = numbers.clone().map(|n| (n % 3 != 0).then_some(n * 1_000_003));
    let names = numbers.clone().map(|n| (n % 7 != 0).then(|| format!("naïve {n}")));
    let columns: [(&str, ArrayRef); 3] = [
        ("number", Arc::new(Int64Array::from_iter_values(numbers))),
        ("time", Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("name", Arc::new(names.collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn texts(rows: usize, length: usize) -> RecordBatch {
    let texts = StringArray::from_iter_values((0..rows).map(|n| format!("{n:05}{}", "x".repeat(length))));
    RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap()
}

fn batch(table: &str, batch: RecordBatch) -> Result<AttemptItem, ServiceError> {
    Ok(AttemptItem::Batch { table: table.to_owned(), batch })
}

fn done() -> Result<AttemptItem, ServiceError> {
    Ok(AttemptItem::Done(AttemptOutcome::default()))
}

fn items(
    items: impl IntoIterator<Item = Result<AttemptItem, ServiceError>, IntoIter: Send + 'static>,
) -> BoxStream<Result<AttemptItem, ServiceError>> {
    stream::iter(items).boxed()
}

/// Batches of a megabyte for as long as somebody takes them.
fn endless(produced: &Meter) -> BoxStream<Result<AttemptItem, ServiceError>> {
    let produced = produced.clone();
    items(std::iter::repeat_with(move || {
        produced.add(1000);
        batch("text", texts(1000, 1000))
    }))
}

async fn batches_come_in_order_with_their_types_and_nulls(via: Via) {
    let service = TestStorage::default();
    let (storage, _running) = via.storage(Arc::new(service.clone())).await;
    let sent = vec![
        ("events".to_owned(), events(0, 1000)),
        ("texts".to_owned(), texts(10, 5)),
        ("events".to_owned(), events(1000, 0)),
        ("events".to_owned(), events(1000, 4000).slice(1000, 2000)),
        ("ü".to_owned(), texts(0, 0)),
        ("texts".to_owned(), texts(11, 6)),
    ];
    let parts = sent.clone().into_iter().map(|(table, rows)| batch(&table, rows)).chain([done()]);
    let receipt = storage.write_attempt(header(0), items(parts)).await.unwrap();
    let rows = [("events", 3000), ("texts", 21), ("ü", 0)].map(|(table, rows)| (table.to_owned(), rows));
    assert_eq!(receipt, AttemptReceipt { group: GroupId(-5), rows: rows.into() });
    assert_eq!(*service.headers.lock().unwrap(), [header(0)]);
    assert_eq!(*service.batches.lock().unwrap(), sent);
    assert_eq!(*service.outcome.lock().unwrap(), Some(AttemptOutcome::default()));
}

async fn a_batch_of_20_mib_and_a_row_of_10_mib_arrive_whole(via: Via) {
    let service = TestStorage::default();
    let (storage, _running) = via.storage(Arc::new(service.clone())).await;
    let (large, long) = (texts(8000, 2700), texts(1, 10 << 20));
    let parts = [batch("large", large.clone()), batch("long", long.clone()), done()];
    let receipt = storage.write_attempt(header(0), items(parts)).await.unwrap();
    assert_eq!(receipt.rows, BTreeMap::from([("large".to_owned(), 8000), ("long".to_owned(), 1)]));
    assert_eq!(service.table("large"), large);
    assert_eq!(service.table("long"), long);
}

async fn the_outcome_comes_as_it_is(via: Via) {
    let service = TestStorage::default();
    let (storage, _running) = via.storage(Arc::new(service.clone())).await;
    let outcome = AttemptOutcome {
        records_in: 6000,
        rejects: BTreeMap::from([("syntax".to_owned(), 7), ("too_deep".to_owned(), 0)]),
        stages: BTreeMap::from([("decode".to_owned(), 12), ("write".to_owned(), u64::MAX)]),
        counts: BTreeMap::from([("enrichment.keys".to_owned(), 7)]),
    };
    let receipt = storage.write_attempt(header(0), items([Ok(AttemptItem::Done(outcome.clone()))])).await.unwrap();
    assert_eq!(receipt.rows, BTreeMap::new());
    assert_eq!(*service.outcome.lock().unwrap(), Some(outcome));
}

async fn an_attempt_without_an_end_fails(via: Via) {
    let (storage, _running) = via.storage(Arc::new(TestStorage::default())).await;
    for parts in [vec![], vec![batch("texts", texts(10, 5))]] {
        let error = error_of(storage.write_attempt(header(0), items(parts)).await);
        assert_eq!((error.kind, &*error.reason), (ErrorKind::FailedPrecondition, "ATTEMPT_INCOMPLETE"));
    }
}

async fn every_error_is_the_same_from_either_side(via: Via) {
    let (storage, _running) = via.storage(Arc::new(TestStorage::default())).await;
    for (number, error) in errors().into_iter().enumerate() {
        assert_eq!(error_of(storage.flush(JobId(number as i64)).await), error);
        let failing = storage.write_attempt(header(FAILING + number as i64), stream::pending().boxed()).await;
        assert_eq!(error_of(failing), error);
        let parts = [batch("texts", texts(10, 5)), Err(error.clone()), done()];
        assert_eq!(error_of(storage.write_attempt(header(0), items(parts)).await), error);
    }
    storage.flush(JobId(errors().len() as i64)).await.unwrap();
}

async fn a_writer_that_refuses_early_is_not_sent_the_rest(via: Via) {
    let (storage, _running) = via.storage(Arc::new(TestStorage::default())).await;
    let produced = Meter::default();
    let error = error_of(storage.write_attempt(header(FAILING + 5), endless(&produced)).await);
    assert_eq!(error, errors().remove(5));
    let rows = produced.settled().await;
    assert!(rows < 6000, "{rows} kB were sent");
}

async fn a_slow_writer_bounds_the_sender(via: Via) {
    let service = TestStorage::default();
    let (storage, _running) = via.storage(Arc::new(service.clone())).await;
    let produced = Meter::default();
    let sending = endless(&produced);
    let writing = tokio::spawn(async move { storage.write_attempt(header(SLOW), sending).await });
    for _ in 0..4 {
        let ahead = produced.settled().await - service.received.get();
        assert!(ahead <= 6000, "{ahead} kB ahead");
        service.proceed.notify_one();
    }
    assert!(service.received.get() >= 3000);
    writing.abort();
    service.dropped.cancelled().await;
}

async fn dropping_the_future_cancels_the_attempt(via: Via) {
    let service = TestStorage::default();
    let (storage, _running) = via.storage(Arc::new(service.clone())).await;
    let produced = Meter::default();
    let sending = endless(&produced);
    let writing = tokio::spawn(async move { storage.write_attempt(header(STUCK), sending).await });
    produced.settled().await;
    assert_eq!(service.headers.lock().unwrap().len(), 1);
    writing.abort();
    service.dropped.cancelled().await;
    assert!(produced.settled().await < 6000);
}

conformance! {
    batches_come_in_order_with_their_types_and_nulls,
    a_batch_of_20_mib_and_a_row_of_10_mib_arrive_whole,
    the_outcome_comes_as_it_is,
    an_attempt_without_an_end_fails,
    every_error_is_the_same_from_either_side,
    a_writer_that_refuses_early_is_not_sent_the_rest,
    a_slow_writer_bounds_the_sender,
    dropping_the_future_cancels_the_attempt,
}
