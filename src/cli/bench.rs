//! `wasmkeeper bench`: puts load on any server that speaks ZooKeeper's protocol, and measures the answers.
//!
//! All clients run on one thread, with one read and one write for each wake-up of a connection. So a small machine has
//! its other cores left for the server. Latency runs from handing a request to the system until its reply is read, and
//! includes queueing behind `--depth`. Each run works below a node of its own under `--base`, and removes it at its
//! end.
//!
//! | file | holds |
//! |---|---|
//! | `connection` | one connection, with pipelining |
//! | `throughput` | set, get, mixed, create, load |
//! | `sessions` | connect, watch, idle |
//! | `failover` | sets while a server is lost |
//! | `floor` | the lower bound that the machine sets: one fdatasync, one round trip |

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod connection;
mod failover;
mod floor;
mod sessions;
mod throughput;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Operation {
    /// setData, each client on a node of its own
    Set,
    /// getData, each client on a node of its own
    Get,
    /// create of persistent nodes, each client under a parent of its own
    Create,
    /// get and set in the proportion of --mix
    Mixed,
    /// open a session and close it
    Connect,
    /// all clients watch one node: how long until all have the event of a change (--rounds)
    Watch,
    /// open sessions and hold them
    Idle,
    /// create --count nodes under one parent, and leave them
    Load,
    /// set, by clients that move to another server when theirs is gone: how long no client got an answer, what was lost
    Failover,
}

/// Puts load on a ZooKeeper server and measures how it answers
#[derive(Parser, Clone, Debug)]
pub(crate) struct Args {
    /// host:port of the server. With several, separated by commas, the clients spread over all
    pub(crate) server: String,
    /// What to do
    #[arg(long, value_enum, default_value = "set")]
    pub(crate) op: Operation,
    /// How many connections, each with a session of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: u32,
    /// How many requests each client has under way at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) depth: u32,
    /// Bytes of a node's data
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) value: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Seconds of load before the measuring begins
    #[arg(long, default_value_t = 1)]
    pub(crate) warmup: u64,
    /// mixed: how many of a hundred requests read
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) mix: u64,
    /// load: how many nodes
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) count: u64,
    /// watch: how many changes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// The node below which all work is done
    #[arg(long, default_value = "/bench")]
    pub(crate) base: String,
    /// Do not remove the nodes at the end
    #[arg(long)]
    pub(crate) keep: bool,
    /// The folder in which to measure fdatasync, best on the server's disk (default: the current folder)
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Data of the nodes, instead of --value bytes
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Session timeout to ask for, in milliseconds
    #[arg(long, default_value_t = 30_000)]
    pub(crate) session_timeout_ms: i32,
    /// Print one JSON object and no progress
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: Args) -> Result<()> {
    crate::model::path::validate(&args.base).with_context(|| format!("--base {:?}", args.base))?;
    raise_file_limit(args.clients)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let json = args.json;
    let report = tokio::task::LocalSet::new().block_on(&runtime, measure(Rc::new(args)))?;
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

async fn measure(args: Rc<Args>) -> Result<Report> {
    match args.op {
        Operation::Set | Operation::Get | Operation::Create | Operation::Mixed => throughput::measure(args).await,
        Operation::Load => throughput::load(args).await,
        Operation::Connect => sessions::connect(args).await,
        Operation::Watch => sessions::watch(args).await,
        Operation::Idle => sessions::idle(args).await,
        Operation::Failover => failover::measure(args).await,
    }
}

impl Args {
    /// The data of each node.
    fn payload(&self) -> Vec<u8> {
        match &self.data {
            Some(text) => text.as_bytes().to_vec(),
            None => vec![b'x'; self.value as usize],
        }
    }

    /// A path below `--base` that no other run uses.
    fn folder(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        crate::model::path::join(&self.base, &format!("{now:x}"))
    }

    /// The server of the client with this number.
    fn server_of(&self, number: u32) -> &str {
        let servers: Vec<&str> = self.server.split(',').map(str::trim).collect();
        servers.get(number as usize % servers.len()).copied().unwrap_or_default()
    }

    /// Whether there are several servers.
    fn is_ensemble(&self) -> bool {
        self.server.contains(',')
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Raises the limit of open files to what the clients need: each connection is an open file.
fn raise_file_limit(clients: u32) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = u64::from(clients) + 64;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!("{clients} clients need {needed} open files; the limit is {}: ulimit -Hn", limit.maximum.unwrap_or(0));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit }).context("raise the limit of open files")
}

/// A histogram of latencies in nanoseconds, up to a minute, exact to a thousandth.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are sound")
}

/// Adds a latency. One beyond the bounds counts as the bound.
fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

/// Prints a line of progress each second until the task is aborted: the count, and its growth in that second.
async fn each_second(args: Rc<Args>, count: impl Fn() -> u64, what: &str) {
    if args.json {
        return;
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = count();
        eprintln!("{now:9} {what}  {:7}/s", now - before);
        before = now;
    }
}

