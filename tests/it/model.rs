//! Models of language in redact steps. The models are small ones that the tests make.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::Scratch;

#[path = "../../libs/ner/tests/tiny/mod.rs"]
mod tiny;

use tiny::Tiny;

/// Notes with a model in the scratch folder; `more` goes into the model's options.
fn recipe(scratch: &Scratch, more: &str) -> String {
    let folder = scratch.path("model");
    Tiny::by_hand().write(&folder);
    let text = format!(
        "name: notes\nrecord:\n  table: items\n  key: id\n  fields:\n    id: {{type: string, required: true}}\n    \
         note: {{type: string, protected: true}}\n    note_withheld: {{type: string}}\nsteps:\n  - redact: {{table: items, \
         column: note, model: {{path: \"{}\", reason: note_withheld{more}}}}}\n",
        folder.display()
    );
    scratch.write("notes.yaml", text)
}

fn note(id: usize, text: &str) -> String {
    serde_json::json!({"id": format!("N{id:04}"), "note": text, "note_withheld": "forged"}).to_string() + "\n"
}

#[cfg(feature = "ner")]
mod with_models {
    use super::*;

    #[test]
    fn what_a_model_finds_is_replaced_and_what_it_fails_on_is_withheld() {
        let scratch = Scratch::new();
        let recipe = recipe(&scratch, "");
        let texts =
            ["seen by zorblax venn in brakkton falls on 3/14/2024", "pain and boom by zorblax", "", "the patient"];
        let mut input: String = (0..400).map(|id| note(id, texts[id % 4])).collect();
        // Much longer than a window of the model.
        input += &note(400, &("pain and ".repeat(200) + "zurn Venn, quillfeather. " + &"the pain ".repeat(100)));
        input += "{\"id\": \"N0401\", \"note\": null}\n";
        let input = scratch.write("notes.ndjson", input);
        scratch.run(&recipe, &input, "out", &[]).expect(0).conserved();
        let rows = scratch.rows("out", "items");
        let expected = |id: usize| match id {
            400 => "pain and ".repeat(200) + "[NAME], [NAME]. " + &"the pain ".repeat(100) + "|∅",
            401 => "∅|∅".to_owned(),
            _ => ["seen by [NAME] in [PLACE] on [DATE]|∅", "∅|model_not_finite", "|∅", "the patient|∅"][id % 4]
                .to_owned(),
        };
        for (id, row) in rows.iter().enumerate() {
            assert_eq!(*row, format!("N{id:04}|{}", expected(id)));
        }
        assert_eq!(rows.len(), 402);
        // Neither chunks nor workers change what is found, or withheld.
        scratch.run(&recipe, &input, "cut", &["chunk.rows=30", "workers=1"]).expect(0).conserved();
        assert_eq!(rows, scratch.rows("cut", "items"));
        scratch.run(&recipe, &input, "public", &["profile=public"]).expect(0).conserved();
        assert!(scratch.rows("public", "items")[0].contains("zorblax venn"));
    }

    #[test]
    fn a_model_that_is_late_passes_nothing_on() {
        let scratch = Scratch::new();
        let recipe = recipe(&scratch, ", deadline: 0s");
        let input = scratch.write("notes.ndjson", (0..50).map(|id| note(id, "Dr. Ann Lee, pain")).collect::<String>());
        let outcome = scratch.run(&recipe, &input, "out", &[]);
        outcome.expect(0).conserved();
        assert!(scratch.rows("out", "items").iter().all(|row| row.ends_with("|∅|model_timeout")));
        assert!(
            outcome.stderr.contains("texts were withheld") && !outcome.stderr.contains("Ann"),
            "{}",
            outcome.stderr
        );
    }

    #[test]
    fn a_folder_that_is_no_model_is_refused_before_the_job() {
        let scratch = Scratch::new();
        let input = scratch.write("notes.ndjson", note(1, "pain"));
        let refused = |recipe: &str, told: &str| {
            let outcome = scratch.run(recipe, &input, "out", &[]);
            outcome.expect(2);
            assert!(outcome.stderr.contains(told), "{told}: {}", outcome.stderr);
            assert!(!scratch.path("out").join("items").exists(), "nothing was begun");
        };
        refused(&recipe(&scratch, ", labels: {LOC: PLAICE}"), "'PLAICE' is no class");
        refused(&recipe(&scratch, ", threshold: 7"), "model.threshold");
        let recipe = recipe(&scratch, "");
        let weights = scratch.path("model").join("model.safetensors");
        let whole = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, &whole[..whole.len() - 8]).unwrap();
        refused(&recipe, "model.safetensors: is cut off");
        std::fs::remove_file(&weights).unwrap();
        refused(&recipe, "can't read");
        let other = std::fs::read_to_string(&recipe).unwrap().replace("reason: note_withheld", "reason: id");
        refused(&scratch.write("other.yaml", other), "model.reason");
    }

    #[test]
    fn the_command_line_asks_a_model_too() {
        let scratch = Scratch::new();
        recipe(&scratch, "");
        let mut child = scratch
            .command(&["redact", "-", "--explain", "--model", "model"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text =
            "seen by zorblax venn\nboom zorblax\n{\"text\": \"in brakkton, MRN 12345678\"}\n{\"text\": \"boom\"}\n";
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        for part in [
            "seen by [NAME]\n",
            "named-entity model",
            "[WITHHELD: model_not_finite]\n",
            "\"text\":\"in [PLACE], MRN [MRN]\"",
            "{\"text\":null,\"withheld\":\"model_not_finite\"}",
        ] {
            assert!(output.contains(part), "{part}: {output}");
        }
        let labelled = scratch.write(
            "l.jsonl",
            "{\"text\": \"by zurn\", \"spans\": [{\"start\": 3, \"end\": 7, \"class\": \"PERSON\"}]}\n",
        );
        let outcome = scratch.forebay(&["redact", "eval", &labelled, "--json", "--model", "model"]);
        outcome.expect(0);
        assert!(outcome.stdout.contains("\"recall\": 1.0"), "{}", outcome.stdout);
        scratch.forebay(&["redact", "-", "--model", "nowhere"]).expect(2);
    }

    #[test]
    fn a_plan_has_room_for_the_model() {
        let scratch = Scratch::new();
        let outcome = scratch.forebay(&["plan", &recipe(&scratch, ""), "--memory", "256MiB"]);
        outcome.expect(0);
        assert!(outcome.stdout.contains("models"), "{}", outcome.stdout);
    }
}

#[cfg(not(feature = "ner"))]
#[test]
fn a_build_without_models_says_so() {
    let scratch = Scratch::new();
    let input = scratch.write("notes.ndjson", note(1, "pain"));
    let outcome = scratch.run(&recipe(&scratch, ""), &input, "out", &[]);
    outcome.expect(2);
    assert!(outcome.stderr.contains("feature ner"), "{}", outcome.stderr);
    let mut child = scratch
        .command(&["redact", "-", "--model", "model"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().flush().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
