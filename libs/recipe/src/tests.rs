use crate::*;

fn fails(change: impl FnOnce(&mut String)) -> String {
    let mut text = include_str!("../../../recipes/clinical.yaml").to_owned();
    change(&mut text);
    match Recipe::parse("mine.yaml", &text) {
        Err(error) => error.to_string(),
        Ok(recipe) => recipe.layout().unwrap_err().to_string(),
    }
}

fn swap(from: &str, to: &str) -> String {
    fails(|text| {
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
    })
}

#[test]
fn shipped_recipes_compile() {
    for (name, _) in SHIPPED {
        let (recipe, _) = shipped(name).unwrap();
        assert_eq!(recipe.name, *name);
        recipe.layout().unwrap();
    }
}

#[test]
fn clinical_becomes_three_tables_with_parents_keys() {
    let (recipe, _) = shipped("clinical").unwrap();
    let layout = recipe.layout().unwrap();
    let columns = |table: usize| -> Vec<String> {
        layout.tables[table].schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(
        layout.tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["patients", "encounters", "observations"]
    );
    assert!(columns(0).contains(&"address_city".to_owned()));
    assert_eq!(columns(2)[columns(2).len() - 2..], ["encounter_id", "patient_id"]);
    assert!(layout.protected);
}

#[test]
fn errors_name_the_place_and_what_is_allowed() {
    let error = swap("type: timestamp", "type: moment");
    assert!(error.contains("mine.yaml") && error.contains("moment") && error.contains("timestamp"), "{error}");
    assert!(error.contains("line"), "{error}");
    let error = swap("birth_date: {type: date, identifies: birth_date}", "birth_date: {type: date, formt: x}");
    assert!(error.contains("formt") && error.contains("format"), "{error}");
    let error = swap("birth_date: {type: date, identifies: birth_date}", "birth_date: {type: date, format: \"%y\"}");
    assert!(error.contains("record.fields.birth_date.format") && error.contains("%m/%d/%Y"), "{error}");
    let error = swap("key: encounter_id", "key: nope");
    assert!(error.contains("encounters.key") && error.contains("nope"), "{error}");
    let error = swap("gender: {type: string}", "gender: {type: string, pattern: \"(\"}");
    assert!(error.contains("gender.pattern"), "{error}");
    let error = swap("gender: {type: string}", "gender: {type: int, values: [a]}");
    assert!(error.contains("for strings only"), "{error}");
    let error = swap("gender: {type: string}", "mrn: {type: string, identifies: mrn}");
    assert!(error.contains("twice") || error.contains("duplicate"), "{error}");
    let error = fails(|text| text.push_str("unknown_fields: keep\n"));
    assert!(error.contains("protect"), "{error}");
}

#[test]
fn settings_change_the_recipe_and_unknown_ones_are_listed() {
    let (mut recipe, _) = shipped("clinical").unwrap();
    let mut tuning = Tuning::default();
    tuning.set(&mut recipe, "protect", "off").unwrap();
    tuning.set(&mut recipe, "chunk.rows", "100").unwrap();
    tuning.set(&mut recipe, "commit.interval", "250ms").unwrap();
    assert!(!recipe.layout().unwrap().protected);
    assert_eq!(tuning.chunk_rows, 100);
    tuning.set(&mut recipe, "unknown_fields", "keep").unwrap();
    tuning.set(&mut recipe, "on_error", "fail").unwrap();
    assert_eq!((recipe.unknown_fields, recipe.on_error), (UnknownFields::Keep, OnError::Fail));
    let error = tuning.set(&mut recipe, "on_error", "Fail").unwrap_err().to_string();
    assert!(error.contains("reject|fail"), "{error}");
    let error = tuning.set(&mut recipe, "chunks", "1").unwrap_err().to_string();
    assert!(error.contains("chunk.rows"), "{error}");
    let error = tuning.set(&mut recipe, "workers", "0").unwrap_err().to_string();
    assert!(error.contains("'0'"), "{error}");
}

#[test]
fn civil_days_agree_with_known_dates() {
    for (date, days) in [((1970, 1, 1), 0), ((2000, 3, 1), 11_017), ((1969, 12, 31), -1), ((2024, 2, 29), 19_782)] {
        assert_eq!(days_from_civil(date.0, date.1, date.2), days);
    }
}

#[test]
fn profiles_say_what_becomes_of_identifiers() {
    let treatment = |profile: &str, table: usize, column: &str| {
        let (mut recipe, _) = shipped("clinical").unwrap();
        Tuning::default().set(&mut recipe, "profile", profile).unwrap();
        let layout = recipe.layout().unwrap();
        layout.tables[table].columns.iter().find(|known| known.name == column).unwrap().treatment
    };
    for (column, safe_harbor, limited) in [
        ("name", Treatment::Withhold, Treatment::Withhold),
        ("birth_date", Treatment::BirthYear(1936), Treatment::Keep),
        ("address_zip", Treatment::Zip3, Treatment::Keep),
        ("address_city", Treatment::Withhold, Treatment::Keep),
        ("address_state", Treatment::Keep, Treatment::Keep),
    ] {
        assert_eq!(treatment("safe-harbor", 0, column), safe_harbor, "{column}");
        assert_eq!(treatment("limited", 0, column), limited, "{column}");
        assert_eq!(treatment("public", 0, column), Treatment::Keep, "{column}");
    }
    assert_eq!(treatment("safe-harbor", 1, "start"), Treatment::Year);
}

#[test]
fn redact_steps_are_checked() {
    let step = "redact: {table: observations, column: note}";
    let error = swap(step, "redact: {table: notes, column: note}");
    assert!(error.contains("steps[0].redact.table") && error.contains("observations"), "{error}");
    let error = swap(step, "redact: {table: observations, column: value}");
    assert!(error.contains("steps[0].redact.column") && error.contains("string"), "{error}");
    let error = swap(step, "redact: {table: observations, column: note, style: paint}");
    assert!(error.contains("line") && error.contains("pseudonym"), "{error}");
    let error = swap(step, "sql: {table: x, query: select 1}\n  - redact: {table: observations, column: note}");
    assert!(error.contains("steps[1].redact") && error.contains("first"), "{error}");
    let error = swap(step, &format!("{step}\n  - {step}"));
    assert!(error.contains("steps[1].redact.column") && error.contains("another redact step"), "{error}");
    let error = swap(step, "redact: {table: observations, column: observation_id}");
    assert!(error.contains("steps[0].redact.column") && error.contains("the table's key"), "{error}");
    let model = |column: &str, reason: &str| {
        format!("redact: {{table: observations, column: {column}, model: {{path: m, reason: {reason}}}}}")
    };
    let error = swap(step, &format!("{}\n  - {}", model("note", "display"), model("unit", "display")));
    assert!(error.contains("steps[1].redact.model.reason") && error.contains("another redact step"), "{error}");
    let error = swap(step, &format!("{}\n  - {}", model("note", "display"), model("display", "unit")));
    assert!(error.contains("steps[1].redact.column") && error.contains("'display'"), "{error}");
    let error = swap("zip: {type: string, identifies: zip}", "zip: {type: date, identifies: zip}");
    assert!(error.contains("zip.identifies") && error.contains("string"), "{error}");
}

fn enriching(step: &str) -> Result<Recipe, String> {
    let text = format!(
        "name: r\nrecord:\n  table: t\n  fields: {{npi: {{type: string}}, zip: {{type: string}}}}\nsteps:\n  - enrich: \
         {{table: t, {step}}}\n"
    );
    let recipe = Recipe::parse("r", &text).map_err(|error| error.to_string())?;
    recipe.layout().map_err(|error| error.to_string())?;
    Ok(recipe)
}

#[test]
fn enrich_steps_are_checked_whole() {
    for (step, named) in [
        ("enricher: nppes, key: npi, columns: [org_nam]", "org_name"),
        ("enricher: nppes, key: {a: npi}, columns: [city]", "one column"),
        ("enricher: nppes, key: npi, columns: []", "at least one"),
        ("enricher: medicare, key: zip, columns: [rate]", "place_of_service"),
        ("enricher: medicare, key: {zipp: zip}, columns: [rate]", "zipp"),
        ("enricher: zip, key: zip, columns: [latitude], settings: {rate: 4}", "'rate'"),
        ("enricher: nppes, key: npi, columns: [city], settings: {rate: 0}", "'0'"),
        ("enricher: nppes, key: npi, columns: [city], settings: {url: 'ftp://x'}", "ftp"),
        ("enricher: http, key: npi, columns: {a: {path: /a}}", "url"),
        ("enricher: http, key: npi, columns: [a], settings: {url: 'http://x/{key}'}", "definition"),
        ("enricher: magic, key: npi, columns: [a]", "magic"),
    ] {
        let error = enriching(step).unwrap_err();
        assert!(error.contains(named), "{step}: {error}");
    }
    enriching("enricher: http, key: npi, columns: {a: {path: /a, type: int}}, settings: {url: 'http://x/{key}'}")
        .unwrap();
}

#[test]
fn settings_of_enrichers_go_by_name() {
    let text = SHIPPED.iter().find(|(name, _)| *name == "providers").unwrap().1;
    let set = |key: &str, value: &str| Prepared::new("p", text, &[(key.to_owned(), value.to_owned())].into());
    let prepared = set("nppes.rate", "7").unwrap();
    let Some(Step::Enrich(step)) = prepared.recipe.steps.first() else { panic!("the first step looks NPIs up") };
    assert_eq!(step.request_settings()["rate"], "7");
    for (key, value, named) in [
        ("nppes.rat", "7", "rate"),
        ("nppes.rate", "fast", "fast"),
        ("geocode.rate", "7", "no such setting"),
        ("nppes.ttl", "soon", "soon"),
    ] {
        let error = set(key, value).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(key), "{error}");
    }
}

