//! Clients over in-memory streams, against a replica that applies writes at once, or when the test says so.

mod policies;

use super::*;
use crate::client::codec::{self as client, Record, SlotReply};
use crate::environment::Clock;
use crate::limits::{
    HEAVY_READ_BYTES, LISTED_NAME_BYTES, MULTI_READ_OPERATIONS_MAX, OUTBOX_BYTES_MAX, UNANSWERED_MAX,
    WATCHES_DROPPED_AT_ONCE, WATCHES_SET_AT_ONCE,
};
use crate::model::txn::Change;
use crate::model::{AclEntry, ErrorCode, Identity, Refusal, SessionId, acl};
use crate::pipeline::evaluate::{Evaluation, Evaluator};
use crate::pipeline::read::NoVirtualNodes;
use crate::pipeline::{Answered, Ask, Call, Moment, ProvenSchemes, Rules, Verb};
use crate::plugin::{Compiler, Plugins};
use crate::state::Effects;
use crate::watch::WatchKind;
use crate::wire::frame::Frames;
use crate::wire::reply::{ConnectResponse, ReplyHeader};
use crate::wire::request::{ConnectRequest, Create, CreateForm, Operation, Request, SetWatches, op};
use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(super) fn rules() -> Rules {
    Rules {
        skip_acl: false,
        extended_types: true,
        enforce_quota: false,
        reconfig: false,
        container_never_used_ms: 0,
        deploy_by_anyone: false,
        sasl_scheme_enabled: false,
        x509_scheme_enabled: false,
        schemes: ProvenSchemes::default(),
    }
}

fn options() -> Options {
    Options::from(&config::Config::default())
}

/// The real evaluator and the real state, without consensus between them.
struct Replica {
    state: RwLock<State>,
    watches: Mutex<Watches>,
    connections: Arc<Connections>,
    clock: Clock,
    sequencer: Mutex<Sequencer>,
    lease_until_us: AtomicU64,
    me: Weak<Replica>,
}

struct Sequencer {
    evaluator: Evaluator,
    /// Whether submissions and barriers wait until `release`.
    paused: bool,
    waiting: VecDeque<Submission>,
    barriers: VecDeque<Arc<Connection>>,
}

/// A plugin that refuses to create every path that contains "refused".
struct Names;

impl crate::pipeline::Plugins for Names {
    fn validate(&mut self, _: &Call<'_>, changes: &[Change]) -> Answered<()> {
        for change in changes {
            if let Change::Create { path, .. } = change
                && path.contains("refused")
            {
                let text = format!("names: {path}: no such names here");
                return Answered::unasked(Err(Refusal::new(ErrorCode::BadArguments, text)));
            }
        }
        Answered::unasked(Ok(()))
    }

    fn authorize(&mut self, _: &Call<'_>, _: Verb, _: &str) -> Answered<()> {
        Answered::unasked(Ok(()))
    }
}

impl Replica {
    fn new(options: Options) -> Arc<Replica> {
        let plugins = Plugins::new(true, Compiler::here());
        let rules = Rules { schemes: ProvenSchemes::new(plugins.clone()), ..rules() };
        let rules = Arc::new(rules);
        let mut evaluator = Evaluator::new(rules.clone());
        let state = State::new(1);
        evaluator.start_chain(&state, true);
        let clock = Clock::start();
        Arc::new_cyclic(|me| Replica {
            state: RwLock::new(state),
            watches: Mutex::new(Watches::new(1)),
            connections: Connections::new(
                options,
                rules,
                Box::new(NoVirtualNodes),
                plugins,
                MemberRun { id: 1, run: 7 },
                Arc::default(),
                clock,
            ),
            clock,
            sequencer: Mutex::new(Sequencer {
                evaluator,
                paused: false,
                waiting: VecDeque::new(),
                barriers: VecDeque::new(),
            }),
            lease_until_us: AtomicU64::new(u64::MAX),
            me: me.clone(),
        })
    }

    fn pause(&self) {
        self.sequencer.lock().paused = true;
    }

    /// Applies the waiting submissions. Later ones are applied at once.
    fn release(&self) {
        self.sequencer.lock().paused = false;
        self.run();
    }

    fn release_barriers(&self) {
        let barriers = std::mem::take(&mut self.sequencer.lock().barriers);
        for connection in barriers {
            connection.synced(&self.state.read(), &mut self.watches.lock());
        }
    }

