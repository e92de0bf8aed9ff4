//! The workload of the clients. Each client is a task that lives for the whole run.

use crate::ask::{Answer, Ask, Data};
use crate::bundled::{self, Plugin};
use crate::client::Client;
use crate::coverage::{Situation, met};
use crate::ledger::ledger;
use crate::net::Machine;
use crate::places::{FACTS, FRAIL_POLICED, GUARDED, LOCKS, POLICED, QUEUES, REGISTERS, ROLES, SUBJECTS, WEAK_GUARDED};
use crate::policy;
use crate::recipes;
use crate::trace::{breach, say};
use bytes::Bytes;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;
use wasmkeeper::model::ErrorCode;
use wasmkeeper::plugin::manifest::Mode;
use wasmkeeper::plugin::{MODULES, PLUGINS};
use wasmkeeper::wire::request::create_mode;

/// The number of registers. They are few, so that clients use the same ones.
pub(crate) const REGISTER_COUNT: u64 = 6;

/// The parents of sequential and of ephemeral znodes.
const QUEUE: &str = "/q";
const EPHEMERALS: &str = "/e";

/// The number of znodes that the guard, and that the policy, is asked about.
const GUARDED_COUNT: u64 = 4;
const POLICED_COUNT: u64 = 4;

/// The number of znodes at which the weak guard fails.
const WEAK_GUARDED_COUNT: u64 = 2;

/// The number of locks and of queues.
const LOCK_COUNT: u64 = 1;
const QUEUE_COUNT: u64 = 2;

/// How often a client reads its own znode in a lock or queue before it gives up waiting.
const LOOKS_MAX: u64 = 8;

/// State that all clients share.
#[derive(Default)]
pub(crate) struct Plan {
    /// The tree is set up, and clients may begin.
    pub(crate) is_set_up: Cell<bool>,
    /// Clients must finish.
    pub(crate) is_ending: Cell<bool>,
    /// The number of clients that have finished.
    pub(crate) ended: Cell<usize>,
    /// Chores that the operator has not begun.
    pub(crate) chores: RefCell<VecDeque<Chore>>,
    /// Whether the operator is doing a chore.
    pub(crate) is_operating: Cell<bool>,
    /// Paths of sequential znodes that clients were told.
    names: RefCell<BTreeSet<String>>,
    /// Items whose acknowledgement a client was told.
    acknowledged: RefCell<BTreeSet<String>>,
    pub(crate) totals: RefCell<crate::client::Counts>,
}

/// A chore of the operator: a member leaves the ensemble and joins it again.
#[derive(Clone, Debug)]
pub(crate) struct Chore {
    pub(crate) number: Machine,
    /// The member's line in ZooKeeper's configuration: `server.N=...`.
    pub(crate) line: String,
    /// Whether the disk was replaced with an empty one.
    pub(crate) is_wiped: bool,
}

impl Plan {
    /// Whether the operator has no chore left.
    pub(crate) fn is_in_order(&self) -> bool {
        self.chores.borrow().is_empty() && !self.is_operating.get()
    }
}

