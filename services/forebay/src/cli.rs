use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_types::ByteSize;

use crate::commands;
use crate::commands::enrich::{CacheCommand, EnrichCommand};
use crate::commands::server::ServerArgs;
use crate::commands::sim::SimCommand;
use crate::serve::{self, Address, Settings};

/// Exit status of a command that failed.
pub(crate) const FAILED: u8 = 1;

/// Exit status of a command that can't be done as it was given.
pub(crate) const USAGE: u8 = 2;

/// Exit status of a job that is done, with rejects.
pub(crate) const REJECTS: u8 = 3;

/// Records in, validated Parquet tables out, in a memory budget set beforehand, with no record lost or written twice.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a recipe over files, to its end; run again with the same key, it resumes
    #[command(after_help = settings_help())]
    Run(RunArgs),
    /// Run one service, or all of them in one process
    Serve(Box<ServeArgs>),
    /// Ask a service whether it takes work: exit status 0 if it does
    Ready(ReadyArgs),
    /// Send files to a gateway, as a job; submitted again with the same key, it goes on where it stopped
    Submit(SubmitArgs),
    /// Show how a job goes, until its end
    Watch(WatchArgs),
    /// End a job; what was committed stays
    Cancel(CancelArgs),
    /// List, show or check recipes
    Recipes {
        #[command(subcommand)]
        command: RecipesCommand,
    },
    /// Show who may hold how much memory, at worst, and refuse what can't fit
    Plan(PlanArgs),
    /// List the jobs of an output, or of a gateway
    Jobs(JobsArgs),
    /// Show a job's rejected records, or send them through again
    Rejects(RejectsArgs),
    /// Take what identifies persons out of texts, or score how well that is done
    #[command(after_help = REDACT_HELP)]
    Redact(RedactArgs),
    /// Print the first rows of a table
    Head(HeadArgs),
    /// Print a table's rows, nulls and bounds, column by column
    Stats(StatsArgs),
    /// Look keys up ahead of a job
    Enrich {
        #[command(subcommand)]
        command: EnrichCommand,
    },
    /// Show or empty the enrichment cache
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// A stand-in upstream, for development and tests
    Sim {
        #[command(subcommand)]
        command: SimCommand,
    },
}

/// Where a job's tables go, when nothing else is said.
pub(crate) const DEFAULT_OUTPUT: &str = "forebay-out";

/// `forebay run`
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// A shipped recipe's name, or the path of a recipe file
    pub(crate) recipe: String,
    /// Files, s3://bucket/key, or - for standard input
    #[arg(required = true)]
    pub(crate) inputs: Vec<String>,
    /// Folder or s3://bucket/prefix for the tables
    #[arg(long, short, default_value = DEFAULT_OUTPUT, env = "FOREBAY_OUTPUT")]
    pub(crate) output: String,
    /// Memory budget, such as 256MiB (default: a quarter of the machine's or container's memory, at most 2GiB)
    #[arg(long, env = "FOREBAY_MEMORY")]
    pub(crate) memory: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Load the tables into PostgreSQL besides: postgres://USER:PASSWORD@HOST/DATABASE?schema=NAME&key.TABLE=COLUMN
    #[arg(long, value_name = "URL", env = "FOREBAY_SINK_URL", hide_env_values = true)]
    pub(crate) sink: Option<Address>,
    /// Write a JSON report to this file at the end
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// What describes a job, wherever it runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobArgs {
    /// Change a setting of the recipe or the job; see below
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Input format; by default it is recognised by content
    #[arg(long, default_value = "auto", value_parser = ["auto", "ndjson", "json", "csv", "parquet", "arrow"])]
    pub(crate) format: String,
    /// Idempotency key (default: derived from recipe, settings and files)
    #[arg(long = "job", value_name = "KEY")]
    pub(crate) job_key: Option<String>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub(crate) progress: ProgressKind,
    /// Fail the job when more records than this are rejected
    #[arg(long)]
    pub(crate) max_rejects: Option<u64>,
    /// Take inputs without a single record for right; otherwise that is a failure
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