#[test]
fn kinds_and_paths_are_checked_whole() {
    let fails = |records: &str| {
        let text = format!("name: k\n{records}");
        match Recipe::parse("k.yaml", &text) {
            Err(error) => error.to_string(),
            Ok(recipe) => recipe.layout().unwrap_err().to_string(),
        }
    };
    for (records, hint) in [
        ("", "record"),
        ("record: {table: t, fields: {a: {type: int}}}\nrecords: {by: t, kinds: {A: {each: a}}}", "only one"),
        ("records: {by: t, kinds: {A: {each: a}}}", "at least one kind with a table"),
        ("records: {by: t, kinds: {A: {table: a}}}", "records.kinds.A: needs `table` and `fields`"),
        ("records: {by: t, kinds: {A: {each: 'a['}}}", "records.kinds.A.each"),
        ("records: {by: t, kinds: {A: {table: a, subject: x, fields: {a: {type: int}}}}}", "A.subject: 'x'"),
        ("record: {table: t, fields: {a: {type: int, path: 'x..y'}}}", "record.fields.a.path"),
        ("record: {table: t, fields: {a: {type: int, path: []}}}", "at least one path"),
        ("record: {table: t, fields: {a: {type: int, join: x}}}", "a.join: is for strings only"),
        ("record: {table: t, fields: {a: {type: string, join: x}}}", "a.join: needs `path`"),
        ("record: {table: t, fields: {a: {type: int, encoding: base64}}}", "a.encoding"),
        ("record: {table: t, fields: {a: {type: string, after: ''}}}", "a.after"),
        ("record: {table: t, fields: {a: {type: string, partial: true}}}", "a.partial"),
        ("record: {table: t, fields: {a: {type: list, path: x, fields: {b: {type: int}}}}}", "a.path"),
    ] {
        let error = fails(records);
        assert!(error.contains(hint), "{records}: {error}");
    }
}

