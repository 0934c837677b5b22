//! What the fuzz targets check: the same as the property tests.

#[path = "../../tests/decoder/check.rs"]
mod check;
#[path = "../../tests/decoder/columnar.rs"]
mod columnar;

use std::sync::LazyLock;

use check::Subject;

/// Decodes JSON lines whole and in pieces.
pub fn ndjson(data: &[u8]) {
    static LINES: LazyLock<Subject> = LazyLock::new(Subject::lines);
    text(&LINES, data);
}

/// Decodes one JSON array whole and in pieces.
pub fn json(data: &[u8]) {
    static ARRAY: LazyLock<Subject> = LazyLock::new(Subject::array);
    text(&ARRAY, data);
}

/// Decodes CSV whole and in pieces.
pub fn csv(data: &[u8]) {
    static CSV: LazyLock<Subject> = LazyLock::new(Subject::csv);
    text(&CSV, data);
}

/// Decodes a columnar batch whole and in slices.
pub fn columnar(data: &[u8]) {
    columnar::check(data);
}

/// The first byte is the length of a piece.
fn text(subject: &Subject, data: &[u8]) {
    if let Some((piece, input)) = data.split_first() {
        subject.check(input, usize::from(*piece).max(1));
    }
}
