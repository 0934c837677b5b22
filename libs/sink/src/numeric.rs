//! Decimals as PostgreSQL has them on the wire: digits to the base of 10,000.
//! Source: `numeric_send` in `src/backend/utils/adt/numeric.c` of PostgreSQL.

/// Most digits to the base of 10,000 of a 128-bit number, and one more for each end.
const MOST: usize = 12;

const BASE: u128 = 10_000;

/// Writes the length and the value of `unscaled / 10^scale`.
pub(crate) fn write(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    let mut rest = unscaled.unsigned_abs();
    // From the least: the last one may have places that the number does not.
    let mut digits = [0u16; MOST];
    let mut used = 0;
    let places = u32::from(scale % 4);
    if places > 0 {
        let cut = 10u128.pow(places);
        digits[0] = (rest % cut * 10u128.pow(4 - places)) as u16;
        rest /= cut;
        used = 1;
    }
    while rest > 0 && used < MOST {
        digits[used] = (rest % BASE) as u16;
        rest /= BASE;
        used += 1;
    }
    let fraction = i16::from(scale.div_ceil(4));
    let mut weight = used as i16 - fraction - 1;
    // Zeros at either end are left out.
    let mut first = used;
    while first > 0 && digits[first - 1] == 0 {
        first -= 1;
        weight -= 1;
    }
    let mut last = 0;
    while last < first && digits[last] == 0 {
        last += 1;
    }
    let digits = &digits[last..first];
    let sign: u16 = if unscaled < 0 { 0x4000 } else { 0 };
    if digits.is_empty() {
        weight = 0;
    }
    out.extend_from_slice(&(8 + 2 * digits.len() as i32).to_be_bytes());
    out.extend_from_slice(&(digits.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digit count, weight, sign, scale, digits.
    fn wire(unscaled: i128, scale: u8) -> Vec<i32> {
        let mut out = Vec::new();
        write(unscaled, scale, &mut out);
        assert_eq!(out[..4], ((out.len() - 4) as i32).to_be_bytes());
        out[4..].chunks(2).map(|pair| i32::from(i16::from_be_bytes([pair[0], pair[1]]))).collect()
    }

    #[test]
    fn digits_and_weight_are_those_of_the_manual() {
        assert_eq!(wire(0, 2), [0, 0, 0, 2]);
        assert_eq!(wire(12_345, 2), [2, 0, 0, 2, 123, 4500]);
        assert_eq!(wire(-1, 4), [1, -1, 0x4000, 4, 1]);
        assert_eq!(wire(1, 8), [1, -2, 0, 8, 1]);
        assert_eq!(wire(10_000, 0), [1, 1, 0, 0, 1]);
        assert_eq!(wire(100_000_000, 4), [1, 1, 0, 4, 1]);
        assert_eq!(wire(i128::MAX, 37)[0], 11);
    }
}
