//! What must hold of every commit, one step after the other, cheapest first.
//!
//! A step prints one line with its time; a failed one prints its output and the command that shows it again, and nothing
//! behind it runs.

use crate::{audit, tidy};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Checks everything and changes nothing (cargo's target folders apart).
pub fn verify(root: &Path) -> Result<(), String> {
    let started = Instant::now();
    step("tidy sources", || tidy::check(root))?;
    step("dependencies", || audit::check(root))?;
    step("format", || cargo(root, "fmt --all --check", &[]))?;
    if has_guests(root) {
        step("format of the guests", || cargo(&root.join("plugins"), "fmt --all --check", &[]))?;
    }
    step("clippy", || cargo(root, "clippy --workspace --all-targets --locked -- -D warnings", &[]))?;
    step("documentation", || {
        cargo(root, "doc --workspace --no-deps --locked --document-private-items", &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    step("tests", || cargo(root, "test --workspace --locked", &[]))?;
    if has_guests(root) {
        step("tests of the guests", || cargo(&root.join("plugins"), "test --workspace --locked", &[]))?;
    }
    println!("verified in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Formats, and lets clippy repair what it can.
pub fn fix(root: &Path) -> Result<(), String> {
    step("format", || cargo(root, "fmt --all", &[]))?;
    if has_guests(root) {
        step("format of the guests", || cargo(&root.join("plugins"), "fmt --all", &[]))?;
    }
    step("clippy", || cargo(root, "clippy --workspace --all-targets --fix --allow-dirty --allow-staged", &[]))?;
    step("format", || cargo(root, "fmt --all", &[]))
}

fn has_guests(root: &Path) -> bool {
    root.join("plugins/Cargo.toml").is_file()
}

fn step(name: &str, check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let started = Instant::now();
    let result = check();
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    println!("{name:<24} {verdict:<6} {:7.1} s", started.elapsed().as_secs_f64());
    result
}

/// Runs cargo, silently unless it fails. `arguments` have no blanks of their own.
pub fn cargo(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    command.envs(environment.iter().copied());
    // Set by whoever regenerates pages; here a stale page must fail.
    command.env_remove("REWRITE");
    let output = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let variables: String = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    Err(format!(
        "{}{}\nto see this again: (cd {} && {variables}cargo {arguments})",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        folder.display()
    ))
}
