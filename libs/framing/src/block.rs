use wide::u8x16;

/// How many bytes are looked at in one step: as many as a mask has bits.
const BLOCK: usize = 64;

/// Up to 64 bytes, compared at once. Bit `i` of every mask stands for byte `i`.
pub(crate) struct Block {
    lanes: [u8x16; 4],
    len: usize,
}

impl Block {
    /// The first 64 bytes, or all there are. `bytes` must not be empty.
    #[inline]
    pub(crate) fn load(bytes: &[u8]) -> Self {
        match bytes.first_chunk::<BLOCK>() {
            Some(whole) => Self { lanes: lanes(whole), len: BLOCK },
            None => {
                let mut padded = [0; BLOCK];
                padded[..bytes.len()].copy_from_slice(bytes);
                Self { lanes: lanes(&padded), len: bytes.len() }
            }
        }
    }

    /// How many bytes it has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A mask of the last byte.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        1 << (self.len - 1)
    }

    /// Where `byte` stands.
    #[inline]
    pub(crate) fn equal(&self, byte: u8) -> u64 {
        self.find(byte, |lane| lane)
    }

    /// Where `byte` stands when bit 5, which tells `[` from `{` and `]` from `}`, is set in every byte.
    #[inline]
    pub(crate) fn equal_with_bit_5(&self, byte: u8) -> u64 {
        let bit = u8x16::splat(0x20);
        self.find(byte, |lane| lane | bit)
    }

    #[inline]
    fn find(&self, byte: u8, prepare: impl Fn(u8x16) -> u8x16) -> u64 {
        let wanted = u8x16::splat(byte);
        let [a, b, c, d] = self.lanes.map(|lane| u64::from(prepare(lane).simd_eq(wanted).to_bitmask()));
        // The padding of a short block must match nothing, whatever byte is looked for.
        (a | b << 16 | c << 32 | d << 48) & (u64::MAX >> (BLOCK - self.len))
    }
}

#[inline]
fn lanes(bytes: &[u8; BLOCK]) -> [u8x16; 4] {
    let (lanes, _) = bytes.as_chunks::<16>();
    [lanes[0], lanes[1], lanes[2], lanes[3]].map(u8x16::from)
}

/// Bit `i` of the result is the parity of bits `0..=i`: between a quote and the next, it is set.
#[inline]
pub(crate) fn parity(mut mask: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        mask ^= mask << shift;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_a_bit_for_every_match_in_full_and_short_blocks() {
        for len in 1..=BLOCK {
            let bytes: Vec<u8> = (0..len).map(|i| if i % 7 == 0 { b'[' } else { b'{' }).collect();
            let block = Block::load(&bytes);
            let expected = (0..len).filter(|i| i % 7 == 0).fold(0, |mask, i| mask | 1 << i);
            assert_eq!(block.equal(b'['), expected);
            assert_eq!(block.equal_with_bit_5(b'{'), u64::MAX >> (BLOCK - len));
            assert_eq!((block.len(), block.last()), (len, 1 << (len - 1)));
        }
    }

    #[test]
    fn padding_matches_nothing() {
        assert_eq!(Block::load(b"abc").equal(0), 0);
        assert_eq!(Block::load(b"a\0c").equal(0), 0b010);
    }

    #[test]
    fn parity_is_set_from_an_odd_bit_to_the_next() {
        assert_eq!(parity(0b0100_0100), 0b0011_1100);
        assert_eq!(parity(1), u64::MAX);
        assert_eq!(parity(0), 0);
    }
}
