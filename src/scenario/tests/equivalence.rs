//! Judging on outstanding changes must be the same as judging on the applied tree.
//!
//! Random writes run once with each transaction applied at once, and once with transactions left outstanding for random
//! stretches. Every answer, every transaction and the digests at the end must agree. What the overlay says of a node
//! must be what the tree says once everything is applied.

use crate::model::{ConnectionId, Identity, Password, SessionId};
use crate::pipeline::overlay::{Overlay, path_of};
use crate::pipeline::view::View;
use crate::pipeline::{Ask, Caller, Evaluation, NoPlugins, NodeCopy, ReadView, Rules, Submission};
use crate::scenario::script::words;
use crate::scenario::world::World;
use crate::scenario::{requests, show};
use crate::wire::request::Request;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// xorshift64*: the tests need repeatable numbers, not good ones.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn path(&mut self) -> String {
        match self.below(4) {
            0 => format!("/{}", self.below(3)),
            1 => format!("/{}/{}", self.below(3), self.below(3)),
            2 => format!("/{}/{}/{}", self.below(2), self.below(2), self.below(3)),
            _ => format!("/q/{}", self.below(4)),
        }
    }

    fn version(&mut self) -> i64 {
        if self.below(3) == 0 { self.below(3) as i64 } else { -1 }
    }

    fn operation(&mut self) -> String {
        let path = self.path();
        let version = self.version();
        match self.below(12) {
            0..=3 => format!("create {path} {} flags {}", "x".repeat(self.below(4) as usize + 1), self.below(5)),
            4 => format!("create {path} container"),
            5 => format!("create {path} form ttl flags 5 ttl {}", self.below(20)),
            6 | 7 => format!("delete {path} version {version}"),
            8 | 9 => format!("set {path} {} version {version}", "y".repeat(self.below(6) as usize + 1)),
            10 => format!("check {path} version {version}"),
            _ => format!("create-if-absent {path}"),
        }
    }

    fn step(&mut self) -> Step {
        let client = self.below(3) as usize;
        match self.below(24) {
            0 => Step::Close(client),
            1 => Step::Expire(client),
            2 => Step::Attach(client),
            3 => Step::Stale(client),
            4 => Step::Open(client),
            5 => Step::Collect(self.path()),
            6 => Step::Tick(self.below(30) as u32),
            7 => {
                let (path, version) = (self.path(), self.version());
                let letters = ["r", "cd", "rw", "cdw", "cdrw", "cdrwa"][self.below(6) as usize];
                Step::Write(client, format!("set-acl {path} world:anyone:{letters} version {version}"))
            }
            8..=12 => {
                let count = self.below(5) + 1;
                let operations: Vec<String> = (0..count).map(|_| self.operation()).collect();
                Step::Write(client, format!("multi {}", operations.join(" ; ")))
            }
            _ => Step::Write(client, self.operation()),
        }
    }
}

/// What happens next. A client is given by its number, which is also the number of its session.
#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    /// On a new connection.
    Attach(usize),
    /// The client goes back to the connection before.
    Stale(usize),
    Close(usize),
    Expire(usize),
    Collect(String),
    Tick(u32),
    Write(usize, String),
}

/// A world with three clients, whose sessions are opened again under the same numbers.
struct Runner {
    world: World,
    /// Connection and former connection of each client.
    connections: [[ConnectionId; 2]; 3],
    last_connection: u64,
    xid: i32,
}

impl Runner {
    fn new() -> Runner {
        let rules = Rules { enforce_quota: true, container_never_used_ms: 40, ..Rules::default() };
        let none = ConnectionId { member: 1, run: 1, number: 0 };
        let mut world = World::new(rules, Box::new(NoPlugins));
        world.keep_history();
        let mut runner = Runner { world, connections: [[none; 2]; 3], last_connection: 0, xid: 0 };
        for client in 0..3 {
            runner.run(&Step::Open(client));
        }
        for request in [
            "create /q",
            "create /0",
            "create /zookeeper/quota/q",
            "create /zookeeper/quota/q/zookeeper_limits count=-1,bytes=-1;countHardLimit=4;byteHardLimit=9",
            "create /zookeeper/quota/q/zookeeper_stats count=0,bytes=0",
        ] {
            assert!(runner.run(&Step::Write(0, request.into())).starts_with("ok /"));
        }
        runner.apply(usize::MAX);
        runner
    }

