//! `plugin bench`: measures what a plugin costs per call, on a server in memory.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use super::deploy::{self, Deploy};
use super::test::{compiler, setup};
use crate::metrics::Timing;
use crate::plugin::Plugins;
use crate::plugin::counters::Counters;
use crate::scenario::Stage;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(super) struct Bench {
    #[command(flatten)]
    deploy: Deploy,

    /// A command of a scenario to run before measuring, for example 'client a: create /services'; may be repeated
    #[arg(long, value_name = "COMMAND")]
    before: Vec<String>,

    /// The command of a scenario to measure. `{n}` in it is another number each time. Several commands take turns
    #[arg(long, required = true, value_name = "COMMAND")]
    request: Vec<String>,

    /// How often each command runs
    #[arg(long, default_value_t = 5000)]
    times: u64,
}

pub(super) fn run(bench: &Bench) -> anyhow::Result<()> {
    let plugins = Plugins::new(true, compiler());
    for fresh in [false, true] {
        let mut stage = Stage::new(setup(plugins.clone(), None));
        let deployment = deploy::prepare(&bench.deploy, None)?.deployment();
        let refused = stage.deploy(deployment).map_err(|sentence| anyhow!(sentence))?;
        if let Some(line) = refused.first() {
            bail!("{line}");
        }
        for command in &bench.before {
            stage.run(command).map_err(|error| anyhow!("{command}: {error}"))?;
        }
        let registry = plugins.registry();
        let binding = registry.named(bench.deploy.name()).context("the plugin is not bound")?;
        let reuses = binding.is_pure();
        if fresh {
            binding.never_reuse();
        }
        // Fills caches and makes an instance, as in a server that has run for a while.
        requests(&mut stage, bench, 0..bench.times.min(200))?;
        let measured = Measured::of(&mut stage, bench, &binding.counters)?;
        if measured.calls == 0 {
            bail!(
                "no --request reaches the plugin: look at --path and --on. They were answered {}. What a policy has said of a \
                 path is kept: put {{n}} into it",
                measured.answers()
            );
        }
        if !fresh {
            println!("{:<22} {:>10} {:>10} {:>10} {:>10} {:>10}", "", "min", "p50", "p99", "max", "average");
        }
        let kind = if fresh {
            "fresh"
        } else if reuses {
            "reused"
        } else {
            "fresh (not pure)"
        };
        measured.print(kind);
        if !reuses {
            break;
        }
    }
    Ok(())
}

/// Makes each request once for each number.
fn requests(stage: &mut Stage, bench: &Bench, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    for number in numbers {
        for request in &bench.request {
            let command = request.replace("{n}", &number.to_string());
            stage.run(&command).map_err(|error| anyhow!("{command}: {error}"))?;
        }
    }
    Ok(())
}

fn counted(counters: &Counters) -> u64 {
    counters.calls.load(Relaxed)
}

struct Measured {
    calls: u64,
    ns: Timing,
    fuel: Timing,
    /// Nanoseconds of each whole request.
    requests: Timing,
    memory_bytes: u64,
    operations: u64,
    /// How often each answer was given, by its first word.
    answers: BTreeMap<String, u64>,
}

impl Measured {
    fn of(stage: &mut Stage, bench: &Bench, counters: &Counters) -> anyhow::Result<Measured> {
        let (calls, operations) = (counted(counters), counters.operations.load(Relaxed));
        let (ns, fuel, requests) = (Timing::new(), Timing::new(), Timing::new());
        let mut answers = BTreeMap::new();
        let warm = bench.times.min(200);
        for number in warm..warm + bench.times {
            for request in &bench.request {
                let command = request.replace("{n}", &number.to_string());
                let before = (counted(counters), counters.ns.totals().sum, counters.fuel.totals().sum);
                let begun = Instant::now();
                let said = stage.run(&command).map_err(|error| anyhow!("{command}: {error}"))?;
                requests.add(nanoseconds(begun.elapsed()));
                let answer = said.last().and_then(|line| line.split(' ').nth(2)).unwrap_or("nothing");
                *answers.entry(answer.to_owned()).or_default() += 1;
                let made = counted(counters) - before.0;
                if made > 0 {
                    // A request may make several calls: each counts as their average.
                    for _ in 0..made {
                        ns.add((counters.ns.totals().sum - before.1) / made);
                        fuel.add((counters.fuel.totals().sum - before.2) / made);
                    }
                }
            }
        }
        Ok(Measured {
            calls: counted(counters) - calls,
            ns,
            fuel,
            requests,
            memory_bytes: counters.memory_bytes_max.load(Relaxed),
            operations: counters.operations.load(Relaxed) - operations,
            answers,
        })
    }

    fn answers(&self) -> String {
        self.answers.iter().map(|(answer, times)| format!("{answer} ({times})")).collect::<Vec<_>>().join(", ")
    }

    fn print(&self, kind: &str) {
        for (what, timing) in
            [("ns per call", &self.ns), ("fuel per call", &self.fuel), ("ns per request", &self.requests)]
        {
            let totals = timing.totals();
            // A percentile is the lower bound of its bucket, which may lie below every value in the bucket.
            let percentile = |part| timing.percentile(part).clamp(totals.min, totals.max);
            println!(
                "{:<22} {:>10} {:>10} {:>10} {:>10} {:>10.0}",
                format!("{kind}: {what}"),
                totals.min,
                percentile(0.5),
                percentile(0.99),
                totals.max,
                totals.average()
            );
        }
        println!(
            "{kind}: {} calls, memory up to {} KiB, {} operations written; answers were {}",
            self.calls,
            self.memory_bytes >> 10,
            self.operations,
            self.answers()
        );
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
