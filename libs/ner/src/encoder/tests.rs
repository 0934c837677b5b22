use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::tensors::Tensors;

#[path = "../../tests/tiny/mod.rs"]
mod tiny;

use tiny::{Tiny, names};

/// A model of two layers with numbers by chance.
fn random(seed: u64, family: &'static str, activation: &'static str) -> Tiny {
    let mut tiny = Tiny::plain(family, [8, 2, 2, 12], activation);
    let mut state = seed;
    for number in tiny.tensors.values_mut().flat_map(|(_, numbers)| numbers) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *number += ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 1.5;
    }
    tiny
}

fn load(tiny: &Tiny) -> Encoder {
    let folder = tempfile::tempdir().unwrap();
    tiny.write(folder.path());
    let config = Config::parse(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    let mut tensors = Tensors::open(&folder.path().join("model.safetensors")).unwrap();
    Encoder::load(&mut tensors, &config).unwrap()
}

fn scores(encoder: &Encoder, sequences: &[&[u32]]) -> Vec<Vec<f32>> {
    let pass = Pass { ids: sequences.concat(), lengths: sequences.iter().map(|sequence| sequence.len()).collect() };
    let scores = encoder.scores(&pass, Instant::now() + Duration::from_secs(60)).unwrap();
    scores.rows().into_iter().map(|row| row.to_vec()).collect()
}

/// The papers' sums once more, in 64-bit floats and number by number: one sequence.
struct Plain<'t> {
    tiny: &'t Tiny,
    numbers: HashMap<&'t str, &'t [f32]>,
}

impl Plain<'_> {
    fn linear(&self, name: &str, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (weight, bias) =
            (self.numbers[format!("{name}.weight").as_str()], self.numbers[format!("{name}.bias").as_str()]);
        let inputs = rows[0].len();
        let one = |row: &Vec<f64>, out: usize| {
            f64::from(bias[out]) + (0..inputs).map(|i| row[i] * f64::from(weight[out * inputs + i])).sum::<f64>()
        };
        rows.iter().map(|row| (0..bias.len()).map(|out| one(row, out)).collect()).collect()
    }

    fn norm(&self, name: &str, rows: &[Vec<f64>], added: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (gain, shift) =
            (self.numbers[format!("{name}.weight").as_str()], self.numbers[format!("{name}.bias").as_str()]);
        let sums = rows.iter().zip(added).map(|(row, more)| row.iter().zip(more).map(|(a, b)| a + b).collect());
        sums.map(|row: Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let scaled = row.iter().map(|x| (x - mean) / (variance + 1e-12).sqrt());
            scaled.zip(gain.iter().zip(shift)).map(|(x, (g, s))| x * f64::from(*g) + f64::from(*s)).collect()
        })
        .collect()
    }

    fn attention(&self, base: &str, names: &tiny::Names, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let part = |name: &str| self.linear(&format!("{base}.{name}"), rows);
        let (query, key, value) = (part(names.query), part(names.key), part(names.value));
        let width = self.tiny.hidden / self.tiny.heads;
        let one = |at: usize, column: usize| {
            let head = column / width * width..column / width * width + width;
            let weights: Vec<f64> = (0..rows.len())
                .map(|other| head.clone().map(|i| query[at][i] * key[other][i]).sum::<f64>() / (width as f64).sqrt())
                .map(f64::exp)
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().zip(&value).map(|(weight, row)| weight / sum * row[column]).sum()
        };
        let mixed: Vec<Vec<f64>> =
            (0..rows.len()).map(|at| (0..self.tiny.hidden).map(|column| one(at, column)).collect()).collect();
        self.linear(&format!("{base}.{}", names.attended), &mixed)
    }

    fn scores(&self, ids: &[u32]) -> Vec<Vec<f64>> {
        let (family, size) = (self.tiny.family, self.tiny.hidden);
        let row = |name: &str, at: usize| -> Vec<f64> {
            let numbers = self.numbers.get(format!("{family}.embeddings.{name}.weight").as_str());
            numbers
                .map_or(vec![0.0; size], |all| all[at * size..(at + 1) * size].iter().map(|x| f64::from(*x)).collect())
        };
        let words: Vec<_> = ids.iter().map(|id| row("word_embeddings", *id as usize)).collect();
        let places: Vec<Vec<f64>> = (0..ids.len())
            .map(|at| {
                row("position_embeddings", at).iter().zip(row("token_type_embeddings", 0)).map(|(a, b)| a + b).collect()
            })
            .collect();
        let mut hidden = self.norm(&format!("{family}.embeddings.LayerNorm"), &words, &places);
        for layer in 0..self.tiny.layers {
            let (base, names) = names(family, layer);
            let attended = self.attention(&base, &names, &hidden);
            hidden = self.norm(&format!("{base}.{}", names.attention_norm), &hidden, &attended);
            let mut wide = self.linear(&format!("{base}.{}", names.widen), &hidden);
            wide.iter_mut().flatten().for_each(|x| *x = activation(self.tiny.activation, *x));
            let narrow = self.linear(&format!("{base}.{}", names.narrow), &wide);
            hidden = self.norm(&format!("{base}.{}", names.output_norm), &hidden, &narrow);
        }
        self.linear("classifier", &hidden)
    }
}

