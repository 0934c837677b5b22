use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_api::{
    Accepted, BoxStream, Caller, Constraint, Gateway, InputFrame, JobProgress, JobSummary, RecipeSource, RejectRow,
    ResumePoint, ServiceError, StreamedInput, SubmitEvent, SubmitRequest, TableRows,
};
use forebay_types::{ChunkId, JobState};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{Meter, Via, conformance, error_number, error_of, errors, watched};

/// Records what it is sent, and says that a chunk is durable every `CHUNK` bytes. A job's name says what to answer.
#[derive(Clone, Default)]
pub(crate) struct TestGateway {
    pub(crate) requests: Arc<Mutex<Vec<SubmitRequest>>>,
    /// Who asked for jobs.
    pub(crate) callers: Arc<Mutex<Vec<Caller>>>,
    pub(crate) received: Arc<Mutex<Vec<u8>>>,
    pub(crate) produced: Meter,
    pub(crate) dropped: CancellationToken,
    /// Lets a submission of recipe `slow` read one frame.
    pub(crate) proceed: Arc<Notify>,
}

pub(crate) const CHUNK: usize = 100_000;
pub(crate) const ROW: usize = 10_000;
/// What the recipe `busy` does without looking at its frames.
pub(crate) const BUSY: Duration = Duration::from_millis(1500);
pub(crate) const BRIEFLY: Duration = Duration::from_millis(100);

struct Submission {
    gateway: TestGateway,
    frames: Option<BoxStream<Result<InputFrame, ServiceError>>>,
    slow: bool,
    /// How long to be busy elsewhere, after it looked in vain for the first frame.
    busy: Option<Duration>,
    /// Where the next frame begins.
    at: u64,
    chunks: u64,
    events: Vec<SubmitEvent>,
}

impl Submission {
    async fn next(&mut self) -> Result<Option<SubmitEvent>, ServiceError> {
        while self.events.is_empty() {
            let Some(frames) = &mut self.frames else {
                return Ok(None);
            };
            if self.slow {
                self.gateway.proceed.notified().await;
            }
            if let Some(busy) = self.busy.take() {
                assert!(tokio::time::timeout(BRIEFLY, frames.next()).await.is_err(), "there is a frame already");
                tokio::time::sleep(busy).await;
            }
            match frames.next().await.transpose()? {
                Some(frame) => {
                    let mut received = self.gateway.received.lock().unwrap();
                    assert_eq!((frame.input, frame.offset), (1, self.at));
                    self.at += frame.data.len() as u64;
                    received.extend_from_slice(&frame.data);
                    while received.len() >= (self.chunks as usize + 1) * CHUNK {
                        self.chunks += 1;
                        let durable_bytes = self.chunks * CHUNK as u64;
                        let chunk = ChunkId(self.chunks as i64);
                        self.events.push(SubmitEvent::ChunkDurable {
                            chunk,
                            input: 1,
                            durable_bytes,
                            records: self.chunks,
                        });
                    }
                }
                None => {
                    self.events.push(SubmitEvent::Complete { chunks: self.chunks });
                    self.frames = None;
                }
            }
        }
        Ok(Some(self.events.remove(0)))
    }
}

pub(crate) fn accepted() -> SubmitEvent {
    let ended = Some(JobState::Failed);
    let resume = vec![
        ResumePoint { input: 0, offset: 1 << 40, complete: true },
        ResumePoint { input: 1, offset: 0, complete: false },
    ];
    SubmitEvent::Accepted(Accepted { job: "the job".to_owned(), resumed: true, ended, resume })
}

fn summary(job: &str) -> JobSummary {
    JobSummary {
        job: job.to_owned(),
        recipe: "claims".to_owned(),
        state: JobState::Failed,
        error: Some("ü".repeat(100)),
        created_at: -1,
        ended_at: Some(i64::MAX),
    }
}

fn progress(job: &str) -> JobProgress {
    JobProgress {
        summary: summary(job),
        records_in: u64::MAX,
        rows_out: vec![TableRows { table: "z".to_owned(), rows: 1 }, TableRows { table: "a".to_owned(), rows: 0 }],
        rejects: BTreeMap::from([("syntax".to_owned(), 3), ("too_deep".to_owned(), 0)]),
        bytes_in: 7,
        bytes_total: Some(0),
        bytes_out: 8,
        chunks: BTreeMap::from([("committed".to_owned(), 9)]),
        retries: 10,
        stages: BTreeMap::from([("decode".to_owned(), u64::MAX)]),
        counts: BTreeMap::from([("enrichment.keys".to_owned(), 7)]),
        constraint: Some(Constraint::ObjectStore),
    }
}

