use std::path::Path;

use crate::NerError;
use crate::config::{Config, FILE, Options};
use crate::encoder::Encoder;
use crate::tensors::{Counted, Tensors};
use crate::wordpiece::WordPiece;

/// Longest text file of a model that is read.
const TEXT: u64 = 64 << 20;

/// Memory of a word of the vocabulary, in shares of its length in the file.
const VOCABULARY: u64 = 6;

/// Bytes that a model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its weights and vocabulary: once in a process.
    pub weights: u64,
    /// What one pass works in: once for each that runs at the same time.
    pub working: u64,
}

/// A model's folder, read and checked, but for the numbers of its weights.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) config: Config,
    pub(crate) pieces: WordPiece,
    pub(crate) tensors: Tensors,
    /// Bytes of the weights and of the vocabulary, in memory.
    pub(crate) bytes: u64,
}

impl Folder {
    pub(crate) fn read(folder: &Path) -> Result<Self, NerError> {
        let path = folder.join(FILE);
        let config = Config::parse(&read(&path)?).map_err(|message| NerError::bad(&path, message))?;
        let (pieces, vocabulary) = pieces(folder)?;
        if pieces.largest() as usize >= config.vocab_size {
            let message =
                format!("vocab_size is {}, and the vocabulary has the piece {}", config.vocab_size, pieces.largest());
            return Err(NerError::bad(&path, message));
        }
        let tensors = Tensors::open(&folder.join("model.safetensors"))?;
        let mut counted = Counted::new(&tensors);
        Encoder::load(&mut counted, &config)?;
        let bytes = counted.bytes + vocabulary * VOCABULARY;
        Ok(Self { config, pieces, tensors, bytes })
    }
}

/// Bytes that one pass works in.
pub(crate) fn working(config: &Config, options: &Options) -> u64 {
    // What is known of each word, and what was found, is little beside a token's numbers.
    Encoder::pass_bytes(config, config.batch(options)) + (1 << 20)
}

/// Checks a folder whole, but for the numbers of its weights, and says what the model needs.
///
/// # Errors
/// If a file is missing or is not what it should be, or a label has no class.
pub fn check(options: &Options) -> Result<Need, NerError> {
    let folder = Folder::read(&options.folder)?;
    folder.config.meanings(options)?;
    Ok(Need { weights: folder.bytes, working: working(&folder.config, options) })
}

/// The tokenizer, and the bytes of its file.
fn pieces(folder: &Path) -> Result<(WordPiece, u64), NerError> {
    let (json, lines) = (folder.join("tokenizer.json"), folder.join("vocab.txt"));
    if json.exists() {
        let text = read(&json)?;
        let pieces = WordPiece::from_json(&text).map_err(|message| NerError::bad(&json, message))?;
        return Ok((pieces, text.len() as u64));
    }
    let text = String::from_utf8(read(&lines)?).map_err(|_| NerError::bad(&lines, "is not UTF-8"))?;
    let settings = folder.join("tokenizer_config.json");
    let settings = if settings.exists() { Some(read(&settings)?) } else { None };
    let pieces = WordPiece::from_lines(&text, settings.as_deref()).map_err(|message| NerError::bad(&lines, message))?;
    Ok((pieces, text.len() as u64))
}

fn read(path: &Path) -> Result<Vec<u8>, NerError> {
    let unreadable = |error| NerError::Unreadable { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(unreadable)?.len() > TEXT {
        return Err(NerError::bad(path, format!("is larger than {} MiB", TEXT >> 20)));
    }
    std::fs::read(path).map_err(unreadable)
}
