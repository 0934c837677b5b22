//! A recipe, checked and compiled into its layout.

use regex::Regex;

use super::{
    Column, ColumnType, DateOrder, Layout, ObjectPlan, Reading, TablePlan, Target, UNKNOWN_COLUMN, days_from_civil,
};
use crate::rules::Rules;
use crate::spec::{Encoding, FieldSpec, FieldType, Recipe, Scope, Step, UnknownFields};
use crate::{EnrichStep, ModelSpec, Ordered, Profile, RecipeError, RedactStep, Treatment};

impl Recipe {
    /// Checks the whole recipe and compiles it.
    pub fn layout(&self) -> Result<Layout, RecipeError> {
        let mut builder =
            Builder { recipe: self, tables: Vec::new(), objects: 0, protected: false, redacted: Vec::new() };
        builder.check_name("name", &self.name)?;
        let records = builder.records()?;
        builder.inherit_keys()?;
        if builder.protected && self.unknown_fields == UnknownFields::Keep {
            return Err(builder.invalid(
                "unknown_fields",
                "'keep' would write fields that nobody has looked at beside protected ones: use ignore or reject, \
                 or set protect: off",
            ));
        }
        builder.check_source()?;
        builder.check_steps()?;
        Ok(Layout {
            tables: builder.tables,
            records,
            objects: builder.objects,
            unknown: self.unknown_fields,
            depth_limit: self.source.depth_limit,
            protected: builder.protected,
        })
    }
}

pub(super) struct Builder<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) tables: Vec<TablePlan>,
    objects: usize,
    protected: bool,
    /// Columns that redact steps write, as table and column: their texts, and why texts are withheld.
    redacted: Vec<(usize, usize)>,
}

