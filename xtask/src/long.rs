//! Tests that take too long for every push: fuzzing, crash points, kill -9, simulation.

use crate::verify::cargo_in;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// If this variable is set, cargo calls this program as the wrapper of the compiler.
const WRAPS: &str = "WASMKEEPER_FUZZ_WRAPPER";

/// The flags that `cargo fuzz` would set, for a stable compiler: a counter for every edge, and the operands of
/// comparisons. With overflow checks a wrapped addition is a finding, as a failed assertion is.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=2",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Seconds that one input may take. A slower input is a finding.
const INPUT_SECONDS_MAX: u32 = 10;

pub(crate) fn list_fuzz_targets(root: &Path) -> Result<(), String> {
    for target in targets(root)? {
        println!("{target}");
    }
    Ok(())
}

/// Fuzzes one target and stops at the first finding. The input of a finding is kept in `fuzz/artifacts`. Inputs that
/// reach new code are kept in `fuzz/corpus`.
pub(crate) fn fuzz(root: &Path, target: &str, minutes: u64) -> Result<(), String> {
    let known = targets(root)?;
    if !known.iter().any(|name| name == target) {
        return Err(format!("there is no fuzz target `{target}`; there are: {}", known.join(", ")));
    }
    let folder = root.join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    }
    // Only our own code is instrumented. Dependencies come from the debug build, and are not compiled again.
    let wrapper = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let built = cargo_in(root)
        .args(["build", "--locked", "--package", "wasmkeeper-fuzz", "--bin", target])
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env(WRAPS, "1")
        .status();
    succeed(built, "build the fuzz target")?;
    let program: PathBuf = root.join("target/debug").join(target);
    let run = Command::new(program)
        .arg(&corpus)
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg("-rss_limit_mb=2048")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .status();
    succeed(run, "fuzz")
}

/// If cargo calls this program in place of the compiler, calls the compiler with the flags for fuzzing and returns the
/// result. None: cargo does not. Build scripts and procedural macros are compiled without these flags: they would not
/// link.
pub(crate) fn compile(arguments: &[String]) -> Option<Result<(), String>> {
    std::env::var_os(WRAPS)?;
    let (compiler, arguments) = arguments.split_first()?;
    let name = arguments.iter().skip_while(|word| *word != "--crate-name").nth(1).map_or("", String::as_str);
    let mut command = Command::new(compiler);
    command.args(arguments);
    if !name.is_empty() && !name.starts_with("build_script") && name != "___" {
        command.args(COVERAGE);
    }
    Some(succeed(command.status(), compiler))
}

/// The names of the binaries in the package `fuzz`.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let path = root.join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let mut bins = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            bins = line == "[[bin]]";
        } else if bins && let Some(name) = line.strip_prefix("name = ") {
            names.push(name.trim_matches('"').to_owned());
        }
    }
    Ok(names)
}

/// Runs the tests whose names contain `crash_points`, with `points` places at which the power fails.
pub(crate) fn crash(root: &Path, points: u64) -> Result<(), String> {
    named_tests(root, "crash_points", "CRASH_POINTS", points)
}

/// Runs the test that kills real processes under load, `rounds` times.
pub(crate) fn kill(root: &Path, rounds: u64) -> Result<(), String> {
    named_tests(root, "kill", "KILL_ROUNDS", rounds)
}

/// Runs the simulation. The simulation itself parses `options`.
pub(crate) fn simulate(root: &Path, options: &[&str]) -> Result<(), String> {
    let run = cargo_in(root)
        .args(["run", "--release", "--locked", "--quiet", "--package", "wasmkeeper-sim", "--"])
        .args(options)
        .status();
    succeed(run, "simulate")
}

fn named_tests(root: &Path, name: &str, variable: &str, count: u64) -> Result<(), String> {
    let tests = cargo_in(root)
        .args(["test", "--release", "--locked", "--package", "wasmkeeper", name, "--"])
        .args(["--include-ignored", "--nocapture"])
        .env(variable, count.to_string())
        .status();
    succeed(tests, &format!("{variable}={count} cargo test --release {name} -- --include-ignored --nocapture"))
}

fn succeed(status: std::io::Result<std::process::ExitStatus>, what: &str) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}
