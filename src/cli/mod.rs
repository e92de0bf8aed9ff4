//! The command line: one file for each subcommand. This file sets up logging before a subcommand runs.
//!
//! | file | holds |
//! |---|---|
//! | `serve` | `wasmkeeper serve`: run a server |
//! | `plugin` | `wasmkeeper plugin`: deploys, operates, writes and tests plugins |
//! | `cluster` | `wasmkeeper cluster`: shows and changes the members of the ensemble |
//! | `recover` | `wasmkeeper cluster recover`: goes on without a majority that is lost |
//! | `bench` | `wasmkeeper bench`: puts load on any ZooKeeper server |

pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod plugin;
pub(crate) mod recover;
pub(crate) mod serve;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// A coordination server that speaks ZooKeeper's protocol and runs WebAssembly components inside the transaction.
#[derive(Parser, Debug)]
#[command(name = "wasmkeeper", version, about)]
pub struct Arguments {
    /// What to log: a level (error, warn, info, debug, trace) or filters such as `info,wasmkeeper::storage=debug`. Of
    /// the library openraft only errors, unless a filter names it. RUST_LOG is read when neither this nor
    /// WASMKEEPER_LOG is given
    #[arg(long, global = true, env = "WASMKEEPER_LOG", value_name = "FILTER")]
    log: Option<String>,

    /// How a log line looks
    #[arg(long, global = true, env = "WASMKEEPER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a server
    Serve(serve::Arguments),

    /// Deploy plugins, look after them, and write them
    Plugin(plugin::Arguments),

    /// See and change who belongs to the ensemble
    Cluster(cluster::Arguments),

    /// Put load on any ZooKeeper server and print what it answers
    Bench(bench::Args),

    /// A child process of the server, which compiles one component
    #[command(name = crate::plugin::compile::SUBCOMMAND, hide = true)]
    CompilePlugin { input: PathBuf, output: PathBuf },
}

/// Sets up logging and runs the subcommand to its end.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    start_logging(arguments.log.as_deref(), arguments.log_format)?;
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Plugin(arguments) => plugin::run(arguments),
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::CompilePlugin { input, output } => {
            crate::plugin::compile::child_main(&input, &output).map_err(anyhow::Error::msg)
        }
    }
}

/// The log filter if the user sets none.
const QUIET: &str = "warn";

/// Only errors of openraft are logged by default. openraft warns of each lost heartbeat, twenty times a second while a
/// member is away, and at a first start. `consensus` itself logs what an operator has to know.
const OPENRAFT: &str = "openraft=error";

/// Sets up logging. Log lines go to standard error, so that standard output has only the subcommand's own lines. Only
/// WARN and ERROR are logged by default.
fn start_logging(filter: Option<&str>, format: LogFormat) -> anyhow::Result<()> {
    let from_environment = std::env::var("RUST_LOG").ok();
    let asked = filter.or(from_environment.as_deref()).unwrap_or(QUIET);
    let filter = EnvFilter::try_new(filter_of(asked))
        .map_err(|error| anyhow::anyhow!("--log: `{asked}` is no filter ({error}); write a level such as `info`"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// The filter that was asked for, with `OPENRAFT` added unless the filter names openraft.
fn filter_of(asked: &str) -> String {
    if asked.contains("openraft") { asked.to_owned() } else { format!("{asked},{OPENRAFT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_is_heard_only_by_who_asks_for_it() {
        assert_eq!(filter_of("debug"), "debug,openraft=error");
        assert_eq!(filter_of("warn,openraft=debug"), "warn,openraft=debug");
        assert!(EnvFilter::try_new(filter_of(QUIET)).is_ok());
    }
}
