use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Layout, Recipe, RecipeError, Tuning};

/// A recipe with a job's settings applied, checked whole.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The recipe.
    pub recipe: Recipe,
    /// Its tables.
    pub layout: Arc<Layout>,
    /// How the job is worked on.
    pub tuning: Tuning,
}

impl Prepared {
    /// Reads a recipe's text, applies settings, and checks the result.
    pub fn new(name: &str, text: &str, settings: &BTreeMap<String, String>) -> Result<Self, RecipeError> {
        let mut recipe = Recipe::parse(name, text)?;
        let mut tuning = Tuning::default();
        for (key, value) in settings {
            tuning.set(&mut recipe, key, value)?;
        }
        let layout = Arc::new(recipe.layout()?);
        Ok(Self { recipe, layout, tuning })
    }

    /// True if records hold what must not rest as it came: whoever keeps a record, or a part of one, before all steps
    /// are done encrypts it or does not keep it.
    pub fn is_protected(&self) -> bool {
        self.layout.protected
    }
}