    /// Runs a step and returns the answer as text.
    fn run(&mut self, step: &Step) -> String {
        let session = |client: usize| SessionId(client as i64 + 1);
        let password = |client: usize| Password([client as u8 + 1; 16]);
        match step {
            Step::Open(client) => {
                let connection = self.connect();
                self.connections[*client] = [connection; 2];
                let (session, password) = (session(*client), password(*client));
                self.submit(Some(*client), Ask::OpenSession { session, password, timeout_ms: 1000 })
            }
            Step::Attach(client) => {
                let connection = self.connect();
                self.connections[*client] = [connection, self.connections[*client][0]];
                let (session, password) = (session(*client), Some(password(*client)));
                self.submit(Some(*client), Ask::AttachSession { session, password, timeout_ms: 2000 })
            }
            Step::Stale(client) => {
                self.connections[*client].swap(0, 1);
                String::new()
            }
            Step::Close(client) => {
                self.submit(Some(*client), Ask::CloseSession { session: session(*client), expired: false })
            }
            Step::Expire(client) => self.submit(None, Ask::CloseSession { session: session(*client), expired: true }),
            Step::Collect(path) => self.submit(None, Ask::Collect { path: path.clone() }),
            Step::Tick(ms) => {
                self.world.clock.tick(*ms);
                String::new()
            }
            Step::Write(client, text) => self.submit(Some(*client), Ask::Request(request(text))),
        }
    }

    fn submit(&mut self, client: Option<usize>, ask: Ask) -> String {
        self.xid += 1;
        let caller = client.map(|client| Caller {
            session: SessionId(client as i64 + 1),
            connection: self.connections[client][0],
            identities: Arc::from([Identity::new("ip", "127.0.0.1")]),
            address: Ipv4Addr::LOCALHOST.into(),
            port: 1,
            local: false,
        });
        match self.world.evaluate(None, Submission { caller, xid: self.xid, ask }, None) {
            None => {
                let youngest = self.world.youngest().expect("it was just evaluated");
                let request = match &youngest.given.submission.ask {
                    Ask::Request(request) => Some(request),
                    _ => None,
                };
                show::written(request, &youngest.txn, &[])
            }
            Some(Evaluation::Close) => "close".into(),
            Some(Evaluation::Nothing) => "nothing".into(),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn apply(&mut self, count: usize) {
        for _ in 0..count {
            let Some(next) = self.world.apply_one() else { break };
            self.world.keep(next.given, next.txn);
        }
    }

    fn connect(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId { member: 1, run: 1, number: self.last_connection }
    }
}

fn request(text: &str) -> Request {
    requests::parse(&words(text).unwrap()).unwrap().request
}

#[test]
fn outstanding_is_as_good_as_applied() {
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let (mut at_once, mut later) = (Runner::new(), Runner::new());
        for number in 0..250 {
            let step = dice.step();
            let expected = at_once.run(&step);
            at_once.apply(usize::MAX);
            assert_eq!(later.run(&step), expected, "seed {seed}, step {number}: {step:?}");
            if dice.below(9) == 0 {
                let count = dice.below(30) as usize;
                later.apply(count);
            }
        }
        foretell(&mut later, seed);
        let (at_once, later) = (at_once.world, later.world);
        assert_eq!(at_once.history().len(), later.history().len(), "seed {seed}");
        for (at_once, later) in at_once.history().iter().zip(later.history()) {
            assert_eq!(at_once.txn, later.txn, "seed {seed}");
        }
        assert_eq!(at_once.state.digest(), later.state.digest(), "seed {seed}");
    }
}

/// Checks that what the overlay says of every outstanding node comes true.
fn foretell(runner: &mut Runner, seed: u64) {
    let mut paths: Vec<Arc<str>> = vec!["/".into(), "/q".into()];
    for outstanding in runner.world.all_outstanding() {
        paths.extend(outstanding.txn.changes.iter().filter_map(path_of).cloned());
    }
    let look = |view: &View<'_>| -> Vec<(Option<NodeCopy>, Vec<String>)> {
        let look = |path: &Arc<str>| (ReadView::node(view, path), ReadView::children(view, path, None, 1000));
        paths.iter().map(look).collect()
    };
    runner.world.check_all();
    let told = look(&View { state: &runner.world.state, overlay: runner.world.evaluator.overlay() });
    runner.apply(usize::MAX);
    runner.world.check_all();
    assert!(runner.world.evaluator.is_idle(), "seed {seed}: everything is applied");
    let found = look(&View { state: &runner.world.state, overlay: &Overlay::default() });
    for ((path, told), found) in paths.iter().zip(told).zip(found) {
        assert_eq!(found, told, "seed {seed}: {path}");
    }
}

#[test]
fn a_chain_that_breaks_again_and_again_stays_sound() {
    for seed in 100..=130 {
        let mut dice = Dice(seed);
        let mut runner = Runner::new();
        for _ in 0..400 {
            let step = dice.step();
            runner.run(&step);
            match dice.below(40) {
                0 => drop(runner.world.break_chain()),
                1..=6 => runner.apply(dice.below(20) as usize),
                _ => {}
            }
        }
        foretell(&mut runner, seed);
    }
}
