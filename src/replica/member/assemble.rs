//! From a data directory to the wings of a member, before any of its threads and tasks runs.

use super::Execution;
use crate::config::Config;
use crate::consensus;
use crate::environment::{self, Clock, Instant};
use crate::metrics::Metrics;
use crate::pipeline::{ProvenSchemes, Rules};
use crate::plugin::marks::Marks;
use crate::plugin::{Compiler, Plugins};
use crate::replica::Replica;
use crate::replica::ensemble::Ensemble;
use crate::replica::ensemble::known_members::KnownMembers;
use crate::replica::files::Files;
use crate::replica::operators::virtual_nodes::MemberVirtualNodes;
use crate::replica::ordering::apply::Boundary;
use crate::replica::ordering::{Parts, WriteOrder, format_level};
use crate::replica::plugins::{PluginWork, blame};
use crate::session::{self, Connections};
use crate::simulation::{self, Seen};
use crate::state::State;
use crate::storage::checkpointer::Checkpointer;
use crate::storage::disk::Disk;
use crate::storage::identity::Identity;
use crate::storage::start::{self as data_directory, LogExtent};
use crate::storage::wal;
use crate::storage::{LOG_FOLDER, LogPosition};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The identity of a member that has none yet.
pub(super) fn new_identity(config: &Config) -> anyhow::Result<Identity> {
    let mut incarnation = [0; 16];
    environment::fill_random(&mut incarnation)?;
    Ok(Identity { cluster: 0, member: u64::from(config.server_id), incarnation, log_in_use: false })
}

pub(super) fn open_log(
    disk: Arc<dyn Disk>,
    identity: &Identity,
    metrics: &Arc<Metrics>,
    execution: &Execution,
    raft: &Handle,
) -> anyhow::Result<consensus::Log> {
    let syncs = metrics.clone();
    let options = wal::Options {
        on_sync: Arc::new(move |took| syncs.fsynctime.add(took.as_millis() as u64)),
        drive: match execution {
            Execution::Threads => wal::Drive::Threads,
            Execution::Tasks { disk_delay, .. } => {
                wal::Drive::Task { runtime: raft.clone(), delay: disk_delay.clone() }
            }
        },
        ..wal::Options::new(LOG_FOLDER, identity.incarnation)
    };
    Ok(consensus::Log::open(disk, options)?)
}

/// The state of a checkpoint or an image.
pub(super) struct Loaded {
    state: State,
    /// Where in the log the state stands. None: it has applied no entry.
    pub(crate) position: Option<LogPosition>,
    membership: Option<Vec<u8>>,
    disk: Arc<dyn Disk>,
    checkpointer: Checkpointer,
    log_bytes: u64,
    /// Seeds the tables of the state.
    seed: u64,
    pub(crate) took: Duration,
}

pub(super) fn load_state(disk: Arc<dyn Disk>, log: &consensus::Log, format_level_known: u32) -> anyhow::Result<Loaded> {
    let began = Instant::now();
    let seed = environment::random_u64()?;
    let extent = LogExtent { purged: log.purged(), is_new: log.is_new() };
    let opened = data_directory::open(disk.clone(), extent, 0, || State::load(seed))?;
    let mut state = opened.state.unwrap_or_else(|| State::new(seed));
    state.begin_at_level(opened.meta.format_level);
    let level = state.format_level();
    anyhow::ensure!(level <= format_level_known, format_level::too_old(level, format_level_known));
    let took = began.elapsed();
    simulation::see(|| Seen::Loaded {
        zxid: state.last_zxid(),
        digest: state.digest(),
        from: simulation::Source::Disk,
    });
    tracing::info!(zxid = %state.last_zxid(), nodes = state.node_count(), source = ?opened.source, "state loaded");
    Ok(Loaded {
        state,
        position: opened.meta.position,
        membership: opened.meta.membership,
        disk,
        checkpointer: opened.checkpointer,
        log_bytes: log.stats().bytes,
        seed,
        took,
    })
}

/// What the wings of a member share.
pub(super) struct Assembly {
    pub(crate) config: Arc<Config>,
    pub(crate) known_members: Arc<KnownMembers>,
    pub(crate) format_level: u32,
    /// Raft's runtime.
    pub(crate) runtime: Handle,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

impl Assembly {
    pub(super) fn assemble(self, loaded: Loaded, execution: &Execution) -> anyhow::Result<Arc<Replica>> {
        let Assembly { config, known_members, format_level, runtime, clock, metrics } = self;
        let Loaded { state, position, membership, disk, checkpointer, log_bytes, seed, took: _ } = loaded;
        // Random: no two runs of this member have the same number.
        let run = environment::random_u64()? as u32;
        let plugins = plugins_of(&config, run, execution)?;
        let rules = Arc::new(Rules { schemes: ProvenSchemes::new(plugins.clone()), ..config.rules.clone() });
        let virtual_nodes = MemberVirtualNodes { plugins: plugins.clone(), known_members: known_members.clone() };
        let connections = Connections::new(
            session::Options::from(&*config),
            rules.clone(),
            Box::new(virtual_nodes),
            plugins.clone(),
            session::MemberRun { id: config.server_id, run },
            metrics.clone(),
            clock,
        );
        let order = WriteOrder::new(Parts {
            rules,
            state,
            seed,
            boundary: Boundary::new(position, membership),
            format_level_known: format_level,
            connections,
            plugins: plugins.clone(),
            clock,
            metrics: metrics.clone(),
        });
        Ok(Arc::new(Replica {
            order,
            ensemble: Ensemble::new(config.clone(), known_members, clock),
            plugins: PluginWork::new(plugins),
            files: Files::new(disk, checkpointer, log_bytes, seed, clock, metrics),
            config,
            runtime,
            heavy: execution.heavy(),
        }))
    }
}

fn plugins_of(config: &Config, run: u32, execution: &Execution) -> anyhow::Result<Arc<Plugins>> {
    let compiler = match execution {
        Execution::Threads => Compiler::child(&config.storage.data_dir).map_err(anyhow::Error::msg)?,
        Execution::Tasks { compiler, .. } => compiler.clone(),
    };
    let marks = match (execution, config.plugins) {
        (Execution::Threads, true) => Marks::open(compiler.folder(), run).map_err(anyhow::Error::msg)?,
        (Execution::Tasks { .. }, _) | (_, false) => Marks::default(),
    };
    Ok(Plugins::with(config.plugins, compiler, marks, config.plugin_signers.clone()))
}

/// Gives plugins what they need of their member, and binds those that the tree names.
pub(super) fn connect_plugins(replica: &Arc<Replica>, execution: &Execution) {
    let plugins = &replica.order.plugins;
    let reader = Arc::downgrade(replica);
    plugins.read_nodes_by(Box::new(move |path| reader.upgrade()?.order.data(path)));
    if let Execution::Tasks { disk_delay, .. } = execution {
        let (runtime, disk_delay) = (replica.runtime.clone(), disk_delay.clone());
        plugins.load_by(Box::new(move |load| {
            let delay = disk_delay();
            runtime.spawn(async move {
                tokio::time::sleep(delay).await;
                load();
            });
        }));
    }
    let hearer = Arc::downgrade(replica);
    plugins.blame_to(Box::new(move |said| {
        if let Some(replica) = hearer.upgrade() {
            blame::blame(&replica, said);
        }
    }));
    let state = replica.order.state.read();
    replica.order.bind_plugins(&state);
}
