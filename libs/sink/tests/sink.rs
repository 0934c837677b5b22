//! The sink against a real server.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::SchemaRef;
use forebay_sink::{Commit, Loaded, PostgresSink, SinkError, SinkTarget, SinkUrl, Source};
use forebay_testing::postgres::Postgres;
use futures::StreamExt;

fn sink(url: &str) -> PostgresSink {
    PostgresSink::new(url.parse().unwrap(), 3)
}

fn commit(place: i64) -> Commit {
    Commit { catalog: "c".to_owned(), job: 1, place }
}

/// A source of some batches, as often as it is opened.
fn source(batches: Vec<RecordBatch>) -> Box<Source> {
    Box::new(move || {
        let batches = batches.clone();
        Box::pin(async move { Ok(futures::stream::iter(batches.into_iter().map(Ok)).boxed()) })
    })
}

fn items(first: i32, count: i32) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(first..first + count));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((first..first + count).map(|n| format!("item {n}"))));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap()
}

async fn load(sink: &PostgresSink, target: &SinkTarget, place: i64, batch: &RecordBatch) -> Result<Loaded, SinkError> {
    sink.load(target, &commit(place), "items", batch.num_rows() as u64, &source(vec![batch.clone()])).await
}

fn psql(server: &Postgres, url: &str, sql: &str) -> String {
    server.query_in(url.rsplit('/').next().unwrap().split('?').next().unwrap(), sql)
}

