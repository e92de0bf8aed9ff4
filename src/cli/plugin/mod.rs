//! `wasmkeeper plugin`: deploys plugins and looks after them, through the ordinary client protocol.
//!
//! A deployment is a few creates for the component's pieces and one multi for the manifest (docs/plugins.md). The server
//! judges it; what it refuses is read at `/zookeeper/rejection` and printed.
//!
//! | file | holds |
//! |---|---|
//! | `deploy` | `plugin deploy` |
//! | `new` | `plugin new`: a project from `templates` |
//! | `build` | `plugin build`: a component of a project |
//! | `inspect` | `plugin inspect` |
//! | `look` | `plugin list`, `plugin show` |
//! | `change` | `plugin mode`, `plugin remove` |
//! | `scenario` | `plugin test` |
//! | `access` | connecting, manifests in the tree, the server's own words |
//! | `source` | components from files, and those that come with the server |
//! | `options` | values of options |

mod access;
mod build;
mod change;
mod deploy;
mod inspect;
mod look;
mod new;
mod options;
mod scenario;
mod source;

use crate::plugin::manifest::Mode;
use access::connect;
use clap::{Args, Subcommand};

/// Deploy plugins and look after them
#[derive(Args, Debug)]
pub struct Arguments {
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
}

/// What authors do on their own machine.
#[derive(Subcommand, Debug)]
enum Author {
    /// Make a project for a new plugin, with something small that works
    New(new::New),
    /// Build a project, or make a component of what another toolchain has built
    Build(build::Build),
    /// Say what a component is and asks for, without running it
    Inspect(inspect::Inspect),
    /// Run scenario files against a component, in memory
    Test(scenario::Test),
}

/// What a server is asked to do.
#[derive(Subcommand, Debug)]
enum Operator {
    /// Deploy a component, or a new version or other settings of one
    Deploy(Box<deploy::Deploy>),
    /// List the plugins and how they do
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
}

pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { server, auth, command } = arguments;
    match command {
        Command::Author(Author::New(new)) => new::run(&new),
        Command::Author(Author::Build(build)) => build::run(&build),
        Command::Author(Author::Inspect(inspect)) => inspect::run(&inspect),
        Command::Author(Author::Test(test)) => scenario::run(&test),
        Command::Operator(command) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(operate(&server, auth.as_deref(), command))
        }
    }
}

async fn operate(server: &str, auth: Option<&str>, command: Operator) -> anyhow::Result<()> {
    match command {
        Operator::Deploy(deploy) => {
            // Whatever can be seen to be wrong is, before the server is troubled.
            let prepared = deploy::prepare(&deploy)?;
            deploy::publish_component(&mut connect(server, auth).await?, auth.is_some(), prepared).await
        }
        Operator::List => look::list(&mut connect(server, auth).await?).await,
        Operator::Show { name } => look::show(&mut connect(server, auth).await?, &name).await,
        Operator::Mode { name, mode } => {
            change::set_mode(&mut connect(server, auth).await?, auth.is_some(), &name, mode).await
        }
        Operator::Remove { name } => change::remove(&mut connect(server, auth).await?, &name).await,
    }
}
