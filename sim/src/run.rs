//! One run: a phase with faults, a phase without faults in which everything must heal, and the last checks.

use crate::bundled;
use crate::client::Client;
use crate::coverage::{Situation, add, counts};
use crate::faults::{DISK_US, Faults, GOOD};
use crate::history;
use crate::ledger::ledger;
use crate::linear::Register;
use crate::machine::Machine;
use crate::net::{self, Net};
use crate::observer::MemberObserver;
use crate::trace::{breach, is_clean, now_us, say, set_now_us};
use crate::workload::{self, Plan};
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use wasmkeeper::config::Config;
use wasmkeeper::hooks::{self, Mutation, Pace};
use wasmkeeper::limits;
use wasmkeeper::model::ensemble::{ClientAddress, PeerAddress, Server, ServerRole};
use wasmkeeper::simulation::observe;
use wasmkeeper::storage::testing::Dice;

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// The number of members. If `None`, the seed decides.
    pub(crate) members: Option<u32>,
    pub(crate) mutation: Option<Mutation>,
    /// Simulated seconds with faults.
    pub(crate) seconds: u64,
}

/// The figures of a run that has ended.
pub(crate) struct Report {
    pub(crate) members: u32,
    pub(crate) operations: u64,
    pub(crate) faults: u64,
    pub(crate) simulated_us: u64,
    pub(crate) checked: usize,
}

/// Microseconds of a slice. Messages arrive only at the beginning of a slice.
const SLICE_US: u64 = 1_000;
const SECOND: u64 = 1_000_000;

/// Time limit for setting up the tree.
const SET_UP_US: u64 = 30 * SECOND;
/// Time limit for each step of healing after the last fault.
const HEAL_US: u64 = 60 * SECOND;

/// The port on which members accept connections of other members.
const PEER_PORT: u16 = 2888;

const CLIENTS: u32 = 8;

/// `tickTime` of the members, in milliseconds.
const TICK_MS: u32 = 200;

struct World {
    net: Net,
    machines: Vec<Machine>,
    clients: Clients,
    plan: Rc<Plan>,
    dice: Dice,
}

struct Clients {
    runtime: Runtime,
    tasks: LocalSet,
    born: Instant,
}

pub(crate) fn run(options: &Options) -> Report {
    let mut dice = Dice::new(options.seed);
    let members = options.members.unwrap_or([1, 3, 3, 3, 5][(options.seed % 5) as usize]);
    let pace = Pace {
        checkpoint_log_bytes: 4_000 << dice.below(9),
        checkpoint_interval_ms: 1_000 << dice.below(5),
        image_log_bytes: 4_000 << dice.below(9),
        log_segment_bytes: 1 << (16 + dice.below(6)),
        log_entries_kept_for_peers: 20 << dice.below(9),
    };
    let observer = Rc::new(MemberObserver::new(options.mutation, pace));
    hooks::install(observer.clone());
    observe(observer.clone());
    // A session may expire early by one tick: if a pause of the leader begins between two ticks of the expiry check,
    // the leader does not forgive the time until the next tick. In an ensemble there is more slack: a leader learns of
    // clients on followers from reports, and a follower without them goes on answering for `WORD_LASTS_MIN`.
    let behind = if members == 1 { Duration::ZERO } else { limits::WORD_LASTS_MIN };
    ledger(|ledger| {
        ledger.expiry_slack_us = u64::from(TICK_MS) * 1000 + behind.as_micros() as u64;
        ledger.followers_report = members > 1;
    });
    let net = Net::new(dice.roll(), GOOD);
    let compiler = bundled::compiler().expect("compile the bundled plugins");
    let machines = (1..=members).map(|number| {
        let machine = Machine::new(number, net.clone(), config(number, members), compiler.clone(), dice.roll());
        machine.set_disk_delay(DISK_US);
        machine
    });
    let machines: Vec<Machine> = machines.collect();
    let numbers: Vec<net::Machine> = machines.iter().map(|machine| machine.number).collect();
    let clients = Clients::new();
    let plan = Rc::new(Plan::default());
    let first = Client::new(CLIENTS, net.clone(), numbers.clone(), 6_000, dice.roll());
    clients.tasks.spawn_local(workload::set_up(first, plan.clone()));
    let operator = Client::new(CLIENTS + 1, net.clone(), numbers.clone(), 20_000, dice.roll());
    clients.tasks.spawn_local(workload::operate(operator, plan.clone()));
    let deployer = Client::new(CLIENTS + 2, net.clone(), numbers.clone(), 20_000, dice.roll());
    clients.tasks.spawn_local(workload::deploy(deployer, plan.clone()));
    let governor = Client::new(CLIENTS + 3, net.clone(), numbers.clone(), 20_000, dice.roll());
    clients.tasks.spawn_local(workload::change_policy(governor, plan.clone()));
    for number in 0..CLIENTS {
        let timeout_ms = [1_000, 2_000, 4_000, 8_000][dice.below(4) as usize];
        let client = Client::new(number, net.clone(), numbers.clone(), timeout_ms, dice.roll());
        clients.tasks.spawn_local(workload::run_client(client, plan.clone()));
    }
    let mut faults = Faults::new(dice.roll(), net.clone(), observer, plan.clone(), CLIENTS);
    let mut world = World { net, machines, clients, plan, dice };
    world.go(options.seconds, &mut faults);
    let checked = if is_clean() { world.check() } else { 0 };
    let totals = *world.plan.totals.borrow();
    add(Situation::SessionMove, totals.moves);
    add(Situation::Expiry, totals.expired);
    Report { members, operations: totals.answered + totals.lost, faults: faults.count, simulated_us: now_us(), checked }
}