    fn run(&self) {
        let mut sequencer = self.sequencer.lock();
        let mut applied = Effects::default();
        while !sequencer.paused
            && let Some(submission) = sequencer.waiting.pop_front()
        {
            let mut state = self.state.write();
            let moment = Moment { wall_ms: 1, ensemble_ms: 1, seed: 1 };
            match sequencer.evaluator.evaluate(&state, &submission, moment, &mut Names) {
                Evaluation::Txn(txn) => {
                    applied.clear();
                    state.apply(&txn, &mut applied);
                    self.connections.applied(&state, &mut self.watches.lock(), &txn, &applied);
                }
                Evaluation::Close => {
                    let caller = submission.caller.expect("only clients move sessions");
                    if let Some(connection) = self.connections.get(caller.connection) {
                        connection.close();
                    }
                }
                Evaluation::Nothing => {}
                Evaluation::Part(..) => panic!("no script has a session with so many nodes"),
                Evaluation::Transfer(_) | Evaluation::Reconfigure(_) | Evaluation::SetBackClock => {
                    panic!("no script changes an ensemble")
                }
            }
        }
        drop(sequencer);
        self.connections.flush();
    }

    fn connection(&self, client: &Client) -> Arc<Connection> {
        self.connections.of_session(client.session).expect("the client is connected")
    }

    /// A client on a new connection, before its first message.
    fn dial(&self) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server: Arc<dyn Server> = self.me.upgrade().expect("the test holds it");
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let home = self.connections.clone();
        tokio::spawn(async move { listener::serve(&home, theirs, peer, server).await });
        Client::on(ours)
    }

    async fn client(&self) -> Client {
        let mut client = self.dial();
        client.open(0).await;
        client
    }
}

impl Server for Replica {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock()
    }
    fn submit(&self, submission: Submission) {
        self.sequencer.lock().waiting.push_back(submission);
        self.run();
    }
    fn barrier(&self, connection: Arc<Connection>) {
        let paused = {
            let mut sequencer = self.sequencer.lock();
            sequencer.barriers.push_back(connection);
            sequencer.paused
        };
        if !paused {
            self.release_barriers();
        }
    }
    fn serving(&self) -> Serving {
        Serving::Everybody
    }
    fn lease_until_us(&self) -> u64 {
        self.lease_until_us.load(Ordering::Relaxed)
    }
    fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }
    fn four_letter_words(&self) -> &dyn FourLetter {
        &Words
    }
}

struct Words;

impl FourLetter for Words {
    fn argument_bytes(&self, word: [u8; 4]) -> Option<usize> {
        match &word {
            b"ruok" => Some(0),
            b"stmk" => Some(8),
            _ => None,
        }
    }
    fn answer(&self, word: [u8; 4], argument: &[u8], _: SocketAddr) -> Vec<u8> {
        [&word[..], argument].concat()
    }
}

pub(crate) struct Client {
    stream: DuplexStream,
    arrived: BytesMut,
    pub(crate) session: SessionId,
    password: [u8; 16],
}

impl Client {
    /// A client before its first message. The other end of `stream` is a connection of the server.
    pub(crate) fn on(stream: DuplexStream) -> Client {
        Client { stream, arrived: BytesMut::new(), session: SessionId::NONE, password: [0; 16] }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    pub(crate) async fn ask(&mut self, xid: i32, request: Request) {
        let mut out = BytesMut::new();
        client::request(&mut out, xid, &request);
        self.send(&out).await;
    }

    pub(crate) async fn raw(&mut self, xid: i32, op: i32, body: &[u8]) {
        let mut out = BytesMut::new();
        client::raw(&mut out, xid, op, |out| out.extend_from_slice(body));
        self.send(&out).await;
    }

    /// xid and error of the reply to a request. None: the connection ends before.
    pub(crate) async fn attempt(&mut self, xid: i32, request: Request) -> Option<(i32, i32)> {
        let mut out = BytesMut::new();
        client::request(&mut out, xid, &request);
        self.stream.write_all(&out).await.ok()?;
        let (header, _) = client::reply(self.frame().await?).expect("a header");
        Some((header.xid, header.error))
    }

    /// The next frame. None: the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let mut frames = Frames::new(1 << 24);
        loop {
            if let Some(frame) = frames.next(&mut self.arrived).expect("the server frames well") {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.arrived.extend_from_slice(&buffer[..count]),
            }
        }
    }

    pub(crate) async fn reply(&mut self) -> (ReplyHeader, Record) {
        client::reply(self.frame().await.expect("a reply")).expect("a header")
    }

    /// xid and error of the next message.
    pub(crate) async fn next(&mut self) -> (i32, i32) {
        let (header, _) = self.reply().await;
        (header.xid, header.error)
    }