/// What `forebay redact` reads and prints.
const REDACT_HELP: &str = "\
A line of FILE is one text, and is printed redacted. A line that is a JSON object with `text` (and, if there is any, `known`: what
the record holds, as texts or as {\"value\", \"class\"}) is printed as a JSON object.

`eval` reads JSON lines: `text`, `spans` (a list of {`start`, `end`, `class`}, Unicode characters, end exclusive), and `known` as above.
Its `covered` counts a marked span as found if all its letters and digits are redacted, whatever as; `strict` asks for the same
ends and class. Classes of other corpora are understood (PERSON, DOCTOR, LOCATION, GEO, ID ...).";

/// `forebay redact`
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RedactArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RedactCommand>,
    /// A text file, a text a line, or NDJSON; - for standard input
    pub(crate) file: Option<String>,
    /// Also print what was found where, as what, and why
    #[arg(long)]
    pub(crate) explain: bool,
    /// Something that the texts' records hold: a name, a number, or CLASS=VALUE (NAME, MRN, PHONE, STREET, PLACE, ...)
    #[arg(long, value_name = "VALUE")]
    pub(crate) known: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// A model of language for `forebay redact`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Also ask a model: a folder with config.json, tokenizer.json or vocab.txt, and model.safetensors
    #[arg(long, value_name = "FOLDER")]
    pub(crate) model: Option<String>,
    /// Class of a label of the model, as in PER=NAME or MISC=ignore
    #[arg(long, value_name = "LABEL=CLASS", requires = "model")]
    pub(crate) label: Vec<String>,
    /// Probability from which a word is taken for what the model says (default: 0.5)
    #[arg(long, value_name = "SHARE", requires = "model")]
    pub(crate) threshold: Option<f32>,
}

/// `forebay redact ...`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RedactCommand {
    /// Score the redactor on a labelled file
    Eval {
        /// JSON lines
        file: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        model: ModelArgs,
    },
}

/// `forebay serve`
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Which service
    #[arg(value_enum, default_value_t = Service::All)]
    pub(crate) service: Service,
    /// Settings in a file; infra/forebay.yaml lists all of them
    #[arg(long, env = "FOREBAY_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `forebay ready`
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ReadyArgs {
    /// Its setting metrics_listen
    #[arg(default_value = "127.0.0.1:9401")]
    pub(crate) address: SocketAddr,
}

/// A service that a process can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// All services in one process.
    All,
    /// The door for clients.
    Gateway,
    /// Keys to columns.
    Enrichment,
    /// Workers.
    Transform,
    /// The writer of tables.
    Storage,
}

/// `forebay submit`
#[derive(Clone, Debug, Args)]
pub(crate) struct SubmitArgs {
    /// A shipped recipe's name, or the path of a recipe file
    pub(crate) recipe: String,
    /// Files, or - for standard input; or s3://bucket/key, which the gateway reads itself if it may
    #[arg(required = true)]
    pub(crate) inputs: Vec<String>,
    /// Prefix for the tables, below the gateway's store
    #[arg(long, short, value_name = "TABLE-PREFIX", env = "FOREBAY_OUTPUT")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Wait for the job's end, and show how it goes
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: write a JSON report to this file at the end
    #[arg(long, requires = "wait")]
    pub(crate) report: Option<PathBuf>,
}

/// Who keeps the jobs that a command is about.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeeperArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Without --server: output that the jobs write to
    #[arg(long, short, default_value = DEFAULT_OUTPUT, env = "FOREBAY_OUTPUT")]
    pub(crate) output: String,
}

/// `forebay watch`
#[derive(Clone, Debug, Args)]
pub(crate) struct WatchArgs {
    /// The job's key
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) keeper: KeeperArgs,
    /// Lines of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay cancel`
#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's key
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) keeper: KeeperArgs,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar on a terminal, lines otherwise.
    Auto,
    /// Lines of text.
    Plain,
    /// Lines of JSON.
    Json,
    /// Nothing.
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesCommand {
    /// The shipped recipes
    List,
    /// A recipe's text
    Show {
        /// Name or path
        recipe: String,
    },
    /// Check a recipe, and show its tables
    Check {
        /// Name or path
        recipe: String,
        /// Change a setting
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
}

/// `forebay plan`
#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    /// Name or path
    pub(crate) recipe: String,
    /// Memory budget
    #[arg(long, env = "FOREBAY_MEMORY")]
    pub(crate) memory: Option<ByteSize>,
    /// Change a setting
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Plan for this output: parts of uploads to a bucket are larger
    #[arg(long, short, default_value = DEFAULT_OUTPUT, env = "FOREBAY_OUTPUT")]
    pub(crate) output: String,
}

