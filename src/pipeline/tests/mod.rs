//! The interpreter that drives evaluator and state together: text in, text out.
//!
//! A script is a line a command; ` => ` is followed by the expected answer, else it is `ok`. Transactions stay
//! outstanding until `apply`, so a script says for itself what must hold on the view alone.
//!
//! ```text
//! open 1                           client 1 opens its session
//! attach 1 | attach 1 wrong        on a new connection; with a wrong password
//! stale 1                          client 1 goes back to the connection before
//! close 1 | expire 1
//! auth 1 digest:a:h                what it has proven from now on
//! 1 create PATH [k=v]...           flags, data, acl (perms:scheme:id,...), form (create2, container, ttl, maybe), ttl
//! 1 reconfig [join=..] [leave=..] [all=..] [from=HEX]      configure SERVERS      reconfigures yes|no      data PATH
//! 1 delete PATH [VERSION]          also: set PATH DATA [VERSION], acl PATH LIST [VERSION], check, absent, reap, reconfig
//! 1 multi OP ; OP ...
//! collect PATH                     the server's own
//! timer PLUGIN NAME | recover PLUGIN                  also the server's own
//! call PLUGIN METHOD PAYLOAD       by client 2; what it returned
//! stat PATH                        of the view: v, cv (stored), n, len
//! tick MS | apply [COUNT] | drop   `drop`: the chain breaks, what is outstanding is void
//! ```

mod blame;
mod equivalence;
mod reads;
mod recipes;
mod scenarios;

