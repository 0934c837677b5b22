use crate::support::{CLINICAL, Scratch, patients};

#[test]
fn rows_do_not_depend_on_chunk_size_or_workers() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(3_000));
    let mut expected = None;
    for (chunk, workers) in [("100", "1"), ("100", "4"), ("5000", "2"), ("5000", "4"), ("50000", "1"), ("50000", "2")] {
        let output = format!("out-{chunk}-{workers}");
        let (rows, threads) = (format!("chunk.rows={chunk}"), format!("workers={workers}"));
        let outcome = scratch.forebay(&[
            "run",
            "clinical",
            &input,
            "--output",
            &output,
            "--set",
            &rows,
            "--set",
            &threads,
            "--set",
            "protect=off",
        ]);
        outcome.expect(0).conserved();
        let tables = scratch.tables(&output, &CLINICAL);
        assert_eq!(expected.get_or_insert_with(|| tables.clone()), &tables, "{chunk} {workers}");
        scratch.clean(&output, &CLINICAL);
    }
}
