use super::{CSV, JSON, check, noise, partly, refused};

#[test]
fn text_that_is_hardly_text_ends_in_rejects_or_a_clear_error() {
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let records = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n";
    let header = "claim_id,line_no,paid_amount\n";
    check(vec![
        refused("empty", JSON, "", 1, "holds no records"),
        refused("only white space", JSON, " \n\n \t \r\n", 1, "holds no records"),
        refused("only a byte order mark", JSON, "\u{feff}", 1, "holds no records"),
        partly("nothing, which is right", &["typed.yaml", "--allow-empty"], "", &[], 0),
        refused("an empty CSV", &["claims", "--format", "csv"], "", 2, "not even a CSV header"),
        refused("a CSV of white space", &["claims", "--format", "csv"], " \n \n", 2, "header"),
        refused("an empty Parquet file", &["typed.yaml", "--format", "parquet"], "", 2, "Parquet"),
        partly("an empty JSON array", &["typed.yaml", "--format", "json"], "", &[("not_a_record", 1)], 0),
        refused("an empty Arrow file", &["clinical", "--format", "arrow", "--set", "protect=off"], "", 2, "Arrow"),
        refused("NUL bytes", JSON, vec![0; 5000], 2, "NUL bytes"),
        partly("NUL bytes between records", JSON, "{\"id\":\"a\"}\n\0\0\n{\"id\":\"b\0\"}\n", &[("syntax", 2)], 1),
        refused("random bytes", JSON, noise(100_000), 2, "NUL bytes"),
        refused("UTF-16, little end first", JSON, utf16(records, false), 2, "iconv"),
        refused("UTF-16, big end first", CSV, utf16(header, true), 2, "iconv"),
        partly(
            "invalid UTF-8 in one record",
            JSON,
            b"{\"id\":\"a\"}\n{\"id\":\"\xff\xfe\"}\n{\"id\":\"\xc3\"}\n{\"id\":\"d\"}\n",
            &[("invalid_utf8", 2)],
            2,
        ),
        partly("an overlong UTF-8 form", JSON, b"{\"id\":\"\xc0\xaf\"}\n", &[("invalid_utf8", 1)], 0),
        partly("a surrogate in UTF-8", JSON, b"{\"id\":\"\xed\xa0\x80\"}\n", &[("invalid_utf8", 1)], 0),
        refused("a directory's listing", CSV, "total 0\n-rw-r--r-- 1 a b 0 x\n", 2, "none of its columns"),
        refused("HTML", CSV, "<html><body>Not found</body></html>\n", 2, "none of its columns"),
    ]);
}
