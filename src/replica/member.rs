//! One member, from a data directory to a serving tree, and back: what the process and the simulation have in common.
//!
//! The order matters: identity, log, state, consensus (which applies what the log has beyond the state), plugins, and only
//! then clients. Going down: clients, sequencer, consensus, a last checkpoint.

use super::plugins::{chores, controllers};
use super::{Replica, housekeeping};
use crate::admin::http::Admin;
use crate::config::Config;
use crate::consensus::{self, Consensus, Heavy, Role};
use crate::environment::{self, Clock, Instant};
use crate::limits;
use crate::metrics::Metrics;
use crate::model::Zxid;
use crate::model::ensemble::Incarnation;
use crate::peer::{self, Me, Net, Peers};
use crate::pipeline::{ProvenSchemes, Rules};
use crate::plugin::marks::Marks;
use crate::plugin::{Compiler, Plugins};
use crate::replica::endpoint::Front;
use crate::replica::ensemble::bootstrap::Own;
use crate::replica::ensemble::follower_links::Served;
use crate::replica::ensemble::known_members::Door;
use crate::replica::ensemble::leader_link::{self, Way};
use crate::replica::ensemble::serving_lease::{self, LeaderWord};
use crate::replica::files::checkpointing::{CheckpointFiles, Checkpointing, Ending};
use crate::replica::operators::facts::Words;
use crate::replica::operators::virtual_nodes::Shown;
use crate::replica::ordering::apply::Boundary;
use crate::replica::ordering::clocks::Clocks;
use crate::replica::ordering::delayed_consensus::{Passages, Slow};
use crate::replica::ordering::inbox::Inbox;
use crate::replica::ordering::provenance::Provenance;
use crate::replica::ordering::sequencer::{Event, Sequencer};
use crate::replica::ordering::soundness::Soundness;
use crate::replica::plugins::prepare::Preparations;
use crate::replica::process::{OrDie, die};
use crate::session::{self, Connections, Server, Serving, Workers, listener};
use crate::simulation::{self, Seen};
use crate::state::State;
use crate::storage::disk::Disk;
use crate::storage::identity::Identity;
use crate::storage::start::{self as data_directory, LogExtent};
use crate::storage::wal;
use crate::storage::{LOG_FOLDER, LogPosition};
use crate::watch::Watches;
use anyhow::Context;
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle as Task, JoinSet};

/// What a member stands on.
pub struct Surroundings {
    pub disk: Arc<dyn Disk>,
    /// The same disk, unless the log has one of its own.
    pub log_disk: Arc<dyn Disk>,
    /// The way to other members.
    pub net: Arc<dyn Net>,
    /// Where Raft's tasks run, and what other members are served by.
    pub raft: Handle,
    /// Where everything for clients runs.
    pub clients: Workers,
    pub drive: Drive,
    /// What this release understands: `limits::FORMAT_LEVEL`, but for tests of upgrades.
    pub format_level: u32,
}

/// Who does what takes time.
pub enum Drive {
    /// Threads for the sequencer, the log and checkpoints.
    Threads,
    /// Tasks, for the simulation: all of the member runs on one thread. Each batch of the log lasts `disk_delay`, and meets
    /// one of the `passages` on its way from the sequencer to consensus. Code of plugins is there, or made, as `compiler`
    /// says, and takes `disk_delay` to be loaded.
    Tasks { disk_delay: Arc<dyn Fn() -> Duration + Send + Sync>, passages: Passages, compiler: Compiler },
}

impl Drive {
    fn heavy(&self) -> Heavy {
        match self {
            Drive::Threads => Heavy::Aside,
            Drive::Tasks { .. } => Heavy::Here,
        }
    }
}

/// A running member.
pub struct Member {
    pub(crate) replica: Arc<Replica>,
    front: Arc<dyn Server>,
    /// The same, as HTTP sees it.
    admin: Arc<dyn Admin>,
    raft: Handle,
    /// From here to a serving member, which may take as long as there is no leader.
    coming_up: Task<()>,
    threads: Arc<Mutex<Threads>>,
    /// What goes on for as long as the member is there.
    tasks: JoinSet<()>,
    ending: Arc<Ending>,
}

