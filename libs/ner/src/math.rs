//! The sums of an encoder that are no products of matrices. Each row is worked on alone and in one order.

use ndarray::{ArrayViewMut1, ArrayViewMut2};
use wide::f32x8;

use crate::config::Activation;

/// `exp` of every number, eight at a time.
fn each(numbers: &mut [f32], function: impl Fn(f32x8) -> f32x8) {
    let (eights, rest) = numbers.as_chunks_mut::<8>();
    for eight in eights {
        *eight = function(f32x8::from(*eight)).to_array();
    }
    if !rest.is_empty() {
        let mut eight = [0.0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        rest.copy_from_slice(&function(f32x8::from(eight)).to_array()[..rest.len()]);
    }
}

/// Makes a row of scores a distribution.
pub(crate) fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let most = f32x8::splat(most);
    each(row, |eight| (eight - most).exp());
    let sum: f32 = row.iter().sum();
    for number in row {
        *number /= sum;
    }
}

/// Layer normalisation of each row. Source: J. L. Ba, J. R. Kiros, G. E. Hinton, arXiv 1607.06450.
pub(crate) fn normalise(rows: &mut ArrayViewMut2<'_, f32>, gain: &[f32], shift: &[f32], epsilon: f32) {
    for row in rows.rows_mut() {
        normalise_row(row, gain, shift, epsilon);
    }
}

fn normalise_row(mut row: ArrayViewMut1<'_, f32>, gain: &[f32], shift: &[f32], epsilon: f32) {
    let length = row.len() as f32;
    let mean = row.iter().sum::<f32>() / length;
    let variance = row.iter().map(|number| (number - mean) * (number - mean)).sum::<f32>() / length;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((number, gain), shift) in row.iter_mut().zip(gain).zip(shift) {
        *number = (*number - mean) * scale * gain + shift;
    }
}

/// Applies the activation to every number.
pub(crate) fn activate(numbers: &mut [f32], activation: Activation) {
    let (half, one) = (f32x8::splat(0.5), f32x8::ONE);
    match activation {
        Activation::Relu => numbers.iter_mut().for_each(|number| *number = number.max(0.0)),
        Activation::Gelu => {
            let root = f32x8::splat(std::f32::consts::FRAC_1_SQRT_2);
            each(numbers, |x| half * x * (one + erf(x * root)));
        }
        Activation::GeluTanh => {
            // tanh(y) = 1 - 2 / (exp(2 y) + 1), and 2 sqrt(2 / pi) = 1.5957691.
            let (twice, cube) = (f32x8::splat(1.595_769), f32x8::splat(0.044_715));
            each(numbers, |x| {
                let power = (twice * (x + cube * x * x * x)).exp();
                half * x * (f32x8::splat(2.0) - f32x8::splat(2.0) / (power + one))
            });
        }
    }
}

/// The error function, to 2e-7 or so. Source: M. Abramowitz, I. A. Stegun, "Handbook of Mathematical Functions", 7.1.26.
fn erf(x: f32x8) -> f32x8 {
    let size = x.abs();
    let t = f32x8::ONE / (f32x8::ONE + f32x8::splat(0.327_591_1) * size);
    let sum = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6]
        .into_iter()
        .fold(f32x8::ZERO, |sum, factor| (sum + f32x8::splat(factor)) * t);
    let value = f32x8::ONE - sum * (-(size * size)).exp();
    value.flip_signs(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_those_of_the_papers() {
        // By Wolfram's definition of erf, to eight digits.
        let mut numbers = [-3.0_f32, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 10.0, -20.0];
        let exact = [
            -0.004_049_69,
            -0.158_655_25,
            -0.154_268_77,
            0.0,
            0.345_731_23,
            0.841_344_8,
            1.954_499_7,
            2.995_950_3,
            10.0,
            0.0,
        ];
        activate(&mut numbers, Activation::Gelu);
        for (number, exact) in numbers.iter().zip(exact) {
            assert!((number - exact).abs() < 2e-6, "{number} is not {exact}");
        }
        let mut numbers = [1.0_f32, -1.0, 0.0, 30.0, -30.0];
        activate(&mut numbers, Activation::GeluTanh);
        for (number, exact) in numbers.iter().zip([0.841_192, -0.158_808, 0.0, 30.0, 0.0]) {
            assert!((number - exact).abs() < 2e-6, "{number} is not {exact}");
        }
        let mut numbers = [1.5_f32, -1.5];
        activate(&mut numbers, Activation::Relu);
        assert_eq!(numbers, [1.5, 0.0]);
    }

    #[test]
    fn a_distribution_sums_to_one_wherever_its_scores_are() {
        for shift in [-1000.0, 0.0, 1000.0] {
            let mut row: Vec<f32> = (0..11).map(|n| shift + n as f32).collect();
            softmax(&mut row);
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row.is_sorted());
            assert!((row[10] / row[9] - std::f32::consts::E).abs() < 1e-3);
        }
    }
}
