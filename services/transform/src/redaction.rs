mod owners;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use forebay_recipe::{
    DateFields, Identifies, Layout, Profile, Recipe, RedactDates, RedactStep, RedactStyle, Step, Treatment,
    days_from_civil,
};
use forebay_redact::{Class, Classes, Dates, Key, Policy, Redacted, Redactor, Style};

use crate::failure::Failure;
use crate::model::{Answer, Models, StepModel};
use owners::Owners;

/// The variable that holds the key of pseudonyms and shifted dates.
const KEY: &str = "FOREBAY_REDACT_KEY";

/// What is said where it is missing.
const NO_KEY: &str =
    "the recipe replaces by key: set FOREBAY_REDACT_KEY to a secret of at least 16 bytes on every worker";

/// Parts of a day in the unit of timestamps.
const DAY_MICROS: i64 = 86_400_000_000;

/// Three-digit ZIP areas of 20,000 people or fewer. Source: HHS, "Guidance Regarding Methods for De-identification of Protected
/// Health Information", 2012, from the census of 2000.
const SMALL_ZIP3: [&str; 17] = [
    "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890",
    "893",
];

/// What a job does to identifiers before any row is kept or sent.
#[derive(Debug)]
pub(crate) struct Redaction {
    layout: Arc<Layout>,
    texts: Vec<TextColumn>,
    /// Columns whose values are looked for in the texts: table, column, class.
    known: Vec<(usize, usize, Class)>,
    /// Columns that are changed: table, column, how.
    treated: Vec<(usize, usize, Treatment)>,
    /// For what is replaced or moved by key in fields.
    key: Option<Key>,
}

/// A column of texts, and how it is redacted.
#[derive(Debug)]
struct TextColumn {
    table: usize,
    column: usize,
    redactor: Redactor,
    /// The column for where something was replaced.
    spans: Option<usize>,
    model: Option<StepModel>,
}

impl Redaction {
    /// Plans what a recipe does; none if it does nothing.
    pub(crate) async fn plan(recipe: &Recipe, layout: &Arc<Layout>, models: &Models) -> Result<Option<Self>, Failure> {
        let profile = recipe.profile();
        if profile == Profile::Public {
            return Ok(None);
        }
        let mut texts = Vec::new();
        for step in &recipe.steps {
            let Step::Redact(step) = step else { continue };
            let table = layout.table(&step.table);
            let place = |name: &str| layout.tables[table?].columns.iter().position(|column| column.name == name);
            let (column, spans) = (place(&step.column), step.spans.as_deref().and_then(place));
            let (Some(table), Some(column)) = (table, column) else {
                return Err(Failure::Fatal(format!("there is no column {}.{} to redact", step.table, step.column)));
            };
            let redactor = Redactor::new(policy(recipe, step)?).map_err(|error| Failure::Fatal(error.to_string()))?;
            let model = match &step.model {
                Some(spec) => Some(models.step(spec, &layout.tables[table]).await?),
                None => None,
            };
            texts.push(TextColumn { table, column, redactor, spans, model });
        }
        let columns = || {
            layout.tables.iter().enumerate().flat_map(|(table, plan)| {
                plan.columns.iter().enumerate().map(move |(column, plan)| (table, column, plan))
            })
        };
        let known = columns()
            .filter_map(|(table, column, plan)| class_of(plan.identifies?).map(|class| (table, column, class)))
            .collect();
        let treated: Vec<_> = columns()
            .filter(|(_, _, plan)| plan.treatment != Treatment::Keep && !plan.withheld)
            .map(|(table, column, plan)| (table, column, plan.treatment))
            .collect();
        if texts.is_empty() && treated.is_empty() {
            return Ok(None);
        }
        let by_key = |(_, _, treatment): &(usize, usize, Treatment)| {
            matches!(treatment, Treatment::Pseudonym(_) | Treatment::Shift(_))
        };
        let key = if treated.iter().any(by_key) { Some(key()?) } else { None };
        Ok(Some(Self { layout: Arc::clone(layout), texts, known, treated, key }))
    }

