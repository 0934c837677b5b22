//! Records of several kinds, and records that hold others.

use forebay_recipe::{Kind, Kinds, OtherKinds, Path};
use forebay_types::Reason;

use super::{Fate, JsonRecord};
use crate::fault::{Checked, Fault};

impl<'a> JsonRecord<'a> {
    /// Decodes a record by its kind; the reader is at its `{`.
    pub(super) fn of_a_kind(&mut self, kinds: &'a Kinds, depth: u32) -> Checked<Fate> {
        self.reader.check_depth(depth)?;
        let start = self.reader.at;
        let kind = self.kind(kinds)?;
        self.reader.at = start;
        match kind {
            Some(Kind::Rows(plan)) => self.row(plan, self.place, depth).map(|()| Fate::Taken),
            Some(Kind::Each(path)) => self.held(kinds, path, depth),
            None => {
                self.reader.skip(depth - 1)?;
                match kinds.other {
                    OtherKinds::Ignore => Ok(Fate::Ignored),
                    OtherKinds::Reject => {
                        let names: Vec<_> = kinds.kinds.iter().map(|(name, _)| name.as_str()).collect();
                        let message = format!("of a kind that the recipe does not name; it names {}", names.join(", "));
                        Err(Fault::new(Reason::UnknownKind, message).in_field(&kinds.by))
                    }
                }
            }
        }
    }

    /// The kind of the record at the reader; none if the recipe does not name it. Leaves the reader anywhere.
    fn kind(&mut self, kinds: &'a Kinds) -> Checked<Option<&'a Kind>> {
        let missing = |how: &str| Fault::new(Reason::MissingField, format!("says of what kind a record is, but {how}"));
        if !self.reader.member(&kinds.by)? {
            return Err(missing("is missing").in_field(&kinds.by));
        }
        if self.reader.peek() != Some(b'"') {
            return Err(missing("is no text").in_field(&kinds.by));
        }
        let mut name = std::mem::take(&mut self.state.scratch);
        name.clear();
        let read = self.reader.string_into(&mut name);
        let kind = kinds.kinds.iter().find(|(known, _)| known.as_bytes() == name.as_slice()).map(|(_, kind)| kind);
        self.state.scratch = name;
        read.map(|()| kind)
    }

    /// Decodes the records inside a record.
    fn held(&mut self, kinds: &'a Kinds, path: &'a Path, depth: u32) -> Checked<Fate> {
        let start = self.reader.at;
        // Read through first, so that all of it is JSON, and nested no deeper than it may be.
        self.reader.skip(depth - 1)?;
        let end = self.reader.at;
        self.reader.at = start;
        // Only the first of two lists would be gone through, and the records in the other lost without a word.
        for (level, step) in path.steps.iter().enumerate() {
            let names = [step.name.as_str(), &kinds.by];
            let names = if level == 0 { &names[..] } else { &names[..1] };
            self.reader.at = start;
            self.reader.follow(&path.steps[..level], &mut |reader| reader.refuse_twice(names).map(|()| true))?;
        }
        self.reader.at = start;
        // A few bytes for each record inside: bounded by the limit of a record.
        let mut starts = Vec::new();
        self.reader.follow(&path.steps, &mut |reader| {
            starts.push(reader.at);
            Ok(true)
        })?;
        for (index, at) in starts.into_iter().enumerate() {
            self.reader.at = at;
            let held = match self.reader.peek() {
                Some(b'{') => self.of_a_kind(kinds, depth + 1).map(|_| ()),
                _ => self.reader.mismatch("an object", depth),
            };
            held.map_err(|fault| {
                let last = path.steps.last().map_or("", |step| step.name.as_str());
                fault.in_element(index).in_field(last)
            })?;
        }
        self.reader.at = end;
        Ok(Fate::Taken)
    }
}
