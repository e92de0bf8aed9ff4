//! One member, from a data directory to a serving tree, and back: what the process and the simulation have in common.
//!
//! The order matters: identity, log, state, consensus (which applies what the log has beyond the state), plugins, and only
//! then clients. Going down: clients, sequencer, consensus, a last checkpoint.

use super::apply::Boundary;
use super::checkpointing::{Checkpointing, Ending};
use super::clocks::Clocks;
use super::facts::Words;
use super::inbox::Inbox;
use super::sequencer::{Event, Sequencer};
use super::serve::Front;
use super::start::die;
use super::{Replica, housekeeping};
use crate::admin::metrics::Metrics;
use crate::config::Config;
use crate::consensus::{self, Consensus, Role};
use crate::environment::{self, Instant};
use crate::limits;
use crate::plugin::{Compiler, Plugins};
use crate::session::{self, Connections, Server, Workers, listener};
use crate::simulation::{self, Seen};
use crate::state::State;
use crate::storage::disk::Disk;
use crate::storage::identity::Identity;
use crate::storage::start::{self as data_directory, LogExtent};
use crate::storage::wal;
use crate::storage::{LOG_FOLDER, LogPosition};
use crate::watch::Watches;
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

/// What a member stands on.
pub struct Surroundings {
    pub disk: Arc<dyn Disk>,
    /// The same disk, unless the log has one of its own.
    pub log_disk: Arc<dyn Disk>,
    /// Where Raft's tasks run.
    pub raft: Handle,
    /// Where everything for clients runs.
    pub clients: Workers,
    pub drive: Drive,
}

/// Who does what takes time.
pub enum Drive {
    /// Threads for the sequencer, the log and checkpoints.
    Threads,
    /// Tasks, for the simulation: all of the member runs on one thread. Each batch of the log lasts `disk_delay`.
    Tasks { disk_delay: Arc<dyn Fn() -> Duration + Send + Sync> },
}

/// A running member.
pub struct Member {
    replica: Arc<Replica>,
    front: Arc<dyn Server>,
    raft: Handle,
    /// None where it is a task.
    sequencer: Option<JoinHandle<()>>,
    checkpointing: Option<JoinHandle<()>>,
    ending: Arc<Ending>,
}

impl Member {
    /// Returns once it serves. `words` makes what answers four letter words. An error is a sentence for the operator.
    pub async fn start(
        config: Config,
        surroundings: Surroundings,
        words: impl FnOnce(Arc<Replica>) -> Words,
    ) -> anyhow::Result<Member> {
        let Surroundings { disk, log_disk, raft, clients, drive } = surroundings;
        let started = Instant::now();
        let data_dir = config.storage.data_dir.clone();
        let identity = data_directory::identify(&*disk, new_identity(&config)?)?;
        let metrics = Arc::new(Metrics::new());
        let syncs = metrics.clone();
        let log_options = wal::Options {
            on_sync: Arc::new(move |took| syncs.fsynctime.add(took.as_millis() as u64)),
            drive: match &drive {
                Drive::Threads => wal::Drive::Threads,
                Drive::Tasks { disk_delay } => wal::Drive::Task { runtime: raft.clone(), delay: disk_delay.clone() },
            },
            ..wal::Options::new(LOG_FOLDER, identity.incarnation)
        };
        let log = consensus::Log::open(log_disk, log_options)?;
        let load_began = Instant::now();
        let seed = environment::random_u64()?;
        let opened =
            data_directory::open(disk.clone(), LogExtent { purged: log.purged(), is_new: log.is_new() }, 0, || {
                State::load(seed)
            })?;
        let state = opened.state.unwrap_or_else(|| State::new(seed));
        let load_took = load_began.elapsed();
        simulation::see(|| Seen::Loaded {
            zxid: state.last_zxid(),
            digest: state.digest(),
            from: simulation::Source::Disk,
        });
        tracing::info!(zxid = %state.last_zxid(), nodes = state.node_count(), source = ?opened.source, "state loaded");

        let rules = Arc::new(config.rules.clone());
        let compiler = Compiler::child(&data_dir).map_err(anyhow::Error::msg)?;
        let plugins = Plugins::new(config.plugins, compiler);
        let shown = Shown(plugins.clone());
        let options = session::Options::from(&config);
        let run = environment::random_u64()? as u32;
        let connections =
            Connections::new(options, rules.clone(), Box::new(shown), config.server_id, run, metrics.clone());
        let replica = Arc::new(Replica {
            rules,
            state: RwLock::new(state),
            watches: Mutex::new(Watches::new(seed)),
            boundary: Mutex::new(Boundary::new(opened.meta.position, opened.meta.membership)),
            connections,
            inbox: Inbox::default(),
            plugins: plugins.clone(),
            consensus: OnceLock::new(),
            last_applied: AtomicU64::new(opened.meta.zxid.0),
            leading: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            started,
            runtime: raft.clone(),
            config,
        });
        replica.remember_sessions();
        let reader = Arc::downgrade(&replica);
        plugins.read_nodes_by(Box::new(move |path| {
            let replica = reader.upgrade()?;
            let state = replica.state.read();
            state.node(path).map(|node| node.data().unwrap_or_default().to_vec())
        }));
        plugins.refresh(&*replica.state.read());

        let log_bytes = log.stats().bytes;
        let replay_began = Instant::now();
        let consensus = consensus::start(consensus::Options {
            member: u64::from(replica.config.server_id),
            log,
            machine: replica.clone(),
            runtime: raft.clone(),
            timing: consensus::Timing::default(),
        })
        .await?;
        let _ = replica.consensus.set(consensus.clone());
        let sequencer = Sequencer::new(replica.clone(), consensus.clone(), plugins.judge(), Clocks::new()?);
        let sequencer = match &drive {
            Drive::Threads => {
                Some(std::thread::Builder::new().name("sequencer".into()).spawn(move || sequencer.run())?)
            }
            Drive::Tasks { .. } => {
                raft.spawn(sequencer.run_as_task());
                None
            }
        };
        raft.spawn(tell_roles(replica.clone(), consensus.clone()));
        anyhow::ensure!(consensus.recovered().await, "consensus ended before this server had recovered its state");
        let replay_took = replay_began.elapsed();
        metrics.startup_snap_load_time.add(load_took.as_millis() as u64);
        metrics.startup_txns_load_time.add(replay_took.as_millis() as u64);
        metrics.startup_txns_loaded.add(replica.boundary.lock().replayed);
        metrics.dbinittime.add((load_took + replay_took).as_millis() as u64);
        replica.wait_until_leading().await;
        // A leader has voted for itself: the log holds that.
        data_directory::note_log_in_use(&*disk)?;
        // What a plugin enforces, it enforces from the first request on.
        plugins.settle(limits::PLUGINS_SETTLE_MAX);

        let ending = Arc::new(Ending::default());
        let checkpointing = Checkpointing::new(replica.clone(), opened.checkpointer, log_bytes, ending.clone());
        let checkpointing = match &drive {
            Drive::Threads => {
                Some(std::thread::Builder::new().name("checkpoint".into()).spawn(move || checkpointing.run())?)
            }
            Drive::Tasks { .. } => {
                raft.spawn(checkpointing.run_as_task());
                None
            }
        };
        replica.serving.store(true, Ordering::Release);
        let keeper = clients.first();
        keeper.spawn(housekeeping::expire_sessions(replica.clone()));
        keeper.spawn(housekeeping::collect(replica.clone()));
        keeper.spawn(housekeeping::remove_unused_modules(replica.clone()));
        let front: Arc<dyn Server> = Arc::new(Front { words: words(replica.clone()), replica: replica.clone() });
        Ok(Member { replica, front, raft, sequencer, checkpointing, ending })
    }

