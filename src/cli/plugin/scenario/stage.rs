//! A server in memory, and the commands of a scenario that drive it: the evaluator, the tree, the watches and the plugins
//! of the server, with clocks and sessions that do what the scenario says.
//!
//! A write is evaluated at once and applied at once, unless the scenario holds transactions back (`hold`): then they are
//! outstanding until `apply`, and `leader change` finds them so. As on a server, events leave before the reply to the
//! write that caused them.

use super::models::{self, Record};
use super::requests::{self, Asked};
use super::script::{Word, words};
use super::show;
use crate::cli::plugin::deploy;
use crate::limits;
use crate::model::chores;
use crate::model::control_plane::{QUARANTINE, REJECTION};
use crate::model::txn::{Outcome, Txn};
use crate::model::{ConnectionId, ErrorCode, Identity, Password, Refusal, SessionId, acl, path};
use crate::pipeline::authorize::Who;
use crate::pipeline::read::{self, Reader, Scratch, VirtualNodes};
use crate::pipeline::{
    Ask, Call, Caller, Evaluation, Evaluator, Moment, ProvenSchemes, Rules, Schemes as _, Submission, view,
};
use crate::plugin::manifest::{self, Manifest, Mode};
use crate::plugin::quarantine::Quarantine;
use crate::plugin::{Judge, MODULES, PLUGINS, Plugins, audit, check_deployment};
use crate::session::auth;
use crate::session::judgement::{self, Rulings};
use crate::session::rejection::Refusals;
use crate::state::{Effects, State};
use crate::watch::{PersistentMode, Watches};
use crate::wire::request::{Create, CreateForm, Operation, Request, op};
use bytes::Bytes;
use clap::Parser;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// 2026-01-01T00:00:00Z
const BEGIN_WALL_MS: i64 = 1_767_225_600_000;

/// Of session ids and passwords: the first client's is this, the next one more.
const FIRST_SESSION: i64 = 0x1_0000_0001;

pub struct Stage {
    state: State,
    evaluator: Evaluator,
    rules: Arc<Rules>,
    plugins: Arc<Plugins>,
    judge: Judge,
    watches: Watches,
    clients: BTreeMap<String, Client>,
    /// Evaluated and not applied, in order.
    outstanding: VecDeque<Outstanding>,
    holding: bool,
    /// Another leader has begun, and nothing is applied since.
    new_leader: bool,
    history: Option<Vec<Happened>>,
    /// As clients saw it.
    record: Option<Record>,
    wall_ms: i64,
    ensemble_ms: u64,
    /// Of `Moment::seed`: another for each transaction.
    seed: u64,
    xid: i32,
    /// What `$component` stands for.
    component: Option<String>,
    /// Kept for its buffers.
    applied: Effects,
    /// What the native call at hand has returned.
    reply: Option<Bytes>,
    /// The last line of each plugin's log that was printed.
    log_shown: BTreeMap<String, u64>,
    said: Vec<String>,
}

struct Client {
    session: SessionId,
    connection: ConnectionId,
    open: bool,
    identities: Vec<Identity>,
    /// Those that an authenticator has proven, and until when, Unix milliseconds.
    ends: Vec<(Identity, u64)>,
    address: IpAddr,
    /// The last write, for `retry`.
    last: Option<Request>,
    refusals: Refusals,
}

struct Outstanding {
    /// The client it answers.
    who: Option<String>,
    given: Given,
    txn: Txn,
}

/// What a transaction was made from.
struct Given {
    submission: Submission,
    /// Of a deployment that did not pass.
    refusal: Option<Refusal>,
    moment: Moment,
}

/// What was applied, in order, to be evaluated again one by one.
struct Happened {
    given: Given,
    /// Another leader had begun since the one before.
    new_leader: bool,
    txn: Txn,
}

/// A line `deploy ...`: the command line's own.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct DeployLine {
    #[command(flatten)]
    deploy: deploy::Deploy,
}

impl Stage {
    /// `plugins` may have served another stage before.
    pub fn new(plugins: Arc<Plugins>, component: Option<String>) -> Stage {
        let rules = Rules {
            skip_acl: false,
            extended_types: true,
            enforce_quota: true,
            reconfig: false,
            container_never_used_ms: 0,
            deploy_by_anyone: false,
            sasl_scheme_enabled: false,
            x509_scheme_enabled: true,
            schemes: ProvenSchemes::new(plugins.clone()),
        };
        let rules = Arc::new(rules);
        let state = State::new(7);
        // What another stage bound is forgotten, its compiled components are not.
        plugins.start_over(&state);
        let mut evaluator = Evaluator::new(rules.clone()).of(1);
        evaluator.start_chain(&state, true);
        Stage {
            judge: plugins.judge(),
            watches: Watches::new(7),
            clients: BTreeMap::new(),
            outstanding: VecDeque::new(),
            holding: false,
            new_leader: false,
            history: None,
            record: None,
            wall_ms: BEGIN_WALL_MS,
            ensemble_ms: 0,
            seed: 0,
            xid: 0,
            component,
            applied: Effects::default(),
            reply: None,
            log_shown: BTreeMap::new(),
            said: Vec::new(),
            state,
            evaluator,
            rules,
            plugins,
        }
    }

