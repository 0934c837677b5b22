//! The inside of JSON strings: escapes, and what must not be there.

use forebay_types::Reason;

use crate::fault::{Checked, Fault};
use crate::scan;

#[cold]
pub(crate) fn truncated() -> Box<Fault> {
    Fault::new(Reason::Truncated, "the record ends in the middle of a value")
}

/// Appends a string's content from just past its opening quote, and returns the offset past its closing one.
#[inline]
pub(crate) fn unescape(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> Checked<usize> {
    loop {
        let Some(stop) = scan::string_stop(&bytes[at..]).map(|stop| at + stop) else { return Err(truncated()) };
        out.extend_from_slice(&bytes[at..stop]);
        match bytes[stop] {
            b'"' => return Ok(stop + 1),
            b'\\' => at = escape(bytes, stop + 1, out)?,
            _ => return Err(control(stop)),
        }
    }
}

/// The offset past a string's closing quote, from just past its opening one; escapes are checked.
pub(crate) fn skip_string(bytes: &[u8], mut at: usize) -> Checked<usize> {
    let mut ignored = Vec::new();
    loop {
        let Some(stop) = scan::string_stop(&bytes[at..]).map(|stop| at + stop) else { return Err(truncated()) };
        match bytes[stop] {
            b'"' => return Ok(stop + 1),
            b'\\' => {
                ignored.clear();
                at = escape(bytes, stop + 1, &mut ignored)?;
            }
            _ => return Err(control(stop)),
        }
    }
}

#[cold]
fn control(at: usize) -> Box<Fault> {
    Fault::new(Reason::Syntax, format!("a control character inside a string (byte {at} of the record)"))
}

/// Appends what one escape stands for; `at` is just past the backslash.
fn escape(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Checked<usize> {
    let plain = match bytes.get(at) {
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'/') => b'/',
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(bytes, at + 1, out),
        Some(_) => return Err(Fault::new(Reason::Syntax, format!("an unknown escape (byte {at} of the record)"))),
        None => return Err(truncated()),
    };
    out.push(plain);
    Ok(at + 1)
}

fn unicode(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Checked<usize> {
    let bad = |what: &str| Fault::new(Reason::Syntax, format!("{what} (byte {at} of the record)"));
    let unit = |at: usize| -> Checked<u32> {
        let digits = bytes.get(at..at + 4).ok_or_else(truncated)?;
        let text = std::str::from_utf8(digits).map_err(|_| bad("an escape without four hex digits"))?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad("an escape without four hex digits"));
        }
        u32::from_str_radix(text, 16).map_err(|_| bad("an escape without four hex digits"))
    };
    let first = unit(at)?;
    let (code, end) = if (0xd800..0xdc00).contains(&first) {
        if bytes.get(at + 4..at + 6) != Some(b"\\u") {
            return Err(bad("half of a surrogate pair"));
        }
        let second = unit(at + 6)?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(bad("half of a surrogate pair"));
        }
        (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), at + 10)
    } else {
        (first, at + 4)
    };
    let character = char::from_u32(code).ok_or_else(|| bad("half of a surrogate pair"))?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

/// Writes a text as a JSON string.
pub(crate) fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
