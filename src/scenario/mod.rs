//! Scenarios: text in, text out. A scenario drives one server in memory: the server's own evaluator, tree, watches,
//! plugin engine and limits, without sockets and disks, with clocks that move when the scenario says so.
//!
//! `wasmkeeper plugin test` runs the scenarios of plugins (plugins/TESTING.md is the reference of the commands), and
//! our tests run the files below tests/scenarios, whose README names the commands that only they need.
//!
//! Promises: the same text prints the same lines, always; what a scenario prints is what a client of the real server is
//! told.
//!
//! | file | holds |
//! |---|---|
//! | `script` | a scenario file as text |
//! | `stage` | the server that a scenario drives, its commands, and what clients write |
//! | `reads`, `operator`, `look` | more commands: reads and watches; deployments; what is printed of the server |
//! | `clients` | sessions, connections and identities of clients |
//! | `world` | the tree and the evaluator, what is outstanding, and what has happened |
//! | `clock` | the clocks |
//! | `requests` | what clients ask, from words |
//! | `random`, `invariant` | the block of random steps, and what must hold after each |
//! | `models` | what a recipe is to its clients, and whether their answers fit |
//! | `show` | replies, events and nodes as text |

mod clients;
mod clock;
mod invariant;
mod look;
mod models;
mod operator;
mod random;
mod reads;
mod requests;
mod script;
mod show;
mod stage;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use stage::Stage;

use crate::plugin::Plugins;
use crate::plugin::manifest::Manifest;
use random::{Before, Random};
use script::{Part, Script};
use std::fmt::Write as _;
use std::sync::Arc;

/// What the scenarios of a run share.
#[derive(Clone)]
pub(crate) struct Setup {
    /// May have run other scenarios before. Compiled components are used again.
    pub(crate) plugins: Arc<Plugins>,
    /// What `$component` stands for.
    pub(crate) component: Option<String>,
    pub(crate) prepare: Prepare,
}

/// Reads a line `deploy ...`, given without that word, and the component it names. The second argument looks up the
/// manifest in force of a plugin. The error says what is wrong with the line.
pub(crate) type Prepare = fn(&[String], &dyn Fn(&str) -> Option<Manifest>) -> Result<Deployment, String>;

/// A component and its manifest, whose version the stage sets.
pub(crate) struct Deployment {
    pub(crate) name: String,
    pub(crate) component: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// What a scenario came to.
pub(crate) struct Ran {
    /// "LINE: what cannot be run". What follows the first error was not run.
    pub(crate) errors: Vec<String>,
    /// "LINE: expected, printed", in order.
    pub(crate) differences: Vec<String>,
    /// The file with what was printed as what is expected.
    pub(crate) text: String,
}

/// Runs a command: `Stage::run`, or a test that knows more commands.
type Run<'a> = dyn FnMut(&mut Stage, &str) -> Result<Vec<String>, String> + 'a;

/// Runs one scenario. `seed`: run only this seed of the random blocks, and tell every line of it.
pub(crate) fn play(setup: &Setup, text: &str, seed: Option<u64>, tell: &mut dyn FnMut(&str)) -> Ran {
    play_by(&mut Stage::new(setup.clone()), text, seed, tell, &mut Stage::run)
}

/// As `play`, on a stage, where `run` runs a command.
fn play_by(stage: &mut Stage, text: &str, seed: Option<u64>, tell: &mut dyn FnMut(&str), run: &mut Run<'_>) -> Ran {
    let setup = stage.setup();
    let script = Script::parse(text);
    let mut run_before = Vec::new();
    let mut printed = Vec::new();
    let mut differences = Vec::new();
    for part in &script.parts {
        let Part::Group(group) = part else { continue };
        let mut lines = Vec::new();
        for command in &group.commands {
            let before = Before { setup: &setup, commands: &run_before };
            let said = match Random::is(&command.text) {
                true => {
                    let lines = Random::parse(&command.text).and_then(|random| random.run(&before, seed, tell));
                    // The server that has run up to here binds its plugins again.
                    stage.bind_again();
                    lines
                }
                false => {
                    run_before.push(command.text.clone());
                    run(stage, &command.text)
                }
            };
            match said {
                Ok(more) => lines.extend(more),
                Err(error) => {
                    let errors = vec![format!("{}: {error}", command.line)];
                    return Ran { errors, differences, text: text.into() };
                }
            }
        }
        if lines != group.expected {
            let line = group.commands.first().map_or(0, |command| command.line);
            differences.push(format!("{line}: {}", difference(&group.expected, &lines)));
        }
        printed.push(lines);
    }
    Ran { errors: Vec::new(), differences, text: script.text_with(&printed) }
}

/// Expected and printed lines, the equal ones once.
fn difference(expected: &[String], printed: &[String]) -> String {
    let same_before = expected.iter().zip(printed).take_while(|(expected, printed)| expected == printed).count();
    let mut text = String::from("expected (-) and printed (+) differ");
    let equal = expected[..same_before].iter().map(|line| (' ', line));
    let gone = expected[same_before..].iter().map(|line| ('-', line));
    let new = printed[same_before..].iter().map(|line| ('+', line));
    for (sign, line) in equal.chain(gone).chain(new) {
        // A string takes all that is written.
        let _ = write!(text, "\n    {sign} {line}");
    }
    text
}

/// Runs scenario files and panics with what differs. `REWRITE=1` writes what the scenarios print into the files
/// instead.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_files(files: &[std::path::PathBuf], play: &mut dyn FnMut(&str) -> Ran) {
    assert!(!files.is_empty(), "there are no scenarios");
    let mut failed = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let ran = play(&text);
        let name = file.display();
        failed.extend(ran.errors.iter().map(|error| format!("{name}:{error}")));
        if std::env::var_os("REWRITE").is_some() && ran.errors.is_empty() {
            std::fs::write(file, &ran.text).unwrap();
        } else {
            failed.extend(ran.differences.iter().map(|difference| format!("{name}:{difference}")));
        }
    }
    assert!(failed.is_empty(), "REWRITE=1 writes what is printed into the files:\n{}", failed.join("\n"));
}

#[cfg(test)]
impl Setup {
    /// A server whose scenarios deploy no plugins.
    pub(crate) fn bare() -> Setup {
        Setup {
            plugins: Plugins::new(true, crate::plugin::Compiler::here()),
            component: None,
            prepare: |_, _| Err("nothing is deployed here".into()),
        }
    }
}