    /// Runs a command; the lines that it prints. The error says what is wrong with the command.
    pub fn run(&mut self, command: &str) -> Result<Vec<String>, String> {
        let words = words(command)?;
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["client", name, ..] if name.ends_with(':') => {
                let name = name.trim_end_matches(':').to_owned();
                self.client(&name, &words[2..])?;
            }
            ["deploy", ..] => self.deploy_line(&words[1..])?,
            ["mode", name, mode] => self.set_mode(name, mode)?,
            ["remove", name] => self.remove(name)?,
            ["quarantine", name] => self.quarantine(name)?,
            ["release", name] => {
                let path = Some(quarantine_of(name));
                self.operate(Some(name), Request::Delete { path, version: -1 })?;
            }
            ["expire", name] => {
                let session = self.clients.get(*name).ok_or("there is no such client")?.session;
                self.submit(None, Ask::CloseSession { session, expired: true });
                self.client_gone(name);
            }
            ["tick", ms] => {
                let ms: u32 = ms.parse().map_err(|_| "tick: milliseconds are required")?;
                self.wall_ms += i64::from(ms);
                self.ensemble_ms += u64::from(ms);
            }
            ["time", time] => {
                self.wall_ms = unix_ms(time).ok_or("time: a time such as 2026-01-31T09:30:00Z is required")?;
            }
            ["call", plugin, method] => self.call(plugin, method, ""),
            ["call", plugin, method, payload] => self.call(plugin, method, payload),
            ["collect"] => {
                for path in self.state.collectable(self.wall_ms, self.rules.container_never_used_ms, usize::MAX) {
                    self.submit(None, Ask::Collect { path });
                }
            }
            ["hold"] => self.holding = true,
            ["apply"] => {
                self.holding = false;
                self.apply_outstanding();
            }
            ["leader", "change"] => self.leader_change(),
            ["leader", "lost"] => self.leader_lost(),
            ["tree", path] => self.tree(path)?,
            ["counters", name] => self.counters(name)?,
            ["log", name] => self.log(name)?,
            ["audit", name] => self.audit(name)?,
            [other, ..] => return Err(format!("{other}: not a command; see plugins/TESTING.md")),
            [] => {}
        }
        self.do_chores();
        Ok(std::mem::take(&mut self.said))
    }

    /// What recipes have to do without being asked: timers that are due, mounts to be put in order. While transactions are
    /// held back, each is asked for once.
    fn do_chores(&mut self) {
        /// Chores that make more chores at once are a recipe's mistake, and must not go on for ever.
        const ROUNDS_MAX: usize = 1000;
        for _ in 0..ROUNDS_MAX {
            let due = self.due_chores();
            let (before, outstanding) = (self.state.last_zxid(), self.outstanding.len());
            for ask in due {
                self.submit(None, ask);
            }
            let nothing_came_of_it = self.state.last_zxid() == before && self.outstanding.len() == outstanding;
            if nothing_came_of_it || self.holding {
                break;
            }
        }
    }

    fn due_chores(&self) -> Vec<Ask> {
        let mut due = Vec::new();
        let registry = self.plugins.registry();
        let called = |plugin: &str| registry.named(plugin).is_some_and(|binding| binding.is_called());
        for (plugin, work) in self.state.chores().iter().filter(|(plugin, _)| called(plugin)) {
            match work.owed() {
                Some(due_ms) if due_ms <= self.ensemble_ms => due.push(Ask::Recover { plugin: plugin.to_owned() }),
                // Timers wait until the mount is in order.
                Some(_) => {}
                None => {
                    let timers = work.timers().take_while(|(due_ms, _)| *due_ms <= self.ensemble_ms);
                    let names = timers.filter_map(|(_, name)| chores::unescape(name));
                    due.extend(names.map(|name| Ask::Timer { plugin: plugin.to_owned(), name }));
                }
            }
        }
        due
    }

    fn say(&mut self, who: &str, what: &str) {
        self.said.push(format!("{who} <- {what}"));
    }

    fn client(&mut self, name: &str, words: &[Word]) -> Result<(), String> {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        self.client_known(name);
        self.end_identities(name);
        match texts.as_slice() {
            ["from", address] => {
                let address: IpAddr = address.parse().map_err(|_| "from: an IP address is required")?;
                let client = self.known(name);
                client.identities.retain(|identity| identity.scheme != "ip");
                client.identities.push(Identity::new("ip", address.to_string()));
                client.address = address;
            }
            ["is", identity] => {
                let (scheme, id) = identity.split_once(':').unwrap_or((identity, ""));
                self.known(name).identities.push(Identity::new(scheme, id));
            }
            ["addauth", scheme, credential] => {
                self.ensure_open(name);
                self.add_auth(name, scheme, credential);
            }
            ["open"] => self.ensure_open(name),
            ["close"] => {
                let session = self.known(name).session;
                self.submit(Some(name), Ask::CloseSession { session, expired: false });
                self.client_gone(name);
            }
            ["retry"] => {
                self.ensure_open(name);
                let request = self.known(name).last.clone().ok_or("retry: the client has written nothing")?;
                self.submit(Some(name), Ask::Request(request));
            }
            [] => return Err("a request is required".into()),
            _ => {
                self.ensure_open(name);
                let asked = requests::parse(words)?;
                match &asked.request {
                    Request::Create(_)
                    | Request::Delete { .. }
                    | Request::SetData { .. }
                    | Request::SetAcl { .. }
                    | Request::Check { .. }
                    | Request::Multi(_) => {
                        self.known(name).last = Some(asked.request.clone());
                        self.submit(Some(name), Ask::Request(asked.request));
                    }
                    Request::AddWatch { path: Some(path), mode } => {
                        let mode = PersistentMode::from_wire(*mode).unwrap_or(PersistentMode::Persistent);
                        let connection = self.known(name).connection;
                        let denied = self.judge(name, &asked.request).into_iter().flatten().next();
                        match denied {
                            Some(refusal) => self.refuse(name, &refusal),
                            None => {
                                self.watches.add(path, mode, connection);
                                self.say(name, "ok");
                            }
                        }
                    }
                    _ => self.read(name, &asked),
                }
            }
        }
        Ok(())
    }

    fn client_known(&mut self, name: &str) {
        if self.clients.contains_key(name) {
            return;
        }
        let (session, connection) = self.next_session();
        let client = Client {
            session,
            connection,
            open: false,
            identities: vec![Identity::new("ip", "127.0.0.1")],
            ends: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            last: None,
            refusals: Refusals::default(),
        };
        self.clients.insert(name.to_owned(), client);
    }

    fn known(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).expect("client_known came first")
    }

    /// A client's first command opens its session; one that was ended or expired comes back with a new one.
    fn ensure_open(&mut self, name: &str) {
        if self.known(name).open {
            return;
        }
        let client = self.known(name);
        client.open = true;
        let (session, password) = (client.session, Password([0; 16]));
        self.submit(Some(name), Ask::OpenSession { session, password, timeout_ms: 10_000 });
    }

    /// Its session is over, its watches with it.
    fn client_gone(&mut self, name: &str) {
        let (session, connection) = self.next_session();
        let client = self.clients.get_mut(name).expect("its session was ended");
        self.watches.drop_connection(client.connection);
        client.open = false;
        (client.session, client.connection) = (session, connection);
    }

    /// Of a client that opens one, for the first time or again: nobody else has or had it.
    fn next_session(&self) -> (SessionId, ConnectionId) {
        let sessions = self.clients.values().map(|client| client.session.0);
        let connections = self.clients.values().map(|client| client.connection.number);
        let session = SessionId(sessions.max().map_or(FIRST_SESSION, |last| last + 1));
        (session, ConnectionId { member: 1, run: 1, number: connections.max().unwrap_or(0) + 1 })
    }

    fn caller(&self, name: &str) -> Caller {
        let client = &self.clients[name];
        Caller {
            session: client.session,
            connection: client.connection,
            identities: client.identities.clone().into(),
            address: client.address,
            port: 40_000,
            local: false,
        }
    }

    fn moment(&mut self) -> Moment {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms, seed: self.seed }
    }

    /// Evaluates, and applies unless transactions are held back. `who`: the client that asks; none: the server itself.
    fn submit(&mut self, who: Option<&str>, ask: Ask) {
        self.xid += 1;
        let caller = who.map(|name| self.caller(name));
        let (asked, session) = match (&ask, &caller) {
            (Ask::Request(request), Some(caller)) => (Some(models::Asked::Request(request.clone())), caller.session),
            (Ask::CloseSession { session, expired }, _) => (Some(models::Asked::End { expired: *expired }), *session),
            _ => (None, SessionId::NONE),
        };
        if let (Some(asked), Some(record)) = (asked, &mut self.record) {
            record.asks(self.xid, &session_name(&self.clients, session), session, asked, self.ensemble_ms);
        }
        let submission = Submission { caller, xid: self.xid, ask };
        self.evaluate(who.map(String::from), submission, None);
    }

    fn evaluate(&mut self, who: Option<String>, submission: Submission, refusal: Option<Refusal>) {
        let moment = self.moment();
        let evaluation = match &refusal {
            Some(refusal) => self.evaluator.refuse(&self.state, &submission, moment, refusal),
            None => self.evaluator.evaluate(&self.state, &submission, moment, &mut self.judge),
        };
        match evaluation {
            Evaluation::Txn(txn) => {
                let given = Given { submission, refusal, moment };
                self.outstanding.push_back(Outstanding { who, given, txn });
                if !self.holding {
                    self.apply_outstanding();
                }
            }
            Evaluation::Close => self.say(who.as_deref().unwrap_or("server"), "connection closed"),
            Evaluation::Nothing => {}
            Evaluation::Transfer(_) | Evaluation::Reconfigure(_) => {
                self.say(who.as_deref().unwrap_or("server"), "a scenario has no other members");
            }
        }
    }

    /// Another stage has used the plugins meanwhile: they are bound as this one's tree says.
    pub fn bind_again(&self) {
        self.plugins.start_over(&State::new(7));
        self.plugins.refresh(&self.state);
    }

    /// How many transactions are evaluated and not applied.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Applies the oldest outstanding transaction; the lines that it prints. None: there is none.
    pub fn apply_one(&mut self) -> Option<Vec<String>> {
        let next = self.outstanding.pop_front()?;
        self.apply(next);
        self.do_chores();
        Some(std::mem::take(&mut self.said))
    }

    pub fn is_open(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| client.open)
    }

    pub fn has_written(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| client.last.is_some())
    }

    /// Paths of all nodes but the server's own, or of those that the client's session owns, in order.
    pub fn paths(&self, owner: Option<&str>) -> Vec<String> {
        match owner.map(|name| self.clients.get(name)) {
            Some(Some(client)) => self.state.ephemerals(client.session).map(|path| path.to_string()).collect(),
            Some(None) => Vec::new(),
            None => {
                let mut paths = Vec::new();
                self.each_below("/", &mut |path, _| paths.push(path.to_owned()));
                paths
            }
        }
    }

    fn apply_outstanding(&mut self) {
        while let Some(next) = self.outstanding.pop_front() {
            self.apply(next);
        }
    }

    fn apply(&mut self, next: Outstanding) {
        let Outstanding { who, given, txn } = next;
        let submission = &given.submission;
        let mut applied = std::mem::take(&mut self.applied);
        self.state.apply(&txn, &mut applied);
        self.tell_events(&applied);
        if let (Ask::CloseSession { .. }, Some(record)) = (&submission.ask, &mut self.record) {
            record.answers(submission.xid, "ok", self.ensemble_ms);
        }
        if let Some(who) = &who {
            let request = match &submission.ask {
                Ask::Request(request) => Some(request),
                _ => None,
            };
            if let (Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. }, Some(client)) =
                (&txn.outcome, self.clients.get_mut(who))
            {
                client.refusals.note(submission.xid, refusal);
            }
            // That a session opens is nothing a scenario is about.
            if !matches!(submission.ask, Ask::OpenSession { .. }) {
                let mut text = show::written(request, &txn, &applied.slots);
                if let (Ask::Call { .. }, Outcome::Done(_)) = (&submission.ask, &txn.outcome) {
                    let reply = self.reply.take().unwrap_or_default();
                    text = format!("ok {}", show::data(Some(&reply)));
                }
                if let Some(record) = &mut self.record {
                    record.answers(submission.xid, &text, self.ensemble_ms);
                }
                self.say(who, &text);
            }
            let session = submission.caller.as_ref().map(|caller| caller.session);
            let expired =
                matches!(&txn.outcome, Outcome::Refused(refusal) if refusal.code == ErrorCode::SessionExpired);
            if expired && self.clients.get(who).map(|client| client.session) == session {
                self.client_gone(who);
            }
        }
        self.applied = applied;
        if check_deployment::touches(&txn) {
            self.plugins.refresh(&self.state);
        }
        self.evaluator.committed(self.state.last_zxid());
        if let Some(history) = &mut self.history {
            history.push(Happened { given, new_leader: std::mem::take(&mut self.new_leader), txn });
        }
    }

    /// From now on, all that is applied is kept for `one_by_one`, and what clients ask and are answered for `models`: to be
    /// called before the first command.
    pub fn keep_history(&mut self) {
        self.history = Some(Vec::new());
        self.record = Some(Record::default());
    }

    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Evaluates what has been applied once more, each transaction alone on what the ones before it have left. All must come
    /// out as they did when others were outstanding and leaders changed: so each took effect at one moment, which lies
    /// between its request and its reply (they are linearizable), and what was lost has left nothing. The error names the
    /// first that did not. Takes the plugins over.
    pub fn one_by_one(&self) -> Result<(), String> {
        let mut state = State::new(7);
        self.plugins.start_over(&state);
        let mut judge = self.plugins.judge();
        let mut evaluator = Evaluator::new(self.rules.clone()).of(1);
        evaluator.start_chain(&state, true);
        let mut applied = Effects::default();
        for Happened { given, new_leader, txn } in self.history.iter().flatten() {
            if *new_leader {
                evaluator.start_chain(&state, true);
            }
            let Given { submission, refusal, moment } = given;
            let again = match refusal {
                Some(refusal) => evaluator.refuse(&state, submission, *moment, refusal),
                None => evaluator.evaluate(&state, submission, *moment, &mut judge),
            };
            match again {
                Evaluation::Txn(alone) if (&alone.outcome, &alone.changes) == (&txn.outcome, &txn.changes) => {
                    state.apply(&alone, &mut applied);
                    if check_deployment::touches(&alone) {
                        self.plugins.refresh(&state);
                    }
                }
                alone => {
                    return Err(format!("0x{:x} is {txn:?}, and evaluated alone {alone:?}", txn.zxid.0));
                }
            }
        }
        Ok(())
    }

    /// In the order of the names of those who hear, since whoever watches first means nothing.
    fn tell_events(&mut self, applied: &Effects) {
        for event in &applied.events {
            let mut due = Vec::new();
            self.watches.trigger(event, &mut |connection, kind, path| {
                let client = self.clients.iter().find(|(_, client)| client.connection == connection);
                if let Some((name, client)) = client
                    && auth::may_hear(
                        &self.rules,
                        &event.acl,
                        Who { identities: &client.identities, session: client.session },
                    )
                {
                    due.push((name.clone(), kind, path.to_owned()));
                }
            });
            let mut heard = Vec::new();
            for (name, kind, path) in due {
                let (caller, moment) = (self.caller(&name), self.moment());
                let view = view::AppliedTree(&self.state);
                let call = Call::looking(&view, Some(&caller), 0, self.state.last_zxid(), moment);
                let (registry, enabled) = (self.plugins.registry(), self.plugins.enabled());
                if registry.authorize(enabled, &call, judgement::verb_of(kind), &path).said.is_ok() {
                    heard.push(format!("{name} <- event {} {path}", show::event(kind)));
                }
            }
            heard.sort_unstable();
            self.said.extend(heard);
        }
    }

    /// What policies say of a read.
    fn judge(&mut self, name: &str, request: &Request) -> Rulings {
        let (caller, moment) = (self.caller(name), self.moment());
        let view = view::AppliedTree(&self.state);
        let call = Call::looking(&view, Some(&caller), self.xid, self.state.last_zxid(), moment);
        judgement::at_once(&self.plugins, &self.rules, &self.state, request, &call)
    }

    fn refuse(&mut self, name: &str, refusal: &Refusal) {
        let xid = self.xid;
        self.known(name).refusals.note(xid, refusal);
        let text = format!("{} {}", refusal.code.name(), show::one_line(&refusal.text));
        self.say(name, text.trim_end());
    }

    fn read(&mut self, name: &str, asked: &Asked) {
        let rulings = self.judge(name, &asked.request);
        if let Some(refusal) = judgement::of_all(&rulings, &asked.request) {
            return self.refuse(name, refusal);
        }
        let client = &self.clients[name];
        let nodes = Nodes { refusals: &client.refusals, plugins: &self.plugins };
        let reader = Reader {
            state: &self.state,
            rules: &self.rules,
            identities: &client.identities,
            session: client.session,
            virtual_nodes: &nodes,
            denied: &judgement::of_operations(&rulings, &asked.request),
        };
        let mut scratch = Scratch::default();
        let result = read::read(reader, &asked.request, &mut scratch);
        let names = |session| session_name(&self.clients, session);
        let text = match &result {
            Ok(body) => show::read(body, asked.with_stat, &names),
            Err(code) => code.name().to_owned(),
        };
        let ended = result.map(|_| ());
        if let Some((kind, path)) = read::watch_to_arm(&asked.request, ended) {
            self.watches.arm(kind, path, client.connection);
        }
        if let Some(record) = &mut self.record {
            let request = models::Asked::Request(asked.request.clone());
            record.asks(0, name, client.session, request, self.ensemble_ms);
            record.answers(0, &text, self.ensemble_ms);
        }
        self.say(name, &text);
    }

    fn add_auth(&mut self, name: &str, scheme: &str, credential: &str) {
        let verdict = if self.plugins.proves(scheme) {
            let (caller, moment) = (self.caller(name), self.moment());
            let view = view::AppliedTree(&self.state);
            let call = Call::looking(&view, Some(&caller), 0, self.state.last_zxid(), moment);
            match self.plugins.authenticate(scheme, &call, credential.as_bytes()) {
                Some(proof) => {
                    let until_ms = proof.until_ms.unwrap_or(u64::MAX);
                    let ends = proof.identities.iter().map(|identity| (identity.clone(), until_ms));
                    self.known(name).ends.extend(ends);
                    auth::Added::Proven(proof.identities)
                }
                None => auth::Added::Failed,
            }
        } else {
            let client = &self.clients[name];
            let config = crate::config::Config::default().auth;
            auth::add(&config, Some(scheme), Some(credential.as_bytes()), &client.identities, client.address)
        };
        match verdict {
            auth::Added::Proven(proven) => {
                let client = self.known(name);
                for identity in proven {
                    if !client.identities.contains(&identity) {
                        client.identities.push(identity);
                    }
                }
                self.say(name, "ok");
            }
            auth::Added::Failed => self.say(name, ErrorCode::AuthFailed.name()),
        }
    }

    /// Takes away the identities whose time is over.
    fn end_identities(&mut self, name: &str) {
        let now_ms = self.wall_ms.unsigned_abs();
        let client = self.known(name);
        let Client { ends, identities, .. } = client;
        identities.retain(|identity| {
            let mut of_it = ends.iter().filter(|(ending, _)| ending == identity).peekable();
            of_it.peek().is_none() || of_it.any(|(_, until_ms)| *until_ms > now_ms)
        });
    }

    /// Outstanding writes had no effect under the leader that is gone: the new one evaluates them again, in order.
    fn leader_change(&mut self) {
        let again = std::mem::take(&mut self.outstanding);
        self.evaluator.start_chain(&self.state, true);
        self.new_leader = true;
        for Outstanding { who, given, .. } in again {
            self.evaluate(who, given.submission, given.refusal);
        }
    }

    /// As `leader_change`, but nobody knows what became of outstanding writes, and they are lost.
    fn leader_lost(&mut self) {
        let lost = std::mem::take(&mut self.outstanding);
        self.evaluator.start_chain(&self.state, true);
        self.new_leader = true;
        for Outstanding { who, given, .. } in lost {
            match (given.submission.ask, who) {
                // Nobody speaks for it any more, and so it expires.
                (Ask::CloseSession { session, .. }, _) => {
                    self.submit(None, Ask::CloseSession { session, expired: true })
                }
                (Ask::OpenSession { .. }, Some(who)) => self.client_gone(&who),
                (_, Some(who)) => self.say(&who, "connection lost"),
                (_, None) => {}
            }
        }
    }

    fn deploy_line(&mut self, words: &[Word]) -> Result<(), String> {
        let mut line = Vec::new();
        for word in words {
            line.push(match (word.text.as_str(), &self.component) {
                ("$component", Some(component)) => component.clone(),
                ("$component", None) => return Err("$component: pass --component FILE".into()),
                (text, _) => text.to_owned(),
            });
        }
        let DeployLine { deploy } = DeployLine::try_parse_from(line).map_err(|error| error.to_string())?;
        let refused = self.deploy(&deploy)?;
        self.said.extend(refused);
        Ok(())
    }

    /// Deploys as the command does; what was printed. The error says what is wrong with the command.
    pub fn deploy(&mut self, deploy: &deploy::Deploy) -> Result<Vec<String>, String> {
        let former = self.manifest(deploy.name());
        let mut prepared = deploy::prepare(deploy, former.as_ref()).map_err(|error| format!("{error:#}"))?;
        let component = &prepared.manifest.component;
        let folder = path::join(MODULES, &component.sha256);
        let mut pieces = vec![(PLUGINS.to_owned(), &[][..]), (MODULES.to_owned(), &[]), (folder, &[])];
        for (chunk, bytes) in (0u32..).zip(prepared.component.chunks(limits::CHUNK_BYTES_MAX)) {
            pieces.push((component.chunk_path(chunk), bytes));
        }
        for (path, bytes) in pieces {
            if self.state.node(&path).is_none() {
                self.operate(None, create(&path, bytes))?;
            }
        }
        prepared.manifest.version = former.as_ref().map_or(1, |former| former.version + 1);
        self.bind(&prepared.name, &prepared.manifest, former.is_some())?;
        Ok(std::mem::take(&mut self.said))
    }

    fn set_mode(&mut self, name: &str, mode: &str) -> Result<(), String> {
        let mut manifest = self.manifest(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let known = [Mode::Enforce, Mode::Audit, Mode::Off].into_iter().find(|known| known.name() == mode);
        manifest.mode = known.ok_or("enforce, audit or off is required")?;
        manifest.version += 1;
        self.bind(name, &manifest, true)
    }

    fn remove(&mut self, name: &str) -> Result<(), String> {
        let path = Some(path::join(PLUGINS, name));
        self.operate(Some(name), Request::Delete { path, version: -1 })
    }

    /// As members do whose calls of it have failed too often.
    fn quarantine(&mut self, name: &str) -> Result<(), String> {
        let version = self.manifest(name).ok_or_else(|| format!("there is no plugin {name}"))?.version;
        let data = Quarantine::now(version, "the scenario says so".into()).data();
        self.operate(Some(name), create(&quarantine_of(name), &data))
    }

    fn manifest(&self, name: &str) -> Option<Manifest> {
        let node = self.state.node(&path::join(PLUGINS, name))?;
        manifest::parse(node.data().unwrap_or_default()).ok()
    }

    fn bind(&mut self, name: &str, manifest: &Manifest, known: bool) -> Result<(), String> {
        let data = serde_json::to_vec(manifest).map_err(|error| error.to_string())?;
        let path = path::join(PLUGINS, name);
        let (op, request) = match known {
            true => (op::SET_DATA, Request::SetData { path: Some(path), data: Some(data.into()), version: -1 }),
            false => (op::CREATE, create(&path, &data)),
        };
        self.operate(Some(name), Request::Multi(vec![Operation { op, request }]))
    }

    /// A write of the operator's. `about`: the plugin whose deployment it is; a refusal is printed as its answer.
    fn operate(&mut self, about: Option<&str>, request: Request) -> Result<(), String> {
        let refusal = check_deployment::concerns(&request)
            .then(|| check_deployment::prepare(&self.plugins, &request, &self.state).err());
        self.xid += 1;
        let submission = Submission { caller: Some(operator()), xid: self.xid, ask: Ask::Request(request) };
        let refused = refusal.flatten();
        if let (Some(name), Some(refusal)) = (about, &refused) {
            self.say(name, &show::one_line(&refusal.text));
        }
        let held = std::mem::replace(&mut self.holding, false);
        self.apply_outstanding();
        self.evaluate(None, submission, refused);
        self.holding = held;
        Ok(())
    }

    /// A native call, by the superuser.
    fn call(&mut self, plugin: &str, method: &str, payload: &str) {
        let held = std::mem::replace(&mut self.holding, true);
        let ask = Ask::Call {
            plugin: plugin.to_owned(),
            method: method.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        self.xid += 1;
        let submission = Submission { caller: Some(operator()), xid: self.xid, ask };
        self.evaluate(Some(plugin.to_owned()), submission, None);
        self.reply = self.evaluator.take_reply();
        self.holding = held;
        if !held {
            self.apply_outstanding();
        }
    }

    fn tree(&mut self, root: &str) -> Result<(), String> {
        let mut lines = Vec::new();
        self.each_below(root, &mut |path, node| {
            let kind = show::kind(node.owner(), &|session| session_name(&self.clients, session));
            let data = match node.data() {
                Some([]) => String::new(),
                data => format!(" {}", show::data(data)),
            };
            lines.push(format!("tree <- {path}{}{data}", kind.map_or_else(String::new, |kind| format!(" ({kind})"))));
        });
        if lines.is_empty() {
            lines.push("tree <- nothing".into());
        }
        self.said.extend(lines);
        Ok(())
    }

    /// Visits that node and all below it, in the order of their paths.
    pub fn each_below(&self, root: &str, visit: &mut dyn FnMut(&str, crate::state::Node<'_>)) {
        let Some(node) = self.state.node(root) else { return };
        visit(root, node);
        let mut names: Vec<&str> = node.children().collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| root != "/" || *name != "zookeeper") {
            self.each_below(&path::join(root, name), visit);
        }
    }

    /// What the plugin has said since this was last asked.
    fn log(&mut self, name: &str) -> Result<(), String> {
        let last = self.log_shown.get(name).copied().unwrap_or(0);
        let registry = self.plugins.registry();
        let binding = registry.named(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        for line in binding.counters.log.behind(last) {
            self.said.push(format!("{name} <- {} {}", line.level.name(), show::one_line(&line.text)));
            self.log_shown.insert(name.to_owned(), line.number);
        }
        Ok(())
    }

    /// What a validator says of the nodes that are there.
    fn audit(&mut self, name: &str) -> Result<(), String> {
        let registry = self.plugins.registry();
        let binding = registry.named(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let (mut behind, mut asked) = (None, 0);
        loop {
            let slice = audit::slice(binding, true, &self.state, behind.as_deref());
            if let Some(error) = slice.error {
                return Err(error);
            }
            asked += slice.asked;
            self.said.extend(
                slice.refused.iter().map(|one| format!("{name} <- {} {}", one.path, show::one_line(&one.text))),
            );
            behind = slice.next;
            if behind.is_none() {
                break;
            }
        }
        self.say(name, &format!("asked about {asked} nodes"));
        Ok(())
    }

    fn counters(&mut self, name: &str) -> Result<(), String> {
        let json = self.plugins.counters_json(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let counters: serde_json::Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let mut texts = Vec::new();
        for key in ["calls", "refusals", "would_refuse", "let_pass"] {
            if let Some(count) = counters[key].as_u64().filter(|count| *count > 0) {
                texts.push(format!("{key} {count}"));
            }
        }
        for (class, count) in counters["faults"].as_object().into_iter().flatten() {
            if count.as_u64() != Some(0) {
                texts.push(format!("fault {class} {count}"));
            }
        }
        let text = if texts.is_empty() { "nothing".into() } else { texts.join(", ") };
        self.say(name, &text);
        Ok(())
    }
}

/// Who deploys, and calls recipes.
fn operator() -> Caller {
    Caller {
        session: SessionId::NONE,
        connection: ConnectionId { member: 1, run: 0, number: 0 },
        identities: Arc::from([auth::superuser()]),
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        local: true,
    }
}

fn create(path: &str, data: &[u8]) -> Request {
    let data = Some(Bytes::copy_from_slice(data));
    let list = Some(acl::open_unsafe().to_vec());
    Request::Create(Create { form: CreateForm::Create, path: Some(path.into()), data, acl: list, flags: 0, ttl_ms: 0 })
}

fn quarantine_of(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/{QUARANTINE}")
}

fn session_name(clients: &BTreeMap<String, Client>, session: SessionId) -> String {
    let name = clients.iter().find(|(_, client)| client.session == session).map(|(name, _)| name.clone());
    name.unwrap_or_else(|| session.to_string())
}

/// `2026-01-31T09:30:00Z` in Unix milliseconds.
fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, separator| -> Option<Vec<i64>> { text.split(separator).map(|part| part.parse().ok()).collect() };
    let (&[year, month, day], &[hour, minute, second]) = (&numbers(date, '-')?[..], &numbers(time, ':')?[..]) else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970-03-01 shifted, years beginning in March: the leap day is then the last of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// The nodes under `/zookeeper/` that are no nodes.
struct Nodes<'a> {
    refusals: &'a Refusals,
    plugins: &'a Plugins,
}

impl VirtualNodes for Nodes<'_> {
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        match path {
            REJECTION => self.refusals.text().map(String::into_bytes),
            path => self.plugins.audited(state, path).or_else(|| self.plugins.virtual_node(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clients_share_a_session() {
        let mut stage = Stage::new(Plugins::new(true, crate::plugin::Compiler::here()), None);
        for command in ["client a: create /a ephemeral", "client a: close", "client b: create /b ephemeral"] {
            stage.run(command).unwrap();
        }
        assert_eq!(stage.run("client a: create /c ephemeral").unwrap(), ["a <- ok /c"]);
        assert_eq!(stage.run("client b: close").unwrap(), ["b <- ok"]);
        assert_eq!(stage.run("tree /").unwrap()[1..], ["tree <- /c (ephemeral of a)"]);
    }

    #[test]
    fn times() {
        assert_eq!(unix_ms("2026-01-01T00:00:00Z"), Some(BEGIN_WALL_MS));
        assert_eq!(unix_ms("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(unix_ms("2024-02-29T12:00:00Z"), Some(1_709_208_000_000));
        assert_eq!(unix_ms("2026-13-01T00:00:00Z"), None);
    }
}
