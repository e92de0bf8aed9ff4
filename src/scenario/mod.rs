//! `wasmkeeper plugin test`: scenario files, text in and text out, run against the engine, the limits and the evaluator of
//! the server, in memory: no sockets, no disk, clocks that move when the scenario says so.
//!
//! | file | holds |
//! |---|---|
//! | `script` | a scenario file as text |
//! | `stage` | a server in memory, and the commands that drive it |
//! | `requests` | what clients ask, from words |
//! | `random`, `invariant` | the block of random steps, and what must hold after each |
//! | `models` | what a recipe is to its clients, and whether their answers fit |
//! | `show` | replies, events and nodes as text |
//!
//! plugins/TESTING.md is the reference of the commands.

mod invariant;
mod models;
mod random;
mod requests;
mod script;
mod show;
mod stage;

use super::source::{read_source, say_if_slow};
use crate::plugin::{Compiler, Plugins};
use anyhow::{Context, bail};
use clap::Args;
use random::{Before, Random};
use script::{Part, Script};
pub(super) use stage::Stage;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `plugin test`
#[derive(Args, Debug)]
pub(super) struct Test {
    /// Scenario files, or folders of them (*.txt)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Writes what was printed into the files as what is expected from now on
    #[arg(long)]
    rewrite: bool,

    /// The component that scenarios call `$component`
    #[arg(long, value_name = "FILE|bundled:NAME")]
    component: Option<String>,

    /// Of `random` blocks only this seed, step by step
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

pub(super) fn run(test: &Test) -> anyhow::Result<()> {
    let plugins = Plugins::new(true, compiler());
    let mut files = Vec::new();
    for named in &test.files {
        collect(named, &mut files)?;
    }
    if files.is_empty() {
        bail!("there is no scenario (*.txt) in what was named");
    }
    if let Some(component) = &test.component {
        say_if_slow(component, read_source(component)?.len());
    }
    let mut failures = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let mut tell = |line: &str| {
            if test.seed.is_some() {
                println!("{line}");
            }
        };
        let ran = play(&plugins, &text, test.component.as_deref(), test.seed, &mut tell);
        if test.rewrite && ran.errors.is_empty() {
            if ran.text != text {
                std::fs::write(file, &ran.text).with_context(|| format!("write {}", file.display()))?;
            }
            println!("{}: {}", file.display(), if ran.text == text { "unchanged" } else { "rewritten" });
            continue;
        }
        for difference in ran.errors.iter().chain(&ran.differences) {
            println!("{}:{difference}", file.display());
        }
        let fine = ran.errors.is_empty() && ran.differences.is_empty();
        println!("{}: {}", file.display(), if fine { "ok" } else { "FAILED" });
        failures += usize::from(!fine);
    }
    if failures > 0 {
        bail!("{failures} of {} scenarios failed", files.len());
    }
    Ok(())
}

/// The file, or the scenarios in and below that folder in order of their names.
fn collect(named: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !named.is_dir() {
        files.push(named.into());
        return Ok(());
    }
    let entries = std::fs::read_dir(named).with_context(|| format!("read folder {}", named.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "txt") {
            collect(&path, files)?;
        }
    }
    Ok(())
}

/// With machine code kept in the user's cache, since components in some languages take ten seconds to compile; without
/// a place for that, in this process.
pub(super) fn compiler() -> Compiler {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.and_then(|cache| Compiler::child(&cache.join("wasmkeeper")).ok()).unwrap_or_else(Compiler::here)
}

/// What a scenario came to.
struct Ran {
    /// "LINE: what cannot be run", in order; what follows the first was not run.
    errors: Vec<String>,
    /// "LINE: expected, printed", in order.
    differences: Vec<String>,
    /// The file with what was printed as what is expected.
    text: String,
}

/// Runs one scenario. `plugins`: may have run others before, whose compiled components are used again. `seed`: the only one
/// of its random blocks, whose every line is told.
fn play(
    plugins: &Arc<Plugins>,
    text: &str,
    component: Option<&str>,
    seed: Option<u64>,
    tell: &mut dyn FnMut(&str),
) -> Ran {
    let script = Script::parse(text);
    let mut stage = Stage::new(plugins.clone(), component.map(String::from));
    let mut run_before = Vec::new();
    let mut printed = Vec::new();
    let mut differences = Vec::new();
    for part in &script.parts {
        let Part::Group(group) = part else { continue };
        let mut lines = Vec::new();
        for command in &group.commands {
            let before = Before { plugins, component, commands: &run_before };
            let said = match Random::is(&command.text) {
                true => {
                    let lines = Random::parse(&command.text).and_then(|random| random.run(&before, seed, tell));
                    // The server that has run up to here binds its plugins again.
                    stage.bind_again();
                    lines
                }
                false => {
                    run_before.push(command.text.clone());
                    stage.run(&command.text)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scenario of the bundled plugins. `REWRITE=1` writes what they print into them.
    #[test]
    fn scenarios_of_the_bundled_plugins() {
        let plugins = Plugins::new(true, Compiler::here());
        let mut files = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        for plugin in std::fs::read_dir(folder).unwrap() {
            let scenarios = plugin.unwrap().path().join("scenarios");
            if scenarios.is_dir() {
                collect(&scenarios, &mut files).unwrap();
            }
        }
        assert!(!files.is_empty());
        let mut failed = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let ran = play(&plugins, &text, None, None, &mut |_| {});
            let name = file.display();
            failed.extend(ran.errors.iter().map(|error| format!("{name}:{error}")));
            if std::env::var_os("REWRITE").is_some() && ran.errors.is_empty() {
                std::fs::write(&file, &ran.text).unwrap();
            } else {
                failed.extend(ran.differences.iter().map(|difference| format!("{name}:{difference}")));
            }
        }
        assert!(failed.is_empty(), "REWRITE=1 writes what is printed into the files:\n{}", failed.join("\n"));
    }
}
