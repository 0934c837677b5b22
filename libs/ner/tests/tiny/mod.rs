//! Small models for tests, written as a user's folder has them.

use std::collections::BTreeMap;
use std::path::Path;

/// What a word of the hand-made model is taken for: a place in [`LABELS`], or 5 for the one whose sums overflow.
const KINDS: [(&str, usize); 19] = [
    ("seen", 0),
    ("by", 0),
    ("the", 0),
    ("patient", 0),
    ("in", 0),
    ("for", 0),
    ("pain", 0),
    ("and", 0),
    (".", 0),
    (",", 0),
    ("zorblax", 1),
    ("quill", 1),
    ("venn", 2),
    ("##feather", 2),
    ("brakk", 3),
    ("##ton", 4),
    ("falls", 4),
    ("boom", 5),
    ("zurn", 1),
];

/// The labels of all small models.
pub(crate) const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

/// Names of the parts of a layer.
pub(crate) struct Names {
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) attended: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) widen: &'static str,
    pub(crate) narrow: &'static str,
    pub(crate) output_norm: &'static str,
}

const BERT: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attended: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    widen: "intermediate.dense",
    narrow: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attended: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    widen: "ffn.lin1",
    narrow: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// The names of a family's layers, and where they are.
pub(crate) fn names(family: &str, layer: usize) -> (String, Names) {
    match family {
        "bert" => (format!("bert.encoder.layer.{layer}"), BERT),
        _ => (format!("distilbert.transformer.layer.{layer}"), DISTILBERT),
    }
}

/// A model that can be changed before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Tiny {
    pub(crate) family: &'static str,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) wide: usize,
    pub(crate) positions: usize,
    pub(crate) activation: &'static str,
    pub(crate) vocabulary: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Numbers are stored as bfloat16.
    pub(crate) brief: bool,
}

impl Tiny {
    /// A model of one layer that takes each word for what [`KINDS`] says.
    pub(crate) fn by_hand() -> Self {
        let mut tiny = Self::plain("bert", [8, 1, 2, 12], "relu");
        let size = tiny.hidden;
        let kinds = [0; 4].into_iter().chain(KINDS.map(|(_, kind)| kind));
        for (row, kind) in kinds.enumerate() {
            tiny.set("bert.embeddings.word_embeddings.weight", row * size + kind, 4.0);
        }
        for label in 0..LABELS.len() {
            tiny.set("classifier.weight", label * size + label, 10.0);
        }
        // Above zero for the word that overflows, and for no other.
        tiny.set("bert.encoder.layer.0.intermediate.dense.weight", 5, 1.0);
        tiny.set("bert.encoder.layer.0.intermediate.dense.bias", 0, -1.0);
        let wide = tiny.wide;
        tiny.set("bert.encoder.layer.0.output.dense.weight", 5 * wide, 3.0e38);
        tiny
    }

    /// A model in which nothing is done to a word, of some hidden numbers, layers, heads, and numbers between.
    pub(crate) fn plain(
        family: &'static str,
        [hidden, layers, heads, wide]: [usize; 4],
        activation: &'static str,
    ) -> Self {
        let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().chain(KINDS.map(|(word, _)| word));
        let mut tiny = Self {
            family,
            hidden,
            layers,
            heads,
            wide,
            positions: 32,
            activation,
            vocabulary: vocabulary.map(str::to_owned).collect(),
            labels: LABELS.map(str::to_owned).to_vec(),
            tensors: BTreeMap::new(),
            brief: false,
        };
        let (size, wide) = (tiny.hidden, tiny.wide);
        tiny.fill(&format!("{family}.embeddings.word_embeddings.weight"), &[tiny.vocabulary.len(), size], 0.0);
        tiny.fill(&format!("{family}.embeddings.position_embeddings.weight"), &[tiny.positions, size], 0.0);
        if family == "bert" {
            tiny.fill("bert.embeddings.token_type_embeddings.weight", &[2, size], 0.0);
        }
        tiny.norm(&format!("{family}.embeddings.LayerNorm"));
        for layer in 0..layers {
            let (base, names) = names(family, layer);
            for name in [names.query, names.key, names.value, names.attended] {
                tiny.linear(&format!("{base}.{name}"), size, size);
            }
            tiny.linear(&format!("{base}.{}", names.widen), wide, size);
            tiny.linear(&format!("{base}.{}", names.narrow), size, wide);
            tiny.norm(&format!("{base}.{}", names.attention_norm));
            tiny.norm(&format!("{base}.{}", names.output_norm));
        }
        tiny.linear("classifier", LABELS.len(), size);
        tiny
    }

    fn fill(&mut self, name: &str, shape: &[usize], number: f32) {
        self.tensors.insert(name.to_owned(), (shape.to_vec(), vec![number; shape.iter().product()]));
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.fill(&format!("{name}.weight"), &[outputs, inputs], 0.0);
        self.fill(&format!("{name}.bias"), &[outputs], 0.0);
    }

    fn norm(&mut self, name: &str) {
        self.fill(&format!("{name}.weight"), &[self.hidden], 1.0);
        self.fill(&format!("{name}.bias"), &[self.hidden], 0.0);
    }

    /// Sets one number of a tensor.
    pub(crate) fn set(&mut self, name: &str, at: usize, number: f32) {
        self.tensors.get_mut(name).unwrap().1[at] = number;
    }

    /// Writes the folder.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let [size, layers, heads, wide] = match self.family {
            "bert" => ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"],
            _ => ["dim", "n_layers", "n_heads", "hidden_dim"],
        };
        let act = if self.family == "bert" { "hidden_act" } else { "activation" };
        let labels: BTreeMap<_, _> =
            self.labels.iter().enumerate().map(|(id, label)| (id.to_string(), label)).collect();
        let config = serde_json::json!({
            "model_type": self.family, "architectures": ["ForTokenClassification"], "vocab_size": self.vocabulary.len(),
            size: self.hidden, layers: self.layers, heads: self.heads, wide: self.wide, act: self.activation,
            "max_position_embeddings": self.positions, "layer_norm_eps": 1e-12, "id2label": labels,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let vocabulary: BTreeMap<_, _> = self.vocabulary.iter().zip(0..).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "added_tokens": [],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary},
        });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        std::fs::write(folder.join("model.safetensors"), self.safetensors()).unwrap();
    }

    fn safetensors(&self) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
        for (name, (shape, numbers)) in &self.tensors {
            let begin = data.len();
            for number in numbers {
                let bytes = number.to_le_bytes();
                // The upper half of a float is a bfloat16.
                data.extend_from_slice(if self.brief { &bytes[2..] } else { &bytes });
            }
            let kind = if self.brief { "BF16" } else { "F32" };
            let entry = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [begin, data.len()]});
            header.insert(name.clone(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes(), header.as_slice(), data.as_slice()].concat()
    }
}
