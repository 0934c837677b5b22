use std::collections::BTreeMap;

use serde::Deserialize;

/// Longest sequence of a model that is taken, in tokens: attention holds the square of it.
const LONGEST: usize = 8192;

/// What `config.json` says of a model's form. Names as BERT has them; DistilBERT's are others.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) model_type: String,
    #[serde(alias = "dim")]
    pub(crate) hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub(crate) num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub(crate) num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub(crate) intermediate_size: usize,
    #[serde(alias = "activation", default = "gelu")]
    pub(crate) hidden_act: String,
    pub(crate) max_position_embeddings: usize,
    pub(crate) vocab_size: usize,
    #[serde(default = "two")]
    pub(crate) type_vocab_size: usize,
    #[serde(default = "epsilon")]
    pub(crate) layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
    pub(crate) id2label: BTreeMap<String, String>,
}

fn gelu() -> String {
    "gelu".to_owned()
}

const fn two() -> usize {
    2
}

const fn epsilon() -> f32 {
    1e-12
}

/// Which names a model's tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    DistilBert,
}

/// What stands between the two halves of a layer's second part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    Gelu,
    /// Its approximation by tanh, from the same paper.
    GeluTanh,
    Relu,
}

impl Config {
    /// Reads the file's text; an error says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let config: Self =
            serde_json::from_slice(text).map_err(|error| format!("is no model's configuration: {error}"))?;
        config.family()?;
        config.activation()?;
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

    pub(crate) fn family(&self) -> Result<Family, String> {
        match self.model_type.as_str() {
            "bert" => Ok(Family::Bert),
            "distilbert" => Ok(Family::DistilBert),
            other => Err(format!("model_type '{other}' is not read; bert and distilbert are")),
        }
    }

    pub(crate) fn activation(&self) -> Result<Activation, String> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(format!("hidden_act '{other}' is not read; gelu, gelu_new, gelu_pytorch_tanh and relu are")),
        }
    }

    /// The labels in the order of the classifier's rows.
    pub(crate) fn labels(&self) -> Result<Vec<&str>, String> {
        (0..self.id2label.len())
            .map(|id| self.id2label.get(&id.to_string()).map(String::as_str))
            .collect::<Option<Vec<_>>>()
            .filter(|labels| labels.len() >= 2)
            .ok_or_else(|| "id2label does not name two labels or more, numbered from 0".to_owned())
    }
}
