use super::{JSON, check, partly, refused};

#[test]
fn broken_json_ends_in_rejects() {
    let deep = |open: &str, inner: &str, close: &str| open.repeat(100_000) + inner + &close.repeat(100_000);
    let digits = "9".repeat(10_000);
    let cases = vec![
        partly(
            "a known field nested 100,000 deep",
            JSON,
            format!("{{\"j\":{}}}\n{{}}\n", deep("[", "", "]")),
            &[("too_deep", 1)],
            1,
        ),
        partly(
            "an unknown field nested 100,000 deep",
            JSON,
            format!("{{\"x\":{}}}\n{{}}\n", deep("{\"a\":", "1", "}")),
            &[("too_deep", 1)],
            1,
        ),
        partly(
            "nested and never closed",
            JSON,
            format!("{{\"j\":{}\n{{}}\n", "[".repeat(100_000)),
            &[("too_deep", 1)],
            1,
        ),
        partly("arrays nested 100,000 deep", JSON, deep("[", "", "]"), &[("too_deep", 1)], 0),
        partly(
            "objects nested 100,000 deep in an array",
            JSON,
            format!("[{}]", deep("{\"j\":", "1", "}")),
            &[("too_deep", 1)],
            0,
        ),
        partly("100,000 opened arrays", JSON, "[".repeat(100_000), &[("too_deep", 1), ("truncated", 1)], 0),
        partly(
            "100,000 closed arrays",
            &["typed.yaml", "--format", "json"],
            "]".repeat(100_000),
            &[("not_a_record", 1)],
            0,
        ),
        partly(
            "numbers of 10,000 digits",
            JSON,
            format!(
                "{{\"n\":{digits}}}\n{{\"f\":{digits}}}\n{{\"d\":{digits}}}\n{{\"f\":0.{digits}}}\n{{\"j\":{digits}}}\n{{\"x\":{digits}}}\n"
            ),
            &[("out_of_range", 3)],
            3,
        ),
        partly(
            "huge exponents",
            JSON,
            "{\"f\":1e999}\n{\"f\":-1e99999999999999999999}\n{\"f\":1e-999}\n{\"n\":1e999999999999}\n{\"d\":1e999999999999}\n{\"j\":1e999999999}\n",
            &[("out_of_range", 3), ("wrong_type", 1)],
            2,
        ),
        partly(
            "duplicate keys",
            JSON,
            "{\"id\":\"a\",\"id\":\"b\"}\n{\"n\":1,\"\\u006e\":2}\n{\"id\":\"c\"}\n",
            &[("duplicate_key", 2)],
            1,
        ),
        partly(
            "wrong types",
            JSON,
            "{\"id\":1}\n{\"n\":\"x\"}\n{\"n\":1.5}\n{\"f\":true}\n{\"day\":20240101}\n{\"day\":\"2024-13-01\"}\n{\"at\":\"soon\"}\n{\"yes\":\"yes\"}\n{\"id\":{}}\n{\"id\":[]}\n{\"d\":\"x\"}\n",
            &[("wrong_type", 11)],
            0,
        ),
        partly("no objects", JSON, "{\"id\":\"a\"}\n1\n\"x\"\nnull\n[]\ntrue\n", &[("not_a_record", 5)], 1),
        partly("two objects on a line", JSON, "{\"id\":\"a\"}{\"id\":\"b\"}\n", &[("syntax", 1)], 0),
        partly(
            "lone surrogates",
            JSON,
            "{\"id\":\"\\ud800\"}\n{\"id\":\"\\udc00\"}\n{\"x\":\"\\ud800\\u0041\"}\n{\"id\":\"\\ud83d\\ude00\"}\n",
            &[("syntax", 3)],
            1,
        ),
        partly(
            "control characters in strings",
            JSON,
            "{\"id\":\"a\u{1}b\"}\n{\"x\":\"a\tb\"}\n{\"id\":\"a\\u0001b\"}\n",
            &[("syntax", 2)],
            1,
        ),
        partly("the last line cut off", JSON, "{\"id\":\"a\"}\n{\"id\":\"b", &[("truncated", 1)], 1),
        partly("an array that is not closed", JSON, "[{\"id\":\"a\"},{\"id\":\"b\"}", &[("truncated", 1)], 2),
        partly("an array cut off in an element", JSON, "[{\"id\":\"a\"},{\"id\":\"b", &[("truncated", 2)], 1),
        partly("an array closed too early", JSON, "[{\"id\":\"a\"}],{\"id\":\"b\"}]", &[("syntax", 1)], 1),
        partly("data after an array", JSON, "[{\"id\":\"a\"}]\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", &[("syntax", 1)], 1),
        partly("an array closed by a brace", JSON, "[{\"id\":\"a\"}}", &[("syntax", 1)], 1),
        partly("a comma at the end of an array", JSON, "[{\"id\":\"a\"},]", &[("not_a_record", 1)], 1),
        partly("commas alone", JSON, "[,,]", &[("not_a_record", 3)], 0),
        partly("no commas", JSON, "[{\"id\":\"a\"} {\"id\":\"b\"}]", &[("syntax", 1)], 0),
        partly("scalars in an array", JSON, "[1,\"a\",null,true,[],{\"id\":\"a\"}]", &[("not_a_record", 5)], 1),
        refused("an array of nothing", JSON, " [ ] ", 1, "holds no records"),
        partly("CSV called JSON", &["typed.yaml", "--format", "json"], "id,n\na,1\n", &[("not_a_record", 1)], 0),
        partly("CSV called NDJSON", &["typed.yaml", "--format", "ndjson"], "id,n\na,1\n", &[("syntax", 2)], 0),
        partly(
            "an array called NDJSON",
            &["typed.yaml", "--format", "ndjson"],
            "[{\"id\":\"a\"}]\n",
            &[("not_a_record", 1)],
            0,
        ),
        partly(
            "records of just over and just under the limit",
            JSON,
            format!(
                "{{\"id\":\"{}\"}}\n{{\"id\":\"{}\"}}\n{{\"id\":\"c\"}}\n",
                "x".repeat(10 << 20),
                "y".repeat((10 << 20) - 100)
            ),
            &[("too_large", 1)],
            2,
        ),
    ];
    check(cases);
}
