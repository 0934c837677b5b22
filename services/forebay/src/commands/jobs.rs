use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Table, presets};
use forebay_catalog::Catalog;
use forebay_objects::Place;
use serde_json::json;

use crate::cli::JobsArgs;
use crate::commands::Usage;
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

async fn list(args: &JobsArgs) -> anyhow::Result<()> {
    let catalog = open_catalog(&args.output).await?;
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(["job", "recipe", "state", "records", "rows", "rejects", "chunks", "started"]);
    for job in catalog.list_jobs(None, args.limit, None).await? {
        let progress = catalog.progress(job.id).await?;
        let rejects: u64 = progress.rejects.values().sum();
        if args.json {
            println!(
                "{}",
                json!({
                    "job": job.key, "recipe": job.recipe_name, "state": job.state.as_str(), "error": job.error,
                    "created_at": time(job.created_at), "ended_at": job.ended_at.map(time),
                    "records_in": progress.records_in, "rows_out": progress.rows, "rejects": progress.rejects,
                    "bytes_in": progress.bytes_framed, "bytes_out": progress.bytes_out, "chunks": progress.chunks,
                    "retries": progress.retries,
                })
            );
            continue;
        }
        let done = progress.chunks.get("committed").copied().unwrap_or(0);
        let all: u64 = progress.chunks.iter().filter(|(state, _)| *state != "split").map(|(_, n)| n).sum();
        table.add_row([
            job.key,
            job.recipe_name,
            job.error.map_or(job.state.as_str().to_owned(), |error| format!("{}: {error}", job.state.as_str())),
            progress.records_in.to_string(),
            progress.rows.values().sum::<u64>().to_string(),
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
