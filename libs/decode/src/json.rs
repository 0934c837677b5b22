use forebay_recipe::{Column, FieldPlan, Layout, ObjectPlan, Target, UnknownFields};
use forebay_types::Reason;

use crate::column::Values;
use crate::fault::{Checked, Fault};
use crate::json_string::{escape_into, skip_string, truncated, unescape};
use crate::scan;
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
            unknown: vec![Vec::new(); layout.tables.len()],
            unknown_names: Vec::new(),
            scratch: Vec::new(),
        };
        state.add(&layout.root);
        state
    }

    fn add(&mut self, plan: &ObjectPlan) {
        self.keys[plan.id] =
            plan.fields.iter().map(|field| format!("\"{}\":", field.name).into_bytes().into()).collect();
        self.stamps[plan.id] = vec![0; plan.fields.len()];
        for field in &plan.fields {
            if let Target::Object(inner) | Target::List(inner) = &field.target {
                self.add(inner);
            }
        }
    }
}

/// One record's JSON text, which is UTF-8, on its way into the tables.
pub(crate) struct JsonRecord<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    pub(crate) layout: &'a Layout,
    pub(crate) tables: &'a mut Tables,
    pub(crate) state: &'a mut JsonState,
    pub(crate) depth_limit: u32,
}

/// A token of a number.
struct Number<'a> {
    text: &'a [u8],
    whole: bool,
}

impl<'a> JsonRecord<'a> {
    /// Decodes the whole record: one object, and nothing but white space round it.
    pub(crate) fn decode(&mut self) -> Checked<()> {
        self.white();
        if self.peek() != Some(b'{') {
            return Err(match self.peek() {
                None => Fault::new(Reason::NotARecord, "the record is empty"),
                // Reads the value through, so that broken JSON is called that.
                Some(_) => match self.skip(0) {
                    Err(fault) => fault,
                    Ok(()) => Fault::new(Reason::NotARecord, "a record must be a JSON object"),
                },
            });
        }
        let root = &self.layout.root;
        self.row(root, 0, 1)?;
        self.white();
        if self.at < self.bytes.len() {
            return Err(self.syntax("more text after the end of the object"));
        }
        Ok(())
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
        if depth > self.depth_limit {
            return Err(self.too_deep());
        }
        self.at += 1;
        self.state.stamp += 1;
        let stamp = self.state.stamp;
        let names_before = self.state.unknown_names.len();
        let (mut expected, mut seen) = (0, 0);
        self.white();
        if self.peek() == Some(b'}') {
            self.at += 1;
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
                        self.field(field, plan.table, row, depth).map_err(|fault| fault.in_field(&field.name))?;
                    }
                    None => self.unknown(plan, names_before, depth)?,
                }
                self.white();
                match self.next() {
                    Some(b',') => self.white(),
                    Some(b'}') => break,
                    Some(_) => return Err(self.syntax("expected , or }")),
                    None => return Err(self.truncated()),
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
        Ok(())
    }

    /// Reads a key and its colon. Fields mostly come in the recipe's order, so the expected one is tried as it
    /// stands. For an unknown key the raw name is left in the state's scratch buffer.
    #[inline]
    fn key(&mut self, plan: &ObjectPlan, expected: usize) -> Checked<Option<usize>> {
        if let Some(key) = self.state.keys[plan.id].get(expected)
            && self.bytes[self.at..].starts_with(key)
        {
            self.at += key.len();
            return Ok(Some(expected));
        }
        self.key_by_name(plan)
    }