    pub(crate) async fn event(&mut self) -> (i32, String) {
        let (header, mut record) = self.reply().await;
        assert_eq!(header.xid, -1, "an event");
        let event = record.event().expect("an event");
        (event.kind, event.path)
    }

    pub(crate) async fn closed(&mut self) {
        assert_eq!(self.frame().await, None);
    }

    pub(crate) async fn connect(&mut self, request: ConnectRequest) -> Option<ConnectResponse> {
        let mut out = BytesMut::new();
        client::connect_request(&mut out, &request);
        self.send(&out).await;
        Some(client::connect_response(self.frame().await?).expect("a response"))
    }

    pub(crate) async fn open(&mut self, last_zxid_seen: i64) {
        let request = ConnectRequest { last_zxid_seen, ..hello() };
        let response = self.connect(request).await.expect("a session");
        self.session = SessionId(response.session_id);
        self.password = response.password;
    }

    pub(crate) fn back(&self) -> ConnectRequest {
        let password = Some(Bytes::copy_from_slice(&self.password));
        ConnectRequest { session_id: self.session.0, password, ..hello() }
    }

    pub(crate) async fn create(&mut self, path: &str) {
        self.ask(1, create(path)).await;
        assert_eq!(self.next().await, (1, 0), "{path}");
    }
}

pub(crate) fn hello() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 30_000,
        session_id: 0,
        password: None,
        read_only: Some(false),
    }
}

pub(crate) fn create(path: &str) -> Request {
    Request::Create(Create {
        form: CreateForm::Create,
        path: Some(path.into()),
        data: Some(Bytes::from_static(b"data")),
        acl: Some(acl::open_unsafe().to_vec()),
        flags: 0,
        ttl_ms: 0,
    })
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData { path: Some(path.into()), watch }
}

fn set(path: &str) -> Request {
    Request::SetData { path: Some(path.into()), data: Some(Bytes::from_static(b"new")), version: -1 }
}

/// Lets the tasks of this thread run until `so` holds.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("this never happens: {what}");
}

#[tokio::test]
async fn a_session_is_opened_with_the_timeout_in_bounds() {
    let replica = Replica::new(options());
    for (asked, given) in [(0, 6000), (30_000, 30_000), (i32::MAX, 60_000)] {
        let mut client = replica.dial();
        let response = client.connect(ConnectRequest { timeout_ms: asked, ..hello() }).await.unwrap();
        assert_eq!((response.timeout_ms, response.read_only), (given, Some(false)));
        assert_ne!((response.session_id, response.password), (0, [0; 16]));
    }
    let mut old = replica.dial();
    let response = old.connect(ConnectRequest { read_only: None, ..hello() }).await.unwrap();
    assert_eq!(response.read_only, None, "a client that does not know the field does not get it");
}

#[tokio::test]
async fn a_client_that_has_seen_a_later_state_is_closed_without_an_answer() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    client.create("/a").await;
    let zxid = replica.state().last_zxid().to_wire();
    let mut ahead = replica.dial();
    assert_eq!(ahead.connect(ConnectRequest { last_zxid_seen: zxid + 1, ..hello() }).await, None);
    let mut level = replica.dial();
    level.open(zxid).await;
}

#[tokio::test]
async fn a_session_moves_to_the_connection_that_knows_its_password() {
    let replica = Replica::new(options());
    let mut first = replica.client().await;
    let mut second = replica.dial();
    let response = second.connect(first.back()).await.unwrap();
    assert_eq!((response.session_id, response.password), (first.session.0, first.password));
    first.closed().await;
    second.session = first.session;
    second.password = first.password;
    second.create("/a").await;

    let mut thief = replica.dial();
    let guess = ConnectRequest { password: Some(Bytes::from_static(&[1; 16])), ..second.back() };
    let response = thief.connect(guess).await.unwrap();
    assert_eq!((response.timeout_ms, response.session_id, response.password), (0, 0, [0; 16]));
    thief.closed().await;
    second.create("/b").await;

    let mut third = replica.dial();
    assert_eq!(third.connect(second.back()).await.unwrap().session_id, second.session.0, "the session itself lives");
    second.closed().await;
}