use super::view::View;
use super::*;
use crate::model::acl::{ALL, AclEntry};
use crate::model::ensemble::parse_config_text;
use crate::model::txn::{Change, Outcome, Slot, Txn};
use crate::model::{ErrorCode, Zxid};
use crate::state::{Effects, State};
use crate::wire::request::{Create, CreateForm, Operation, op};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// The defaults of a server that stands alone, with TTL nodes.
pub fn rules() -> Rules {
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

pub struct World {
    pub state: State,
    pub evaluator: Evaluator,
    pub rules: Rules,
    pub outstanding: VecDeque<Txn>,
    /// All transactions, in order.
    pub history: Vec<Txn>,
    clients: BTreeMap<i64, Client>,
    plugins: Box<dyn Plugins>,
    wall_ms: i64,
    ensemble_ms: u64,
    xid: i32,
    connections: u64,
}

struct Client {
    connection: ConnectionId,
    before: ConnectionId,
    identities: Vec<Identity>,
}

impl World {
    pub fn new(rules: Rules) -> World {
        World::with(rules, Box::new(NoPlugins))
    }

    pub fn with(rules: Rules, plugins: Box<dyn Plugins>) -> World {
        let state = State::new(7);
        let mut evaluator = Evaluator::new(Arc::new(rules.clone())).of(1);
        evaluator.start_chain(&state, true);
        World {
            state,
            evaluator,
            rules,
            outstanding: VecDeque::new(),
            history: Vec::new(),
            clients: BTreeMap::new(),
            plugins,
            wall_ms: 1_000_000,
            ensemble_ms: 0,
            xid: 0,
            connections: 0,
        }
    }

    /// Runs a script and compares each answer.
    #[track_caller]
    pub fn play(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (command, expected) = line.split_once(" => ").unwrap_or((line, "ok"));
            let answer = self.run(command.trim());
            assert_eq!(answer, expected.trim(), "{line}");
        }
    }

    pub fn run(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let client = words.get(1).and_then(|word| word.parse::<i64>().ok());
        match (words[0], client) {
            ("open", Some(id)) => {
                let connection = self.connect();
                let identities = vec![Identity::new("ip", "127.0.0.1")];
                self.clients.insert(id, Client { connection, before: connection, identities });
                let (session, password) = (SessionId(id), password(id));
                self.submit(Some(id), Ask::OpenSession { session, password, timeout_ms: 1000 })
            }
            ("attach", Some(id)) => {
                let connection = self.connect();
                let client = self.clients.get_mut(&id).expect("it was opened");
                client.before = std::mem::replace(&mut client.connection, connection);
                let shown = if words.len() > 2 { password(id + 1) } else { password(id) };
                let session = SessionId(id);
                self.submit(Some(id), Ask::AttachSession { session, password: Some(shown), timeout_ms: 2000 })
            }
            ("stale", Some(id)) => {
                let client = self.clients.get_mut(&id).expect("it was opened");
                std::mem::swap(&mut client.connection, &mut client.before);
                "ok".into()
            }
            ("close", Some(id)) => self.submit(Some(id), Ask::CloseSession { session: SessionId(id), expired: false }),
            ("expire", Some(id)) => self.submit(None, Ask::CloseSession { session: SessionId(id), expired: true }),
            ("auth", Some(id)) => {
                let (scheme, name) = words[2].split_once(':').expect("scheme:id");
                let client = self.clients.get_mut(&id).expect("it was opened");
                client.identities.push(Identity::new(scheme, name));
                "ok".into()
            }
            ("timer", _) => self.submit(None, Ask::Timer { plugin: words[1].into(), name: words[2].into() }),
            ("recover", _) => self.submit(None, Ask::Recover { plugin: words[1].into() }),
            ("call", _) => {
                let payload = Bytes::copy_from_slice(words[3].as_bytes());
                let ask = Ask::Call { plugin: words[1].into(), method: words[2].into(), payload };
                let answer = self.submit(Some(2), ask);
                match self.evaluator.take_reply() {
                    Some(reply) if answer == "ok" => String::from_utf8_lossy(&reply).into_owned(),
                    _ => answer,
                }
            }
            ("collect", _) => self.submit(None, Ask::Collect { path: words[1].into() }),
            ("configure", _) => {
                let servers = parse_config_text(words[1]).expect("servers");
                self.submit(None, Ask::Configure { servers })
            }
            ("reconfigures", _) => {
                self.evaluator.reconfigures(words[1] == "yes");
                "ok".into()
            }
            ("data", _) => {
                let view = View { state: &self.state, overlay: self.evaluator.overlay() };
                let node = ReadView::node(&view, words[1]).expect("a node");
                String::from_utf8_lossy(&node.data.unwrap_or_default()).replace('\n', ",")
            }
            ("stat", _) => {
                let view = View { state: &self.state, overlay: self.evaluator.overlay() };
                view.node(words[1]).map_or("none".into(), |node| {
                    let stat = node.stat();
                    let (n, len) = (stat.num_children, stat.data_length);
                    format!("v={} cv={} n={n} len={len}", node.version(), node.cversion())
                })
            }
            ("tick", _) => {
                let ms = words[1].parse::<i64>().expect("milliseconds");
                self.wall_ms += ms;
                self.ensemble_ms = self.ensemble_ms.saturating_add_signed(ms);
                "ok".into()
            }
            ("apply", _) => {
                let count = words.get(1).map_or(usize::MAX, |count| count.parse().expect("a number"));
                self.apply(count);
                self.state.check_all();
                self.evaluator.overlay().check_all();
                "ok".into()
            }
            ("drop", _) => {
                self.outstanding.clear();
                self.evaluator.start_chain(&self.state, false);
                "ok".into()
            }
            (id, _) => {
                let id = id.parse::<i64>().expect("a command or a client");
                let request = match words[1] {
                    "multi" => {
                        let operations = command.split_once("multi").expect("multi").1;
                        Request::Multi(
                            operations.split(';').map(str::trim).filter(|op| !op.is_empty()).map(operation).collect(),
                        )
                    }
                    _ => request(&words[1..]),
                };
                self.submit(Some(id), Ask::Request(request))
            }
        }
    }

    pub fn submit(&mut self, client: Option<i64>, ask: Ask) -> String {
        self.xid += 1;
        let caller = client.map(|id| {
            let client = self.clients.get(&id).expect("it was opened");
            Caller {
                session: SessionId(id),
                connection: client.connection,
                identities: client.identities.clone().into(),
                address: Ipv4Addr::LOCALHOST.into(),
                port: 1,
                local: false,
            }
        });
        let moment = Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms, seed: 0 };
        let submission = Submission { caller, xid: self.xid, ask };
        match self.evaluator.evaluate(&self.state, &submission, moment, &mut *self.plugins) {
            Evaluation::Close => "close".into(),
            Evaluation::Nothing => "nothing".into(),
            Evaluation::Transfer(to) => format!("to {to}"),
            Evaluation::Reconfigure(servers) => {
                let servers = servers.iter().map(|server| format!("{}={}", server.id, server));
                servers.collect::<Vec<_>>().join(" ")
            }
            Evaluation::Txn(txn) => {
                let answer = answer(&txn);
                self.history.push(txn.clone());
                self.outstanding.push_back(txn);
                answer
            }
        }
    }

    pub fn apply(&mut self, count: usize) {
        let mut applied = Effects::default();
        for _ in 0..count {
            let Some(txn) = self.outstanding.pop_front() else { break };
            applied.clear();
            self.state.apply(&txn, &mut applied);
            if let Outcome::Done(slots) = &txn.outcome {
                assert_eq!(slots.len(), applied.slots.len(), "{txn:?}");
            }
        }
        self.evaluator.committed(self.state.last_zxid());
    }

    fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId { member: 1, run: 1, number: self.connections }
    }
}

