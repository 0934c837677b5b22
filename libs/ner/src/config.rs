use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::NerError;
use crate::label::{self, Label};

/// The file's name.
pub(crate) const FILE: &str = "config.json";

/// Longest sequence of a model that is taken, in tokens: attention holds the square of it.
const LONGEST: usize = 8192;

/// Most tokens of a window: attention costs the square of it, and models learn from no longer ones.
const WINDOW: usize = 512;

/// A model, and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Its folder.
    pub folder: PathBuf,
    /// Our class of a label, without its `B-` or `I-`, or `ignore`. Labels that are called like classes need none.
    pub labels: BTreeMap<String, String>,
    /// A word is of a class if the probabilities of that class's labels sum to this, for any of its pieces: from 0 to 1. Less
    /// finds more.
    pub threshold: f32,
    /// Tokens in one pass; at least a window of the model.
    pub batch: usize,
}

/// What `config.json` says of a model's form. Names as BERT has them; DistilBERT's are others.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(rename = "model_type")]
    pub(crate) family: Family,
    #[serde(alias = "dim")]
    pub(crate) hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub(crate) num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub(crate) num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub(crate) intermediate_size: usize,
    #[serde(rename = "hidden_act", alias = "activation", default)]
    pub(crate) activation: Activation,
    pub(crate) max_position_embeddings: usize,
    pub(crate) vocab_size: usize,
    #[serde(default = "two")]
    pub(crate) type_vocab_size: usize,
    #[serde(default = "epsilon")]
    pub(crate) layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
    /// In the order of the classifier's rows.
    #[serde(rename = "id2label", deserialize_with = "in_order")]
    pub(crate) labels: Vec<String>,
}

const fn two() -> usize {
    2
}

const fn epsilon() -> f32 {
    1e-12
}

fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut numbered = BTreeMap::<String, String>::deserialize(deserializer)?;
    (0..numbered.len())
        .map(|id| numbered.remove(&id.to_string()))
        .collect::<Option<Vec<_>>>()
        .filter(|labels| labels.len() >= 2)
        .ok_or_else(|| D::Error::custom("id2label does not name two labels or more, numbered from 0"))
}

/// Which names a model's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Bert,
    DistilBert,
}

/// What stands between the two halves of a layer's second part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activation {
    /// D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    #[default]
    Gelu,
    /// Its approximation by tanh, from the same paper.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    Relu,
}

impl Config {
    /// Reads the file's text; an error says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let config: Self =
            serde_json::from_slice(text).map_err(|error| format!("is of no model that is read: {error}"))?;
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err("position_embedding_type is not absolute, the only one that is read".to_owned());
        }
        let sizes = [
            ("hidden_size", config.hidden_size, 1 << 14),
            ("num_hidden_layers", config.num_hidden_layers, 256),
            ("num_attention_heads", config.num_attention_heads, 1 << 10),
            ("intermediate_size", config.intermediate_size, 1 << 17),
            ("vocab_size", config.vocab_size, 1 << 22),
        ];
        for (name, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return Err(format!("{name} is {size}, and must be between 1 and {most}"));
            }
        }
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err("hidden_size is no multiple of num_attention_heads".to_owned());
        }
        if !(4..=LONGEST).contains(&config.max_position_embeddings) {
            return Err(format!("max_position_embeddings must be between 4 and {LONGEST}"));
        }
        Ok(config)
    }

    /// Tokens of a window.
    pub(crate) fn window(&self) -> usize {
        self.max_position_embeddings.min(WINDOW)
    }

    /// Tokens of a pass.
    pub(crate) fn batch(&self, options: &Options) -> usize {
        options.batch.max(self.window())
    }

    /// What the labels mean.
    pub(crate) fn meanings(&self, options: &Options) -> Result<Vec<Label>, NerError> {
        label::read(&self.labels, &options.labels).map_err(|message| NerError::bad(&options.folder.join(FILE), message))
    }
}
