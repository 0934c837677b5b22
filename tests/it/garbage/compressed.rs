use super::{CSV, PUBLIC, Random, check, job, refused};
use crate::formats::{claims_batch, gzip, parquet_file, zstd};
use crate::support::{CLINICAL, Scratch, patients};

#[test]
fn broken_compression_is_called_that() {
    let text = patients(3_000);
    let (gz, zst) = (gzip(text.as_bytes()), zstd(text.as_bytes()));
    let cut = |bytes: &[u8], left: usize| bytes[..left].to_vec();
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        bytes
    };
    check(vec![
        refused("gzip cut in the middle", PUBLIC, cut(&gz, gz.len() / 2), 1, "gzip data is broken or cut off"),
        refused("gzip without its checksum", PUBLIC, cut(&gz, gz.len() - 4), 1, "gzip data is broken or cut off"),
        refused("the start of a gzip header", PUBLIC, cut(&gz, 5), 1, "gzip data is broken or cut off"),
        refused("two bytes of gzip", PUBLIC, cut(&gz, 2), 1, "gzip data is broken or cut off"),
        refused("garbage behind a gzip header", PUBLIC, [&gz[..10], &[0xff; 1000]].concat(), 1, "gzip data is broken"),
        refused("a gzip header that is garbage", PUBLIC, [&gz[..2], &[b'x'; 1000]].concat(), 1, "gzip data is broken"),
        refused("garbage behind gzip", PUBLIC, [&gz[..], b"garbage"].concat(), 1, "gzip data is broken"),
        refused("gzip with a flipped byte", PUBLIC, flipped(&gz), 1, "gzip data is broken"),
        refused("a second member that is cut", PUBLIC, [&gz[..], &gz[..100]].concat(), 1, "gzip data is broken"),
        refused("zstd cut in the middle", PUBLIC, cut(&zst, zst.len() / 2), 1, "zstd data is broken or cut off"),
        refused("zstd cut at its end", PUBLIC, cut(&zst, zst.len() - 1), 1, "zstd data is broken or cut off"),
        refused("four bytes of zstd", PUBLIC, cut(&zst, 4), 1, "zstd data is broken or cut off"),
        refused("garbage behind a zstd header", PUBLIC, [&zst[..4], &[0xff; 1000]].concat(), 1, "zstd data is broken"),
        refused("garbage behind zstd", PUBLIC, [&zst[..], b"garbage"].concat(), 1, "zstd data is broken"),
        refused("gzip of zeros", PUBLIC, gzip(&vec![0; 64 << 20]), 2, "NUL bytes"),
        refused("gzip of nothing", PUBLIC, gzip(b""), 1, "holds no records"),
        refused("gzip in gzip", PUBLIC, gzip(&gz), 2, ""),
        refused(
            "Parquet in gzip",
            CSV,
            gzip(&parquet_file(&claims_batch(10), 10)),
            2,
            "Parquet can't be read from a stream",
        ),
    ]);
}

/// Every flip of a compressed stream's bits is found by its checksum, so it is never silently other data.
#[test]
fn compressed_text_with_flipped_bytes_never_comes_through_changed() {
    let scratch = Scratch::new();
    let text = patients(300);
    scratch.write("whole.ndjson", &text);
    scratch.run("clinical", "whole.ndjson", "whole", &["protect=off"]).expect(0).conserved();
    let expected = scratch.tables("whole", &CLINICAL);
    let mut random = Random(7);
    let whole = gzip(text.as_bytes());
    for round in 0..12 {
        let mut bytes = whole.clone();
        let at = 2 + random.below(whole.len() - 2);
        bytes[at] ^= 1 << random.below(8);
        let (input, output) = (scratch.write("input", &bytes), format!("out-{round}"));
        let outcome = job(&scratch, &["run", "clinical", &input, "--output", &output, "--set", "protect=off"]);
        // A flip in the header's time or name changes nothing.
        if matches!(outcome.status, 0 | 3) {
            assert_eq!(scratch.tables(&output, &CLINICAL), expected, "flipped byte {at}");
        }
    }
}
