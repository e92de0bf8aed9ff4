//! `wasmkeeper plugin`: deploys plugins and looks after them, through the ordinary client protocol.
//!
//! A deployment is a few creates for the component's pieces, and one multi for the manifest (docs/plugins.md). The
//! server checks it. The reason for a refusal is read at `/zookeeper/rejection` and printed.
//!
//! | file | holds |
//! |---|---|
//! | `deploy` | `plugin deploy`: uploads and deploys |
//! | `cost` | what a write may cost, for `plugin deploy` |
//! | `new` | `plugin new`: a project from `templates` |
//! | `build` | `plugin build`: makes a component of a project |
//! | `inspect` | `plugin inspect` |
//! | `look` | `plugin list`, `plugin show` |
//! | `change` | `plugin mode`, `plugin remove`, `plugin settings` |
//! | `life` | `plugin versions`, `promote`, `abort`, `rollback`, `release`: versions into force, on trial, back |
//! | `members` | `plugin status`, `plugin faults`: what each member says of a plugin |
//! | `signing` | keys and signatures |
//! | `audit` | `plugin audit` |
//! | `call` | `plugin call` |
//! | `trace` | `plugin trace` |
//! | `bench` | `plugin bench` |
//! | `logs` | `plugin logs` |
//! | `record` | `plugin record`, `plugin replay` |
//! | `test` | `plugin test` |
//! | `access` | connecting, reading manifests, why the server refuses |
//! | `source` | where components come from |
//! | `options` | values of options |

mod access;
mod audit;
mod bench;
mod build;
mod call;
mod change;
mod cost;
mod deploy;
mod inspect;
mod life;
mod logs;
mod look;
mod members;
mod new;
mod options;
mod record;
mod signing;
mod source;
mod test;
mod trace;

use crate::plugin::manifest::Mode;
use access::connect;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Deploy plugins and look after them
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where the server listens; several addresses separated by commas
    #[arg(long, global = true, env = "WASMKEEPER_SERVER", default_value = "127.0.0.1:2181", value_name = "HOST:PORT")]
    server: String,

    /// Who you are, for example digest:super:password
    #[arg(long, global = true, env = "WASMKEEPER_AUTH", hide_env_values = true, value_name = "SCHEME:CREDENTIAL")]
    auth: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[command(flatten)]
    Author(Author),
    #[command(flatten)]
    Operator(Operator),
    /// Call a recipe's method, by the HTTP interface of the server that leads
    Call(call::Call),
}