#[test]
fn identifiers_become_tokens_and_dates_move_where_that_is_asked_for() {
    let (mut recipe, _) = shipped("clinical").unwrap();
    let mut tuning = Tuning::default();
    tuning.set(&mut recipe, "identifiers", "pseudonym").unwrap();
    tuning.set(&mut recipe, "dates", "shift").unwrap();
    let layout = recipe.layout().unwrap();
    let treatment = |column: &str| {
        layout.tables[0].columns.iter().find(|known| known.name == column).map(|column| column.treatment).unwrap()
    };
    assert_eq!(treatment("name"), Treatment::Pseudonym(Identifies::Name));
    assert_eq!(treatment("address_city"), Treatment::Withhold);
    assert_eq!(treatment("birth_date"), Treatment::Shift(1936));
    let Some(Step::Redact(step)) = recipe.steps.first() else { panic!() };
    assert_eq!((step.style(&recipe), step.dates(&recipe)), (RedactStyle::Pseudonym, RedactDates::Shift));
    tuning.set(&mut recipe, "profile", "limited").unwrap();
    assert_eq!(
        recipe.layout().unwrap().tables[0].columns[3].treatment,
        Treatment::Shift(i32::MIN),
        "a limited data set keeps dates, unless they are to be moved"
    );
}
