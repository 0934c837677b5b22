//! Models of language in redact steps. Which library they run in is known here only; a build without it refuses recipes
//! that ask for one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Array, RecordBatch, StringArray};
use forebay_budget::{Budget, Pool, Reservation};
use forebay_recipe::{ModelSpec, Recipe, TablePlan};
use forebay_redact::{Entity, EntityModel, ModelFailure};
use forebay_runtime::quiet;

use crate::failure::Failure;
use crate::process::{Attempt, resume_panic};
use crate::redaction::Redaction;

/// Texts that a model is asked about at a time have so many bytes together, or it is one longer text: a call comes to an end soon,
/// and so a chunk can be given up.
const TOGETHER: usize = 16 << 10;

/// What a model says about one text.
pub(crate) type Answer = Result<Vec<Entity>, ModelFailure>;

/// Bytes that the models of a recipe need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelNeed {
    /// The weights of all of them: once in a process.
    pub weights: u64,
    /// What a pass works in: once for each chunk that is worked on.
    pub working: u64,
}

/// The model of one redact step.
#[derive(Clone, Debug)]
pub(crate) struct StepModel {
    pub(crate) model: Arc<dyn EntityModel>,
    deadline: Duration,
    /// Column that tells why a text is withheld.
    pub(crate) reason: usize,
}

/// The models of this process.
#[derive(Debug)]
pub(crate) struct Models {
    pool: Option<Pool>,
    #[cfg(feature = "ner")]
    open: Option<forebay_ner::Models>,
}

impl Models {
    /// Models that are held in a pool of the budget. Without one, none can be opened.
    pub(crate) fn new(pool: Option<Pool>) -> Self {
        Self {
            #[cfg(feature = "ner")]
            open: pool.clone().map(forebay_ner::Models::new),
            pool,
        }
    }

    pub(crate) async fn step(&self, spec: &ModelSpec, table: &TablePlan) -> Result<StepModel, Failure> {
        let reason = table.columns.iter().position(|column| column.name == spec.reason);
        let reason = reason
            .ok_or_else(|| Failure::Fatal(format!("there is no column {} for a model's reasons", spec.reason)))?;
        Ok(StepModel { model: self.open(spec).await?, deadline: spec.deadline, reason })
    }

    /// Opens a model, or takes it if it is open already.
    #[cfg(feature = "ner")]
    async fn open(&self, spec: &ModelSpec) -> Result<Arc<dyn EntityModel>, Failure> {
        let open = self.open.as_ref().ok_or_else(|| {
            Failure::Fatal(
                "no memory is set aside for models: set model_memory (FOREBAY_MODEL_MEMORY) on the transform service"
                    .to_owned(),
            )
        })?;
        open.open(&options(spec)).await.map_err(|error| match error {
            // Another job's model, or a pass, has the room; it will be given back.
            forebay_ner::NerError::TooLarge { error: forebay_budget::ReserveError::Exhausted { .. }, .. } => {
                Failure::NoRoom(error.to_string())
            }
            error => Failure::Fatal(error.to_string()),
        })
    }

    #[cfg(not(feature = "ner"))]
    async fn open(&self, _: &ModelSpec) -> Result<Arc<dyn EntityModel>, Failure> {
        Err(Failure::Fatal(WITHOUT.to_owned()))
    }

    async fn reserve(&self, model: &dyn EntityModel) -> Result<Option<Reservation>, Failure> {
        let Some(pool) = &self.pool else { return Ok(None) };
        pool.reserve(model.working_bytes())
            .await
            .map(Some)
            .map_err(|error| Failure::Fatal(format!("{error}: give more memory to models, or set a smaller batch")))
    }
}

/// Opens a model for somebody who is no worker, such as a command, with a budget of its own.
///
/// # Errors
/// If it can't be used; the error says what to do.
pub async fn open_model(spec: &ModelSpec) -> Result<Arc<dyn EntityModel>, String> {
    let need = need(spec)?;
    let budget = Budget::new(need.weights + need.working);
    let pool = budget.pool("models", budget.limit()).map_err(|error| error.to_string())?;
    Models::new(Some(pool)).open(spec).await.map_err(|failure| failure.to_string())
}

