use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow_array::StringArray;
use forebay_recipe::ModelSpec;
use forebay_redact::eval::{Counts, Marked, Score, Tally};
use forebay_redact::{Class, Entity, EntityModel, Known, KnownSet, ModelFailure, Policy, Redactor, Span};
use forebay_transform::{find_entities, open_model};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{ModelArgs, RedactArgs, RedactCommand};
use crate::commands::Usage;

/// Longest line that is read: what is longer is refused, not held.
const LINE: u64 = 64 << 20;

/// A line of NDJSON: a text, and what is known about it.
#[derive(Deserialize)]
struct Labelled {
    text: String,
    #[serde(default)]
    spans: Vec<LabelledSpan>,
    #[serde(default)]
    known: Vec<LabelledValue>,
}

#[derive(Deserialize)]
struct LabelledSpan {
    start: usize,
    end: usize,
    #[serde(alias = "label", alias = "type", default)]
    class: String,
}

/// What the structured record holds: a bare text is a name, or, where it has digits, a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum LabelledValue {
    Bare(String),
    Classed { value: String, class: String },
}

impl LabelledValue {
    fn known(&self) -> Known<'_> {
        match self {
            Self::Bare(value) => Known { class: class_of_bare(value), value },
            Self::Classed { value, class } => {
                Known { class: Class::from_label(class).unwrap_or_else(|| class_of_bare(value)), value }
            }
        }
    }
}

fn class_of_bare(value: &str) -> Class {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    match (digits, letters) {
        (0, _) => Class::Name,
        (_, letters) if letters > digits && value.contains(' ') => Class::Street,
        _ => Class::Id,
    }
}

/// `forebay redact`
pub(crate) fn run(args: &RedactArgs) -> anyhow::Result<ExitCode> {
    match (&args.command, &args.file) {
        (Some(RedactCommand::Eval { file, json, model }), _) => eval(&Detectors::open(model)?, file, *json)?,
        (None, Some(file)) => redact(&Detectors::open(&args.model)?, file, args)?,
        (None, None) => return Err(Usage("give a file, or - for standard input".to_owned()).into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The rules, and the model if one was given.
struct Detectors {
    redactor: Redactor,
    model: Option<Arc<dyn EntityModel>>,
}

impl Detectors {
    fn open(args: &ModelArgs) -> anyhow::Result<Self> {
        let redactor = Redactor::new(Policy::default())?;
        let Some(path) = args.model.clone() else { return Ok(Self { redactor, model: None }) };
        let labels = crate::commands::pairs("--label", &args.label)?;
        let threshold = args.threshold.unwrap_or(ModelSpec::threshold());
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(Usage("--threshold must be above 0, and at most 1".to_owned()).into());
        }
        let (batch, deadline) = (ModelSpec::batch(), ModelSpec::deadline());
        let spec = ModelSpec { path, reason: String::new(), labels, threshold, batch, deadline };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let model = runtime.block_on(open_model(&spec)).map_err(Usage)?;
        Ok(Self { redactor, model: Some(model) })
    }

    /// What the model finds in each text; nothing without a model.
    fn entities(&self, texts: &[&str]) -> Vec<Result<Vec<Entity>, ModelFailure>> {
        match &self.model {
            Some(model) => find_entities(model.as_ref(), texts, ModelSpec::deadline()),
            None => vec![Ok(Vec::new()); texts.len()],
        }
    }

    fn entities_of(&self, text: &str) -> Result<Vec<Entity>, ModelFailure> {
        self.entities(&[text]).pop().unwrap_or(Err(ModelFailure::Invalid))
    }
}

fn open(file: &str) -> anyhow::Result<Box<dyn BufRead>> {
    if file == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let open = File::open(file).map_err(|error| Usage(format!("can't read {file}: {error}")))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, open)))
}

/// The next line without its end; none at the end of the file.
fn next_line(reader: &mut dyn BufRead, number: u64) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    if Read::take(&mut *reader, LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 == LINE {
        return Err(Usage(format!("line {number} is longer than 64 MiB")).into());
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    // A text that is not UTF-8 is still redacted; what is broken in it becomes U+FFFD.
    Ok(Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())))
}

