//! One simulated run of real servers, chosen by a seed; `cargo xtask sim` runs many (README.md).
//!
//! | file | what |
//! |---|---|
//! | `campaign` | many runs, one process for each |
//! | `run` | one run from beginning to end |
//! | `faults` | the faults of a run, and when they begin and end |
//! | `workload` | what the clients of a run do |
//! | `observer` | receives the events that members report |
//! | `machine` | a member: its process, clock and disk |
//! | `client` | a client, which checks every reply and event |
//! | `history`, `linear` | the clients' histories of registers, and whether those are linearizable |
//! | `ask` | the requests of clients and their answers |
//! | `ledger` | the order of all transactions, the tree at each zxid, and checks of both |
//! | `recipes` | the promises of recipes, checked transaction by transaction |
//! | `policy` | the verdict that the policy `rbac` must give on a request |
//! | `bundled` | the plugins that runs deploy |
//! | `places` | paths in the simulated tree |
//! | `coverage` | the situations that a run has met |
//! | `net` | streams of bytes between machines |
//! | `chance` | the random numbers of libraries |
//! | `trace` | the events of a run, as lines and as one hash |
//!
//! A file imports only from files below it in this table (xtask/src/layers.rs).

#![expect(clippy::disallowed_methods, reason = "how long a campaign takes is real time")]

mod ask;
mod bundled;
mod campaign;
mod chance;
mod client;
mod coverage;
mod faults;
mod history;
mod ledger;
mod linear;
mod machine;
mod net;
mod observer;
mod places;
mod policy;
mod recipes;
mod run;
mod trace;
mod workload;

use campaign::Campaign;
use std::process::ExitCode;
use wasmkeeper::hooks::{Died, Mutation};

const USAGE: &str = "\
wasmkeeper-sim --seed N [--trace] [--log LEVEL] [--twice]   one run
wasmkeeper-sim --seeds A..B | --minutes N [--from SEED]     many
wasmkeeper-sim --kept                                       the seeds of seeds.txt
wasmkeeper-sim --mutations                                  checks that each mutation of the server is found
all take [--members N] [--seconds N] [--mutation NAME]";

/// The parsed command line.
struct CommandLine {
    options: run::Options,
    campaign: Option<Campaign>,
    /// Arguments that a campaign passes to each of its runs.
    passed_on: Vec<String>,
}

fn main() -> ExitCode {
    let asked = match parse_command_line() {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let is_well = match asked.campaign {
        Some(campaign) => campaign::run(&campaign, &asked.passed_on),
        None => one(&asked.options),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(options: &run::Options) -> bool {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Died>() {
            trace::breach(format!("member {} panics: {info}", machine::current()));
            usual(info);
        }
    }));
    let began = std::time::Instant::now();
    let report = run::run(options);
    let breaches = trace::breaches();
    let met: Vec<String> = coverage::counts().iter().map(|(met, count)| format!("{met:?}={count}")).collect();
    println!(
        "seed {} {} members={} operations={} faults={} simulated={}s checked={} hash={:016x} took={:.1}s met {}",
        options.seed,
        if breaches.is_empty() { "clean" } else { "BROKEN" },
        report.members,
        report.operations,
        report.faults,
        report.simulated_us / 1_000_000,
        report.checked,
        trace::hash(),
        began.elapsed().as_secs_f64(),
        met.join(" ")
    );
    for breach in &breaches {
        println!("  {breach}");
    }
    breaches.is_empty()
}

fn parse_command_line() -> Result<CommandLine, String> {
    let mut options = run::Options { seed: 1, members: None, mutation: None, seconds: 60 };
    let mut asked = CommandLine { options: options.clone(), campaign: None, passed_on: Vec::new() };
    let mut from = 1;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |value: &str| value.parse::<u64>().map_err(|_| format!("`{value}` is not a number"));
        match word.as_str() {
            "--seed" => options.seed = number(&value()?)?,
            "--from" => from = number(&value()?)?,
            "--seeds" => {
                let value = value()?;
                let (from, to) = value.split_once("..").ok_or(format!("`{value}` is not a range A..B"))?;
                asked.campaign = Some(Campaign::Seeds { from: number(from)?, to: number(to)? });
            }
            "--minutes" => asked.campaign = Some(Campaign::Minutes { minutes: number(&value()?)?, from: 0 }),
            "--kept" => asked.campaign = Some(Campaign::Kept),
            "--mutations" => asked.campaign = Some(Campaign::Mutations),
            "--members" | "--seconds" | "--mutation" => {
                let value = value()?;
                match word.as_str() {
                    "--members" => options.members = Some(number(&value)? as u32),
                    "--seconds" => options.seconds = number(&value)?,
                    _ => {
                        let known = Mutation::ALL.iter().find(|(known, _)| *known == value);
                        options.mutation = Some(known.ok_or(format!("there is no mutation `{value}`"))?.1);
                    }
                }
                asked.passed_on.extend([word, value]);
            }
            "--trace" => trace::show(),
            // `--log` takes no filter by module. That filter uses hash tables, which draw random numbers and so change
            // the run.
            "--log" => {
                let level = value()?.parse::<tracing::Level>().map_err(|error| error.to_string())?;
                tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stdout).without_time().init();
            }
            "--twice" => asked.campaign = Some(Campaign::Twice { seed: 0 }),
            _ => return Err(format!("unknown argument `{word}`")),
        }
    }
    match &mut asked.campaign {
        Some(Campaign::Minutes { from: begin, .. }) => *begin = from,
        Some(Campaign::Twice { seed }) => *seed = options.seed,
        _ => {}
    }
    Ok(CommandLine { options, ..asked })
}
