use regex::Regex;

/// What a column's values must keep to, compiled.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Null is not allowed.
    pub required: bool,
    /// The only values allowed, sorted.
    pub values: Option<Vec<String>>,
    /// The whole text matches.
    pub pattern: Option<Regex>,
    /// Smallest value: numbers as they are, dates as days and timestamps as microseconds since the epoch.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Both as the recipe writes them, for messages.
    pub bounds: (String, String),
    /// Fewest characters.
    pub min_length: Option<u32>,
    /// Most characters.
    pub max_length: Option<u32>,
}

impl Rules {
    /// True if any text is allowed, so that a decoder can skip the check.
    pub fn text_is_free(&self) -> bool {
        self.values.is_none() && self.pattern.is_none() && self.min_length.is_none() && self.max_length.is_none()
    }

    /// Says what is wrong with a text, without repeating the text.
    pub fn check_text(&self, text: &str) -> Result<(), String> {
        if let Some(values) = &self.values
            && values.binary_search_by(|known| known.as_str().cmp(text)).is_err()
        {
            return Err(format!("not one of the allowed values: {}", values.join(", ")));
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_match(text)
        {
            return Err(format!("does not match the pattern {}", pattern.as_str()));
        }
        if self.min_length.is_some() || self.max_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(min) = self.min_length
                && length < u64::from(min)
            {
                return Err(format!("{length} characters, fewer than {min}"));
            }
            if let Some(max) = self.max_length
                && length > u64::from(max)
            {
                return Err(format!("{length} characters, more than {max}"));
            }
        }
        Ok(())
    }

    /// Says what is wrong with a number, a day or a moment.
    pub fn check_number(&self, value: f64) -> Result<(), String> {
        if let Some(min) = self.min
            && value < min
        {
            return Err(format!("below the smallest value allowed, {}", self.bounds.0));
        }
        if let Some(max) = self.max
            && value > max
        {
            return Err(format!("above the largest value allowed, {}", self.bounds.1));
        }
        Ok(())
    }
}