#[tokio::test]
async fn requests_are_answered_in_order_and_reads_wait_for_writes_before_them() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, get("/a", false)).await;
    client.ask(2, create("/a")).await;
    client.ask(3, get("/a", false)).await;
    client.raw(4, op::GET_DATA, b"").await;
    client.ask(-2, Request::Ping).await;
    client.ask(5, create("/a")).await;
    client.ask(6, Request::WhoAmI).await;
    until("six requests wait", || connection.unanswered() == 6).await;
    assert_eq!(client.next().await, (1, -101));
    replica.release();
    assert_eq!(client.next().await, (2, 0));
    let (header, mut record) = client.reply().await;
    assert_eq!((header.xid, header.error, record.buffer().unwrap().as_deref()), (3, 0, Some(&b"data"[..])));
    assert_eq!(client.next().await, (4, -5));
    assert_eq!(client.next().await, (-2, 0));
    assert_eq!(client.next().await, (5, -110));
    assert_eq!(client.next().await, (6, 0));
}

#[tokio::test]
async fn a_parked_read_sees_its_own_write_and_not_a_later_one() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, create("/a")).await;
    client.ask(2, get("/a", false)).await;
    client.ask(3, set("/a")).await;
    client.ask(4, get("/a", false)).await;
    until("four requests wait", || connection.unanswered() == 4).await;
    replica.release();
    let mut seen = Vec::new();
    for xid in 1..=4 {
        let (header, mut record) = client.reply().await;
        assert_eq!((header.xid, header.error), (xid, 0));
        if xid % 2 == 0 {
            seen.push(record.buffer().unwrap().unwrap());
        }
    }
    assert_eq!(seen, [&b"data"[..], b"new"]);
}

#[tokio::test]
async fn the_reply_that_sets_a_watch_leaves_before_its_event() {
    let replica = Replica::new(options());
    let (mut watcher, mut writer) = (replica.client().await, replica.client().await);
    writer.create("/a").await;
    for _ in 0..100 {
        watcher.ask(5, get("/a", true)).await;
        writer.ask(6, set("/a")).await;
        assert_eq!(writer.next().await, (6, 0));
        assert_eq!(watcher.next().await, (5, 0), "the reply first");
        // The read came before or behind the write. In both cases a further write fires the watch.
        writer.ask(7, set("/a")).await;
        assert_eq!(writer.next().await, (7, 0));
        assert_eq!(watcher.event().await, (3, "/a".into()));
    }
}

#[tokio::test]
async fn the_reply_of_a_parked_read_leaves_before_the_events_of_its_watch() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, create("/a")).await;
    client.ask(2, get("/a", true)).await;
    client.ask(3, set("/a")).await;
    until("three requests wait", || connection.unanswered() == 3).await;
    replica.release();
    assert_eq!(client.next().await, (1, 0));
    assert_eq!(client.next().await, (2, 0));
    assert_eq!(client.event().await, (3, "/a".into()), "the event before the reply to the write that fired it");
    assert_eq!(client.next().await, (3, 0));
}

#[tokio::test]
async fn events_leave_before_any_reply_that_shows_the_new_state() {
    let replica = Replica::new(options());
    let (mut watcher, mut writer) = (replica.client().await, replica.client().await);
    writer.create("/a").await;
    watcher.ask(1, get("/a", true)).await;
    assert_eq!(watcher.next().await, (1, 0));
    writer.ask(2, set("/a")).await;
    assert_eq!(writer.next().await, (2, 0));
    watcher.ask(3, get("/a", false)).await;
    let (header, mut record) = watcher.reply().await;
    assert_eq!((header.xid, header.zxid), (-1, replica.state().last_zxid().to_wire()));
    assert_eq!(record.event().unwrap().path, "/a");
    assert_eq!(watcher.next().await, (3, 0));
}

#[tokio::test]
async fn events_reach_only_those_who_may_read() {
    let replica = Replica::new(options());
    let (mut watcher, mut writer) = (replica.client().await, replica.client().await);
    let exists = Request::Exists { path: Some("/secret".into()), watch: true };
    watcher.ask(1, exists).await;
    assert_eq!(watcher.next().await, (1, -101));
    let acl = vec![AclEntry { permissions: acl::ALL, who: Identity::new("digest", "alice:x") }];
    let Request::Create(open) = create("/secret") else { unreachable!() };
    writer.ask(2, Request::Create(Create { acl: Some(acl), ..open })).await;
    assert_eq!(writer.next().await, (2, 0));
    watcher.ask(-2, Request::Ping).await;
    assert_eq!(watcher.next().await, (-2, 0), "no event");
}

