//! kazoo, the Python client: against every bundled plugin, and its own test suite against our server.
//!
//! Both need python3 with venv and a network to install kazoo from. Without these, the step is skipped with a sentence.

use super::Context;
use super::process::{self, End, Finished, Server, Show};
use super::summary::{Outcome, sum_before};
use std::path::PathBuf;
use std::process::Command;

/// The exit code of `tests/conformance/kazoo.sh` if kazoo cannot be installed here.
const NO_KAZOO: i32 = 77;

/// Tests of kazoo's suite that need more than one server. ZooKeeper 3.9.5 fails the same seven if it is alone. A blank
/// stands behind the name of each test.
const NEED_SEVERAL_SERVERS: &[&str] = &["::test_update_host_list ", "::TestReconfig::", "::test_read_only "];

/// Drives every bundled plugin with kazoo, as `tests/clients/plugins.py` says.
pub(crate) fn plugins(context: &Context) -> Outcome {
    let python = match install_kazoo(context) {
        Ok(python) => python,
        Err(why) => return Outcome::skipped(format!("kazoo cannot be installed: {why}")),
    };
    match drive_plugins(context, python) {
        Ok(Finished { end, output }) => {
            let parts = output.lines().filter(|line| line.starts_with("ok ")).count() as u64;
            match end {
                End::Succeeded => Outcome::counted(parts, 0, format!("{parts} parts passed")),
                end => Outcome::unfinished(parts, &end),
            }
        }
        Err(why) => Outcome::failure(why),
    }
}

/// Makes a Python environment with kazoo in the work folder, and returns its `python`.
fn install_kazoo(context: &Context) -> Result<PathBuf, String> {
    require_venv(context)?;
    let folder = context.work.path().join("kazoo");
    let log = context.log("kazoo-install");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&folder);
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet", "kazoo==2.11.0"]);
    for command in [make, install] {
        let finished = process::run(&context.budget, 120, &command, &log, Show::Tail(3));
        if finished.end != End::Succeeded {
            return Err(format!("{}: {}", command.get_program().display(), finished.end));
        }
    }
    Ok(folder.join("bin/python"))
}

/// Python's module venv is a package of its own on Debian. If it is missing and we are root, it is installed.
fn require_venv(context: &Context) -> Result<(), String> {
    let log = context.log("venv");
    let has_venv = |seconds| {
        let mut command = Command::new("python3");
        command.args(["-c", "import ensurepip, venv"]);
        process::run(&context.budget, seconds, &command, &log, Show::Tail(0)).end == End::Succeeded
    };
    if has_venv(30) {
        return Ok(());
    }
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "python3-venv"]] {
        let mut command = Command::new("apt-get");
        command.args(arguments);
        if process::run(&context.budget, 300, &command, &log, Show::Tail(3)).end != End::Succeeded {
            break;
        }
    }
    if has_venv(30) { Ok(()) } else { Err("python3 with venv is missing (Debian: python3-venv)".to_owned()) }
}

fn drive_plugins(context: &Context, python: PathBuf) -> Result<Finished, String> {
    let port = process::free_port()?;
    let address = format!("127.0.0.1:{port}");
    let data = context.work.path().join("plugins");
    let arguments = ["--data-dir".to_owned(), data.display().to_string(), "--listen".to_owned(), address.clone()];
    let server = Server::start(&context.budget, &context.binary, port, &arguments, context.log("plugins-server"))?;
    let mut command = Command::new(python);
    command.arg(context.root.join("tests/clients/plugins.py")).arg(address).arg(&context.binary);
    let finished = process::run(&context.budget, 300, &command, &context.log("plugins"), Show::Tail(40));
    if finished.end != End::Succeeded {
        server.print_log();
    }
    Ok(finished)
}