fn password(id: i64) -> Password {
    Password([id as u8; 16])
}

fn answer(txn: &Txn) -> String {
    let slot = |slot: &Slot| match slot {
        Slot::Nothing => "ok".to_owned(),
        Slot::Path(path) => format!("at {path}"),
        Slot::Change(index) => match &txn.changes[*index as usize] {
            Change::Create { path, owner, .. } => match owner.kind() {
                crate::model::NodeKind::Container => format!("{path} container"),
                crate::model::NodeKind::Ttl(ms) => format!("{path} ttl {ms}"),
                _ => path.to_string(),
            },
            Change::SetData { version, .. } => format!("v{version}"),
            Change::SetAcl { aversion, .. } => format!("a{aversion}"),
            other => panic!("no slot speaks of {other:?}"),
        },
    };
    match &txn.outcome {
        Outcome::Done(slots) if slots.is_empty() => "done".into(),
        Outcome::Done(slots) => slots.iter().map(slot).collect::<Vec<_>>().join(" ; "),
        Outcome::Refused(refusal) => refusal.code.name().to_owned(),
        Outcome::MultiRefused { failed, operations, refusal } => {
            format!("{} at {failed} of {operations}", refusal.code.name())
        }
    }
}

fn path(word: &str) -> Option<String> {
    match word {
        "null" => None,
        "empty" => Some(String::new()),
        path => Some(path.replace("\\0", "\0")),
    }
}

fn operation(text: &str) -> Operation {
    let words: Vec<&str> = text.split_whitespace().collect();
    let request = request(&words);
    let op = match &request {
        Request::Create(create) => match create.form {
            CreateForm::Create => op::CREATE,
            CreateForm::Create2 => op::CREATE2,
            CreateForm::Container => op::CREATE_CONTAINER,
            CreateForm::Ttl => op::CREATE_TTL,
            CreateForm::IfNotExists => op::CREATE_IF_NOT_EXISTS,
        },
        Request::Delete { .. } => op::DELETE,
        Request::SetData { .. } => op::SET_DATA,
        Request::Check { .. } => op::CHECK,
        Request::CheckNotExists { .. } => op::CHECK_NOT_EXISTS,
        _ => op::ERROR,
    };
    Operation { op, request }
}

