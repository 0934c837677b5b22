use forebay_types::Reason;

use crate::fault::{Checked, Fault};
use crate::json_string::{skip_string, truncated, unescape};

/// Reads the tokens of one JSON text, which is UTF-8.
pub(crate) struct JsonReader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    depth_limit: u32,
}

/// A token of a number.
pub(crate) struct Number<'a> {
    pub(crate) text: &'a [u8],
    /// Neither a point nor an exponent is in it.
    pub(crate) whole: bool,
}

impl<'a> JsonReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], depth_limit: u32) -> Self {
        Self { bytes, at: 0, depth_limit }
    }

    /// The fault of a value that is nested too deep, if it is.
    #[inline]
    pub(crate) fn check_depth(&self, depth: u32) -> Checked<()> {
        if depth > self.depth_limit { Err(self.too_deep()) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    pub(crate) fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(crate) fn literal(&mut self, text: &[u8]) -> Checked<()> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(text) {
            self.at += text.len();
            return Ok(());
        }
        Err(if text.starts_with(rest) { self.truncated() } else { self.syntax("expected a JSON value") })
    }

    pub(crate) fn number_token(&mut self) -> Checked<Number<'a>> {
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
    pub(crate) fn string_into(&mut self, out: &mut Vec<u8>) -> Checked<()> {
        self.at = unescape(self.bytes, self.at + 1, out)?;
        Ok(())
    }

    /// Reads a value of any type without keeping it, and checks that it is JSON.
    pub(crate) fn skip(&mut self, depth: u32) -> Checked<()> {
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
        self.check_depth(depth)?;
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

    /// A value of another type than expected, if it is JSON at all.
    #[cold]
    pub(crate) fn mismatch(&mut self, expected: &str, depth: u32) -> Checked<()> {
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
    pub(crate) fn syntax(&self, what: &str) -> Box<Fault> {
        Fault::new(Reason::Syntax, format!("{what} (byte {} of the record)", self.at.min(self.bytes.len())))
    }

    #[cold]
    pub(crate) fn truncated(&self) -> Box<Fault> {
        truncated()
    }

    #[cold]
    fn too_deep(&self) -> Box<Fault> {
        Fault::new(Reason::TooDeep, format!("nested deeper than {} levels", self.depth_limit))
    }
}
