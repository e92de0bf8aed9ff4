//! set, get, mixed and create: requests as fast as the server answers them. And load, which fills a tree.

use super::connection::{Arrival, Connection};
use super::floor::Floor;
use super::{Args, Operation, Report, duration, each_second, histogram, record};
use crate::client::codec as wire;
use crate::model::ErrorCode;
use anyhow::{Context, Result};
use bytes::BytesMut;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::spawn_local;

/// How many requests are under way while nodes are created before the run and removed after it.
const DEPTH_HOUSEKEEPING: usize = 256;

const NODE_EXISTS: i32 = ErrorCode::NodeExists.code();
const NO_NODE: i32 = ErrorCode::NoNode.code();
const NOT_EMPTY: i32 = ErrorCode::NotEmpty.code();

/// What the clients share. All run on one thread.
struct Shared {
    args: Rc<Args>,
    folder: String,
    payload: Vec<u8>,
    phase: Cell<Phase>,
    answered: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    /// Latencies of the last second, for the line of progress.
    recent: RefCell<Histogram<u64>>,
    errors: RefCell<BTreeMap<i32, u64>>,
    /// While `Phase::Paused`: notified when the only client has nothing under way, and when it may go on.
    quiet: Notify,
    resume: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measuring,
    /// The only client sends nothing while `floor` measures the machine.
    Paused,
    /// No client sends new requests. Replies to those under way are awaited and not counted.
    Ending,
}

impl Shared {
    fn client_path(&self, client: u32) -> String {
        format!("{}/c{client}", self.folder)
    }

    fn count(&self, error: i32, latency: Duration) {
        if self.phase.get() != Phase::Measuring {
            return;
        }
        self.answered.set(self.answered.get() + 1);
        record(&mut self.latency.borrow_mut(), latency);
        record(&mut self.recent.borrow_mut(), latency);
        if error != 0 {
            *self.errors.borrow_mut().entry(error).or_default() += 1;
        }
    }
}

pub(crate) async fn measure(args: Rc<Args>) -> Result<Report> {
    let shared = Rc::new(Shared {
        folder: args.folder(),
        payload: args.payload(),
        phase: Cell::new(Phase::Warmup),
        answered: Cell::new(0),
        latency: RefCell::new(histogram()),
        recent: RefCell::new(histogram()),
        errors: RefCell::default(),
        quiet: Notify::new(),
        resume: Notify::new(),
        args: args.clone(),
    });
    let mut control = Connection::open(&args, 0).await?;
    prepare(&mut control, &shared).await.context("create the nodes to work on")?;

    let mut floor = match (args.clients, args.op) {
        (1, Operation::Set | Operation::Create) => {
            let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
            Some(Floor::prepare(Path::new(&dir))?)
        }
        _ => None,
    };
    let mut connections = Vec::new();
    for number in 0..args.clients {
        let mut connection = Connection::open(&args, number).await?;
        if args.is_ensemble() {
            // A member that lags behind may not have the client's node yet.
            connection.sync(&shared.folder).await?;
        }
        connections.push(connection);
    }
    let clients: Vec<_> =
        (0..).zip(connections).map(|(n, connection)| spawn_local(client(shared.clone(), n, connection))).collect();
    let elapsed = keep_time(&shared, &mut control, floor.as_mut()).await?;
    let mut made = Vec::new();
    for client in clients {
        let (connection, created) = client.await.context("a client's task ended")??;
        made.push(created);
        connection.close().await?;
    }
    if !args.keep {
        remove(&mut control, &shared, &made).await.context("remove the nodes")?;
    }
    control.close().await?;

    let mut report = Report {
        args,
        operations: shared.answered.get(),
        elapsed,
        latency: shared.latency.borrow().clone(),
        errors: shared.errors.borrow().clone(),
        facts: Vec::new(),
    };
    if let Some(floor) = &floor {
        report.facts = floor.facts(report.percentile_us(0.5));
    }
    Ok(report)
}