#[tokio::test]
async fn malformed_bytes_close_only_their_own_connection() {
    let replica = Replica::new(options());
    let mut other = replica.client().await;
    for bytes in [&[0xff; 4][..], &0x10_0000_i32.to_be_bytes(), &[0, 0, 0, 4, 0, 0, 0, 1]] {
        let mut client = replica.client().await;
        client.send(bytes).await;
        client.closed().await;
    }
    let mut fresh = replica.dial();
    fresh.send(&[0, 0, 0, 3, 1, 2, 3]).await;
    fresh.closed().await;
    other.create("/a").await;
    let mut truncated = replica.client().await;
    truncated.raw(9, op::CREATE, &[0, 0]).await;
    assert_eq!(truncated.next().await, (9, -5));
    truncated.raw(-4, op::AUTH, &[0]).await;
    truncated.closed().await;
    until("only the other is left", || replica.connections.count() == 1).await;
}

#[tokio::test]
async fn an_unknown_operation_overtakes_and_ends_the_connection() {
    let replica = Replica::new(options());
    for unknown in [0, 99, op::CHECK] {
        let mut client = replica.client().await;
        let connection = replica.connection(&client);
        replica.pause();
        client.ask(1, create("/never-seen")).await;
        until("the write waits", || connection.unanswered() == 1).await;
        client.raw(2, unknown, b"\0\0\0\x01/\0\0\0\0").await;
        let (header, _) = client.reply().await;
        assert_eq!((header.xid, header.zxid, header.error), (2, -1, -6), "opcode {unknown}");
        client.closed().await;
        replica.release();
    }
}

#[tokio::test]
async fn a_ping_is_answered_under_the_xid_of_pings() {
    let mut client = Replica::new(options()).client().await;
    client.ask(9, Request::Ping).await;
    assert_eq!(client.next().await, (-2, 0));
}

/// The server may have stood still between taking a request and writing the reply.
#[tokio::test(start_paused = true)]
async fn nothing_is_answered_once_the_lease_has_run_out() {
    for under_way in [get("/a", false), Request::Ping, create("/a")] {
        let replica = Replica::new(options());
        let mut client = replica.client().await;
        client.ask(1, get("/a", false)).await;
        assert_eq!(client.next().await, (1, -101));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        replica.lease_until_us.store(1, Ordering::Relaxed);
        client.ask(2, under_way).await;
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn a_null_path_can_be_watched() {
    let mut client = Replica::new(options()).client().await;
    for (mode, error) in [(0, 0), (1, 0), (2, -5)] {
        client.ask(1, Request::AddWatch { path: None, mode }).await;
        assert_eq!(client.next().await, (1, error));
    }
}

#[tokio::test]
async fn create_session_as_a_request_repeats_the_connect_response() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    client.raw(1, op::CREATE_SESSION, &[0, 0, 0x13, 0x88]).await;
    let response = client::connect_response(client.frame().await.unwrap()).unwrap();
    assert_eq!((response.session_id, response.password), (client.session.0, client.password));
    client.create("/a").await;
}

#[tokio::test]
async fn a_multi_answers_each_operation() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let multi = |paths: &[&str]| {
        Request::Multi(paths.iter().map(|path| Operation { op: op::CREATE, request: create(path) }).collect())
    };
    client.ask(1, multi(&["/a", "/b"])).await;
    let (header, mut record) = client.reply().await;
    assert_eq!(header.error, 0);
    assert_eq!(record.multi().unwrap(), ["/a", "/b"].map(|path| SlotReply::Path(path.into())));
    client.ask(2, multi(&["/c", "/a", "/d"])).await;
    let (header, mut record) = client.reply().await;
    assert_eq!(header.error, 0);
    assert_eq!(record.multi().unwrap(), [0, -110, -2].map(SlotReply::Error));
}

#[tokio::test]
async fn refusals_are_read_back_in_order() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    client.ask(1, get("/zookeeper/rejection", true)).await;
    assert_eq!(client.next().await, (1, -101));
    replica.pause();
    client.ask(2, create("/refused")).await;
    client.ask(3, get("/zookeeper/rejection", true)).await;
    client.ask(4, create("/fine")).await;
    client.ask(5, create("/refused-too")).await;
    client.ask(6, get("/zookeeper/rejection", false)).await;
    until("five requests wait", || connection.unanswered() == 5).await;
    replica.release();
    assert_eq!(client.next().await, (2, -8));
    let (header, mut record) = client.reply().await;
    let text = record.buffer().unwrap().unwrap();
    assert_eq!((header.xid, &text[..]), (3, &b"names: /refused: no such names here (xid 2)\n"[..]));
    assert_eq!(client.next().await, (4, 0));
    assert_eq!(client.next().await, (5, -8));
    let (_, mut record) = client.reply().await;
    let text = String::from_utf8(record.buffer().unwrap().unwrap().to_vec()).unwrap();
    assert!(text.starts_with("names: /refused-too:") && text.lines().count() == 2, "{text}");
    let mut other = replica.client().await;
    other.ask(1, get("/zookeeper/rejection", false)).await;
    assert_eq!(other.next().await, (1, -101), "refusals are the session's own");
}

