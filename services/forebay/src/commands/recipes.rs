use std::process::ExitCode;

use forebay_recipe::{Prepared, SHIPPED, Treatment, shipped};
use forebay_steps::Steps;
use forebay_transform::check_models;

use crate::cli::RecipesCommand;
use crate::commands::{Usage, load_recipe, parse_settings};

/// `forebay recipes`
pub(crate) fn run(command: &RecipesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RecipesCommand::List => {
            for (name, _) in SHIPPED {
                let (recipe, _) = shipped(name)?;
                println!("{name:<12} {}", recipe.description);
            }
        }
        RecipesCommand::Show { recipe } => print!("{}", load_recipe(recipe)?.1),
        RecipesCommand::Check { recipe, settings } => check(recipe, settings)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(recipe: &str, settings: &[String]) -> anyhow::Result<()> {
    let (_, text) = load_recipe(recipe)?;
    let prepared =
        Prepared::new(recipe, &text, &parse_settings(settings)?).map_err(|error| Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = runtime
        .block_on(Steps::plan(&prepared.recipe, &prepared.layout))
        .map_err(|error| Usage(format!("{recipe}: {error}")))?;
    check_models(&prepared.recipe).map_err(|error| Usage(format!("{recipe}: {error}")))?;
    println!("{recipe}: good");
    for (name, schema) in steps.tables() {
        println!("\n{name}");
        let column = |column: &str| {
            let table = prepared.layout.tables.iter().find(|table| table.name == *name)?;
            table.columns.iter().find(|known| known.name == column)
        };
        for field in schema.fields() {
            let steps = || prepared.recipe.redact_steps().filter(|step| step.table == *name);
            let redacted = steps().any(|step| step.column == *field.name());
            let reason = steps().filter_map(|step| step.model.as_ref()).any(|model| model.reason == *field.name());
            let note = match column(field.name()).map(|column| column.treatment) {
                _ if redacted => "  (redacted)".to_owned(),
                _ if reason => "  (why a text was withheld)".to_owned(),
                None | Some(Treatment::Keep) => String::new(),
                Some(Treatment::Withhold) => "  (protected: written as null)".to_owned(),
                Some(Treatment::Year) => "  (1 January of its year)".to_owned(),
                Some(Treatment::BirthYear(oldest)) => format!("  (1 January of its year, not before {oldest})"),
                Some(Treatment::Pseudonym(_)) => "  (a token by key)".to_owned(),
                Some(Treatment::Shift(i32::MIN)) => "  (moved by key)".to_owned(),
                Some(Treatment::Shift(oldest)) => format!("  (moved by key, not before {oldest})"),
                Some(Treatment::Zip3) => "  (three digits, or 000)".to_owned(),
            };
            println!("  {:<24} {}{note}", field.name(), field.data_type());
        }
    }
    Ok(())
}
