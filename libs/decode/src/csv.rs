use forebay_recipe::{ColumnType, CsvSpec, Layout, ObjectPlan, Target, UnknownFields};
use forebay_types::Reason;

use crate::fault::{Checked, Fault};
use crate::scan;
use crate::table::Tables;
use crate::value;

/// A CSV header that does not fit the recipe: no record of the input could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header does not fit the recipe: {0}")]
pub struct HeaderMismatch(String);

/// Which column of the record's table each CSV column goes to.
#[derive(Clone, Debug)]
pub struct CsvHeader {
    /// By position in the file: the table's column, or none for one that is left out.
    targets: Vec<Option<usize>>,
    /// Columns of the table that the file does not have: always null.
    missing: Vec<usize>,
    delimiter: u8,
    quote: u8,
    nulls: Vec<String>,
}

impl CsvHeader {
    /// Maps the names of a header row to the recipe's columns. Where the recipe says that there is no header row,
    /// the columns are its own, in order, whatever is passed.
    pub fn new(layout: &Layout, spec: &CsvSpec, header: Option<&[u8]>) -> Result<Self, HeaderMismatch> {
        let fields = layout.fields().map_err(|why| HeaderMismatch(why.to_owned()))?;
        if !layout.is_flat() {
            let lists: Vec<_> = layout.tables[1..].iter().map(|table| table.name.as_str()).collect();
            return Err(HeaderMismatch(format!(
                "CSV rows can't hold lists, and the recipe has some (tables {})",
                lists.join(", ")
            )));
        }
        let table = &layout.tables[0];
        let own: Vec<usize> = (0..table.columns.len())
            .filter(|&c| Some(c) != table.unknown && table.columns[c].kind != ColumnType::Spans)
            .collect();
        let mut mapped = Self {
            targets: Vec::new(),
            missing: Vec::new(),
            delimiter: spec.delimiter as u8,
            quote: spec.quote as u8,
            nulls: spec.nulls.clone(),
        };
        match header {
            Some(header) if spec.header => mapped.read_names(layout, fields, header)?,
            _ => mapped.targets = own.iter().copied().map(Some).collect(),
        }
        mapped.missing = own.into_iter().filter(|c| !mapped.targets.contains(&Some(*c))).collect();
        mapped.missing.extend(table.unknown);
        let required: Vec<_> = mapped
            .missing
            .iter()
            .filter(|&&c| table.columns[c].rules.required)
            .map(|&c| table.columns[c].name.as_str())
            .collect();
        if !required.is_empty() {
            return Err(HeaderMismatch(format!("required columns are missing: {}", required.join(", "))));
        }
        Ok(mapped)
    }

    fn read_names(&mut self, layout: &Layout, fields: &ObjectPlan, header: &[u8]) -> Result<(), HeaderMismatch> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let text = std::str::from_utf8(header).map_err(|_| HeaderMismatch("it is not UTF-8".to_owned()))?;
        let names = self.split_row(text);
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(HeaderMismatch(format!("two columns are called '{name}'")));
            }
            let target = find(fields, name)
                .or_else(|| layout.tables[0].columns.iter().position(|column| column.name == *name))
                .filter(|&column| layout.tables[0].columns[column].kind != ColumnType::Spans);
            if target.is_none() {
                match layout.unknown {
                    UnknownFields::Ignore => {}
                    UnknownFields::Reject => {
                        return Err(HeaderMismatch(format!("the recipe does not name the column '{name}'")));
                    }
                    UnknownFields::Keep => {
                        return Err(HeaderMismatch(format!(
                            "the recipe does not name the column '{name}', and unknown columns of CSV can't be kept: \
                             name it in the recipe, or use unknown_fields: ignore"
                        )));
                    }
                }
            }
            self.targets.push(target);
        }
        if self.targets.iter().all(Option::is_none) {
            return Err(HeaderMismatch("none of its columns is one of the recipe's".to_owned()));
        }
        Ok(())
    }

    fn split_row(&self, text: &str) -> Vec<String> {
        let (mut at, mut scratch, mut names) = (0, String::new(), Vec::new());
        loop {
            let field = self.field(text, at, &mut scratch);
            names.push(field.text.trim().to_owned());
            at = field.next;
            if field.end != End::Delimiter {
                return names;
            }
        }
    }
}

