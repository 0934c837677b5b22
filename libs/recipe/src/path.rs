use serde::Deserialize;

/// Most steps of a path, and levels of conditions in it.
const LIMIT: usize = 16;

/// A way from a JSON object to values inside it, such as `identifier[type.coding.code=MR].value`.
///
/// Where a step leads to a list, it leads to each of its elements, unless an index or a condition picks some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The steps; at least one.
    pub steps: Vec<PathStep>,
}

/// One step: a member, and which elements of it if it is a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// Name of the member.
    pub name: String,
    /// Which elements; a value that is no list counts as a list of one.
    pub pick: Pick,
}

/// Which elements of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Each.
    Each,
    /// One, counted from 0.
    Index(usize),
    /// Those for which some value at a path, as text, is or starts with another.
    Where(Condition),
}

/// What an element must hold to be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// From the element to the value.
    pub path: Path,
    /// What the value must be.
    pub text: String,
    /// The value need only start so.
    pub prefix: bool,
}

/// One path, or several to be tried in order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Paths {
    /// The texts, in order.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl Path {
    /// Reads a path: names with a point between them, each with `[0]`, `[path=text]` or `[path^=text]` after it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let path = Self::read(&mut rest, 0)?;
        if rest.is_empty() { Ok(path) } else { Err(format!("'{rest}' is not understood: {FORMS}")) }
    }

    fn read(rest: &mut &str, level: usize) -> Result<Self, String> {
        if level > LIMIT {
            return Err(format!("conditions are nested deeper than {LIMIT} levels"));
        }
        let mut steps = Vec::new();
        loop {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '$'))).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if name.is_empty() {
                return Err(format!("a name is missing: {FORMS}"));
            }
            *rest = after;
            let pick = if rest.starts_with('[') { Pick::read(rest, level)? } else { Pick::Each };
            steps.push(PathStep { name: name.to_owned(), pick });
            match rest.strip_prefix('.') {
                Some(after) if steps.len() < LIMIT => *rest = after,
                Some(_) => return Err(format!("more than {LIMIT} steps")),
                None => return Ok(Self { steps }),
            }
        }
    }
}

impl Pick {
    fn read(rest: &mut &str, level: usize) -> Result<Self, String> {
        let unclosed = || format!("a bracket is not closed: {FORMS}");
        let inside = rest.strip_prefix('[').unwrap_or(rest);
        if inside.starts_with(|c: char| c.is_ascii_digit()) {
            let (digits, after) = inside.split_once(']').ok_or_else(unclosed)?;
            *rest = after;
            return digits.parse().map(Self::Index).map_err(|_| format!("'{digits}' is no index: {FORMS}"));
        }
        *rest = inside;
        let path = Path::read(rest, level + 1)?;
        let (prefix, value) = match (rest.strip_prefix("^="), rest.strip_prefix('=')) {
            (Some(value), _) => (true, value),
            (None, Some(value)) => (false, value),
            (None, None) => return Err(format!("a condition needs = or ^= and a text: {FORMS}")),
        };
        let (text, after) = value.split_once(']').ok_or_else(unclosed)?;
        *rest = after;
        Ok(Self::Where(Condition { path, text: text.to_owned(), prefix }))
    }
}

const FORMS: &str = "a path is like name[0].family, identifier[type.coding.code=MR].value or content[type^=text/].data";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let path = Path::parse("identifier[type.coding.code=MR].value").unwrap();
        assert_eq!(path.steps.len(), 2);
        let Pick::Where(condition) = &path.steps[0].pick else { panic!("{path:?}") };
        assert_eq!((condition.path.steps.len(), condition.text.as_str(), condition.prefix), (3, "MR", false));
        let path = Path::parse("extension[url=http://x.org/a-b?c=d].value").unwrap();
        let Pick::Where(condition) = &path.steps[0].pick else { panic!("{path:?}") };
        assert_eq!(condition.text, "http://x.org/a-b?c=d");
        assert_eq!(Path::parse("name[2]").unwrap().steps[0].pick, Pick::Index(2));
        let nested = Path::parse("a[b[c^=1].d=2].e").unwrap();
        assert_eq!(nested.steps[1].name, "e");
    }

    #[test]
    fn broken_paths_are_refused_with_a_hint() {
        for text in ["", ".", "a.", "a[", "a[b]", "a[1x]", "a[b=c", "a b", "a[0]]", "a..b", "a[=1]"] {
            let error = Path::parse(text).unwrap_err();
            assert!(error.contains("a path is like"), "{text}: {error}");
        }
        assert!(Path::parse(&"a.".repeat(40)).unwrap_err().contains("steps"));
    }
}
