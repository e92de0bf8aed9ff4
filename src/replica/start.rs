//! From a data directory to a serving member, and back.
//!
//! The order matters: lock, identity, log, state, consensus (which applies what the log has beyond the state), plugins,
//! and only then the listeners. Going down: listeners, clients, sequencer, consensus, a last checkpoint.

use super::apply::Boundary;
use super::checkpointing::{self, Ending};
use super::clocks::Clocks;
use super::facts::{Listening, Words};
use super::inbox::Inbox;
use super::sequencer::{Event, Sequencer};
use super::serve::Front;
use super::{Replica, housekeeping};
use crate::admin::metrics::Metrics;
use crate::config::Config;
use crate::consensus::{self, Consensus, Role};
use crate::environment::{self, Instant};
use crate::limits;
use crate::plugin::{Compiler, Plugins};
use crate::session::{self, Connections, Server, WaitsFor, WorkerThreads, Workers, listener, tls};
use crate::state::State;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::identity::Identity;
use crate::storage::start::{self as data_directory, LogExtent};
use crate::storage::wal::{self, DirectoryLock};
use crate::storage::{LOG_FOLDER, LogPosition};
use crate::watch::Watches;
use anyhow::Context;
use parking_lot::{Mutex, RwLock};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::net::TcpListener;

/// A running member.
pub struct Running {
    replica: Arc<Replica>,
    /// Connections, listeners, housekeeping.
    clients: WorkerThreads,
    /// Raft alone, so that nothing of the server delays a heartbeat.
    raft: WorkerThreads,
    sequencer: JoinHandle<()>,
    checkpointing: JoinHandle<()>,
    ending: Arc<Ending>,
    /// Where clients reach it, plain ones first.
    addresses: Vec<SocketAddr>,
    _lock: DirectoryLock,
}

/// Brings a member up; returns once it serves. An error is a sentence for the operator.
pub fn start(config: Config) -> anyhow::Result<Running> {
    let started = Instant::now();
    let data_dir = config.storage.data_dir.clone();
    std::fs::create_dir_all(&data_dir).with_context(|| format!("create the data directory {}", data_dir.display()))?;
    let lock = DirectoryLock::acquire(&data_dir)?;
    // Ports first: the cheapest way to find out that another server runs here.
    let clients = WorkerThreads::start("client", limits::CLIENT_THREADS, WaitsFor::Sockets)
        .context("start the client threads")?;
    let listeners = Listeners::bind(&config, clients.workers())?;
    let raft_threads = WorkerThreads::start("raft", 1, WaitsFor::Nothing).context("start Raft's thread")?;
    let raft = raft_threads.workers().first().clone();

    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&data_dir));
    let log_disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&config.storage.log_dir));
    std::fs::create_dir_all(&config.storage.log_dir)
        .with_context(|| format!("create the log directory {}", config.storage.log_dir.display()))?;
    let identity = data_directory::identify(&*disk, new_identity(&config)?)?;
    let metrics = Arc::new(Metrics::new());
    let syncs = metrics.clone();
    let log_options = wal::Options {
        on_sync: Arc::new(move |took| syncs.fsynctime.add(took.as_millis() as u64)),
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
    tracing::info!(zxid = %state.last_zxid(), nodes = state.node_count(), source = ?opened.source, "state loaded");

    let rules = Arc::new(config.rules.clone());
    let compiler = Compiler::child(&data_dir).map_err(anyhow::Error::msg)?;
    let plugins = Plugins::new(config.plugins, compiler);
    let shown = Shown(plugins.clone());
    let options = session::Options::from(&config);
    let run = environment::random_u64()? as u32;
    let connections = Connections::new(options, rules.clone(), Box::new(shown), config.server_id, run, metrics.clone());
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
    let consensus = raft.block_on(consensus::start(consensus::Options {
        member: u64::from(replica.config.server_id),
        log,
        machine: replica.clone(),
        runtime: raft.clone(),
        timing: consensus::Timing::default(),
    }))?;
    let _ = replica.consensus.set(consensus.clone());
    let sequencer = Sequencer::new(replica.clone(), consensus.clone(), plugins.judge(), Clocks::new()?);
    let sequencer = std::thread::Builder::new().name("sequencer".into()).spawn(move || sequencer.run())?;
    raft.spawn(tell_roles(replica.clone(), consensus.clone()));
    anyhow::ensure!(raft.block_on(consensus.recovered()), "consensus ended before this server had recovered its state");
    let replay_took = replay_began.elapsed();
    metrics.startup_snap_load_time.add(load_took.as_millis() as u64);
    metrics.startup_txns_load_time.add(replay_took.as_millis() as u64);
    metrics.startup_txns_loaded.add(replica.boundary.lock().replayed);
    metrics.dbinittime.add((load_took + replay_took).as_millis() as u64);
    raft.block_on(replica.wait_until_leading());
    // A leader has voted for itself: the log holds that.
    data_directory::note_log_in_use(&*disk)?;
    // What a plugin enforces, it enforces from the first request on.
    plugins.settle(limits::PLUGINS_SETTLE_MAX);

    let ending = Arc::new(Ending::default());
    let checkpointer = opened.checkpointer;
    let checkpointing = {
        let (replica, ending) = (replica.clone(), ending.clone());
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || checkpointing::run(replica, checkpointer, log_bytes, ending))?
    };
    replica.serving.store(true, Ordering::Release);
    let keeper = clients.workers().first();
    keeper.spawn(housekeeping::expire_sessions(replica.clone()));
    keeper.spawn(housekeeping::collect(replica.clone()));
    keeper.spawn(housekeeping::remove_unused_modules(replica.clone()));
    let words = Words::new(replica.clone(), listeners.described()?);
    let front: Arc<dyn Server> = Arc::new(Front { words, replica: replica.clone() });
    let addresses = listeners.serve(&replica.config, clients.workers(), &front)?;
    tracing::info!(?addresses, ms = started.elapsed().as_millis(), "serves");
    Ok(Running { replica, clients, raft: raft_threads, sequencer, checkpointing, ending, addresses, _lock: lock })
}

