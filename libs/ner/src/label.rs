use std::collections::BTreeMap;

use forebay_redact::Class;

/// What a user writes for a label that is of no interest.
const IGNORE: &str = "ignore";

/// What a label of the model means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The class; none for what is outside of any, or ignored.
    pub(crate) class: Option<Class>,
    /// Whether it begins an entity, as in `B-PER`.
    pub(crate) begins: bool,
}

/// Reads the labels of a model: BIO, BIOES, BILOU, or bare names. `wanted` says what our classes for them are; a label that it
/// does not name, and that is no class of ours by itself, is an error: nothing is to be overlooked.
pub(crate) fn read(labels: &[String], wanted: &BTreeMap<String, String>) -> Result<Vec<Label>, String> {
    let mut unused: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let read = labels
        .iter()
        .map(|label| {
            if label == "O" {
                return Ok(Label { class: None, begins: false });
            }
            let (begins, name) = match label.split_once(['-', '_']) {
                Some((prefix @ ("B" | "I" | "E" | "S" | "L" | "U" | "M"), name)) => {
                    (matches!(prefix, "B" | "S" | "U"), name)
                }
                Some(_) | None => (false, label.as_str()),
            };
            unused.retain(|wanted| !wanted.eq_ignore_ascii_case(name));
            let asked = wanted.iter().find(|(wanted, _)| wanted.eq_ignore_ascii_case(name)).map(|(_, class)| class);
            let class = match asked {
                Some(asked) if asked == IGNORE => None,
                Some(asked) => Some(Class::parse(asked).ok_or_else(|| {
                    let classes: Vec<_> = Class::ALL.iter().map(|class| class.as_str()).collect();
                    format!("labels.{name}: '{asked}' is no class; write {IGNORE}, or one of {}", classes.join(", "))
                })?),
                None => Some(Class::from_label(name).ok_or_else(|| {
                    format!(
                        "the model's label '{label}' is no class: say in labels what {name} is, as in \
                         {name}: NAME, or {name}: {IGNORE}"
                    )
                })?),
            };
            Ok(Label { class, begins })
        })
        .collect::<Result<Vec<_>, String>>()?;
    match unused.first() {
        Some(name) => Err(format!("labels.{name}: the model has no such label; it has {}", labels.join(", "))),
        None if read.iter().all(|label| label.class.is_none()) => {
            Err("none of the model's labels has a class, so that it would find nothing".to_owned())
        }
        None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(label, class)| ((*label).to_owned(), (*class).to_owned())).collect()
    }

    fn named(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[test]
    fn labels_of_all_schemes_are_read() {
        let labels = named(&["O", "B-PER", "I-PER", "S_LOC", "PATIENT", "E-misc"]);
        let read = read(&labels, &wanted(&[("MISC", "ignore")])).unwrap();
        let of = |class, begins| Label { class, begins };
        assert_eq!(
            read,
            [
                of(None, false),
                of(Some(Class::Name), true),
                of(Some(Class::Name), false),
                of(Some(Class::Place), true),
                of(Some(Class::Name), false),
                of(None, false)
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (labels, given, told) in [
            (&["O", "B-DRUG"][..], wanted(&[]), "say in labels what DRUG is"),
            (&["O", "B-PER"], wanted(&[("PER", "PERSONA")]), "'PERSONA' is no class"),
            (&["O", "B-PER"], wanted(&[("LOC", "PLACE")]), "labels.LOC: the model has no such label"),
            (&["O", "B-PER"], wanted(&[("PER", "ignore")]), "would find nothing"),
        ] {
            let error = read(&named(labels), &given).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
