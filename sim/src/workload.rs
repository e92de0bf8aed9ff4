//! What clients do: each a task of its own that lives for the whole run.

use crate::client::{Answer, Ask, Client};
use crate::coverage::{Met, met};
use crate::history::REGISTERS;
use crate::net::Machine;
use crate::trace::{breach, say};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;
use wasmkeeper::model::ErrorCode;
use wasmkeeper::wire::request::create_mode;

/// Registers there are. Few, so that clients meet.
pub const REGISTER_COUNT: u64 = 6;

/// Where sequential nodes and ephemerals come and go.
const QUEUE: &str = "/q";
const EPHEMERALS: &str = "/e";

/// What all clients share.
#[derive(Default)]
pub struct Plan {
    /// The tree is set up: everybody may begin.
    pub is_set_up: Cell<bool>,
    /// Time to come to an end.
    pub is_ending: Cell<bool>,
    /// Clients that have come to their end.
    pub ended: Cell<usize>,
    /// What the operator has to do, and whether that includes something under way.
    pub chores: RefCell<VecDeque<Chore>>,
    pub is_operating: Cell<bool>,
    /// Names of sequential nodes that were given out.
    names: RefCell<BTreeSet<String>>,
    pub totals: RefCell<crate::client::Counts>,
}

/// A member that leaves the ensemble and joins it again.
#[derive(Clone, Debug)]
pub struct Chore {
    pub number: Machine,
    /// As it joins: ZooKeeper's line.
    pub line: String,
    /// Its disk was replaced meanwhile.
    pub is_wiped: bool,
}

impl Plan {
    /// Nothing is left for the operator.
    pub fn is_in_order(&self) -> bool {
        self.chores.borrow().is_empty() && !self.is_operating.get()
    }
}

/// Does the operator's chores, for as long as the run lasts.
pub async fn operate(mut client: Client, plan: Rc<Plan>) {
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
        met(Met::MembershipChange);
        if chore.is_wiped {
            met(Met::WipedMember);
        }
        plan.is_operating.set(false);
    }
}

/// Asks until the member is one, or is none.
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

/// What one client remembers.
struct Memory {
    client: Client,
    plan: Rc<Plan>,
    last_value: u64,
    versions: BTreeMap<String, i32>,
    queued: Vec<String>,
}

fn register(number: u64) -> String {
    format!("{REGISTERS}/{number}")
}

/// Makes the tree that the others work on.
pub async fn set_up(mut client: Client, plan: Rc<Plan>) {
    let create = |path: String| Ask::Create { path, value: 0, mode: create_mode::PERSISTENT };
    let mut paths = vec![REGISTERS.to_owned(), QUEUE.to_owned(), EPHEMERALS.to_owned()];
    paths.extend((0..REGISTER_COUNT).map(register));
    for path in paths {
        loop {
            match client.perform(vec![create(path.clone())]).await.pop() {
                Some(Answer::Created(_) | Answer::Refused(ErrorCode::NodeExists)) => break,
                Some(Answer::Lost) => {}
                other => return breach(format!("the tree cannot be set up: {path}: {other:?}")),
            }
        }
    }
    client.close().await;
    say("run", || "the tree is set up");
    plan.is_set_up.set(true);
}

/// Lives until the run ends, then sees that every member serves it, and closes its session.
pub async fn live(client: Client, plan: Rc<Plan>) {
    while !plan.is_set_up.get() {
        sleep(Duration::from_millis(10)).await;
    }
    let mut memory =
        Memory { client, plan: plan.clone(), last_value: 0, versions: BTreeMap::new(), queued: Vec::new() };
    while !plan.is_ending.get() {
        memory.act().await;
        let think = memory.client.dice.below(160);
        memory.client.rest(Duration::from_millis(think)).await;
    }
    memory.come_to_an_end().await;
    let counts = memory.client.counts;
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

impl Memory {
    fn value(&mut self) -> u64 {
        self.last_value += 1;
        u64::from(self.client.number + 1) * 1_000_000 + self.last_value
    }

    fn register(&mut self) -> String {
        register(self.client.dice.below(REGISTER_COUNT))
    }

    async fn act(&mut self) {
        match self.client.dice.below(100) {
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
            90..93 => self.go_elsewhere().await,
            93 => self.fire_and_go().await,
            94..96 => self.client.close().await,
            96 => self.client.vanish(),
            97 => {
                // It hears nothing and says nothing for longer than its session may last.
                let timeout = self.client.timeout();
                sleep(timeout + timeout / 2).await;
            }
            _ => {
                let pause = self.client.dice.below(3000);
                self.client.rest(Duration::from_millis(pause)).await;
            }
        }
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

    /// Many at once, most about one register, so that reads stand between writes that change what they see.
    async fn pipeline(&mut self) {
        let count = 2 + self.client.dice.below(9);
        let path = self.register();
        let mut asks = Vec::new();
        for at in 0..count {
            let ask = match self.client.dice.below(6) {
                0 => self.about_register(),
                1 | 2 => Ask::Get { path: path.clone(), watch: false },
                // Refused, more often than not.
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
        // Whoever finds too many takes some away, whosever they are.
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

    async fn go_elsewhere(&mut self) {
        if let Some(member) = self.client.any_member()
            && self.client.connect_to(member).await.is_ok()
        {
            let ask = self.about_register();
            self.perform(vec![ask]).await;
        }
    }

    /// Writes under way when it moves must not overtake what it does then.
    async fn fire_and_go(&mut self) {
        let path = self.register();
        let count = 1 + self.client.dice.below(6);
        let asks = (0..count).map(|_| Ask::Set { path: path.clone(), value: self.value() }).collect();
        self.client.fire(asks).await;
        self.go_elsewhere().await;
    }

    /// Every member lets it in, hears of what it wrote elsewhere, and writes.
    async fn come_to_an_end(&mut self) {
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
