//! Values that are found by path, in JSON text that was read through before.

use forebay_recipe::{Condition, ObjectPlan, PathColumn, PathStep, Pick, Way};
use forebay_types::Reason;

use super::JsonRecord;
use crate::fault::{Checked, Fault};
use crate::json_reader::JsonReader;
use crate::scan;
use crate::value;

/// Takes a value that a path leads to, and says whether to go on to the next. The reader is at the value, and may be
/// left anywhere.
type Visit<'v, 'a> = dyn FnMut(&mut JsonReader<'a>) -> Checked<bool> + 'v;

impl<'a> JsonReader<'a> {
    /// Goes from the object at the reader to the value of a member; false if it has none. Where the name stands twice,
    /// it is the first.
    pub(crate) fn member(&mut self, name: &str) -> Checked<bool> {
        self.member_where(|found| found == name.as_bytes())
    }

    /// Refuses the value at the reader if it is an object that has two members of one of the names.
    pub(super) fn refuse_twice(&mut self, names: &[&str]) -> Checked<()> {
        if self.peek() != Some(b'{') {
            return Ok(());
        }
        let mut seen = vec![false; names.len()];
        let mut twice = None;
        self.member_where(|found| {
            let name = names.iter().position(|name| name.as_bytes() == found);
            twice = name.filter(|name| std::mem::replace(&mut seen[*name], true));
            twice.is_some()
        })?;
        match twice {
            Some(name) => Err(Fault::new(Reason::DuplicateKey, "the key stands twice").in_field(names[name])),
            None => Ok(()),
        }
    }

    /// Goes from the object at the reader to the value of the first member with a name that is wanted; false if it has
    /// none.
    fn member_where(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> Checked<bool> {
        self.at += 1;
        self.white();
        if self.peek() == Some(b'}') {
            return Ok(false);
        }
        let mut unescaped = Vec::new();
        loop {
            let start = self.at + 1;
            if self.peek() != Some(b'"') {
                return Err(if self.peek().is_none() { self.truncated() } else { self.syntax("expected a key") });
            }
            let plain = scan::string_stop(&self.bytes[start..]).map(|length| start + length);
            let found = match plain {
                Some(end) if self.bytes[end] == b'"' => {
                    self.at = end + 1;
                    wanted(&self.bytes[start..end])
                }
                _ => {
                    unescaped.clear();
                    self.string_into(&mut unescaped)?;
                    wanted(&unescaped)
                }
            };
            self.white();
            if self.next() != Some(b':') {
                return Err(self.syntax("expected : after a key"));
            }
            self.white();
            if found {
                return Ok(true);
            }
            self.skip(0)?;
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(b'}') => return Ok(false),
                Some(_) => return Err(self.syntax("expected , or }")),
                None => return Err(self.truncated()),
            }
        }
    }

    /// Visits every value that the steps lead to from the value at the reader, until a visit says to stop; false if
    /// one did. Lists are gone through, nulls are nothing.
    pub(crate) fn follow(&mut self, steps: &[PathStep], visit: &mut Visit<'_, 'a>) -> Checked<bool> {
        match (self.peek(), steps) {
            (Some(b'['), _) => self.elements(&mut |reader, _| reader.follow(steps, visit)),
            (Some(b'n') | None, _) => Ok(true),
            (Some(_), []) => visit(self),
            (Some(b'{'), [step, rest @ ..]) => {
                if self.member(&step.name)? {
                    self.pick(&step.pick, rest, visit)
                } else {
                    Ok(true)
                }
            }
            (Some(_), _) => Ok(true),
        }
    }

    /// The same from those elements of the value at the reader that are picked.
    pub(crate) fn pick(&mut self, pick: &Pick, steps: &[PathStep], visit: &mut Visit<'_, 'a>) -> Checked<bool> {
        match pick {
            Pick::Each => self.follow(steps, visit),
            // Not stopped behind it: that would say that a visit did, and end the lists round this one too.
            Pick::Index(wanted) if self.peek() == Some(b'[') => self.elements(&mut |reader, index| {
                if index == *wanted { reader.follow(steps, visit) } else { Ok(true) }
            }),
            Pick::Index(wanted) => {
                if *wanted == 0 {
                    self.follow(steps, visit)
                } else {
                    Ok(true)
                }
            }
            Pick::Where(condition) if self.peek() == Some(b'[') => {
                self.elements(&mut |reader, _| reader.pick_one(condition, steps, visit))
            }
            Pick::Where(condition) => self.pick_one(condition, steps, visit),
        }
    }

    fn pick_one(&mut self, condition: &Condition, steps: &[PathStep], visit: &mut Visit<'_, 'a>) -> Checked<bool> {
        let start = self.at;
        // It stops at the first value that fits.
        let fits = !self.follow(&condition.path.steps, &mut |reader| Ok(!reader.is_text(condition)?))?;
        self.at = start;
        if fits { self.follow(steps, visit) } else { Ok(true) }
    }

    /// True if the value at the reader is, or starts with, the condition's text.
    fn is_text(&mut self, condition: &Condition) -> Checked<bool> {
        let mut text = Vec::new();
        match self.peek() {
            Some(b'"') => self.string_into(&mut text)?,
            Some(b'{') => return Ok(false),
            _ => {
                let start = self.at;
                self.skip(0)?;
                text.extend_from_slice(&self.bytes[start..self.at]);
            }
        }
        let wanted = condition.text.as_bytes();
        Ok(if condition.prefix { text.starts_with(wanted) } else { text == wanted })
    }

    /// Visits each element of the list at the reader, with its index.
    fn elements(&mut self, visit: &mut dyn FnMut(&mut Self, usize) -> Checked<bool>) -> Checked<bool> {
        self.at += 1;
        self.white();
        if self.peek() == Some(b']') {
            return Ok(true);
        }
        let mut index = 0;
        loop {
            let start = self.at;
            if !visit(self, index)? {
                return Ok(false);
            }
            self.at = start;
            self.skip(0)?;
            index += 1;
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(b']') => return Ok(true),
                Some(_) => return Err(self.syntax("expected , or ]")),
                None => return Err(self.truncated()),
            }
        }
    }
}

