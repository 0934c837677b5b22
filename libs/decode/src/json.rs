mod kinds;
mod paths;
mod values;

use forebay_recipe::{FieldPlan, Kind, Layout, ObjectPlan, Records, Target, UnknownFields};
use forebay_types::Reason;

use crate::column::Values;
use crate::fault::{Checked, Fault};
use crate::json_reader::JsonReader;
use crate::json_string::escape_into;
use crate::table::Tables;
use crate::value;

/// What the JSON decoder keeps from record to record.
#[derive(Debug)]
pub(crate) struct JsonState {
    /// For every object plan, every field's name as it stands in compact JSON: `"name":`.
    keys: Vec<Vec<Box<[u8]>>>,
    /// For every field of every object plan, the object in which it was seen last, to notice one that comes twice.
    stamps: Vec<Vec<u64>>,
    stamp: u64,
    /// For every field of every object plan, where its value begins: of those that paths lead through.
    starts: Vec<Vec<usize>>,
    /// Unknown fields of the row at work in each table, as the inside of a JSON object.
    unknown: Vec<Vec<u8>>,
    /// Names of the unknown fields of the object at work, raw.
    unknown_names: Vec<Vec<u8>>,
    scratch: Vec<u8>,
}

impl JsonState {
    pub(crate) fn new(layout: &Layout) -> Self {
        let mut state = Self {
            keys: vec![Vec::new(); layout.objects],
            stamps: vec![Vec::new(); layout.objects],
            stamp: 0,
            starts: vec![Vec::new(); layout.objects],
            unknown: vec![Vec::new(); layout.tables.len()],
            unknown_names: Vec::new(),
            scratch: Vec::new(),
        };
        match &layout.records {
            Records::One(root) => state.add(root),
            Records::Kinds(kinds) => {
                for (_, kind) in &kinds.kinds {
                    if let Kind::Rows(root) = kind {
                        state.add(root);
                    }
                }
            }
        }
        state
    }

    fn add(&mut self, plan: &ObjectPlan) {
        let key = |field: &FieldPlan| {
            let mut key = Vec::new();
            escape_into(field.name.as_bytes(), &mut key);
            key.push(b':');
            key.into()
        };
        self.keys[plan.id] = plan.fields.iter().map(key).collect();
        self.stamps[plan.id] = vec![0; plan.fields.len()];
        self.starts[plan.id] = vec![0; plan.fields.len()];
        for field in &plan.fields {
            if let Target::Object(inner) | Target::List(inner) = &field.target {
                self.add(inner);
            }
        }
    }
}

/// One record's JSON text, which is UTF-8, on its way into the tables.
pub(crate) struct JsonRecord<'a> {
    pub(crate) reader: JsonReader<'a>,
    pub(crate) layout: &'a Layout,
    pub(crate) tables: &'a mut Tables,
    pub(crate) state: &'a mut JsonState,
    /// Its place among the records of the batch.
    pub(crate) place: u32,
}

/// What became of a record that is not wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is rows now.
    Taken,
    /// It is of a kind that the recipe leaves out.
    Ignored,
}

impl<'a> JsonRecord<'a> {
    /// Decodes the whole record: one object, and nothing but white space round it.
    pub(crate) fn decode(&mut self) -> Checked<Fate> {
        self.reader.white();
        if self.reader.peek() != Some(b'{') {
            return Err(match self.reader.peek() {
                None => Fault::new(Reason::NotARecord, "the record is empty"),
                // Reads the value through, so that broken JSON is called that.
                Some(_) => match self.reader.skip(0) {
                    Err(fault) => fault,
                    Ok(()) => Fault::new(Reason::NotARecord, "a record must be a JSON object"),
                },
            });
        }
        let layout = self.layout;
        let fate = match &layout.records {
            Records::One(root) => self.row(root, self.place, 1).map(|()| Fate::Taken)?,
            Records::Kinds(kinds) => self.of_a_kind(kinds, 1)?,
        };
        self.reader.white();
        if self.reader.at < self.reader.bytes.len() {
            return Err(self.reader.syntax("more text after the end of the object"));
        }
        Ok(fate)
    }

