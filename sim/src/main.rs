//! One simulated run of real servers, chosen by a seed; `cargo xtask sim` runs many (README.md).
//!
//! | file | what |
//! |---|---|
//! | `run` | one run from begin to end |
//! | `machine` | a member: its process, clock and disk |
//! | `net` | streams of bytes between machines |
//! | `faults` | what goes wrong |
//! | `client`, `workload` | clients, and what they do |
//! | `observer` | what members show of themselves |
//! | `ledger` | the order of all transactions, and what follows from it |
//! | `history`, `linear` | what clients saw, and whether it is linearizable |
//! | `coverage` | what a run has met |
//! | `chance` | chance of libraries |
//! | `trace` | what happened, as lines and as one number |

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
mod run;
mod trace;
mod workload;

use std::process::ExitCode;
use wasmkeeper::simulation::{Died, Mutation};

const USAGE: &str = "wasmkeeper-sim --seed N [--members N] [--seconds N] [--mutation NAME] [--trace] [--log LEVEL]";

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Died>() {
            trace::breach(format!("member {} panics: {info}", machine::current()));
            usual(info);
        }
    }));
    let began = std::time::Instant::now();
    let report = run::run(&options);
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
    if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> Result<run::Options, String> {
    let mut options = run::Options { seed: 1, members: None, mutation: None, seconds: 60 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} takes a value"));
        let number = |value: String| value.parse::<u64>().map_err(|_| format!("`{value}` is no number"));
        match word.as_str() {
            "--seed" => options.seed = number(value()?)?,
            "--members" => options.members = Some(number(value()?)? as u32),
            "--seconds" => options.seconds = number(value()?)?,
            "--mutation" => {
                let name = value()?;
                let known = Mutation::ALL.iter().find(|(known, _)| *known == name);
                options.mutation = Some(known.ok_or(format!("there is no mutation `{name}`"))?.1);
            }
            "--trace" => trace::show(),
            // A filter by module would make tables at random, and so another run.
            "--log" => {
                let level = value()?.parse::<tracing::Level>().map_err(|error| error.to_string())?;
                tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stdout).without_time().init();
            }
            _ => return Err(format!("what is `{word}`?")),
        }
    }
    Ok(options)
}