    /// The columns of texts that a model is asked about, with their places among all columns of texts.
    pub(crate) fn asked<'a>(
        &'a self,
        batches: &'a [RecordBatch],
    ) -> impl Iterator<Item = (usize, &'a StepModel, &'a StringArray)> {
        self.texts.iter().enumerate().filter_map(|(at, text)| {
            let column = batches[text.table].column(text.column).as_string_opt::<i32>()?;
            Some((at, text.model.as_ref()?, column))
        })
    }

    /// Redacts a run of whole records: one batch a table, with the parents of its rows. `answers` are those of the models,
    /// by column of texts and row.
    pub(crate) fn apply(
        &self,
        mut batches: Vec<RecordBatch>,
        parents: &[UInt32Array],
        answers: &HashMap<usize, Vec<Answer>>,
    ) -> Result<Vec<RecordBatch>, Failure> {
        let owners = Owners::of(&self.layout, &batches, parents);
        let texts = match self.texts.first() {
            Some(text) => self.redacted(&text.redactor, &owners, &batches, answers)?,
            None => Vec::new(),
        };
        // Fields are treated after the texts, which are searched for what they hold.
        for (at, (text, redacted)) in self.texts.iter().zip(texts).enumerate() {
            replace(&mut batches[text.table], text.column, Arc::new(redacted.texts))?;
            if let (Some(column), Some(places)) = (text.spans, redacted.places) {
                replace(&mut batches[text.table], column, Arc::new(places))?;
            }
            if let (Some(model), Some(answers)) = (&text.model, answers.get(&at)) {
                let reasons = answers.iter().map(|answer| answer.as_ref().err().map(|failure| failure.code()));
                let reasons: StringArray = reasons.collect();
                replace(&mut batches[text.table], model.reason, Arc::new(reasons))?;
            }
        }
        for (table, column, treatment) in &self.treated {
            let values = batches[*table].column(*column);
            let treated = self.treated(*table, values, *treatment, &owners)?;
            replace(&mut batches[*table], *column, treated)?;
        }
        Ok(batches)
    }

    /// The columns of texts, redacted. Any redactor can make known identifiers ready for all of them.
    fn redacted(
        &self,
        any: &Redactor,
        owners: &Owners,
        batches: &[RecordBatch],
        answers: &HashMap<usize, Vec<Answer>>,
    ) -> Result<Vec<Redacted>, Failure> {
        let sets = owners.known_sets(any, &self.known, batches);
        let redact = |(at, text): (usize, &TextColumn)| {
            let column = batches[text.table].column(text.column).as_string::<i32>();
            let known = |row: usize| sets.get(owners.group(text.table, row));
            let answers = answers.get(&at).map(Vec::as_slice);
            // Where a model is asked for, a row without an answer is withheld, for whatever reason there is none.
            let entities = |row: usize| match (&text.model, answers) {
                (None, _) => Some(&[][..]),
                (Some(_), answers) => answers?.get(row)?.as_ref().ok().map(Vec::as_slice),
            };
            let redacted = text.redactor.redact_column_with(column, known, entities, text.spans.is_some());
            redacted.map_err(|error| Failure::Fatal(error.to_string()))
        };
        self.texts.iter().enumerate().map(redact).collect()
    }

    fn treated(
        &self,
        table: usize,
        column: &ArrayRef,
        treatment: Treatment,
        owners: &Owners,
    ) -> Result<ArrayRef, Failure> {
        let keyed = || self.key.as_ref().ok_or_else(|| Failure::Fatal(NO_KEY.to_owned()));
        Ok(match treatment {
            Treatment::Keep => Arc::clone(column),
            Treatment::Withhold => new_null_array(column.data_type(), column.len()),
            Treatment::Year => to_year(column, i32::MIN),
            Treatment::BirthYear(oldest) => to_year(column, oldest),
            Treatment::Zip3 => match column.as_string_opt::<i32>() {
                Some(codes) => Arc::new(codes.iter().map(|code| code.map(zip3)).collect::<StringArray>()),
                None => new_null_array(column.data_type(), column.len()),
            },
            Treatment::Pseudonym(identifies) => to_tokens(column, class_of(identifies), keyed()?),
            Treatment::Shift(oldest) => {
                let key = keyed()?;
                let days: Vec<_> = owners.subjects().map(|subject| subject.map(|subject| key.shift(subject))).collect();
                moved(column, oldest, |row| days.get(owners.group(table, row)).copied().flatten())
            }
        })
    }
}

/// What is looked for in a text.
fn classes(recipe: &Recipe, dates: RedactDates) -> Classes {
    let stays = [Class::Age, Class::Place, Class::Zip];
    match recipe.profile() {
        // A true date beside a moved one of the same subject tells by how much all of its dates were moved.
        Profile::Limited if dates == RedactDates::Shift || recipe.dates == DateFields::Shift => {
            Classes::ALL.without(&stays)
        }
        Profile::Limited => Classes::ALL.without(&stays).without(&[Class::Date]),
        Profile::SafeHarbor | Profile::Public => Classes::ALL,
    }
}