fn reject(number: u64) -> RejectRow {
    RejectRow {
        input: "file:///in.ndjson".to_owned(),
        record: number,
        offset: number * ROW as u64,
        length: ROW as u64,
        reason: "syntax".to_owned(),
        path: String::new(),
        message: "not JSON".to_owned(),
        raw: number.is_multiple_of(2).then(|| vec![0xff; ROW]),
    }
}

#[async_trait]
impl Gateway for TestGateway {
    async fn submit(
        &self,
        _: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError> {
        if let Some(error) = error_number(&request.output) {
            return Err(error);
        }
        let slow = request.recipe == RecipeSource::Shipped("slow".to_owned());
        let busy = (request.recipe == RecipeSource::Shipped("busy".to_owned())).then_some(BUSY);
        let frames = request.inputs.is_empty().then_some(frames);
        let mut events = vec![accepted()];
        if frames.is_none() {
            events.push(SubmitEvent::Complete { chunks: request.inputs.len() as u64 });
        }
        self.requests.lock().unwrap().push(request);
        let submission = Submission { gateway: self.clone(), frames, slow, busy, at: 0, chunks: 0, events };
        let events = stream::try_unfold(submission, |mut submission| async move {
            Ok(submission.next().await?.map(|event| (event, submission)))
        });
        Ok(watched(events.boxed(), &self.dropped))
    }

    async fn get_job(&self, caller: &Caller, job: &str) -> Result<JobProgress, ServiceError> {
        self.callers.lock().unwrap().push(caller.clone());
        if job == "stuck" {
            std::future::pending::<()>().await;
        }
        match error_number(job) {
            Some(error) => Err(error),
            None => Ok(progress(job)),
        }
    }

    async fn list_jobs(&self, _: &Caller, limit: u32, before: Option<i64>) -> Result<Vec<JobSummary>, ServiceError> {
        let newest = before.unwrap_or(20_000);
        Ok((0..newest).rev().take(limit as usize).map(|n| summary(&n.to_string())).collect())
    }

    async fn watch_job(
        &self,
        _: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError> {
        let steps = (0..3).map(|n| Ok(JobProgress { retries: n, ..progress("watched") }));
        let failed = error_number(job).map(Err);
        Ok(stream::iter(steps.chain(failed)).boxed())
    }

    async fn cancel_job(&self, _: &Caller, job: &str) -> Result<(), ServiceError> {
        error_number(job).map_or(Ok(()), Err)
    }

    async fn rejects(&self, _: &Caller, job: &str) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
        let count = if job == "endless" { u64::MAX } else { job.parse().unwrap() };
        let produced = self.produced.clone();
        let rows = (0..count).map(move |number| {
            produced.add(ROW);
            Ok(reject(number))
        });
        Ok(watched(stream::iter(rows).boxed(), &self.dropped))
    }
}

pub(crate) fn request() -> SubmitRequest {
    SubmitRequest {
        key: Some(String::new()),
        recipe: RecipeSource::Inline { name: "r.yaml".to_owned(), text: "name: r".to_owned() },
        settings: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]),
        format: "auto".to_owned(),
        output: "s3://bucket/prefix".to_owned(),
        inputs: vec![],
        max_rejects: Some(0),
        streams: vec![
            StreamedInput { name: "a".to_owned(), size: Some(0), version: Some(String::new()) },
            StreamedInput { name: String::new(), size: None, version: None },
        ],
    }
}

fn slow_request() -> SubmitRequest {
    SubmitRequest { recipe: RecipeSource::Shipped("slow".to_owned()), ..request() }
}

/// Frames of very different lengths, whose bytes tell their place.
fn frames(count: usize) -> Vec<Bytes> {
    (0..count).map(|n| (0..n * 7919 % 80_000).map(|i| (n * 31 + i) as u8).collect()).collect()
}

/// Frames of the second input, one behind the other.
fn sent(frames: impl IntoIterator<Item = Bytes>) -> Vec<InputFrame> {
    let mut offset = 0;
    let one_behind_the_other = |data: Bytes| {
        let frame = InputFrame { input: 1, offset, data };
        offset += frame.data.len() as u64;
        frame
    };
    frames.into_iter().map(one_behind_the_other).collect()
}

