//! From a data directory to a serving process, and back: ports, threads, the member between them.
//!
//! Going up: ports, lock, member, and only then clients. Going down: clients, then the member.

use crate::admin::http;
use crate::config::Config;
use crate::environment::Instant;
use crate::limits;
use crate::peer::TcpNet;
use crate::replica::member::{Drive, Member, Surroundings};
use crate::replica::operators::facts::{Listening, Words};
use crate::session::{Server, WaitsFor, WorkerThreads, Workers, listener, tls};
use crate::storage::disk::RealDisk;
use crate::storage::wal::DirectoryLock;
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A running server.
pub struct Running {
    member: Member,
    /// Connections, listeners, housekeeping.
    clients: WorkerThreads,
    /// Raft alone, so that nothing of the server delays a heartbeat.
    raft: WorkerThreads,
    /// Where clients reach it, plain ones first.
    addresses: Vec<SocketAddr>,
    _lock: DirectoryLock,
}

/// Brings a server up; returns once it serves, or, in an ensemble, once its ports are open. An error is a sentence for the operator.
pub fn start(config: Config) -> anyhow::Result<Running> {
    let started = Instant::now();
    let data_dir = config.storage.data_dir.clone();
    std::fs::create_dir_all(&data_dir).with_context(|| format!("create the data directory {}", data_dir.display()))?;
    let lock = DirectoryLock::acquire(&data_dir)?;
    // Ports first: the cheapest way to find out that another server runs here.
    let clients = WorkerThreads::start("client", limits::CLIENT_THREADS, WaitsFor::Clients)
        .context("start the client threads")?;
    let listeners = Listeners::bind(&config, clients.workers())?;
    let http = config.admin.map(http::bind).transpose()?;
    let others = if config.ensemble.servers.is_empty() { WaitsFor::Nothing } else { WaitsFor::Peers };
    let raft = WorkerThreads::start("raft", 1, others).context("start Raft's thread")?;
    std::fs::create_dir_all(&config.storage.log_dir)
        .with_context(|| format!("create the log directory {}", config.storage.log_dir.display()))?;
    let net = TcpNet::new(config.peer_tls.as_ref())?;
    clients.workers().first().spawn(net.watch_files());
    let surroundings = Surroundings {
        disk: Arc::new(RealDisk::new(&data_dir)),
        log_disk: Arc::new(RealDisk::new(&config.storage.log_dir)),
        net: Arc::new(net),
        raft: raft.workers().first().clone(),
        clients: clients.workers().clone(),
        drive: Drive::Threads,
        format_level: limits::FORMAT_LEVEL,
    };
    let raft_runtime = surroundings.raft.clone();
    let listening = listeners.described()?;
    let member =
        raft_runtime.block_on(Member::start(config, surroundings, |replica| Words::new(replica, listening)))?;
    let addresses = listeners.serve(member.config(), clients.workers(), member.server())?;
    if let Some(http) = http {
        let _inside = clients.workers().first().enter();
        let listener = TcpListener::from_std(http)?;
        clients.workers().first().spawn(http::serve(listener, member.admin().clone()));
    }
    tracing::info!(?addresses, ms = started.elapsed().as_millis(), "serves");
    Ok(Running { member, clients, raft, addresses, _lock: lock })
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
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            anyhow::Ok(())
        })?;
        tracing::info!("ends");
        self.stop()
    }

    pub fn stop(self) -> anyhow::Result<()> {
        let raft = self.raft.workers().first().clone();
        raft.block_on(self.member.part_with_clients());
        self.clients.end();
        raft.block_on(self.member.stop())?;
        self.raft.end();
        Ok(())
    }
}

/// Ends the process with a sentence: what it cannot do any more would break a promise.
pub fn die(sentence: &str) -> ! {
    crate::hooks::die(sentence);
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
        let this = "replica::process::tests::a_panic_under_guard_ends_the_process_with_a_sentence";
        let output = command.args(["--exact", "--nocapture", this]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("wasmkeeper: a test panicked: this is a bug"), "{said}");
    }
}
