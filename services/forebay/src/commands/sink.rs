use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use forebay_sink::{PostgresSink, SinkError, SinkTarget, SinkUrl};

use crate::commands::Usage;
use crate::serve::Address;

/// The setting that says where a job's tables are loaded.
const SETTING: &str = "sink";

/// How long a start waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// Puts the sink of the command line among the settings, without its secrets: it is part of what the job is. A job
/// that is gone on with has the setting already, and is given the password with the URL.
pub(crate) fn asked(settings: &mut BTreeMap<String, String>, url: Option<&Address>) -> Result<Option<SinkUrl>, Usage> {
    let read = |url: &Address| url.0.parse().map_err(|error: SinkError| Usage(format!("--sink: {error}")));
    let url: Option<SinkUrl> = url.map(read).transpose()?;
    match (&url, settings.get(SETTING)) {
        (None, None) => {}
        (Some(url), None) => {
            settings.insert(SETTING.to_owned(), url.target().to_string());
        }
        (None, Some(_)) => {
            return Err(Usage(
                "the job's tables are loaded into a database: name it by --sink, or by FOREBAY_SINK_URL".to_owned(),
            ));
        }
        (Some(url), Some(asked)) => {
            let asked: SinkTarget = asked.parse().map_err(|error: SinkError| Usage(error.to_string()))?;
            if !asked.same_database(url.target()) {
                let (asked, given) = (asked.database(), url.target().database());
                return Err(Usage(format!("the job's tables are loaded into {asked}, and --sink is {given}")));
            }
        }
    }
    Ok(url)
}

/// Makes and checks the sink's tables before any record is read.
pub(crate) async fn prepare(url: &SinkUrl, target: &str, tables: &[(String, SchemaRef)]) -> anyhow::Result<()> {
    let target: SinkTarget = target.parse()?;
    let sink = PostgresSink::new(url.clone(), 1);
    let since = Instant::now();
    loop {
        match sink.prepare(&target, tables).await {
            Err(error) if error.is_transient() && since.elapsed() < PATIENCE => {
                tracing::warn!(%error, "waiting for the sink");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error @ SinkError::Schema { .. }) => return Err(Usage(error.to_string()).into()),
            result => return Ok(result?),
        }
    }
}
