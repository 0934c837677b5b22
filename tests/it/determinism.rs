use crate::support::{CLINICAL, Scratch, patients};

#[test]
fn rows_do_not_depend_on_chunk_size_or_workers() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(3_000));
    let mut expected = None;
    for chunk in [100, 5_000, 50_000] {
        for workers in [1, 2, 4] {
            let output = format!("out-{chunk}-{workers}");
            let settings = ["protect=off", &format!("chunk.rows={chunk}"), &format!("workers={workers}")];
            scratch.run("clinical", &input, &output, &settings).expect(0).conserved();
            let tables = scratch.tables(&output, &CLINICAL);
            assert_eq!(expected.get_or_insert_with(|| tables.clone()), &tables, "{chunk} {workers}");
            scratch.clean(&output, &CLINICAL);
        }
    }
}