fn redact(detectors: &Detectors, file: &str, args: &RedactArgs) -> anyhow::Result<()> {
    let redactor = &detectors.redactor;
    let mut reader = open(file)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let given: Vec<LabelledValue> = args
        .known
        .iter()
        .map(|known| match known.split_once('=') {
            Some((class, value)) if Class::from_label(class).is_some() => {
                LabelledValue::Classed { value: value.to_owned(), class: class.to_owned() }
            }
            _ => LabelledValue::Bare(known.clone()),
        })
        .collect();
    let plain = redactor.known("", given.iter().map(LabelledValue::known));
    let mut number = 0;
    while let Some(line) = next_line(reader.as_mut(), number + 1)? {
        number += 1;
        let record = line.starts_with('{').then(|| serde_json::from_str::<Labelled>(&line).ok()).flatten();
        let Some(record) = record else {
            match detectors.entities_of(&line) {
                Ok(entities) => {
                    writeln!(out, "{}", redactor.redact_with(&line, Some(&plain), &entities))?;
                    if args.explain {
                        explain(&mut out, &line, &redactor.find_with(&line, Some(&plain), &entities))?;
                    }
                }
                Err(failure) => writeln!(out, "[WITHHELD: {}]", failure.code())?,
            }
            continue;
        };
        let known = redactor.known("", given.iter().chain(&record.known).map(LabelledValue::known));
        let entities = match detectors.entities_of(&record.text) {
            Ok(entities) => entities,
            Err(failure) => {
                writeln!(out, "{}", json!({ "text": null, "withheld": failure.code() }))?;
                continue;
            }
        };
        let redacted = redactor.redact_with(&record.text, Some(&known), &entities);
        let mut line = json!({ "text": redacted });
        if args.explain {
            line["spans"] = in_characters(&record.text, &redactor.find_with(&record.text, Some(&known), &entities))
                .map(|(start, end, span)| json!({"start": start, "end": end, "class": span.class.as_str(), "why": span.why}))
                .collect();
        }
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints what was found in a line, one find a line.
fn explain(out: &mut impl Write, text: &str, spans: &[Span]) -> anyhow::Result<()> {
    for (start, end, span) in in_characters(text, spans) {
        let found = &text[span.start as usize..span.end as usize];
        writeln!(out, "    {start:>5}-{end:<5} {:<13} {:<44} {found:?}", span.class.as_str(), span.why)?;
    }
    Ok(())
}

fn in_characters<'a>(text: &'a str, spans: &'a [Span]) -> impl Iterator<Item = (usize, usize, &'a Span)> {
    let (mut byte, mut character) = (0, 0);
    spans.iter().map(move |span| {
        let start = character + text[byte..span.start as usize].chars().count();
        let end = start + text[span.start as usize..span.end as usize].chars().count();
        (byte, character) = (span.end as usize, end);
        (start, end, span)
    })
}

/// Texts that are scored together: a batch as a job has them.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 16 << 20;

fn eval(detectors: &Detectors, file: &str, as_json: bool) -> anyhow::Result<()> {
    let mut reader = open(file)?;
    let (mut score, mut spent, mut number, mut bytes) = (Score::default(), Duration::ZERO, 0, 0);
    let mut batch: Vec<Labelled> = Vec::with_capacity(BATCH);
    while let Some(line) = next_line(reader.as_mut(), number + 1)? {
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        // What is wrong is told without the line: it may hold anything.
        let record: Labelled = serde_json::from_str(&line).map_err(|error| {
            Usage(format!("{file}, line {number}, column {}: no JSON object with `text` and `spans`", error.column()))
        })?;
        bytes += record.text.len();
        batch.push(record);
        if batch.len() == BATCH || bytes >= BATCH_BYTES {
            spent += add(detectors, &mut score, &mut batch)?;
            bytes = 0;
        }
    }
    spent += add(detectors, &mut score, &mut batch)?;
    let rate = score.texts as f64 / spent.as_secs_f64().max(1e-9);
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&to_json(&score, rate)).context("the score")?)?;
    } else {
        print_score(&mut out, &score, rate)?;
    }
    Ok(())
}

