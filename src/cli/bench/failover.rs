//! failover: each client sets values, one after the other, while somebody else stops, kills or cuts off a server.
//!
//! A client whose server is gone attaches to its session on the next server, as any ZooKeeper client does. The run
//! measures the longest time in which no client had a write acknowledged, how many sessions were lost, and whether an
//! acknowledged write is missing at the end. A write without an answer may have taken effect or not. Each write has a
//! higher number than the one before. So each node must hold at least the last number acknowledged and at most the last
//! number tried.

use super::connection::{Connection, Session};
use super::throughput::ensure;
use super::{Args, Report, each_second, histogram, record};
use crate::client::Client;
use crate::client::codec as wire;
use crate::wire::request::Request;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// How long a server may take to accept a connection and its session before the next is tried.
const ATTEMPT: Duration = Duration::from_secs(1);

/// The pause between two trials, so that clients without a server do not take the processor from the servers.
const PAUSE: Duration = Duration::from_millis(20);

/// How long it may take at the end until a server answers that has a leader.
const VERDICT: Duration = Duration::from_secs(60);

/// What the clients share. All run on one thread.
struct Shared {
    args: Rc<Args>,
    folder: String,
    end: Instant,
    begin: Instant,
    acknowledged: Cell<u64>,
    /// When a write was last acknowledged, and the longest time between two: its length and when it began.
    last: Cell<Instant>,
    longest: Cell<(Duration, Instant)>,
    moves: Cell<u64>,
    sessions_lost: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    errors: RefCell<BTreeMap<i32, u64>>,
}

/// The numbers that a client has written into its node.
struct Written {
    acknowledged: u64,
    tried: u64,
}

impl Shared {
    fn path(&self, client: u32) -> String {
        format!("{}/c{client}", self.folder)
    }

