//! `wasmkeeper serve`: command line to [`Config`], and on to the server.

use crate::config::{self, Sources};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// A zoo.cfg, or our own format if the name ends in .toml
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the data, in place of the file's [default: ./wasmkeeper-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Address and port for clients, in place of the file's [default: 127.0.0.1:2181]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// One of ZooKeeper's system properties; may be given many times
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    properties: Vec<String>,

    /// Whether plugins run; `off` is for repair
    #[arg(long, value_name = "on|off", value_parser = ["on", "off"])]
    plugins: Option<String>,
}

/// Reads the configuration and runs the server until it is told to stop.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.sources())?;
    if let Some(warning) = &config.warning {
        tracing::warn!("{warning}");
    }
    end_on_panic();
    crate::replica::start(config)?.run()
}

/// Threads of which there is one: without it the server would take requests and never answer.
const VITAL_THREADS: &[&str] = &["sequencer", "raft", "log", "log-files", "checkpoint"];

/// Lets a panic on a vital thread end the process, as after power loss: the log has all that was acknowledged. A panic on a
/// connection's task ends that connection alone.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = std::thread::current();
        if let Some(name) = thread.name().filter(|name| VITAL_THREADS.contains(name)) {
            eprintln!("wasmkeeper: its thread {name} panicked (above), so it ends; start it again, and report this");
            std::process::abort();
        }
    }));
}

impl Arguments {
    fn sources(self) -> Sources {
        Sources {
            file: self.config,
            data_dir: self.data_dir,
            listen: self.listen,
            properties: self.properties,
            plugins: self.plugins.map(|word| word == "on"),
        }
    }
}