/// Scores a batch, and tells how long finding and rewriting took; what the records hold was made ready before.
fn add(detectors: &Detectors, score: &mut Score, batch: &mut Vec<Labelled>) -> anyhow::Result<Duration> {
    let redactor = &detectors.redactor;
    let known: Vec<KnownSet> =
        batch.iter().map(|record| redactor.known("", record.known.iter().map(LabelledValue::known))).collect();
    let texts = StringArray::from_iter_values(batch.iter().map(|record| &record.text));
    let start = Instant::now();
    let bare: Vec<&str> = batch.iter().map(|record| record.text.as_str()).collect();
    let answers = detectors.entities(&bare);
    let entities = |row: usize| answers.get(row)?.as_ref().ok().map(Vec::as_slice);
    let redacted = redactor.redact_column_with(&texts, |row| known.get(row), entities, false)?;
    let took = start.elapsed();
    drop(redacted);
    if let Some(failure) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        anyhow::bail!("{failure}: a text that is withheld can't be scored");
    }
    for (row, (record, known)) in batch.drain(..).zip(&known).enumerate() {
        let marked: Vec<_> = record
            .spans
            .iter()
            .map(|span| Marked { start: span.start, end: span.end, label: span.class.clone() })
            .collect();
        let spans = redactor.find_with(&record.text, Some(known), entities(row).unwrap_or_default());
        score.add(&record.text, &marked, &spans);
    }
    Ok(took)
}

fn counts(counts: &Counts) -> Value {
    json!({
        "recall": counts.recall(), "precision": counts.precision(), "f1": counts.f1(),
        "marked": counts.marked, "found": counts.found,
    })
}

/// `recall`, `precision` and `f1` at the top are those of `covered`.
fn tally(tally: &Tally) -> Value {
    let mut value = counts(&tally.covered);
    value["typed"] = counts(&tally.typed);
    value["strict"] = counts(&tally.strict);
    value["character"] = counts(&tally.character);
    value
}

fn to_json(score: &Score, rate: f64) -> Value {
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    json!({
        "all": tally(&score.all),
        "classes": score.classes.iter().map(|(label, by_class)| (label.clone(), tally(by_class))).collect::<serde_json::Map<_, _>>(),
        "clean": {
            "texts": score.clean_texts,
            "touched": score.clean_touched,
            "share_touched": share(score.clean_touched, score.clean_texts),
            "spans": score.clean_spans,
            "characters": score.clean_characters,
            "redacted_characters": score.clean_found,
            "share_redacted": share(score.clean_found, score.clean_characters),
        },
        "texts": score.texts,
        "notes_per_second": rate,
    })
}

fn print_score(out: &mut impl Write, score: &Score, rate: f64) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<16} {:>7} {:>7}  {:^23}  {:^23}  {:^23}",
        "", "marked", "found", "covered", "strict", "by character"
    )?;
    writeln!(out, "{:<16} {:>7} {:>7} {}", "class", "", "", "  recall   prec.      F1".repeat(3))?;
    let all = "all".to_owned();
    for (label, tally) in score.classes.iter().chain([(&all, &score.all)]) {
        write!(out, "{label:<16} {:>7} {:>7} ", tally.covered.marked, tally.covered.found)?;
        for counts in [&tally.covered, &tally.strict, &tally.character] {
            write!(out, " {:>7.4} {:>7.4} {:>7.4}", counts.recall(), counts.precision(), counts.f1())?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "\n{} texts, {} of them without a marked span: {} of these were touched ({} of {} characters)",
        score.texts, score.clean_texts, score.clean_touched, score.clean_found, score.clean_characters
    )?;
    writeln!(out, "{rate:.0} notes a second, one core")?;
    Ok(())
}
