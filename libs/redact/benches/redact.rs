//! Notes a second, on one core: finding and rewriting a column with all detectors.

use arrow_array::StringArray;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_redact::{Class, Known, Policy, Redactor};

/// Sentences of clinical prose, some with identifiers: about 60% of the notes have one to three.
const SENTENCES: [&str; 16] = [
    "Patient tolerated the procedure well without complications.",
    "BP 128/82, HR 76, SpO2 98% on room air.",
    "Lisinopril increased from 10 to 20 mg daily; recheck potassium in 2 weeks.",
    "Known Parkinson disease, Hoehn and Yahr stage 2.",
    "Labs notable for WBC 11.2, platelets 245, Na 138, K 4.1.",
    "Echo shows ejection fraction 55-60%, no wall motion abnormality.",
    "Dyspnea distended murmur 132 renal, symptoms gait unsteady shoulder pain.",
    "Reports adherence to low sodium diet and daily walking for 30 minutes.",
    "Seen with Maria Lopez at bedside.",
    "Last visit 03/14/2021, no new complaints.",
    "Call back at (212) 555-0123 with results.",
    "Chart 12345678 reviewed with Omar Kowalski.",
    "Influenza vaccine given in left deltoid, lot 4478-221.",
    "Temp 37.2\u{b0}C, urine output 45 mL/h.",
    "No known drug allergies. Denies chest pain, shortness of breath or palpitations.",
    "Abdomen soft, non-tender, bowel sounds present in all 4 quadrants.",
];

/// Notes of about 250 characters, the same in every run.
fn notes(count: usize) -> StringArray {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let note = |_| {
        let mut text = String::new();
        while text.len() < 220 {
            text.push_str(SENTENCES[next() % SENTENCES.len()]);
            text.push(' ');
        }
        text
    };
    StringArray::from_iter_values((0..count).map(note))
}

fn redact(c: &mut Criterion) {
    let Ok(redactor) = Redactor::new(Policy::default()) else { return };
    let notes = notes(8192);
    let known = redactor.known(
        "p",
        [
            Known { class: Class::Name, value: "Maria Lopez" },
            Known { class: Class::Mrn, value: "12345678" },
            Known { class: Class::Phone, value: "(212) 555-0123" },
        ],
    );
    let mut group = c.benchmark_group("redact");
    group.throughput(Throughput::Elements(8192));
    group.bench_function("notes", |b| b.iter(|| redactor.redact_column(&notes, |_| None, false)));
    group.bench_function("notes_with_known_identifiers", |b| {
        b.iter(|| redactor.redact_column(&notes, |_| Some(&known), false));
    });
    group.bench_function("known_sets", |b| {
        b.iter(|| {
            (0..8192)
                .map(|_| {
                    redactor.known(
                        "p000000001",
                        [
                            Known { class: Class::Mrn, value: "01282838" },
                            Known { class: Class::Name, value: "Jessica Carter" },
                            Known { class: Class::Phone, value: "+1 694 293 0166" },
                            Known { class: Class::Email, value: "p000000001@example.org" },
                            Known { class: Class::Street, value: "3477 Highland St" },
                            Known { class: Class::Place, value: "Springfield" },
                            Known { class: Class::Zip, value: "80533" },
                        ],
                    )
                })
                .filter(|set| set.is_empty())
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, redact);
criterion_main!(benches);