/// Runs kazoo's suite against `servers` servers, and once more if it fails and `seconds_usual` are left: many of its
/// tests wait for wall clock time, which a busy machine stretches. A defect fails twice.
pub(crate) fn suite(context: &Context, servers: usize, seconds_usual: u64) -> Outcome {
    if let Err(why) = require_venv(context) {
        return Outcome::skipped(why);
    }
    let mut finished = run_suite(context, servers);
    let bad = unexpected(&finished, servers);
    if !bad.is_empty() && finished.end != End::Failed(Some(NO_KAZOO)) && context.budget.seconds_left() > seconds_usual {
        println!("-- kazoo's suite once more; the first time these failed:\n{}", bad.join("\n"));
        finished = run_suite(context, servers);
    }
    if finished.end == End::Failed(Some(NO_KAZOO)) {
        return Outcome::skipped("kazoo's suite cannot be installed".to_owned());
    }
    if finished.end == End::OutOfTime {
        return Outcome::unfinished(0, &finished.end);
    }
    let bad = unexpected(&finished, servers);
    for line in &bad {
        println!("{line}");
    }
    let last = closing_line(&finished.output).unwrap_or("did not get to its end");
    Outcome::counted(sum_before(last, " passed"), bad.len() as u64, last.trim_matches(['=', ' ']).to_owned())
}

fn run_suite(context: &Context, servers: usize) -> Finished {
    let mut command = Command::new(context.root.join("tests/conformance/kazoo.sh"));
    command.arg(&context.binary).arg(servers.to_string()).arg("-rfE").env("TMPDIR", context.work.path());
    process::run(&context.budget, 1200, &command, &context.log(&format!("kazoo-{servers}")), Show::Tail(30))
}

/// The tests that failed and should not have; and a sentence if the suite's output cannot be trusted.
fn unexpected(finished: &Finished, servers: usize) -> Vec<String> {
    let output = &finished.output;
    let listed: Vec<String> = output
        .lines()
        .filter(|line| line.starts_with("FAILED ") || line.starts_with("ERROR "))
        .map(|line| format!("{line} "))
        .collect();
    let is_expected = |line: &str| servers == 1 && NEED_SEVERAL_SERVERS.iter().any(|test| line.contains(test));
    let mut bad: Vec<String> = listed.iter().filter(|line| !is_expected(line)).cloned().collect();
    match closing_line(output) {
        None => bad.push(format!("kazoo's suite did not get to its end: {}", finished.end)),
        Some(last) if sum_before(last, " failed") + sum_before(last, " error") != listed.len() as u64 => {
            bad.push("kazoo's list of failures and its count do not agree".to_owned());
        }
        Some(_) => {}
    }
    bad
}

/// pytest's last line, such as `7 failed, 483 passed, 3 skipped in 212.00s (0:03:32)`.
fn closing_line(output: &str) -> Option<&str> {
    let is_closing = |line: &&str| {
        let line = line.trim_start_matches(['=', ' ']);
        line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" passed") && line.contains(" in ")
    };
    output.lines().rev().find(is_closing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(output: &str) -> Finished {
        Finished { end: End::Failed(Some(1)), output: output.to_owned() }
    }

    #[test]
    fn a_single_server_may_fail_the_tests_of_ensembles() {
        let output = "..F\n\
            FAILED tests/test_client.py::TestClient::test_update_host_list - assert\n\
            FAILED tests/test_client.py::TestReconfig::test_add - x\n\
            2 failed, 483 passed, 3 skipped in 212.00s (0:03:32)\n";
        assert!(unexpected(&ended(output), 1).is_empty());
        assert_eq!(unexpected(&ended(output), 3).len(), 2);
    }

    #[test]
    fn a_suite_without_an_end_has_failed() {
        assert_eq!(unexpected(&ended("....\n"), 3).len(), 1);
        assert_eq!(unexpected(&ended("1 failed, 3 passed in 2.0s\n"), 3).len(), 1, "the failed test is not listed");
        assert!(unexpected(&ended("=== 490 passed, 3 skipped in 335.11s ===\n"), 3).is_empty());
    }
}