/// Frames for as long as somebody takes them.
pub(crate) fn endless_frames(produced: &Meter) -> BoxStream<Result<InputFrame, ServiceError>> {
    let produced = produced.clone();
    let mut offset = 0;
    stream::repeat_with(move || {
        produced.add(ROW);
        let frame = InputFrame { input: 1, offset, data: Bytes::from_static(&[b'x'; ROW]) };
        offset += ROW as u64;
        Ok(frame)
    })
    .boxed()
}

async fn events_come_in_order_and_bytes_arrive_as_they_were(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let frames = frames(150);
    let all = frames.concat();
    let events = gateway.submit(&Caller::local(), request(), stream::iter(sent(frames)).map(Ok).boxed()).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    let chunks = all.len() / CHUNK;
    let expected = std::iter::once(accepted())
        .chain((1..=chunks).map(|n| SubmitEvent::ChunkDurable {
            chunk: ChunkId(n as i64),
            input: 1,
            durable_bytes: (n * CHUNK) as u64,
            records: n as u64,
        }))
        .chain([SubmitEvent::Complete { chunks: chunks as u64 }]);
    assert_eq!(events, expected.collect::<Vec<_>>());
    assert_eq!(*service.received.lock().unwrap(), all);
    assert_eq!(*service.requests.lock().unwrap(), [request()]);
}

async fn a_frame_larger_than_a_message_arrives_whole(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let frame: Bytes = (0..5_000_001_u32).map(|n| (n % 251) as u8).collect();
    let frames = sent([frame.clone(), Bytes::new(), Bytes::from_static(b"end")]);
    let frames = stream::iter(frames).map(Ok).boxed();
    let events = gateway.submit(&Caller::local(), request(), frames).await.unwrap();
    assert_eq!(events.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap(), 52);
    assert_eq!(*service.received.lock().unwrap(), [&frame[..], b"end"].concat());
}

async fn frames_may_wait_for_the_first_event(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let frames = stream::once(async move {
        wait.notified().await;
        Ok(InputFrame { input: 1, offset: 0, data: Bytes::from_static(b"late") })
    });
    let mut events = gateway.submit(&Caller::local(), request(), frames.boxed()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), accepted());
    go.notify_one();
    assert_eq!(events.next().await.unwrap().unwrap(), SubmitEvent::Complete { chunks: 0 });
    assert!(events.next().await.is_none());
    assert_eq!(*service.received.lock().unwrap(), b"late");
}

async fn no_frames_are_a_complete_input(via: Via) {
    let (gateway, _running) = via.gateway(Arc::new(TestGateway::default())).await;
    let events = gateway.submit(&Caller::local(), request(), stream::empty().boxed()).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert_eq!(events, [accepted(), SubmitEvent::Complete { chunks: 0 }]);
}

async fn frames_are_not_read_beside_named_inputs(via: Via) {
    let (gateway, _running) = via.gateway(Arc::new(TestGateway::default())).await;
    let produced = Meter::default();
    let inputs = vec!["file:///a".to_owned(), "s3://b/c".to_owned()];
    let request = SubmitRequest { inputs, recipe: RecipeSource::Shipped("claims".to_owned()), ..request() };
    let events = gateway.submit(&Caller::local(), request, endless_frames(&produced)).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert_eq!(events, [accepted(), SubmitEvent::Complete { chunks: 2 }]);
    assert_eq!(produced.get(), 0);
}

async fn every_error_is_the_same_at_once_and_in_a_stream(via: Via) {
    let (gateway, _running) = via.gateway(Arc::new(TestGateway::default())).await;
    for (number, error) in errors().into_iter().enumerate() {
        let name = format!("error {number}");
        assert_eq!(error_of(gateway.get_job(&Caller::local(), &name).await), error);
        assert_eq!(error_of(gateway.cancel_job(&Caller::local(), &name).await), error);
        let request = SubmitRequest { output: name.clone(), ..request() };
        assert_eq!(error_of(gateway.submit(&Caller::local(), request, stream::pending().boxed()).await), error);
        let mut progress = gateway.watch_job(&Caller::local(), &name).await.unwrap();
        for retries in 0..3 {
            assert_eq!(progress.next().await.unwrap().unwrap().retries, retries);
        }
        assert_eq!(error_of(progress.next().await.unwrap()), error);
        assert!(progress.next().await.is_none());
    }
}

