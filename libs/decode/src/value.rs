//! Texts to typed values. Nothing here keeps a text or puts it into a message: it may be protected.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use forebay_recipe::{Column, ColumnType, DateOrder, Encoding, Reading, Rules, days_from_civil};
use forebay_types::Reason;

use crate::column::{ColumnBuilder, Values};
use crate::fault::{Checked, Fault};
use crate::json_reader::JsonReader;

/// Puts the text of a value into a column of whatever type: a CSV field, or the content of a JSON string.
#[inline]
pub(crate) fn push_text(builder: &mut ColumnBuilder, column: &Column, text: &str) -> Checked<()> {
    match &mut builder.values {
        Values::Text { .. } => return push_read(builder, column, &read_text(&column.reading, text)?),
        Values::Int64(values) => values.push(integer(text, &column.rules)?),
        Values::Int32(values) => values.push(int32(integer(text, &column.rules)?)?),
        Values::Float64(values) => values.push(float(text, &column.rules)?),
        Values::Decimal(values, precision, scale) => {
            values.push(decimal(text, *precision, *scale, &column.rules)?);
        }
        Values::Bool(values) => values.push(boolean(text)?),
        Values::Date(values) => {
            let order = if let ColumnType::Date(order) = &column.kind { *order } else { DateOrder::Iso };
            let days = date(&completed(&column.reading, text), order)?;
            check(f64::from(days), &column.rules)?;
            values.push(days);
        }
        Values::Timestamp(values) => {
            let micros = timestamp(&completed(&column.reading, text))?;
            check(micros as f64, &column.rules)?;
            values.push(micros);
        }
        Values::Absent(n, _) => {
            *n += 1;
            return Ok(());
        }
    }
    builder.valid();
    Ok(())
}

/// Puts a text that was read already into a text column, if it keeps the column's rules.
pub(crate) fn push_read(builder: &mut ColumnBuilder, column: &Column, text: &str) -> Checked<()> {
    if !column.rules.text_is_free() {
        column.rules.check_text(text).map_err(|message| Fault::new(Reason::Invalid, message))?;
    }
    builder.push_text(text)
}

/// What a text means: decoded, and cut to what stands after a character.
pub(crate) fn read_text<'t>(reading: &Reading, text: &'t str) -> Checked<Cow<'t, str>> {
    let text = match reading.encoding {
        Encoding::Plain => Cow::Borrowed(text),
        Encoding::Base64 => Cow::Owned(base64_text(text)?),
    };
    let Some(after) = &reading.after else { return Ok(text) };
    Ok(match text.rfind(|c| after.contains(c)).map(|at| at + text[at..].chars().next().map_or(1, char::len_utf8)) {
        Some(start) => Cow::Owned(text[start..].to_owned()),
        None => text,
    })
}

fn base64_text(text: &str) -> Checked<String> {
    let white = text.bytes().any(|byte| byte.is_ascii_whitespace());
    let bytes = if white {
        BASE64_STANDARD.decode(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>())
    } else {
        BASE64_STANDARD.decode(text)
    };
    let bytes = bytes.map_err(|_| Fault::new(Reason::Invalid, "is no base64"))?;
    String::from_utf8(bytes).map_err(|_| Fault::new(Reason::InvalidUtf8, "what it encodes in base64 is not UTF-8"))
}

/// A date or moment that may be a year or a month only, whose first day it then is.
fn completed<'t>(reading: &Reading, text: &'t str) -> Cow<'t, str> {
    let date = text.trim_ascii();
    match date.len() {
        4 if reading.partial => Cow::Owned(format!("{date}-01-01")),
        7 if reading.partial => Cow::Owned(format!("{date}-01")),
        _ => Cow::Borrowed(text),
    }
}

/// The new end offset of a text column. Batches are cut long before, so only one giant record can get there.
#[inline]
pub(crate) fn text_end(bytes: &[u8]) -> Checked<i32> {
    i32::try_from(bytes.len())
        .map_err(|_| Fault::new(Reason::TooLarge, "the texts of one record's column are more than 2 GiB"))
}

#[inline]
pub(crate) fn check(value: f64, rules: &Rules) -> Checked<()> {
    if rules.min.is_none() && rules.max.is_none() {
        return Ok(());
    }
    rules.check_number(value).map_err(|message| Fault::new(Reason::Invalid, message))
}

fn wrong(expected: &str) -> Box<Fault> {
    Fault::new(Reason::WrongType, format!("expected {expected}"))
}

