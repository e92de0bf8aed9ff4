//! A server process: ports and threads around a member.
//!
//! The process comes up in this order: ports, the lock of the data directory, the member, clients. It goes down in this
//! order: clients, the member.

use super::member::{Execution, Member, Platform};
use super::operators::member_facts::{Listening, MemberFacts};
use crate::admin::http;
use crate::config::{ClientAuth, Config};
use crate::environment::Instant;
use crate::limits;
use crate::peer::{EnsembleSecret, TcpNet, secret};
use crate::session::{WaitsFor, WorkerThreads, Workers, listener, tls};
use crate::storage::IDENTITY_FILE;
use crate::storage::disk::RealDisk;
use crate::storage::private::{self, Tightened};
use crate::storage::wal::DirectoryLock;
use anyhow::Context;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A running server.
pub(crate) struct Running {
    member: Member,
    /// The threads of connections, listeners and housekeeping.
    clients: WorkerThreads,
    /// The thread of Raft alone, so that nothing else of the server delays a heartbeat.
    raft: WorkerThreads,
    /// Where clients reach the server: the port without TLS first.
    addresses: Vec<SocketAddr>,
    _lock: DirectoryLock,
}

/// Starts a server. Returns once it serves, or, in an ensemble, once its ports are open. An error is a sentence for the
/// operator.
pub(crate) fn start(config: Config) -> anyhow::Result<Running> {
    let started = Instant::now();
    let data_dir = config.storage.data_dir.clone();
    private::make_private_files_only();
    std::fs::create_dir_all(&data_dir).with_context(|| format!("create the data directory {}", data_dir.display()))?;
    raise_file_limit();
    let lock = DirectoryLock::acquire(&data_dir)?;
    tighten(&data_dir);
    // The ports come first: they show most cheaply whether another server runs here.
    let clients = WorkerThreads::start("client", limits::CLIENT_THREADS, WaitsFor::Clients)
        .context("start the client threads")?;
    let listeners = Listeners::bind(&config, clients.workers())?;
    let http = config.admin.map(http::bind).transpose()?;
    let others = if config.ensemble.servers.is_empty() { WaitsFor::Nothing } else { WaitsFor::Peers };
    let raft = WorkerThreads::start("raft", 1, others).context("start Raft's thread")?;
    std::fs::create_dir_all(&config.storage.log_dir)
        .with_context(|| format!("create the log directory {}", config.storage.log_dir.display()))?;
    if config.storage.log_dir != data_dir {
        tighten(&config.storage.log_dir);
    }
    let secret = ensemble_secret(&config)?;
    let net = TcpNet::new(config.peer_tls.as_ref())?;
    clients.workers().first().spawn(net.watch_files());
    let platform = Platform {
        disk: Arc::new(RealDisk::new(&data_dir)),
        log_disk: Arc::new(RealDisk::new(&config.storage.log_dir)),
        net: Arc::new(net),
        secret,
        raft: raft.workers().first().clone(),
        clients: clients.workers().clone(),
        execution: Execution::Threads,
        format_level: limits::FORMAT_LEVEL,
    };
    let raft_runtime = platform.raft.clone();
    let listening = listeners.described()?;
    let member =
        raft_runtime.block_on(Member::start(config, platform, |replica| MemberFacts::new(replica, listening)))?;
    let addresses = listeners.serve(&member, clients.workers())?;
    if let Some(http) = http {
        let _inside = clients.workers().first().enter();
        let listener = TcpListener::from_std(http)?;
        clients.workers().first().spawn(http::serve(listener, member.admin().clone()));
    }
    tracing::info!(?addresses, ms = started.elapsed().as_millis(), "serves");
    Ok(Running { member, clients, raft, addresses, _lock: lock })
}

/// The secret that this member proves to others. A server that starts alone with a new data directory makes one, so
/// that the members that join later prove themselves. Warns if the members prove nothing at all, and others can reach
/// the peer port.
fn ensemble_secret(config: &Config) -> anyhow::Result<Option<EnsembleSecret>> {
    let (ensemble, data_dir) = (&config.ensemble, &config.storage.data_dir);
    let found = secret::find(config)?;
    let founds_alone = ensemble.servers.len() <= 1 && !data_dir.join(IDENTITY_FILE).exists();
    if found.is_none() && founds_alone {
        let made = secret::make(data_dir)?;
        tracing::info!("made a secret for the ensemble: servers that join need it (`wasmkeeper cluster token`)");
        return Ok(Some(made));
    }
    let by_certificate = config.peer_tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Need);
    let reachable = ensemble.listen.iter().find(|address| !address.ip().is_loopback());
    if let Some(address) = reachable.filter(|_| found.is_none() && !by_certificate) {
        tracing::warn!(
            "the members of this ensemble prove nothing to each other: everyone who reaches {address} can speak as a \
             member. Give all members the same secret (`wasmkeeper cluster token --help`), or use TLS between members \
             (sslQuorum)"
        );
    }
    Ok(found)
}

/// Lets the process open as many files as its user may give it. Each connection is an open file, and many systems start
/// programs with a limit of 1024 that every program may raise.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// Makes the files of earlier releases private, and says so. The server starts in any case: the operator may have
/// reasons.
fn tighten(folder: &Path) {
    let shown = folder.display();
    match private::tighten(folder) {
        Ok(Tightened { changed: 0, left: 0 }) => {}
        Ok(Tightened { changed, left: 0 }) => {
            tracing::warn!("{changed} files in {shown} were open to other users; now only this user can read them");
        }
        Ok(Tightened { left, .. }) => {
            tracing::warn!(
                "{left} files in {shown} are open to other users, and belong to another user than this server"
            );
        }
        Err(error) => tracing::warn!("cannot check who may read the files in {shown}: {error}"),
    }
}

impl Running {
    /// Where clients reach the server: the port without TLS first.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for SIGTERM or SIGINT, then stops.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.clients.workers().first().block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            anyhow::Ok(())
        })?;
        tracing::info!("ends");
        self.stop()
    }

    /// Answers everything under way, writes a checkpoint, and ends.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let raft = self.raft.workers().first().clone();
        raft.block_on(self.member.part_with_clients());
        self.clients.end();
        raft.block_on(self.member.stop())?;
        self.raft.end();
        Ok(())
    }
}

/// Sockets that listen. Nothing is accepted before `serve`.
struct Listeners {
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
    /// For `secure`, and for `plain` if that port takes TLS too (`client.portUnification`).
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

    fn serve(self, member: &Member, workers: &Workers) -> anyhow::Result<Vec<SocketAddr>> {
        let (listening, server) = (workers.first(), member.server());
        let mut addresses = Vec::new();
        let metrics = member.metrics().clone();
        if let Some(acceptor) = &self.acceptor {
            listening.spawn(acceptor.clone().watch_files());
        }
        if let Some(socket) = self.plain {
            addresses.push(socket.local_addr()?);
            match self.acceptor.clone().filter(|_| member.config().network.tls_on_client_port) {
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