#[cfg(not(feature = "ner"))]
const WITHOUT: &str = "this forebay was built without models of language: build it with the feature ner (cargo build \
     --release --features ner), or leave `model` out";

#[cfg(feature = "ner")]
fn options(spec: &ModelSpec) -> forebay_ner::Options {
    forebay_ner::Options {
        folder: spec.path.clone().into(),
        labels: spec.labels.clone(),
        threshold: spec.threshold,
        batch: spec.batch,
    }
}

/// Checks the models that a recipe asks for, and says what they need; none if it asks for none.
///
/// # Errors
/// If a folder is missing or broken, or this build has no models.
pub fn check_models(recipe: &Recipe) -> Result<Option<ModelNeed>, String> {
    let mut needs: HashMap<&str, ModelNeed> = HashMap::new();
    for spec in recipe.redact_steps().filter_map(|step| step.model.as_ref()) {
        let need = need(spec)?;
        let known = needs.entry(&spec.path).or_default();
        known.weights = need.weights;
        known.working = known.working.max(need.working);
    }
    Ok(needs
        .into_values()
        .reduce(|all, need| ModelNeed { weights: all.weights + need.weights, working: all.working.max(need.working) }))
}

#[cfg(feature = "ner")]
fn need(spec: &ModelSpec) -> Result<ModelNeed, String> {
    let forebay_ner::Need { weights, working } =
        forebay_ner::check(&options(spec)).map_err(|error| error.to_string())?;
    Ok(ModelNeed { weights, working })
}

#[cfg(not(feature = "ner"))]
fn need(_: &ModelSpec) -> Result<ModelNeed, String> {
    Err(WITHOUT.to_owned())
}

impl Attempt {
    /// Asks the models about the texts of a run of records, off the async threads: their answers by column of texts and row.
    pub(crate) async fn ask_models(
        &mut self,
        redaction: &Redaction,
        batches: &[RecordBatch],
    ) -> Result<HashMap<usize, Vec<Answer>>, Failure> {
        let mut answers = HashMap::new();
        for (at, step, texts) in redaction.asked(batches) {
            let asked = Instant::now();
            let of_column = self.ask(step, texts).await?;
            self.spent("model", asked);
            let withheld = of_column.iter().filter(|answer| answer.is_err()).count();
            if let Some(failure) = of_column.iter().find_map(|answer| answer.as_ref().err()) {
                tracing::warn!(chunk.id = %self.claim.chunk, withheld, %failure, "texts were withheld: a model failed");
            }
            answers.insert(at, of_column);
        }
        Ok(answers)
    }

    async fn ask(&self, step: &StepModel, texts: &StringArray) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(texts.len());
        while answers.len() < texts.len() {
            let held = self.models.reserve(step.model.as_ref()).await?;
            let permit = self.permit().await?;
            let (step, part) = (step.clone(), together(texts, answers.len()));
            let of_part = forebay_runtime::blocking(move || {
                let answers = find_in_column(&step, &part);
                drop((held, permit));
                answers
            });
            answers.extend(of_part.await.map_err(resume_panic)?);
        }
        Ok(answers)
    }
}

/// The rows from `from` on that are asked about at a time; at least one.
fn together(texts: &StringArray, from: usize) -> StringArray {
    let offsets = texts.value_offsets();
    let most = offsets[from] as usize + TOGETHER;
    let fitting = offsets[from + 1..].partition_point(|end| *end as usize <= most);
    texts.slice(from, fitting.max(1))
}

fn find_in_column(step: &StepModel, texts: &StringArray) -> Vec<Answer> {
    let there: Vec<&str> = texts.iter().flatten().collect();
    let mut answers = find_entities(step.model.as_ref(), &there, step.deadline).into_iter();
    let of_row = |row| if texts.is_valid(row) { answers.next() } else { Some(Ok(Vec::new())) };
    (0..texts.len()).map(of_row).map(|answer| answer.unwrap_or(Err(ModelFailure::Invalid))).collect()
}