/// A whole number, checked against the rules. `12.0` and `1e3` are whole; `1.5` is not.
pub(crate) fn integer(text: &str, rules: &Rules) -> Checked<i64> {
    let value = match text.trim_ascii().parse::<i64>() {
        Ok(value) => value,
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            if matches!(error.kind(), NegOverflow | PosOverflow) {
                return Err(Fault::new(Reason::OutOfRange, "does not fit into a 64-bit whole number"));
            }
            let value: f64 = fast_float2::parse(text.trim_ascii()).map_err(|_| wrong("a whole number"))?;
            if value.fract() != 0.0 || !value.is_finite() {
                return Err(wrong("a whole number"));
            }
            if value.abs() > 9_007_199_254_740_992.0 {
                return Err(Fault::new(Reason::OutOfRange, "is too large for a whole number written as a float"));
            }
            value as i64
        }
    };
    check(value as f64, rules)?;
    Ok(value)
}

pub(crate) fn int32(value: i64) -> Checked<i32> {
    i32::try_from(value).map_err(|_| Fault::new(Reason::OutOfRange, "does not fit into a 32-bit whole number"))
}

pub(crate) fn float(text: &str, rules: &Rules) -> Checked<f64> {
    let value: f64 = fast_float2::parse(text.trim_ascii()).map_err(|_| wrong("a number"))?;
    check_float(value, rules)?;
    Ok(value)
}

/// Checks a float: no format brings NaN or an infinity into a table.
#[inline]
pub(crate) fn check_float(value: f64, rules: &Rules) -> Checked<()> {
    if !value.is_finite() {
        return Err(Fault::new(Reason::OutOfRange, "is no finite 64-bit number"));
    }
    check(value, rules)
}

pub(crate) fn boolean(text: &str) -> Checked<bool> {
    const TRUE: [&str; 3] = ["true", "t", "1"];
    const FALSE: [&str; 3] = ["false", "f", "0"];
    let text = text.trim_ascii();
    if TRUE.iter().any(|known| text.eq_ignore_ascii_case(known)) {
        Ok(true)
    } else if FALSE.iter().any(|known| text.eq_ignore_ascii_case(known)) {
        Ok(false)
    } else {
        Err(wrong("true or false"))
    }
}

/// A decimal, exactly, with or without an exponent: `1.5e3` is 1500. More digits after the point than the scale are
/// an error unless they are zeros.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8, rules: &Rules) -> Checked<i128> {
    let text = text.trim_ascii();
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&digits[..at], exponent(&digits[at + 1..])?),
        None => (digits, 0),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (mut value, mut seen, last) = (0i128, false, -i64::from(scale));
    // Power of ten of the digit before the next one.
    let mut place = point as i64 + exponent;
    let too_large = || Fault::new(Reason::OutOfRange, format!("has more than {precision} digits"));
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                place -= 1;
                let digit = i128::from(byte - b'0');
                if place >= last {
                    value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(too_large)?;
                } else if digit != 0 {
                    let what = format!("has more than {scale} digits after the point");
                    return Err(Fault::new(Reason::OutOfRange, what));
                }
            }
            b'.' if at == point => {}
            _ => return Err(wrong("a decimal number")),
        }
    }
    if !seen {
        return Err(wrong("a decimal number"));
    }
    // Zero stays zero, however large its exponent.
    while value != 0 && place > last {
        value = value.checked_mul(10).ok_or_else(too_large)?;
        place -= 1;
    }
    if value >= 10i128.pow(u32::from(precision)) {
        return Err(too_large());
    }
    let value = if negative { -value } else { value };
    check(value as f64 / 10f64.powi(i32::from(scale)), rules)?;
    Ok(value)
}

/// What follows the `e` of a number. One that is too large for any decimal is cut to one that still is.
fn exponent(text: &[u8]) -> Checked<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong("a decimal number"));
    }
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1 << 40));
    Ok(if negative { -value } else { value })
}

/// Puts a text that must be one JSON value into a column: the same text, without white space round it, and null for
/// `null`, as where the value stands in JSON itself.
pub(crate) fn push_json(builder: &mut ColumnBuilder, rules: &Rules, text: &str, depth_limit: u32) -> Checked<()> {
    let mut reader = JsonReader::new(text.as_bytes(), depth_limit);
    reader.white();
    let start = reader.at;
    // As deep as the value of a record's own field is.
    reader.skip(1).map_err(|fault| if fault.reason == Reason::TooDeep { fault } else { wrong("a JSON value") })?;
    let value = &text[start..reader.at];
    reader.white();
    if reader.peek().is_some() {
        return Err(wrong("a JSON value"));
    }
    if value == "null" {
        if rules.required {
            return Err(Fault::new(Reason::MissingField, "is required but is null"));
        }
        builder.push_null();
        return Ok(());
    }
    builder.push_text(value)
}

