//! Byte searches over short runs, 16 bytes at a time. `memchr`'s set-up costs more than the search itself where
//! the answer is some ten bytes away, as it is for JSON strings and CSV fields.

use wide::u8x16;

const LANES: usize = 16;

fn load(bytes: &[u8]) -> Option<u8x16> {
    let block: &[u8; LANES] = bytes.first_chunk()?;
    Some(u8x16::from(*block))
}

/// Offset of the first `"`, `\` or control character (below 0x20): what ends or interrupts a JSON string.
#[inline]
pub(crate) fn string_stop(bytes: &[u8]) -> Option<usize> {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1f));
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(load) {
        let stops = block.simd_eq(quote) | block.simd_eq(backslash) | block.min(control).simd_eq(block);
        let found = stops.to_bitmask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += LANES;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).map(|i| at + i)
}

/// Offset of the first of two bytes.
#[inline]
pub(crate) fn either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let (first, second) = (u8x16::splat(one), u8x16::splat(other));
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(load) {
        let found = (block.simd_eq(first) | block.simd_eq(second)).to_bitmask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += LANES;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|&byte| byte == one || byte == other).map(|i| at + i)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stops_agree_with_a_plain_search(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let plain = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            prop_assert_eq!(string_stop(&bytes), plain);
            let plain = bytes.iter().position(|&b| b == b',' || b == b'\n');
            prop_assert_eq!(either(&bytes, b',', b'\n'), plain);
        }
    }
}