fn request(words: &[&str]) -> Request {
    let version = |at: usize| words.get(at).map_or(-1, |word| word.parse().expect("a version"));
    let path = path(words.get(1).copied().unwrap_or("null"));
    match words[0] {
        "create" => {
            let mut create = Create {
                form: CreateForm::Create,
                path,
                data: Some(Bytes::new()),
                acl: Some(vec![AclEntry { permissions: ALL, who: Identity::new("world", "anyone") }]),
                flags: 0,
                ttl_ms: 0,
            };
            for (key, value) in words[2..].iter().map(|word| word.split_once('=').expect("key=value")) {
                match key {
                    "flags" => create.flags = value.parse().expect("flags"),
                    "data" => create.data = data(value),
                    "acl" => create.acl = acl(value),
                    "ttl" => create.ttl_ms = value.parse().expect("milliseconds"),
                    "form" => {
                        create.form = match value {
                            "create2" => CreateForm::Create2,
                            "container" => CreateForm::Container,
                            "ttl" => CreateForm::Ttl,
                            "maybe" => CreateForm::IfNotExists,
                            other => panic!("no form {other}"),
                        }
                    }
                    other => panic!("no key {other}"),
                }
            }
            Request::Create(create)
        }
        "delete" => Request::Delete { path, version: version(2) },
        "set" => Request::SetData { path, data: data(words[2]), version: version(3) },
        "acl" => Request::SetAcl { path, acl: acl(words[2]), version: version(3) },
        "check" => Request::Check { path, version: version(2) },
        "absent" => Request::CheckNotExists { path, version: version(2) },
        "reap" => Request::DeleteContainer { path },
        "reconfig" => {
            let value = |key: &str| words.iter().find_map(|word| Some(word.strip_prefix(key)?.to_owned()));
            let config_id = value("from=").map_or(-1, |hex| i64::from_str_radix(&hex, 16).expect("a version"));
            Request::Reconfig {
                joining: value("join="),
                leaving: value("leave="),
                new_members: value("all="),
                config_id,
            }
        }
        "ping" => Request::Ping,
        other => panic!("no request {other}"),
    }
}

fn data(word: &str) -> Option<Bytes> {
    (word != "null").then(|| Bytes::copy_from_slice(word.as_bytes()))
}

/// `31:world:anyone,1:digest:a:h`; `empty`; `null`
fn acl(word: &str) -> Option<Vec<AclEntry>> {
    match word {
        "null" => None,
        "empty" => Some(Vec::new()),
        list => Some(
            list.split(',')
                .map(|entry| {
                    let mut parts = entry.splitn(3, ':');
                    let permissions = parts.next().and_then(|part| part.parse().ok()).expect("permissions");
                    let scheme = parts.next().expect("a scheme");
                    AclEntry { permissions, who: Identity::new(scheme, parts.next().unwrap_or("")) }
                })
                .collect(),
        ),
    }
}

#[test]
fn the_first_leadership_has_epoch_0_and_each_later_one_the_next() {
    let mut world = World::new(rules());
    world.play("open 1\napply");
    assert_eq!(world.history[0].zxid, Zxid::new(0, 1));
    world.evaluator.start_chain(&world.state, true);
    world.run("1 create /a");
    assert_eq!(world.history[1].zxid, Zxid::new(1, 1));
}

#[test]
fn a_full_counter_opens_the_next_epoch() {
    let mut world = World::new(rules());
    let near_end = Zxid::new(3, u32::MAX - 1000);
    let filler = Txn {
        zxid: near_end,
        wall_ms: 0,
        ensemble_ms: 0,
        origin: None,
        outcome: Outcome::Done(vec![]),
        changes: vec![],
        made_by: Vec::new(),
    };
    world.state.apply(&filler, &mut Effects::default());
    world.evaluator.start_chain(&world.state, false);
    world.play("open 1");
    let mut last = world.history[0].zxid;
    assert_eq!(last, Zxid::new(3, u32::MAX - 999));
    for index in 0..2000 {
        world.run(&format!("1 create /n{index}"));
        if index % 7 == 0 {
            world.apply(usize::MAX);
        }
        let zxid = world.history.last().expect("a transaction").zxid;
        assert!(zxid > last && zxid == last.next());
        last = zxid;
    }
    world.play("apply\n stat / => v=0 cv=2000 n=2001 len=0");
    assert_eq!(world.state.last_zxid(), last);
    assert_eq!(last.epoch(), 4);
}