/// Reads `count` digits at the start.
#[inline]
fn digits(bytes: &[u8], count: usize) -> Option<u32> {
    let mut value = 0;
    for &byte in bytes.get(..count)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(byte - b'0');
    }
    Some(value)
}

#[inline]
fn civil(year: u32, month: u32, day: u32) -> Option<i32> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (year >= 1 && (1..=longest).contains(&day)).then(|| days_from_civil(year as i32, month, day))
}

/// Days since the epoch.
#[inline]
pub(crate) fn date(text: &str, order: DateOrder) -> Checked<i32> {
    let bytes = text.trim_ascii().as_bytes();
    let (parsed, expected) = match order {
        DateOrder::Iso => (iso_date(bytes).filter(|_| bytes.len() == 10), "a date such as 2026-11-21"),
        DateOrder::MonthFirst => (parts(bytes, b'/').and_then(|[m, d, y]| civil(y, m, d)), "a date such as 11/21/2026"),
        DateOrder::DayFirst => (parts(bytes, b'.').and_then(|[d, m, y]| civil(y, m, d)), "a date such as 21.11.2026"),
        DateOrder::Compact => (compact(bytes), "a date such as 20261121"),
    };
    parsed.ok_or_else(|| wrong(expected))
}

#[inline]
fn iso_date(bytes: &[u8]) -> Option<i32> {
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    civil(digits(bytes, 4)?, digits(&bytes[5..], 2)?, digits(&bytes[8..], 2)?)
}

fn compact(bytes: &[u8]) -> Option<i32> {
    if bytes.len() != 8 {
        return None;
    }
    civil(digits(bytes, 4)?, digits(&bytes[4..], 2)?, digits(&bytes[6..], 2)?)
}

/// Three numbers with a separator; the last one is a year of four digits.
fn parts(bytes: &[u8], separator: u8) -> Option<[u32; 3]> {
    let mut pieces = bytes.split(|&byte| byte == separator);
    let (a, b, year) = (pieces.next()?, pieces.next()?, pieces.next()?);
    if pieces.next().is_some() || year.len() != 4 || !(1..=2).contains(&a.len()) || !(1..=2).contains(&b.len()) {
        return None;
    }
    Some([digits(a, a.len())?, digits(b, b.len())?, digits(year, 4)?])
}

/// Microseconds since the epoch, UTC, of an RFC 3339 timestamp. Without an offset it is UTC; a date alone is its
/// midnight; digits beyond microseconds are cut off.
pub(crate) fn timestamp(text: &str) -> Checked<i64> {
    parse_timestamp(text.trim_ascii().as_bytes()).ok_or_else(|| wrong("a timestamp such as 2026-11-21T08:30:00Z"))
}

