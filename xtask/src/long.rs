//! What takes longer than a push may: fuzzing, crash points, kill -9.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo fuzz` would set, for a stable compiler: a counter for every edge, and the operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Seconds one input may take before it counts as a finding.
const INPUT_SECONDS_MAX: u32 = 10;

pub fn list_fuzz_targets(root: &Path) -> Result<(), String> {
    for target in targets(root)? {
        println!("{target}");
    }
    Ok(())
}

/// Fuzzes one target and stops at the first finding, whose input is kept under `fuzz/artifacts`. The corpus grows in
/// `fuzz/corpus`.
pub fn fuzz(root: &Path, target: &str, minutes: u64) -> Result<(), String> {
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
    let host_triple = crate::audit::host()?;
    // With --target the flags reach the fuzzed code only, not build scripts, which would not link with them.
    let built = Command::new("cargo")
        .args(["build", "--release", "--bin", target, "--target", &host_triple])
        .current_dir(&folder)
        .env("RUSTFLAGS", COVERAGE)
        .status();
    succeed(built, "build the fuzz target")?;
    let program: PathBuf = folder.join("target").join(host_triple).join("release").join(target);
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

/// The tests whose names contain `crash_points`, over `points` places where the power may fail.
pub fn crash(root: &Path, points: u64) -> Result<(), String> {
    named_tests(root, "crash_points", "CRASH_POINTS", points)
}

/// The test of real processes that are killed under load, `rounds` times.
pub fn kill(root: &Path, rounds: u64) -> Result<(), String> {
    named_tests(root, "kill", "KILL_ROUNDS", rounds)
}

fn named_tests(root: &Path, name: &str, variable: &str, count: u64) -> Result<(), String> {
    let tests = Command::new("cargo")
        .args(["test", "--release", "--locked", "--package", "wasmkeeper", name, "--"])
        .args(["--include-ignored", "--nocapture"])
        .current_dir(root)
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
