//! Requests of the Census geocoder: a CSV without a header, in the field `addressFile` of a form.

use std::fmt;

use crate::street::without_unit;

/// An address as the user has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Number and street; suites and floors are left out of the request.
    pub street: &'a str,
    /// City.
    pub city: &'a str,
    /// State, two letters.
    pub state: &'a str,
    /// ZIP code; its first five digits are sent.
    pub zip: &'a str,
}

/// Addresses for one request. Each has a number, by which the answer tells what it answers.
#[derive(Clone, Default)]
pub struct Batch {
    body: Vec<u8>,
    rows: u32,
}

/// There is no room for the address: send the batch first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch for the geocoder holds {} addresses and {} bytes at most", Batch::MOST_ROWS, Batch::MOST_BYTES)]
pub struct BatchFull;

// Addresses are the user's: they must not get into logs.
impl fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Batch {
    /// Most addresses that the geocoder takes at once. About 500 to 1,000 are wiser: larger batches often fail.
    pub const MOST_ROWS: u32 = 10_000;
    /// Most bytes: the geocoder takes less than 5 MB, with the form around it.
    pub const MOST_BYTES: usize = 4_900_000;

    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address; its number is returned, counted from 0.
    pub fn push(&mut self, address: &Address<'_>) -> Result<u32, BatchFull> {
        if self.rows == Self::MOST_ROWS {
            return Err(BatchFull);
        }
        let length = self.body.len();
        self.body.extend_from_slice(self.rows.to_string().as_bytes());
        let zip = address.zip.trim();
        let zip = zip.get(..5).unwrap_or(zip);
        for field in [without_unit(address.street), address.city.trim(), address.state.trim(), zip] {
            self.body.extend_from_slice(b",\"");
            put_field(&mut self.body, field);
            self.body.push(b'"');
        }
        self.body.push(b'\n');
        if self.body.len() > Self::MOST_BYTES {
            self.body.truncate(length);
            return Err(BatchFull);
        }
        self.rows += 1;
        Ok(self.rows - 1)
    }

    /// How many addresses it holds.
    pub fn len(&self) -> u32 {
        self.rows
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The content of the form's field `addressFile`.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Appends a field: quotation marks are doubled, and what could end a line becomes a blank.
fn put_field(body: &mut Vec<u8>, field: &str) {
    for character in field.chars() {
        match character {
            '"' => body.extend_from_slice(b"\"\""),
            other if other.is_control() => body.push(b' '),
            other => body.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_become_rows_with_numbers() {
        let mut batch = Batch::new();
        let address = Address { street: "1 MAIN ST STE 2", city: "ELMVILLE", state: "NH", zip: "03001-1234" };
        assert_eq!(batch.push(&address), Ok(0));
        assert_eq!(batch.push(&Address { street: "2 \"OLD\" RD\r\n", city: "A,B", state: "", zip: "301" }), Ok(1));
        let expected = "0,\"1 MAIN ST\",\"ELMVILLE\",\"NH\",\"03001\"\n1,\"2 \"\"OLD\"\" RD\",\"A,B\",\"\",\"301\"\n";
        assert_eq!(std::str::from_utf8(batch.body()), Ok(expected));
        assert_eq!(batch.len(), 2);
        assert!(!format!("{batch:?} {address:?}").contains("MAIN"));
    }

    #[test]
    fn a_batch_is_never_larger_than_the_geocoder_takes() {
        let mut batch = Batch::new();
        let short = Address { street: "1 A ST", city: "B", state: "CA", zip: "90001" };
        assert!((0..Batch::MOST_ROWS).all(|number| batch.push(&short) == Ok(number)));
        assert_eq!(batch.push(&short), Err(BatchFull));
        let street = "X".repeat(1_000_000);
        let mut batch = Batch::new();
        let long = Address { street: &street, ..short };
        assert_eq!((0..10).take_while(|_| batch.push(&long).is_ok()).count(), 4);
        assert_eq!(batch.len(), 4);
        assert!(batch.body().len() <= Batch::MOST_BYTES);
    }

    proptest! {
        #[test]
        fn a_csv_reader_finds_what_was_written(street in ".{0,40}", city in ".{0,20}") {
            let mut batch = Batch::new();
            batch.push(&Address { street: &street, city: &city, state: "CA", zip: "9" }).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(batch.body());
            let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(rows[0].len(), 5);
            let blank = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
            prop_assert_eq!(&rows[0][2], blank(city.trim()));
        }
    }
}