impl<'a> JsonRecord<'a> {
    /// Puts what paths lead to into their columns, at the end of an object.
    pub(super) fn paths(&mut self, plan: &'a ObjectPlan, stamp: u64) -> Checked<()> {
        let end = self.reader.at;
        for column in &plan.paths {
            let joined = self.layout.tables[plan.table].columns[column.column].reading.join.as_deref();
            let done = match joined {
                None => self.first(plan, column, stamp),
                Some(join) => self.joined(plan, column, join, stamp),
            };
            done.map_err(|fault| fault.in_field(&column.name))?;
        }
        self.reader.at = end;
        Ok(())
    }

    /// The first value of the first path that has one.
    fn first(&mut self, plan: &'a ObjectPlan, column: &'a PathColumn, stamp: u64) -> Checked<()> {
        for way in &column.ways {
            let mut found = None;
            self.go(plan, way, stamp, &mut |reader| {
                found = Some(reader.at);
                Ok(false)
            })?;
            if let Some(at) = found {
                self.reader.at = at;
                return self.scalar(plan.table, column.column, 0);
            }
        }
        self.nothing_at(plan, column)
    }

    /// All values of all paths, as one text.
    fn joined(&mut self, plan: &'a ObjectPlan, column: &'a PathColumn, join: &str, stamp: u64) -> Checked<()> {
        let spec = &self.layout.tables[plan.table].columns[column.column];
        let (mut all, mut one, mut any) = (String::new(), Vec::new(), false);
        for way in &column.ways {
            self.go(plan, way, stamp, &mut |reader| {
                if reader.peek() != Some(b'"') {
                    return reader.mismatch("a string", 0).map(|()| true);
                }
                one.clear();
                reader.string_into(&mut one)?;
                if any {
                    all.push_str(join);
                }
                any = true;
                all.push_str(&value::read_text(&spec.reading, std::str::from_utf8(&one).unwrap_or_default())?);
                Ok(true)
            })?;
        }
        if !any {
            return self.nothing_at(plan, column);
        }
        let builder = &mut self.tables.tables[plan.table].columns[column.column];
        if spec.withheld {
            builder.push_null();
            return Ok(());
        }
        value::push_read(builder, spec, &all)
    }

    fn go(&mut self, plan: &ObjectPlan, way: &Way, stamp: u64, visit: &mut Visit<'_, 'a>) -> Checked<()> {
        if self.state.stamps[plan.id][way.field] == stamp {
            self.reader.at = self.state.starts[plan.id][way.field];
            self.reader.pick(&way.pick, &way.rest, visit)?;
        }
        Ok(())
    }

    fn nothing_at(&mut self, plan: &ObjectPlan, column: &PathColumn) -> Checked<()> {
        if self.layout.tables[plan.table].columns[column.column].rules.required {
            return Err(Fault::new(Reason::MissingField, "is required, but no path of it leads to a value"));
        }
        self.tables.tables[plan.table].columns[column.column].push_null();
        Ok(())
    }
}