/// Those that have started; none where they are tasks.
#[derive(Default)]
struct Threads {
    sequencer: Option<JoinHandle<()>>,
    checkpointing: Option<JoinHandle<()>>,
}

/// How far a member has come up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begins,
    /// There are other voters: when it serves is not for it alone to say.
    WithOthers,
    Serves,
}

impl Member {
    /// Returns once it serves if it stands alone; a member of an ensemble may come up long before that, and turns clients away
    /// until then. `words` makes what answers four letter words. An error is a sentence for the operator.
    pub async fn start(
        config: Config,
        surroundings: Surroundings,
        words: impl FnOnce(Arc<Replica>) -> Words,
    ) -> anyhow::Result<Member> {
        let Surroundings { disk, log_disk, net, raft, clients, drive, format_level } = surroundings;
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let identity = data_directory::identify(&*disk, new_identity(&config)?)?;
        let log = open_log(log_disk, &identity, &metrics, &drive, &raft)?;
        let loaded = load_state(disk.clone(), &log, format_level)?;
        let load_took = loaded.took;

        let is_empty = log.is_new() && loaded.boundary.position.is_none();
        let cluster = if is_empty { 0 } else { identity.cluster };
        let me = Me::new(config.server_id, identity.incarnation, format_level, cluster);
        let peers = Arc::new(Peers::new(net.clone(), me.clone()));
        let door = Arc::new(Door::new(peers, &config.ensemble.servers));
        let tasks = listen_for_members(&config, &*net, &me, &door, &raft).await?;
        let number = environment::random_u64()? as u32;
        let plugins = plugins_of(&config, number, &drive)?;
        let run = Run { number, clock, metrics, runtime: raft.clone(), heavy: drive.heavy() };
        let replica = Arc::new(Replica::assemble(config, run, loaded, door, plugins));
        replica.remember_sessions();
        replica.connect_plugins(&drive);

        let front = Arc::new(Front { words: words(replica.clone()), replica: replica.clone() });
        let admin: Arc<dyn Admin> = front.clone();
        let front: Arc<dyn Server> = front;
        start_asking(&front, &drive, &clients)?;
        let (stage, stages) = watch::channel(Stage::Begins);
        let threads = Arc::new(Mutex::new(Threads::default()));
        let ending = Arc::new(Ending::default());
        let stands_alone = replica.config.stands_alone();
        let coming_up = ComingUp {
            replica: replica.clone(),
            raft: raft.clone(),
            keeper: clients.first().clone(),
            drive,
            disk,
            me,
            empty: is_empty.then_some(identity.incarnation),
            load_took,
            threads: threads.clone(),
            ending: ending.clone(),
            stage,
        };
        let (failed, failure) = oneshot::channel();
        let coming_up = raft.spawn(async move {
            if let Err(error) = coming_up.run(log).await
                && let Err(error) = failed.send(error)
            {
                die(&format!("{error:#}"));
            }
        });
        let member = Member { replica, front, admin, raft, coming_up, threads, tasks, ending };
        if stands_alone {
            member.until_it_serves(stages, failure).await?;
        }
        Ok(member)
    }

