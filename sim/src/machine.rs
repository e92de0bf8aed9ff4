//! A machine that runs one member: a disk, a clock, and a process that can be stopped, killed or lose power.
//!
//! The process is a tokio runtime. Its clock stands still unless the machine is stepped. Dropping the runtime ends the
//! process; only the disk stays.

use crate::coverage::{Situation, met};
use crate::ledger::{Pause, ledger};
use crate::net::{self, CLIENT_PORT, Net};
use crate::trace::{now_us, say};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use wasmkeeper::config::Config;
use wasmkeeper::environment::simulated;
use wasmkeeper::peer::EnsembleSecret;
use wasmkeeper::plugin::Compiler;
use wasmkeeper::replica::{Execution, Listening, Member, MemberFacts, Platform, ProposalFault};
use wasmkeeper::session::Workers;
use wasmkeeper::storage::disk::Disk;
use wasmkeeper::storage::testing::{Dice, SimDisk};

/// What all members have and strangers do not.
const SECRET: &str = "5eC2e70123456789abcdef0123456789abcdef0123456789abcdef0123456789";

thread_local! {
    /// The member whose code runs.
    static CURRENT: Cell<net::Machine> = const { Cell::new(0) };
    /// Sentences of members that ended themselves.
    static DIED: RefCell<Vec<(net::Machine, String)>> = const { RefCell::new(Vec::new()) };
}

/// The member whose code runs, or 0 if none does.
pub(crate) fn current() -> net::Machine {
    CURRENT.get()
}

/// Records that the member whose code runs ends itself, and why.
pub(crate) fn dies(sentence: &str) {
    say(format!("m{}", current()), || format!("ends itself: {sentence}"));
    DIED.with_borrow_mut(|died| died.push((current(), sentence.to_owned())));
}

pub(crate) struct Machine {
    pub(crate) number: net::Machine,
    net: Net,
    disk: SimDisk,
    config: Config,
    compiler: Compiler,
    environment: Rc<MemberEnvironment>,
    process: Option<Process>,
    /// Writing a batch of the log takes at least this many microseconds, and at most twice as many. The process reads
    /// the value for each batch.
    disk_delay_us: Arc<AtomicU64>,
    passages: Arc<Mutex<Passages>>,
    /// Why the last start failed.
    pub(crate) refusal: Option<String>,
    /// When the process starts again after it was asked to end.
    starts_us: Option<u64>,
}

/// Faults of batches between the sequencer and consensus.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passages {
    /// The longest wait of a batch, in microseconds.
    pub(crate) wait_us: u64,
    /// Whether one batch in `REFUSED_ONE_IN` is refused.
    pub(crate) refused: bool,
}

/// One in this many batches is refused, while batches are refused at all.
const REFUSED_ONE_IN: u64 = 6;

/// Time from the end of a process that was asked to end until the next process starts.
const START_AGAIN_US: u64 = 300_000;

/// The wall clock and the random numbers of one member.
struct MemberEnvironment {
    dice: RefCell<Dice>,
    wall_offset_ms: Cell<i64>,
}

/// A pause longer than this exceeds the shortest session timeout, and the time that a follower waits for its leader.
const TIMEOUT_US: u64 = 1_200_000;

/// The simulated run begins in 2023.
const EPOCH_MS: i64 = 1_700_000_000_000;