    pub fn config(&self) -> &Config {
        &self.replica.config
    }

    /// What connections speak to.
    pub fn server(&self) -> &Arc<dyn Server> {
        &self.front
    }

    /// Serves a client that came otherwise than through a listener, until its end.
    pub async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        listener::serve(&self.replica.connections, stream, peer, self.front.clone()).await;
    }

    /// Takes no more clients, and gives those that are there a moment for what is under way.
    pub async fn part_with_clients(&self) {
        self.replica.serving.store(false, Ordering::Release);
        self.replica.connections.close_all();
        self.replica.until_clients_are_gone().await;
    }

    /// Ends, with a last checkpoint. Nobody may submit anything any more.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.replica.inbox.put(Event::Stop);
        if let Some(sequencer) = self.sequencer {
            sequencer.join().map_err(|_| anyhow::anyhow!("the sequencer panicked"))?;
        }
        // Before consensus ends: the last checkpoint lets the log go.
        self.ending.ask();
        if let Some(checkpointing) = self.checkpointing {
            checkpointing.join().map_err(|_| anyhow::anyhow!("writing the last checkpoint panicked"))?;
        }
        let consensus = self.replica.consensus().clone();
        // On Raft's runtime, which goes on while this waits.
        self.raft.spawn(async move { consensus.shutdown().await }).await?;
        Ok(())
    }
}

fn new_identity(config: &Config) -> anyhow::Result<Identity> {
    let mut incarnation = [0; 16];
    environment::fill_random(&mut incarnation)?;
    Ok(Identity {
        cluster: environment::random_u64()?,
        member: u64::from(config.server_id),
        incarnation,
        log_in_use: false,
    })
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
        if now == Role::Stopped && replica.serving.load(Ordering::Acquire) {
            die("consensus has ended by itself: this is a bug; start the server again");
        }
        if role.changed().await.is_err() {
            return;
        }
    }
}

impl Replica {
    /// Sessions that the state knows have their full timeout from now on.
    fn remember_sessions(&self) {
        let state = self.state.read();
        for (session, known) in state.sessions() {
            self.connections.expiry().open(session, known.timeout_ms, self.connections.now_us() / 1000);
        }
    }

    async fn until_clients_are_gone(&self) {
        let end = Instant::now() + limits::FLUSH_AT_END_MAX;
        while self.connections.count() > 0 && Instant::now() < end {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
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

/// What this member shows under `/zookeeper/` beside the tree.
struct Shown(Arc<Plugins>);

impl crate::pipeline::read::VirtualNodes for Shown {
    fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.0.virtual_node(path)
    }
}
