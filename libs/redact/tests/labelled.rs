//! Recall on notes written by hand, and over-redaction on clean ones.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use forebay_redact::eval::{Marked, Score};
use forebay_redact::{Policy, Redactor};

const NOTES: &str = include_str!("data/notes.txt");
const CLEAN: &str = include_str!("data/clean.txt");

fn lines(text: &str) -> impl Iterator<Item = String> {
    let heading = |line: &str| line.starts_with("# ") && !line.contains("\\n");
    let note = move |line: &&str| !line.is_empty() && !heading(line);
    text.lines().filter(note).map(|line| line.replace("\\n", "\n"))
}

/// Takes the marks out of a note: the text, and what was marked.
fn parse(line: &str) -> (String, Vec<Marked>) {
    let (mut text, mut marked, mut rest) = (String::new(), Vec::new(), line);
    while let Some((before, mark)) = rest.split_once('{') {
        let (mark, after) = mark.split_once('}').expect("a mark ends");
        let (label, value) = mark.split_once(':').expect("a mark has a class");
        text.push_str(before);
        let start = text.chars().count();
        text.push_str(value);
        marked.push(Marked { start, end: text.chars().count(), label: label.to_owned() });
        rest = after;
    }
    text.push_str(rest);
    (text, marked)
}

fn score(text: &str) -> (Score, String) {
    let redactor = Redactor::new(Policy::default()).unwrap();
    let (mut score, mut log) = (Score::default(), String::new());
    for line in lines(text) {
        let (text, marked) = parse(&line);
        let spans = redactor.find(&text, None);
        let before = score.all.covered;
        score.add(&text, &marked, &spans);
        let after = score.all.covered;
        if after.marked - before.marked != after.hit - before.hit
            || after.found - before.found != after.right - before.right
        {
            log.push_str(&format!("{text:?}\n  => {:?}\n", redactor.redact(&text, None)));
        }
    }
    (score, log)
}

#[test]
fn notes_written_by_hand_lose_what_identifies() {
    let (score, log) = score(NOTES);
    let (all, typed) = (score.all.covered, score.all.typed);
    println!("{log}\nrecall {:.4} precision {:.4} typed {:.4}", all.recall(), all.precision(), typed.recall());
    assert!(all.marked > 130, "{}", all.marked);
    assert!(all.recall() >= 0.99, "{log}recall {}", all.recall());
    assert!(all.precision() >= 0.97, "{log}precision {}", all.precision());
    assert!(typed.recall() >= 0.95, "{log}typed {}", typed.recall());
}

#[test]
fn clean_clinical_text_stays() {
    let (score, log) = score(CLEAN);
    println!("{log}\ntouched {} of {}", score.clean_touched, score.clean_texts);
    assert!(score.clean_texts > 70);
    assert!(score.clean_touched == 0, "{log}touched {} of {}", score.clean_touched, score.clean_texts);
}
