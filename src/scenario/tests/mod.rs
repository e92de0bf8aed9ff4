//! The server's own scenarios, and tests of the pipeline that cannot be written as a scenario.
//!
//! | file | holds |
//! |---|---|
//! | `fakes` | recipes, policies and validators in a few lines of Rust, and the commands `fake ...` |
//! | `fuel` | what plugins' answers cost, and how much a transaction has |
//! | `equivalence` | judging on outstanding changes is the same as judging on the applied tree |
//! | `blame` | members that blame a plugin |
//! | `controllers` | what a controller has worked out |
//! | `bounds` | bounds of a transaction, at their real sizes |
//! | `corners` | states that no scenario gets to |

mod blame;
mod bounds;
mod controllers;
mod corners;
mod equivalence;
mod fakes;
mod fuel;

use super::stage::Stage;
use super::{Setup, check_files, play, play_by};
use fakes::Fakes;
use std::path::{Path, PathBuf};

/// The files of a folder below tests/scenarios, in order of their names.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "txt")).collect();
    files.sort();
    files
}

#[test]
fn scenarios_of_the_server() {
    let setup = Setup::bare();
    check_files(&files(""), &mut |text| play(&setup, text, None, &mut |_| {}));
}

#[test]
fn scenarios_of_recipes() {
    let setup = Setup::bare();
    check_files(&files("recipes"), &mut |text| {
        let (mut stage, fakes) = Fakes::stage(&setup);
        play_by(&mut stage, text, None, &mut |_| {}, &mut |stage, command| fakes.run(stage, command))
    });
}

/// Runs commands, one on each line, and returns what they print.
#[track_caller]
fn run(stage: &mut Stage, commands: &str) -> Vec<String> {
    let lines = commands.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.flat_map(|line| stage.run(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// As `run`, for commands of which each prints one line.
#[track_caller]
fn check(stage: &mut Stage, commands_and_answers: &[(&str, &str)]) {
    for (command, answer) in commands_and_answers {
        assert_eq!(run(stage, command), [*answer], "{command}");
    }
}
