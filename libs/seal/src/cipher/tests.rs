use proptest::prelude::*;

use super::*;

const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000002";

fn ring(keys: &[&str]) -> Keyring {
    Keyring::parse(&keys.join("\n"), "test").unwrap()
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn every_length_around_a_frame_comes_back_and_does_not_show() {
    let keys = ring(&[NEW]);
    for length in [0, 1, 20, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, 3 * FRAME_BYTES + 7] {
        let plain = text(length);
        let sealed = keys.seal("chunk 1", &plain).unwrap();
        assert!(is_sealed(&sealed));
        assert_eq!(keys.open("chunk 1", &sealed).unwrap(), plain);
        assert_ne!(keys.seal("chunk 1", &plain).unwrap(), sealed, "the same bytes twice");
        if length >= 20 {
            assert!(!sealed.windows(20).any(|window| window == &plain[..20]), "{length}");
        }
    }
}

#[test]
fn only_the_same_context_opens() {
    let keys = ring(&[NEW]);
    let sealed = keys.seal("chunk 1", b"Ana").unwrap();
    assert_eq!(keys.open("chunk 2", &sealed).unwrap_err(), SealError::Damaged("chunk 2".to_owned()));
}

#[test]
fn a_key_is_exchanged_by_putting_another_before_it() {
    let sealed = ring(&[OLD]).seal("a", b"Ana").unwrap();
    let both = ring(&[NEW, OLD]);
    assert_eq!(both.open("a", &sealed).unwrap(), b"Ana");
    let newer = both.seal("a", b"Ana").unwrap();
    assert_eq!(ring(&[NEW]).open("a", &newer).unwrap(), b"Ana");
    let error = ring(&[NEW]).open("a", &sealed).unwrap_err();
    assert!(matches!(error, SealError::UnknownKey { .. }) && error.to_string().contains("FOREBAY_KEY_FILE"), "{error}");
    // The right id with another key: somebody who writes the id himself.
    let mut forged = newer;
    forged[8..16].copy_from_slice(&sealed[8..16]);
    assert!(matches!(both.open("a", &forged).unwrap_err(), SealError::Damaged(_)));
}

#[test]
fn frames_that_are_cut_off_exchanged_repeated_or_spliced_are_noticed() {
    let keys = ring(&[NEW]);
    let plain = text(3 * FRAME_BYTES + 100);
    let sealed = keys.seal("a", &plain).unwrap();
    let other = keys.seal("a", &plain).unwrap();
    let frame = |n: usize| HEADER_LEN + n * SEALED_FRAME..(HEADER_LEN + (n + 1) * SEALED_FRAME).min(sealed.len());
    let joined = |parts: &[&[u8]]| parts.concat();
    let header = &sealed[..HEADER_LEN];
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| &sealed[frame(n)]);
    for (what, broken) in [
        ("without its last frame", joined(&[header, a, b, c])),
        ("without a frame", joined(&[header, a, c, d])),
        ("exchanged", joined(&[header, b, a, c, d])),
        ("repeated", joined(&[header, a, a, b, c, d])),
        ("with more behind it", joined(&[header, a, b, c, d, d])),
        ("with another's frame", joined(&[header, a, &other[frame(1)], c, d])),
        ("with another's header", joined(&[&other[..HEADER_LEN], a, b, c, d])),
        ("the header alone", header.to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(keys.open("a", &broken).unwrap_err(), SealError::Damaged("a".to_owned()), "{what}");
    }
    assert_eq!(keys.open("a", &joined(&[header, a, b, c, d])).unwrap(), plain);
}

proptest! {
    #[test]
    fn a_changed_or_missing_byte_anywhere_is_noticed(length in 0usize..200_000, at in 0.0f64..1.0, bit in 0u8..8) {
        let keys = ring(&[NEW]);
        let sealed = keys.seal("a", &text(length)).unwrap();
        let at = (sealed.len() as f64 * at) as usize;
        let mut flipped = sealed.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(keys.open("a", &flipped).is_err());
        prop_assert!(keys.open("a", &sealed[..at]).is_err());
    }

    #[test]
    fn pieces_of_any_size_give_the_same(length in 0usize..200_000, into in 1usize..100_000, from in 1usize..100_000) {
        let keys = ring(&[NEW]);
        let plain = text(length);
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let mut sealer = Sealer::new(&keys, "a").unwrap();
        for piece in plain.chunks(into) {
            sealer.push(piece, &mut sealed).unwrap();
        }
        sealer.finish(&mut sealed).unwrap();
        let mut opener = Opener::new(&keys, "a");
        for piece in sealed.chunks(from) {
            opener.push(piece, &mut opened).unwrap();
        }
        opener.finish(&mut opened).unwrap();
        prop_assert_eq!(opened, plain);
    }
}
