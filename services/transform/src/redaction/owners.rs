//! Whose row is whose: which rows share what is known of a person, and the days by which dates are moved.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use forebay_recipe::{Layout, Records};
use forebay_redact::{Class, Known, KnownSet, Redactor};

/// Identifiers of the other subjects of a record that are looked for too: of a record that holds many persons' records,
/// not all can be.
const SHARED: usize = 256;

/// The rows of a run of whole records, in groups: one for each record, or, where a record can hold others, one for each
/// subject in it.
pub(super) struct Owners {
    /// For every table, the group of each row.
    groups: Vec<Vec<u32>>,
    /// For every group, its record.
    records: Vec<u32>,
    /// For every group, whose it is.
    subjects: Vec<Option<Arc<str>>>,
    /// Whether a record can have more than one group.
    several: bool,
}

impl Owners {
    pub(super) fn of(layout: &Layout, batches: &[RecordBatch], parents: &[UInt32Array]) -> Self {
        let several = matches!(layout.records, Records::Kinds(_));
        let mut owners = Self { groups: Vec::new(), records: Vec::new(), subjects: Vec::new(), several };
        let mut seen: HashMap<(u32, Option<Cow<'_, str>>), u32> = HashMap::new();
        for (index, table) in layout.tables.iter().enumerate() {
            let above = parents[index].values();
            let groups = match table.parent {
                Some(parent) => above.iter().map(|row| owners.groups[parent][*row as usize]).collect(),
                None => {
                    let subjects = table.subject.map(|column| batches[index].column(column));
                    let owner = |row| subjects.and_then(|subjects| subject_at(subjects, row));
                    let mut groups = Vec::with_capacity(above.len());
                    for (row, &record) in above.iter().enumerate() {
                        let subject = owner(row);
                        groups.push(if several {
                            *seen
                                .entry((record, subject))
                                .or_insert_with_key(|(record, subject)| owners.add(*record, subject.as_deref()))
                        } else {
                            owners.add(record, subject.as_deref())
                        });
                    }
                    groups
                }
            };
            owners.groups.push(groups);
        }
        owners
    }

    fn add(&mut self, record: u32, subject: Option<&str>) -> u32 {
        self.records.push(record);
        self.subjects.push(subject.map(Arc::from));
        (self.records.len() - 1) as u32
    }

    /// The group of a row.
    pub(super) fn group(&self, table: usize, row: usize) -> usize {
        self.groups[table][row] as usize
    }

    /// For every group, whose it is.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Option<&str>> {
        self.subjects.iter().map(Option::as_deref)
    }

    /// What is known of each group, from columns of given classes: its own values, then those of its record's other
    /// groups.
    pub(super) fn known_sets(
        &self,
        redactor: &Redactor,
        columns: &[(usize, usize, Class)],
        batches: &[RecordBatch],
    ) -> Vec<KnownSet> {
        let mut own: Vec<Vec<Known<'_>>> = vec![Vec::new(); self.records.len()];
        let mut seen = HashSet::new();
        for (table, column, class) in columns {
            let Some(column) = batches[*table].column(*column).as_string_opt::<i32>() else { continue };
            for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
                let group = self.group(*table, row);
                // Several values in one text stand on lines of their own.
                for value in column.value(row).lines() {
                    // Whoever holds many records holds the same names again and again.
                    if !self.several || seen.insert((group, *class, value)) {
                        own[group].push(Known { class: *class, value });
                    }
                }
            }
        }
        let shared = self.shared(&own);
        let sets = own.into_iter().enumerate().map(|(group, values)| {
            let others = shared.get(&self.records[group]).into_iter().flatten().copied();
            redactor.known(self.subjects[group].clone().unwrap_or_default(), values.into_iter().chain(others))
        });
        sets.collect()
    }

    /// What is known in records of more than one group, a bounded part of it.
    fn shared<'b>(&self, own: &[Vec<Known<'b>>]) -> HashMap<u32, Vec<Known<'b>>> {
        let mut shared: HashMap<u32, Vec<Known<'b>>> = HashMap::new();
        if !self.several {
            return shared;
        }
        let mut groups: HashMap<u32, u32> = HashMap::new();
        for record in &self.records {
            *groups.entry(*record).or_default() += 1;
        }
        for (group, values) in own.iter().enumerate().filter(|(group, _)| groups[&self.records[*group]] > 1) {
            let all = shared.entry(self.records[group]).or_default();
            let room = SHARED.saturating_sub(all.len());
            all.extend(values.iter().take(room).copied());
        }
        shared
    }
}

/// Whose a row is; an empty text, as what is left of the reference `Patient/`, names nobody.
fn subject_at(subjects: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    if subjects.is_null(row) {
        return None;
    }
    if let Some(texts) = subjects.as_string_opt::<i32>() {
        return Some(texts.value(row)).filter(|text| !text.is_empty()).map(Cow::Borrowed);
    }
    if let Some(numbers) = subjects.as_primitive_opt::<Int64Type>() {
        return Some(numbers.value(row).to_string().into());
    }
    subjects.as_primitive_opt::<Int32Type>().map(|numbers| numbers.value(row).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};

    #[test]
    fn an_empty_subject_is_none() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(""), None]));
        assert_eq!([0, 1, 2].map(|row| subject_at(&texts, row)), [Some("a".into()), None, None]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        assert_eq!(subject_at(&numbers, 0).as_deref(), Some("7"));
    }
}
