//! The encoder of BERT (J. Devlin et al., arXiv 1810.04805) and DistilBERT (V. Sanh et al., arXiv 1910.01108), and a linear
//! classifier of each token. Both have the same sums; their tensors have other names.

use std::ops::Range;
use std::time::Instant;

use forebay_redact::ModelFailure;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, ArrayViewMut2, Axis, Ix2, RawData, Slice};

use crate::NerError;
use crate::config::{Activation, Config, Family};
use crate::math::{activate, normalise, softmax};
use crate::tensors::Source;

/// What the product of matrices packs its operands into, whatever their size.
const PACKING: u64 = 8 << 20;

#[derive(Debug)]
struct Linear {
    /// A row for each number that comes out.
    weight: Array2<f32>,
    bias: Array1<f32>,
}

#[derive(Debug)]
struct Norm {
    gain: Array1<f32>,
    shift: Array1<f32>,
    epsilon: f32,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: Norm,
    widen: Linear,
    narrow: Linear,
    output_norm: Norm,
}

/// The weights of a model.
#[derive(Debug)]
pub(crate) struct Encoder {
    words: Array2<f32>,
    positions: Array2<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    classifier: Linear,
    heads: usize,
    activation: Activation,
}

/// The sequences of one pass, behind each other.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) ids: Vec<u32>,
    pub(crate) lengths: Vec<usize>,
}

/// What a pass works in.
struct Buffers {
    hidden: Array2<f32>,
    query: Array2<f32>,
    key: Array2<f32>,
    value: Array2<f32>,
    attended: Array2<f32>,
    wide: Array2<f32>,
    scores: Vec<f32>,
}

impl Linear {
    fn load(source: &mut impl Source, name: &str, outputs: usize, inputs: usize) -> Result<Self, NerError> {
        Ok(Self {
            weight: source.matrix(&format!("{name}.weight"), outputs, inputs)?,
            bias: source.vector(&format!("{name}.bias"), outputs)?,
        })
    }

    fn apply(&self, input: &ArrayView2<'_, f32>, output: &mut ArrayViewMut2<'_, f32>) {
        output.assign(&self.bias);
        general_mat_mul(1.0, input, &self.weight.t(), 1.0, output);
    }
}

impl Norm {
    /// Converted files call its two vectors gamma and beta.
    fn load(source: &mut impl Source, name: &str, size: usize, epsilon: f32) -> Result<Self, NerError> {
        let (gain, shift) = if source.has(&format!("{name}.gamma")) { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Self {
            gain: source.vector(&format!("{name}.{gain}"), size)?,
            shift: source.vector(&format!("{name}.{shift}"), size)?,
            epsilon,
        })
    }

    fn apply(&self, rows: &mut ArrayViewMut2<'_, f32>) {
        if let (Some(gain), Some(shift)) = (self.gain.as_slice(), self.shift.as_slice()) {
            normalise(rows, gain, shift, self.epsilon);
        }
    }
}

impl Layer {
    fn load(source: &mut impl Source, config: &Config, index: usize) -> Result<Self, NerError> {
        let (size, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let (base, names) = match config.family {
            Family::Bert => (
                format!("bert.encoder.layer.{index}"),
                [
                    "attention.self.query",
                    "attention.self.key",
                    "attention.self.value",
                    "attention.output.dense",
                    "attention.output.LayerNorm",
                    "intermediate.dense",
                    "output.dense",
                    "output.LayerNorm",
                ],
            ),
            Family::DistilBert => (
                format!("distilbert.transformer.layer.{index}"),
                [
                    "attention.q_lin",
                    "attention.k_lin",
                    "attention.v_lin",
                    "attention.out_lin",
                    "sa_layer_norm",
                    "ffn.lin1",
                    "ffn.lin2",
                    "output_layer_norm",
                ],
            ),
        };
        let [query, key, value, attended, attention_norm, widen, narrow, output_norm] =
            names.map(|name| format!("{base}.{name}"));
        Ok(Self {
            query: Linear::load(source, &query, size, size)?,
            key: Linear::load(source, &key, size, size)?,
            value: Linear::load(source, &value, size, size)?,
            attended: Linear::load(source, &attended, size, size)?,
            attention_norm: Norm::load(source, &attention_norm, size, epsilon)?,
            widen: Linear::load(source, &widen, wide, size)?,
            narrow: Linear::load(source, &narrow, size, wide)?,
            output_norm: Norm::load(source, &output_norm, size, epsilon)?,
        })
    }
}

impl Encoder {
    /// Takes the weights from a source.
    pub(crate) fn load(source: &mut impl Source, config: &Config) -> Result<Self, NerError> {
        let size = config.hidden_size;
        let base = match config.family {
            Family::Bert => "bert.embeddings",
            Family::DistilBert => "distilbert.embeddings",
        };
        let words = source.matrix(&format!("{base}.word_embeddings.weight"), config.vocab_size, size)?;
        let mut positions =
            source.matrix(&format!("{base}.position_embeddings.weight"), config.max_position_embeddings, size)?;
        if config.family == Family::Bert && config.type_vocab_size > 0 {
            // Every token is of the first segment: what that adds can be added to the positions at once.
            let segments =
                source.matrix(&format!("{base}.token_type_embeddings.weight"), config.type_vocab_size, size)?;
            if let Some(first) = segments.rows().into_iter().next() {
                positions += &first;
            }
        }
        let norm = Norm::load(source, &format!("{base}.LayerNorm"), size, config.layer_norm_eps)?;
        let layers =
            (0..config.num_hidden_layers).map(|index| Layer::load(source, config, index)).collect::<Result<_, _>>()?;
        let classifier = Linear::load(source, "classifier", config.labels.len(), size)?;
        let (heads, activation) = (config.num_attention_heads, config.activation);
        Ok(Self { words, positions, norm, layers, classifier, heads, activation })
    }