#[tokio::test]
async fn addauth_overtakes_and_counts_for_later_requests() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, create("/a")).await;
    until("the write waits", || connection.unanswered() == 1).await;
    let auth = |scheme: &str| Request::Auth {
        kind: 0,
        scheme: Some(scheme.into()),
        credential: Some(Bytes::from_static(b"alice:secret")),
    };
    client.ask(-4, auth("digest")).await;
    client.ask(2, Request::WhoAmI).await;
    let (header, _) = client.reply().await;
    assert_eq!((header.xid, header.zxid, header.error), (-4, 0, 0));
    replica.release();
    assert_eq!(client.next().await, (1, 0));
    let (header, mut record) = client.reply().await;
    assert_eq!(header.xid, 2);
    let identities = record.identities().unwrap();
    assert!(identities.contains(&Identity::new("digest", "alice")), "{identities:?}");
    assert!(identities.contains(&Identity::new("ip", "127.0.0.1")), "{identities:?}");
    client.ask(-4, auth("nope")).await;
    assert_eq!(client.next().await, (-4, -115));
    client.closed().await;
}

#[tokio::test]
async fn a_client_without_a_required_identity_is_refused() {
    let mut options = options();
    options.auth.enforce_schemes = vec!["digest".into()];
    let replica = Replica::new(options);
    let mut client = replica.client().await;
    client.ask(1, get("/", false)).await;
    assert_eq!(client.next().await, (1, -124));
    client.closed().await;
}

#[tokio::test]
async fn reading_stops_while_too_much_is_unanswered() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    client.create("/a").await;
    let connection = replica.connection(&client);
    replica.pause();
    let all = UNANSWERED_MAX as i32 + 200;
    let mut out = BytesMut::new();
    (2..2 + all).for_each(|xid| client::request(&mut out, xid, &set("/a")));
    client.send(&out).await;
    until("the limit is reached", || connection.unanswered() == UNANSWERED_MAX).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.unanswered(), UNANSWERED_MAX);
    replica.release();
    for xid in 2..2 + all {
        assert_eq!(client.next().await, (xid, 0));
    }
}

#[tokio::test]
async fn nothing_passes_a_sync() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, create("/a")).await;
    client.ask(2, Request::Sync { path: Some("/a".into()) }).await;
    client.ask(3, get("/a", false)).await;
    client.ask(4, create("/b")).await;
    until("the sync waits, and lets nothing behind it in", || connection.unanswered() == 2).await;
    replica.release_barriers();
    replica.release();
    assert_eq!(client.next().await, (1, 0));
    let (header, mut record) = client.reply().await;
    assert_eq!((header.xid, record.string().unwrap()), (2, "/a".into()));
    assert_eq!(client.next().await, (3, 0));
    assert_eq!(client.next().await, (4, 0));
    client.raw(5, op::SYNC, &[0xff; 4]).await;
    assert_eq!(client.next().await, (5, 0), "a null path comes back");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let replica = Replica::new(options());
    let (mut deaf, mut writer) = (replica.client().await, replica.client().await);
    deaf.ask(1, Request::AddWatch { path: Some("/".into()), mode: 1 }).await;
    assert_eq!(deaf.next().await, (1, 0));
    let connection = replica.connection(&deaf);
    connection.outbox.push(|out| out.resize(OUTBOX_BYTES_MAX + 1, 0));
    writer.create("/a").await;
    until("it is gone", || replica.connections.of_session(deaf.session).is_none()).await;
    writer.create("/b").await;
}

#[tokio::test]
async fn closing_the_session_is_the_last_reply() {
    let replica = Replica::new(options());
    let (mut client, mut watcher) = (replica.client().await, replica.client().await);
    let Request::Create(node) = create("/mine") else { unreachable!() };
    client.ask(1, Request::Create(Create { flags: 1, ..node })).await;
    assert_eq!(client.next().await, (1, 0));
    watcher.ask(1, get("/mine", true)).await;
    assert_eq!(watcher.next().await, (1, 0));
    client.ask(i32::MAX, Request::CloseSession).await;
    client.ask(3, get("/", false)).await;
    assert_eq!(client.next().await, (i32::MAX, 0));
    client.closed().await;
    assert_eq!(watcher.event().await, (2, "/mine".into()));
    let mut late = replica.dial();
    assert_eq!(late.connect(client.back()).await.unwrap().session_id, 0);
}