async fn an_error_among_the_frames_reaches_the_gateway_and_comes_back(via: Via) {
    for error in errors() {
        let service = TestGateway::default();
        let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
        let [first, last] = sent([Bytes::from(vec![1; CHUNK]), Bytes::from_static(b"never")]).try_into().unwrap();
        let frames = [Ok(first), Err(error.clone()), Ok(last)];
        let mut events = gateway.submit(&Caller::local(), request(), stream::iter(frames).boxed()).await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap(), accepted());
        assert!(matches!(events.next().await.unwrap().unwrap(), SubmitEvent::ChunkDurable { .. }));
        assert_eq!(error_of(events.next().await.unwrap()), error);
        assert!(events.next().await.is_none());
        assert_eq!(service.received.lock().unwrap().len(), CHUNK);
    }
}

async fn progress_lists_and_rejects_come_as_they_are(via: Via) {
    let (gateway, _running) = via.gateway(Arc::new(TestGateway::default())).await;
    assert_eq!(gateway.get_job(&Caller::local(), "a job/ü").await.unwrap(), progress("a job/ü"));
    gateway.cancel_job(&Caller::local(), "a job").await.unwrap();
    let watched: Vec<_> = gateway.watch_job(&Caller::local(), "a job").await.unwrap().try_collect().await.unwrap();
    assert_eq!(watched.len(), 3);
    let jobs = gateway.list_jobs(&Caller::local(), 20_000, None).await.unwrap();
    assert_eq!(jobs, (0..20_000).rev().map(|n| summary(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(gateway.list_jobs(&Caller::local(), 2, Some(10)).await.unwrap(), [summary("9"), summary("8")]);
    assert_eq!(gateway.list_jobs(&Caller::local(), 0, Some(10)).await.unwrap(), []);
    let rejects: Vec<_> = gateway.rejects(&Caller::local(), "1000").await.unwrap().try_collect().await.unwrap();
    assert_eq!(rejects, (0..1000).map(reject).collect::<Vec<_>>());
    assert!(gateway.rejects(&Caller::local(), "0").await.unwrap().next().await.is_none());
}

async fn a_slow_reader_bounds_the_producer(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let mut rejects = gateway.rejects(&Caller::local(), "endless").await.unwrap();
    let mut consumed = 0;
    for count in [1, 10, 500] {
        for _ in 0..count {
            rejects.next().await.unwrap().unwrap();
        }
        consumed += count * ROW as u64;
        let ahead = service.produced.settled().await - consumed;
        assert!(ahead < 5 << 20, "{ahead} bytes ahead");
    }
}

async fn a_slow_gateway_bounds_the_frames(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let produced = Meter::default();
    let mut events = gateway.submit(&Caller::local(), slow_request(), endless_frames(&produced)).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), accepted());
    let reader = tokio::spawn(async move { events.next().await });
    for _ in 0..3 {
        service.proceed.notify_one();
        let ahead = produced.settled().await - service.received.lock().unwrap().len() as u64;
        assert!(ahead < 4 << 20, "{ahead} bytes ahead");
    }
    reader.abort();
}

async fn dropping_the_events_cancels_the_submission(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let mut events = gateway.submit(&Caller::local(), request(), stream::pending().boxed()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), accepted());
    drop(events);
    service.dropped.cancelled().await;
}

async fn dropping_the_rejects_stops_the_producer(via: Via) {
    let service = TestGateway::default();
    let (gateway, _running) = via.gateway(Arc::new(service.clone())).await;
    let mut rejects = gateway.rejects(&Caller::local(), "endless").await.unwrap();
    rejects.next().await.unwrap().unwrap();
    drop(rejects);
    service.dropped.cancelled().await;
    let produced = service.produced.settled().await;
    assert!(produced < 5 << 20, "{produced}");
}

conformance! {
    events_come_in_order_and_bytes_arrive_as_they_were,
    a_frame_larger_than_a_message_arrives_whole,
    frames_may_wait_for_the_first_event,
    no_frames_are_a_complete_input,
    frames_are_not_read_beside_named_inputs,
    every_error_is_the_same_at_once_and_in_a_stream,
    an_error_among_the_frames_reaches_the_gateway_and_comes_back,
    progress_lists_and_rejects_come_as_they_are,
    a_slow_reader_bounds_the_producer,
    a_slow_gateway_bounds_the_frames,
    dropping_the_events_cancels_the_submission,
    dropping_the_rejects_stops_the_producer,
}
