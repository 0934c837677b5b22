//! Models as their users have them: a folder, texts, spans.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_budget::{Budget, Pool};
use forebay_ner::{Models, NerError, Options, check};
use forebay_redact::{Class, Entity, EntityModel, ModelFailure, Policy, Redactor};
use proptest::prelude::*;

mod tiny;

use tiny::Tiny;

fn options(folder: &Path) -> Options {
    Options { folder: folder.to_owned(), labels: BTreeMap::new(), threshold: 0.5, batch: 64 }
}

fn pool(bytes: u64) -> Pool {
    Budget::new(bytes).pool("models", bytes).unwrap()
}

fn open(models: &Models, options: &Options) -> Result<Arc<dyn EntityModel>, NerError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(models.open(options))
}

fn model(tiny: &Tiny) -> Arc<dyn EntityModel> {
    let folder = tempfile::tempdir().unwrap();
    tiny.write(folder.path());
    open(&Models::new(pool(1 << 30)), &options(folder.path())).unwrap()
}

fn find(model: &dyn EntityModel, texts: &[&str]) -> Vec<Vec<Entity>> {
    model.find(texts, Instant::now() + Duration::from_secs(60)).unwrap()
}

/// What was found in a text, as class and text.
fn told(text: &str, entities: &[Entity]) -> Vec<(Class, String)> {
    entities.iter().map(|entity| (entity.class, text[entity.start as usize..entity.end as usize].to_owned())).collect()
}

#[test]
fn entities_are_told_by_their_bytes_in_any_script() {
    let text =
        "Seen by ZORBLAX Venn, Zu\u{308}rn; quillfeather in Brakkton falls \u{4e2d}\u{1f600} for zurn quill zurn.";
    for brief in [false, true] {
        let found = find(model(&Tiny { brief, ..Tiny::by_hand() }).as_ref(), &[text]);
        let expected = [
            (Class::Name, "ZORBLAX Venn"),
            (Class::Name, "Zu\u{308}rn"),
            (Class::Name, "quillfeather"),
            (Class::Place, "Brakkton falls"),
            (Class::Name, "zurn"),
            (Class::Name, "quill"),
            (Class::Name, "zurn"),
        ];
        assert_eq!(told(text, &found[0]), expected.map(|(class, text)| (class, text.to_owned())));
        assert!(found[0].iter().all(|entity| entity.score > 0.99));
    }
}

#[test]
fn an_entity_is_whole_wherever_windows_are_cut() {
    let model = model(&Tiny::by_hand());
    for before in 0..80 {
        let text = "pain ".repeat(before) + "zorblax venn quillfeather. " + &"the ".repeat(40);
        let found = find(model.as_ref(), &[&text]);
        let expected = [(Class::Name, "zorblax venn".to_owned()), (Class::Name, "quillfeather".to_owned())];
        assert_eq!(told(&text, &found[0]), expected, "{before} words before it");
    }
    // Longer than the overlap of two windows: no word of it is lost.
    let text = "pain ".repeat(20) + "zorblax " + &"venn ".repeat(50) + "pain";
    let found = told(&text, &find(model.as_ref(), &[&text])[0]);
    let words: usize = found.iter().map(|(_, text)| text.split(' ').count()).sum();
    assert!(words >= 51 && found.iter().all(|(class, _)| *class == Class::Name), "{found:?}");
}

#[test]
fn labels_and_threshold_decide_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiny = Tiny::by_hand();
    // Such a name is outside with 0.57, begins a person with 0.21, and is inside of one with as much.
    let size = tiny.hidden;
    tiny.set("classifier.weight", 1, 10.0);
    tiny.set("classifier.weight", size + 1, 8.2);
    tiny.set("classifier.weight", 2 * size + 1, 9.63);
    tiny.write(folder.path());
    let models = Models::new(pool(1 << 30));
    let with = |threshold: f32, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(label, class)| ((*label).to_owned(), (*class).to_owned())).collect();
        let text = "zorblax in brakkton";
        let model = open(&models, &Options { labels, threshold, ..options(folder.path()) }).unwrap();
        told(text, &find(model.as_ref(), &[text])[0])
    };
    let (person, place) = ((Class::Name, "zorblax".to_owned()), (Class::Place, "brakkton".to_owned()));
    assert_eq!(with(0.5, &[]), std::slice::from_ref(&place));
    assert!(with(0.3, &[]).contains(&person));
    assert_eq!(with(0.5, &[("loc", "ORGANIZATION")]), [(Class::Organization, place.1)]);
    assert_eq!(with(0.5, &[("LOC", "ignore")]), []);
}