#[tokio::test]
async fn an_expired_session_ends_its_connection() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let ask = Ask::CloseSession { session: client.session, expired: true };
    replica.submit(Submission::own(ask));
    client.closed().await;
    assert!(replica.connections.expiry().last_heard_ms(client.session).is_none());
}

#[tokio::test]
async fn writes_on_the_way_are_counted_until_they_are_applied_although_their_connection_has_ended() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    replica.pause();
    client.ask(1, create("/a")).await;
    client.ask(2, create("/b")).await;
    until("two writes wait", || connection.unanswered() == 2).await;
    replica.connections.pass_on(connection.id());
    replica.connections.abandon_all();
    replica.connections.pass_on(connection.id());
    client.closed().await;
    until("the connection is forgotten", || replica.connections.count() == 0).await;
    assert_eq!(replica.connections.passed_on(), 2);
    replica.release();
    assert_eq!(replica.connections.passed_on(), 0);
}

#[tokio::test]
async fn watches_are_added_checked_removed_and_set_again() {
    let replica = Replica::new(options());
    let (mut client, mut writer) = (replica.client().await, replica.client().await);
    let path = || Some("/w".to_owned());
    client.ask(1, Request::AddWatch { path: path(), mode: 0 }).await;
    let (header, mut record) = client.reply().await;
    assert_eq!((header.error, record.number().unwrap()), (0, 0));
    client.ask(2, Request::AddWatch { path: path(), mode: 2 }).await;
    assert_eq!(client.next().await, (2, -5));
    for (kind, error) in [(4, 0), (5, -121), (6, -5)] {
        client.ask(3, Request::CheckWatches { path: path(), kind }).await;
        assert_eq!(client.next().await, (3, error), "type {kind}");
    }
    for error in [0, -121] {
        client.ask(4, Request::RemoveWatches { path: path(), kind: 3 }).await;
        assert_eq!(client.next().await, (4, error));
    }
    // No watch is on a null path, and an unknown type is refused before the path is looked at.
    for (kind, error) in [(3, -121), (6, -5)] {
        client.ask(5, Request::CheckWatches { path: None, kind }).await;
        assert_eq!(client.next().await, (5, error), "type {kind}");
        client.ask(6, Request::RemoveWatches { path: None, kind }).await;
        assert_eq!(client.next().await, (6, error), "type {kind}");
    }
    writer.create("/w").await;
    let before = replica.state().last_zxid().to_wire();
    writer.create("/w/child").await;
    let again = SetWatches {
        relative_zxid: before,
        data: vec!["/w".into(), "/gone".into()],
        exist: vec!["/w/child".into(), "/none".into()],
        child: vec!["/w".into()],
        ..SetWatches::default()
    };
    client.ask(-8, Request::SetWatches(again)).await;
    for event in [(2, "/gone"), (1, "/w/child"), (4, "/w")] {
        let (header, mut record) = client.reply().await;
        assert_eq!((header.xid, header.zxid), (-1, -1));
        let seen = record.event().unwrap();
        assert_eq!((seen.kind, seen.path.as_str()), event);
    }
    assert_eq!(client.next().await, (-8, 0));
    writer.create("/none").await;
    assert_eq!(client.event().await, (1, "/none".into()));
    writer.ask(9, set("/w")).await;
    assert_eq!(client.event().await, (3, "/w".into()));
}

#[tokio::test]
async fn watches_go_with_their_connection() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    client.ask(1, Request::Exists { path: Some("/a".into()), watch: true }).await;
    assert_eq!(client.next().await, (1, -101));
    assert!(!replica.watches.lock().is_empty());
    drop(client);
    until("the connection is forgotten", || replica.connections.count() == 0).await;
    assert!(replica.watches.lock().is_empty());
}

/// Does one turn of the thread that asks plugins, once there is something to do.
async fn turn(inquirer: &mut Inquirer) {
    until("there is a job", || inquirer.run_once()).await;
}

#[tokio::test]
async fn many_watches_of_an_ended_connection_are_given_up_in_pieces() {
    let replica = Replica::new(options());
    let server: Arc<dyn Server> = replica.clone();
    let mut inquirer = Inquirer::of(&server);
    let client = replica.client().await;
    let id = replica.connection(&client).id();
    for number in 0..WATCHES_DROPPED_AT_ONCE + 1 {
        replica.watches.lock().arm(WatchKind::Data, &format!("/{number}"), id);
    }
    drop(client);
    until("the connection is forgotten", || replica.connections.count() == 0).await;
    assert_eq!(replica.watches.lock().count(), 1);
    turn(&mut inquirer).await;
    assert!(replica.watches.lock().is_empty());
}

