//! Values of fields into their columns.

use std::borrow::Cow;

use forebay_recipe::{Column, ColumnType};
use forebay_types::Reason;

use super::JsonRecord;
use crate::column::Values;
use crate::fault::{Checked, Fault};
use crate::json_reader::Number;
use crate::json_string::unescape;
use crate::scan;
use crate::value;

impl<'a> JsonRecord<'a> {
    #[inline]
    pub(super) fn scalar(&mut self, table: usize, column: usize, depth: u32) -> Checked<()> {
        let plan: &'a Column = &self.layout.tables[table].columns[column];
        if plan.withheld {
            if self.reader.peek() == Some(b'n') && plan.rules.required {
                return Err(Fault::new(Reason::MissingField, "is required but is null"));
            }
            self.reader.skip(depth)?;
            self.tables.tables[table].columns[column].push_null();
            return Ok(());
        }
        if self.reader.peek() == Some(b'n') {
            self.reader.literal(b"null")?;
            if plan.rules.required {
                return Err(Fault::new(Reason::MissingField, "is required but is null"));
            }
            self.tables.tables[table].columns[column].push_null();
            return Ok(());
        }
        let quoted = self.reader.peek() == Some(b'"');
        match &self.tables.tables[table].columns[column].values {
            Values::Text { .. } if plan.kind == ColumnType::Json => self.json_text(table, column, depth),
            Values::Text { .. } if quoted => self.text(plan, table, column),
            Values::Text { .. } => self.reader.mismatch("a string", depth),
            Values::Int64(_) | Values::Int32(_) | Values::Float64(_) => self.number(plan, table, column, depth),
            Values::Decimal(..) if !quoted => self.number(plan, table, column, depth),
            Values::Bool(_) => self.boolean(table, column, depth),
            Values::Date(_) | Values::Timestamp(_) | Values::Decimal(..) if quoted => {
                self.typed_text(plan, table, column)
            }
            Values::Date(_) | Values::Timestamp(_) | Values::Decimal(..) => self.reader.mismatch("a string", depth),
            Values::Absent(..) => self.reader.skip(depth),
        }
    }

    /// A string into a text column; the reader is at its quote.
    #[inline]
    fn text(&mut self, plan: &Column, table: usize, column: usize) -> Checked<()> {
        let builder = &mut self.tables.tables[table].columns[column];
        let Values::Text { offsets, bytes } = &mut builder.values else { return Ok(()) };
        let start = bytes.len();
        self.reader.at = unescape(self.reader.bytes, self.reader.at + 1, bytes)?;
        let end = value::text_end(bytes)?;
        if !plan.text_is_plain() {
            let text = std::str::from_utf8(&bytes[start..]).unwrap_or_default();
            if let Cow::Owned(read) = value::read_text(&plan.reading, text)? {
                bytes.truncate(start);
                return value::push_read(builder, plan, &read);
            }
            plan.rules.check_text(text).map_err(|message| Fault::new(Reason::Invalid, message))?;
        }
        offsets.push(end);
        builder.valid();
        Ok(())
    }

    /// A string into a column of another type: a date, a timestamp, a decimal.
    fn typed_text(&mut self, plan: &Column, table: usize, column: usize) -> Checked<()> {
        let start = self.reader.at + 1;
        let stop = scan::string_stop(&self.reader.bytes[start..]).map(|stop| start + stop);
        let builder = &mut self.tables.tables[table].columns[column];
        match stop {
            Some(end) if self.reader.bytes[end] == b'"' => {
                self.reader.at = end + 1;
                let text = std::str::from_utf8(&self.reader.bytes[start..end]).unwrap_or_default();
                value::push_text(builder, plan, text)
            }
            _ => {
                self.state.scratch.clear();
                self.reader.at = unescape(self.reader.bytes, start, &mut self.state.scratch)?;
                let text = std::str::from_utf8(&self.state.scratch).unwrap_or_default();
                value::push_text(builder, plan, text)
            }
        }
    }

    fn number(&mut self, plan: &Column, table: usize, column: usize, depth: u32) -> Checked<()> {
        let number = match self.reader.peek() {
            Some(b'-' | b'0'..=b'9') => self.reader.number_token()?,
            _ => return self.reader.mismatch("a number", depth),
        };
        let builder = &mut self.tables.tables[table].columns[column];
        match &mut builder.values {
            Values::Int64(values) => values.push(whole(&number, plan)?),
            Values::Int32(values) => values.push(value::int32(whole(&number, plan)?)?),
            Values::Float64(values) => {
                let parsed: f64 =
                    fast_float2::parse(number.text).map_err(|_| Fault::new(Reason::WrongType, "expected a number"))?;
                value::check_float(parsed, &plan.rules)?;
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
        let value = match self.reader.peek() {
            Some(b't') => {
                self.reader.literal(b"true")?;
                true
            }
            Some(b'f') => {
                self.reader.literal(b"false")?;
                false
            }
            _ => return self.reader.mismatch("true or false", depth),
        };
        let builder = &mut self.tables.tables[table].columns[column];
        if let Values::Bool(values) = &mut builder.values {
            values.push(value);
        }
        builder.valid();
        Ok(())
    }

    fn json_text(&mut self, table: usize, column: usize, depth: u32) -> Checked<()> {
        let start = self.reader.at;
        self.reader.skip(depth)?;
        let raw = std::str::from_utf8(&self.reader.bytes[start..self.reader.at]).unwrap_or_default();
        self.tables.tables[table].columns[column].push_text(raw)
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