/// Creates the base, the run's node, and a node for each client: the one it reads and sets, or the parent of those it
/// creates.
async fn prepare(control: &mut Connection, shared: &Shared) -> Result<()> {
    ensure(control, &shared.folder).await?;
    let clients = u64::from(shared.args.clients);
    control
        .run(clients, DEPTH_HOUSEKEEPING, &[], |out, xid, n| {
            wire::create(out, xid, &shared.client_path(n as u32), &shared.payload, 0);
        })
        .await
}

/// Creates a path with all its parents.
pub(super) async fn ensure(control: &mut Connection, path: &str) -> Result<()> {
    let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).filter(|&at| at > 0).chain([path.len()]).collect();
    control
        .run(ends.len() as u64, 1, &[NODE_EXISTS], |out, xid, n| {
            let end = ends.get(n as usize).copied().unwrap_or(path.len());
            wire::create(out, xid, &path[..end], b"", 0);
        })
        .await
}

/// Removes the run's nodes. `made`: how many nodes each client has created.
async fn remove(control: &mut Connection, shared: &Shared, made: &[u64]) -> Result<()> {
    for (client, &count) in (0..).zip(made) {
        let parent = shared.client_path(client);
        control
            .run(count, DEPTH_HOUSEKEEPING, &[NO_NODE], |out, xid, n| {
                wire::delete(out, xid, &format!("{parent}/n{n}"), -1)
            })
            .await?;
    }
    let clients = u64::from(shared.args.clients);
    control
        .run(clients, DEPTH_HOUSEKEEPING, &[NO_NODE], |out, xid, n| {
            wire::delete(out, xid, &shared.client_path(n as u32), -1);
        })
        .await?;
    control.ask(|out, xid| wire::delete(out, xid, &shared.folder, -1)).await?;
    // Another run may work below the same base.
    let base = &shared.args.base;
    control.run(1, 1, &[NO_NODE, NOT_EMPTY], |out, xid, _| wire::delete(out, xid, base, -1)).await
}

/// Runs one client, which keeps `depth` requests under way until the end. Returns how many nodes it created.
async fn client(shared: Rc<Shared>, number: u32, mut connection: Connection) -> Result<(Connection, u64)> {
    let path = shared.client_path(number);
    let depth = shared.args.depth as usize;
    let mut sent = 0u64;
    while shared.phase.get() != Phase::Ending || connection.under_way() > 0 {
        if shared.phase.get() == Phase::Paused && connection.under_way() == 0 {
            shared.quiet.notify_one();
            shared.resume.notified().await;
            continue;
        }
        while matches!(shared.phase.get(), Phase::Warmup | Phase::Measuring) && connection.under_way() < depth {
            connection.put(|out, xid| encode(out, xid, &shared, &path, sent));
            sent += 1;
        }
        connection.flush().await?;
        connection
            .receive(|arrival| {
                if let Arrival::Reply { header, latency } = arrival {
                    shared.count(header.error, latency);
                }
            })
            .await
            .with_context(|| format!("client {number}"))?;
    }
    let created = if shared.args.op == Operation::Create { sent } else { 0 };
    Ok((connection, created))
}

fn encode(out: &mut BytesMut, xid: i32, shared: &Shared, path: &str, number: u64) {
    match shared.args.op {
        Operation::Create => wire::create(out, xid, &format!("{path}/n{number}"), &shared.payload, 0),
        Operation::Get => wire::get_data(out, xid, path, false),
        Operation::Mixed if reads(number, shared.args.mix) => wire::get_data(out, xid, path, false),
        _ => wire::set_data(out, xid, path, &shared.payload, -1),
    }
}

/// Whether the request with this number is a read, if `mix` of a hundred are reads. The writes are spread evenly.
fn reads(number: u64, mix: u64) -> bool {
    let writes = 100 - mix;
    (number + 1) * writes / 100 == number * writes / 100
}