/// Commands that authors run on their own machine.
#[derive(Subcommand, Debug)]
enum Author {
    /// Make a project for a new plugin, with something small that works
    New(new::New),
    /// Build a project, or make a component of what another toolchain has built
    Build(build::Build),
    /// Say what a component is and what it asks for, without running it
    Inspect(inspect::Inspect),
    /// Make a key that signs plugins, and print the line that tells servers about it
    Keygen {
        /// The file to write: PEM, readable by you alone
        file: PathBuf,
    },
    /// Sign a plugin's component; any other file is refused
    Sign {
        /// A .wasm file, or bundled:NAME
        #[arg(value_name = "FILE|bundled:NAME")]
        source: String,

        /// The key: a PEM file of `keygen` or of openssl
        #[arg(long, value_name = "FILE")]
        key: PathBuf,

        /// Where the signature goes: FILE.sig by default
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Run scenario files against a component, in memory
    Test(test::Test),
    /// Measure what a plugin costs per call, in memory
    Bench(Box<bench::Bench>),
    /// Make recorded calls again, here, and show which answers differ
    Replay(record::Replay),
}

/// Commands that ask a server.
#[derive(Subcommand, Debug)]
enum Operator {
    /// Deploy a component, or a new version or other settings of one
    Deploy(Box<deploy::Deploy>),
    /// List the plugins, with their state and counters
    List,
    /// Show one plugin: what it is bound to, its settings, grants, state and counters
    Show { name: String },
    /// Set what refusals do: enforce them, only count and log them (audit), or do not ask the plugin (off)
    Mode {
        name: String,
        #[arg(value_parser = options::mode)]
        mode: Mode,
    },
    /// Remove a plugin with all its versions
    Remove { name: String },
    /// List the versions that are kept
    Versions { name: String },
    /// Make the version on trial the one in force, for all paths
    Promote { name: String },
    /// Drop the version on trial
    Abort { name: String },
    /// Bring a former version back into force, with the settings and the mode it had
    Rollback {
        name: String,
        /// Which version; the one before by default
        #[arg(long, value_name = "N")]
        to: Option<u32>,
    },
    /// Give a plugin other settings
    Settings {
        name: String,
        #[arg(value_name = "JSON|@FILE")]
        settings: String,
    },
    /// Show on which members the plugin runs, and why not on the others
    Status { name: String },
    /// Show the plugin's last faults on each member: backtraces, and what it logged
    Faults { name: String },
    /// End a plugin's quarantine, so that it is called again
    Release { name: String },
    /// Show what a plugin has logged on the server that is asked
    Logs(logs::Logs),
    /// Ask a validator about the nodes that are there already
    Audit(audit::Audit),
    /// Show which plugins had a part in a transaction, on the server that is asked
    Trace(trace::Trace),
    /// Record a plugin's calls on the server that is asked into a file
    Record(record::Record),
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { server, auth, command } = arguments;
    match command {
        Command::Author(Author::New(new)) => new::run(&new),
        Command::Author(Author::Build(build)) => build::run(&build),
        Command::Author(Author::Inspect(inspect)) => inspect::run(&inspect),
        Command::Author(Author::Keygen { file }) => signing::keygen(&file),
        Command::Author(Author::Sign { source, key, out }) => signing::sign(&source, &key, out),
        Command::Author(Author::Test(test)) => test::run(&test),
        Command::Author(Author::Bench(wanted)) => bench::run(&wanted),
        Command::Author(Author::Replay(replay)) => record::replay(&replay),
        Command::Call(wanted) => call::call(&wanted, auth.as_deref()),
        Command::Operator(command) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(operate(&server, auth.as_deref(), command))
        }
    }
}

async fn operate(server: &str, auth: Option<&str>, command: Operator) -> anyhow::Result<()> {
    if let Operator::Deploy(deploy) = &command {
        // Finds what is wrong with the options before the server is asked.
        deploy::prepare(deploy, None)?;
    }
    let client = &mut connect(server, auth).await?;
    let authenticated = auth.is_some();
    match command {
        Operator::Deploy(deploy) => deploy::upload_and_deploy(client, authenticated, &deploy).await,
        Operator::List => look::list(client).await,
        Operator::Show { name } => look::show(client, &name).await,
        Operator::Mode { name, mode } => change::set_mode(client, authenticated, &name, mode).await,
        Operator::Logs(logs) => logs::show(client, &logs).await,
        Operator::Audit(wanted) => audit::audit(client, &wanted).await,
        Operator::Trace(wanted) => trace::trace(client, &wanted).await,
        Operator::Record(wanted) => record::record(client, &wanted).await,
        Operator::Remove { name } => change::remove(client, authenticated, &name).await,
        Operator::Versions { name } => life::versions(client, &name).await,
        Operator::Promote { name } => life::promote(client, authenticated, &name).await,
        Operator::Abort { name } => life::abort(client, &name).await,
        Operator::Rollback { name, to } => life::roll_back(client, &name, to).await,
        Operator::Settings { name, settings } => change::set_settings(client, authenticated, &name, &settings).await,
        Operator::Status { name } => members::status(client, server, &name).await,
        Operator::Faults { name } => members::faults(client, server, auth, &name).await,
        Operator::Release { name } => life::release(client, &name).await,
    }
}
