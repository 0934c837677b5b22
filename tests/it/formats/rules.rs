use crate::support::Scratch;

/// Runs one column of a type over JSON values, and gives what became of each: the row, or the reason. `absent` is no
/// value at all.
fn column(scratch: &Scratch, number: usize, spec: &str, values: &[&str]) -> Vec<String> {
    let recipe = format!("name: one\nrecord:\n  table: items\n  fields:\n    row: {{type: int}}\n    v: {spec}\n");
    let recipe = scratch.write("one.yaml", recipe);
    let lines: String = values
        .iter()
        .enumerate()
        .map(|(row, value)| match *value {
            "absent" => format!("{{\"row\":{row}}}\n"),
            value => format!("{{\"row\":{row},\"v\":{value}}}\n"),
        })
        .collect();
    let (input, output) = (scratch.write("one.ndjson", lines), format!("column-{number}"));
    let outcome = scratch.forebay(&["run", &recipe, &input, "--output", &output, "--job", "one"]);
    assert!(matches!(outcome.status, 0 | 3), "{spec}: {}{}", outcome.stdout, outcome.stderr);
    outcome.conserved();
    assert_eq!(outcome.records_in(), values.len() as u64, "{spec}");
    let mut found = vec![String::new(); values.len()];
    for row in scratch.rows(&output, "items") {
        let (number, value) = row.split_once('|').unwrap();
        found[number.parse::<usize>().unwrap()] = value.to_owned();
    }
    let rejects = scratch.forebay(&["rejects", "one", "--output", &output, "--json"]);
    for line in rejects.expect(0).stdout.lines() {
        let reject: serde_json::Value = serde_json::from_str(line).unwrap();
        let place = &mut found[reject["record"].as_u64().unwrap() as usize - 1];
        assert!(place.is_empty() && reject["path"] == "v", "{spec}: {reject}");
        *place = format!("!{}", reject["reason"].as_str().unwrap());
    }
    found
}

