use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Table, presets};
use forebay_api::{Caller, RejectRow};
use forebay_seal::{Keys, SealError, is_sealed};
use forebay_types::JobState;
use futures::StreamExt;
use serde_json::json;

use crate::cli::RejectsArgs;
use crate::commands::run::runtime;
use crate::commands::service_error;
use crate::keys;

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
    let keys = keys::of_user()?;
    let (mut seen, mut withheld) = (0usize, 0usize);
    let mut out = std::io::stdout().lock();
    while let Some(reject) = rejects.next().await {
        let mut reject = reject.map_err(service_error)?;
        // What is decrypted is shown to who asks for it by name.
        if reject.raw.as_deref().is_some_and(is_sealed) {
            reject.raw = if args.raw { opened(&keys, &args.job, &reject).unwrap_or_default() } else { None };
        }
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
            "{withheld} records can't be shown: they are too large to be kept, or the recipe protects them and the key \
             that they were encrypted with is not here (FOREBAY_KEY_FILE)"
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

/// The record of a reject, decrypted if it is encrypted.
pub(crate) fn opened(keys: &Keys, job: &str, reject: &RejectRow) -> Result<Option<Vec<u8>>, SealError> {
    match &reject.raw {
        Some(raw) if is_sealed(raw) => {
            keys.opening()?.open(&forebay_seal::reject(job, &reject.input, reject.record), raw).map(Some)
        }
        raw => Ok(raw.as_ref().map(|raw| raw.to_vec())),
    }
}