/// Asks a model about texts: an answer for each, in their order. Where it fails on all of them together, each is tried alone, so
/// that a text is not withheld for what stands beside it. A panic is a failure, and prints nothing.
pub fn find_entities(
    model: &dyn EntityModel,
    texts: &[&str],
    limit: Duration,
) -> Vec<Result<Vec<Entity>, ModelFailure>> {
    match ask(model, texts, limit) {
        Ok(found) => found.into_iter().map(Ok).collect(),
        Err(failure) if texts.len() == 1 => vec![Err(failure)],
        Err(_) => texts.iter().map(|text| ask(model, &[text], limit)?.pop().ok_or(ModelFailure::Invalid)).collect(),
    }
}

fn ask(model: &dyn EntityModel, texts: &[&str], limit: Duration) -> Result<Vec<Vec<Entity>>, ModelFailure> {
    let deadline = Instant::now() + limit;
    let found = quiet::catch(|| model.find(texts, deadline)).unwrap_or(Err(ModelFailure::Panicked))?;
    let fits = |(text, entities): (&&str, &Vec<Entity>)| {
        entities.iter().all(|entity| {
            entity.score.is_finite()
                && text.get(entity.start as usize..entity.end as usize).is_some_and(|found| !found.is_empty())
        })
    };
    let good = found.len() == texts.len() && texts.iter().zip(&found).all(fits);
    if good { Ok(found) } else { Err(ModelFailure::Invalid) }
}

#[cfg(test)]
mod tests {
    use forebay_redact::Class;

    use super::*;

    /// Finds `Ann`; a text says itself how it should be failed.
    #[derive(Debug)]
    struct Moody;

    impl EntityModel for Moody {
        fn working_bytes(&self) -> u64 {
            1
        }

        fn find(&self, texts: &[&str], deadline: Instant) -> Result<Vec<Vec<Entity>>, ModelFailure> {
            let found = |text: &&str| {
                let at = text.find("Ann")? as u32;
                let end = if text.contains("beyond") { u32::MAX } else { at + 3 };
                Some(Entity { start: at, end, class: Class::Name, score: 1.0 })
            };
            for text in texts {
                assert!(!text.contains("panic"), "a model that panics over {text}");
                if text.contains("slow") || Instant::now() >= deadline {
                    return Err(ModelFailure::Timeout);
                }
            }
            let texts = if texts.iter().any(|text| text.contains("fewer")) { &texts[1..] } else { texts };
            Ok(texts.iter().map(|text| found(text).into_iter().collect()).collect())
        }
    }

    #[test]
    fn only_the_text_that_a_model_fails_on_is_without_an_answer() {
        let texts = ["Ann came", "panic, Ann", "", "slow Ann", "beyond Ann", "fewer Ann", "no name"];
        let found = find_entities(&Moody, &texts, Duration::from_secs(60));
        let failures: Vec<_> = found.iter().map(|answer| answer.as_ref().err().copied()).collect();
        let [panicked, timeout, invalid] = [ModelFailure::Panicked, ModelFailure::Timeout, ModelFailure::Invalid];
        assert_eq!(failures, [None, Some(panicked), None, Some(timeout), Some(invalid), Some(invalid), None]);
        assert_eq!(found[0].as_ref().unwrap()[0].end, 3);
        let late = find_entities(&Moody, &["Ann", "Ann"], Duration::ZERO);
        assert_eq!(late, [Err(timeout), Err(timeout)]);
    }

    #[test]
    fn rows_without_a_text_have_an_answer_and_others_keep_their_place() {
        let step = StepModel { model: Arc::new(Moody), deadline: Duration::from_secs(60), reason: 0 };
        let texts = StringArray::from(vec![None, Some("x Ann"), None, Some("panic"), Some("")]);
        let answers = find_in_column(&step, &texts.slice(1, 4));
        assert_eq!(answers[0].as_ref().unwrap()[0].start, 2);
        assert_eq!(answers[1..], [Ok(vec![]), Err(ModelFailure::Panicked), Ok(vec![])]);
    }

    #[test]
    fn texts_are_asked_about_in_parts_of_bounded_size() {
        let lengths = [0, 10_000, 6_384, 1, 40_000, 0, 16_384, 1];
        let texts = StringArray::from_iter_values(lengths.map(|length| "a".repeat(length)));
        let (mut from, mut parts) = (0, Vec::new());
        while from < texts.len() {
            parts.push(together(&texts, from).len());
            from += parts[parts.len() - 1];
        }
        assert_eq!(parts, [3, 1, 1, 2, 1]);
    }
}