impl Builder<'_> {
    pub(super) fn invalid(&self, key: &str, message: impl Into<String>) -> RecipeError {
        RecipeError::Invalid { name: self.recipe.name.clone(), key: key.to_owned(), message: message.into() }
    }

    fn check_name(&self, key: &str, name: &str) -> Result<(), RecipeError> {
        let mut chars = name.chars();
        let starts = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        if starts && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-') {
            return Ok(());
        }
        Err(self.invalid(key, format!("'{name}' is no name: use a lower-case letter, then letters, digits, _ or -")))
    }

    fn enrich_step(&self, key: &str, step: &EnrichStep) -> Result<(), RecipeError> {
        let key = |name: &str| format!("{key}.{name}");
        self.check_name(&key("name"), step.name())?;
        step.added().map_err(|message| self.invalid(&key("columns"), message))?;
        step.key_columns().map_err(|message| self.invalid(&key("key"), message))?;
        let checked = step.check_settings().and_then(|()| step.check_complete());
        checked.map_err(|message| self.invalid(&key("settings"), message))
    }

    fn check_source(&self) -> Result<(), RecipeError> {
        let source = &self.recipe.source;
        for (key, c) in [("source.csv.delimiter", source.csv.delimiter), ("source.csv.quote", source.csv.quote)] {
            if !c.is_ascii() || c == '\n' || c == '\r' {
                return Err(self.invalid(key, "must be one ASCII character, and no line end"));
            }
        }
        if source.csv.delimiter == source.csv.quote {
            return Err(self.invalid("source.csv.quote", "is the same character as the delimiter"));
        }
        if !(64..=1 << 30).contains(&source.record_limit.0) {
            return Err(self.invalid("source.record_limit", "must be between 64B and 1GiB"));
        }
        if !(1..=512).contains(&source.depth_limit) {
            return Err(self.invalid("source.depth_limit", "must be between 1 and 512"));
        }
        Ok(())
    }

    fn check_steps(&mut self) -> Result<(), RecipeError> {
        let mut others = false;
        for (index, step) in self.recipe.steps.iter().enumerate() {
            match step {
                Step::Redact(step) => self.redact_step(&format!("steps[{index}].redact"), step, others)?,
                Step::Sql(step) => self.check_name(&format!("steps[{index}].sql.table"), &step.table)?,
                Step::Enrich(step) => self.enrich_step(&format!("steps[{index}].enrich"), step)?,
            }
            others |= !matches!(step, Step::Redact(_));
        }
        Ok(())
    }

    /// Checks a step that redacts, and lets its column be decoded.
    fn redact_step(&mut self, key: &str, step: &RedactStep, late: bool) -> Result<(), RecipeError> {
        if late {
            return Err(self.invalid(key, "comes after another step, which would see the text: put redact steps first"));
        }
        let Some(table) = self.tables.iter().position(|table| table.name == step.table) else {
            let names: Vec<_> = self.tables.iter().map(|table| table.name.as_str()).collect();
            return Err(self.invalid(
                &format!("{key}.table"),
                format!("there is no table '{}'; the tables are {}", step.table, names.join(", ")),
            ));
        };
        let Some(column) = self.tables[table].columns.iter().position(|column| column.name == step.column) else {
            return Err(
                self.invalid(&format!("{key}.column"), format!("'{}' is none of the table's columns", step.column))
            );
        };
        let plan = &self.tables[table].columns[column];
        if plan.kind != ColumnType::String || plan.identifies.is_some() || plan.inherited.is_some() {
            return Err(self.invalid(
                &format!("{key}.column"),
                "must be a string field of this table that is no identifier itself",
            ));
        }
        if self.tables[table].key == Some(column) {
            return Err(self.invalid(
                &format!("{key}.column"),
                format!(
                    "'{}' is the table's key, which child tables carry as it came: make another field the key",
                    step.column
                ),
            ));
        }
        self.claim(&format!("{key}.column"), table, column)?;
        if self.recipe.profile() != Profile::Public {
            let plan = &mut self.tables[table].columns[column];
            (plan.withheld, plan.treatment) = (false, Treatment::Keep);
            self.protected = true;
        }
        if let Some(spans) = &step.spans {
            self.add_spans(&format!("{key}.spans"), table, spans)?;
        }
        match &step.model {
            Some(model) => self.model(&format!("{key}.model"), model, table, column),
            None => Ok(()),
        }
    }

    /// Checks a model, and keeps the input out of the column that it tells its reasons in.
    fn model(&mut self, key: &str, model: &ModelSpec, table: usize, text: usize) -> Result<(), RecipeError> {
        model.check().map_err(|(part, message)| self.invalid(&format!("{key}.{part}"), message))?;
        let plan = &self.tables[table];
        let reason = plan.columns.iter().enumerate().find(|(at, column)| {
            column.name == model.reason
                && column.kind == ColumnType::String
                && column.identifies.is_none()
                && column.inherited.is_none()
                && !column.rules.required
                && *at != text
                && plan.key != Some(*at)
        });
        let Some((reason, _)) = reason else {
            return Err(self.invalid(
                &format!("{key}.reason"),
                format!("'{}' must be another string field of this table, neither key nor required", model.reason),
            ));
        };
        self.claim(&format!("{key}.reason"), table, reason)?;
        let column = &mut self.tables[table].columns[reason];
        (column.withheld, column.treatment) = (true, Treatment::Keep);
        Ok(())
    }

    /// Takes a column for a redact step to write: what another one has written would be lost, or would let a text through.
    fn claim(&mut self, key: &str, table: usize, column: usize) -> Result<(), RecipeError> {
        if self.redacted.contains(&(table, column)) {
            let name = &self.tables[table].columns[column].name;
            return Err(self.invalid(
                key,
                format!("'{name}' is written by another redact step already: one step can redact it, or give its reasons there"),
            ));
        }
        self.redacted.push((table, column));
        Ok(())
    }

    pub(super) fn add_table(&mut self, key: &str, name: &str, parent: Option<usize>) -> Result<usize, RecipeError> {
        self.check_name(&format!("{key}.table"), name)?;
        if self.tables.iter().any(|table| table.name == name) {
            return Err(self.invalid(&format!("{key}.table"), format!("two tables are called '{name}'")));
        }
        let (name, columns) = (name.to_owned(), Vec::new());
        self.tables.push(TablePlan { name, columns, parent, key: None, subject: None, unknown: None });
        Ok(self.tables.len() - 1)
    }

    pub(super) fn object(
        &mut self,
        key: &str,
        fields: &Ordered<FieldSpec>,
        table: usize,
        prefix: &str,
    ) -> Result<ObjectPlan, RecipeError> {
        if fields.0.is_empty() {
            return Err(self.invalid(key, "there must be at least one field"));
        }
        let id = self.objects;
        self.objects += 1;
        let mut plan = ObjectPlan { id, table, fields: Vec::with_capacity(fields.0.len()), paths: Vec::new() };
        for (name, spec) in &fields.0 {
            let key = format!("{key}.{name}");
            let target = match spec.kind {
                FieldType::Object => {
                    self.forbid(&key, spec, "an object", &["table", "key"])?;
                    let inner = self.inner(&key, spec)?;
                    Target::Object(self.object(&format!("{key}.fields"), inner, table, &format!("{prefix}{name}_"))?)
                }
                FieldType::List => self.list(&key, name, spec, table)?,
                _ => {
                    let column = self.column(&key, name, spec, table, prefix)?;
                    if spec.path.is_some() {
                        self.path_column(&key, name, spec, column, &mut plan)?;
                        continue;
                    }
                    Target::Column(column)
                }
            };
            plan.add_field(name, spec.required, target);
        }
        Ok(plan)
    }

    fn inner<'s>(&self, key: &str, spec: &'s FieldSpec) -> Result<&'s Ordered<FieldSpec>, RecipeError> {
        spec.fields.as_ref().ok_or_else(|| self.invalid(key, "objects and lists need `fields`"))
    }

    fn list(&mut self, key: &str, name: &str, spec: &FieldSpec, parent: usize) -> Result<Target, RecipeError> {
        self.forbid(key, spec, "a list", &[])?;
        let inner = self.inner(key, spec)?;
        let table = self.add_table(key, spec.table.as_deref().unwrap_or(name), Some(parent))?;
        let plan = self.object(&format!("{key}.fields"), inner, table, "")?;
        self.finish_table(key, table, spec.key.as_deref())?;
        Ok(Target::List(plan))
    }

    /// Refuses rules that mean nothing for objects and lists.
    fn forbid(&self, key: &str, spec: &FieldSpec, what: &str, more: &[&str]) -> Result<(), RecipeError> {
        let present = [
            ("protected", spec.protected),
            ("identifies", spec.identifies.is_some()),
            ("column", spec.column.is_some()),
            ("values", spec.values.is_some()),
            ("pattern", spec.pattern.is_some()),
            ("min", spec.min.is_some()),
            ("max", spec.max.is_some()),
            ("min_length", spec.min_length.is_some()),
            ("max_length", spec.max_length.is_some()),
            ("format", spec.format.is_some()),
            ("precision", spec.precision.is_some()),
            ("scale", spec.scale.is_some()),
            ("path", spec.path.is_some()),
            ("join", spec.join.is_some()),
            ("encoding", spec.encoding != Encoding::Plain),
            ("after", spec.after.is_some()),
            ("partial", spec.partial),
            ("table", spec.table.is_some() && more.contains(&"table")),
            ("key", spec.key.is_some() && more.contains(&"key")),
        ];
        match present.iter().find(|(_, set)| *set) {
            Some((rule, _)) => Err(self.invalid(&format!("{key}.{rule}"), format!("has no meaning for {what}"))),
            None => Ok(()),
        }
    }

    fn column(
        &mut self,
        key: &str,
        name: &str,
        spec: &FieldSpec,
        table: usize,
        prefix: &str,
    ) -> Result<usize, RecipeError> {
        for (rule, set) in
            [("table", spec.table.is_some()), ("key", spec.key.is_some()), ("fields", spec.fields.is_some())]
        {
            if set {
                return Err(self.invalid(&format!("{key}.{rule}"), "is for objects and lists only"));
            }
        }
        let kind = self.column_type(key, spec)?;
        let on = self.recipe.profile() != Profile::Public;
        if let Some(wanted) = spec.identifies.and_then(|identifies| identifies.refuses(&kind)) {
            return Err(self.invalid(&format!("{key}.identifies"), format!("this is for a field that is {wanted}")));
        }
        let treatment = match spec.identifies {
            Some(identifies) => identifies.treatment(self.recipe, kind == ColumnType::String),
            None if spec.protected && on => Treatment::Withhold,
            None => Treatment::Keep,
        };
        // A value that texts are searched for has to be read; any other protected one need not.
        let withheld = treatment == Treatment::Withhold && !(spec.identifies.is_some() && self.recipe.redacts());
        self.protected |= treatment != Treatment::Keep || (on && (spec.protected || spec.identifies.is_some()));
        let (rules, reading) = (self.rules(key, spec, &kind)?, self.reading(key, spec, &kind)?);
        let name = spec.column.clone().unwrap_or_else(|| format!("{prefix}{name}"));
        let identifies = spec.identifies;
        let column = Column { name, kind, reading, rules, withheld, identifies, treatment, inherited: None };
        self.tables[table].columns.push(column);
        Ok(self.tables[table].columns.len() - 1)
    }

    fn column_type(&self, key: &str, spec: &FieldSpec) -> Result<ColumnType, RecipeError> {
        if spec.format.is_some() && spec.kind != FieldType::Date {
            return Err(self.invalid(&format!("{key}.format"), "is for dates only"));
        }
        if (spec.precision.is_some() || spec.scale.is_some()) && spec.kind != FieldType::Decimal {
            return Err(self.invalid(&format!("{key}.precision"), "is for decimals only"));
        }
        Ok(match spec.kind {
            FieldType::String => ColumnType::String,
            FieldType::Int => ColumnType::Int64,
            FieldType::Int32 => ColumnType::Int32,
            FieldType::Float => ColumnType::Float64,
            FieldType::Bool => ColumnType::Bool,
            FieldType::Timestamp => ColumnType::Timestamp,
            FieldType::Json => ColumnType::Json,
            FieldType::Decimal => {
                let (precision, scale) = (spec.precision.unwrap_or(18), spec.scale.unwrap_or(2));
                if !(1..=38).contains(&precision) || scale > precision {
                    return Err(self.invalid(
                        &format!("{key}.precision"),
                        "must be 1 to 38 digits, with a scale of no more than those",
                    ));
                }
                ColumnType::Decimal(precision, scale as i8)
            }
            FieldType::Date => ColumnType::Date(match spec.format.as_deref() {
                None | Some("%Y-%m-%d") => DateOrder::Iso,
                Some("%m/%d/%Y") => DateOrder::MonthFirst,
                Some("%d.%m.%Y") => DateOrder::DayFirst,
                Some("%Y%m%d") => DateOrder::Compact,
                Some(other) => {
                    return Err(self.invalid(
                        &format!("{key}.format"),
                        format!("'{other}' is none of %Y-%m-%d, %m/%d/%Y, %d.%m.%Y, %Y%m%d"),
                    ));
                }
            }),
            FieldType::Object | FieldType::List => unreachable!("objects and lists are no columns"),
        })
    }

    fn rules(&self, key: &str, spec: &FieldSpec, kind: &ColumnType) -> Result<Rules, RecipeError> {
        let text_only =
            spec.values.is_some() || spec.pattern.is_some() || spec.min_length.is_some() || spec.max_length.is_some();
        if text_only && *kind != ColumnType::String {
            return Err(self.invalid(key, "values, pattern, min_length and max_length are for strings only"));
        }
        let bounded = spec.min.is_some() || spec.max.is_some();
        if bounded && matches!(kind, ColumnType::String | ColumnType::Bool | ColumnType::Json | ColumnType::Spans) {
            return Err(self.invalid(key, "min and max are for numbers, dates and timestamps only"));
        }
        let pattern = match &spec.pattern {
            None => None,
            Some(text) => Some(
                Regex::new(&format!("^(?:{text})$"))
                    .map_err(|error| self.invalid(&format!("{key}.pattern"), error.to_string()))?,
            ),
        };
        let values = spec.values.clone().map(|mut values| {
            values.sort();
            values
        });
        Ok(Rules {
            required: spec.required,
            values,
            pattern,
            min: self.bound(&format!("{key}.min"), spec.min.as_ref(), kind)?,
            max: self.bound(&format!("{key}.max"), spec.max.as_ref(), kind)?,
            bounds: (written(spec.min.as_ref()), written(spec.max.as_ref())),
            min_length: spec.min_length,
            max_length: spec.max_length,
        })
    }

    fn bound(&self, key: &str, bound: Option<&Scope>, kind: &ColumnType) -> Result<Option<f64>, RecipeError> {
        let temporal = matches!(kind, ColumnType::Date(_) | ColumnType::Timestamp);
        match bound {
            None => Ok(None),
            Some(Scope::Number(value)) if !temporal => Ok(Some(*value)),
            Some(Scope::Text(text)) if temporal => {
                let Some(days) = days_of_iso(text) else {
                    return Err(self.invalid(key, format!("'{text}' is no date such as 2026-11-21")));
                };
                let unit = if *kind == ColumnType::Timestamp { 86_400e6 } else { 1.0 };
                Ok(Some(days as f64 * unit))
            }
            Some(_) if temporal => Err(self.invalid(key, "must be a date such as 2026-11-21")),
            Some(_) => Err(self.invalid(key, "must be a number")),
        }
    }

    pub(super) fn finish_table(&mut self, key: &str, table: usize, table_key: Option<&str>) -> Result<(), RecipeError> {
        if let Some(name) = table_key {
            let position = self.tables[table].columns.iter().position(|column| column.name == name);
            let Some(position) = position else {
                return Err(self.invalid(&format!("{key}.key"), format!("'{name}' is none of the table's columns")));
            };
            if self.tables[table].columns[position].treatment != Treatment::Keep {
                return Err(self.invalid(&format!("{key}.key"), "a protected field can't be the key of a table"));
            }
            self.tables[table].key = Some(position);
        }
        if self.recipe.unknown_fields == UnknownFields::Keep {
            let column = Column {
                name: UNKNOWN_COLUMN.to_owned(),
                kind: ColumnType::Json,
                reading: Reading::default(),
                rules: Rules::default(),
                withheld: false,
                identifies: None,
                treatment: Treatment::Keep,
                inherited: None,
            };
            self.tables[table].columns.push(column);
            self.tables[table].unknown = Some(self.tables[table].columns.len() - 1);
        }
        Ok(())
    }

    /// Gives every child table its ancestors' keys, nearest first, and checks that columns have different names.
    fn inherit_keys(&mut self) -> Result<(), RecipeError> {
        for table in 0..self.tables.len() {
            let mut ancestor = self.tables[table].parent;
            while let Some(parent) = ancestor {
                let Some(key) = self.tables[parent].key else {
                    return Err(self.invalid(
                        &format!("table '{}'", self.tables[parent].name),
                        "a table with child tables needs a `key` for them to carry",
                    ));
                };
                let source = &self.tables[parent].columns[key];
                let column = Column {
                    name: source.name.clone(),
                    kind: source.kind.clone(),
                    reading: Reading::default(),
                    rules: Rules::default(),
                    withheld: false,
                    identifies: None,
                    treatment: Treatment::Keep,
                    inherited: Some((parent, key)),
                };
                self.tables[table].columns.push(column);
                ancestor = self.tables[parent].parent;
            }
            let plan = &self.tables[table];
            for (index, column) in plan.columns.iter().enumerate() {
                if plan.columns[..index].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&column.name)) {
                    return Err(self.invalid(
                        &format!("table '{}'", plan.name),
                        format!("two columns are called '{}': rename one with `column`", column.name),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A bound as the recipe writes it.
fn written(bound: Option<&Scope>) -> String {
    match bound {
        Some(Scope::Number(number)) => number.to_string(),
        Some(Scope::Text(text)) => text.clone(),
        None => String::new(),
    }
}

fn days_of_iso(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    ((1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day))
        .then(|| days_from_civil(year, month, day))
}
