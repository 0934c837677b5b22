use crate::{Recipe, RecipeError};

/// The shipped recipes: name and text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("claims", include_str!("../../../recipes/claims.yaml")),
    ("clinical", include_str!("../../../recipes/clinical.yaml")),
    ("clinical-fhir", include_str!("../../../recipes/clinical-fhir.yaml")),
    ("providers", include_str!("../../../recipes/providers.yaml")),
];

/// A shipped recipe, with its text.
pub fn shipped(name: &str) -> Result<(Recipe, &'static str), RecipeError> {
    let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
        return Err(RecipeError::NotFound { name: name.to_owned(), shipped: names.join(", ") });
    };
    Ok((Recipe::parse(name, text)?, text))
}