    fn ends_in(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn acknowledge(&self, latency: Duration) {
        self.acknowledged.set(self.acknowledged.get() + 1);
        record(&mut self.latency.borrow_mut(), latency);
        self.note_gap(Instant::now());
    }

    /// Notes the time since the last acknowledgement, if it is the longest so far.
    fn note_gap(&self, now: Instant) {
        let since = self.last.replace(now);
        let gap = now - since;
        if gap > self.longest.get().0 {
            self.longest.set((gap, since));
        }
    }
}

pub(crate) async fn measure(args: Rc<Args>) -> Result<Report> {
    let folder = args.folder();
    let mut control = Connection::open(&args, 0).await?;
    ensure(&mut control, &folder).await.context("create the nodes to work on")?;
    let mut connections = Vec::new();
    for number in 0..args.clients {
        let error = control.ask(|out, xid| wire::create(out, xid, &format!("{folder}/c{number}"), b"0", 0)).await?;
        if error != 0 {
            bail!("create the nodes to work on: the server answered {error}");
        }
        connections.push(Connection::open(&args, number).await?);
    }
    control.close().await?;
    let begin = Instant::now();
    let shared = Rc::new(Shared {
        folder,
        end: begin + Duration::from_secs(args.seconds),
        begin,
        acknowledged: Cell::new(0),
        last: Cell::new(begin),
        longest: Cell::new((Duration::ZERO, begin)),
        moves: Cell::new(0),
        sessions_lost: Cell::new(0),
        latency: RefCell::new(histogram()),
        errors: RefCell::default(),
        args: args.clone(),
    });
    let progress = spawn_local({
        let shared = shared.clone();
        each_second(args.clone(), move || shared.acknowledged.get(), "writes")
    });
    let clients: Vec<_> =
        (0..).zip(connections).map(|(n, connection)| spawn_local(client(shared.clone(), n, connection))).collect();
    let mut written = Vec::new();
    for client in clients {
        written.push(client.await.context("a client's task ended")?);
    }
    progress.abort();
    shared.note_gap(shared.end.max(shared.last.get()));
    let lost = verdict(&shared, &written).await?;
    let (gap, since) = shared.longest.get();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let facts = vec![
        ("gap_max_ms", milliseconds(gap)),
        ("gap_began_ms", milliseconds(since - shared.begin)),
        ("acknowledged_lost", lost as f64),
        ("sessions_lost", shared.sessions_lost.get() as f64),
        ("moves", shared.moves.get() as f64),
    ];
    Ok(Report {
        operations: shared.acknowledged.get(),
        elapsed: Duration::from_secs(args.seconds),
        latency: shared.latency.borrow().clone(),
        errors: shared.errors.borrow().clone(),
        args,
        facts,
    })
}

/// Runs one client: it writes until the end, on any server that takes its session.
async fn client(shared: Rc<Shared>, number: u32, connection: Connection) -> Written {
    let path = shared.path(number);
    let mut written = Written { acknowledged: 0, tried: 0 };
    // After this time without a reply, clients of ZooKeeper look for another server.
    let patience = connection.session_timeout * 2 / 3;
    let mut session = connection.session();
    let mut turn = number;
    let mut connection = Some(connection);
    while !shared.ends_in().is_zero() {
        let Some(attached) = &mut connection else {
            turn = turn.wrapping_add(1);
            connection = go_on(&shared, turn, &mut session).await;
            continue;
        };
        written.tried += 1;
        let (data, since) = (written.tried.to_string(), Instant::now());
        let set = attached.ask(|out, xid| wire::set_data(out, xid, &path, data.as_bytes(), -1));
        match timeout(patience.min(shared.ends_in()), set).await {
            Ok(Ok(0)) => {
                written.acknowledged = written.tried;
                shared.acknowledge(since.elapsed());
            }
            Ok(Ok(code)) => *shared.errors.borrow_mut().entry(code).or_default() += 1,
            Ok(Err(_)) | Err(_) => {
                session = attached.session();
                connection = None;
            }
        }
    }
    written
}

/// Tries one server. None: the server does not take the session now.
async fn go_on(shared: &Shared, turn: u32, session: &mut Session) -> Option<Connection> {
    let attempt = ATTEMPT.min(shared.ends_in());
    match timeout(attempt, Connection::attach(&shared.args, turn, session)).await {
        Ok(Ok(Some(connection))) => {
            shared.moves.set(shared.moves.get() + 1);
            Some(connection)
        }
        Ok(Ok(None)) => {
            shared.sessions_lost.set(shared.sessions_lost.get() + 1);
            *session = Session::none();
            None
        }
        Ok(Err(_)) | Err(_) => {
            sleep(PAUSE).await;
            None
        }
    }
}

/// Counts the nodes that do not hold what was acknowledged, and removes all nodes. Asks a server that has a leader.
async fn verdict(shared: &Shared, written: &[Written]) -> Result<u64> {
    let mut client = speaker(shared).await?;
    let mut lost = 0;
    for (number, written) in (0..).zip(written) {
        let path = shared.path(number);
        let value = match client.get(&path).await {
            Ok((data, _)) => std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            Err(error) if error.code().is_some() => 0,
            Err(error) => return Err(error.into()),
        };
        lost += u64::from(!(written.acknowledged..=written.tried).contains(&value));
        if !shared.args.keep {
            client.delete(&path, -1).await?;
        }
    }
    if !shared.args.keep {
        client.delete(&shared.folder, -1).await?;
    }
    client.close().await?;
    Ok(lost)
}

/// A client of a server that has answered a `sync`, and so has all that was acknowledged.
async fn speaker(shared: &Shared) -> Result<Client> {
    let sync = Request::Sync { path: Some(shared.folder.clone()) };
    let deadline = Instant::now() + VERDICT;
    let mut last = None;
    for turn in 0.. {
        if Instant::now() >= deadline {
            break;
        }
        match Client::connect(shared.args.server_of(turn), ATTEMPT * 2).await {
            Ok(mut client) => match client.call(&sync).await {
                Ok(_) => return Ok(client),
                Err(error) => last = Some(error),
            },
            Err(error) => last = Some(error),
        }
        sleep(PAUSE).await;
    }
    match last {
        Some(error) => Err(error).context("no server speaks for the ensemble after a minute"),
        None => bail!("no server was asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stat;
    use crate::wire::decode;
    use crate::wire::encode;
    use crate::wire::frame::Frames;
    use crate::wire::reply::{Body, ConnectResponse, ReplyHeader};
    use bytes::{Bytes, BytesMut};
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// A stand-in for two servers with one tree. The first goes for good once this many values have been set.
    const SETS_OF_THE_FIRST: u32 = 40;

    #[derive(Default)]
    struct Tree {
        nodes: RefCell<BTreeMap<String, Bytes>>,
        sets: Cell<u32>,
        /// Whether values are acknowledged and not kept, from when the first server is gone.
        forgets: bool,
        /// Whether the second server knows no session of the first.
        forgets_sessions: bool,
        sessions: Cell<i64>,
    }

    impl Tree {
        fn first_is_gone(&self) -> bool {
            self.sets.get() >= SETS_OF_THE_FIRST
        }

        /// The error code and the data of a get.
        fn answer(&self, request: &Request) -> (i32, Bytes) {
            let mut nodes = self.nodes.borrow_mut();
            match request {
                Request::Create(create) => {
                    nodes.insert(create.path.clone().unwrap(), create.data.clone().unwrap());
                }
                Request::SetData { path, data, .. } => {
                    self.sets.set(self.sets.get() + 1);
                    if !self.forgets || !self.first_is_gone() {
                        nodes.insert(path.clone().unwrap(), data.clone().unwrap());
                    }
                }
                Request::GetData { path, .. } => return (0, nodes.get(path.as_deref().unwrap()).unwrap().clone()),
                Request::Delete { path, .. } => drop(nodes.remove(path.as_deref().unwrap())),
                Request::Sync { .. } | Request::CloseSession | Request::Ping => (),
                other => panic!("{other:?}"),
            }
            (0, Bytes::new())
        }
    }

    async fn serve(mut stream: TcpStream, first: bool, tree: Rc<Tree>) {
        let (mut frames, mut received, mut greeted) = (Frames::new(1 << 20), BytesMut::new(), false);
        while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
            let mut out = BytesMut::new();
            while let Some(frame) = frames.next(&mut received).unwrap() {
                if first && tree.first_is_gone() {
                    return;
                }
                if !greeted {
                    greeted = true;
                    let asked = decode::connect_request(&frame).unwrap().session_id;
                    tree.sessions.set(tree.sessions.get() + 1);
                    let unknown = asked != 0 && tree.forgets_sessions;
                    let session_id = if unknown { 0 } else { tree.sessions.get() };
                    let hello =
                        ConnectResponse { timeout_ms: 6_000, session_id, password: [1; 16], read_only: Some(false) };
                    encode::connect_response(&mut out, &hello);
                    continue;
                }
                let (header, request) = decode::request(frame).unwrap();
                let (error, data) = tree.answer(&request);
                let body = match &request {
                    Request::GetData { .. } => Body::DataStat(Some(&data), Stat::default()),
                    Request::Create(create) => Body::Path(create.path.as_deref().unwrap()),
                    Request::Sync { path } => Body::Path(path.as_deref().unwrap()),
                    Request::SetData { .. } => Body::Stat(Stat::default()),
                    _ => Body::Empty,
                };
                encode::frame(&mut out, &ReplyHeader { xid: header.xid, zxid: 1, error }, &body);
                if request == Request::CloseSession {
                    let _ = stream.write_all(&out).await;
                    return;
                }
            }
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
    }

    /// The figures of a run against both.
    fn run(tree: Tree) -> (u64, BTreeMap<&'static str, f64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let tree = Rc::new(tree);
            let mut addresses = Vec::new();
            for first in [true, false] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                addresses.push(listener.local_addr().unwrap().to_string());
                let tree = tree.clone();
                spawn_local(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        spawn_local(serve(stream, first, tree.clone()));
                    }
                });
            }
            let servers = addresses.join(",");
            let arguments = ["bench", &servers, "--json", "--op", "failover", "--clients", "4", "--seconds", "1"];
            let report = measure(Rc::new(Args::try_parse_from(arguments).unwrap())).await.unwrap();
            assert!(tree.nodes.borrow().keys().all(|path| path == "/bench"), "it removes what it made");
            (report.operations, report.facts.into_iter().collect())
        })
    }

    #[test]
    fn clients_go_on_elsewhere() {
        let (acknowledged, facts) = run(Tree::default());
        assert!(acknowledged > u64::from(SETS_OF_THE_FIRST), "{acknowledged}");
        assert_eq!((facts["acknowledged_lost"], facts["sessions_lost"]), (0.0, 0.0));
        assert!(facts["moves"] >= 2.0 && facts["gap_max_ms"] > 0.0, "{facts:?}");
    }

    #[test]
    fn what_is_lost_is_told() {
        let (_, facts) = run(Tree { forgets: true, ..Tree::default() });
        assert_eq!(facts["acknowledged_lost"], 4.0);
        let (_, facts) = run(Tree { forgets_sessions: true, ..Tree::default() });
        assert_eq!((facts["acknowledged_lost"], facts["sessions_lost"]), (0.0, 2.0));
    }
}