/// Runs the warm-up and then the measurement, with a line of progress each second. Keeps the control session alive.
/// Returns the time measured, without the pauses in which `floor` takes its samples.
async fn keep_time(shared: &Shared, control: &mut Connection, mut floor: Option<&mut Floor>) -> Result<Duration> {
    tokio::time::sleep(Duration::from_secs(shared.args.warmup)).await;
    let (mut elapsed, mut before) = (Duration::ZERO, 0);
    for second in 1..=shared.args.seconds {
        shared.phase.set(Phase::Measuring);
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let length = start.elapsed();
        elapsed += length;
        let answered = shared.answered.get();
        if !shared.args.json {
            let rate = (answered - before) as f64 / length.as_secs_f64();
            let p99 = shared.recent.borrow().value_at_quantile(0.99) as f64 / super::NANOS_PER_MICRO;
            eprintln!("{second:4} s  {rate:9.0}/s  p99 {}", duration(p99));
        }
        before = answered;
        shared.recent.borrow_mut().reset();
        if let Some(floor) = &mut floor {
            shared.phase.set(Phase::Paused);
            shared.quiet.notified().await;
            floor.sample(control).await?;
            shared.phase.set(Phase::Measuring);
            shared.resume.notify_one();
        } else if second % 5 == 0 {
            // The ping keeps the session alive. Its answer stays in the socket until the end.
            control.put_ping();
            control.flush().await?;
        }
    }
    shared.phase.set(Phase::Ending);
    Ok(elapsed)
}

/// Creates `--count` nodes under `<base>/load` and leaves them there.
pub(crate) async fn load(args: Rc<Args>) -> Result<Report> {
    let folder = crate::model::path::join(&args.base, "load");
    ensure(&mut Connection::open(&args, 0).await?, &folder).await?;
    let next = Rc::new(Cell::new(0u64));
    let answered = Rc::new(Cell::new(0u64));
    let start = Instant::now();
    let mut clients = Vec::new();
    for number in 0..args.clients {
        let connection = Connection::open(&args, number).await?;
        clients.push(spawn_local(fill(args.clone(), folder.clone(), next.clone(), answered.clone(), connection)));
    }
    let progress = spawn_local({
        let answered = answered.clone();
        each_second(args.clone(), move || answered.get(), "nodes")
    });
    let mut latency = histogram();
    let mut errors = BTreeMap::new();
    for client in clients {
        let (of_client, refused) = client.await.context("a client's task ended")??;
        latency.add(of_client).context("add up latencies")?;
        for (code, count) in refused {
            *errors.entry(code).or_default() += count;
        }
    }
    let elapsed = start.elapsed();
    progress.abort();
    Ok(Report { operations: answered.get(), args, elapsed, latency, errors, facts: Vec::new() })
}

