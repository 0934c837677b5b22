use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Table, presets};
use forebay_api::Caller;
use forebay_types::JobState;
use futures::StreamExt;
use serde_json::json;

use crate::cli::RejectsArgs;
use crate::commands::run::runtime;
use crate::commands::service_error;

/// Rows of a table that a person looks at.
const SHOWN: usize = 50;

/// `forebay rejects`
pub(crate) fn run(args: RejectsArgs) -> anyhow::Result<ExitCode> {
    if args.replay {
        return crate::commands::replay::start(args);
    }
    runtime()?.block_on(show(&args))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &RejectsArgs) -> anyhow::Result<()> {
    let (gateway, caller) = (args.keeper.gateway().await?, Caller::local());
    let job = gateway.get_job(&caller, &args.job).await.map_err(service_error)?;
    let mut rejects = gateway.rejects(&caller, &args.job).await.map_err(service_error)?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(["input", "record", "reason", "path", "message"]);
    let (mut seen, mut withheld) = (0usize, 0usize);
    let mut out = std::io::stdout().lock();
    while let Some(reject) = rejects.next().await {
        let reject = reject.map_err(service_error)?;
        seen += 1;
        if args.json {
            let raw = reject.raw.as_ref().map(|raw| String::from_utf8_lossy(raw).into_owned());
            let line = json!({
                "job": args.job, "input": reject.input, "record": reject.record, "offset": reject.offset,
                "length": reject.length, "reason": reject.reason, "path": reject.path, "message": reject.message,
                "raw": raw,
            });
            writeln!(out, "{line}").context("can't write")?;
        } else if args.raw {
            match reject.raw {
                Some(raw) => {
                    out.write_all(raw.trim_ascii_end()).context("can't write")?;
                    out.write_all(b"\n").context("can't write")?;
                }
                None => withheld += 1,
            }
        } else if seen <= SHOWN {
            let name = reject.input.rsplit('/').next().unwrap_or("").to_owned();
            table.add_row([name, reject.record.to_string(), reject.reason, reject.path, reject.message]);
        }
    }
    if withheld > 0 {
        super::complain(&format!(
            "{withheld} records are not kept here: the recipe protects them, or they are too large"
        ));
    }
    if !args.json && !args.raw {
        writeln!(out, "{table}").context("can't write")?;
        let more = if seen > SHOWN { format!(", the first {SHOWN} shown (--json shows all)") } else { String::new() };
        writeln!(out, "{seen} rejects{more}").context("can't write")?;
        if job.summary.state == JobState::Running {
            writeln!(out, "the job is not at its end: there may be more").context("can't write")?;
        }
    }
    Ok(())
}
