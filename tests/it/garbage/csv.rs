use super::{CSV, check, partly, refused};

#[test]
fn broken_csv_ends_in_rejects_or_a_clear_error() {
    let header = "claim_id,line_no,paid_amount\n";
    let wide = |extra: usize| -> String {
        let names: Vec<String> = (0..extra).map(|n| format!("c{n}")).collect();
        format!("claim_id,line_no,{}\nC1,1,{}\n", names.join(","), vec!["x"; extra].join(","))
    };
    check(vec![
        refused("a header alone", CSV, header, 1, "holds no records"),
        partly("a header alone, which is right", &["claims", "--allow-empty"], header, &[], 0),
        refused("a header alone, without a newline", CSV, header.trim_end(), 1, "holds no records"),
        refused("CR line ends", CSV, header.replace('\n', "\r") + "C1,1,2\rC2,2,3\r", 2, "CR alone"),
        refused(
            "a required column missing",
            CSV,
            "claim_id,paid_amount\nC1,2\n",
            2,
            "required columns are missing: line_no",
        ),
        refused("a column twice", CSV, "claim_id,line_no,claim_id\nC1,2,3\n", 2, "two columns are called 'claim_id'"),
        refused("no known column", CSV, "alpha,beta\n1,2\n", 2, "none of its columns"),
        refused("no header at all", CSV, "C1,1,P1,1,x,1,1,2024-01-01\n", 2, "header"),
        refused("another delimiter", CSV, "claim_id;line_no\nC1;1\n", 2, "none of its columns"),
        refused("an unclosed quote in the header", CSV, "\"claim_id,line_no\nC1,1\n", 2, "header"),
        refused("a header without an end", CSV, "claim_id,line_no,".repeat(1 << 20), 2, "no end of the CSV header"),
        refused("nested tables", &["clinical"], "patient_id\nP1\n", 2, "can't hold lists"),
        partly("ragged rows", CSV, format!("{header}C1,1\nC2,1,2,3\nC3,1,2\n\nC4\n"), &[("not_a_record", 3)], 1),
        partly("an unclosed quote", CSV, format!("{header}C1,1,2\nC2,\"1,2\nC3,1,2\n"), &[("truncated", 1)], 1),
        partly(
            "an unclosed quote before a megabyte",
            CSV,
            format!("{header}C1,\"{}", "1,2\n".repeat(1 << 18)),
            &[("truncated", 1)],
            0,
        ),
        partly(
            "wrong types",
            CSV,
            format!(
                "{header}C1,x,2\nC2,1,abc\n,1,1\nC4,99999999999,1\nC5,0,1\nC6,1,nan\nC7,1,1e999\nC8,1,-inf\nC9,0x10,1\n"
            ),
            &[("invalid", 1), ("missing_field", 1), ("out_of_range", 4), ("wrong_type", 3)],
            0,
        ),
        partly(
            "invalid UTF-8 in one row",
            CSV,
            [header.as_bytes(), b"C1,1,2\n\xff\xfe,1,2\n\"C\n\xff\",1,2\nC4,1,2\n"].concat(),
            &[("invalid_utf8", 2)],
            2,
        ),
        refused("invalid UTF-8 in the header", CSV, b"claim_id,line_no,\xff\nC1,1,2\n".to_vec(), 2, "not UTF-8"),
        partly("330 columns", CSV, wide(328), &[], 1),
        partly("20,000 columns", CSV, wide(19_998), &[], 1),
        partly("330 columns and a row of 331", CSV, wide(328) + &"1,".repeat(330) + "x\n", &[("not_a_record", 1)], 1),
        partly(
            "a row over the limit",
            CSV,
            format!("{header}C1,1,2\n{},1,2\nC3,1,2\n", "x".repeat((10 << 20) + 1)),
            &[("too_large", 1)],
            2,
        ),
        partly(
            "one long quoted field over the limit",
            CSV,
            format!("{header}\"{}\",1,2\nC2,1,2\n", "x\n".repeat(6 << 20)),
            &[("too_large", 1)],
            1,
        ),
    ]);
}
