use std::sync::Arc;
use std::time::Instant;

use forebay_redact::{Class, Entity, EntityModel, ModelFailure};
use ndarray::Array2;

use crate::NerError;
use crate::config::{Config, Options};
use crate::encoder::{Encoder, Pass};
use crate::folder::working;
use crate::label::Label;
use crate::math::softmax;
use crate::wordpiece::{Word, WordPiece};

/// What is in memory of a model.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) encoder: Encoder,
    pub(crate) pieces: WordPiece,
    pub(crate) config: Config,
    /// Kept as long as the weights are.
    pub(crate) _held: forebay_budget::Reservation,
}

/// Finds entities with a model.
#[derive(Debug)]
pub(crate) struct Finder {
    model: Arc<Model>,
    labels: Vec<Label>,
    threshold: f32,
    batch: usize,
    working: u64,
}

impl EntityModel for Finder {
    fn working_bytes(&self) -> u64 {
        self.working
    }

    fn find(&self, texts: &[&str], deadline: Instant) -> Result<Vec<Vec<Entity>>, ModelFailure> {
        let mut run = Run {
            finder: self,
            deadline,
            pass: Pass::default(),
            windows: Vec::new(),
            found: vec![Vec::new(); texts.len()],
        };
        for (index, text) in texts.iter().enumerate() {
            run.add(index, text)?;
        }
        run.flush()?;
        run.found.iter_mut().for_each(join);
        Ok(run.found)
    }
}

/// A run over some texts.
struct Run<'f> {
    finder: &'f Finder,
    deadline: Instant,
    pass: Pass,
    windows: Vec<Window>,
    found: Vec<Vec<Entity>>,
}

/// Words of a text that are looked at together.
struct Window {
    text: usize,
    words: Vec<Word>,
}

impl Run<'_> {
    /// Cuts a text into windows of whole words. Each begins with words of the one before it: an entity that one of them cuts
    /// is whole in the other, unless it is longer than a quarter of a window.
    fn add(&mut self, index: usize, text: &str) -> Result<(), ModelFailure> {
        let model = &self.finder.model;
        let most = model.config.window() - 2;
        let overlap = most / 4;
        let mut words = model.pieces.words(text);
        let (mut window, mut ids, mut pieces): (Vec<Word>, Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new(), Vec::new());
        let mut fresh = false;
        loop {
            pieces.clear();
            let next = words.next(most, &mut pieces);
            let full = next.is_some_and(|word| ids.len() + word.pieces > most);
            if fresh && (full || next.is_none()) {
                self.push(index, &window, &ids)?;
            }
            let Some(word) = next else { return Ok(()) };
            if full {
                let (mut dropped, mut left) = (0, ids.len());
                while dropped < window.len() && (left > overlap || left + word.pieces > most) {
                    left -= window[dropped].pieces;
                    dropped += 1;
                }
                window.drain(..dropped);
                ids.drain(..ids.len() - left);
            }
            window.push(word);
            ids.extend_from_slice(&pieces);
            fresh = true;
        }
    }

    /// Adds a window to the pass, which runs first if it is full.
    fn push(&mut self, text: usize, words: &[Word], ids: &[u32]) -> Result<(), ModelFailure> {
        let length = ids.len() + 2;
        if self.pass.ids.len() + length > self.finder.batch {
            self.flush()?;
        }
        let pieces = &self.finder.model.pieces;
        self.pass.ids.push(pieces.first);
        self.pass.ids.extend_from_slice(ids);
        self.pass.ids.push(pieces.last);
        self.pass.lengths.push(length);
        self.windows.push(Window { text, words: words.to_vec() });
        Ok(())
    }

    /// Runs the pass, and keeps what it finds.
    fn flush(&mut self) -> Result<(), ModelFailure> {
        if self.windows.is_empty() {
            return Ok(());
        }
        let mut scores = self.finder.model.encoder.scores(&self.pass, self.deadline)?;
        let mut row = 0;
        for (window, length) in self.windows.drain(..).zip(self.pass.lengths.drain(..)) {
            self.finder.read(&window.words, &mut scores, row + 1, &mut self.found[window.text]);
            row += length;
        }
        self.pass.ids.clear();
        Ok(())
    }
}

/// What a word was taken for.
#[derive(Clone, Copy)]
struct Verdict {
    class: Class,
    score: f32,
    begins: bool,
}

impl Finder {
    /// Says what a model is asked for.
    pub(crate) fn new(model: Arc<Model>, options: &Options) -> Result<Self, NerError> {
        let (labels, threshold) = (model.config.meanings(options)?, options.threshold);
        let (batch, working) = (model.config.batch(options), working(&model.config, options));
        Ok(Self { model, labels, threshold, batch, working })
    }

    /// Reads the entities of a window from the scores of its tokens, which begin at `row`.
    fn read(&self, words: &[Word], scores: &mut Array2<f32>, mut row: usize, found: &mut Vec<Entity>) {
        let mut open: Option<Entity> = None;
        for word in words {
            let verdict = self.verdict(scores, row..row + word.pieces);
            row += word.pieces;
            open = match (verdict, open) {
                (Some(verdict), Some(entity)) if verdict.class == entity.class && !verdict.begins => {
                    Some(Entity { end: word.end as u32, score: entity.score.max(verdict.score), ..entity })
                }
                (verdict, before) => {
                    found.extend(before);
                    verdict.map(|Verdict { class, score, .. }| Entity {
                        start: word.start as u32,
                        end: word.end as u32,
                        class,
                        score,
                    })
                }
            };
        }
        found.extend(open);
    }

    /// The likeliest class of a word, if it is likely enough. The piece that is surest decides: one that tells a name is enough.
    fn verdict(&self, scores: &mut Array2<f32>, rows: std::ops::Range<usize>) -> Option<Verdict> {
        let mut best: Option<(Class, f32)> = None;
        // The first piece tells whether a class begins here.
        let mut first = None;
        for row in rows {
            let mut sums = [[0.0_f32; 2]; Class::ALL.len()];
            let mut scores = scores.row_mut(row);
            let scores = scores.as_slice_mut()?;
            softmax(scores);
            for (score, label) in scores.iter().zip(&self.labels) {
                if let Some(class) = label.class {
                    sums[class as usize][usize::from(label.begins)] += score;
                }
            }
            for class in Class::ALL {
                let score = sums[class as usize].iter().sum();
                if score >= self.threshold && best.is_none_or(|(_, least)| score > least) {
                    best = Some((class, score));
                }
            }
            first.get_or_insert(sums);
        }
        let (class, score) = best?;
        let [inside, begins] = first?[class as usize];
        Some(Verdict { class, score, begins: begins > inside })
    }
}

/// Puts entities in order, and joins those of one class that overlap: windows do.
fn join(found: &mut Vec<Entity>) {
    found.sort_by_key(|entity| (entity.start, entity.end));
    found.dedup_by(|next, kept| {
        let same = next.class == kept.class && next.start < kept.end;
        if same {
            kept.end = kept.end.max(next.end);
            kept.score = kept.score.max(next.score);
        }
        same
    });
}