fn config(number: net::Machine, members: u32) -> Config {
    let mut config = Config { server_id: number, ..Config::default() };
    config.sessions.tick_ms = TICK_MS;
    config.sessions.timeout_ms_min = 500;
    config.sessions.timeout_ms_max = 20_000;
    config.network.client = Some(net::address(number, net::CLIENT_PORT));
    config.network.connections_per_address_max = 0;
    config.rules.reconfig = true;
    config.rules.skip_acl = true;
    if members > 1 {
        config.ensemble.servers = (1..=members).map(server).collect();
        config.ensemble.listen = vec![net::address(number, PEER_PORT)];
    }
    config
}

/// The configuration's entry for a member.
fn server(number: net::Machine) -> Server {
    let host = net::host(number);
    Server {
        id: number,
        addresses: vec![PeerAddress { host, peer_port: PEER_PORT, election_port: PEER_PORT + 1000 }],
        role: ServerRole::Participant,
        client: Some(ClientAddress { host: None, port: net::CLIENT_PORT }),
        secure_client: None,
    }
}

impl Clients {
    fn new() -> Clients {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets always starts");
        let born = runtime.block_on(async { Instant::now() });
        Clients { runtime, tasks: LocalSet::new(), born }
    }

    fn step(&self, to_us: u64) {
        let to = self.born + Duration::from_micros(to_us);
        self.runtime.block_on(self.tasks.run_until(async { sleep_until(to).await }));
    }
}

impl World {
    /// Runs every machine and all clients for one slice.
    fn slice(&mut self) {
        self.net.deliver();
        let to = now_us() + SLICE_US;
        // The order rotates at random, so that no machine always runs first.
        let first = self.dice.below(self.machines.len() as u64 + 1) as usize;
        let count = self.machines.len() + 1;
        for at in (0..count).map(|at| (first + at) % count) {
            match self.machines.get_mut(at) {
                Some(machine) => machine.step(to),
                None => self.clients.step(to),
            }
        }
        set_now_us(to);
    }

    fn go(&mut self, seconds: u64, faults: &mut Faults) {
        for machine in &mut self.machines {
            machine.start();
        }
        if !self.slices_until(SET_UP_US, |world| world.plan.is_set_up.get()) {
            return breach("the ensemble does not start");
        }
        faults.begin(now_us());
        let end = now_us() + seconds * SECOND;
        while now_us() < end && is_clean() {
            let leader = ledger(|ledger| ledger.leader());
            faults.tick(&mut self.machines, leader);
            self.slice();
            self.check_refusals();
        }
        if !is_clean() {
            return;
        }
        say("run", || "all faults are mended, and no more follow");
        faults.mend_all(&mut self.machines);
        if !self.slices_until(HEAL_US, |world| world.plan.is_in_order()) {
            return breach("the operator does not finish its chores");
        }
        self.plan.is_ending.set(true);
        let all_ended = |world: &World| world.plan.ended.get() == CLIENTS as usize;
        if !self.slices_until(HEAL_US, all_ended) && is_clean() {
            let (up, ended): (Vec<bool>, usize) =
                (self.machines.iter().map(Machine::serves).collect(), self.plan.ended.get());
            return breach(format!("{ended} of {CLIENTS} clients finish; members that serve: {up:?}"));
        }
        // Abandoned sessions expire, and every member applies that.
        let calm = |world: &World| {
            ledger(|ledger| {
                let last = ledger.last();
                ledger.sessions_open() == 0
                    && ledger.no_mount_is_owed()
                    && world.machines.iter().all(|machine| ledger.applied_by(machine.number) == Some(last))
            })
        };
        if !self.slices_until(HEAL_US, calm) && is_clean() {
            ledger(|ledger| {
                let stand: Vec<_> = self.machines.iter().map(|machine| ledger.applied_by(machine.number)).collect();
                let (open, last) = (ledger.sessions_open(), ledger.last());
                let owed = !ledger.no_mount_is_owed();
                breach(format!(
                    "after healing, {open} sessions have not expired; members have applied up to {stand:x?}, of \
                     {last:#x}; some mount is not in order: {owed}"
                ));
            });
        }
    }

    /// Runs slices until `done` holds. False if that takes longer than `at_most_us`, or if there is a breach.
    fn slices_until(&mut self, at_most_us: u64, done: impl Fn(&World) -> bool) -> bool {
        let end = now_us() + at_most_us;
        while !done(self) {
            if now_us() >= end || !is_clean() {
                return false;
            }
            self.slice();
            self.check_refusals();
        }
        true
    }

    /// Reports every member that refused to start or ended itself. No fault of the simulation justifies either.
    fn check_refusals(&mut self) {
        for machine in &mut self.machines {
            if let Some(sentence) = machine.refusal.take() {
                breach(format!("member {} ended itself: {sentence}", machine.number));
            }
        }
    }

    fn check(&self) -> usize {
        ledger(|ledger| {
            let left: Vec<String> = ledger
                .living(ledger.last())
                .filter(|(_, node)| node.owner != 0)
                .map(|(path, _)| path.clone())
                .collect();
            if !left.is_empty() {
                breach(format!("ephemeral znodes remain after all sessions ended: {left:?}"));
            }
            ledger.check_recipes();
        });
        for (met, count) in counts() {
            say("run", || format!("situation {met:?}: {count} times"));
        }
        history::check(Register { value: 0, version: 0 })
    }
}
