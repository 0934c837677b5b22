use crate::support::Scratch;

#[test]
fn csv_comes_with_other_delimiters_nulls_renamed_columns_and_without_a_header() {
    let scratch = Scratch::new();
    let recipe = |csv: &str| {
        format!(
            "name: mine\nsource:\n  format: csv\n  csv: {csv}\nrecord:\n  table: items\n  fields:\n    \
             id: {{type: string, required: true, column: item}}\n    n: {{type: int}}\n    ok: {{type: bool}}\n    note: {{type: string}}\n"
        )
    };
    for (name, csv, input, expected) in [
        ("plain", "{}", "id,n,ok,note\na,1,true,x\nb,,F,\"\"\n", ["a|1|true|x", "b|∅|false|"]),
        ("crlf", "{}", "id,n,ok,note\r\na,1,true,x\r\nb,,0,\"\"\r\n", ["a|1|true|x", "b|∅|false|"]),
        ("by column names", "{}", "note,item,n,ok\nx,a,1,T\n\"\",b,,f\n", ["a|1|true|x", "b|∅|false|"]),
        ("fewer and other columns", "{}", "junk,id\n\"a,\nb\",a\n,b\n", ["a|∅|∅|∅", "b|∅|∅|∅"]),
        (
            "tabs",
            "{delimiter: \"\\t\"}",
            "id\tn\tok\tnote\na\t1\ttrue\tx,y\nb\t\tfalse\t\n",
            ["a|1|true|x,y", "b|∅|false|∅"],
        ),
        (
            "other quotes",
            "{delimiter: \";\", quote: \"'\"}",
            "id;n;ok;note\na;1;1;'x;''\"'\nb;2;0;\"\n",
            ["a|1|true|x;'\"", "b|2|false|\""],
        ),
        ("nulls", "{nulls: [NA, \"-\"]}", "id,n,ok,note\na,NA,-,\"NA\"\nb,-,NA,NA\n", ["a|∅|∅|NA", "b|∅|∅|∅"]),
        ("no header", "{header: false}", "a,1,true,x\nb,2,false,\n", ["a|1|true|x", "b|2|false|∅"]),
        (
            "no header, byte order mark",
            "{header: false}",
            "\u{feff}a,1,true,x\nb,2,false,\n",
            ["a|1|true|x", "b|2|false|∅"],
        ),
        ("quoted header", "{}", "\"id\",\"n\" , ok,note\na,1,true,x\nb,2,false,\n", ["a|1|true|x", "b|2|false|∅"]),
    ] {
        let (recipe, input) = (scratch.write("mine.yaml", recipe(csv)), scratch.write("x.csv", input));
        let outcome = scratch.run(&recipe, &input, name, &[]);
        outcome.expect(0).conserved();
        assert_eq!(scratch.rows(name, "items"), expected, "{name}");
    }
    // A null in a required column is a reject, however it is written.
    let (recipe, input) =
        (scratch.write("mine.yaml", recipe("{nulls: [NA]}")), scratch.write("x.csv", "id,n\nNA,1\n,2\n\"\",3\nc,4\n"));
    let outcome = scratch.run(&recipe, &input, "required", &[]);
    outcome.expect(3).conserved();
    assert_eq!((outcome.rejects("missing_field"), scratch.rows("required", "items").len()), (2, 2));
}