fn parse_timestamp(bytes: &[u8]) -> Option<i64> {
    let days = i64::from(iso_date(bytes)?);
    let mut rest = &bytes[10..];
    let Some((&separator, time)) = rest.split_first() else {
        return Some(days * 86_400_000_000);
    };
    if !matches!(separator, b'T' | b't' | b' ') || time.get(2) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (digits(time, 2)?, digits(&time[3..], 2)?);
    rest = &time[5..];
    let mut micros = 0i64;
    let mut second = 0;
    if let [b':', seconds @ ..] = rest {
        second = digits(seconds, 2)?;
        rest = &seconds[2..];
        if let [b'.' | b',', fraction @ ..] = rest {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            for digit in fraction[..length].iter().chain(std::iter::repeat(&b'0')).take(6) {
                micros = micros * 10 + i64::from(digit - b'0');
            }
            rest = &fraction[length..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let hours = digits(zone, 2)?;
            let minutes = match &zone[2..] {
                [] => 0,
                [b':', minutes @ ..] if minutes.len() == 2 => digits(minutes, 2)?,
                minutes if minutes.len() == 2 => digits(minutes, 2)?,
                _ => return None,
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset;
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_every_order_and_no_impossible_ones() {
        assert_eq!(date("1970-01-02", DateOrder::Iso).unwrap(), 1);
        assert_eq!(date("1/2/1970", DateOrder::MonthFirst).unwrap(), 1);
        assert_eq!(date("02.01.1970", DateOrder::DayFirst).unwrap(), 1);
        assert_eq!(date("19700102", DateOrder::Compact).unwrap(), 1);
        assert_eq!(date("2024-02-29", DateOrder::Iso).unwrap(), 19_782);
        for text in ["2023-02-29", "2023-13-01", "2023-00-10", "2023-1-1", "unknown", "", "2023-01-01T", "0000-01-01"] {
            assert!(date(text, DateOrder::Iso).is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_are_utc_microseconds() {
        let second = 1_000_000;
        for (text, micros) in [
            ("1970-01-01T00:00:01Z", second),
            ("1970-01-01 00:00:01", second),
            ("1970-01-01T02:00:01+02:00", second),
            ("1969-12-31T22:00:01-0200", second),
            ("1970-01-01T00:00:01.5Z", second + 500_000),
            ("1970-01-01T00:00:01.1234567Z", second + 123_456),
            ("1970-01-02", 86_400 * second),
            ("1970-01-01T00:01Z", 60 * second),
        ] {
            assert_eq!(timestamp(text).unwrap(), micros, "{text}");
        }
        for text in [
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T",
            "x",
            "1970-01-01T00:00:00+2",
        ] {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_to_their_types() {
        let free = Rules::default();
        assert_eq!(integer("12", &free).unwrap(), 12);
        assert_eq!(integer("1e3", &free).unwrap(), 1000);
        assert_eq!(integer("9223372036854775808", &free).unwrap_err().reason, Reason::OutOfRange);
        assert_eq!(integer("1.5", &free).unwrap_err().reason, Reason::WrongType);
        assert_eq!(float("1e999", &free).unwrap_err().reason, Reason::OutOfRange);
        assert_eq!(decimal("-12.30", 10, 2, &free).unwrap(), -1230);
        assert_eq!(decimal("12.3000", 10, 2, &free).unwrap(), 1230);
        assert_eq!(decimal("12.345", 10, 2, &free).unwrap_err().reason, Reason::OutOfRange);
        assert_eq!(decimal("123456789.00", 10, 2, &free).unwrap_err().reason, Reason::OutOfRange);
        assert!(decimal(".", 10, 2, &free).is_err());
        assert!(decimal("1.2.3", 10, 2, &free).is_err());
        let bounded = Rules { min: Some(1.0), ..Rules::default() };
        assert_eq!(integer("0", &bounded).unwrap_err().reason, Reason::Invalid);
    }

    #[test]
    fn decimals_with_exponents_are_exact() {
        let free = Rules::default();
        for (text, scale, unscaled) in [
            ("1e5", 2, 10_000_000),
            ("1E+5", 0, 100_000),
            ("-1.25e1", 2, -1250),
            ("1.5e-3", 4, 15),
            ("123.45e-2", 4, 12_345),
            ("0.00000000000000000000000000000000000000000000000012e48", 2, 12),
            ("1200000e-4", 0, 120),
            ("0e99999999999999999999999", 2, 0),
            ("0.0e-99999999999999999999999", 2, 0),
            ("12.30e0", 2, 1230),
            (".5e1", 0, 5),
            ("5.e1", 0, 50),
        ] {
            assert_eq!(decimal(text, 18, scale, &free).unwrap(), unscaled, "{text}");
        }
        for (text, reason) in [
            ("1.5e-3", Reason::OutOfRange),
            ("1e-3", Reason::OutOfRange),
            ("1e16", Reason::OutOfRange),
            ("1e99999999999999999999999", Reason::OutOfRange),
            ("1e-99999999999999999999999", Reason::OutOfRange),
            ("1e", Reason::WrongType),
            ("1e+", Reason::WrongType),
            ("e5", Reason::WrongType),
            ("1e1.5", Reason::WrongType),
            ("1e5e5", Reason::WrongType),
        ] {
            assert_eq!(decimal(text, 18, 2, &free).unwrap_err().reason, reason, "{text}");
        }
        let bounded = Rules { max: Some(100.0), ..Rules::default() };
        assert_eq!(decimal("1e2", 18, 2, &bounded).unwrap(), 10_000);
        assert_eq!(decimal("1.0001e2", 18, 2, &bounded).unwrap_err().reason, Reason::Invalid);
    }
}
