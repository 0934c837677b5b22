/// A recipe, or a setting, that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The text is no YAML of the recipe's shape. The message shows the line.
    #[error("{name}: {message}")]
    Syntax {
        /// File or recipe name.
        name: String,
        /// What the parser says, with line and column.
        message: String,
    },
    /// The text has the right shape, but a key breaks a rule.
    #[error("{name}: {key}: {message}")]
    Invalid {
        /// File or recipe name.
        name: String,
        /// Path of the key, such as `record.fields.birth_date.format`.
        key: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// `--set` with an unknown key or a value that does not fit.
    #[error("--set {key}: {message}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// No shipped recipe has the name, and it is no file.
    #[error("there is no recipe '{name}': the shipped ones are {shipped}, and a path to a recipe file works too")]
    NotFound {
        /// What was asked for.
        name: String,
        /// The shipped ones, with commas.
        shipped: String,
    },
}