/// The result of a run. Names of `facts` end in their unit: `_us`, `_ms`, `_bytes`.
struct Report {
    args: Rc<Args>,
    operations: u64,
    elapsed: Duration,
    latency: Histogram<u64>,
    /// How often each error code was the answer.
    errors: BTreeMap<i32, u64>,
    facts: Vec<(&'static str, f64)>,
}

const NANOS_PER_MICRO: f64 = 1000.0;

impl Report {
    fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn percentile_us(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / NANOS_PER_MICRO
    }

    fn op_name(&self) -> String {
        self.args.op.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn percentiles(&self) -> [(&'static str, f64); 4] {
        let max = self.latency.max() as f64 / NANOS_PER_MICRO;
        [
            ("p50", self.percentile_us(0.5)),
            ("p99", self.percentile_us(0.99)),
            ("p99.9", self.percentile_us(0.999)),
            ("max", max),
        ]
    }

    fn text(&self) -> String {
        let (args, op) = (&self.args, self.op_name());
        let seconds = self.elapsed.as_secs_f64();
        let mut out = format!("{op}  {}  clients {}  depth {}\n", args.server, args.clients, args.depth);
        out += &format!("  {} operations in {seconds:.2} s: {:.0}/s\n", self.operations, self.per_second());
        if !self.latency.is_empty() {
            let percentiles: Vec<String> =
                self.percentiles().iter().map(|(name, us)| format!("{name} {}", duration(*us))).collect();
            out += &format!("  {}\n", percentiles.join("  "));
        }
        for (name, value) in &self.facts {
            out += &format!("  {name} {value:.2}\n");
        }
        for (code, count) in &self.errors {
            let name = crate::model::ErrorCode::from_code(*code).map_or("unknown error", |code| code.name());
            out += &format!("  {count} answered by {name} ({code})\n");
        }
        out
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("op", json!(self.op_name()));
        put("server", json!(self.args.server));
        put("clients", json!(self.args.clients));
        put("depth", json!(self.args.depth));
        put("value_bytes", json!(self.args.payload().len()));
        put("operations", json!(self.operations));
        put("seconds", json!(self.elapsed.as_secs_f64()));
        put("per_second", json!(self.per_second()));
        for (name, us) in self.percentiles() {
            put(&format!("{}_us", name.replace('.', "")), json!(us));
        }
        for (name, value) in &self.facts {
            put(name, json!(value));
        }
        put("errors", json!(self.errors.values().sum::<u64>()));
        Value::Object(object)
    }
}

/// Microseconds as text.
fn duration(us: f64) -> String {
    if us < 1000.0 { format!("{us:.0} us") } else { format!("{:.2} ms", us / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &[&str]) -> Args {
        Args::try_parse_from([&["bench", "127.0.0.1:1"], text].concat()).unwrap()
    }

    #[test]
    fn reports() {
        let args = Rc::new(args(&["--op", "set", "--clients", "2"]));
        let mut latency = histogram();
        record(&mut latency, Duration::from_micros(100));
        record(&mut latency, Duration::from_millis(3));
        let report = Report {
            args,
            operations: 2,
            elapsed: Duration::from_secs(1),
            latency,
            errors: BTreeMap::from([(-101, 1)]),
            facts: vec![("ping_p50_us", 20.0)],
        };
        let text = report.text();
        assert!(text.starts_with("set  127.0.0.1:1  clients 2  depth 1\n  2 operations in 1.00 s: 2/s\n"), "{text}");
        assert!(text.contains("p50 100 us") && text.contains("max 3.00 ms"), "{text}");
        assert!(text.ends_with("  ping_p50_us 20.00\n  1 answered by NONODE (-101)\n"), "{text}");
        let json = report.json();
        assert_eq!(json["errors"], 1);
        assert_eq!(json["ping_p50_us"], 20.0);
        assert!(json["p999_us"].as_f64().unwrap() > 2900.0);
    }

    #[test]
    fn clients_spread_over_the_servers() {
        let three = Args::try_parse_from(["bench", "a:1, b:2,c:3"]).unwrap();
        let servers: Vec<&str> = (0..4).map(|number| three.server_of(number)).collect();
        assert_eq!(servers, ["a:1", "b:2", "c:3", "a:1"]);
        assert!(three.is_ensemble() && !args(&[]).is_ensemble());
        assert_eq!(args(&[]).server_of(7), "127.0.0.1:1");
    }

    #[test]
    fn bad_arguments_are_refused() {
        assert!(Args::try_parse_from(["bench", "x", "--clients", "0"]).is_err());
        assert!(Args::try_parse_from(["bench", "x", "--op", "nonsense"]).is_err());
        assert!(Args::try_parse_from(["bench", "x", "--mix", "101"]).is_err());
        let mut bad = args(&[]);
        bad.base = "bench".to_owned();
        assert!(run(bad).unwrap_err().to_string().contains("--base"));
    }
}
