use std::process::ExitCode;

use forebay_recipe::{Prepared, SHIPPED, shipped};
use forebay_steps::Steps;

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
    println!("{recipe}: good");
    for (name, schema) in steps.tables() {
        println!("\n{name}");
        let withheld = |column: &str| {
            prepared
                .layout
                .tables
                .iter()
                .find(|table| table.name == *name)
                .is_some_and(|table| table.columns.iter().any(|known| known.name == column && known.withheld))
        };
        for field in schema.fields() {
            let note = if withheld(field.name()) { "  (protected: written as null)" } else { "" };
            println!("  {:<24} {}{note}", field.name(), field.data_type());
        }
    }
    Ok(())
}