#[test]
fn every_rule_of_a_column_is_kept() {
    let scratch = Scratch::new();
    let columns: &[(&str, &[(&str, &str)])] = &[
        (
            "{type: string}",
            &[
                ("\"a\"", "a"),
                ("\"\"", ""),
                ("null", "∅"),
                ("absent", "∅"),
                ("1", "!wrong_type"),
                ("{}", "!wrong_type"),
            ],
        ),
        (
            "{type: string, required: true}",
            &[("\"a\"", "a"), ("\"\"", ""), ("null", "!missing_field"), ("absent", "!missing_field")],
        ),
        (
            "{type: string, min_length: 2, max_length: 3}",
            &[
                ("\"a\"", "!invalid"),
                ("\"aé\"", "aé"),
                ("\"日本語\"", "日本語"),
                ("\"abcd\"", "!invalid"),
                ("null", "∅"),
            ],
        ),
        (
            "{type: string, pattern: \"[A-Z][0-9]{2}|x\"}",
            &[
                ("\"A12\"", "A12"),
                ("\"x\"", "x"),
                ("\"A123\"", "!invalid"),
                ("\"xA12\"", "!invalid"),
                ("\"A12\\n\"", "!invalid"),
                ("\"\"", "!invalid"),
            ],
        ),
        (
            "{type: string, values: [b, a, \"1\"]}",
            &[
                ("\"a\"", "a"),
                ("\"b\"", "b"),
                ("\"1\"", "1"),
                ("\"c\"", "!invalid"),
                ("\"A\"", "!invalid"),
                ("\"\"", "!invalid"),
                ("null", "∅"),
            ],
        ),
        (
            "{type: int}",
            &[
                ("0", "0"),
                ("-0", "0"),
                ("1.0", "1"),
                ("1e3", "1000"),
                ("1.5", "!wrong_type"),
                ("\"1\"", "!wrong_type"),
                ("9223372036854775807", "9223372036854775807"),
                ("-9223372036854775808", "-9223372036854775808"),
                ("9223372036854775808", "!out_of_range"),
                ("1e300", "!out_of_range"),
                ("true", "!wrong_type"),
            ],
        ),
        (
            "{type: int, min: -5, max: 10}",
            &[("-5", "-5"), ("10", "10"), ("-6", "!invalid"), ("11", "!invalid"), ("1e1", "10"), ("1e2", "!invalid")],
        ),
        (
            "{type: int32}",
            &[("2147483647", "2147483647"), ("2147483648", "!out_of_range"), ("-2147483649", "!out_of_range")],
        ),
        (
            "{type: float}",
            &[("1", "1.0"), ("-0.5", "-0.5"), ("1e308", "1e308"), ("1e309", "!out_of_range"), ("\"1\"", "!wrong_type")],
        ),
        (
            "{type: float, min: 0, max: 0.5}",
            &[("0", "0.0"), ("0.5", "0.5"), ("0.50001", "!invalid"), ("-1e-9", "!invalid")],
        ),
        (
            "{type: decimal, precision: 5, scale: 2}",
            &[
                ("123.45", "123.45"),
                ("\"-0.1\"", "-0.10"),
                ("999.99", "999.99"),
                ("1000", "!out_of_range"),
                ("1.234", "!out_of_range"),
                ("1.2300", "1.23"),
                ("1e2", "100.00"),
                ("\"-1.5E-1\"", "-0.15"),
                ("1e3", "!out_of_range"),
                ("1e-3", "!out_of_range"),
                ("\"x\"", "!wrong_type"),
                ("\"\"", "!wrong_type"),
                ("true", "!wrong_type"),
                ("0", "0.00"),
            ],
        ),
        (
            "{type: decimal, precision: 38, scale: 0}",
            &[
                ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
                ("100000000000000000000000000000000000000", "!out_of_range"),
            ],
        ),
        (
            "{type: decimal, precision: 10, scale: 2, min: 1, max: 2}",
            &[("1", "1.00"), ("\"2.00\"", "2.00"), ("2.01", "!invalid"), ("0.99", "!invalid")],
        ),
        (
            "{type: bool}",
            &[("true", "true"), ("false", "false"), ("\"true\"", "!wrong_type"), ("1", "!wrong_type"), ("null", "∅")],
        ),
        (
            "{type: date}",
            &[
                ("\"2024-02-29\"", "2024-02-29"),
                ("\"2023-02-29\"", "!wrong_type"),
                ("\"2024-2-9\"", "!wrong_type"),
                ("\"0001-01-01\"", "0001-01-01"),
                ("\"9999-12-31\"", "9999-12-31"),
                ("20240229", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%m/%d/%Y\"}",
            &[
                ("\"02/29/2024\"", "2024-02-29"),
                ("\"2/9/2024\"", "2024-02-09"),
                ("\"29/02/2024\"", "!wrong_type"),
                ("\"2024-02-29\"", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%d.%m.%Y\"}",
            &[
                ("\"29.02.2024\"", "2024-02-29"),
                ("\"9.2.2024\"", "2024-02-09"),
                ("\"02.29.2024\"", "!wrong_type"),
                ("\"1.1.24\"", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%Y%m%d\"}",
            &[("\"20240229\"", "2024-02-29"), ("\"2024022\"", "!wrong_type"), ("\"20240230\"", "!wrong_type")],
        ),
        (
            "{type: date, min: \"2020-01-01\", max: \"2020-12-31\"}",
            &[
                ("\"2020-01-01\"", "2020-01-01"),
                ("\"2020-12-31\"", "2020-12-31"),
                ("\"2019-12-31\"", "!invalid"),
                ("\"2021-01-01\"", "!invalid"),
            ],
        ),
        (
            "{type: timestamp}",
            &[
                ("\"2024-02-29T23:59:59.5Z\"", "2024-02-29T23:59:59.500Z"),
                ("\"2024-03-01T01:00:00+02:00\"", "2024-02-29T23:00:00Z"),
                ("\"2024-03-01 01:00\"", "2024-03-01T01:00:00Z"),
                ("\"2024-03-01\"", "2024-03-01T00:00:00Z"),
                ("\"2024-03-01T25:00:00Z\"", "!wrong_type"),
                ("\"\"", "!wrong_type"),
                ("1709251200", "!wrong_type"),
            ],
        ),
        (
            "{type: timestamp, min: \"2024-01-01\"}",
            &[("\"2024-01-01T00:00:00Z\"", "2024-01-01T00:00:00Z"), ("\"2024-01-01T00:00:00+01:00\"", "!invalid")],
        ),
        (
            "{type: json}",
            &[("{\"a\": [1, {}]}", "{\"a\": [1, {}]}"), ("\"x\"", "\"x\""), ("null", "∅"), ("1e999", "1e999")],
        ),
        ("{type: string, protected: true}", &[("\"secret\"", "∅"), ("null", "∅"), ("{\"any\":1}", "∅")]),
    ];
    for (number, (spec, cases)) in columns.iter().enumerate() {
        let values: Vec<&str> = cases.iter().map(|(value, _)| *value).collect();
        let expected: Vec<&str> = cases.iter().map(|(_, result)| *result).collect();
        assert_eq!(column(&scratch, number, spec, &values), expected, "{spec} over {values:?}");
    }
}
