//! What records there are, and the fields that paths find in them.

use super::build::Builder;
use super::{Column, ColumnType, FieldPlan, Kind, Kinds, ObjectPlan, PathColumn, Reading, Records, Target, Way};
use crate::rules::Rules;
use crate::spec::{Encoding, FieldSpec};
use crate::{KindSpec, Ordered, Path, RecipeError, RecordsSpec, Treatment};

impl ObjectPlan {
    /// Adds a field, which a path may have named before.
    pub(super) fn add_field(&mut self, name: &str, required: bool, target: Target) {
        match self.fields.iter_mut().find(|field| field.name == name) {
            Some(field) => (field.required, field.target) = (required, target),
            None => self.fields.push(FieldPlan { name: name.to_owned(), required, kept: false, target }),
        }
    }

    /// The place of a field that a path begins with.
    fn kept(&mut self, name: &str) -> usize {
        let place = self.fields.iter().position(|field| field.name == name).unwrap_or_else(|| {
            self.add_field(name, false, Target::Nowhere);
            self.fields.len() - 1
        });
        self.fields[place].kept = true;
        place
    }
}

impl Builder<'_> {
    /// Compiles `record`, or `records`.
    pub(super) fn records(&mut self) -> Result<Records, RecipeError> {
        match (&self.recipe.record, &self.recipe.records) {
            (Some(record), None) => {
                let (key, subject) = (record.key.as_deref(), record.subject.as_deref());
                Ok(Records::One(self.rows("record", &record.table, &record.fields, key, subject)?))
            }
            (None, Some(records)) => Ok(Records::Kinds(self.kinds(records)?)),
            (None, None) => Err(self.invalid("record", "is missing: a recipe needs it, or `records`")),
            (Some(_), Some(_)) => Err(self.invalid("records", "stands beside `record`: only one of them can be")),
        }
    }

    fn kinds(&mut self, spec: &RecordsSpec) -> Result<Kinds, RecipeError> {
        let mut kinds = Vec::with_capacity(spec.kinds.0.len());
        for (name, kind) in &spec.kinds.0 {
            let key = format!("records.kinds.{name}");
            let kind = match self.kind(&key, kind)? {
                Kind::Rows(mut plan) => {
                    // It is known, whatever becomes of unknown fields.
                    if plan.fields.iter().all(|field| field.name != spec.by) {
                        plan.add_field(&spec.by, false, Target::Nowhere);
                    }
                    Kind::Rows(plan)
                }
                each => each,
            };
            kinds.push((name.clone(), kind));
        }
        if !kinds.iter().any(|(_, kind)| matches!(kind, Kind::Rows(_))) {
            return Err(self.invalid("records.kinds", "there must be at least one kind with a table"));
        }
        Ok(Kinds { by: spec.by.clone(), other: spec.other, kinds })
    }

    fn kind(&mut self, key: &str, kind: &KindSpec) -> Result<Kind, RecipeError> {
        let (record_key, subject) = (kind.key.as_deref(), kind.subject.as_deref());
        match (&kind.table, &kind.fields, &kind.each) {
            (Some(table), Some(fields), None) => self.rows(key, table, fields, record_key, subject).map(Kind::Rows),
            (None, None, Some(path)) if record_key.is_none() && subject.is_none() => {
                Path::parse(path).map(Kind::Each).map_err(|message| self.invalid(&format!("{key}.each"), message))
            }
            _ => Err(self.invalid(key, "needs `table` and `fields`; or `each` alone, where it holds other records")),
        }
    }

    fn rows(
        &mut self,
        key: &str,
        table: &str,
        fields: &Ordered<FieldSpec>,
        record_key: Option<&str>,
        subject: Option<&str>,
    ) -> Result<ObjectPlan, RecipeError> {
        let table = self.add_table(key, table, None)?;
        let plan = self.object(&format!("{key}.fields"), fields, table, "")?;
        self.finish_table(key, table, record_key)?;
        self.tables[table].subject = match subject {
            None => self.tables[table].key,
            Some(name) => {
                let column = self.tables[table].columns.iter().position(|column| column.name == name);
                let column = column.ok_or_else(|| {
                    self.invalid(&format!("{key}.subject"), format!("'{name}' is none of the table's columns"))
                })?;
                if self.tables[table].columns[column].withheld {
                    return Err(
                        self.invalid(&format!("{key}.subject"), "a protected field can't say whose record it is")
                    );
                }
                Some(column)
            }
        };
        Ok(plan)
    }

    /// Compiles a field that is found by path.
    pub(super) fn path_column(
        &mut self,
        key: &str,
        name: &str,
        spec: &FieldSpec,
        column: usize,
        plan: &mut ObjectPlan,
    ) -> Result<(), RecipeError> {
        let texts = spec.path.as_ref().map_or(&[][..], |paths| paths.texts());
        let mut ways = Vec::with_capacity(texts.len());
        for text in texts {
            let path = Path::parse(text).map_err(|message| self.invalid(&format!("{key}.path"), message))?;
            let mut steps = path.steps.into_iter();
            if let Some(first) = steps.next() {
                ways.push(Way { field: plan.kept(&first.name), pick: first.pick, rest: steps.collect() });
            }
        }
        if ways.is_empty() {
            return Err(self.invalid(&format!("{key}.path"), "there must be at least one path"));
        }
        plan.paths.push(PathColumn { name: name.to_owned(), column, ways });
        Ok(())
    }

    /// Adds a column for the places in a text where something was replaced.
    pub(super) fn add_spans(&mut self, key: &str, table: usize, name: &str) -> Result<(), RecipeError> {
        let plan = &self.tables[table];
        if name.is_empty() || plan.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
            return Err(
                self.invalid(key, format!("must be a new name: the table has a column '{name}', or it is empty"))
            );
        }
        self.tables[table].columns.push(Column {
            name: name.to_owned(),
            kind: ColumnType::Spans,
            reading: Reading::default(),
            rules: Rules::default(),
            withheld: true,
            identifies: None,
            treatment: Treatment::Keep,
            inherited: None,
        });
        Ok(())
    }

    /// Checks how a field's texts are read.
    pub(super) fn reading(&self, key: &str, spec: &FieldSpec, kind: &ColumnType) -> Result<Reading, RecipeError> {
        let text = *kind == ColumnType::String;
        let temporal = matches!(kind, ColumnType::Date(super::DateOrder::Iso) | ColumnType::Timestamp);
        for (rule, wrong, what) in [
            ("encoding", spec.encoding != Encoding::Plain && !text, "is for strings only"),
            ("after", spec.after.is_some() && !text, "is for strings only"),
            ("after", spec.after.as_deref() == Some(""), "names no character"),
            ("join", spec.join.is_some() && !text, "is for strings only"),
            ("join", spec.join.is_some() && spec.path.is_none(), "needs `path`"),
            ("partial", spec.partial && !temporal, "is for timestamps, and for dates of the usual format, only"),
        ] {
            if wrong {
                return Err(self.invalid(&format!("{key}.{rule}"), what));
            }
        }
        let (after, join) = (spec.after.clone(), spec.join.clone());
        Ok(Reading { encoding: spec.encoding, after, join, partial: spec.partial })
    }
}