/// Runs one client of `load`, which takes numbers from `next` until there is none.
async fn fill(
    args: Rc<Args>,
    folder: String,
    next: Rc<Cell<u64>>,
    answered: Rc<Cell<u64>>,
    mut connection: Connection,
) -> Result<(Histogram<u64>, BTreeMap<i32, u64>)> {
    let (payload, depth) = (args.payload(), args.depth as usize);
    let (mut latencies, mut errors) = (histogram(), BTreeMap::new());
    while next.get() < args.count || connection.under_way() > 0 {
        while next.get() < args.count && connection.under_way() < depth {
            let number = next.replace(next.get() + 1);
            connection.put(|out, xid| wire::create(out, xid, &format!("{folder}/n{number:07}"), &payload, 0));
        }
        connection.flush().await?;
        connection
            .receive(|arrival| {
                if let Arrival::Reply { header, latency } = arrival {
                    answered.set(answered.get() + 1);
                    record(&mut latencies, latency);
                    if header.error != 0 {
                        *errors.entry(header.error).or_default() += 1;
                    }
                }
            })
            .await?;
    }
    connection.close().await?;
    Ok((latencies, errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stat;
    use crate::wire::decode;
    use crate::wire::encode;
    use crate::wire::frame::Frames;
    use crate::wire::reply::{Body, ConnectResponse, ReplyHeader};
    use crate::wire::request::Request;
    use std::collections::BTreeSet;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Which nodes the stand-in for a server has.
    type Nodes = Rc<RefCell<BTreeSet<String>>>;

    async fn serve(mut stream: TcpStream, nodes: Nodes) {
        let (mut frames, mut received, mut greeted) = (Frames::new(1 << 20), BytesMut::new(), false);
        while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
            let mut out = BytesMut::new();
            while let Some(frame) = frames.next(&mut received).unwrap() {
                if !greeted {
                    greeted = true;
                    let read_only = Some(false);
                    let hello = ConnectResponse { timeout_ms: 30_000, session_id: 1, password: [0; 16], read_only };
                    encode::connect_response(&mut out, &hello);
                    continue;
                }
                let (header, request) = decode::request(frame).unwrap();
                let (error, body) = match &request {
                    Request::Create(create) => {
                        let path = create.path.as_deref().unwrap();
                        let fresh = nodes.borrow_mut().insert(path.to_owned());
                        (if fresh { 0 } else { NODE_EXISTS }, Body::Path(path))
                    }
                    Request::Delete { path, .. } => {
                        let there = nodes.borrow_mut().remove(path.as_deref().unwrap());
                        (if there { 0 } else { NO_NODE }, Body::Empty)
                    }
                    Request::SetData { .. } => (0, Body::Stat(Stat::default())),
                    Request::GetData { .. } => (0, Body::DataStat(None, Stat::default())),
                    Request::Ping | Request::CloseSession => (0, Body::Empty),
                    other => panic!("{other:?}"),
                };
                encode::frame(&mut out, &ReplyHeader { xid: header.xid, zxid: 1, error }, &body);
                if request == Request::CloseSession {
                    stream.write_all(&out).await.unwrap();
                    return;
                }
            }
            stream.write_all(&out).await.unwrap();
        }
    }

    fn with_server<F: Future<Output = ()>>(test: impl FnOnce(String, Nodes) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let nodes = Nodes::default();
            let accepting = nodes.clone();
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    spawn_local(serve(stream, accepting.clone()));
                }
            });
            test(address, nodes).await;
        });
    }

    fn args(address: &str, rest: &[&str]) -> Rc<Args> {
        use clap::Parser;
        Rc::new(Args::try_parse_from([&["bench", address, "--json", "--warmup", "0"], rest].concat()).unwrap())
    }

    #[test]
    fn a_run_leaves_nothing_behind() {
        with_server(|address, nodes| async move {
            for op in ["set", "get", "mixed", "create"] {
                let arguments = ["--op", op, "--clients", "3", "--depth", "4", "--seconds", "0"];
                let report = measure(args(&address, &arguments)).await.unwrap();
                assert!(report.errors.is_empty());
                assert!(nodes.borrow().is_empty(), "{op}: {:?}", nodes.borrow());
            }
        });
    }

    #[test]
    fn a_mix_has_as_many_reads_as_asked() {
        for mix in [0, 1, 33, 50, 90, 99, 100] {
            assert_eq!((0..1000).filter(|&number| reads(number, mix)).count() as u64, mix * 10);
        }
        let writes: Vec<u64> = (0..30).filter(|&number| !reads(number, 90)).collect();
        assert_eq!(writes, [9, 19, 29]);
    }

    #[test]
    fn a_load_makes_as_many_nodes_as_asked() {
        with_server(|address, nodes| async move {
            let arguments = ["--op", "load", "--count", "100", "--clients", "3", "--depth", "7"];
            let report = load(args(&address, &arguments)).await.unwrap();
            assert_eq!((report.operations, report.latency.len()), (100, 100));
            let made = nodes.borrow().iter().filter(|path| path.starts_with("/bench/load/n")).count();
            assert_eq!(made, 100);
        });
    }
}
