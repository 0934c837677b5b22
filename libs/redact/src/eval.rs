//! Scores what is found against what people marked.

use std::collections::BTreeMap;

use crate::{Class, Span};

/// One marked identifier: characters of the text, the end exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// First character.
    pub start: usize,
    /// Behind the last character.
    pub end: usize,
    /// The label as it was given.
    pub label: String,
}

/// Counts of which recall, precision and F1 are made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Marked, and found.
    pub hit: u64,
    /// Marked.
    pub marked: u64,
    /// Found, and marked.
    pub right: u64,
    /// Found.
    pub found: u64,
}

impl Counts {
    /// Share of what is marked that was found; 1 if nothing is marked.
    pub fn recall(&self) -> f64 {
        ratio(self.hit, self.marked)
    }

    /// Share of what was found that is marked; 1 if nothing was found.
    pub fn precision(&self) -> f64 {
        ratio(self.right, self.found)
    }

    /// The harmonic mean of both.
    pub fn f1(&self) -> f64 {
        let (recall, precision) = (self.recall(), self.precision());
        if recall + precision == 0.0 { 0.0 } else { 2.0 * recall * precision / (recall + precision) }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Three ways to count the same spans.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// A marked span is hit if all its letters and digits are within finds, of whatever class; a find is right if it touches
    /// a marked span, of whatever class. What a reader of the redacted text would count.
    pub covered: Counts,
    /// As `covered`, with a class of the same family.
    pub typed: Counts,
    /// The same first and last character, and a class of the same family.
    pub strict: Counts,
    /// By character, of whatever class.
    pub character: Counts,
}

/// The score of a set of texts.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Over all classes.
    pub all: Tally,
    /// By label as marked; finds that touch nothing marked count under the class they were taken for.
    pub classes: BTreeMap<String, Tally>,
    /// Texts.
    pub texts: u64,
    /// Texts without a marked span, and their characters.
    pub clean_texts: u64,
    /// Of these, those in which something was found.
    pub clean_touched: u64,
    /// Characters of texts without a marked span.
    pub clean_characters: u64,
    /// Of these, those that were found.
    pub clean_found: u64,
    /// Finds in texts without a marked span.
    pub clean_spans: u64,
}

/// A find in characters.
#[derive(Clone, Copy, Debug)]
struct Found {
    start: usize,
    end: usize,
    class: Class,
}

impl Score {
    /// Adds one text.
    pub fn add(&mut self, text: &str, marked: &[Marked], spans: &[Span]) {
        let found = in_characters(text, spans);
        let solid: Vec<bool> = text.chars().map(char::is_alphanumeric).collect();
        let (is_marked, is_found) = (
            mask(solid.len(), marked.iter().map(|span| (span.start, span.end))),
            mask(solid.len(), found.iter().map(|span| (span.start, span.end))),
        );
        self.texts += 1;
        if marked.is_empty() {
            self.clean_texts += 1;
            self.clean_touched += u64::from(!found.is_empty());
            self.clean_characters += solid.len() as u64;
            self.clean_found += is_found.iter().filter(|found| **found).count() as u64;
            self.clean_spans += found.len() as u64;
        }
        for at in 0..solid.len() {
            let counts = &mut self.all.character;
            counts.marked += u64::from(is_marked[at]);
            counts.found += u64::from(is_found[at]);
            counts.hit += u64::from(is_marked[at] && is_found[at]);
            counts.right += u64::from(is_marked[at] && is_found[at]);
        }
        for span in marked {
            self.marked(span, &found, &solid, &is_found);
        }
        for span in &found {
            self.found(span, marked, &is_marked);
        }
    }

    fn marked(&mut self, span: &Marked, found: &[Found], solid: &[bool], is_found: &[bool]) {
        let end = span.end.min(solid.len());
        let range = span.start.min(end)..end;
        let covered = range.clone().all(|at| is_found[at] || !solid[at]);
        let characters = range.clone().filter(|at| is_found[*at]).count() as u64;
        let class = Class::from_label(&span.label);
        let family = |found: &Found| class.is_none_or(|class| class.family() == found.class.family());
        let touching = || found.iter().filter(|found| found.start < end && span.start < found.end);
        let typed = covered && touching().any(family);
        let strict = found.iter().any(|found| (found.start, found.end) == (span.start, span.end) && family(found));
        let by_class = self.classes.entry(span.label.clone()).or_default();
        by_class.character.marked += range.len() as u64;
        by_class.character.hit += characters;
        for tally in [&mut self.all, by_class] {
            for (counts, hit) in [(&mut tally.covered, covered), (&mut tally.typed, typed), (&mut tally.strict, strict)]
            {
                counts.marked += 1;
                counts.hit += u64::from(hit);
            }
        }
    }

    fn found(&mut self, span: &Found, marked: &[Marked], is_marked: &[bool]) {
        let touching = || marked.iter().filter(|marked| marked.start < span.end && span.start < marked.end);
        let right = touching().next().is_some();
        let family = |marked: &Marked| {
            Class::from_label(&marked.label).is_none_or(|class| class.family() == span.class.family())
        };
        let typed = touching().any(family);
        let strict = marked.iter().any(|marked| (marked.start, marked.end) == (span.start, span.end) && family(marked));
        let label = touching()
            .find(|marked| family(marked))
            .or_else(|| touching().next())
            .map_or(span.class.as_str(), |marked| &marked.label);
        let by_class = self.classes.entry(label.to_owned()).or_default();
        by_class.character.found += (span.end - span.start) as u64;
        by_class.character.right += (span.start..span.end).filter(|at| is_marked[*at]).count() as u64;
        for tally in [&mut self.all, by_class] {
            for (counts, right) in [(&mut tally.covered, right), (&mut tally.typed, typed), (&mut tally.strict, strict)]
            {
                counts.found += 1;
                counts.right += u64::from(right);
            }
        }
    }
}

fn mask(length: usize, ranges: impl Iterator<Item = (usize, usize)>) -> Vec<bool> {
    let mut mask = vec![false; length];
    for (start, end) in ranges {
        let end = end.min(length);
        mask[start.min(end)..end].fill(true);
    }
    mask
}

fn in_characters(text: &str, spans: &[Span]) -> Vec<Found> {
    let (mut byte, mut character) = (0, 0);
    spans
        .iter()
        .map(|span| {
            let start = character + text[byte..span.start as usize].chars().count();
            let end = start + text[span.start as usize..span.end as usize].chars().count();
            (byte, character) = (span.end as usize, end);
            Found { start, end, class: span.class }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32, end: u32, class: Class) -> Span {
        Span { start, end, class, why: "", person: None }
    }

    #[test]
    fn counts_are_right() {
        let mut score = Score::default();
        let marked = [
            Marked { start: 0, end: 3, label: "PATIENT".to_owned() },
            Marked { start: 4, end: 8, label: "DATE".to_owned() },
        ];
        // "Zoë" is three characters and four bytes.
        score.add("Zoë 2001 abc", &marked, &[span(0, 4, Class::Name), span(5, 7, Class::Id), span(10, 13, Class::Id)]);
        assert_eq!(score.all.covered, Counts { hit: 1, marked: 2, right: 2, found: 3 });
        assert_eq!(score.all.strict, Counts { hit: 1, marked: 2, right: 1, found: 3 });
        assert_eq!(score.all.character, Counts { hit: 5, marked: 7, right: 5, found: 8 });
        score.add("clean", &[], &[span(0, 5, Class::Name)]);
        assert_eq!((score.clean_texts, score.clean_touched, score.clean_found), (1, 1, 5));
    }
}