impl Running {
    /// Where clients reach it.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for SIGTERM or SIGINT, then ends: everything under way is finished and a checkpoint written.
    pub fn run(self) -> anyhow::Result<()> {
        self.clients.workers().first().block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            anyhow::Ok(())
        })?;
        tracing::info!("ends");
        self.stop()
    }

    pub fn stop(self) -> anyhow::Result<()> {
        self.replica.serving.store(false, Ordering::Release);
        self.replica.connections.close_all();
        // Replies under way get a moment.
        let raft = self.raft.workers().first().clone();
        raft.block_on(self.replica.until_clients_are_gone());
        self.clients.end();
        self.replica.inbox.put(Event::Stop);
        self.sequencer.join().map_err(|_| anyhow::anyhow!("the sequencer panicked"))?;
        // Before consensus ends: the last checkpoint lets the log go.
        self.ending.ask();
        self.checkpointing.join().map_err(|_| anyhow::anyhow!("writing the last checkpoint panicked"))?;
        raft.block_on(self.replica.consensus().shutdown());
        self.raft.end();
        Ok(())
    }
}

/// Ends the process with a sentence: what it cannot do any more would break a promise.
pub fn die(sentence: &str) -> ! {
    tracing::error!("{sentence}");
    eprintln!("wasmkeeper: {sentence}");
    std::process::exit(1);
}

/// Ends the process if the thread panics while this lives. For work that is half done then and that nobody takes over:
/// what has been acknowledged is in the log, and the next start finds it.
pub struct OrDie(pub &'static str);

impl Drop for OrDie {
    fn drop(&mut self) {
        if std::thread::panicking() {
            die(&format!("{} panicked: this is a bug, the lines before say where; start the server again", self.0));
        }
    }
}

fn new_identity(config: &Config) -> anyhow::Result<Identity> {
    let mut incarnation = [0; 16];
    environment::fill_random(&mut incarnation)?;
    Ok(Identity { cluster: environment::random_u64()?, member: u64::from(config.server_id), incarnation, log_in_use: false })
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

/// Sockets that listen, before anything is served.
struct Listeners {
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
    /// For `secure`, and for `plain` if that takes TLS too.
    acceptor: Option<Arc<tls::Acceptor>>,
}

impl Listeners {
    fn bind(config: &Config, workers: &Workers) -> anyhow::Result<Listeners> {
        let _inside = workers.first().enter();
        let bind = |address: SocketAddr| {
            listener::bind(address, config.network.backlog).with_context(|| {
                format!(
                    "listen on {address}: is another server running there? (--listen or clientPort chooses another)"
                )
            })
        };
        let acceptor = config.tls.as_ref().map(tls::Acceptor::new).transpose()?.map(Arc::new);
        let plain = config.network.client.map(bind).transpose()?;
        let secure = config.network.secure.map(bind).transpose()?;
        anyhow::ensure!(secure.is_none() || acceptor.is_some(), "secureClientPort is set and TLS is not configured");
        Ok(Listeners { plain, secure, acceptor })
    }

    fn described(&self) -> std::io::Result<Listening> {
        let port = |socket: &TcpListener| socket.local_addr().map(|address| address.port());
        Ok(Listening {
            client_port: self.plain.as_ref().map(port).transpose()?,
            secure_client_port: self.secure.as_ref().map(port).transpose()?,
            tls: self.acceptor.clone(),
        })
    }

    fn serve(self, config: &Config, workers: &Workers, server: &Arc<dyn Server>) -> anyhow::Result<Vec<SocketAddr>> {
        let listening = workers.first();
        let mut addresses = Vec::new();
        let metrics = server.connections().metrics().clone();
        if let Some(acceptor) = &self.acceptor {
            listening.spawn(acceptor.clone().watch_files());
        }
        if let Some(socket) = self.plain {
            addresses.push(socket.local_addr()?);
            match self.acceptor.clone().filter(|_| config.network.tls_on_client_port) {
                Some(acceptor) => {
                    let either = listener::Either(listener::Secure::new(acceptor, metrics.clone()));
                    listening.spawn(listener::accept(socket, either, server.clone(), workers.clone()))
                }
                None => listening.spawn(listener::accept(socket, listener::Plain, server.clone(), workers.clone())),
            };
        }
        if let Some((socket, acceptor)) = self.secure.zip(self.acceptor) {
            addresses.push(socket.local_addr()?);
            let secure = listener::Secure::new(acceptor, metrics);
            listening.spawn(listener::accept(socket, secure, server.clone(), workers.clone()));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs itself once more, as a process that may end.
    #[test]
    fn a_panic_under_guard_ends_the_process_with_a_sentence() {
        const CHILD: &str = "WASMKEEPER_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _guard = OrDie("a test");
            panic!("on purpose");
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let this = "replica::start::tests::a_panic_under_guard_ends_the_process_with_a_sentence";
        let output = command.args(["--exact", "--nocapture", this]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("wasmkeeper: a test panicked: this is a bug"), "{said}");
    }
}