#[test]
fn a_text_that_fails_does_not_pass_for_one_without_entities() {
    let model = model(&Tiny::by_hand());
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(model.find(&["the boom"], later), Err(ModelFailure::NotFinite));
    assert_eq!(model.find(&["the pain"], Instant::now()), Err(ModelFailure::Timeout));
    assert_eq!(find(model.as_ref(), &["", " \n", "\u{200b}"]), [vec![], vec![], vec![]]);
    assert_eq!(find(model.as_ref(), &[]), Vec::<Vec<Entity>>::new());
}

#[test]
fn weights_are_held_once_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::by_hand().write(folder.path());
    let need = check(&options(folder.path())).unwrap();
    let held = pool(need.weights);
    let models = Models::new(held.clone());
    let first = open(&models, &options(folder.path())).unwrap();
    let second = open(&models, &Options { threshold: 0.9, ..options(folder.path()) }).unwrap();
    assert_eq!((held.used(), first.working_bytes()), (need.weights, need.working));
    drop((first, second));
    assert_eq!(held.used(), 0);
    let error = open(&Models::new(pool(need.weights - 1)), &options(folder.path())).unwrap_err();
    assert!(error.to_string().contains("give more memory to models"), "{error}");
}

#[test]
fn a_model_that_is_open_keeps_its_labels_whatever_is_in_its_folder_by_now() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::by_hand().write(folder.path());
    let models = Models::new(pool(1 << 30));
    let opened = || open(&models, &options(folder.path())).unwrap();
    let classes = |model: &dyn EntityModel| told("zorblax in brakkton", &find(model, &["zorblax in brakkton"])[0]);
    let first = opened();
    let before = classes(first.as_ref());
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.replace("PER", "MRN")).unwrap();
    let second = opened();
    assert_eq!(classes(second.as_ref()), before);
    drop((first, second));
    assert!(before[0].0 == Class::Name && classes(opened().as_ref())[0].0 == Class::Mrn);
}

#[test]
fn broken_folders_are_refused_by_name() {
    let refused = |file: &str, change: &dyn Fn(&Path), told: &str| {
        let folder = tempfile::tempdir().unwrap();
        Tiny::by_hand().write(folder.path());
        change(folder.path());
        // What only the numbers tell is found when they are read.
        let error = check(&options(folder.path()))
            .map(|_| ())
            .and_then(|()| open(&Models::new(pool(1 << 30)), &options(folder.path())).map(|_| ()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(file) && error.contains(told), "{error}");
    };
    let remove = |file: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(file)).unwrap();
    for file in ["config.json", "model.safetensors"] {
        refused(file, &remove(file), "can't read");
    }
    refused("vocab.txt", &remove("tokenizer.json"), "can't read");
    let swap = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(folder.join(file), text.replace(from, to)).unwrap();
        }
    };
    for (from, to, told) in [
        ("\"bert\"", "\"roberta\"", "expected `bert` or `distilbert`"),
        ("\"hidden_size\":8", "\"hidden_size\":16", "config.json says"),
        ("\"hidden_size\":8", "\"hidden_size\":9", "no multiple"),
        ("\"num_hidden_layers\":1", "\"num_hidden_layers\":2", "has no tensor bert.encoder.layer.1"),
        ("\"max_position_embeddings\":32", "\"max_position_embeddings\":0", "max_position_embeddings"),
        ("\"vocab_size\":23", "\"vocab_size\":20", "the piece 22"),
        ("\"4\":", "\"5\":", "numbered from 0"),
        ("I-LOC", "I-DRUG", "what DRUG is"),
        ("\"relu\"", "\"swish\"", "expected one of `gelu`"),
    ] {
        let file = if to.contains("16") || to.contains("layers\":2") { "model.safetensors" } else { "config.json" };
        refused(file, &swap("config.json", from, to), told);
    }
    refused("tokenizer.json", &swap("tokenizer.json", "WordPiece", "BPE"), "only WordPiece");
    let write = |numbers: f32| {
        move |folder: &Path| {
            let mut tiny = Tiny::by_hand();
            tiny.set("classifier.bias", 1, numbers);
            tiny.write(folder);
        }
    };
    refused("model.safetensors", &write(f32::NAN), "what is no number");
    let cut = |keep: usize| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..keep.min(whole.len() - 1)]).unwrap();
        }
    };
    for (keep, told) in [(0, "too short"), (100, "does not fit"), (usize::MAX, "is cut off")] {
        refused("model.safetensors", &cut(keep), told);
    }
}