fn every_type() -> RecordBatch {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a\"b"), None, Some("\0")]);
    list.append_null();
    list.append_value([] as [Option<&str>; 0]);
    let decimals = Decimal128Array::from(vec![Some(-12_345), None, Some(10_000_000)]);
    let number: PrimitiveArray<Int32Type> = vec![Some(i32::MIN), None, Some(7)].into();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("text", Arc::new(StringArray::from(vec![Some("é\u{1f600}|\\N"), None, Some("a\0b")])), true),
        ("number", Arc::new(number), true),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(-1)])), true),
        ("huge", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])), true),
        ("float", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::NEG_INFINITY)])), true),
        ("money", Arc::new(decimals.with_precision_and_scale(20, 3).unwrap()), true),
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), true),
        ("day", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(20_000)])), true),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(i64::MIN)]).with_timezone("UTC")),
            true,
        ),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")])), true),
        ("Some \"List\"", Arc::new(list.finish()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test]
async fn every_type_arrives_by_copy_and_by_insert() {
    let server = Postgres::shared();
    let url = server.database();
    let sink = sink(&url);
    let batch = every_type();
    let mut seen = Vec::new();
    for table in ["copied", "inserted"] {
        sink.prepare(sink.target(), &[(table.to_owned(), batch.schema())]).await.unwrap();
        if table == "inserted" {
            // Row-level security takes no COPY from a user that it is for.
            psql(
                server,
                &url,
                "CREATE ROLE clerk LOGIN PASSWORD 'x'; ALTER TABLE inserted OWNER TO clerk; ALTER TABLE _forebay_commits OWNER TO clerk",
            );
            psql(
                server,
                &url,
                "ALTER TABLE inserted ENABLE ROW LEVEL SECURITY; ALTER TABLE inserted FORCE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON inserted USING (true)",
            );
        }
        let own = if table == "inserted" {
            let (_, rest) = url.split_once('@').unwrap();
            format!("postgres://clerk:x@{rest}")
        } else {
            url.clone()
        };
        let sink = self::sink(&own);
        let loaded = sink.load(sink.target(), &commit(1), table, 3, &source(vec![batch.clone()])).await.unwrap();
        assert_eq!(loaded, Loaded::Rows(3));
        if table == "copied" {
            // Nor does a view, which only says so at the end.
            psql(server, &url, "CREATE VIEW seen AS SELECT * FROM copied");
            let loaded = sink.load(sink.target(), &commit(1), "seen", 3, &source(vec![batch.clone()])).await.unwrap();
            assert_eq!(loaded, Loaded::Rows(3));
            assert_eq!(psql(server, &url, "SELECT count(*), count(DISTINCT text) FROM copied"), "6|2");
            psql(server, &url, "DELETE FROM copied WHERE ctid IN (SELECT max(ctid) FROM copied GROUP BY text)");
        }
        seen.push(psql(server, &url, &format!("SET timezone = 'UTC'; SELECT * FROM {table}")));
    }
    let expected = [
        "é😀|\\N|-2147483648|-9223372036854775808|18446744073709551615|0.1|-12.345|t|0001-01-01|1969-12-31 23:59:59.999999+00|\\x00ff|[\"a\\\"b\", null, \"\u{fffd}\"]",
        "||||||||||",
        "a\u{fffd}b|7|-1|0|-Infinity|10000.000|f|2024-10-04|-infinity|\\x|[]",
    ];
    assert_eq!(seen[0].lines().collect::<Vec<_>>(), expected);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_group_is_loaded_once_and_in_order() {
    let server = Postgres::shared();
    let url = server.database();
    let sink = sink(&url);
    let target = sink.target();
    for place in [1, 2, 2, 1, 3] {
        let loaded = load(&sink, target, place, &items(place as i32 * 10, 10)).await.unwrap();
        let count: u64 = psql(server, &url, "SELECT count(*) FROM items").parse().unwrap();
        let again = [Loaded::AlreadyThere, Loaded::Rows(10)];
        assert!(again.contains(&loaded) && count <= 30, "{place}: {loaded:?} {count}");
    }
    assert_eq!(psql(server, &url, "SELECT count(*), count(DISTINCT id) FROM items"), "30|30");
    assert_eq!(psql(server, &url, "SELECT last_commit, rows FROM _forebay_commits"), "3|30");
    // Another job has an order of its own.
    let other = Commit { job: 2, ..commit(1) };
    sink.load(target, &other, "items", 5, &source(vec![items(100, 5)])).await.unwrap();
    assert_eq!(psql(server, &url, "SELECT count(*) FROM items"), "35");
}

#[tokio::test]
async fn rows_that_are_short_or_unreadable_leave_nothing() {
    let server = Postgres::shared();
    let url = server.database();
    let sink = sink(&url);
    let short = sink.load(sink.target(), &commit(1), "items", 11, &source(vec![items(0, 10)])).await.unwrap_err();
    assert!(short.to_string().contains("10 rows, and 11"), "{short}");
    let broken: Box<Source> = Box::new(|| {
        let error = SinkError::Source { message: "the disk is gone".to_owned(), transient: true };
        Box::pin(async move { Ok(futures::stream::iter([Ok(items(0, 10)), Err(error)]).boxed()) })
    });
    let error = sink.load(sink.target(), &commit(1), "items", 20, &*broken).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(psql(server, &url, "SELECT count(*) FROM items"), "0");
    assert_eq!(load(&sink, sink.target(), 1, &items(0, 10)).await.unwrap(), Loaded::Rows(10));
}

#[tokio::test]
async fn rows_with_a_key_replace_others() {
    let server = Postgres::shared();
    let url = server.database();
    let sink = sink(&format!("{url}?key.items=id"));
    let target = sink.target();
    load(&sink, target, 1, &items(0, 10)).await.unwrap();
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), Some(10), Some(3), None, None]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["early", "ten", "late", "a", "b"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap();
    load(&sink, target, 2, &batch).await.unwrap();
    assert_eq!(
        psql(server, &url, "SELECT count(*), count(id), max(name) FILTER (WHERE id = 3) FROM items"),
        "13|11|late"
    );
    // Without a unique index there is nothing to tell what is to be replaced.
    psql(server, &url, "CREATE TABLE plain (id int, name text)");
    let target: SinkTarget = format!("{}?key.plain=id", target.database()).parse().unwrap();
    let error = sink.prepare(&target, &[("plain".to_owned(), items(0, 1).schema())]).await.unwrap_err();
    assert!(error.to_string().contains("CREATE UNIQUE INDEX"), "{error}");
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_the_remedy() {
    let server = Postgres::shared();
    let url = server.database();
    let sink = sink(&url);
    let schema: SchemaRef = items(0, 1).schema();
    for (sql, named) in [
        ("CREATE TABLE items (id int)", "ADD COLUMN \"name\" text"),
        ("CREATE TABLE items (id text, name text)", "'id' is text, and integer is needed"),
        ("CREATE TABLE items (id int, name text, at date NOT NULL)", "'at' may not be null"),
    ] {
        psql(server, &url, sql);
        let error = sink.prepare(sink.target(), &[("items".to_owned(), Arc::clone(&schema))]).await.unwrap_err();
        assert!(error.to_string().contains(named) && !error.is_transient(), "{error}");
        psql(server, &url, "DROP TABLE items");
    }
    // Wider types, more columns and another order are no obstacle.
    psql(server, &url, "CREATE TABLE items (more date, name varchar(20), id numeric, made int DEFAULT 5 NOT NULL)");
    load(&sink, sink.target(), 1, &items(7, 1)).await.unwrap();
    assert_eq!(psql(server, &url, "SELECT * FROM items"), "|item 7|7|5");
    // A value that does not fit is not shown.
    psql(server, &url, "ALTER TABLE items ADD CONSTRAINT no_eight CHECK (id <> 8)");
    let error = load(&sink, sink.target(), 2, &items(8, 1)).await.unwrap_err().to_string();
    assert!(error.contains("no_eight") && !error.contains("item 8"), "{error}");
}

#[tokio::test]
async fn who_may_not_is_told_what_to_do_and_no_password_is_shown() {
    let server = Postgres::shared();
    let url = server.database();
    psql(server, &url, "CREATE ROLE reader LOGIN PASSWORD 'pass-w0rd'; CREATE TABLE items (id int, name text)");
    let (_, rest) = url.split_once('@').unwrap();
    let tables = [("items".to_owned(), items(0, 1).schema())];
    for (text, named) in [
        (format!("postgres://reader:pass-w0rd@{rest}"), "GRANT"),
        (format!("postgres://reader:wr0ng@{rest}"), "correct user and password"),
        (format!("{url}_nowhere"), "create the database"),
        (format!("{url}?schema=nowhere"), "CREATE SCHEMA"),
        ("postgres://reader:wr0ng@127.0.0.1:1/d".to_owned(), "is reachable"),
    ] {
        let sink = sink(&text);
        let error = match sink.prepare(sink.target(), &tables).await {
            Ok(()) => load(&sink, sink.target(), 1, &items(0, 1)).await.unwrap_err(),
            Err(error) => error,
        };
        let shown = format!("{error} {error:?} {sink:?}");
        assert!(error.to_string().to_lowercase().contains(&named.to_lowercase()), "{error}");
        assert!(
            !shown.contains("wr0ng") && !shown.contains("pass-w0rd") && !shown.contains("not-to-be-printed"),
            "{shown}"
        );
    }
}

/// Cuts the connections that copy, as a crash of their process would.
fn cut(server: &Postgres) {
    let cut =
        server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%FROM STDIN%'");
    assert_eq!(cut, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_in_the_middle_of_copy_loses_and_doubles_nothing() {
    let server = Arc::new(Postgres::start());
    let sink = sink(&server.url());
    for (place, end) in [(1, cut as fn(&Postgres)), (2, Postgres::stop)] {
        let (counter, victim) = (Arc::new(AtomicU64::new(0)), Arc::clone(&server));
        let broken: Box<Source> = Box::new(move || {
            let (counter, victim) = (Arc::clone(&counter), Arc::clone(&victim));
            let batches = futures::stream::iter(0..40).then(move |n| {
                let (counter, victim) = (Arc::clone(&counter), Arc::clone(&victim));
                async move {
                    if counter.fetch_add(1, Ordering::SeqCst) == 20 {
                        tokio::task::spawn_blocking(move || end(&victim)).await.unwrap();
                    }
                    Ok(items(place * 100_000 + n * 2_000, 2_000))
                }
            });
            Box::pin(async move { Ok(batches.boxed()) })
        });
        let commit = commit(i64::from(place));
        let error = sink.load(sink.target(), &commit, "items", 80_000, &*broken).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        if place == 2 {
            let away = sink.load(sink.target(), &commit, "items", 80_000, &*broken).await.unwrap_err();
            assert!(away.is_transient() && away.to_string().contains("is reachable"), "{away}");
            server.start_again();
        }
        let loaded = sink.load(sink.target(), &commit, "items", 80_000, &*broken).await.unwrap();
        assert_eq!(loaded, Loaded::Rows(80_000));
        let count = server.query("SELECT count(*), count(DISTINCT id) FROM items");
        assert_eq!(count, format!("{0}|{0}", place * 80_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_load_the_same_load_it_once() {
    let server = Postgres::shared();
    let url: SinkUrl = server.database().parse().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        tasks.spawn(async move {
            let sink = PostgresSink::new(url, 1);
            loop {
                match load(&sink, sink.target(), 1, &items(0, 5_000)).await {
                    Ok(loaded) => return loaded,
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let loaded = tasks.join_all().await;
    assert_eq!(loaded.iter().filter(|loaded| **loaded == Loaded::Rows(5_000)).count(), 1, "{loaded:?}");
}
