//! The checks that every commit must pass, one step after the other, cheapest first.
//!
//! A step prints one line with its time. A step that fails prints its output and the command that shows the output
//! again, and the later steps do not run. The fuzz targets are left out: they need a C++ compiler, and `cargo xtask
//! fuzz` builds them.
//!
//! CI needs the release binary anyway. There `Dependencies::Release` compiles the dependencies once, for the tests as
//! well. That saves a cold build ten minutes on two cores.

use crate::{audit, layers, tidy};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Cargo's options for everything but the plugins, which are a workspace of their own.
const OURS: &str = "--workspace --exclude wasmkeeper-fuzz";

/// Which profile compiles the dependencies. Our own crates are always tested as the profile `dev` compiles them:
/// unoptimised, with overflow checks and debug assertions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependencies {
    /// The profile of `cargo test`, with incremental compilation: for work on the code.
    Dev,
    /// The profile of the release binary: for a machine that builds everything once.
    Release,
}

impl Dependencies {
    /// Cargo's options.
    fn options(self) -> String {
        match self {
            Self::Dev => String::new(),
            Self::Release => {
                let as_in_dev = ["opt-level=0", "debug-assertions=true", "overflow-checks=true", "codegen-units=256"];
                // In debug builds only, openraft asserts much about its own state, and redb about the pages it reads.
                let tested = ["wasmkeeper", "wasmkeeper-sim", "xtask"].iter().flat_map(|package| {
                    as_in_dev
                        .iter()
                        .map(move |setting| format!(" --config profile.release.package.{package}.{setting}"))
                });
                let settings: String = tested.collect();
                let asserting = ["openraft", "redb"]
                    .map(|package| format!(" --config profile.release.package.{package}.debug-assertions=true"));
                format!(" --release{settings}{}", asserting.concat())
            }
        }
    }
}

/// Checks everything. Writes to cargo's target folders only.
pub(crate) fn verify(root: &Path, dependencies: Dependencies) -> Result<(), String> {
    let profile = dependencies.options();
    let started = Instant::now();
    step("tidy sources", || tidy::check(root))?;
    step("dependencies", || audit::check(root))?;
    step("format", || cargo(root, "fmt --all --check", &[]))?;
    if has_plugins(root) {
        step("format of the plugins", || cargo(&root.join("plugins"), "fmt --all --check", &[]))?;
    }
    step("clippy", || cargo(root, &format!("clippy {OURS} --all-targets --locked{profile} -- -D warnings"), &[]))?;
    if has_plugins(root) {
        let lint = "clippy --workspace --all-targets --locked -- -D warnings";
        step("clippy of the plugins", || cargo(&root.join("plugins"), lint, &[]))?;
    }
    step("documentation", || {
        let document = format!("doc {OURS} --no-deps --locked --document-private-items{profile}");
        cargo(root, &document, &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    let tests = format!("test {OURS} --locked --no-fail-fast{profile}");
    step("tests", || test(root, &tests))?;
    if has_plugins(root) {
        step("tests of the plugins", || test(&root.join("plugins"), "test --workspace --locked --no-fail-fast"))?;
    }
    println!("verified in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Formats the code, and applies what clippy can.
pub(crate) fn fix(root: &Path) -> Result<(), String> {
    step("list of layers", || layers::write_page(root))?;
    step("format", || cargo(root, "fmt --all", &[]))?;
    if has_plugins(root) {
        step("format of the plugins", || cargo(&root.join("plugins"), "fmt --all", &[]))?;
    }
    step("clippy", || cargo(root, &format!("clippy {OURS} --all-targets --fix --allow-dirty --allow-staged"), &[]))?;
    step("format", || cargo(root, "fmt --all", &[]))
}

fn has_plugins(root: &Path) -> bool {
    root.join("plugins/Cargo.toml").is_file()
}

fn step(name: &str, check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let started = Instant::now();
    let result = check();
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    println!("{name:<24} {verdict:<6} {:7.1} s", started.elapsed().as_secs_f64());
    result
}

/// Runs tests, and prints how many passed.
fn test(folder: &Path, arguments: &str) -> Result<(), String> {
    let printed = cargo_output(folder, arguments, &[])?;
    println!("{:<24} {} passed", "", passed(&printed));
    Ok(())
}

/// The sum of the passed tests over all test binaries.
fn passed(printed: &str) -> u64 {
    let counts = printed.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    counts.filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// Runs cargo, silently unless it fails. Blanks separate `arguments`, so no argument may contain one.
fn cargo(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    cargo_output(folder, arguments, environment).map(drop)
}

fn cargo_output(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = cargo_in(folder);
    command.args(arguments.split(' ')).stdin(Stdio::null());
    command.envs(environment.iter().copied());
    // With REWRITE a test writes a stale page again. Here a stale page must fail.
    command.env_remove("REWRITE");
    let output = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let variables: String = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    Err(format!(
        "{}{}\nto see this again: (cd {} && {variables}cargo {arguments})",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        folder.display()
    ))
}

/// Cargo in `folder`, as if it were called by hand. `cargo xtask` sets variables for this program; with them, build
/// scripts would run again, and everything that depends on them would compile again.
pub(crate) fn cargo_in(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command.current_dir(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn passed_tests_are_counted() {
        let printed =
            "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored\n\ntest result: ok. 40 passed; 0\n";
        assert_eq!(passed(printed), 42);
        assert_eq!(passed("test result: FAILED. 1 passed; 1 failed"), 0);
    }
}