    /// A server that stands alone serves before anybody is told that it has started. One that others have joined since may
    /// have to wait for them.
    async fn until_it_serves(
        &self,
        mut stages: watch::Receiver<Stage>,
        failure: oneshot::Receiver<anyhow::Error>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            Ok(error) = failure => Err(error),
            reached = stages.wait_for(|stage| *stage != Stage::Begins) => {
                anyhow::ensure!(reached.is_ok(), "the server did not start");
                Ok(())
            }
        }
    }

    pub fn config(&self) -> &Config {
        &self.replica.config
    }

    /// What connections speak to.
    pub fn server(&self) -> &Arc<dyn Server> {
        &self.front
    }

    /// What HTTP speaks to.
    pub fn admin(&self) -> &Arc<dyn Admin> {
        &self.admin
    }

    /// Serves a client that came otherwise than through a listener, until its end.
    pub async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        listener::serve(&self.replica.connections, stream, peer, self.front.clone()).await;
    }

    /// Takes no more clients and no more requests, and parts with each client when all it has asked is answered. A leader
    /// hands over before, so that nobody has to wait for an election.
    pub async fn part_with_clients(&self) {
        self.replica.leaving.store(true, Ordering::Release);
        self.replica.word.set_serving(Serving::Nobody);
        self.replica.connections.take_no_more();
        self.replica.hand_over().await;
        self.replica.let_clients_go().await;
    }

    /// Ends, with a last checkpoint. Nobody may submit anything any more.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.replica.leaving.store(true, Ordering::Release);
        // Done already, unless it never got as far as to serve.
        self.coming_up.abort();
        let _ = self.coming_up.await;
        let Threads { sequencer, checkpointing } = std::mem::take(&mut *self.threads.lock());
        self.replica.inbox.put(Event::Stop);
        if let Some(sequencer) = sequencer {
            sequencer.join().map_err(|_| anyhow::anyhow!("the sequencer panicked"))?;
        }
        // Before consensus ends: the last checkpoint lets the log go.
        self.ending.ask();
        if let Some(checkpointing) = checkpointing {
            checkpointing.join().map_err(|_| anyhow::anyhow!("writing the last checkpoint panicked"))?;
        }
        if let Some(consensus) = self.replica.consensus.get().cloned() {
            // On Raft's runtime, which goes on while this waits.
            self.raft.spawn(async move { consensus.shutdown().await }).await?;
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}

/// What a member needs to come up once its state is loaded.
struct ComingUp {
    replica: Arc<Replica>,
    raft: Handle,
    keeper: Handle,
    drive: Drive,
    disk: Arc<dyn Disk>,
    me: Me,
    /// The incarnation of a member whose log and state are empty.
    empty: Option<Incarnation>,
    load_took: Duration,
    threads: Arc<Mutex<Threads>>,
    ending: Arc<Ending>,
    stage: watch::Sender<Stage>,
}

impl ComingUp {
    async fn run(self, log: consensus::Log) -> anyhow::Result<()> {
        let replica = &self.replica;
        let beginning = match self.empty {
            Some(incarnation) => Some(Own::new(&replica.config, incarnation).settle(&replica.door).await),
            None => None,
        };
        if let Some(beginning) = &beginning {
            // It is the first time: nothing else was said before.
            let _ = self.me.belong_to(beginning.cluster);
            data_directory::note_cluster(&*self.disk, beginning.cluster)?;
        }
        let (found, roster) = beginning.map_or((None, None), |beginning| (beginning.found, beginning.roster));
        let replay_began = Instant::now();
        let consensus = consensus::start(consensus::Options {
            member: u64::from(replica.config.server_id),
            log,
            machine: replica.clone(),
            runtime: self.raft.clone(),
            timing: consensus::Timing::default(),
            heavy: replica.heavy,
            peers: replica.door.peers().clone(),
            found,
        })
        .await?;
        let _ = replica.consensus.set(consensus.clone());
        self.start_sequencer(&consensus)?;
        replica.door.open(replica, roster);
        // These end with consensus.
        self.raft.spawn(replica.door.clone().keep_roster(Arc::downgrade(replica)));
        self.raft.spawn(replica.door.clone().gather(Arc::downgrade(replica)));
        self.raft.spawn(tell_roles(replica.clone(), consensus.clone()));
        self.raft.spawn(leader_link::follow(replica.clone(), replica.door.peers().clone()));
        let alone = replica.is_only_voter();
        self.raft.spawn(serving_lease::watch_lease(replica.clone()));
        self.raft.spawn(serving_lease::keep_gate(replica.clone()));
        self.raft.spawn(replica.clone().keep_sound());
        if !alone {
            self.stage.send_replace(Stage::WithOthers);
        }
        anyhow::ensure!(consensus.recovered().await, "consensus ended before this server had recovered its state");
        let replay_took = replay_began.elapsed();
        let metrics = replica.connections.metrics();
        metrics.startup_snap_load_time.add(self.load_took.as_millis() as u64);
        metrics.startup_txns_load_time.add(replay_took.as_millis() as u64);
        metrics.startup_txns_loaded.add(replica.boundary.lock().replayed);
        metrics.dbinittime.add((self.load_took + replay_took).as_millis() as u64);
        if alone {
            replica.wait_until_leading().await;
        }
        // Whoever has recovered has a leader, for whom it has voted or whose vote it has taken over: the log holds that.
        data_directory::note_log_in_use(&*self.disk)?;
        self.settle_plugins().await;
        replica.recovered.store(true, Ordering::Release);
        self.start_checkpointing()?;
        let keeper = &self.keeper;
        keeper.spawn(housekeeping::expire_sessions(replica.clone()));
        keeper.spawn(housekeeping::collect(replica.clone()));
        keeper.spawn(chores::do_chores(replica.clone()));
        keeper.spawn(controllers::run_controllers(replica.clone()));
        keeper.spawn(housekeeping::remove_unused_modules(replica.clone()));
        if alone {
            replica.serve_at_once();
        }
        self.stage.send_replace(Stage::Serves);
        Ok(())
    }