/// The column of a top-level field.
fn find(plan: &ObjectPlan, name: &str) -> Option<usize> {
    plan.fields.iter().find_map(|field| match field.target {
        Target::Column(column) if field.name == name => Some(column),
        _ => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another field follows.
    Delimiter,
    /// The row ends with a newline.
    Newline,
    /// The text ends.
    Text,
    /// The text ends inside quotes.
    Open,
}

struct CsvField<'t> {
    text: &'t str,
    quoted: bool,
    end: End,
    /// Offset past the field and what ends it.
    next: usize,
}

impl CsvHeader {
    /// Reads one field. A quote means something only at a field's start, where it opens a quoted field; a doubled
    /// one inside stands for itself. This is how the framer cuts rows, so both see the same ones.
    #[inline]
    fn field<'t>(&self, text: &'t str, at: usize, scratch: &'t mut String) -> CsvField<'t> {
        let bytes = text.as_bytes();
        if bytes.get(at) == Some(&self.quote) {
            return self.quoted_field(text, at + 1, scratch);
        }
        let (stop, end, next) = match scan::either(&bytes[at..], self.delimiter, b'\n').map(|stop| at + stop) {
            None => (bytes.len(), End::Text, bytes.len()),
            Some(stop) if bytes[stop] == self.delimiter => (stop, End::Delimiter, stop + 1),
            Some(stop) => (stop, End::Newline, stop + 1),
        };
        let stop = if end != End::Delimiter && stop > at && bytes[stop - 1] == b'\r' { stop - 1 } else { stop };
        CsvField { text: &text[at..stop], quoted: false, end, next }
    }

    #[cold]
    fn quoted_field<'t>(&self, text: &'t str, start: usize, scratch: &'t mut String) -> CsvField<'t> {
        let bytes = text.as_bytes();
        let mut from = start;
        let mut copied = false;
        loop {
            let Some(stop) = memchr::memchr(self.quote, &bytes[from..]).map(|stop| from + stop) else {
                // Not closed: the text ends inside.
                let text = if copied {
                    scratch.push_str(&text[from..]);
                    scratch.as_str()
                } else {
                    &text[start..]
                };
                return CsvField { text, quoted: true, end: End::Open, next: bytes.len() };
            };
            if bytes.get(stop + 1) == Some(&self.quote) {
                if !copied {
                    scratch.clear();
                    copied = true;
                }
                scratch.push_str(&text[from..=stop]);
                from = stop + 2;
                continue;
            }
            // What stands between the closing quote and the field's end belongs to it.
            let (tail, end, next) = match scan::either(&bytes[stop + 1..], self.delimiter, b'\n').map(|s| stop + 1 + s)
            {
                None => (bytes.len(), End::Text, bytes.len()),
                Some(tail) if bytes[tail] == self.delimiter => (tail, End::Delimiter, tail + 1),
                Some(tail) => (tail, End::Newline, tail + 1),
            };
            let tail =
                if end != End::Delimiter && tail > stop + 1 && bytes[tail - 1] == b'\r' { tail - 1 } else { tail };
            if !copied && tail == stop + 1 {
                return CsvField { text: &text[start..stop], quoted: true, end, next };
            }
            if !copied {
                scratch.clear();
            }
            scratch.push_str(&text[from..stop]);
            scratch.push_str(&text[stop + 1..tail]);
            return CsvField { text: scratch.as_str(), quoted: true, end, next };
        }
    }

    /// Offset past the row that starts at `at`, and whether a newline ended it.
    pub(crate) fn row_end(&self, bytes: &[u8], mut at: usize) -> (usize, End) {
        loop {
            if bytes.get(at) == Some(&self.quote) {
                at += 1;
                loop {
                    let Some(stop) = memchr::memchr(self.quote, &bytes[at..]) else { return (bytes.len(), End::Text) };
                    at += stop + 1;
                    if bytes.get(at) != Some(&self.quote) {
                        break;
                    }
                    at += 1;
                }
            }
            match scan::either(&bytes[at..], self.delimiter, b'\n') {
                None => return (bytes.len(), End::Text),
                Some(stop) => {
                    at += stop + 1;
                    if bytes[at - 1] != self.delimiter {
                        return (at, End::Newline);
                    }
                }
            }
        }
    }

    /// Decodes the row that starts at `at`. Returns the offset past it and what ended it.
    pub(crate) fn decode_row(
        &self,
        layout: &Layout,
        tables: &mut Tables,
        text: &str,
        mut at: usize,
        scratch: &mut String,
    ) -> Checked<(usize, End)> {
        let row = tables.tables[0].parents.len() as u32;
        tables.begin_row(0, row);
        let plan = &layout.tables[0];
        let table = &mut tables.tables[0];
        let mut position = 0;
        loop {
            let field = self.field(text, at, scratch);
            at = field.next;
            if field.end == End::Open {
                return Err(Fault::new(Reason::Truncated, "a quoted field is not closed"));
            }
            let Some(target) = self.targets.get(position) else {
                return Err(Fault::new(
                    Reason::NotARecord,
                    format!("has more than the {} columns of the header", self.targets.len()),
                ));
            };
            position += 1;
            if let Some(column) = *target {
                let column_plan = &plan.columns[column];
                let builder = &mut table.columns[column];
                let null = !field.quoted && (field.text.is_empty() || self.nulls.iter().any(|null| null == field.text));
                if null && column_plan.rules.required {
                    return Err(Fault::new(Reason::MissingField, "is required but empty").in_field(&column_plan.name));
                }
                let pushed = if null || column_plan.withheld {
                    builder.push_null();
                    Ok(())
                } else if column_plan.kind == ColumnType::Json {
                    value::push_json(builder, &column_plan.rules, field.text, layout.depth_limit)
                } else {
                    value::push_text(builder, column_plan, field.text)
                };
                pushed.map_err(|fault| fault.in_field(&column_plan.name))?;
            }
            if field.end != End::Delimiter {
                if position < self.targets.len() {
                    return Err(Fault::new(
                        Reason::NotARecord,
                        format!("has {position} columns, the header {}", self.targets.len()),
                    ));
                }
                for &column in &self.missing {
                    table.columns[column].push_null();
                }
                return Ok((at, field.end));
            }
        }
    }
}
