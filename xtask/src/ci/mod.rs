//! `cargo xtask ci`: everything that a commit must pass, with time limits and a summary.
//!
//! CI runs this command and nothing else (`.ci/run`). A contributor runs single steps of it with `--only`. Every step
//! has a time limit, and all steps together have [`SECONDS_MAX`]. A step that lacks Python, the network, or enough time
//! is skipped with a sentence. The command fails if any step fails.
//!
//! | file | what |
//! |---|---|
//! | `summary` | what the steps counted, as a table |
//! | `process` | commands with a time limit, and servers under test |
//! | `clients` | kazoo: the bundled plugins, and kazoo's own test suite |
//! | `differential` | the answers of ZooKeeper 3.9.5, replayed against us |

mod clients;
mod differential;
mod process;
mod summary;

use process::{Budget, End, Show, WorkFolder};
use std::path::{Path, PathBuf};
use std::process::Command;
use summary::{Outcome, Summary};

/// Seconds that all steps have together. The machine that runs CI gives up after 90 minutes.
const SECONDS_MAX: u64 = 58 * 60;

/// Seeds of the simulation that CI runs. `cargo xtask sim` runs more.
const SEEDS: u64 = 40;

pub(crate) const USAGE: &str = "\
cargo xtask ci [--only STEP,...] [--binary PATH]

Runs what CI runs, in this order, and ends with the line `N passed, N failed`. It takes up to 58 minutes.

    verify         `cargo xtask verify`: formats, lints, documentation, dependencies, tests
    build          the release binary
    plugins        every bundled plugin, driven by kazoo
    simulation     40 seeds of simulated ensembles with faults
    differential   the stored answers of ZooKeeper 3.9.5, replayed against the binary
    kazoo-3        kazoo's own test suite against three servers
    kazoo-1        kazoo's own test suite against one server, at the same time

    --only STEP,...   only these steps; `build` is added where a step needs a binary
    --binary PATH     test this binary, and do not build one

`verify` and `simulation` need a Rust toolchain. `differential` needs python3. `plugins` and kazoo's suite need python3 with
venv, and a network to install kazoo from PyPI.";

/// One step of CI. The order of the variants is the order of the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Verify,
    Build,
    Plugins,
    Simulation,
    Differential,
    KazooThree,
    KazooOne,
}

const STEPS: [(Step, &str); 7] = [
    (Step::Verify, "verify"),
    (Step::Build, "build"),
    (Step::Plugins, "plugins"),
    (Step::Simulation, "simulation"),
    (Step::Differential, "differential"),
    (Step::KazooThree, "kazoo-3"),
    (Step::KazooOne, "kazoo-1"),
];

impl Step {
    fn parse(name: &str) -> Result<Self, String> {
        let found = STEPS.iter().find(|(_, known)| *known == name);
        found.map(|(step, _)| *step).ok_or_else(|| format!("there is no step `{name}`\n\n{USAGE}"))
    }

    fn name(self) -> &'static str {
        STEPS.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }

    fn needs_binary(self) -> bool {
        matches!(self, Self::Plugins | Self::Differential | Self::KazooThree | Self::KazooOne)
    }

    /// Seconds this step takes on a machine of two cores. With less time left, the step is skipped. 0: never skipped.
    fn seconds_usual(self) -> u64 {
        match self {
            Self::Verify | Self::Build => 0,
            Self::Plugins => 60,
            Self::Simulation => 240,
            Self::Differential => 120,
            Self::KazooThree => 340,
            Self::KazooOne => 300,
        }
    }

    /// Whether the later steps make no sense once this one has failed.
    fn is_vital(self) -> bool {
        matches!(self, Self::Verify | Self::Build)
    }
}

