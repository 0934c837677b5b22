use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(Box<str>),
    Int(i64),
    Float(f64),
}

impl Cell {
    pub(crate) fn text(text: Option<impl Into<Box<str>>>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }

    pub(crate) fn as_ref(&self) -> CellRef<'_> {
        match self {
            Self::Null => CellRef::Null,
            Self::Text(text) => CellRef::Text(text),
            Self::Int(value) => CellRef::Int(*value),
            Self::Float(value) => CellRef::Float(*value),
        }
    }
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Its columns.
    Found(Vec<Cell>),
    /// It does not exist: that is an answer too.
    Missing(Cow<'static, str>),
    /// There was no answer.
    Failed(Cow<'static, str>),
}

/// How an entry begins: what it is, and until when it is fresh.
const HEAD: usize = 9;

const FOUND: u8 = 1;
const MISSING: u8 = 2;
const FAILED: u8 = 4;

/// Where a failure's reason begins: before it is how it was asked.
const REASON: usize = HEAD + 4;

const NULL: u8 = 0;
const TEXT: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;

/// With how much patience an upstream is asked. That it gave no answer says nothing to those who have more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience(pub(crate) u32);

/// What a cache holds of a key, in a compact form: a byte that says what it is, the milliseconds since 1970 until which
/// it is fresh, then the values or the reason; before a failure's reason, the patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry(Arc<[u8]>);

/// Milliseconds since 1970. A clock that jumps makes entries expire sooner or later, nothing worse.
pub(crate) fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Entry {
    pub(crate) fn new(outcome: &Outcome, fresh_for: Duration, patience: Patience) -> Self {
        let kind = match outcome {
            Outcome::Found(_) => FOUND,
            Outcome::Missing(_) => MISSING,
            Outcome::Failed(_) => FAILED,
        };
        let mut bytes = vec![kind];
        let until = now_millis().saturating_add(fresh_for.as_millis() as u64);
        bytes.extend_from_slice(&until.to_le_bytes());
        match outcome {
            Outcome::Found(cells) => cells.iter().for_each(|cell| write_cell(&mut bytes, cell)),
            Outcome::Missing(reason) => bytes.extend_from_slice(reason.as_bytes()),
            Outcome::Failed(reason) => {
                bytes.extend_from_slice(&patience.0.to_le_bytes());
                bytes.extend_from_slice(reason.as_bytes());
            }
        }
        Self(bytes.into())
    }

    /// Takes what a cache gave; none if it is no entry.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let known = matches!(bytes.first(), Some(&(FOUND | MISSING | FAILED)));
        (known && bytes.len() >= HEAD).then(|| Self(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_fresh(&self, now_millis: u64) -> bool {
        now_millis < self.fresh_until()
    }

    fn fresh_until(&self) -> u64 {
        u64::from_le_bytes(self.0[1..HEAD].try_into().unwrap_or_default())
    }

    /// True if it says something to who asks with this patience.
    pub(crate) fn is_for(&self, patience: Patience) -> bool {
        self.is_answer() || self.0.get(HEAD..REASON) == Some(&patience.0.to_le_bytes())
    }

    /// True if who asks with this patience need not ask again.
    pub(crate) fn holds(&self, now_millis: u64, patience: Patience) -> bool {
        self.is_fresh(now_millis) && self.is_for(patience)
    }

    /// True if its values will do while the upstream can't be asked, for who takes them so much longer than fresh.
    pub(crate) fn serves(&self, now_millis: u64, stale: Duration) -> bool {
        self.0[0] == FOUND && now_millis < self.fresh_until().saturating_add(stale.as_millis() as u64)
    }

    /// True if the key was answered, if only with "there is none".
    pub(crate) fn is_answer(&self) -> bool {
        self.0[0] != FAILED
    }

    /// Why there are no columns; none if there are.
    pub(crate) fn reason(&self) -> Option<&str> {
        let from = match self.0[0] {
            FOUND => return None,
            FAILED => REASON,
            _ => HEAD,
        };
        Some(std::str::from_utf8(self.0.get(from..).unwrap_or_default()).unwrap_or("unreadable"))
    }

    /// The values, one a column; ends early if the entry is damaged.
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells(if self.0[0] == FOUND { &self.0[HEAD..] } else { &[] })
    }
}

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CellRef<'a> {
    Null,
    Text(&'a str),
    Int(i64),
    Float(f64),
    /// In units of the column's scale. No entry has one.
    Decimal(i128),
}

/// The values of an entry.
pub(crate) struct Cells<'a>(&'a [u8]);

fn write_cell(bytes: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Null => bytes.push(NULL),
        Cell::Text(text) => {
            bytes.push(TEXT);
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
        Cell::Int(value) => {
            bytes.push(INT);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Float(value) => {
            bytes.push(FLOAT);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

impl<'a> Cells<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Leaves a value out, without a look at what it is.
    pub(crate) fn pass(&mut self) {
        let Some(&[kind]) = self.take(1) else { return };
        let length = match kind {
            TEXT => self.length(),
            INT | FLOAT => Some(8),
            _ => Some(0),
        };
        // Nothing follows a value that is cut off.
        if length.and_then(|length| self.take(length)).is_none() {
            self.0 = &[];
        }
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for shift in (0..35).step_by(7) {
            let byte = *self.take(1)?.first()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(length);
            }
        }
        None
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = CellRef<'a>;

    fn next(&mut self) -> Option<CellRef<'a>> {
        match *self.take(1)?.first()? {
            NULL => Some(CellRef::Null),
            TEXT => {
                let length = self.length()?;
                std::str::from_utf8(self.take(length)?).ok().map(CellRef::Text)
            }
            INT => Some(CellRef::Int(i64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            FLOAT => Some(CellRef::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(outcome: &Outcome, fresh_for: Duration) -> Entry {
        Entry::new(outcome, fresh_for, Patience(7))
    }

    #[test]
    fn entries_give_back_what_they_were_made_of() {
        let long = "x".repeat(70_000);
        let cells = vec![Cell::Null, Cell::Text("Zoë".into()), Cell::Text(long.as_str().into()), Cell::Int(-7)];
        let cells = [cells, vec![Cell::Float(0.5), Cell::Text("".into())]].concat();
        let entry = entry(&Outcome::Found(cells), MINUTE);
        let entry = Entry::from_bytes(entry.as_bytes()).unwrap();
        let wanted = [CellRef::Null, CellRef::Text("Zoë"), CellRef::Text(&long), CellRef::Int(-7), CellRef::Float(0.5)];
        let wanted = [wanted.as_slice(), &[CellRef::Text("")]].concat();
        assert_eq!(entry.cells().collect::<Vec<_>>(), wanted);
        let mut cells = entry.cells();
        (0..3).for_each(|_| cells.pass());
        assert_eq!(cells.next(), Some(CellRef::Int(-7)));
        cells.pass();
        assert_eq!((cells.next(), cells.next()), (Some(CellRef::Text("")), None));
        assert!(entry.is_fresh(now_millis()) && !entry.is_fresh(now_millis() + 61_000) && entry.reason().is_none());
    }

    #[test]
    fn reasons_are_kept_and_failures_are_no_answers() {
        let missing = entry(&Outcome::Missing("not_found".into()), Duration::ZERO);
        assert_eq!(
            (missing.reason(), missing.is_answer(), missing.is_fresh(now_millis())),
            (Some("not_found"), true, false)
        );
        let failed = entry(&Outcome::Failed("timeout".into()), Duration::ZERO);
        assert_eq!((failed.reason(), failed.is_answer(), failed.cells().next()), (Some("timeout"), false, None));
    }

    #[test]
    fn a_failure_holds_for_those_only_who_ask_with_the_same_patience() {
        let (now, failed) = (now_millis(), entry(&Outcome::Failed("timeout".into()), MINUTE));
        assert!(failed.holds(now, Patience(7)) && !failed.holds(now, Patience(8)));
        assert!(!failed.holds(now + 61_000, Patience(7)));
        assert!(entry(&Outcome::Missing("not_found".into()), MINUTE).holds(now, Patience(8)));
    }

    #[test]
    fn only_values_serve_when_they_are_stale_and_only_as_long_as_somebody_takes_them() {
        let (now, found) = (now_millis(), entry(&Outcome::Found(Vec::new()), Duration::ZERO));
        assert!(found.serves(now, MINUTE) && !found.serves(now + 61_000, MINUTE) && !found.serves(now, Duration::ZERO));
        for nothing in [Outcome::Missing("not_found".into()), Outcome::Failed("timeout".into())] {
            assert!(!entry(&nothing, Duration::ZERO).serves(now, MINUTE));
        }
    }

    #[test]
    fn damaged_entries_end_early() {
        assert!(Entry::from_bytes(&[]).is_none() && Entry::from_bytes(&[9; 20]).is_none());
        let whole = entry(&Outcome::Found(vec![Cell::Text("abcdef".into())]), Duration::ZERO);
        for length in 9..whole.as_bytes().len() {
            assert_eq!(Entry::from_bytes(&whole.as_bytes()[..length]).unwrap().cells().count(), 0, "{length}");
        }
    }
}