    fn row(&mut self, plan: &'a ObjectPlan, parent: u32, depth: u32) -> Checked<()> {
        let row = self.tables.begin_row(plan.table, parent);
        self.object(plan, row, depth)?;
        if let Some(column) = self.layout.tables[plan.table].unknown {
            self.keep_unknown(plan.table, column)?;
        }
        Ok(())
    }

    /// Decodes an object's fields; the reader is at its `{`.
    fn object(&mut self, plan: &'a ObjectPlan, row: u32, depth: u32) -> Checked<()> {
        self.reader.check_depth(depth)?;
        self.reader.at += 1;
        self.state.stamp += 1;
        let stamp = self.state.stamp;
        let names_before = self.state.unknown_names.len();
        let (mut expected, mut seen) = (0, 0);
        self.reader.white();
        if self.reader.peek() == Some(b'}') {
            self.reader.at += 1;
        } else {
            loop {
                match self.key(plan, expected)? {
                    Some(index) => {
                        let field = &plan.fields[index];
                        if self.state.stamps[plan.id][index] == stamp {
                            return Err(Fault::new(Reason::DuplicateKey, "the key stands twice").in_field(&field.name));
                        }
                        self.state.stamps[plan.id][index] = stamp;
                        seen += 1;
                        expected = index + 1;
                        if field.kept {
                            self.reader.white();
                            self.state.starts[plan.id][index] = self.reader.at;
                        }
                        self.field(field, plan.table, row, depth).map_err(|fault| fault.in_field(&field.name))?;
                    }
                    None => self.unknown(plan, names_before, depth)?,
                }
                self.reader.white();
                match self.reader.next() {
                    Some(b',') => self.reader.white(),
                    Some(b'}') => break,
                    Some(_) => return Err(self.reader.syntax("expected , or }")),
                    None => return Err(self.reader.truncated()),
                }
            }
        }
        self.state.unknown_names.truncate(names_before);
        if seen < plan.fields.len() {
            for (index, field) in plan.fields.iter().enumerate() {
                if self.state.stamps[plan.id][index] != stamp {
                    self.absent(field, plan.table, "is missing").map_err(|fault| fault.in_field(&field.name))?;
                }
            }
        }
        if plan.paths.is_empty() { Ok(()) } else { self.paths(plan, stamp) }
    }

    /// Reads a key and its colon. Fields mostly come in the recipe's order, so the expected one is tried as it
    /// stands. For an unknown key the raw name is left in the state's scratch buffer.
    #[inline]
    fn key(&mut self, plan: &ObjectPlan, expected: usize) -> Checked<Option<usize>> {
        if let Some(key) = self.state.keys[plan.id].get(expected)
            && self.reader.bytes[self.reader.at..].starts_with(key)
        {
            self.reader.at += key.len();
            return Ok(Some(expected));
        }
        self.key_by_name(plan)
    }