    fn start_sequencer(&self, consensus: &Consensus) -> anyhow::Result<()> {
        let (replica, judge, clocks) = (self.replica.clone(), self.replica.plugins.judge(), Clocks::new()?);
        match &self.drive {
            Drive::Threads => {
                let sequencer = Sequencer::new(replica, consensus.clone(), judge, clocks);
                let thread = std::thread::Builder::new().name("sequencer".into()).spawn(move || sequencer.run())?;
                self.threads.lock().sequencer = Some(thread);
            }
            Drive::Tasks { passages, .. } => {
                let slow = Slow::new(consensus.clone(), passages.clone(), &self.raft);
                self.raft.spawn(Sequencer::new(replica, slow, judge, clocks).run_as_task());
            }
        }
        Ok(())
    }

    fn start_checkpointing(&self) -> anyhow::Result<()> {
        let checkpointing = Checkpointing::new(self.replica.clone(), self.ending.clone());
        match &self.drive {
            Drive::Threads => {
                let thread =
                    std::thread::Builder::new().name("checkpoint".into()).spawn(move || checkpointing.run())?;
                self.threads.lock().checkpointing = Some(thread);
            }
            Drive::Tasks { .. } => drop(self.raft.spawn(checkpointing.run_as_task())),
        }
        Ok(())
    }

    /// What a plugin enforces, it enforces from the first request on.
    async fn settle_plugins(&self) {
        let until = Instant::now() + limits::PLUGINS_SETTLE_MAX;
        while !self.replica.plugins.settled() && Instant::now() < until {
            tokio::time::sleep(limits::PLUGINS_SETTLE_LOOK_INTERVAL).await;
        }
    }
}

/// This run of the process, as all parts of the member know it.
struct Run {
    /// By chance, so that no two runs have the same.
    number: u32,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Raft's.
    runtime: Handle,
    heavy: Heavy,
}

/// The state as a checkpoint or an image has it, and where in the log that is.
struct Loaded {
    state: State,
    zxid: Zxid,
    boundary: Boundary,
    files: CheckpointFiles,
    took: Duration,
}

fn open_log(
    disk: Arc<dyn Disk>,
    identity: &Identity,
    metrics: &Arc<Metrics>,
    drive: &Drive,
    raft: &Handle,
) -> anyhow::Result<consensus::Log> {
    let syncs = metrics.clone();
    let options = wal::Options {
        on_sync: Arc::new(move |took| syncs.fsynctime.add(took.as_millis() as u64)),
        drive: match drive {
            Drive::Threads => wal::Drive::Threads,
            Drive::Tasks { disk_delay, .. } => wal::Drive::Task { runtime: raft.clone(), delay: disk_delay.clone() },
        },
        ..wal::Options::new(LOG_FOLDER, identity.incarnation)
    };
    Ok(consensus::Log::open(disk, options)?)
}