#[tokio::test]
async fn many_watches_are_set_again_in_pieces() {
    let replica = Replica::new(options());
    let server: Arc<dyn Server> = replica.clone();
    let mut inquirer = Inquirer::of(&server);
    let mut client = replica.client().await;
    client.create("/there").await;
    let count = 2 * WATCHES_SET_AT_ONCE + 1;
    let mut exist: Vec<String> = (1..count).map(|number| format!("/{number}")).collect();
    exist.push("/there".into());
    client.ask(-8, Request::SetWatches(SetWatches { exist, ..SetWatches::default() })).await;
    client.ask(2, create("/behind")).await;
    for _ in 0..2 {
        turn(&mut inquirer).await;
    }
    assert_eq!(client.event().await, (1, "/there".into()));
    assert_eq!(client.next().await, (-8, 0));
    assert_eq!(client.next().await, (2, 0));
    assert_eq!(replica.watches.lock().count(), count - 1);
}

/// The thread that applies a write does not make long answers.
#[tokio::test]
async fn a_long_answer_behind_a_write_is_made_elsewhere_and_lets_nothing_pass() {
    let replica = Replica::new(options());
    let server: Arc<dyn Server> = replica.clone();
    let mut inquirer = Inquirer::of(&server);
    let mut client = replica.client().await;
    let connection = replica.connection(&client);
    client.create("/many").await;
    let children = HEAVY_READ_BYTES / LISTED_NAME_BYTES + 1;
    for number in 0..children {
        client.create(&format!("/many/{number}")).await;
    }
    let list = || Request::GetChildren { path: Some("/many".into()), watch: true };
    replica.pause();
    client.ask(2, create("/many/last")).await;
    client.ask(3, list()).await;
    client.ask(4, create("/many/behind")).await;
    until("the list lets nothing in", || connection.unanswered() == 2).await;
    replica.release();
    assert_eq!(client.next().await, (2, 0));
    assert_eq!(connection.unanswered(), 1, "the list waits");
    turn(&mut inquirer).await;
    let (header, mut record) = client.reply().await;
    assert_eq!((header.xid, record.strings().unwrap().len()), (3, children + 1));
    assert_eq!(client.event().await, (4, "/many".into()));
    assert_eq!(client.next().await, (4, 0));
}

#[tokio::test]
async fn a_multi_read_reads_a_bounded_number_of_nodes_and_names() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    client.create("/a").await;
    let slot = |request| Operation { op: client::opcode(&request), request };
    let mut operations = vec![slot(get("/a", false)); MULTI_READ_OPERATIONS_MAX + 1];
    operations[0] = slot(Request::GetChildren { path: Some("/".into()), watch: false });
    client.ask(2, Request::MultiRead(operations)).await;
    let (_, mut record) = client.reply().await;
    let slots = record.multi().unwrap();
    let throttled = SlotReply::Error(ErrorCode::ThrottledOp.code());
    assert!(matches!(&slots[0], SlotReply::Children(names) if names.len() == 2), "{:?}", slots[0]);
    assert_eq!(slots.iter().position(|slot| *slot == throttled), Some(MULTI_READ_OPERATIONS_MAX));
}

#[tokio::test]
async fn four_letter_words() {
    let replica = Replica::new(options());
    for (sent, answer) in [(&b"ruok"[..], &b"ruok"[..]), (b"stmk\0\0\0\0\0\0\0\x07", b"stmk\0\0\0\0\0\0\0\x07")] {
        let mut client = replica.dial();
        for byte in sent {
            client.send(&[*byte]).await;
        }
        let mut seen = Vec::new();
        client.stream.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, answer);
    }
}

#[tokio::test]
async fn requests_in_single_bytes() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let mut out = BytesMut::new();
    client::request(&mut out, 1, &create("/a"));
    client::request(&mut out, 2, &get("/a", false));
    for byte in out {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.next().await, (1, 0));
    assert_eq!(client.next().await, (2, 0));
}

#[tokio::test]
async fn bytes_from_a_client_are_a_sign_of_life() {
    let replica = Replica::new(options());
    let mut client = replica.client().await;
    let before = replica.connections.expiry().last_heard_ms(client.session).unwrap();
    until("the clock has moved", || replica.clock.now_ms() > before).await;
    client.ask(-2, Request::Ping).await;
    assert_eq!(client.next().await, (-2, 0));
    assert!(replica.connections.expiry().last_heard_ms(client.session).unwrap() > before);
}