/// `forebay jobs`
#[derive(Clone, Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    pub(crate) keeper: KeeperArgs,
    /// Most jobs to show
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: u32,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay rejects`
#[derive(Clone, Debug, Args)]
pub(crate) struct RejectsArgs {
    /// The job's key
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) keeper: KeeperArgs,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the rejected records themselves, to be mended
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
    /// Send the job's rejects through again, as a job of their own
    #[arg(long, conflicts_with = "server")]
    pub(crate) replay: bool,
    /// With --replay: mended records to take instead
    #[arg(long, requires = "replay", value_name = "FILE")]
    pub(crate) from: Option<String>,
    /// With --replay: a corrected recipe
    #[arg(long, requires = "replay")]
    pub(crate) recipe: Option<String>,
    /// With --replay: memory budget
    #[arg(long, env = "FOREBAY_MEMORY")]
    pub(crate) memory: Option<ByteSize>,
    /// With --replay: how progress is shown
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub(crate) progress: ProgressKind,
    /// With --replay: the database that the job's tables are loaded into
    #[arg(long, value_name = "URL", env = "FOREBAY_SINK_URL", hide_env_values = true)]
    pub(crate) sink: Option<Address>,
    /// With --replay: write a JSON report
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// `forebay head`
#[derive(Clone, Debug, Args)]
pub(crate) struct HeadArgs {
    /// The table's folder
    pub(crate) table: String,
    /// Rows
    #[arg(short = 'n', long = "rows", default_value_t = 10)]
    pub(crate) rows: usize,
}

/// `forebay stats`
#[derive(Clone, Debug, Args)]
pub(crate) struct StatsArgs {
    /// The table's folder
    pub(crate) table: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn settings_help() -> String {
    let mut text = String::from("Settings (--set KEY=VALUE):\n");
    for setting in forebay_recipe::SETTINGS {
        text.push_str(&format!("  {:<20} {:<40} {}\n", setting.key, setting.values, setting.help));
    }
    text.push_str("\nExit status: 0 done, 1 failed, 2 usage or configuration, 3 done with rejects.");
    text
}

/// What goes wrong in passing, for a person at a terminal.
pub(crate) fn log_to_standard_error() {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| {
                tracing_subscriber::EnvFilter::new("warn,deltalake_core=error,buoyant_kernel=error")
            }),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

/// Reads the command line, does what it says, and gives the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do if even that can't be printed.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    // Two TLS providers are in the tree; a connection to Redis takes what the process has chosen, and panics without.
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    if provider.install_default().is_err() {
        commands::complain("another TLS provider was chosen before");
    }
    // A service has a log of its own kind.
    if !matches!(cli.command, Command::Serve(_)) {
        log_to_standard_error();
    }
    let result = match cli.command {
        Command::Run(args) => commands::run::start(args),
        Command::Serve(args) => serve::start(*args),
        Command::Ready(args) => commands::ready::run(&args),
        Command::Submit(args) => commands::submit::run(&args),
        Command::Watch(args) => commands::watch::run(&args),
        Command::Cancel(args) => commands::watch::cancel(&args),
        Command::Recipes { command } => commands::recipes::run(&command),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Jobs(args) => commands::jobs::run(&args),
        Command::Redact(args) => commands::redact::run(&args),
        Command::Rejects(args) => commands::rejects::run(args),
        Command::Head(args) => commands::tables::head(&args),
        Command::Stats(args) => commands::tables::stats(&args),
        Command::Enrich { command: EnrichCommand::Warm(args) } => commands::enrich::warm(&args),
        Command::Cache { command } => commands::enrich::cache(&command),
        Command::Sim { command: SimCommand::Nppes(args) } => commands::sim::nppes(args),
    };
    result.unwrap_or_else(|error| {
        commands::complain(&format!("{error:#}"));
        let usage = error.downcast_ref::<commands::Usage>().is_some();
        ExitCode::from(if usage { USAGE } else { FAILED })
    })
}