fn load_state(disk: Arc<dyn Disk>, log: &consensus::Log, format_level: u32) -> anyhow::Result<Loaded> {
    let began = Instant::now();
    let seed = environment::random_u64()?;
    let extent = LogExtent { purged: log.purged(), is_new: log.is_new() };
    let opened = data_directory::open(disk.clone(), extent, 0, || State::load(seed))?;
    let mut state = opened.state.unwrap_or_else(|| State::new(seed));
    state.begin_at_level(opened.meta.format_level);
    let level = state.format_level();
    anyhow::ensure!(level <= format_level, crate::replica::ensemble::format_level::too_old(level, format_level));
    let took = began.elapsed();
    simulation::see(|| Seen::Loaded {
        zxid: state.last_zxid(),
        digest: state.digest(),
        from: simulation::Source::Disk,
    });
    tracing::info!(zxid = %state.last_zxid(), nodes = state.node_count(), source = ?opened.source, "state loaded");
    Ok(Loaded {
        state,
        zxid: opened.meta.zxid,
        boundary: Boundary::new(opened.meta.position, opened.meta.membership),
        files: CheckpointFiles {
            disk,
            reader: Mutex::new(opened.checkpointer.last().reader()),
            checkpointer: Mutex::new(opened.checkpointer),
            log_bytes_at_start: log.stats().bytes,
            seed,
        },
        took,
    })
}

/// What lets other members in, for as long as it is not dropped.
async fn listen_for_members(
    config: &Config,
    net: &dyn Net,
    me: &Me,
    door: &Arc<Door>,
    raft: &Handle,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for address in &config.ensemble.listen {
        let listener = net
            .listen(*address)
            .await
            .with_context(|| format!("listen for other members on {address}: is another server running there?"))?;
        tasks.spawn_on(peer::accept(listener, me.clone(), door.clone()), raft);
    }
    Ok(tasks)
}

fn plugins_of(config: &Config, run: u32, drive: &Drive) -> anyhow::Result<Arc<Plugins>> {
    let compiler = match drive {
        Drive::Threads => Compiler::child(&config.storage.data_dir).map_err(anyhow::Error::msg)?,
        Drive::Tasks { compiler, .. } => compiler.clone(),
    };
    let marks = match (drive, config.plugins) {
        (Drive::Threads, true) => Marks::open(compiler.folder(), run).map_err(anyhow::Error::msg)?,
        (Drive::Tasks { .. }, _) | (_, false) => Marks::default(),
    };
    Ok(Plugins::with(config.plugins, compiler, marks, config.plugin_signers.clone()))
}

/// Who asks plugins on behalf of reads. It ends with the member's connections.
fn start_asking(front: &Arc<dyn Server>, drive: &Drive, clients: &Workers) -> anyhow::Result<()> {
    let inquirer = session::Inquirer::of(front);
    match drive {
        Drive::Threads => {
            let answer = move || {
                let _whole = OrDie("asking plugins about reads");
                inquirer.run();
            };
            std::thread::Builder::new().name("plugin-reads".into()).spawn(answer).context("start a thread")?;
        }
        Drive::Tasks { .. } => drop(clients.first().spawn(inquirer.run_as_task())),
    }
    Ok(())
}

fn new_identity(config: &Config) -> anyhow::Result<Identity> {
    let mut incarnation = [0; 16];
    environment::fill_random(&mut incarnation)?;
    Ok(Identity { cluster: 0, member: u64::from(config.server_id), incarnation, log_in_use: false })
}

/// Passes consensus' roles on to the sequencer.
async fn tell_roles(replica: Arc<Replica>, consensus: Consensus) {
    let mut role = consensus.role();
    let metrics = replica.connections.metrics().clone();
    let mut leaderless_since = None;
    loop {
        let now = *role.borrow_and_update();
        if now == (Role::Follower { leader: None }) {
            leaderless_since.get_or_insert_with(|| {
                metrics.looking_count.increment();
                Instant::now()
            });
        } else if let Some(since) = leaderless_since.take() {
            metrics.election_time.add(since.elapsed().as_millis() as u64);
        }
        replica.inbox.put(Event::Role(now));
        if now == Role::Stopped && !replica.leaving.load(Ordering::Acquire) {
            die("consensus has ended by itself: this is a bug; start the server again");
        }
        if role.changed().await.is_err() {
            return;
        }
    }
}