    /// Bytes that a pass over so many tokens, of sequences of at most a window, works in.
    pub(crate) fn pass_bytes(config: &Config, tokens: usize) -> u64 {
        let each = 5 * config.hidden_size + config.intermediate_size + config.labels.len();
        let longest = config.window();
        4 * (tokens as u64 * each as u64 + (longest * longest) as u64) + PACKING
    }

    /// The labels' scores for every token of a pass.
    pub(crate) fn scores(&self, pass: &Pass, deadline: Instant) -> Result<Array2<f32>, ModelFailure> {
        let (tokens, size) = (pass.ids.len(), self.words.ncols());
        let longest = pass.lengths.iter().copied().max().unwrap_or(0);
        let square = || Array2::zeros((tokens, size));
        let mut buffers = Buffers {
            hidden: self.embed(pass),
            query: square(),
            key: square(),
            value: square(),
            attended: square(),
            wide: Array2::zeros((tokens, self.layers.first().map_or(0, |layer| layer.widen.bias.len()))),
            scores: vec![0.0; longest * longest],
        };
        for layer in &self.layers {
            self.attend(layer, pass, &mut buffers, deadline)?;
            in_time(deadline)?;
            let Buffers { hidden, query, wide, .. } = &mut buffers;
            layer.widen.apply(&hidden.view(), &mut wide.view_mut());
            if let Some(numbers) = wide.as_slice_mut() {
                activate(numbers, self.activation);
            }
            in_time(deadline)?;
            layer.narrow.apply(&wide.view(), &mut query.view_mut());
            *hidden += &*query;
            layer.output_norm.apply(&mut hidden.view_mut());
        }
        let mut labels = Array2::zeros((tokens, self.classifier.bias.len()));
        self.classifier.apply(&buffers.hidden.view(), &mut labels.view_mut());
        if labels.iter().any(|score: &f32| !score.is_finite()) {
            return Err(ModelFailure::NotFinite);
        }
        Ok(labels)
    }

    fn embed(&self, pass: &Pass) -> Array2<f32> {
        let mut hidden = Array2::zeros((pass.ids.len(), self.words.ncols()));
        let mut row = 0;
        for length in &pass.lengths {
            for position in 0..*length {
                let mut sum = hidden.row_mut(row);
                sum += &self.words.row(pass.ids[row] as usize);
                sum += &self.positions.row(position);
                row += 1;
            }
        }
        self.norm.apply(&mut hidden.view_mut());
        hidden
    }

    /// Self-attention of each sequence, added to the hidden rows and normalised.
    fn attend(&self, layer: &Layer, pass: &Pass, buffers: &mut Buffers, deadline: Instant) -> Result<(), ModelFailure> {
        let Buffers { hidden, query, key, value, attended, scores, .. } = buffers;
        layer.query.apply(&hidden.view(), &mut query.view_mut());
        layer.key.apply(&hidden.view(), &mut key.view_mut());
        layer.value.apply(&hidden.view(), &mut value.view_mut());
        let width = hidden.ncols() / self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut from = 0;
        for length in pass.lengths.iter().copied() {
            in_time(deadline)?;
            for head in 0..self.heads {
                let (rows, columns) = (from..from + length, head * width..(head + 1) * width);
                let part = |matrix| cut(matrix, &rows, &columns);
                let scores = &mut scores[..length * length];
                let mut square =
                    ArrayViewMut2::from_shape((length, length), &mut *scores).map_err(|_| ModelFailure::Invalid)?;
                general_mat_mul(scale, &part(query.view()), &part(key.view()).t(), 0.0, &mut square);
                scores.chunks_exact_mut(length).for_each(softmax);
                let square = ArrayView2::from_shape((length, length), &*scores).map_err(|_| ModelFailure::Invalid)?;
                let mut attended = cut(attended.view_mut(), &rows, &columns);
                general_mat_mul(1.0, &square, &part(value.view()), 0.0, &mut attended);
            }
            from += length;
        }
        layer.attended.apply(&attended.view(), &mut query.view_mut());
        *hidden += &*query;
        layer.attention_norm.apply(&mut hidden.view_mut());
        Ok(())
    }
}

/// Some rows and columns of a view. (The macro that does this allows unsafe code, which this workspace forbids.)
fn cut<S: RawData<Elem = f32>>(
    mut view: ArrayBase<S, Ix2>,
    rows: &Range<usize>,
    columns: &Range<usize>,
) -> ArrayBase<S, Ix2> {
    view.slice_axis_inplace(Axis(0), Slice::from(rows.clone()));
    view.slice_axis_inplace(Axis(1), Slice::from(columns.clone()));
    view
}

fn in_time(deadline: Instant) -> Result<(), ModelFailure> {
    if Instant::now() < deadline { Ok(()) } else { Err(ModelFailure::Timeout) }
}

#[cfg(test)]
mod tests;
