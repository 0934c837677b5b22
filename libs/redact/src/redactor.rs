use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{Array, ListArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

use crate::known::{Known, KnownSet};
use crate::lexicon::Lexicon;
use crate::model::Entity;
use crate::policy::{Policy, Style};
use crate::scan::{Scanner, Span};

/// Why a text could not be redacted. No value of a text is ever in it.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The lexicon within the program is broken.
    #[error("the redactor's lexicon is broken: {0}")]
    Lexicon(String),
    /// A policy that replaces by key has none.
    #[error("pseudonyms and shifted dates need a key: give one")]
    NoKey,
    /// A column that is larger than Arrow's text can be.
    #[error("a redacted column is larger than 2 GiB: use smaller batches")]
    TooLarge,
}

/// Finds and replaces what identifies a person. Made once for a job, used by any number of threads.
#[derive(Clone, Debug)]
pub struct Redactor {
    lexicon: &'static Lexicon,
    policy: Arc<Policy>,
}

/// A redacted column.
#[derive(Clone, Debug)]
pub struct Redacted {
    /// The texts, with their nulls.
    pub texts: StringArray,
    /// Spans that were replaced.
    pub spans: u64,
    /// Where they were, if that was asked for: a list of {`start`, `end`, `class`} in characters of the text as it was, the end
    /// exclusive.
    pub places: Option<ListArray>,
}

impl Redactor {
    /// Plans a redactor; the first one of a process unpacks the lexicon, which takes some 20 ms.
    pub fn new(policy: Policy) -> Result<Self, RedactError> {
        if policy.key.is_none() && (policy.style == Style::Pseudonym || policy.dates == crate::Dates::Shift) {
            return Err(RedactError::NoKey);
        }
        Ok(Self { lexicon: Lexicon::shared()?, policy: Arc::new(policy) })
    }

    /// Makes the known identifiers of one record ready. `subject` is whose dates are shifted together; it may be empty.
    pub fn known<'a>(&self, subject: impl Into<Arc<str>>, values: impl IntoIterator<Item = Known<'a>>) -> KnownSet {
        KnownSet::new(self.lexicon, subject.into(), values)
    }

    /// What is found in one text.
    pub fn find(&self, text: &str, known: Option<&KnownSet>) -> Vec<Span> {
        self.find_with(text, known, &[])
    }

    /// What is found in one text, together with what a model found in it.
    pub fn find_with(&self, text: &str, known: Option<&KnownSet>, entities: &[Entity]) -> Vec<Span> {
        Scanner::new(self.lexicon).scan(text, known, entities, self.policy.classes).to_vec()
    }

    /// One text, redacted.
    pub fn redact(&self, text: &str, known: Option<&KnownSet>) -> String {
        self.redact_with(text, known, &[])
    }

    /// One text, redacted, together with what a model found in it.
    pub fn redact_with(&self, text: &str, known: Option<&KnownSet>, entities: &[Entity]) -> String {
        let spans = self.find_with(text, known, entities);
        let mut out = Vec::with_capacity(text.len());
        self.write(text, &spans, known, &mut out);
        // Whole characters only are cut out and put in, so that nothing is lost here.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// A whole column, each row with the known identifiers of its record.
    pub fn redact_column<'k>(
        &self,
        texts: &StringArray,
        known: impl Fn(usize) -> Option<&'k KnownSet>,
        with_places: bool,
    ) -> Result<Redacted, RedactError> {
        self.redact_column_with(texts, known, |_| Some(&[]), with_places)
    }

    /// A whole column, each row with what a model found in it. A row about which the model has no answer becomes null.
    pub fn redact_column_with<'k>(
        &self,
        texts: &StringArray,
        known: impl Fn(usize) -> Option<&'k KnownSet>,
        entities: impl Fn(usize) -> Option<&'k [Entity]>,
        with_places: bool,
    ) -> Result<Redacted, RedactError> {
        let mut scanner = Scanner::new(self.lexicon);
        let mut values = Vec::with_capacity(texts.value_data().len() + texts.value_data().len() / 16);
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        let mut places = with_places.then(places_builder);
        let (mut count, mut withheld) = (0, Vec::new());
        offsets.push(0_i32);
        for row in 0..texts.len() {
            let entities = if texts.is_valid(row) { entities(row) } else { Some(&[][..]) };
            if entities.is_none() {
                withheld.push(row);
            }
            let shown = entities.filter(|_| texts.is_valid(row));
            if let Some(entities) = shown {
                let (text, known) = (texts.value(row), known(row));
                let spans = scanner.scan(text, known, entities, self.policy.classes);
                count += spans.len() as u64;
                self.write(text, spans, known, &mut values);
                if let Some(places) = &mut places {
                    append_places(places, text, spans);
                }
            }
            if let Some(places) = &mut places {
                places.append(shown.is_some());
            }
            offsets.push(i32::try_from(values.len()).map_err(|_| RedactError::TooLarge)?);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let texts = StringArray::try_new(offsets, Buffer::from_vec(values), without(texts, &withheld))
            .map_err(|error| RedactError::Lexicon(error.to_string()))?;
        Ok(Redacted { texts, spans: count, places: places.map(|mut places| places.finish()) })
    }

    fn write(&self, text: &str, spans: &[Span], known: Option<&KnownSet>, out: &mut Vec<u8>) {
        let mut at = 0;
        for span in spans {
            out.extend_from_slice(&text.as_bytes()[at..span.start as usize]);
            self.policy.replace(self.lexicon, text, span, known, out);
            at = span.end as usize;
        }
        out.extend_from_slice(&text.as_bytes()[at..]);
    }

    /// Rules that were tried on a text: grows with its length only.
    #[doc(hidden)]
    pub fn steps(&self, text: &str) -> u64 {
        let mut scanner = Scanner::new(self.lexicon);
        scanner.scan(text, None, &[], self.policy.classes);
        scanner.steps
    }
}

/// The nulls of a column, and those of rows that are withheld.
fn without(texts: &StringArray, withheld: &[usize]) -> Option<NullBuffer> {
    if withheld.is_empty() {
        return texts.nulls().cloned();
    }
    let mut valid: Vec<bool> = (0..texts.len()).map(|row| texts.is_valid(row)).collect();
    for row in withheld {
        valid[*row] = false;
    }
    Some(NullBuffer::from(valid))
}

/// The type of the column of places.
pub fn places_type() -> DataType {
    DataType::List(element())
}

/// Delta's name for what a list holds, which Arrow would call otherwise.
fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(place_fields()), true))
}

fn place_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", DataType::Int32, true),
        Field::new("end", DataType::Int32, true),
        Field::new("class", DataType::Utf8, true),
    ])
}

fn places_builder() -> ListBuilder<StructBuilder> {
    ListBuilder::new(StructBuilder::from_fields(place_fields(), 0)).with_field(element())
}

fn append_places(places: &mut ListBuilder<StructBuilder>, text: &str, spans: &[Span]) {
    let (mut byte, mut chars) = (0, 0);
    for span in spans {
        let (start, end) = (span.start as usize, span.end as usize);
        chars += text[byte..start].chars().count();
        let length = text[start..end].chars().count();
        let row = places.values();
        if let Some(starts) = row.field_builder::<Int32Builder>(0) {
            starts.append_value(chars as i32);
        }
        if let Some(ends) = row.field_builder::<Int32Builder>(1) {
            ends.append_value((chars + length) as i32);
        }
        if let Some(class) = row.field_builder::<StringBuilder>(2) {
            class.append_value(span.class.as_str());
        }
        row.append(true);
        chars += length;
        byte = end;
    }
}
