//! One simulated run of real servers, chosen by a seed; `cargo xtask sim` runs many (README.md).
//!
//! | file | what |
//! |---|---|
//! | `campaign` | many runs, a process each |
//! | `run` | one run from begin to end |
//! | `machine` | a member: its process, clock and disk |
//! | `net` | streams of bytes between machines |
//! | `faults` | what goes wrong |
//! | `client`, `workload` | clients, and what they do |
//! | `bundled` | the plugins that runs deploy |
//! | `observer` | what members show of themselves |
//! | `ledger` | the order of all transactions, and what follows from it |
//! | `recipes` | what recipes promise, transaction by transaction |
//! | `policy` | what a policy says of a request |
//! | `history`, `linear` | what clients saw, and whether it is linearizable |
//! | `coverage` | what a run has met |
//! | `chance` | chance of libraries |
//! | `trace` | what happened, as lines and as one number |

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
wasmkeeper-sim --mutations                                  puts mistakes into the server and finds them
all take [--members N] [--seconds N] [--mutation NAME]";

/// What the command line asks for.
struct Asked {
    options: run::Options,
    campaign: Option<Campaign>,
    /// What runs of a campaign are told.
    passed_on: Vec<String>,
}

fn main() -> ExitCode {
    let asked = match asked() {
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

fn asked() -> Result<Asked, String> {
    let mut options = run::Options { seed: 1, members: None, mutation: None, seconds: 60 };
    let mut asked = Asked { options: options.clone(), campaign: None, passed_on: Vec::new() };
    let mut from = 1;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} takes a value"));
        let number = |value: &str| value.parse::<u64>().map_err(|_| format!("`{value}` is no number"));
        match word.as_str() {
            "--seed" => options.seed = number(&value()?)?,
            "--from" => from = number(&value()?)?,
            "--seeds" => {
                let value = value()?;
                let (from, to) = value.split_once("..").ok_or(format!("`{value}` is no range"))?;
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
            // A filter by module would make tables at random, and so another run.
            "--log" => {
                let level = value()?.parse::<tracing::Level>().map_err(|error| error.to_string())?;
                tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stdout).without_time().init();
            }
            "--twice" => asked.campaign = Some(Campaign::Twice { seed: 0 }),
            _ => return Err(format!("what is `{word}`?")),
        }
    }
    match &mut asked.campaign {
        Some(Campaign::Minutes { from: begin, .. }) => *begin = from,
        Some(Campaign::Twice { seed }) => *seed = options.seed,
        _ => {}
    }
    Ok(Asked { options, ..asked })
}