    fn key_by_name(&mut self, plan: &ObjectPlan) -> Checked<Option<usize>> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.syntax("expected a key in double quotes")),
            None => return Err(self.truncated()),
        }
        let mut name = std::mem::take(&mut self.state.scratch);
        name.clear();
        let read = self.string_into(&mut name);
        let found = plan.fields.iter().position(|field| field.name.as_bytes() == name.as_slice());
        self.state.scratch = name;
        read?;
        self.white();
        match self.next() {
            Some(b':') => Ok(found),
            Some(_) => Err(self.syntax("expected : after a key")),
            None => Err(self.truncated()),
        }
    }

    fn field(&mut self, field: &'a FieldPlan, table: usize, row: u32, depth: u32) -> Checked<()> {
        self.white();
        match &field.target {
            Target::Column(column) => self.scalar(table, *column, depth),
            Target::Object(inner) => match self.peek() {
                Some(b'{') => self.object(inner, row, depth + 1),
                Some(b'n') => {
                    self.literal(b"null")?;
                    self.absent(field, table, "is null")
                }
                _ => self.mismatch("an object", depth),
            },
            Target::List(inner) => match self.peek() {
                Some(b'[') => self.list(inner, row, depth + 1),
                Some(b'n') => {
                    self.literal(b"null")?;
                    self.absent(field, table, "is null")
                }
                _ => self.mismatch("a list of objects", depth),
            },
        }
    }

    fn list(&mut self, plan: &'a ObjectPlan, parent: u32, depth: u32) -> Checked<()> {
        self.at += 1;
        self.white();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let mut index = 0;
        loop {
            let element = match self.peek() {
                Some(b'{') => self.row(plan, parent, depth + 1),
                _ => self.mismatch("an object", depth),
            };
            element.map_err(|fault| fault.in_element(index))?;
            index += 1;
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(b']') => return Ok(()),
                Some(_) => return Err(self.syntax("expected , or ]")),
                None => return Err(self.truncated()),
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
            }
            Target::List(_) => {}
        }
    }

    #[inline]
    fn scalar(&mut self, table: usize, column: usize, depth: u32) -> Checked<()> {
        let plan: &'a Column = &self.layout.tables[table].columns[column];
        if plan.withheld {
            if self.peek() == Some(b'n') && plan.rules.required {
                return Err(Fault::new(Reason::MissingField, "is required but is null"));
            }
            self.skip(depth)?;
            self.tables.tables[table].columns[column].push_null();
            return Ok(());
        }
        if self.peek() == Some(b'n') {
            self.literal(b"null")?;
            if plan.rules.required {
                return Err(Fault::new(Reason::MissingField, "is required but is null"));
            }
            self.tables.tables[table].columns[column].push_null();
            return Ok(());
        }
        let quoted = self.peek() == Some(b'"');
        match &self.tables.tables[table].columns[column].values {
            Values::Text { .. } if plan.kind == forebay_recipe::ColumnType::Json => {
                self.json_text(table, column, depth)
            }
            Values::Text { .. } if quoted => self.text(plan, table, column),
            Values::Text { .. } => self.mismatch("a string", depth),
            Values::Int64(_) | Values::Int32(_) | Values::Float64(_) => self.number(plan, table, column, depth),
            Values::Decimal(..) if !quoted => self.number(plan, table, column, depth),
            Values::Bool(_) => self.boolean(table, column, depth),
            Values::Date(_) | Values::Timestamp(_) | Values::Decimal(..) if quoted => {
                self.typed_text(plan, table, column)
            }
            Values::Date(_) | Values::Timestamp(_) | Values::Decimal(..) => self.mismatch("a string", depth),
            Values::Absent(..) => self.skip(depth),
        }
    }

    /// A string into a text column; the reader is at its quote.
    #[inline]
    fn text(&mut self, plan: &Column, table: usize, column: usize) -> Checked<()> {
        let builder = &mut self.tables.tables[table].columns[column];
        let Values::Text { offsets, bytes } = &mut builder.values else { return Ok(()) };
        let start = bytes.len();
        self.at = unescape(self.bytes, self.at + 1, bytes)?;
        let end = value::text_end(bytes)?;
        if !plan.rules.text_is_free() {
            let text = std::str::from_utf8(&bytes[start..]).unwrap_or_default();
            plan.rules.check_text(text).map_err(|message| Fault::new(Reason::Invalid, message))?;
        }
        offsets.push(end);
        builder.valid();
        Ok(())
    }

    /// A string into a column of another type: a date, a timestamp, a decimal.
    fn typed_text(&mut self, plan: &Column, table: usize, column: usize) -> Checked<()> {
        let start = self.at + 1;
        let stop = scan::string_stop(&self.bytes[start..]).map(|stop| start + stop);
        let builder = &mut self.tables.tables[table].columns[column];
        match stop {
            Some(end) if self.bytes[end] == b'"' => {
                self.at = end + 1;
                let text = std::str::from_utf8(&self.bytes[start..end]).unwrap_or_default();
                value::push_text(builder, plan, text)
            }
            _ => {
                self.state.scratch.clear();
                self.at = unescape(self.bytes, start, &mut self.state.scratch)?;
                let text = std::str::from_utf8(&self.state.scratch).unwrap_or_default();
                value::push_text(builder, plan, text)
            }
        }
    }

    fn number(&mut self, plan: &Column, table: usize, column: usize, depth: u32) -> Checked<()> {
        let number = match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number_token()?,
            _ => return self.mismatch("a number", depth),
        };
        let builder = &mut self.tables.tables[table].columns[column];
        match &mut builder.values {
            Values::Int64(values) => values.push(whole(&number, plan)?),
            Values::Int32(values) => values.push(value::int32(whole(&number, plan)?)?),
            Values::Float64(values) => {
                let parsed: f64 =
                    fast_float2::parse(number.text).map_err(|_| Fault::new(Reason::WrongType, "expected a number"))?;
                if !parsed.is_finite() {
                    return Err(Fault::new(Reason::OutOfRange, "is no finite 64-bit number"));
                }
                value::check(parsed, &plan.rules)?;
                values.push(parsed);
            }
            Values::Decimal(values, precision, scale) => {
                let text = std::str::from_utf8(number.text).unwrap_or_default();
                values.push(value::decimal(text, *precision, *scale, &plan.rules)?);
            }
            _ => {}
        }
        builder.valid();
        Ok(())
    }

    fn boolean(&mut self, table: usize, column: usize, depth: u32) -> Checked<()> {
        let value = match self.peek() {
            Some(b't') => {
                self.literal(b"true")?;
                true
            }
            Some(b'f') => {
                self.literal(b"false")?;
                false
            }
            _ => return self.mismatch("true or false", depth),
        };
        let builder = &mut self.tables.tables[table].columns[column];
        if let Values::Bool(values) = &mut builder.values {
            values.push(value);
        }
        builder.valid();
        Ok(())
    }

    fn json_text(&mut self, table: usize, column: usize, depth: u32) -> Checked<()> {
        let start = self.at;
        self.skip(depth)?;
        let raw = &self.bytes[start..self.at];
        let builder = &mut self.tables.tables[table].columns[column];
        if let Values::Text { offsets, bytes } = &mut builder.values {
            bytes.extend_from_slice(raw);
            offsets.push(value::text_end(bytes)?);
        }
        builder.valid();
        Ok(())
    }

    fn unknown(&mut self, plan: &ObjectPlan, names_before: usize, depth: u32) -> Checked<()> {
        match self.layout.unknown {
            UnknownFields::Ignore => {
                self.white();
                self.skip(depth)
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
                self.white();
                let start = self.at;
                self.skip(depth)?;
                let out = &mut self.state.unknown[plan.table];
                if !out.is_empty() {
                    out.push(b',');
                }
                escape_into(&name, out);
                out.push(b':');
                out.extend_from_slice(&self.bytes[start..self.at]);
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

    // Tokens.

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn literal(&mut self, text: &[u8]) -> Checked<()> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(text) {
            self.at += text.len();
            return Ok(());
        }
        Err(if text.starts_with(rest) { self.truncated() } else { self.syntax("expected a JSON value") })
    }

    fn number_token(&mut self) -> Checked<Number<'a>> {
        let start = self.at;
        let digits = |at: &mut usize| {
            let from = *at;
            while self.bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at > from
        };
        let mut at = start + usize::from(self.bytes[start] == b'-');
        let zero = self.bytes.get(at) == Some(&b'0');
        let first = at;
        let mut good = digits(&mut at) && !(zero && at > first + 1);
        let mut whole = true;
        if good && self.bytes.get(at) == Some(&b'.') {
            at += 1;
            whole = false;
            good = digits(&mut at);
        }
        if good && matches!(self.bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            whole = false;
            if matches!(self.bytes.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            good = digits(&mut at);
        }
        self.at = at;
        if !good {
            return Err(self.syntax("not a JSON number"));
        }
        Ok(Number { text: &self.bytes[start..at], whole })
    }

    /// Reads a string's content; the reader is at its opening quote.
    fn string_into(&mut self, out: &mut Vec<u8>) -> Checked<()> {
        self.at = unescape(self.bytes, self.at + 1, out)?;
        Ok(())
    }

    /// Reads a value of any type without keeping it, and checks that it is JSON.
    fn skip(&mut self, depth: u32) -> Checked<()> {
        match self.peek() {
            Some(b'"') => {
                self.at = skip_string(self.bytes, self.at + 1)?;
                Ok(())
            }
            Some(b'{') => self.skip_nested(depth + 1, true),
            Some(b'[') => self.skip_nested(depth + 1, false),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number_token().map(|_| ()),
            Some(_) => Err(self.syntax("expected a JSON value")),
            None => Err(self.truncated()),
        }
    }

    fn skip_nested(&mut self, depth: u32, object: bool) -> Checked<()> {
        if depth > self.depth_limit {
            return Err(self.too_deep());
        }
        let end = if object { b'}' } else { b']' };
        self.at += 1;
        self.white();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if object {
                match self.peek() {
                    Some(b'"') => self.at = skip_string(self.bytes, self.at + 1)?,
                    Some(_) => return Err(self.syntax("expected a key in double quotes")),
                    None => return Err(self.truncated()),
                }
                self.white();
                match self.next() {
                    Some(b':') => self.white(),
                    Some(_) => return Err(self.syntax("expected : after a key")),
                    None => return Err(self.truncated()),
                }
            }
            self.skip(depth)?;
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(byte) if byte == end => return Ok(()),
                Some(_) => return Err(self.syntax("expected , or the closing bracket")),
                None => return Err(self.truncated()),
            }
        }
    }

    // Faults.

    /// A value of another type than expected, if it is JSON at all.
    #[cold]
    fn mismatch(&mut self, expected: &str, depth: u32) -> Checked<()> {
        let found = match self.peek() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => "no JSON value",
        };
        self.skip(depth)?;
        Err(Fault::new(Reason::WrongType, format!("expected {expected}, found {found}")))
    }

    #[cold]
    fn syntax(&self, what: &str) -> Box<Fault> {
        Fault::new(Reason::Syntax, format!("{what} (byte {} of the record)", self.at.min(self.bytes.len())))
    }

    #[cold]
    fn truncated(&self) -> Box<Fault> {
        truncated()
    }

    #[cold]
    fn too_deep(&self) -> Box<Fault> {
        Fault::new(Reason::TooDeep, format!("nested deeper than {} levels", self.depth_limit))
    }
}

fn whole(number: &Number<'_>, plan: &Column) -> Checked<i64> {
    if number.whole && number.text.len() <= 18 {
        let (negative, digits) = match number.text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let value = digits.iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        let value = if negative { -value } else { value };
        value::check(value as f64, &plan.rules)?;
        return Ok(value);
    }
    value::integer(std::str::from_utf8(number.text).unwrap_or_default(), &plan.rules)
}
