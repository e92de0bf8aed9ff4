//! What a scenario drives: one member in memory, with its clients, watches and plugins. This file has the dispatch of
//! commands, and the commands with which clients write. The other commands stand in `reads`, `operator` and `look`.
//!
//! A write is evaluated at once and applied at once, unless the scenario holds transactions back (`hold`). Then they
//! are outstanding until `apply` or `leader change`. As on a server, events leave before the reply to the write that
//! caused them.

use super::Setup;
use super::clients::{Attachment, Clients, PASSWORD};
use super::clock::unix_ms;
use super::models::{self, Record};
use super::requests;
use super::script::{Word, words};
use super::show;
use super::world::{Outstanding, World, empty_state};
use crate::model::chores;
use crate::model::ensemble::parse_config_text;
use crate::model::txn::Outcome;
use crate::model::{ErrorCode, Identity, Password, Refusal, SessionId};
use crate::pipeline::{Ask, Caller, Evaluation, ProvenSchemes, Rules, Submission};
use crate::plugin::{Plugins, check_deployment};
use crate::watch::Watches;
use crate::wire::request::Request;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Stage {
    pub(super) setup: Setup,
    pub(super) world: World,
    pub(super) clients: Clients,
    pub(super) watches: Watches,
    pub(super) holding: Holding,
    /// What clients asked and were answered, if it is kept.
    pub(super) record: Option<Record>,
    /// The number of the last request.
    pub(super) xid: i32,
    /// The last line of each plugin's log that was printed.
    pub(super) log_shown: BTreeMap<String, u64>,
    /// What the command at hand prints.
    pub(super) said: Vec<String>,
}

/// What becomes of a transaction once it is evaluated.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Holding {
    /// It is applied at once.
    No,
    /// It stays outstanding. Its answer is printed when it is applied.
    Silent,
    /// It stays outstanding. Its answer is printed at once: what the client will be told once it is applied.
    Showing,
}