fn activation(name: &str, x: f64) -> f64 {
    match name {
        "relu" => x.max(0.0),
        "gelu_new" => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        // The normal distribution, by adding up its density.
        _ => {
            let steps = 20_000;
            let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let width = x / f64::from(steps);
            let sum: f64 = (0..steps).map(|n| density((f64::from(n) + 0.5) * width)).sum();
            x * (0.5 + sum * width)
        }
    }
}

#[test]
fn scores_are_those_of_the_papers_sums() {
    for (seed, family, activation) in
        [(1, "bert", "gelu"), (2, "bert", "gelu_new"), (3, "distilbert", "gelu"), (4, "distilbert", "relu")]
    {
        let tiny = random(seed, family, activation);
        let numbers = tiny.tensors.iter().map(|(name, (_, numbers))| (name.as_str(), numbers.as_slice())).collect();
        let plain = Plain { tiny: &tiny, numbers };
        let encoder = load(&tiny);
        for ids in [&[2, 3][..], &[2, 14, 15, 9, 3], &[2, 4, 4, 4, 20, 21, 11, 10, 9, 8, 7, 6, 5, 3]] {
            let (ours, theirs) = (scores(&encoder, &[ids]), plain.scores(ids));
            for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                assert!((f64::from(*ours) - theirs).abs() < 1e-4, "{family}, {activation}: {ours} and {theirs}");
            }
        }
    }
}

#[test]
fn a_sequence_has_the_same_scores_to_the_last_bit_whatever_stands_beside_it() {
    let encoder = load(&random(7, "bert", "gelu"));
    let sequences: Vec<Vec<u32>> = (0..20).map(|n| (0..2 + n % 9).map(|i| (n * 7 + i * 3) % 23).collect()).collect();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let alone: Vec<Vec<f32>> = sequences.iter().flat_map(|sequence| scores(&encoder, &[sequence])).collect();
    assert_eq!(scores(&encoder, &sequences), alone);
    let turned: Vec<&[u32]> = sequences.iter().rev().copied().collect();
    let alone: Vec<Vec<f32>> = turned.iter().flat_map(|sequence| scores(&encoder, &[sequence])).collect();
    assert_eq!(scores(&encoder, &turned), alone);
}

#[test]
fn a_pass_ends_at_its_deadline_and_tells_when_sums_overflow() {
    let encoder = load(&Tiny::by_hand());
    let pass = Pass { ids: vec![2, 5, 3], lengths: vec![3] };
    assert_eq!(encoder.scores(&pass, Instant::now()).unwrap_err(), ModelFailure::Timeout);
    let pass = Pass { ids: vec![2, 21, 3], lengths: vec![3] };
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(encoder.scores(&pass, later).unwrap_err(), ModelFailure::NotFinite);
}
