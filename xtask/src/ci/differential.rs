//! The answers of ZooKeeper 3.9.5 that `tests/conformance/differential` stores, replayed against us.
//!
//! Differences that are meant stand in `docs/differences.txt`. Any other difference is a failure.

use super::Context;
use super::process::{self, End, Server, Show};
use super::summary::{Outcome, sum_before};
use std::fs;
use std::process::Command;

/// The superuser of the server under test is `super:secret`. This is what its digest looks like:
/// base64(sha1("super:secret")).
const SUPERUSER: &str = "super:secret";
const SUPERUSER_DIGEST: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

pub(crate) fn replay(context: &Context) -> Outcome {
    match try_replay(context) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::failure(why),
    }
}

fn try_replay(context: &Context) -> Result<Outcome, String> {
    if Command::new("python3").arg("--version").output().is_err() {
        return Ok(Outcome::skipped("python3 is not installed".to_owned()));
    }
    let port = process::free_port()?;
    let server = start_server(context, port)?;
    let folder = context.root.join("tests/conformance/differential");
    let mut command = Command::new("python3");
    command.arg(folder.join("differential.py")).arg("--replay").arg(folder.join("zookeeper-3.9.5.gz"));
    command.arg(format!("127.0.0.1:{port}")).args(["--super", SUPERUSER, "--zxid", "order", "--known"]);
    command.arg(context.root.join("docs/differences.txt"));
    let finished = process::run(&context.budget, 900, &command, &context.log("differential"), Show::Tail(40));
    if finished.end != End::Succeeded {
        server.print_log();
    }
    Ok(count(&finished.output, &finished.end))
}

/// The server as the tester's README asks for it.
fn start_server(context: &Context, port: u16) -> Result<Server, String> {
    let folder = context.work.path().join("differential");
    fs::create_dir_all(&folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    let config = folder.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         extendedTypesEnabled=true\nreconfigEnabled=true\n4lw.commands.whitelist=*\n",
        folder.join("data").display()
    );
    fs::write(&config, text).map_err(|error| format!("write {}: {error}", config.display()))?;
    let arguments = [
        "--config".to_owned(),
        config.display().to_string(),
        // No container may be reaped while the tester counts transactions.
        "-D".to_owned(),
        "znode.container.checkIntervalMs=86400000".to_owned(),
        "-D".to_owned(),
        format!("zookeeper.DigestAuthenticationProvider.superDigest={SUPERUSER_DIGEST}"),
    ];
    Server::start(&context.budget, &context.binary, port, &arguments, folder.join("server.log"))
}

/// The tester's closing line is `702 sequences, 12832 requests, 0 differing kinds, 20 known (90 s)`.
fn count(output: &str, end: &End) -> Outcome {
    let last = output.lines().rev().find(|line| line.contains(" sequences, ") && line.contains(" differing kinds"));
    let Some(last) = last else { return Outcome::unfinished(0, end) };
    let differing = sum_before(last, " differing kinds");
    let failed = if *end == End::Succeeded { differing } else { differing.max(1) };
    Outcome::counted(sum_before(last, " sequences"), failed, last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts() {
        let good = count("x\n702 sequences, 12832 requests, 0 differing kinds, 20 known (90 s)\n", &End::Succeeded);
        assert_eq!((good.passed, good.failed), (702, 0));
        let bad = count("702 sequences, 12832 requests, 2 differing kinds (90 s)\n", &End::Failed(Some(1)));
        assert_eq!((bad.passed, bad.failed), (702, 2));
        let broken = count("702 sequences, 5 requests, 0 differing kinds (9 s)\n", &End::Failed(Some(2)));
        assert_eq!((broken.passed, broken.failed), (702, 1));
        assert_eq!(count("Traceback\n", &End::Failed(Some(1))).failed, 1);
    }
}