    fn key_by_name(&mut self, plan: &ObjectPlan) -> Checked<Option<usize>> {
        match self.reader.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.reader.syntax("expected a key in double quotes")),
            None => return Err(self.reader.truncated()),
        }
        let mut name = std::mem::take(&mut self.state.scratch);
        name.clear();
        let read = self.reader.string_into(&mut name);
        let found = plan.fields.iter().position(|field| field.name.as_bytes() == name.as_slice());
        self.state.scratch = name;
        read?;
        self.reader.white();
        match self.reader.next() {
            Some(b':') => Ok(found),
            Some(_) => Err(self.reader.syntax("expected : after a key")),
            None => Err(self.reader.truncated()),
        }
    }

    fn field(&mut self, field: &'a FieldPlan, table: usize, row: u32, depth: u32) -> Checked<()> {
        self.reader.white();
        match &field.target {
            Target::Column(column) => self.scalar(table, *column, depth),
            Target::Nowhere => self.reader.skip(depth),
            Target::Object(inner) => match self.reader.peek() {
                Some(b'{') => self.object(inner, row, depth + 1),
                Some(b'n') => {
                    self.reader.literal(b"null")?;
                    self.absent(field, table, "is null")
                }
                _ => self.reader.mismatch("an object", depth),
            },
            Target::List(inner) => match self.reader.peek() {
                Some(b'[') => self.list(inner, row, depth + 1),
                Some(b'n') => {
                    self.reader.literal(b"null")?;
                    self.absent(field, table, "is null")
                }
                _ => self.reader.mismatch("a list of objects", depth),
            },
        }
    }

    fn list(&mut self, plan: &'a ObjectPlan, parent: u32, depth: u32) -> Checked<()> {
        self.reader.at += 1;
        self.reader.white();
        if self.reader.peek() == Some(b']') {
            self.reader.at += 1;
            return Ok(());
        }
        let mut index = 0;
        loop {
            let element = match self.reader.peek() {
                Some(b'{') => self.row(plan, parent, depth + 1),
                _ => self.reader.mismatch("an object", depth),
            };
            element.map_err(|fault| fault.in_element(index))?;
            index += 1;
            self.reader.white();
            match self.reader.next() {
                Some(b',') => self.reader.white(),
                Some(b']') => return Ok(()),
                Some(_) => return Err(self.reader.syntax("expected , or ]")),
                None => return Err(self.reader.truncated()),
            }
        }
    }

    /// A field that is not there, or null.
    fn absent(&mut self, field: &FieldPlan, table: usize, how: &str) -> Checked<()> {
        if field.required {
            return Err(Fault::new(Reason::MissingField, format!("is required but {how}")));
        }
        self.nulls(&field.target, table);
        Ok(())
    }

    fn nulls(&mut self, target: &Target, table: usize) {
        match target {
            Target::Column(column) => self.tables.tables[table].columns[*column].push_null(),
            Target::Object(inner) => {
                for field in &inner.fields {
                    self.nulls(&field.target, table);
                }
                for path in &inner.paths {
                    self.tables.tables[table].columns[path.column].push_null();
                }
            }
            Target::List(_) | Target::Nowhere => {}
        }
    }

    fn unknown(&mut self, plan: &ObjectPlan, names_before: usize, depth: u32) -> Checked<()> {
        match self.layout.unknown {
            UnknownFields::Ignore => {
                self.reader.white();
                self.reader.skip(depth)
            }
            UnknownFields::Reject => {
                let known: Vec<_> = plan.fields.iter().map(|field| field.name.as_str()).collect();
                let known = known.join(", ");
                Err(if self.layout.protected {
                    // Even a name may be an identifier, if the field is not one that the recipe's author knew.
                    Fault::new(Reason::UnknownField, format!("a field that the recipe does not name; it names {known}"))
                } else {
                    let name = String::from_utf8_lossy(&self.state.scratch).into_owned();
                    Fault::new(Reason::UnknownField, format!("the recipe does not name it; it names {known}"))
                        .in_field(&name)
                })
            }
            UnknownFields::Keep => {
                let name = self.state.scratch.clone();
                if self.state.unknown_names[names_before..].contains(&name) {
                    return Err(Fault::new(Reason::DuplicateKey, "the key stands twice")
                        .in_field(&String::from_utf8_lossy(&name)));
                }
                self.reader.white();
                let start = self.reader.at;
                self.reader.skip(depth)?;
                let out = &mut self.state.unknown[plan.table];
                if !out.is_empty() {
                    out.push(b',');
                }
                escape_into(&name, out);
                out.push(b':');
                out.extend_from_slice(&self.reader.bytes[start..self.reader.at]);
                self.state.unknown_names.push(name);
                Ok(())
            }
        }
    }

    /// Ends a row's unknown fields: one JSON object, or null if there were none.
    fn keep_unknown(&mut self, table: usize, column: usize) -> Checked<()> {
        let builder = &mut self.tables.tables[table].columns[column];
        let fields = &mut self.state.unknown[table];
        if fields.is_empty() {
            builder.push_null();
            return Ok(());
        }
        if let Values::Text { offsets, bytes } = &mut builder.values {
            bytes.push(b'{');
            bytes.extend_from_slice(fields);
            bytes.push(b'}');
            offsets.push(value::text_end(bytes)?);
        }
        fields.clear();
        builder.valid();
        Ok(())
    }

    /// Forgets the unknown fields of a record that was given up.
    pub(crate) fn forget(state: &mut JsonState) {
        for fields in &mut state.unknown {
            fields.clear();
        }
        state.unknown_names.clear();
    }
}