/// What the command line asks for.
struct Options {
    steps: Vec<Step>,
    binary: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let mut only: Option<Vec<Step>> = None;
        let mut binary = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` is unknown or lacks a value\n\n{USAGE}"))?;
            match *word {
                "--only" => only = Some(value.split(',').map(Step::parse).collect::<Result<_, _>>()?),
                "--binary" => binary = Some(PathBuf::from(value)),
                _ => return Err(format!("there is no option `{word}`\n\n{USAGE}")),
            }
        }
        let wanted = |step: Step| only.as_ref().is_none_or(|only| only.contains(&step));
        let needs_binary = STEPS.iter().any(|(step, _)| step.needs_binary() && wanted(*step));
        let chosen = |step: Step| match step {
            Step::Build => binary.is_none() && (wanted(step) || needs_binary),
            _ => wanted(step),
        };
        let steps = STEPS.iter().map(|(step, _)| *step).filter(|step| chosen(*step)).collect();
        Ok(Self { steps, binary })
    }
}

/// What every step may use.
struct Context {
    root: PathBuf,
    /// For logs and for the data of servers under test. Removed in the end.
    work: WorkFolder,
    budget: Budget,
    /// The program under test.
    binary: PathBuf,
}

impl Context {
    /// Where the output of a step goes.
    fn log(&self, name: &str) -> PathBuf {
        self.work.path().join(format!("{name}.log"))
    }
}

/// Runs the steps that `words` ask for. `Err("")` after a failed step: the summary has said everything.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    if matches!(words, ["--help" | "-h"]) {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(words)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = options.binary.unwrap_or_else(|| target.join("release/wasmkeeper"));
    let binary = std::path::absolute(&binary).map_err(|error| format!("find {}: {error}", binary.display()))?;
    let context = Context { root: root.to_owned(), work: WorkFolder::new()?, budget: Budget::new(SECONDS_MAX), binary };
    let mut summary = Summary::default();
    let kazoo_one = options.steps.contains(&Step::KazooThree) && options.steps.contains(&Step::KazooOne);
    let mut at_once = None;
    for step in options.steps {
        println!("== {}", step.name());
        let outcome = match step {
            // Kazoo's tests mostly wait. Together the two runs take little longer than one.
            Step::KazooThree if kazoo_one => std::thread::scope(|scope| {
                let one = scope.spawn(|| attempt(Step::KazooOne, &context));
                let three = attempt(step, &context);
                at_once = Some(one.join().unwrap_or_else(|_| Outcome::failure("the step panicked".to_owned())));
                three
            }),
            Step::KazooOne => at_once.take().unwrap_or_else(|| attempt(step, &context)),
            _ => attempt(step, &context),
        };
        let has_failed = outcome.failed > 0;
        summary.add(step.name(), outcome);
        if has_failed && step.is_vital() {
            break;
        }
    }
    summary.print(context.budget.seconds_used());
    if summary.has_failures() { Err(String::new()) } else { Ok(()) }
}

/// Runs one step, unless too little time is left for it.
fn attempt(step: Step, context: &Context) -> Outcome {
    let left = context.budget.seconds_left();
    if left < step.seconds_usual() {
        return Outcome::skipped(format!("{left} s are left, and this step takes {} s", step.seconds_usual()));
    }
    if step.needs_binary() && !context.binary.is_file() {
        return Outcome::failure(format!("there is no binary at {}", context.binary.display()));
    }
    match step {
        Step::Verify => verify(context),
        Step::Build => build(context),
        Step::Plugins => clients::plugins(context),
        Step::Simulation => simulate(context),
        Step::Differential => differential::replay(context),
        Step::KazooThree => clients::suite(context, 3, step.seconds_usual()),
        Step::KazooOne => clients::suite(context, 1, step.seconds_usual()),
    }
}

/// This program with other arguments, so that a time limit can end it.
fn xtask(arguments: &[&str]) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn verify(context: &Context) -> Outcome {
    let command = match xtask(&["verify", "--release"]) {
        Ok(command) => command,
        Err(why) => return Outcome::failure(why),
    };
    let finished = process::run(&context.budget, 2400, &command, &context.log("verify"), Show::Live);
    let passed = summary::sum_before(&finished.output, " passed");
    let failed = summary::sum_before(&finished.output, " failed;");
    match finished.end {
        End::Succeeded => Outcome::counted(passed, failed, format!("{passed} tests passed")),
        end => Outcome::counted(passed, failed.max(1), end.to_string()),
    }
}

fn build(context: &Context) -> Outcome {
    let mut command = crate::verify::cargo_in(&context.root);
    command.args(["build", "--release", "--locked"]);
    process::run(&context.budget, 1500, &command, &context.log("build"), Show::Live).end.into()
}

fn simulate(context: &Context) -> Outcome {
    let command = match xtask(&["sim", "--seeds", &format!("1..{}", SEEDS + 1)]) {
        Ok(command) => command,
        Err(why) => return Outcome::failure(why),
    };
    match process::run(&context.budget, 1200, &command, &context.log("simulation"), Show::Tail(25)).end {
        End::Succeeded => Outcome::counted(SEEDS, 0, format!("{SEEDS} seeds")),
        end => Outcome::unfinished(0, &end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        Options::parse(words).unwrap().steps.into_iter().map(Step::name).collect()
    }

    #[test]
    fn options_choose_steps() {
        assert_eq!(names(&[]).len(), STEPS.len());
        assert_eq!(names(&["--only", "verify"]), ["verify"]);
        assert_eq!(names(&["--only", "kazoo-1,differential"]), ["build", "differential", "kazoo-1"]);
        assert_eq!(names(&["--only", "differential", "--binary", "x"]), ["differential"]);
        assert!(Options::parse(&["--only", "kazoo"]).is_err());
        assert!(Options::parse(&["--only"]).is_err());
        assert!(Options::parse(&["--seeds", "3"]).is_err());
    }
}