/// Does the operator's chores until the run ends.
pub(crate) async fn operate(mut client: Client, plan: Rc<Plan>) {
    loop {
        let chore = plan.chores.borrow_mut().pop_front();
        let Some(chore) = chore else {
            if plan.is_ending.get() {
                return client.close().await;
            }
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        plan.is_operating.set(true);
        say("operator", || format!("{chore:?}"));
        let leaving = Ask::Reconfig { joining: None, leaving: Some(chore.number.to_string()) };
        reconfigure(&mut client, &chore, leaving, false).await;
        let joining = Ask::Reconfig { joining: Some(chore.line.clone()), leaving: None };
        reconfigure(&mut client, &chore, joining, true).await;
        met(Situation::MembershipChange);
        if chore.is_wiped {
            met(Situation::WipedMember);
        }
        plan.is_operating.set(false);
    }
}

/// Repeats the reconfig `ask` until the configuration lists the member (`shall_be`), or does not.
async fn reconfigure(client: &mut Client, chore: &Chore, ask: Ask, shall_be: bool) {
    loop {
        let answers = client.perform(vec![Ask::Members]).await;
        if let [Answer::Text(text)] = &answers[..]
            && text.contains(&format!("server.{}=", chore.number)) == shall_be
        {
            return;
        }
        client.perform(vec![ask.clone()]).await;
        client.rest(Duration::from_millis(200)).await;
    }
}

/// Deploys plugins again, changes settings, rolls back, tries versions on some paths, and ends quarantines, until the
/// run ends.
pub(crate) async fn deploy(mut client: Client, plan: Rc<Plan>) {
    while !plan.is_set_up.get() {
        sleep(Duration::from_millis(10)).await;
    }
    let (guard, lock, queue) = (Plugin::guard(), Plugin::lock(), Plugin::queue());
    let (weak, frail) = (Plugin::weak(), Plugin::frail());
    let mut former = vec![guard.manifest(1, bundled::settings(guard.name, 0))];
    let mut version = 1;
    while !plan.is_ending.get() {
        let pause = 100 + client.dice.below(1_300);
        client.rest(Duration::from_millis(pause)).await;
        version += 1;
        let number = client.dice.below(1_000);
        let of = |plugin: &Plugin| plugin.manifest(version, bundled::settings(plugin.name, number));
        let set = |plugin: &Plugin, data: Bytes| Ask::Write { path: plugin.node(), data: Data(data) };
        let delete = |path: String| Ask::Delete { path, version: -1 };
        let asks = match client.dice.below(18) {
            0..4 => {
                former.push(of(&guard));
                vec![set(&guard, of(&guard))]
            }
            4..7 => {
                let at = client.dice.below(former.len() as u64) as usize;
                vec![set(&guard, former[at].clone())]
            }
            7 => {
                let make = Ask::Make { path: guard.node(), data: Data(of(&guard)), mode: create_mode::PERSISTENT };
                vec![delete(guard.trial_node()), delete(guard.node()), make]
            }
            8..13 => {
                version += 1;
                change_trial(&mut client, &guard, version, &mut former).await;
                continue;
            }
            13..16 => {
                let failing = if client.dice.one_in(2) { &weak } else { &frail };
                end_quarantine(&mut client, failing, of(failing)).await;
                continue;
            }
            16 => vec![set(&lock, of(&lock))],
            _ => vec![set(&queue, of(&queue))],
        };
        for ask in asks {
            let is_recipe = matches!(&ask, Ask::Write { path, .. } if *path != guard.node());
            let done = if is_recipe { Situation::RecipeDeployment } else { Situation::Deployment };
            repeat_until_answered(&mut client, ask, Situation::LeaderChangeWithDeployment, done).await;
        }
    }
    client.close().await;
}

/// Puts a version of the plugin on trial, or ends a trial by promotion or deletion. A promoted version is added to
/// `former`.
async fn change_trial(client: &mut Client, plugin: &Plugin, version: u32, former: &mut Vec<Bytes>) {
    let node = plugin.trial_node();
    let on_trial = match client.perform(vec![Ask::Read { path: node.clone(), watch: false }]).await.pop() {
        Some(Answer::Data(data)) => Some(data.0),
        _ => None,
    };
    let number = client.dice.below(1_000);
    let some = (0..GUARDED_COUNT).filter(|at| number >> at & 1 != 0 || *at == number % GUARDED_COUNT);
    let mode = if client.dice.one_in(4) { Mode::Audit } else { Mode::Enforce };
    let trial = plugin.trial(version, bundled::settings(plugin.name, number), some.map(guarded).collect(), mode);
    let delete = Ask::Delete { path: node.clone(), version: -1 };
    let (ask, done) = match on_trial {
        None => (Ask::Make { path: node, data: Data(trial), mode: create_mode::PERSISTENT }, Situation::Trial),
        Some(on_trial) => match client.dice.below(4) {
            0 => (Ask::Write { path: node, data: Data(trial) }, Situation::Trial),
            1 => (delete, Situation::Abort),
            _ => {
                let Some(promoted) = bundled::promoted(&on_trial) else { return };
                former.push(promoted.clone());
                (Ask::All(vec![Ask::Write { path: plugin.node(), data: Data(promoted) }, delete]), Situation::Promotion)
            }
        },
    };
    repeat_until_answered(client, ask, Situation::LeaderChangeWithTrial, done).await;
}

/// Ends the plugin's quarantine if there is one. In half of all cases another version is deployed first.
async fn end_quarantine(client: &mut Client, plugin: &Plugin, manifest: Bytes) {
    let node = plugin.quarantine_node();
    let there = client.perform(vec![Ask::Exists { path: node.clone(), watch: false }]).await.pop();
    if !matches!(there, Some(Answer::Node { .. })) {
        return;
    }
    let mut asks = vec![Ask::Delete { path: node, version: -1 }];
    if client.dice.one_in(2) {
        asks.insert(0, Ask::Write { path: plugin.node(), data: Data(manifest) });
    }
    for ask in asks {
        repeat_until_answered(client, ask, Situation::LeaderChangeWithDeployment, Situation::Release).await;
    }
}

/// Changes the roles of subjects, the rules of roles, and the policy's settings, until the run ends.
pub(crate) async fn change_policy(mut client: Client, plan: Rc<Plan>) {
    while !plan.is_set_up.get() {
        sleep(Duration::from_millis(10)).await;
    }
    let rbac = Plugin::rbac();
    let mut version = 1;
    while !plan.is_ending.get() {
        let pause = 100 + client.dice.below(1_500);
        client.rest(Duration::from_millis(pause)).await;
        let number = client.dice.below(1_000);
        let write = |(path, data): (String, Value)| Ask::Write { path, data: Data(data.to_string().into()) };
        let make = |(path, data): (String, Value)| {
            let data = Data(data.to_string().into());
            Ask::Make { path, data, mode: create_mode::PERSISTENT }
        };
        let asks = match client.dice.below(10) {
            0..3 => vec![write(anyone(number))],
            3..6 => vec![write(role(ROLES[(number % 2) as usize], number / 2))],
            6 => {
                let (path, data) = role(ROLES[0], number);
                vec![Ask::Delete { path: path.clone(), version: -1 }, make((path, data))]
            }
            7 => {
                let path = format!("{}/{}", SUBJECTS, policy::subject((number % 2) as u32));
                if client.dice.one_in(2) {
                    vec![make((path, json!(["writer"])))]
                } else {
                    vec![Ask::Delete { path, version: -1 }]
                }
            }
            _ => {
                version += 1;
                let data = Data(rbac.manifest(version, bundled::settings(rbac.name, number)));
                vec![Ask::Write { path: rbac.node(), data }]
            }
        };
        for ask in asks {
            repeat_until_answered(&mut client, ask, Situation::LeaderChangeWithPolicyChange, Situation::PolicyChange)
                .await;
        }
    }
    client.close().await;
}

/// The path and data of the subject that every client is. `number` chooses the roles.
fn anyone(number: u64) -> (String, Value) {
    let roles = [json!(["reader", "writer"]), json!(["reader"]), json!([]), json!(["writer"])];
    (format!("{}/{}", SUBJECTS, policy::ANYONE), roles[(number % 4) as usize].clone())
}

/// The path and data of a role. `number` chooses the role and its rules.
fn role(folder: &str, number: u64) -> (String, Value) {
    let (all, one) = (POLICED.to_owned(), policed(number / 8 % POLICED_COUNT));
    let (name, allow) = match number % 8 {
        0 | 1 => ("reader", json!([{ "path": all, "verbs": ["read", "children"] }])),
        2 => ("reader", json!([{ "path": one, "verbs": ["read"] }])),
        3 => ("reader", json!([])),
        4 | 5 => ("writer", json!([{ "path": all, "verbs": ["*"] }])),
        6 => ("writer", json!([{ "path": all, "verbs": ["set"] }, { "path": one, "verbs": ["create", "delete"] }])),
        _ => ("writer", json!([{ "path": one, "verbs": ["*"] }])),
    };
    (format!("{folder}/{name}"), json!({ "allow": allow }))
}

/// Repeats `ask` until there is an answer. A refusal may be right, for example if no quorum was reachable.
async fn repeat_until_answered(client: &mut Client, ask: Ask, awaited: Situation, done: Situation) {
    loop {
        ledger(|ledger| ledger.awaited.push(awaited));
        let answer = client.perform(vec![ask.clone()]).await.pop();
        ledger(|ledger| ledger.awaited.retain(|other| *other != awaited));
        match answer {
            Some(Answer::Lost) | None => {}
            Some(Answer::Refused(code)) => {
                // An earlier request whose answer was lost may have made or deleted the znode. Or no quorum is
                // reachable.
                let known = [ErrorCode::NoNode, ErrorCode::NodeExists, ErrorCode::NotEmpty, ErrorCode::BadArguments];
                if !known.contains(&code) {
                    breach(format!("{ask:?} is refused with {}", code.name()));
                }
                return;
            }
            Some(_) => return met(done),
        }
    }
}

/// A client of the workload, and the state that it remembers.
struct ActiveClient {
    client: Client,
    plan: Rc<Plan>,
    last_value: u64,
    versions: BTreeMap<String, i32>,
    queued: Vec<String>,
}

fn guarded(number: u64) -> String {
    format!("{GUARDED}/{number}")
}

fn weak_guarded(number: u64) -> String {
    format!("{WEAK_GUARDED}/{number}")
}

fn policed(number: u64) -> String {
    format!("{POLICED}/{number}")
}

fn register(number: u64) -> String {
    format!("{REGISTERS}/{number}")
}

/// Creates the tree of the workload, and deploys the plugins.
pub(crate) async fn set_up(mut client: Client, plan: Rc<Plan>) {
    let create = |path: String| Ask::Create { path, value: 0, mode: create_mode::PERSISTENT };
    let folders =
        [REGISTERS, QUEUE, EPHEMERALS, GUARDED, POLICED, WEAK_GUARDED, FRAIL_POLICED, LOCKS, QUEUES, PLUGINS, MODULES];
    let facts = [FACTS, ROLES[0], ROLES[1], SUBJECTS];
    let mut paths: Vec<String> = folders.into_iter().chain(facts).map(str::to_owned).collect();
    paths.extend((0..REGISTER_COUNT).map(register));
    paths.extend((0..GUARDED_COUNT).map(guarded));
    paths.extend((0..POLICED_COUNT).map(policed));
    paths.extend((0..WEAK_GUARDED_COUNT).map(weak_guarded));
    let mut asks: Vec<Ask> = paths.into_iter().map(create).collect();
    let make = |(path, data)| Ask::Make { path, data: Data(data), mode: create_mode::PERSISTENT };
    let roles = ROLES.into_iter().flat_map(|folder| [role(folder, 0), role(folder, 4)]);
    asks.extend(roles.chain([anyone(0)]).map(|(path, data)| make((path, data.to_string().into()))));
    let sound = [Plugin::lock(), Plugin::queue(), Plugin::guard(), Plugin::rbac()];
    for plugin in sound.into_iter().chain([Plugin::weak(), Plugin::frail()]) {
        asks.extend(plugin.pieces().into_iter().map(make));
        asks.push(make((plugin.node(), plugin.manifest(1, bundled::settings(plugin.name, 0)))));
    }
    for ask in asks {
        loop {
            match client.perform(vec![ask.clone()]).await.pop() {
                Some(Answer::Created(_) | Answer::Refused(ErrorCode::NodeExists)) => break,
                Some(Answer::Lost) => {}
                other => return breach(format!("the tree cannot be set up: {ask:?}: {other:?}")),
            }
        }
    }
    client.close().await;
    say("run", || "the tree is set up");
    plan.is_set_up.set(true);
}

/// Acts at random until the run ends. Then checks that every member serves the client, and closes the session.
pub(crate) async fn run_client(client: Client, plan: Rc<Plan>) {
    while !plan.is_set_up.get() {
        sleep(Duration::from_millis(10)).await;
    }
    let mut active =
        ActiveClient { client, plan: plan.clone(), last_value: 0, versions: BTreeMap::new(), queued: Vec::new() };
    while !plan.is_ending.get() {
        active.act().await;
        let think = active.client.dice.below(160);
        active.client.rest(Duration::from_millis(think)).await;
    }
    active.finish().await;
    let counts = active.client.counts;
    let mut totals = plan.totals.borrow_mut();
    totals.answered += counts.answered;
    totals.lost += counts.lost;
    totals.refused += counts.refused;
    totals.sessions += counts.sessions;
    totals.expired += counts.expired;
    totals.moves += counts.moves;
    totals.events += counts.events;
    totals.closed += counts.closed;
    plan.ended.set(plan.ended.get() + 1);
}

impl ActiveClient {
    fn value(&mut self) -> u64 {
        self.last_value += 1;
        u64::from(self.client.number + 1) * 1_000_000 + self.last_value
    }

    fn register(&mut self) -> String {
        register(self.client.dice.below(REGISTER_COUNT))
    }

    async fn act(&mut self) {
        match self.client.dice.below(139) {
            0..30 => {
                let ask = self.about_register();
                self.perform(vec![ask]).await;
            }
            30..48 => self.pipeline().await,
            48..56 => self.several_at_once().await,
            56..66 => self.queue().await,
            66..76 => self.ephemeral().await,
            76..86 => self.watch().await,
            86..90 => self.client.hang_up(),
            90..93 => self.move_to_other_member().await,
            93 => self.write_and_move().await,
            94..96 => self.client.close().await,
            96 => self.client.vanish(),
            97 => {
                // The client neither reads nor sends for longer than the session's timeout.
                let timeout = self.client.timeout();
                sleep(timeout + timeout / 2).await;
            }
            98..100 => {
                let pause = self.client.dice.below(3000);
                self.client.rest(Duration::from_millis(pause)).await;
            }
            100..107 => self.use_locks().await,
            107..110 => self.put_items().await,
            110..114 => self.take_item().await,
            114..120 => self.write_guarded().await,
            120..130 => self.use_policed().await,
            130..135 => self.write_weak_guarded().await,
            _ => self.read_frail_policed().await,
        }
    }

    async fn use_locks(&mut self) {
        for _ in 0..1 + self.client.dice.below(3) {
            self.use_lock().await;
        }
    }

    /// Joins a lock, perhaps holds it for a while, and leaves it or vanishes.
    async fn use_lock(&mut self) {
        let lock = format!("{LOCKS}/l{}", self.client.dice.below(LOCK_COUNT));
        let options = if self.client.dice.one_in(4) { r#"{"wait-ms":1000}"# } else { "" };
        let Some(path) = self.join(format!("{lock}/lock-"), options).await else { return };
        let mut is_held = false;
        for _ in 0..LOOKS_MAX {
            match self.perform(vec![Ask::Read { path: path.clone(), watch: true }]).await.pop() {
                Some(Answer::Data(data)) => is_held = recipes::holds(&data.0),
                Some(Answer::Lost) => {}
                // The lock's `wait-ms` has passed, or the session has ended.
                _ => return,
            }
            if is_held {
                break;
            }
            let pause = 20 + self.client.dice.below(100);
            self.client.rest(Duration::from_millis(pause)).await;
        }
        if is_held {
            met(Situation::LockHeld);
            let pause = self.client.dice.below(250);
            self.client.rest(Duration::from_millis(pause)).await;
        }
        self.leave(path).await;
    }

    /// Creates an ephemeral sequential znode. The path, if the create was answered.
    async fn join(&mut self, prefix: String, options: &'static str) -> Option<String> {
        let data = Data(Bytes::from_static(options.as_bytes()));
        let make = Ask::Make { path: prefix, data, mode: create_mode::EPHEMERAL_SEQUENTIAL };
        match self.perform(vec![make]).await.pop() {
            Some(Answer::Created(path)) => Some(path),
            _ => None,
        }
    }

    /// Deletes the client's own znode, or leaves it to the end of the session. Whether a successful delete was
    /// answered.
    async fn leave(&mut self, path: String) -> bool {
        match self.client.dice.below(10) {
            0 => self.client.vanish(),
            1 => self.client.close().await,
            2 => {}
            _ => {
                let delete = Ask::Delete { path, version: -1 };
                return self.perform(vec![delete]).await.pop() == Some(Answer::Done);
            }
        }
        false
    }

    async fn put_items(&mut self) {
        let queue = format!("{QUEUES}/q{}", self.client.dice.below(QUEUE_COUNT));
        let name = ["job-", "job?priority=8-", "job?delay-ms=700-"][self.client.dice.below(3) as usize];
        let create = Ask::Create {
            path: format!("{queue}/items/{name}"),
            value: self.value(),
            mode: create_mode::PERSISTENT_SEQUENTIAL,
        };
        let count = 1 + self.client.dice.below(3);
        self.perform((0..count).map(|_| create.clone()).collect()).await;
    }

    /// Takes an item, and then acknowledges it, gives it back, or vanishes with it.
    async fn take_item(&mut self) {
        let queue = format!("{QUEUES}/q{}", self.client.dice.below(QUEUE_COUNT));
        let Some(path) = self.join(format!("{queue}/claims/w-"), "").await else { return };
        let mut item = None;
        for _ in 0..LOOKS_MAX {
            match self.perform(vec![Ask::Read { path: path.clone(), watch: true }]).await.pop() {
                Some(Answer::Data(data)) => item = recipes::item(&data.0),
                Some(Answer::Lost) => {}
                _ => return,
            }
            if item.is_some() {
                break;
            }
            let pause = 20 + self.client.dice.below(100);
            self.client.rest(Duration::from_millis(pause)).await;
        }
        let pause = self.client.dice.below(100);
        self.client.rest(Duration::from_millis(pause)).await;
        if item.is_some() && self.client.dice.one_in(6) {
            let data = if self.client.dice.one_in(2) { "retry" } else { "extend" };
            self.perform(vec![Ask::Write { path: path.clone(), data: Data(data.into()) }]).await;
            // The claim may hold another item now.
            item = None;
        }
        if self.leave(path).await
            && let Some(item) = item
        {
            met(Situation::Acknowledgement);
            if !self.plan.acknowledged.borrow_mut().insert(format!("{queue} {item}")) {
                breach(format!("two clients are told to have acknowledged {item} of {queue}"));
            }
        }
    }

    /// Writes data that the guard accepts or refuses.
    async fn write_guarded(&mut self) {
        let path = guarded(self.client.dice.below(GUARDED_COUNT));
        let count = 1 + self.client.dice.below(3);
        let asks = (0..count).map(|_| Ask::Set { path: path.clone(), value: self.value() }).collect();
        self.perform(asks).await;
    }

    /// Writes data at which the weak guard fails, and data at which it does not.
    async fn write_weak_guarded(&mut self) {
        let path = weak_guarded(self.client.dice.below(WEAK_GUARDED_COUNT));
        let many: String = (0..250).map(|field| format!(r#","k{field}":{field}"#)).collect();
        let count = 3 + self.client.dice.below(4);
        let mut write = |_| {
            let more = if self.client.dice.one_in(4) { "" } else { &many };
            Ask::Write { path: path.clone(), data: Data(format!(r#"{{"a":{}{more}}}"#, self.value()).into()) }
        };
        let asks = (0..count).map(&mut write).collect();
        self.perform(asks).await;
    }

    /// Reads at the path where the frail policy fails at every question.
    async fn read_frail_policed(&mut self) {
        let count = 3 + self.client.dice.below(4);
        let mut read = |_| match self.client.dice.one_in(3) {
            true => Ask::Children { path: FRAIL_POLICED.to_owned(), watch: false },
            false => Ask::Read { path: FRAIL_POLICED.to_owned(), watch: false },
        };
        let asks = (0..count).map(&mut read).collect();
        self.perform(asks).await;
    }

    /// Reads and writes that the policy allows or denies.
    async fn use_policed(&mut self) {
        let count = 1 + self.client.dice.below(3);
        let mut asks = Vec::new();
        for _ in 0..count {
            let [path, other] = [(); 2].map(|()| policed(self.client.dice.below(POLICED_COUNT)));
            let watch = self.client.dice.one_in(3);
            asks.push(match self.client.dice.below(9) {
                0..3 => Ask::Set { path, value: self.value() },
                3 => Ask::SetAll(vec![(path, self.value()), (other, self.value())]),
                4 => Ask::Create { path, value: self.value(), mode: create_mode::PERSISTENT },
                5 => Ask::Delete { path, version: -1 },
                6 => Ask::Exists { path, watch },
                7 => Ask::Children { path: POLICED.to_owned(), watch },
                _ => Ask::Read { path, watch },
            });
        }
        self.perform(asks).await;
    }

    async fn perform(&mut self, asks: Vec<Ask>) -> Vec<Answer> {
        let answers = self.client.perform(asks.clone()).await;
        for (ask, answer) in asks.iter().zip(&answers) {
            let (Ask::Get { path, .. }
            | Ask::SyncGet { path }
            | Ask::Set { path, .. }
            | Ask::CompareAndSet { path, .. }) = ask
            else {
                continue;
            };
            if let Answer::Node { version, .. } = answer {
                self.versions.insert(path.clone(), *version);
            }
        }
        answers
    }

    fn about_register(&mut self) -> Ask {
        let path = self.register();
        match self.client.dice.below(10) {
            0..3 => Ask::SyncGet { path },
            3..5 => Ask::Get { path, watch: false },
            5..8 => Ask::Set { path, value: self.value() },
            _ => {
                let known = self.versions.get(&path).copied().unwrap_or(0);
                let expected = if self.client.dice.one_in(4) { known + 1 } else { known };
                Ask::CompareAndSet { path, value: self.value(), expected }
            }
        }
    }

    /// Pipelines requests, most of them on one register, so that reads stand between writes of the same register.
    async fn pipeline(&mut self) {
        let count = 2 + self.client.dice.below(9);
        let path = self.register();
        let mut asks = Vec::new();
        for at in 0..count {
            let ask = match self.client.dice.below(6) {
                0 => self.about_register(),
                1 | 2 => Ask::Get { path: path.clone(), watch: false },
                // The register exists, so this create is refused.
                3 if at % 2 == 0 => Ask::Create { path: path.clone(), value: 0, mode: create_mode::PERSISTENT },
                _ => Ask::Set { path: path.clone(), value: self.value() },
            };
            asks.push(ask);
        }
        self.perform(asks).await;
    }

    async fn several_at_once(&mut self) {
        let (one, other) = (self.register(), self.register());
        if one == other {
            return;
        }
        let sets = vec![(one.clone(), self.value()), (other, self.value())];
        let ask = if self.client.dice.one_in(2) {
            Ask::SetAll(sets)
        } else {
            let expected = self.versions.get(&one).copied().unwrap_or(0);
            Ask::CheckedSets { path: one, expected, sets }
        };
        self.perform(vec![ask]).await;
    }

    async fn queue(&mut self) {
        let mode = if self.client.dice.one_in(2) {
            create_mode::EPHEMERAL_SEQUENTIAL
        } else {
            create_mode::PERSISTENT_SEQUENTIAL
        };
        let count = 1 + self.client.dice.below(4);
        let value = self.value();
        let create = Ask::Create { path: format!("{QUEUE}/n-"), value, mode };
        let answers = self.perform((0..count).map(|_| create.clone()).collect()).await;
        for answer in answers {
            let Answer::Created(path) = answer else { continue };
            if !self.plan.names.borrow_mut().insert(path.clone()) {
                breach(format!("the sequential name {path} is given out twice"));
            }
            self.queued.push(path);
        }
        let watch = self.client.dice.one_in(4);
        let names = self.perform(vec![Ask::Children { path: QUEUE.to_owned(), watch }]).await.pop();
        // Any client that finds more than 12 znodes deletes the excess, whichever client created them.
        if let Some(Answer::Names(names)) = names {
            let excess = names.len().saturating_sub(12);
            let deletes = names.into_iter().take(excess);
            let deletes = deletes.map(|name| Ask::Delete { path: format!("{QUEUE}/{name}"), version: -1 }).collect();
            self.perform(deletes).await;
        }
    }

    async fn ephemeral(&mut self) {
        let name = self.client.dice.below(3);
        let owner = if self.client.dice.one_in(3) { u64::from(self.client.number) } else { 99 };
        let path = format!("{EPHEMERALS}/{owner}-{name}");
        let value = self.value();
        let create = Ask::Create { path: path.clone(), value, mode: create_mode::EPHEMERAL };
        let mut asks = vec![create, Ask::Exists { path: path.clone(), watch: false }];
        if self.client.dice.one_in(3) {
            asks.push(Ask::Delete { path: path.clone(), version: -1 });
            asks.push(Ask::Exists { path, watch: self.client.dice.one_in(2) });
        }
        self.perform(asks).await;
    }

    async fn watch(&mut self) {
        let ask = match self.client.dice.below(4) {
            0 => Ask::Children { path: EPHEMERALS.to_owned(), watch: true },
            1 => Ask::Exists { path: format!("{EPHEMERALS}/99-{}", self.client.dice.below(3)), watch: true },
            2 => Ask::Children { path: QUEUE.to_owned(), watch: true },
            _ => Ask::Get { path: self.register(), watch: true },
        };
        self.perform(vec![ask]).await;
    }

    async fn move_to_other_member(&mut self) {
        if let Some(member) = self.client.any_member()
            && self.client.connect_to(member).await.is_ok()
        {
            let ask = self.about_register();
            self.perform(vec![ask]).await;
        }
    }

    /// Moves to another member while writes are under way. Those must not take effect after the session's later
    /// requests.
    async fn write_and_move(&mut self) {
        let path = self.register();
        let count = 1 + self.client.dice.below(6);
        let asks = (0..count).map(|_| Ask::Set { path: path.clone(), value: self.value() }).collect();
        self.client.send_and_hang_up(asks).await;
        self.move_to_other_member().await;
    }

    /// Connects to every member in turn, and makes a linearizable read, a write and another read on each.
    async fn finish(&mut self) {
        for member in self.client.members().to_vec() {
            loop {
                if self.client.connect_to(member).await.is_ok() {
                    let path = self.register();
                    let set = Ask::Set { path: path.clone(), value: self.value() };
                    let answers =
                        self.perform(vec![Ask::SyncGet { path: path.clone() }, set, Ask::SyncGet { path }]).await;
                    if !answers.contains(&Answer::Lost) {
                        break;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        self.client.close().await;
    }
}
