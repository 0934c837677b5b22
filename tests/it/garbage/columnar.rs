use super::{CSV, JSON, PEAK, Random, check, job, refused};
use crate::formats::{arrow_file, arrow_stream, claims_batch, parquet_file};
use crate::support::Scratch;

#[test]
fn broken_columnar_files_are_called_that() {
    let batch = claims_batch(2_000);
    let (parquet, file, stream) = (parquet_file(&batch, 500), arrow_file(&batch, 500), arrow_stream(&batch, 500));
    let cut = |bytes: &[u8], left: usize| bytes[..left].to_vec();
    check(vec![
        refused("Parquet without its footer", CSV, cut(&parquet, parquet.len() / 2), 2, "no readable Parquet file"),
        refused("Parquet without its last byte", CSV, cut(&parquet, parquet.len() - 1), 2, "no readable Parquet file"),
        refused("four bytes of Parquet", CSV, "PAR1", 2, "no readable Parquet file"),
        refused(
            "Parquet's magic and zeros",
            CSV,
            [b"PAR1".to_vec(), vec![0; 100]].concat(),
            2,
            "no readable Parquet file",
        ),
        refused(
            "a footer of 2 GiB",
            CSV,
            [b"PAR1".to_vec(), vec![255; 100], b"\xff\xff\xff\x7fPAR1".to_vec()].concat(),
            2,
            "no readable Parquet",
        ),
        refused("Parquet of something else", JSON, parquet.clone(), 2, "none of its columns"),
        refused("an Arrow file cut in the middle", CSV, cut(&file, file.len() / 2), 2, "cut off"),
        refused("an Arrow file without its footer", CSV, cut(&file, file.len() - 10), 2, "Arrow"),
        refused("an Arrow file's magic", CSV, "ARROW1\0\0", 2, "no readable Arrow data"),
        refused(
            "an Arrow file's magic and zeros",
            CSV,
            [b"ARROW1\0\0".to_vec(), vec![0; 100]].concat(),
            2,
            "no readable Arrow",
        ),
        refused("an Arrow stream cut in the middle", CSV, cut(&stream, stream.len() / 2), 2, "cut off"),
        refused("four bytes of Arrow", CSV, [255; 4], 2, "no readable Arrow data"),
        refused(
            "a message of 2 GiB",
            CSV,
            [vec![255; 4], vec![0xf0, 255, 255, 0x7f], vec![0; 100]].concat(),
            2,
            "Arrow",
        ),
        refused("Arrow of something else", JSON, stream.clone(), 2, "none of its columns"),
    ]);
}

#[test]
fn columnar_files_with_flipped_bytes_never_crash_a_job() {
    let scratch = Scratch::new();
    let batch = claims_batch(300);
    let files = [parquet_file(&batch, 100), arrow_file(&batch, 100), arrow_stream(&batch, 100)];
    let mut random = Random(20_261_121);
    for (kind, whole) in files.iter().enumerate() {
        for round in 0..24 {
            let mut bytes = whole.clone();
            // Some rounds aim at the metadata: a footer, or the first messages.
            let (from, to) = match (round % 3, kind) {
                (0, 0) => (whole.len() * 3 / 4, whole.len()),
                (0, _) => (8, 1_500),
                _ => (8, whole.len()),
            };
            let mut flipped = Vec::new();
            for _ in 0..=round % 4 {
                let at = from + random.below(to - from);
                bytes[at] ^= 1 << random.below(8);
                flipped.push(at);
            }
            let (input, output) = (scratch.write("input", &bytes), format!("out-{kind}-{round}"));
            println!("kind {kind}, round {round}: flipped {flipped:?}");
            let outcome = job(&scratch, &["run", "claims", &input, "--output", &output, "--memory", "256MiB"]);
            if outcome.report.is_some() {
                assert!(outcome.peak() < PEAK, "{} MiB", outcome.peak() >> 20);
            }
        }
    }
}
