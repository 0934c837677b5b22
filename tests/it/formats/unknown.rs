use super::NESTED;
use crate::support::Scratch;

#[test]
fn unknown_fields_are_ignored_rejected_or_kept_as_the_recipe_says() {
    let scratch = Scratch::new();
    let recipe = scratch.write("nested.yaml", NESTED);
    let input = scratch.write(
        "x.ndjson",
        "{\"id\":\"a\",\"extra\":{\"k\": [1]},\"more\":\"é\\n\",\"parts\":[{\"name\":\"p\",\"size\":2},{\"name\":\"q\"}],\"place\":{\"lat\":1.50}}\n{\"id\":\"b\"}\n",
    );
    let run = |policy: &str| {
        let setting = format!("unknown_fields={policy}");
        let outcome = scratch.run(&recipe, &input, policy, &[&setting]);
        outcome.conserved();
        (outcome, scratch.tables(policy, &["items", "parts"]))
    };
    let (outcome, tables) = run("ignore");
    outcome.expect(0);
    assert_eq!(tables["items"], ["a|∅|∅", "b|∅|∅"]);
    assert_eq!(tables["parts"], ["p|∅|a", "q|∅|a"]);
    let (outcome, tables) = run("reject");
    outcome.expect(3);
    assert_eq!((outcome.rejects("unknown_field"), tables["items"].clone()), (1, vec!["b|∅|∅".to_owned()]));
    let (outcome, tables) = run("keep");
    outcome.expect(0);
    let kept: Vec<&str> = tables["items"][0].splitn(4, '|').collect();
    let kept: serde_json::Value = serde_json::from_str(kept[3]).unwrap();
    assert_eq!((&kept["extra"], &kept["more"]), (&serde_json::json!({"k": [1]}), &serde_json::json!("é\n")));
    assert!(kept.to_string().contains("1.5"), "{kept}");
    assert_eq!(tables["items"][1], "b|∅|∅|∅");
    assert_eq!(tables["parts"], ["p|∅|{\"size\":2}|a", "q|∅|∅|a"]);
}
