//! `wasmkeeper plugin test`: reads scenario files, runs them (`crate::scenario`), and prints what differs.

use super::deploy;
use super::source::{read_source, say_if_slow};
use crate::plugin::{Compiler, Plugins};
use crate::scenario::{Setup, play};
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `plugin test`
#[derive(Args, Debug)]
pub(super) struct Test {
    /// Scenario files, or folders of them (*.txt)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write what the scenarios print into the files, as what is expected from now on
    #[arg(long)]
    rewrite: bool,

    /// The component that `$component` stands for in the scenarios
    #[arg(long, value_name = "FILE|bundled:NAME")]
    component: Option<String>,

    /// Run only this seed of `random` blocks, and print each step
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

pub(super) fn run(test: &Test) -> anyhow::Result<()> {
    let setup = setup(Plugins::new(true, compiler()), test.component.clone());
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
        let ran = play(&setup, &text, test.seed, &mut tell);
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

/// Adds the file, or the scenarios in and below the folder in order of their names.
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

/// A compiler that keeps machine code in the user's cache, since components in some languages take ten seconds to
/// compile. If there is no place for a cache, it compiles in this process and keeps nothing.
pub(super) fn compiler() -> Compiler {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.and_then(|cache| Compiler::child(&cache.join("wasmkeeper")).ok()).unwrap_or_else(Compiler::here)
}

/// Scenarios whose `deploy` takes what `plugin deploy` takes.
pub(super) fn setup(plugins: Arc<Plugins>, component: Option<String>) -> Setup {
    Setup { plugins, component, prepare: deploy::of_line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::check_files;

    #[test]
    fn scenarios_of_the_bundled_plugins() {
        let mut files = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        for plugin in std::fs::read_dir(folder).unwrap() {
            let scenarios = plugin.unwrap().path().join("scenarios");
            if scenarios.is_dir() {
                collect(&scenarios, &mut files).unwrap();
            }
        }
        let setup = setup(Plugins::new(true, Compiler::here()), None);
        check_files(&files, &mut |text| play(&setup, text, None, &mut |_| {}));
    }
}