#[test]
fn an_older_folder_has_a_list_of_words() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Tiny::by_hand();
    tiny.write(folder.path());
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("vocab.txt"), tiny.vocabulary.join("\n")).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), "{\"do_lower_case\": false}").unwrap();
    let model = open(&Models::new(pool(1 << 30)), &options(folder.path())).unwrap();
    let text = "zorblax Venn";
    assert_eq!(told(text, &find(model.as_ref(), &[text])[0]), [(Class::Name, "zorblax".to_owned())]);
}

/// Texts with and without entities, in any script.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => prop::sample::select(vec!["zorblax", "Venn", "quillfeather", "brakkton", "falls", "zurn", "Zu\u{308}rn"])
            .prop_map(str::to_owned),
        2 => prop::sample::select(vec!["pain", "the", "seen by", "on 3/14/2024", "MRN 12345678", "[NAME]"])
            .prop_map(str::to_owned),
        2 => "[-.,:;/()@#'\\[\\]+*\u{2019}\u{a0}\u{200b}\u{301}\n\t]",
        1 => any::<char>().prop_map(|c| c.to_string()),
    ];
    let gap = prop_oneof![3 => Just(" "), 1 => Just("")];
    prop::collection::vec((piece, gap), 0..60)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, gap)| piece + gap).collect())
}

proptest! {
    #[test]
    fn what_is_outside_of_spans_is_untouched(text in texts()) {
        let model = model_of_all();
        let redactor = Redactor::new(Policy::default()).unwrap();
        let entities = find(model.as_ref(), &[&text]).remove(0);
        let (mut out, mut at) = (String::new(), 0);
        for span in redactor.find_with(&text, None, &entities) {
            let (start, end) = (span.start as usize, span.end as usize);
            prop_assert!(at <= start && start < end);
            out.push_str(&text[at..start]);
            out.push_str(&format!("[{}]", span.class.as_str()));
            at = end;
        }
        out.push_str(&text[at..]);
        prop_assert_eq!(&redactor.redact_with(&text, None, &entities), &out);
        let spans = redactor.find_with(&text, None, &entities);
        for entity in &entities {
            prop_assert!(spans.iter().any(|span| span.start <= entity.start && entity.end <= span.end));
        }
    }

    #[test]
    fn what_is_found_does_not_depend_on_the_texts_beside_it(texts in prop::collection::vec(texts(), 1..6)) {
        let model = model_of_all();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let alone: Vec<_> = texts.iter().flat_map(|text| find(model.as_ref(), &[text])).collect();
        prop_assert_eq!(find(model.as_ref(), &texts), alone);
    }
}

/// One model for all cases of a property.
fn model_of_all() -> Arc<dyn EntityModel> {
    static MODEL: std::sync::OnceLock<Arc<dyn EntityModel>> = std::sync::OnceLock::new();
    Arc::clone(MODEL.get_or_init(|| model(&Tiny::by_hand())))
}

/// How long two layers of the size of BERT's take: `cargo test --release -p forebay-ner -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn speed() {
    let mut tiny = Tiny::plain("bert", [768, 2, 12, 3072], "gelu");
    let mut state = 1_u32;
    for number in tiny.tensors.values_mut().flat_map(|(_, numbers)| numbers) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *number += (state >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05;
    }
    let folder = tempfile::tempdir().unwrap();
    tiny.write(folder.path());
    let models = Models::new(pool(1 << 30));
    for words in [12, 28] {
        // The model has positions for 32 tokens; passes are of 1,024, whatever sequences they are made of.
        let text = "pain the ".repeat(words / 2);
        let texts = vec![text.as_str(); 64 * 32 / (words + 2)];
        let model = open(&models, &Options { batch: 1024, ..options(folder.path()) }).unwrap();
        let began = Instant::now();
        find(model.as_ref(), &texts);
        let tokens = texts.len() * (words + 2);
        let each = began.elapsed().as_secs_f64() / tokens as f64 / 2.0;
        println!("{tokens} tokens in sequences of {}: {:.0} us for a token and layer", words + 2, each * 1e6);
        // Products of matrices alone: 4 of size by size, 2 of size by wide, 2 operations each.
        println!("    {:.1} GFLOP/s", 2.0 * (4.0 * 768.0 * 768.0 + 2.0 * 768.0 * 3072.0) / each / 1e9);
    }
}