impl Replica {
    /// All that its threads and tasks share, before any of them runs.
    fn assemble(config: Config, run: Run, loaded: Loaded, door: Arc<Door>, plugins: Arc<Plugins>) -> Replica {
        let rules = Arc::new(Rules { schemes: ProvenSchemes::new(plugins.clone()), ..config.rules.clone() });
        let connections = Connections::new(
            session::Options::from(&config),
            rules.clone(),
            Box::new(Shown { plugins: plugins.clone(), door: door.clone() }),
            plugins.clone(),
            config.server_id,
            run.number,
            run.metrics,
            run.clock,
        );
        Replica {
            rules,
            state: RwLock::new(loaded.state),
            watches: Mutex::new(Watches::new(loaded.files.seed)),
            boundary: Mutex::new(loaded.boundary),
            files: loaded.files,
            connections,
            inbox: Inbox::default(),
            served: Served::default(),
            way: Way::default(),
            soundness: Soundness::default(),
            provenance: Provenance::default(),
            word: LeaderWord::new(&config.sessions),
            plugins,
            preparations: Preparations::default(),
            door,
            consensus: OnceLock::new(),
            last_applied: AtomicU64::new(loaded.zxid.0),
            leading: AtomicBool::new(false),
            leading_since_ms: AtomicU64::new(0),
            ensemble_ahead_ms: AtomicI64::new(0),
            chores: Notify::new(),
            changed: Default::default(),
            controllers_wake: Notify::new(),
            syncs_waiting: AtomicU64::new(0),
            recovered: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            clock: run.clock,
            runtime: run.runtime,
            heavy: run.heavy,
            config,
        }
    }

    /// Gives plugins what they need of their member, and makes those that the tree binds.
    fn connect_plugins(self: &Arc<Replica>, drive: &Drive) {
        let plugins = &self.plugins;
        let reader = Arc::downgrade(self);
        plugins.read_nodes_by(Box::new(move |path| {
            let replica = reader.upgrade()?;
            let state = replica.state.read();
            state.node(path).map(|node| node.data().unwrap_or_default().to_vec())
        }));
        if let Drive::Tasks { disk_delay, .. } = drive {
            let (runtime, disk_delay) = (self.runtime.clone(), disk_delay.clone());
            plugins.load_by(Box::new(move |load| {
                let delay = disk_delay();
                runtime.spawn(async move {
                    tokio::time::sleep(delay).await;
                    load();
                });
            }));
        }
        let hearer = Arc::downgrade(self);
        plugins.blame_to(Box::new(move |blame| {
            if let Some(replica) = hearer.upgrade() {
                replica.blame(blame);
            }
        }));
        plugins.refresh(&*self.state.read());
        let registry = plugins.registry();
        let zxid = Zxid(self.last_applied.load(Ordering::Acquire));
        simulation::see(|| Seen::Bound { zxid, registry: &registry });
    }

    /// Sessions that the state knows have their full timeout from now on.
    pub(crate) fn remember_sessions(&self) {
        let state = self.state.read();
        for (session, known) in state.sessions() {
            self.connections.expiry().open(session, known.timeout_ms, self.connections.now_us() / 1000);
        }
    }

    /// Gives the leadership to another voter, if there is one, once no client of any member waits for this leader, or
    /// `limits::DRAIN_MAX` later: what is under way then may be left without an answer.
    async fn hand_over(&self) {
        let Some(consensus) = self.consensus.get() else { return };
        if !matches!(*consensus.role().borrow(), Role::Leader { .. }) || consensus.membership().voters.len() < 2 {
            return;
        }
        self.served.have_others_hold_back();
        let until = Instant::now() + limits::DRAIN_MAX;
        while (self.served.others_submit() || self.connections.outstanding() > 0) && Instant::now() < until {
            tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
        }
        match consensus.transfer(None).await {
            Ok(leader) => tracing::info!(leader, "has handed over"),
            Err(error) => tracing::warn!(%error, "goes without having handed over"),
        }
    }

    async fn let_clients_go(&self) {
        let answered = Instant::now() + limits::DRAIN_MAX;
        let flushed = answered + limits::FLUSH_AT_END_MAX;
        while self.connections.count() > 0 && Instant::now() < flushed {
            if Instant::now() < answered {
                self.connections.close_idle();
            } else {
                self.connections.close_all();
            }
            tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
        }
    }

    async fn wait_until_leading(&self) {
        while !self.leading.load(Ordering::Acquire) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

impl Boundary {
    fn new(position: Option<LogPosition>, membership: Option<Vec<u8>>) -> Boundary {
        Boundary { position, membership, ..Boundary::default() }
    }
}
