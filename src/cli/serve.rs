//! `wasmkeeper serve`: makes a configuration of the command line, and runs the server with it.

use crate::config::{self, Sources};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// A zoo.cfg, or our own format if the name ends in .toml
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data directory, instead of the file's [default: ./wasmkeeper-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Address and port for clients, instead of the file's [default: 127.0.0.1:2181]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// One of ZooKeeper's system properties; may be given many times
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    properties: Vec<String>,

    /// Whether plugins run; `off` is for repair
    #[arg(long, value_name = "on|off", value_parser = ["on", "off"])]
    plugins: Option<String>,

    /// At the very first start: listed servers that will not come. If one of them holds data after all, there are two
    /// ensembles, and the data of one is lost when they are merged
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    found_without: Vec<u32>,
}

/// Reads the configuration and runs the server until the server is told to stop.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.sources())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let anyone_deploys = config.rules.deploy_by_anyone;
    let data_dir = config.storage.data_dir.display().to_string();
    let server = crate::replica::start(config)?;
    let addresses: Vec<String> = server.addresses().iter().map(|address| address.to_string()).collect();
    let deploys = match anyone_deploys {
        true => "\nall ports listen on loopback and there is no superuser: anyone on this machine may deploy plugins",
        false => "",
    };
    // One write has both lines: a reader of the first line also has the second.
    let lines = format!("wasmkeeper serves clients on {}, data in {data_dir}{deploys}\n", addresses.join(" and "));
    print!("{lines}");
    server.run()
}

impl Arguments {
    fn sources(self) -> Sources {
        Sources {
            file: self.config,
            data_dir: self.data_dir,
            listen: self.listen,
            properties: self.properties,
            plugins: self.plugins.map(|word| word == "on"),
            found_without: self.found_without,
        }
    }
}
