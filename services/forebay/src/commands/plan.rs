use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use forebay_types::ByteSize;

use crate::cli::PlanArgs;
use crate::commands::{load_recipe, parse_settings, plan_for};

/// `forebay plan`
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (_, text) = load_recipe(&args.recipe)?;
    let settings = parse_settings(&args.settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (plan, ..) = runtime.block_on(plan_for(&args.recipe, &text, &settings, args.memory, &args.output))?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(["holder", "at most", "how"]);
    for holder in &plan.holders {
        table.add_row([holder.name.to_owned(), ByteSize(holder.bytes).to_string(), holder.how.clone()]);
    }
    table.add_row(["sum".to_owned(), plan.memory.to_string(), "the budget".to_owned()]);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "{} workers, {} chunks of {} in work, row groups of {} decoded",
        plan.workers,
        plan.in_flight,
        ByteSize(plan.chunk_bytes),
        ByteSize(plan.row_group_bytes)
    );
    Ok(ExitCode::SUCCESS)
}
