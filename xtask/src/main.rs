//! The project's chores: `cargo xtask verify` before every push, `fix`, `ci`, and the long tests.
//!
//! | file | what |
//! |---|---|
//! | `verify` | the steps of `verify` and `fix` |
//! | `ci` | what CI runs: `verify`, and the binary against real clients and ZooKeeper's stored answers |
//! | `tidy` | rules for source files that no tool of Rust's knows |
//! | `layers` | which folder may import which |
//! | `audit` | dependencies: licences, and crates that must be there once |
//! | `long` | fuzzing, crash points, kill -9, simulation |

#![expect(clippy::disallowed_methods, reason = "a tool for developers runs on real time")]

mod audit;
mod ci;
mod layers;
mod long;
mod tidy;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verify::Dependencies;

const USAGE: &str = "\
cargo xtask verify [--release]           formats, lints, documentation, dependencies, tests; writes nothing but target/;
                                         --release shares the dependencies with `cargo build --release`, as CI does
cargo xtask tidy                         only the rules for source files, among them the layers
cargo xtask fix                          format, apply what clippy can, write generated parts of pages
cargo xtask ci [--only STEP,...]         what CI runs: `verify`, then the binary against clients (`ci --help`)
cargo xtask fuzz TARGET [--minutes N]    fuzz one target (default 10 minutes); `cargo xtask fuzz` lists them
cargo xtask crash [--points N]           N crash points on the simulated disk (default 10000)
cargo xtask kill [--rounds N]            N rounds of kill -9 under load (default 200)
cargo xtask sim --minutes N | --seeds A..B | --seed N [--trace] | --kept | --mutations
                                         simulated ensembles (sim/README.md)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(compiled) = long::compile(&arguments) {
        return if compiled.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["verify"] => verify::verify(&root(), Dependencies::Dev),
        ["verify", "--release"] => verify::verify(&root(), Dependencies::Release),
        ["tidy"] => tidy::check(&root()),
        ["fix"] => verify::fix(&root()),
        ["ci", options @ ..] => ci::run(&root(), options),
        ["fuzz"] => long::list_fuzz_targets(&root()),
        ["fuzz", target, options @ ..] if !target.starts_with('-') => {
            number(options, "--minutes", 10).and_then(|minutes| long::fuzz(&root(), target, minutes))
        }
        ["crash", options @ ..] => number(options, "--points", 10_000).and_then(|points| long::crash(&root(), points)),
        ["kill", options @ ..] => number(options, "--rounds", 200).and_then(|rounds| long::kill(&root(), rounds)),
        ["sim", options @ ..] if !options.is_empty() => long::simulate(&root(), options),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.is_empty() => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The value of option `name`, the only one that the command has.
fn number(options: &[&str], name: &str, default: u64) -> Result<u64, String> {
    match options {
        [] => Ok(default),
        [option, value] if *option == name => {
            value.parse().map_err(|_| format!("{name} takes a number, not `{value}`"))
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
