//! Many runs, each in a process of its own, and a table of the situations that they met.

use crate::coverage::Situation;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use wasmkeeper::hooks::Mutation;

/// Runs at a time: one for each processor of the smallest machine in CI.
const RUNS_AT_ONCE: usize = 2;

/// A mutation counts as not found if this many seeds do not find it.
const MUTATION_SEEDS: u64 = 200;

/// The percentage of seeds that must meet each situation in `DEMANDED`. Campaigns of fewer than `SEEDS_FOR_PERCENT`
/// seeds are not held to it.
const PERCENT_MIN: u64 = 5;
const SEEDS_FOR_PERCENT: u64 = 100;

/// Seeds that failed once, each with its story.
const KEPT: &str = include_str!("../seeds.txt");

/// The runs of a campaign.
pub(crate) enum Campaign {
    Seeds {
        from: u64,
        to: u64,
    },
    Minutes {
        minutes: u64,
        from: u64,
    },
    Kept,
    Mutations,
    /// The same seed twice. Both runs must end with the same hash.
    Twice {
        seed: u64,
    },
}

/// The result of one run.
struct Run {
    seed: u64,
    is_clean: bool,
    printed: String,
    met: BTreeMap<String, u64>,
}

/// Whether the campaign succeeded. Every run gets `options`.
pub(crate) fn run(campaign: &Campaign, options: &[String]) -> bool {
    let began = Instant::now();
    match *campaign {
        Campaign::Seeds { from, to } => many(from..to, options, None),
        Campaign::Minutes { minutes, from } => many(from.., options, Some(began + Duration::from_secs(60 * minutes))),
        Campaign::Kept => kept(options),
        Campaign::Twice { seed } => twice(seed, options),
        Campaign::Mutations => Mutation::ALL.iter().filter(|(name, _)| !found(name, options)).count() == 0,
    }
}

fn many(seeds: impl Iterator<Item = u64> + Send, options: &[String], until: Option<Instant>) -> bool {
    let mut all: Vec<Run> = Vec::new();
    each(seeds, options, &mut |run| {
        if !run.is_clean {
            println!("{}", run.printed.trim_end());
        }
        all.push(run);
        until.is_none_or(|until| Instant::now() < until)
    });
    let broken: Vec<u64> = all.iter().filter(|run| !run.is_clean).map(|run| run.seed).collect();
    let (table, met_enough) = table(&all);
    println!("{table}");
    println!("{} seeds, {} broken {broken:?}", all.len(), broken.len());
    broken.is_empty() && met_enough
}

/// A table of how many seeds met each situation, and whether enough seeds met every demanded one.
fn table(all: &[Run]) -> (String, bool) {
    let mut table = String::new();
    let mut met_enough = true;
    let count = all.len() as u64;
    let seeds_of = |name: &str| all.iter().filter(|run| run.met.contains_key(name)).count() as u64;
    for (met, name) in Situation::DEMANDED {
        let seeds = seeds_of(&format!("{met:?}"));
        let too_few = count >= SEEDS_FOR_PERCENT && seeds * 100 < count * PERCENT_MIN;
        met_enough &= !too_few;
        let percent = (seeds * 100).checked_div(count).unwrap_or(0);
        let verdict = if too_few { "too few" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(table, "{name:<36} {seeds:>6} seeds {percent:>4} % {verdict}");
    }
    let others: std::collections::BTreeSet<&str> =
        all.iter().flat_map(|run| run.met.keys()).map(String::as_str).collect();
    for name in
        others.into_iter().filter(|name| !Situation::DEMANDED.iter().any(|(met, _)| format!("{met:?}") == *name))
    {
        let _ = writeln!(table, "({name:<34}) {:>6} seeds", seeds_of(name));
    }
    (table, met_enough)
}

fn twice(seed: u64, options: &[String]) -> bool {
    let hash = |run: &Run| run.printed.split_once("hash=").map(|(_, rest)| rest.chars().take(16).collect::<String>());
    let (first, second) = (one(seed, options), one(seed, options));
    println!("{}{}", first.printed, second.printed);
    let is_same = hash(&first).is_some() && hash(&first) == hash(&second);
    println!("{}", if is_same { "the same, twice" } else { "NOT THE SAME" });
    is_same && first.is_clean && second.is_clean
}

fn kept(options: &[String]) -> bool {
    let mut all_clean = true;
    for line in KEPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (words, story) = line.split_once('#').unwrap_or((line, ""));
        let mut words = words.split_whitespace();
        let Some(seed) = words.next().and_then(|seed| seed.parse().ok()) else {
            println!("seeds.txt: `{line}` does not begin with a seed");
            return false;
        };
        let mut own: Vec<String> = words.map(str::to_owned).collect();
        own.extend_from_slice(options);
        let run = one(seed, &own);
        println!("{:<8} {} {}", seed, if run.is_clean { "clean " } else { "BROKEN" }, story.trim());
        if !run.is_clean {
            println!("{}", run.printed.trim_end());
            all_clean = false;
        }
    }
    all_clean
}

/// Runs seeds with the mutation in the server until one run reports a breach. False if none of `MUTATION_SEEDS` does.
fn found(mutation: &str, options: &[String]) -> bool {
    let began = Instant::now();
    let mut own = options.to_vec();
    own.extend(["--mutation".to_owned(), mutation.to_owned()]);
    let mut first: Option<Run> = None;
    each(1..=MUTATION_SEEDS, &own, &mut |run| {
        if !run.is_clean && first.is_none() {
            first = Some(run);
        }
        first.is_none()
    });
    let took = began.elapsed().as_secs();
    let Some(run) = first else {
        println!("{mutation:<20} NOT FOUND in {MUTATION_SEEDS} seeds, {took} s");
        return false;
    };
    let breach = run.printed.lines().nth(1).unwrap_or_default().trim();
    let breach: String = breach.chars().take(150).collect();
    println!("{mutation:<20} found by seed {} after {took} s: {breach}", run.seed);
    true
}

/// Runs the seeds, `RUNS_AT_ONCE` at a time. `took` receives each run that has ended, and returns whether to go on.
fn each(seeds: impl Iterator<Item = u64> + Send, options: &[String], took: &mut (dyn FnMut(Run) -> bool + Send)) {
    let seeds = Mutex::new(Some(seeds));
    let took = Mutex::new(took);
    let next = || {
        let mut seeds = seeds.lock().ok()?;
        seeds.as_mut()?.next()
    };
    std::thread::scope(|scope| {
        for _ in 0..RUNS_AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    let run = one(seed, options);
                    let goes_on = took.lock().is_ok_and(|mut took| took(run));
                    if !goes_on && let Ok(mut seeds) = seeds.lock() {
                        *seeds = None;
                    }
                }
            });
        }
    });
}

/// Runs one seed in a process of its own.
fn one(seed: u64, options: &[String]) -> Run {
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let output = Command::new(program).arg("--seed").arg(seed.to_string()).args(options).stdin(Stdio::null()).output();
    let (is_clean, printed) = match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            (output.status.success(), if output.status.success() { said } else { said + &errors })
        }
        Err(error) => (false, format!("seed {seed} cannot be run: {error}")),
    };
    let met = printed.lines().next().and_then(|line| line.split_once(" met ")).map_or("", |(_, met)| met);
    let met = met.split_whitespace().filter_map(|word| word.split_once('='));
    let met = met.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect();
    Run { seed, is_clean, printed, met }
}
