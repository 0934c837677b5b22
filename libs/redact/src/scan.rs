use crate::cue::Cue;
use crate::find;
use crate::find::context::{Right, right};
use crate::find::name::{Grade, grade};
use crate::find::view::{Match, View};
use crate::known::KnownSet;
use crate::lexicon::Lexicon;
use crate::token::{Gap, Kind, Lexer, Token};
use crate::{Class, Classes, Entity};

/// Tokens that are looked at together, and how far a rule may look: this bounds memory and time for any text.
const WINDOW: usize = 2048;
const AROUND: usize = 64;

/// Names of a text that are remembered, at most.
const SEEN: usize = 64;

/// A run of bytes of a text that identifies somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// What it is.
    pub class: Class,
    /// Which rule found it.
    pub why: &'static str,
    /// The person of the [`KnownSet`] whose name it is.
    pub(crate) person: Option<u16>,
}

/// Finds spans, keeping its buffers from text to text.
#[derive(Debug)]
pub(crate) struct Scanner {
    lexicon: &'static Lexicon,
    tokens: Vec<Token>,
    spans: Vec<Span>,
    /// Words of names that this text gave with evidence: they are names in the rest of it too.
    seen: Vec<u64>,
    /// Rules that were tried: what linear time is measured by.
    pub(crate) steps: u64,
}

impl Scanner {
    pub(crate) fn new(lexicon: &'static Lexicon) -> Self {
        Self { lexicon, tokens: Vec::with_capacity(256), spans: Vec::new(), seen: Vec::new(), steps: 0 }
    }

    /// The spans of a text, in order, apart from each other.
    /// Those that a model found are given.
    pub(crate) fn scan(
        &mut self,
        text: &str,
        known: Option<&KnownSet>,
        entities: &[Entity],
        classes: Classes,
    ) -> &[Span] {
        self.tokens.clear();
        self.spans.clear();
        self.seen.clear();
        let mut lexer = Lexer::new(self.lexicon, text);
        let (mut from, mut last) = (0, None);
        loop {
            let more = lexer.fill(&mut self.tokens, WINDOW);
            let until = if more { self.tokens.len() - AROUND } else { self.tokens.len() };
            let first_span = self.spans.len();
            if let Some(known) = known {
                known.find(
                    &View { lexicon: self.lexicon, text, tokens: &self.tokens, last: None },
                    from..until,
                    classes,
                    &mut self.spans,
                );
            }
            let next = self.rules(text, from, until, &mut last, classes);
            if classes.has(Class::Name) {
                self.again(text, from..until, first_span);
            }
            if !more {
                break;
            }
            let drop = until - AROUND;
            self.tokens.drain(..drop);
            from = next.max(until) - drop;
            last = last
                .filter(|found: &Match| found.next > drop)
                .map(|found: Match| Match { next: found.next - drop, ..found });
        }
        self.spans.extend(entities.iter().filter(|entity| classes.has(entity.class)).map(|entity| Span {
            start: entity.start,
            end: entity.end,
            class: entity.class,
            why: "named-entity model",
            person: None,
        }));
        self.merge();
        &self.spans
    }

    /// Tries the rules from token to token, and returns the one to go on at.
    fn rules(&mut self, text: &str, from: usize, until: usize, last: &mut Option<Match>, classes: Classes) -> usize {
        let mut view = View { lexicon: self.lexicon, text, tokens: &self.tokens, last: *last };
        let mut i = from;
        while i < until {
            self.steps += 1;
            if find::is_quiet(&view, i) {
                i += 1;
                continue;
            }
            let Some(found) = find::at(&view, i) else {
                i += 1;
                continue;
            };
            if classes.has(found.class) {
                if found.class == Class::Name {
                    let sure =
                        matches!(found.why, "name after a title" | "name after a label" | "name before a credential");
                    remember(&mut self.seen, &self.tokens[i..found.next.min(self.tokens.len())], sure);
                }
                self.spans.push(Span {
                    start: found.start,
                    end: found.end,
                    class: found.class,
                    why: found.why,
                    person: None,
                });
            }
            i = found.next.max(i + 1);
            view.last = Some(found);
        }
        *last = view.last;
        i
    }

    /// Finds names again that were found with evidence elsewhere in the text.
    fn again(&mut self, text: &str, range: std::ops::Range<usize>, first_span: usize) {
        if self.seen.is_empty() {
            return;
        }
        let view = View { lexicon: self.lexicon, text, tokens: &self.tokens, last: None };
        let mut found = Vec::new();
        for i in range {
            let token = &self.tokens[i];
            if token.is_capital()
                && self.seen.contains(&token.hash)
                && right(&view, i) != Right::Eponym
                && !only_starts(&view, i)
            {
                found.push((token.start, token.end));
            }
        }
        let spans = &self.spans[first_span..];
        let inside = |start: u32| spans.iter().any(|span| span.start <= start && start < span.end);
        // A text whose names are many has them found already: the look-up stays short.
        let new: Vec<_> = if spans.len() > 4 * SEEN {
            found
        } else {
            found.into_iter().filter(|(start, _)| !inside(*start)).collect()
        };
        self.spans.extend(new.into_iter().map(|(start, end)| Span {
            start,
            end,
            class: Class::Name,
            why: "name that is told elsewhere in the text",
            person: None,
        }));
    }

    /// Puts spans in order and joins those that overlap; the longer one tells the class.
    fn merge(&mut self) {
        if self.spans.len() < 2 {
            return;
        }
        self.spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        self.spans.dedup_by(|next, kept| {
            if next.start >= kept.end {
                return false;
            }
            if next.end - next.start > kept.end - kept.start {
                (kept.class, kept.why) = (next.class, next.why);
            }
            kept.person = kept.person.or(next.person);
            kept.end = kept.end.max(next.end);
            true
        });
    }
}

/// True if a common word has its capital only because a sentence starts, and no verb of a person follows.
fn only_starts(view: &View<'_>, i: usize) -> bool {
    let token = view.at(i);
    let starts = matches!(token.gap, Gap::Break | Gap::Line)
        || (view.before(i, 1).kind == Kind::Punct && !view.before(i, 1).is(b','));
    let next = view.at(i + 1);
    token.lexeme.word() >= 2 && starts && !(next.has(Cue::Speech) || (next.is(b'\'') && view.joined(i + 1)))
}

/// Keeps the words of a name. With `sure`, a title or label told that it is one, so that common words are kept too.
fn remember(seen: &mut Vec<u64>, tokens: &[Token], sure: bool) {
    for token in tokens {
        let name = token.is_capital() && token.len() >= 3 && token.gap <= Gap::Break && token.kind == Kind::Word;
        let clear = grade(token) >= Grade::Unknown && (sure || (token.lexeme.word() < 2 && !token.has(Cue::Eponym)));
        if name && clear && seen.len() < SEEN && !seen.contains(&token.hash) {
            seen.push(token.hash);
        }
    }
}