fn policy(recipe: &Recipe, step: &RedactStep) -> Result<Policy, Failure> {
    let (style, dates) = (step.style(recipe), step.dates(recipe));
    let classes = classes(recipe, dates);
    let keyed = style == RedactStyle::Pseudonym || dates == RedactDates::Shift;
    let key = if keyed { Some(key()?) } else { None };
    let style = match style {
        RedactStyle::Tag => Style::Tag,
        RedactStyle::Pseudonym => Style::Pseudonym,
        RedactStyle::Mask => Style::Mask,
    };
    let dates = match dates {
        RedactDates::Style => Dates::Style,
        RedactDates::Shift => Dates::Shift,
    };
    Ok(Policy { classes, style, dates, key })
}

fn key() -> Result<Key, Failure> {
    let secret = std::env::var(KEY).ok();
    secret.and_then(|secret| Key::new(secret.as_bytes())).ok_or_else(|| Failure::Fatal(NO_KEY.to_owned()))
}

/// What a field's values are looked for as. Dates are found by their form, whoever's they are.
fn class_of(identifies: Identifies) -> Option<Class> {
    Some(match identifies {
        Identifies::Name => Class::Name,
        Identifies::BirthDate | Identifies::Date => return None,
        Identifies::Phone => Class::Phone,
        Identifies::Fax => Class::Fax,
        Identifies::Email => Class::Email,
        Identifies::Ssn => Class::Ssn,
        Identifies::Mrn => Class::Mrn,
        Identifies::Plan => Class::Plan,
        Identifies::Account => Class::Account,
        Identifies::License => Class::License,
        Identifies::Vehicle => Class::Vehicle,
        Identifies::Device => Class::Device,
        Identifies::Url => Class::Url,
        Identifies::Ip => Class::Ip,
        Identifies::Biometric => Class::Biometric,
        Identifies::Street => Class::Street,
        Identifies::City => Class::Place,
        Identifies::Zip => Class::Zip,
        Identifies::Organization => Class::Organization,
        Identifies::Id => Class::Id,
    })
}

fn replace(batch: &mut RecordBatch, column: usize, values: ArrayRef) -> Result<(), Failure> {
    let mut columns = batch.columns().to_vec();
    columns[column] = values;
    *batch = RecordBatch::try_new(batch.schema(), columns).map_err(|error| Failure::Fatal(error.to_string()))?;
    Ok(())
}

/// A token for each value; several values in one text stand on lines of their own, as where texts are searched for them.
fn to_tokens(column: &ArrayRef, class: Option<Class>, key: &Key) -> ArrayRef {
    let (Some(values), Some(class)) = (column.as_string_opt::<i32>(), class) else {
        return new_null_array(column.data_type(), column.len());
    };
    let tokens = |text: &str| text.lines().map(|value| key.token(class, value)).collect::<Vec<_>>().join("\n");
    Arc::new(values.iter().map(|text| text.map(tokens)).collect::<StringArray>())
}

/// Dates and moments some days later, as `days` says for each row, but not before a year; null where it says nothing.
fn moved(column: &ArrayRef, oldest: i32, days: impl Fn(usize) -> Option<i32>) -> ArrayRef {
    let first = if oldest == i32::MIN { i32::MIN } else { days_from_civil(oldest, 1, 1) };
    if let Some(dates) = column.as_primitive_opt::<Date32Type>() {
        let moved = dates.iter().enumerate().map(|(row, date)| Some(date?.saturating_add(days(row)?).max(first)));
        return Arc::new(moved.collect::<PrimitiveArray<Date32Type>>());
    }
    if let Some(moments) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let first = i64::from(first) * DAY_MICROS;
        let moved = moments
            .iter()
            .enumerate()
            .map(|(row, moment)| Some(moment?.saturating_add(i64::from(days(row)?) * DAY_MICROS).max(first)));
        let moved = moved.collect::<PrimitiveArray<TimestampMicrosecondType>>();
        return Arc::new(moved.with_timezone_opt(moments.timezone()));
    }
    new_null_array(column.data_type(), column.len())
}

