use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Table, presets};
use forebay_api::Caller;
use forebay_catalog::{Catalog, CatalogError, Job};
use forebay_objects::Place;
use serde_json::json;

use crate::cli::JobsArgs;
use crate::commands::{Usage, service_error};
use crate::embedded::{catalog_url, state_folder};

/// `forebay jobs`
pub(crate) fn run(args: &JobsArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(list(args))?;
    Ok(ExitCode::SUCCESS)
}

/// The catalog of an output, which must be there.
pub(crate) async fn open_catalog(output: &str) -> anyhow::Result<Catalog> {
    if !output.contains("://") && !std::path::Path::new(output).is_dir() {
        return Err(Usage(format!("there is no output at {output}: name it with --output")).into());
    }
    let folder = state_folder(&Place::open(output)?);
    if !folder.join("catalog.db").is_file() {
        return Err(Usage(format!("no job has run on {output} yet")).into());
    }
    Catalog::open(&catalog_url(&folder)).await.context("can't open the catalog")
}

/// The job with a key, which must be there.
pub(crate) async fn find_job(catalog: &Catalog, key: &str) -> anyhow::Result<Job> {
    match catalog.job_by_key(Caller::LOCAL, key).await {
        Ok(job) => Ok(job),
        Err(CatalogError::NotFound(_)) => Err(Usage(format!("there is no job '{key}' (see forebay jobs)")).into()),
        Err(error) => Err(error.into()),
    }
}

async fn list(args: &JobsArgs) -> anyhow::Result<()> {
    let (gateway, caller) = (args.keeper.gateway().await?, Caller::local());
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(["job", "recipe", "state", "records", "rows", "rejects", "chunks", "started"]);
    for job in gateway.list_jobs(&caller, args.limit, None).await.map_err(service_error)? {
        let progress = gateway.get_job(&caller, &job.job).await.map_err(service_error)?;
        let rejects: u64 = progress.rejects.values().sum();
        if args.json {
            let rows: BTreeMap<&str, u64> =
                progress.rows_out.iter().map(|table| (table.table.as_str(), table.rows)).collect();
            println!(
                "{}",
                json!({
                    "job": job.job, "recipe": job.recipe, "state": job.state.as_str(), "error": job.error,
                    "created_at": time(job.created_at), "ended_at": job.ended_at.map(time),
                    "records_in": progress.records_in, "rows_out": rows, "rejects": progress.rejects,
                    "bytes_in": progress.bytes_in, "bytes_out": progress.bytes_out, "chunks": progress.chunks,
                    "retries": progress.retries,
                })
            );
            continue;
        }
        let done = progress.chunks.get("committed").copied().unwrap_or(0);
        let all: u64 = progress.chunks.iter().filter(|(state, _)| *state != "split").map(|(_, n)| n).sum();
        table.add_row([
            job.job,
            job.recipe,
            job.error.map_or(job.state.as_str().to_owned(), |error| format!("{}: {error}", job.state.as_str())),
            progress.records_in.to_string(),
            progress.rows_out.iter().map(|table| table.rows).sum::<u64>().to_string(),
            rejects.to_string(),
            format!("{done} of {all}"),
            time(job.created_at),
        ]);
    }
    if !args.json {
        println!("{table}");
    }
    Ok(())
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.0}"))
}