impl simulated::Source for MemberEnvironment {
    fn wall_ms(&self) -> i64 {
        EPOCH_MS + (now_us() / 1000) as i64 + self.wall_offset_ms.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut dice = self.dice.borrow_mut();
        for chunk in bytes.chunks_mut(8) {
            let word = dice.roll().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

struct Process {
    runtime: Runtime,
    /// The runtime's clock and the simulated time when the process began.
    born: Instant,
    born_us: u64,
    stopped_since: Option<u64>,
    phase: Arc<Mutex<Phase>>,
    asked_to_end: Arc<Notify>,
}

enum Phase {
    Starting,
    Serving,
    /// The process was asked to end, and has ended.
    Ended,
    /// The member refused to start, with this sentence.
    Refused(String),
}

/// The causes that end a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// kill -9. The kernel goes on: it closes the process's sockets, and writes its unsynced data to disk.
    Killed,
    /// The machine loses power. Unsynced data may be lost, and peers are not told.
    PowerLost,
}

impl Machine {
    pub(crate) fn new(number: net::Machine, net: Net, config: Config, compiler: Compiler, seed: u64) -> Machine {
        let dice = RefCell::new(Dice::new(seed ^ u64::from(number) << 32));
        Machine {
            number,
            net,
            disk: SimDisk::new(),
            config,
            compiler,
            environment: Rc::new(MemberEnvironment { dice, wall_offset_ms: Cell::new(0) }),
            process: None,
            disk_delay_us: Arc::default(),
            passages: Arc::default(),
            starts_us: None,
            refusal: None,
        }
    }

    fn name(&self) -> String {
        format!("m{}", self.number)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stopped_since.is_some())
    }

    /// Whether the member has started and serves.
    pub(crate) fn serves(&self) -> bool {
        self.process.as_ref().is_some_and(|process| matches!(*process.phase.lock(), Phase::Serving))
    }

    /// The member's line in ZooKeeper's configuration: `server.N=...`.
    pub(crate) fn line(&self) -> String {
        self.config.own_server().map_or(String::new(), |server| format!("server.{}={server}", server.id))
    }

    pub(crate) fn set_disk_delay(&self, us: u64) {
        self.disk_delay_us.store(us, Ordering::Relaxed);
    }

    /// Delays and refuses batches, as if threads waited for a processor and the lease were unreliable.
    pub(crate) fn set_passages(&self, passages: Passages) {
        *self.passages.lock() = passages;
    }

    pub(crate) fn set_wall_offset(&self, ms: i64) {
        say(self.name(), || format!("its wall clock is {ms} ms off"));
        self.environment.wall_offset_ms.set(ms);
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "the machine runs one process");
        self.refusal = None;
        self.starts_us = None;
        say(self.name(), || "starts");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets always starts");
        let born = runtime.block_on(async { Instant::now() });
        let phase = Arc::new(Mutex::new(Phase::Starting));
        let (clients, raft) = (runtime.handle().clone(), runtime.handle().clone());
        let dice = || Mutex::new(Dice::new(self.environment.dice.borrow_mut().roll()));
        let (delay_us, disk_dice) = (self.disk_delay_us.clone(), dice());
        let disk_delay = move || {
            let least = delay_us.load(Ordering::Relaxed);
            Duration::from_micros(least + disk_dice.lock().below(least.max(1)))
        };
        let (met, passage_dice) = (self.passages.clone(), dice());
        let passages = move || {
            let (Passages { wait_us, refused }, mut dice) = (*met.lock(), passage_dice.lock());
            let delay = Duration::from_micros(if wait_us == 0 { 0 } else { dice.below(wait_us) });
            ProposalFault { delay, refused: refused && dice.one_in(REFUSED_ONE_IN) }
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let plug = net::Plug { net: self.net.clone(), machine: self.number };
        let net: Arc<dyn wasmkeeper::peer::Net> = Arc::new(plug);
        let platform = Platform {
            log_disk: disk.clone(),
            disk,
            net,
            secret: Some(EnsembleSecret::parse(SECRET).expect("64 digits")),
            raft,
            clients: Workers::on(clients),
            execution: Execution::Tasks {
                disk_delay: Arc::new(disk_delay),
                proposal_faults: Arc::new(passages),
                compiler: self.compiler.clone(),
            },
            format_level: wasmkeeper::limits::FORMAT_LEVEL,
        };
        let (number, net, config, shown) = (self.number, self.net.clone(), self.config.clone(), phase.clone());
        let asked_to_end = Arc::new(Notify::new());
        let ends = asked_to_end.clone();
        runtime.spawn(async move {
            let served = serve(number, net, config, platform, &shown, &ends).await;
            *shown.lock() = match served {
                Ok(()) => Phase::Ended,
                Err(error) => Phase::Refused(format!("{error:#}")),
            };
        });
        self.process = Some(Process { runtime, born, born_us: now_us(), stopped_since: None, phase, asked_to_end });
    }

    /// Runs the process until the simulated time `to_us`.
    pub(crate) fn step(&mut self, to_us: u64) {
        if self.starts_us.is_some_and(|at| at <= now_us()) {
            self.start();
        }
        let Some(process) = self.process.as_mut().filter(|process| process.stopped_since.is_none()) else { return };
        CURRENT.set(self.number);
        simulated::replace(Some(self.environment.clone()));
        let to = process.born + Duration::from_micros(to_us - process.born_us);
        process.runtime.block_on(async { sleep_until(to).await });
        simulated::replace(None);
        CURRENT.set(0);
        let died = DIED.with_borrow_mut(|died| died.pop()).map(|(_, sentence)| sentence);
        let (refused, ended) = match &*process.phase.lock() {
            Phase::Refused(sentence) => (Some(sentence.clone()), false),
            Phase::Ended => (None, true),
            Phase::Starting | Phase::Serving => (None, false),
        };
        if let Some(sentence) = died.or(refused) {
            say(self.name(), || format!("has ended: {sentence}"));
            self.refusal = Some(sentence);
            self.end(End::Killed, 0);
        } else if ended {
            say(self.name(), || "has ended as it was asked to");
            self.end(End::Killed, 0);
            self.starts_us = Some(now_us() + START_AGAIN_US);
        }
    }

    /// SIGTERM. The member hands over leadership and closes its clients' connections before it ends. It is started
    /// again later. The disk then holds the same as after a kill.
    pub(crate) fn ask_to_end(&self) {
        say(self.name(), || "is asked to end");
        if let Some(process) = &self.process {
            process.asked_to_end.notify_one();
        }
    }

    /// SIGSTOP.
    pub(crate) fn stop(&mut self) {
        say(self.name(), || "is stopped");
        if let Some(process) = &mut self.process {
            process.stopped_since.get_or_insert(now_us());
        }
    }

    /// SIGCONT. The process's clock jumps over the time of the pause.
    pub(crate) fn go_on(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Some(since) = process.stopped_since.take() {
            let pause = Pause { machine: self.number, from_us: since, to_us: now_us() };
            say(format!("m{}", self.number), || format!("goes on after {} ms", (now_us() - since) / 1000));
            CURRENT.set(self.number);
            simulated::replace(Some(self.environment.clone()));
            process.runtime.block_on(async { tokio::time::advance(Duration::from_micros(now_us() - since)).await });
            simulated::replace(None);
            CURRENT.set(0);
            if now_us() - since > TIMEOUT_US {
                met(Situation::PauseBeyondTimeout);
            }
            ledger(|ledger| ledger.pauses.push(pause));
        }
    }

    /// Ends the process. `seed` decides which unsynced data survive a loss of power.
    pub(crate) fn end(&mut self, how: End, seed: u64) {
        let Some(process) = self.process.take() else { return };
        say(self.name(), || format!("{how:?}"));
        match how {
            End::Killed => self.net.process_ended(self.number),
            End::PowerLost => self.net.power_lost(self.number),
        }
        ledger(|ledger| ledger.stopped(self.number));
        // Code that runs while the process is dropped must not write to the disk.
        self.disk.cut_off();
        CURRENT.set(self.number);
        simulated::replace(Some(self.environment.clone()));
        drop(process);
        simulated::replace(None);
        CURRENT.set(0);
        DIED.with_borrow_mut(Vec::clear);
        match how {
            End::Killed => self.disk.restart(),
            End::PowerLost => self.disk.crash(seed),
        }
    }

    /// Gives the machine power again. Does not start the process.
    pub(crate) fn power_on(&mut self) {
        self.net.power_is_back(self.number);
    }

    /// Replaces the disk with an empty one. The process must have ended.
    pub(crate) fn wipe(&mut self) {
        say(self.name(), || "its disk is replaced by an empty one");
        self.disk = SimDisk::new();
    }
}

/// Runs one member until it is asked to end.
async fn serve(
    number: net::Machine,
    net: Net,
    config: Config,
    platform: Platform,
    phase: &Mutex<Phase>,
    asked_to_end: &Notify,
) -> anyhow::Result<()> {
    let listening = || Listening { client_port: Some(CLIENT_PORT), secure_client_port: None, tls: None };
    let member = Member::start(config, platform, |replica| MemberFacts::new(replica, listening())).await?;
    let member = Arc::new(member);
    say(format!("m{number}"), || "serves");
    *phase.lock() = Phase::Serving;
    let mut clients = net.listen(number, CLIENT_PORT)?;
    let ending = member.clone();
    let ended = async {
        asked_to_end.notified().await;
        ending.part_with_clients().await;
    };
    let accepts = async {
        loop {
            let (stream, from) = clients.accept().await?;
            let member = member.clone();
            tokio::spawn(async move { member.serve(stream, from).await });
        }
    };
    tokio::select! {
        biased;
        () = ended => Ok(()),
        failed = accepts => failed,
    }
}