/// The first of January of each year, but not before `oldest`; what is neither date nor timestamp becomes null.
fn to_year(column: &ArrayRef, oldest: i32) -> ArrayRef {
    let first = |days: i32| days_from_civil(year_of(days).max(oldest), 1, 1);
    if let Some(dates) = column.as_primitive_opt::<Date32Type>() {
        return Arc::new(dates.unary::<_, Date32Type>(first));
    }
    if let Some(moments) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let first = |micros: i64| i64::from(first(micros.div_euclid(DAY_MICROS) as i32)) * DAY_MICROS;
        let years = moments.unary::<_, TimestampMicrosecondType>(first);
        return Arc::new(years.with_timezone_opt(moments.timezone()));
    }
    new_null_array(column.data_type(), column.len())
}

/// The year of days since 1970-01-01. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn year_of(days: i32) -> i32 {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is the first month of this count: January and February belong to the next year.
    era * 400 + year_of_era + i32::from(of_year >= 306)
}

/// The first three digits, or 000 for small areas and for what is no ZIP code.
fn zip3(code: &str) -> &str {
    match code.trim().get(..3) {
        Some(area) if area.bytes().all(|byte| byte.is_ascii_digit()) && !SMALL_ZIP3.contains(&area) => area,
        _ => "000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Date32Array, TimestampMicrosecondArray};

    #[test]
    fn the_column_of_spans_is_what_the_redactor_makes() {
        assert_eq!(forebay_recipe::ColumnType::Spans.data_type(), forebay_redact::places_type());
    }

    #[test]
    fn zip_codes_keep_three_digits_of_large_areas() {
        for (code, area) in
            [("02114", "021"), ("03601-1234", "000"), ("1", "000"), ("A1B 2C3", "000"), (" 90210", "902")]
        {
            assert_eq!(zip3(code), area, "{code}");
        }
    }

    #[test]
    fn true_dates_stay_in_texts_only_where_none_is_moved() {
        let text = forebay_recipe::SHIPPED.iter().find(|(name, _)| *name == "clinical").unwrap().1;
        let mut recipe = Recipe::parse("clinical", text).unwrap();
        let has_dates = |recipe: &Recipe, dates| classes(recipe, dates).has(Class::Date);
        assert!(has_dates(&recipe, RedactDates::Style));
        recipe.profile = Profile::Limited;
        assert!(!has_dates(&recipe, RedactDates::Style) && has_dates(&recipe, RedactDates::Shift));
        recipe.dates = DateFields::Shift;
        let limited = classes(&recipe, RedactDates::Style);
        assert!(limited.has(Class::Date) && limited.has(Class::Name) && !limited.has(Class::Age));
    }

    #[test]
    fn each_of_several_values_has_the_token_that_it_has_alone() {
        let key = Key::new(b"0123456789abcdef").unwrap();
        let numbers: ArrayRef = Arc::new(StringArray::from(vec![Some("A-1\nB 2"), Some("b2"), None]));
        let tokens = to_tokens(&numbers, Some(Class::Mrn), &key);
        let tokens = tokens.as_string::<i32>();
        let (first, second) = tokens.value(0).split_once('\n').unwrap();
        assert_eq!((first, second), (key.token(Class::Mrn, "A-1").as_str(), tokens.value(1)));
        assert!(tokens.is_null(2));
    }

    #[test]
    fn dates_become_years_and_the_oldest_are_not_told_apart() {
        for (date, year) in
            [((2020, 1, 1), 2020), ((2020, 12, 31), 2020), ((1969, 12, 31), 1969), ((2000, 2, 29), 2000)]
        {
            assert_eq!(year_of(days_from_civil(date.0, date.1, date.2)), year);
        }
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![
            Some(days_from_civil(1917, 5, 17)),
            None,
            Some(days_from_civil(1980, 7, 4)),
        ]));
        let years = to_year(&dates, 1936);
        let years = years.as_primitive::<Date32Type>();
        assert_eq!((years.value(0), years.value(2)), (days_from_civil(1936, 1, 1), days_from_civil(1980, 1, 1)));
        assert!(years.is_null(1));
        let moment = i64::from(days_from_civil(2024, 1, 8)) * DAY_MICROS + 7;
        let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![moment]).with_timezone("UTC"));
        let years = to_year(&moments, i32::MIN);
        assert_eq!(years.data_type(), moments.data_type());
        assert_eq!(
            years.as_primitive::<TimestampMicrosecondType>().value(0),
            i64::from(days_from_civil(2024, 1, 1)) * DAY_MICROS
        );
    }
}