impl Stage {
    /// `setup.plugins` may have served another stage before.
    pub(crate) fn new(setup: Setup) -> Stage {
        // What another stage has bound is forgotten. Its compiled components are kept.
        setup.plugins.start_over(&empty_state());
        let world = World::new(rules(&setup.plugins), Box::new(setup.plugins.judge()));
        Stage {
            setup,
            world,
            clients: Clients::default(),
            watches: Watches::new(7),
            holding: Holding::No,
            record: None,
            xid: 0,
            log_shown: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Runs a command and returns the lines that it prints. The error says what is wrong with the command.
    pub(crate) fn run(&mut self, command: &str) -> Result<Vec<String>, String> {
        let words = words(command)?;
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match texts.as_slice() {
            ["client", name, ..] if name.ends_with(':') => {
                let name = name.trim_end_matches(':').to_owned();
                self.client(&name, &words[2..])?;
            }
            ["server", key, value] => self.set_rule(key, value)?,
            ["deploy", ..] => self.deploy_line(&words[1..])?,
            ["mode", name, mode] => self.set_mode(name, mode)?,
            ["remove", name] => self.remove(name)?,
            ["quarantine", name] => self.quarantine(name)?,
            ["release", name] => self.release(name)?,
            ["expire", name] => {
                let session = self.clients.get(name).ok_or("there is no such client")?.attachment.session;
                self.submit(None, Ask::CloseSession { session, expired: true });
                self.client_gone(name);
            }
            ["expire", "former", name] => {
                let session = self.former(name)?.session;
                self.submit(None, Ask::CloseSession { session, expired: true });
            }
            ["tick", ms] => {
                self.world.clock.tick(ms.parse().map_err(|_| "tick: milliseconds are required")?);
            }
            ["time", time] => {
                self.world.clock.wall_ms =
                    unix_ms(time).ok_or("time: a time such as 2026-01-31T09:30:00Z is required")?;
            }
            ["call", plugin, method] => self.call(plugin, method, ""),
            ["call", plugin, method, payload] => self.call(plugin, method, payload),
            ["collect"] => {
                let World { state, clock, rules, .. } = &self.world;
                for path in state.collectable(clock.wall_ms, rules.container_never_used_ms, usize::MAX) {
                    self.submit(None, Ask::Collect { path });
                }
            }
            ["collect", path] => {
                let collected = self.submit(None, Ask::Collect { path: (*path).into() });
                self.say("collect", if collected { "ok" } else { "nothing" });
            }
            ["configure", servers] => {
                let servers = parse_config_text(servers).map_err(|error| format!("configure: {error}"))?;
                self.submit(None, Ask::Configure { servers });
            }
            ["reconfiguring", "yes"] => self.world.evaluator.reconfigures(true),
            ["reconfiguring", "no"] => self.world.evaluator.reconfigures(false),
            ["hold"] => self.holding = Holding::Silent,
            ["hold", "showing", "answers"] => self.holding = Holding::Showing,
            ["apply"] => {
                self.holding = Holding::No;
                self.apply_outstanding();
            }
            ["apply", "all"] => self.apply_outstanding(),
            ["apply", count] => {
                let count: usize = count.parse().map_err(|_| "apply: a number or all is required")?;
                for _ in 0..count {
                    let Some(next) = self.world.apply_one() else { break };
                    self.applied(next);
                }
            }
            ["outstanding"] => self.say("outstanding", &self.world.outstanding().to_string()),
            ["leader", "change"] => self.leader_change(),
            ["leader", "lost"] => self.leader_lost(),
            ["break", "chain"] => drop(self.world.break_chain()),
            ["tree", path] => self.tree(path),
            ["view", path] => self.view(path),
            ["counters", name] => self.counters(name)?,
            ["log", name] => self.log(name)?,
            ["audit", name] => self.audit(name)?,
            [other, ..] => return Err(format!("{other}: not a command; see plugins/TESTING.md")),
            [] => {}
        }
        self.do_chores();
        #[cfg(test)]
        if texts.first() == Some(&"apply") {
            self.world.check_all();
        }
        Ok(std::mem::take(&mut self.said))
    }

    pub(super) fn say(&mut self, who: &str, what: &str) {
        self.said.push(format!("{who} <- {what}"));
    }

    /// Sets one of the server's settings. Only the first commands of a scenario may do so.
    fn set_rule(&mut self, key: &str, value: &str) -> Result<(), String> {
        if !self.world.is_new() {
            return Err("server: settings come before everything else".into());
        }
        let mut rules = (*self.world.rules).clone();
        let yes = || match value {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(format!("server {key}: yes or no is required")),
        };
        match key {
            "enforce-quota" => rules.enforce_quota = yes()?,
            "extended-types" => rules.extended_types = yes()?,
            "reconfig" => rules.reconfig = yes()?,
            "deploy-by-anyone" => rules.deploy_by_anyone = yes()?,
            "skip-acl" => rules.skip_acl = yes()?,
            "container-never-used" => {
                rules.container_never_used_ms =
                    value.parse().map_err(|_| format!("server {key}: milliseconds are required"))?;
            }
            _ => return Err(format!("server {key}: there is no such setting")),
        }
        self.world.set_rules(rules);
        Ok(())
    }

    // ---- clients

    fn client(&mut self, name: &str, words: &[Word]) -> Result<(), String> {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let now_ms = self.world.clock.wall_ms.unsigned_abs();
        let client = self.clients.of_name(name);
        client.end_identities(now_ms);
        match texts.as_slice() {
            ["from", address] => {
                let address: IpAddr = address.parse().map_err(|_| "from: an IP address is required")?;
                client.identities.retain(|identity| identity.scheme != "ip");
                client.identities.push(Identity::new("ip", address.to_string()));
                client.address = address;
            }
            ["is", identity] => {
                let (scheme, id) = identity.split_once(':').unwrap_or((identity, ""));
                client.identities.push(Identity::new(scheme, id));
            }
            ["addauth", scheme, credential] => {
                self.ensure_open(name);
                self.add_auth(name, scheme, credential);
            }
            ["open"] => self.ensure_open(name),
            ["attach"] => self.attach(name, PASSWORD),
            ["attach", "wrong", "password"] => self.attach(name, Password([1; 16])),
            ["close"] => {
                let session = client.attachment.session;
                self.submit(Some(name), Ask::CloseSession { session, expired: false });
                self.client_gone(name);
            }
            ["retry"] => {
                self.ensure_open(name);
                let last = self.clients.of_name(name).last.clone();
                let request = last.ok_or("retry: the client has written nothing")?;
                self.submit(Some(name), Ask::Request(request));
            }
            ["former", ..] => self.former_client(name, &words[1..])?,
            [] => return Err("a request is required".into()),
            _ => {
                self.ensure_open(name);
                let asked = requests::parse(words)?;
                match asked.request {
                    request if requests::is_write(&request) => {
                        self.clients.of_name(name).last = Some(request.clone());
                        self.submit(Some(name), Ask::Request(request));
                    }
                    Request::AddWatch { path: Some(ref path), mode } => {
                        self.add_watch(name, &asked.request, path, mode);
                    }
                    _ => self.read(name, &asked),
                }
            }
        }
        Ok(())
    }

    /// The client asks on the session and the connection that it had before the present ones.
    fn former_client(&mut self, name: &str, words: &[Word]) -> Result<(), String> {
        let former = self.former(name)?;
        let session = former.session;
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let (attachment, ask) = match texts.as_slice() {
            ["close"] => (former, Ask::CloseSession { session, expired: false }),
            ["attach"] => {
                let connection = self.clients.next_attachment().connection;
                let ask = Ask::AttachSession { session, password: Some(PASSWORD), timeout_ms: 20_000 };
                (Attachment { session, connection }, ask)
            }
            _ => match requests::parse(words)?.request {
                request if requests::is_write(&request) => (former, Ask::Request(request)),
                _ => return Err("former: a write, attach or close is required".into()),
            },
        };
        let caller = self.clients.of_name(name).caller_on(attachment);
        self.submit_as(Some(name), Some(caller), ask);
        Ok(())
    }

    fn former(&self, name: &str) -> Result<Attachment, String> {
        let former = self.clients.get(name).and_then(|client| client.former);
        former.ok_or_else(|| format!("{name}: the client has had no other session or connection"))
    }

    /// A client's first command opens its session. After the session has ended, the next command opens another one.
    pub(super) fn ensure_open(&mut self, name: &str) {
        let client = self.clients.of_name(name);
        if client.open {
            return;
        }
        client.open = true;
        let session = client.attachment.session;
        self.submit(Some(name), Ask::OpenSession { session, password: PASSWORD, timeout_ms: 10_000 });
    }

    /// The client takes another connection and attaches it to its session.
    fn attach(&mut self, name: &str, password: Password) {
        self.ensure_open(name);
        if let Some(connection) = self.clients.reconnect(name) {
            self.watches.drop_some(connection, usize::MAX);
        }
        let session = self.clients.of_name(name).attachment.session;
        self.submit(Some(name), Ask::AttachSession { session, password: Some(password), timeout_ms: 20_000 });
    }

    /// The client's session is over, and so are its watches.
    fn client_gone(&mut self, name: &str) {
        if let Some(connection) = self.clients.end_session(name) {
            self.watches.drop_some(connection, usize::MAX);
        }
    }

    pub(super) fn caller(&mut self, name: &str) -> Caller {
        self.clients.of_name(name).caller()
    }

    // ---- writes

    /// Evaluates, and applies unless transactions are held back. `who`: the client that asks, on its present session
    /// and connection. None: the server itself. Returns whether there was anything to do.
    pub(super) fn submit(&mut self, who: Option<&str>, ask: Ask) -> bool {
        let caller = who.map(|name| self.caller(name));
        self.submit_as(who, caller, ask)
    }

    fn submit_as(&mut self, who: Option<&str>, caller: Option<Caller>, ask: Ask) -> bool {
        self.xid += 1;
        let (asked, session) = match (&ask, &caller) {
            (Ask::Request(request), Some(caller)) => (Some(models::Asked::Request(request.clone())), caller.session),
            (Ask::CloseSession { session, expired }, _) => (Some(models::Asked::End { expired: *expired }), *session),
            _ => (None, SessionId::NONE),
        };
        if let (Some(asked), Some(record)) = (asked, &mut self.record) {
            let name = self.clients.session_name(session);
            record.asks(self.xid, &name, session, asked, self.world.clock.ensemble_ms);
        }
        let submission = Submission { caller, xid: self.xid, ask };
        self.evaluate(who.map(String::from), submission, None)
    }

    /// Returns whether there was anything to do.
    pub(super) fn evaluate(&mut self, who: Option<String>, submission: Submission, refusal: Option<Refusal>) -> bool {
        let whom = who.clone().unwrap_or_else(|| "server".into());
        match self.world.evaluate(who, submission, refusal) {
            None => match self.holding {
                Holding::No => self.apply_outstanding(),
                Holding::Silent => {}
                Holding::Showing => self.show_youngest(),
            },
            Some(Evaluation::Close) => self.say(&whom, "connection closed"),
            Some(Evaluation::Transfer(to)) => self.say(&whom, &format!("the leadership goes to {to}")),
            Some(Evaluation::Reconfigure(servers)) => {
                let servers = servers.iter().map(|server| format!("server.{}={server}", server.id));
                self.say(&whom, &format!("the members become {}", servers.collect::<Vec<_>>().join(" ")));
            }
            Some(Evaluation::SetBackClock) => self.say(&whom, "time goes back to the members' clocks"),
            Some(Evaluation::Nothing) => return false,
            Some(Evaluation::Txn(_) | Evaluation::Part(..)) => unreachable!("the world keeps transactions"),
        }
        true
    }

    fn show_youngest(&mut self) {
        let Some(youngest) = self.world.youngest() else { return };
        youngest.shown = true;
        let answer = youngest.who.clone().zip(answer(youngest, &[]));
        if let Some((who, text)) = answer {
            self.say(&who, &text);
        }
    }

    pub(super) fn apply_outstanding(&mut self) {
        while let Some(next) = self.world.apply_one() {
            self.applied(next);
        }
    }

    /// What follows once a transaction is applied: events, the answer, plugins that the transaction has bound.
    fn applied(&mut self, next: Outstanding) {
        self.tell_events();
        let now_ms = self.world.clock.ensemble_ms;
        let text = answer(&next, &self.world.applied.slots);
        let Outstanding { who, given, txn, shown, .. } = next;
        let submission = &given.submission;
        if let (Ask::CloseSession { .. }, Some(record)) = (&submission.ask, &mut self.record) {
            record.answers(submission.xid, "ok", now_ms);
        }
        if let Some(who) = &who {
            if let (Outcome::Refused(refusal) | Outcome::MultiRefused { refusal, .. }, Some(client)) =
                (&txn.outcome, self.clients.get_mut(who))
            {
                client.refusals.note(submission.xid, refusal);
            }
            if let Some(text) = text {
                if let Some(record) = &mut self.record {
                    record.answers(submission.xid, &text, now_ms);
                }
                if !shown {
                    self.say(who, &text);
                }
            }
            let session = submission.caller.as_ref().map(|caller| caller.session);
            let expired =
                matches!(&txn.outcome, Outcome::Refused(refusal) if refusal.code == ErrorCode::SessionExpired);
            // A client that shows a wrong password does not end the session.
            let is_over = expired && !matches!(submission.ask, Ask::AttachSession { .. });
            if is_over && self.clients.get(who).map(|client| client.attachment.session) == session {
                self.client_gone(who);
            }
        }
        if check_deployment::touches(&txn) {
            self.setup.plugins.refresh(&self.world.state);
        }
        self.world.keep(given, txn);
    }

    // ---- leaders

    /// Outstanding writes had no effect under the leader that is gone. The new leader evaluates them again, in order.
    fn leader_change(&mut self) {
        for Outstanding { who, given, .. } in self.world.new_leader() {
            self.evaluate(who, given.submission, given.refusal);
        }
    }

    /// As `leader_change`, but the outstanding writes are lost: their clients do not know what became of them.
    fn leader_lost(&mut self) {
        let lost: VecDeque<Outstanding> = self.world.new_leader();
        for Outstanding { who, given, .. } in lost {
            match (given.submission.ask, who) {
                // The client does not come back, so its session expires.
                (Ask::CloseSession { session, .. }, _) => {
                    self.submit(None, Ask::CloseSession { session, expired: true });
                }
                (Ask::OpenSession { .. }, Some(who)) => self.client_gone(&who),
                (_, Some(who)) => self.say(&who, "connection lost"),
                (_, None) => {}
            }
        }
    }

    /// What recipes have to do without being asked: timers that are due, mounts to be put in order. While transactions
    /// are held back, each is asked for once.
    fn do_chores(&mut self) {
        /// A recipe whose chores make more chores at once is mistaken, and must not keep the scenario from ending.
        const ROUNDS_MAX: usize = 1000;
        for _ in 0..ROUNDS_MAX {
            let due = self.due_chores();
            let (before, outstanding) = (self.world.state.last_zxid(), self.world.outstanding());
            for ask in due {
                self.submit(None, ask);
            }
            let nothing_came_of_it = self.world.state.last_zxid() == before && self.world.outstanding() == outstanding;
            if nothing_came_of_it || self.holding != Holding::No {
                break;
            }
        }
    }

    fn due_chores(&self) -> Vec<Ask> {
        let mut due = Vec::new();
        let registry = self.setup.plugins.registry();
        let called = |plugin: &str| registry.named(plugin).is_some_and(|binding| binding.is_called());
        let now_ms = self.world.clock.ensemble_ms;
        for (plugin, work) in self.world.state.chores().iter().filter(|(plugin, _)| called(plugin)) {
            match work.owed() {
                Some(due_ms) if due_ms <= now_ms => due.push(Ask::Recover { plugin: plugin.to_owned() }),
                // Timers wait until the mount is in order.
                Some(_) => {}
                None => {
                    let timers = work.timers().take_while(|(due_ms, _)| *due_ms <= now_ms);
                    let names = timers.filter_map(|(_, name)| chores::unescape(name));
                    due.extend(names.map(|name| Ask::Timer { plugin: plugin.to_owned(), name }));
                }
            }
        }
        due
    }

    // ---- for `random`

    /// Binds the plugins again as this stage's tree says, after another stage has used them.
    pub(crate) fn bind_again(&self) {
        self.setup.plugins.start_over(&empty_state());
        self.setup.plugins.refresh(&self.world.state);
    }

    /// How many transactions are evaluated and not applied.
    pub(crate) fn outstanding(&self) -> usize {
        self.world.outstanding()
    }

    /// Applies the oldest outstanding transaction and returns the lines that it prints. None: nothing is outstanding.
    pub(crate) fn apply_one(&mut self) -> Option<Vec<String>> {
        let next = self.world.apply_one()?;
        self.applied(next);
        self.do_chores();
        Some(std::mem::take(&mut self.said))
    }

    pub(crate) fn is_open(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| client.open)
    }

    pub(crate) fn has_written(&self, client: &str) -> bool {
        self.clients.get(client).is_some_and(|client| client.last.is_some())
    }

    /// Paths of all nodes but the server's own, or of those that the client's session owns, in order.
    pub(crate) fn paths(&self, owner: Option<&str>) -> Vec<String> {
        match owner.map(|name| self.clients.get(name)) {
            Some(Some(client)) => {
                self.world.state.ephemerals(client.attachment.session).map(|path| path.to_string()).collect()
            }
            Some(None) => Vec::new(),
            None => {
                let mut paths = Vec::new();
                self.each_below("/", &mut |path, _| paths.push(path.to_owned()));
                paths
            }
        }
    }

    /// From now on, all that is applied is kept for `one_by_one`, and what clients ask and are answered for `models`.
    /// To be called before the first command.
    pub(crate) fn keep_history(&mut self) {
        self.world.keep_history();
        self.record = Some(Record::default());
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Calls `World::one_by_one` with the scenario's plugins. Afterwards they are no longer bound as this stage's tree
    /// says.
    pub(crate) fn one_by_one(&self) -> Result<(), String> {
        let plugins = &self.setup.plugins;
        plugins.start_over(&empty_state());
        self.world.one_by_one(&mut plugins.judge(), &mut |txn, state| {
            if check_deployment::touches(txn) {
                plugins.refresh(state);
            }
        })
    }
}

/// The rules of a server with plugins.
fn rules(plugins: &Arc<Plugins>) -> Rules {
    let schemes = ProvenSchemes::new(plugins.clone());
    Rules { enforce_quota: true, x509_scheme_enabled: true, schemes, ..Rules::default() }
}

/// What the client is told. None for the opening of a session, which scenarios do not print. `stats`: the stats of the
/// answer's nodes once the transaction is applied; empty before that.
fn answer(next: &Outstanding, stats: &[crate::model::Stat]) -> Option<String> {
    let request = match &next.given.submission.ask {
        Ask::Request(request) => Some(request),
        Ask::OpenSession { .. } => return None,
        Ask::Call { .. } if matches!(next.txn.outcome, Outcome::Done(_)) => {
            return Some(format!("ok {}", show::data(Some(next.reply.as_deref().unwrap_or_default()))));
        }
        _ => None,
    };
    Some(show::written(request, &next.txn, stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clients_share_a_session() {
        let mut stage = Stage::new(Setup::bare());
        for command in ["client a: create /a ephemeral", "client a: close", "client b: create /b ephemeral"] {
            stage.run(command).unwrap();
        }
        assert_eq!(stage.run("client a: create /c ephemeral").unwrap(), ["a <- ok /c"]);
        assert_eq!(stage.run("client b: close").unwrap(), ["b <- ok"]);
        assert_eq!(stage.run("tree /").unwrap()[1..], ["tree <- /c (ephemeral of a)"]);
    }
}
