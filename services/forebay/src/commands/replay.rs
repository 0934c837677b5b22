use std::collections::BTreeMap;
use std::process::ExitCode;

use forebay_api::Caller;
use forebay_catalog::{Catalog, CatalogError, Job};
use forebay_gateway::list_rejects;
use forebay_seal::is_sealed;
use forebay_types::JobState;
use futures::StreamExt;

use crate::cli::{JobArgs, RejectsArgs, RunArgs};
use crate::commands::jobs::{find_job, open_catalog};
use crate::commands::rejects::opened;
use crate::commands::run::{self, runtime};
use crate::commands::{Usage, load_recipe};
use crate::embedded::state_folder;
use crate::keys;

/// Rejects that a replay takes at most: more of them mean that the recipe is wrong, not the records.
const MOST: usize = 1_000_000;

/// `forebay rejects --replay`: sends a job's rejects through again, as a job of their own with the same tables. The
/// first replay of job `K` is job `K/replay-1`; the next one takes what that one rejected, and so on, so that a
/// record that came through once is never sent again.
pub(crate) fn start(args: RejectsArgs) -> anyhow::Result<ExitCode> {
    let run_args = runtime()?.block_on(prepare(&args))?;
    match run_args {
        Some(run_args) => run::start(run_args),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn prepare(args: &RejectsArgs) -> anyhow::Result<Option<RunArgs>> {
    let catalog = open_catalog(&args.keeper.output).await?;
    let first = find_job(&catalog, &args.job).await?;
    let (job, next) = latest(&catalog, first).await?;
    // A replay that was interrupted is gone on with, on the input that it was given.
    let resumed = job.state != JobState::Done && job.key != args.job;
    if job.state != JobState::Done && !resumed {
        return Err(
            Usage(format!("job '{}' is {}: replay its rejects when it is done", job.key, job.state.as_str())).into()
        );
    }
    let key = if resumed { job.key.clone() } else { format!("{}/replay-{next}", args.job) };
    let folder = state_folder(&forebay_objects::Place::open(&args.keeper.output)?).join("replay");
    std::fs::create_dir_all(&folder)?;
    let name = key.replace('/', "-");
    let inputs = match &args.from {
        Some(file) => vec![file.clone()],
        None if resumed => catalog.inputs(job.id).await?.into_iter().map(|input| input.identity.uri).collect(),
        None => {
            let path = folder.join(format!("{name}.records"));
            if !gather(&catalog, &job, &path).await? {
                println!("job {}: nothing to replay: no reject is open", args.job);
                return Ok(None);
            }
            vec![path.display().to_string()]
        }
    };
    let settings: BTreeMap<String, String> = serde_json::from_str(&job.settings)?;
    let recipe = match &args.recipe {
        Some(recipe) => {
            load_recipe(recipe)?;
            recipe.clone()
        }
        None if forebay_recipe::shipped(&job.recipe_name).is_ok_and(|(_, text)| text == job.recipe) => {
            job.recipe_name.clone()
        }
        None => {
            let path = folder.join(format!("{name}.yaml"));
            std::fs::write(&path, &job.recipe)?;
            path.display().to_string()
        }
    };
    Ok(Some(RunArgs {
        recipe,
        inputs,
        output: args.keeper.output.clone(),
        memory: args.memory,
        job: JobArgs {
            settings: settings.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            format: job.format.clone(),
            job_key: Some(key),
            progress: args.progress,
            max_rejects: None,
            allow_empty: false,
        },
        report: args.report.clone(),
        sink: args.sink.clone().filter(|_| job.sink.is_some()),
    }))
}

/// The last replay of a job, or the job itself, and the number that the next replay gets.
async fn latest(catalog: &Catalog, first: Job) -> anyhow::Result<(Job, u32)> {
    let base = first.key.clone();
    let mut job = first;
    for next in 1.. {
        match catalog.job_by_key(Caller::LOCAL, &format!("{base}/replay-{next}")).await {
            Ok(replay) => job = replay,
            Err(CatalogError::NotFound(_)) => return Ok((job, next)),
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the loop has no end of its own")
}

/// Writes the raw records of a job's rejects to a file that a job can read. False if there are none.
async fn gather(catalog: &Catalog, job: &Job, path: &std::path::Path) -> anyhow::Result<bool> {
    let mut rejects = list_rejects(job).await?;
    let mut text = Vec::new();
    if let Some(header) = catalog.inputs(job.id).await?.into_iter().find_map(|input| input.header) {
        text.extend_from_slice(&header);
        text.push(b'\n');
    }
    let keys = keys::of_user()?;
    let (mut found, mut protected) = (0, false);
    while let Some(reject) = rejects.next().await {
        let reject = reject?;
        found += 1;
        protected |= reject.raw.as_deref().is_some_and(is_sealed);
        let Some(raw) = opened(&keys, &job.key, &reject).map_err(|error| Usage(error.to_string()))? else {
            return Err(Usage(format!(
                "record {} of {} is not kept (the recipe protects it and there was no key, it is too large, or it came \
                 from a columnar file): give the mended records with --from FILE",
                reject.record, reject.input
            ))
            .into());
        };
        if found > MOST {
            return Err(
                Usage(format!("more than {MOST} rejects: correct the recipe and run the job under a new key")).into()
            );
        }
        // A line each: a newline inside a JSON value is only white space.
        text.extend(raw.trim_ascii_end().iter().map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
        text.push(b'\n');
    }
    if found > 0 {
        if protected {
            text = keys.sealing()?.seal(forebay_seal::INPUT, &text)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(found > 0)
}
