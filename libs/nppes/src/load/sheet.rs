//! The first sheet of an Office Open XML workbook (ECMA-376 part 1, chapter 18), row by row. Only texts and numbers
//! are read; styles, formulas and further sheets are not.

use std::fs::File;
use std::io::{BufReader, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

/// Most bytes of a part of the workbook, unpacked, which bounds what a text in it can take. The registry's whole list
/// is below 60 MB.
const LONGEST_PART: u64 = 256 << 20;
/// Columns that are read; further ones are passed over.
const MOST_COLUMNS: usize = 64;

const SHARED: &str = "xl/sharedStrings.xml";
const FIRST_SHEET: &str = "xl/worksheets/sheet1.xml";

/// Texts that cells refer to by number, one after the other in one piece of memory.
struct Shared {
    texts: String,
    ends: Vec<u32>,
}

impl Shared {
    fn get(&self, number: usize) -> Option<&str> {
        let start = if number == 0 { 0 } else { *self.ends.get(number - 1)? as usize };
        self.texts.get(start..*self.ends.get(number)? as usize)
    }
}

/// Calls `on_row` with the cells of each row of the first sheet. At most `memory` bytes go into texts that cells share.
pub(crate) fn read_rows(
    mut workbook: ZipArchive<BufReader<File>>,
    memory: u64,
    mut on_row: impl FnMut(&[&str]) -> Result<(), String>,
) -> Result<(), String> {
    let shared = read_shared(&mut workbook, memory)?;
    let part =
        workbook.by_name(FIRST_SHEET).map_err(|error| format!("the workbook has no '{FIRST_SHEET}': {error}"))?;
    let mut xml = reader(part);
    let mut buffer = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut cell: Option<Cell> = None;
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| malformed(&error))? {
            Event::Start(tag) if tag.local_name().as_ref() == b"row" => row.clear(),
            Event::Start(tag) if tag.local_name().as_ref() == b"c" => cell = Some(Cell::new(&tag, row.len())),
            Event::Start(tag) => {
                if let Some(cell) = &mut cell {
                    cell.in_value = matches!(tag.local_name().as_ref(), b"v" | b"t");
                }
            }
            Event::Text(text) => {
                if let Some(cell) = cell.as_mut().filter(|cell| cell.in_value) {
                    cell.text.push_str(&text.decode().map_err(|error| malformed(&error))?);
                }
            }
            Event::End(tag) => match tag.local_name().as_ref() {
                b"v" | b"t" => cell.iter_mut().for_each(|cell| cell.in_value = false),
                b"c" => cell.take().into_iter().try_for_each(|cell| cell.put(&shared, &mut row))?,
                b"row" => on_row(&row.iter().map(String::as_str).collect::<Vec<_>>())?,
                _ => {}
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// A cell that is being read.
struct Cell {
    column: usize,
    is_shared: bool,
    in_value: bool,
    text: String,
}

impl Cell {
    fn new(tag: &BytesStart<'_>, next: usize) -> Self {
        let attribute = |name: &str| tag.try_get_attribute(name).ok().flatten().map(|found| found.value.into_owned());
        Self {
            column: attribute("r").and_then(|place| column(&place)).unwrap_or(next),
            is_shared: attribute("t").is_some_and(|kind| kind == b"s"),
            in_value: false,
            text: String::new(),
        }
    }

    fn put(self, shared: &Shared, row: &mut Vec<String>) -> Result<(), String> {
        if self.column >= MOST_COLUMNS {
            return Ok(());
        }
        if row.len() <= self.column {
            row.resize(self.column + 1, String::new());
        }
        row[self.column] = if self.is_shared {
            let text = self.text.parse().ok().and_then(|number| shared.get(number));
            text.ok_or("a cell refers to a text that the workbook does not have")?.to_owned()
        } else {
            self.text
        };
        Ok(())
    }
}

/// The column, from 0, of a place such as `AB12`.
fn column(place: &[u8]) -> Option<usize> {
    let letters = place.iter().take_while(|byte| byte.is_ascii_uppercase());
    let number = letters.take(4).fold(0, |number, letter| number * 26 + usize::from(letter - b'A') + 1);
    number.checked_sub(1)
}

fn read_shared(workbook: &mut ZipArchive<BufReader<File>>, memory: u64) -> Result<Shared, String> {
    let mut shared = Shared { texts: String::new(), ends: Vec::new() };
    // A workbook whose cells hold their texts themselves has no such part.
    let Ok(part) = workbook.by_name(SHARED) else {
        return Ok(shared);
    };
    let mut xml = reader(part);
    let mut buffer = Vec::new();
    let mut in_text = false;
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|error| malformed(&error))? {
            Event::Start(tag) => in_text = tag.local_name().as_ref() == b"t",
            Event::Text(text) if in_text => {
                shared.texts.push_str(&text.decode().map_err(|error| malformed(&error))?);
            }
            Event::End(tag) => {
                in_text = false;
                if tag.local_name().as_ref() == b"si" {
                    shared
                        .ends
                        .push(u32::try_from(shared.texts.len()).map_err(|_| "the workbook's texts are too long")?);
                }
            }
            Event::Empty(tag) if tag.local_name().as_ref() == b"si" => {
                shared.ends.push(shared.texts.len() as u32);
            }
            Event::Eof => return Ok(shared),
            _ => {}
        }
        if (shared.texts.len() + shared.ends.len() * 4) as u64 > memory {
            return Err(format!("its texts take more than {memory} bytes: allow more memory, or save the list as CSV"));
        }
    }
}

fn reader<R: Read>(part: R) -> Reader<BufReader<std::io::Take<R>>> {
    Reader::from_reader(BufReader::with_capacity(64 << 10, part.take(LONGEST_PART)))
}

fn malformed(error: &dyn std::error::Error) -> String {
    format!("its XML is malformed ({error}): fetch the file again")
}
