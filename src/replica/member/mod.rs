//! One member, from a data directory to a serving tree, and back. A process and the simulation both run it.
//!
//! A member comes up in this order: identity, log, state, consensus (which applies what the log has beyond the state),
//! plugins, clients. It goes down in this order: clients, sequencer, a last checkpoint, consensus.
//!
//! | file | what |
//! |---|---|
//! | `assemble` | from a data directory to the wings of a member |
//! | `startup` | from there to a member that serves |

mod assemble;
mod startup;

use super::Replica;
use super::ensemble::known_members::KnownMembers;
use super::fatal::{DieOnPanic, die};
use super::files::checkpointing::Ending;
use super::operators::member_facts::MemberFacts;
use super::ordering::delayed_consensus::ProposalFaults;
use super::ordering::event::Event;
use super::ports::Endpoint;
use crate::admin::http::Admin;
use crate::config::Config;
use crate::consensus::BlockingWork;
use crate::environment::{Clock, Instant};
use crate::limits;
use crate::metrics::Metrics;
use crate::peer::{self, EnsembleSecret, LocalMember, Net, Peers};
use crate::plugin::Compiler;
use crate::session::{self, Connections, Server, Serving, Workers, listener};
use crate::storage::disk::Disk;
use crate::storage::start as data_directory;
use anyhow::Context;
use assemble::Assembly;
use parking_lot::Mutex;
use startup::Startup;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle as Task, JoinSet};

/// What a member needs to run: disks, a network, runtimes.
pub struct Platform {
    pub disk: Arc<dyn Disk>,
    /// The disk of the log: the same disk, unless the log has one of its own.
    pub log_disk: Arc<dyn Disk>,
    /// The network to other members.
    pub net: Arc<dyn Net>,
    /// The secret that this member and the others prove to each other. None: nobody proves anything.
    pub secret: Option<EnsembleSecret>,
    /// Where Raft's tasks run, and those that serve other members.
    pub raft: Handle,
    /// Where everything for clients runs.
    pub clients: Workers,
    pub execution: Execution,
    /// The format level of this release: `limits::FORMAT_LEVEL`, except in tests of upgrades.
    pub format_level: u32,
}

/// Where work that takes time runs.
pub enum Execution {
    /// On threads: the sequencer, the log and checkpoints have one each.
    Threads,
    /// On tasks, for the simulation: all of the member runs on one thread. Each write to the log takes `disk_delay`.
    /// Each batch meets one of the `proposal_faults` on its way from the sequencer to consensus. `compiler` makes the
    /// code of plugins, which takes `disk_delay` to be loaded.
    Tasks { disk_delay: Arc<dyn Fn() -> Duration + Send + Sync>, proposal_faults: ProposalFaults, compiler: Compiler },
}

impl Execution {
    fn heavy(&self) -> BlockingWork {
        match self {
            Execution::Threads => BlockingWork::OwnThread,
            Execution::Tasks { .. } => BlockingWork::Inline,
        }
    }
}

/// A running member.
pub struct Member {
    pub(super) replica: Arc<Replica>,
    server: Arc<dyn Server>,
    /// The same endpoint, for the HTTP interface.
    admin: Arc<dyn Admin>,
    raft: Handle,
    /// Brings the member up. In an ensemble this does not end before there is a leader.
    startup: Task<()>,
    threads: Arc<Mutex<Threads>>,
    /// Tasks that run for as long as the member does.
    tasks: JoinSet<()>,
    ending: Arc<Ending>,
}

/// The threads that have started. None for a member that runs on tasks.
#[derive(Default)]
struct Threads {
    sequencer: Option<JoinHandle<()>>,
    checkpointing: Option<JoinHandle<()>>,
}

/// How far the start of a member has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begins,
    /// There are other voters, so this member cannot tell when it will serve.
    WithOthers,
    Serves,
}

impl Member {
    /// Starts a member. If it stands alone, returns once it serves. A member of an ensemble may serve much later, and
    /// turns clients away until then. `facts` makes what answers four letter words. An error is a sentence for the
    /// operator.
    pub async fn start(
        config: Config,
        platform: Platform,
        facts: impl FnOnce(Arc<Replica>) -> MemberFacts,
    ) -> anyhow::Result<Member> {
        let Platform { disk, log_disk, net, secret, raft, clients, execution, format_level } = platform;
        let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new()));
        let config = Arc::new(config);
        let identity = data_directory::identify(&*disk, assemble::new_identity(&config)?)?;
        let log = assemble::open_log(log_disk, &identity, &metrics, &execution, &raft)?;
        let loaded = assemble::load_state(disk.clone(), &log, format_level)?;
        let load_took = loaded.took;

        let is_empty = log.is_new() && loaded.position.is_none();
        let cluster = if is_empty { 0 } else { identity.cluster };
        let me = LocalMember::new(config.server_id, identity.incarnation, format_level, cluster).with_secret(secret);
        let peers = Arc::new(Peers::new(net.clone(), me.clone()));
        let known_members = Arc::new(KnownMembers::new(peers, &config.ensemble.servers));
        let tasks = listen_for_members(&config, &*net, &me, &known_members, &raft).await?;
        let assembly = Assembly { config, known_members, format_level, runtime: raft.clone(), clock, metrics };
        let replica = assembly.assemble(loaded, &execution)?;
        replica.order.grant_known_sessions();
        assemble::connect_plugins(&replica, &execution);

        let endpoint = Arc::new(Endpoint { facts: facts(replica.clone()), replica: replica.clone() });
        let admin: Arc<dyn Admin> = endpoint.clone();
        let server: Arc<dyn Server> = endpoint;
        start_asking_plugins(&server, &execution, &clients)?;
        let (stage, stages) = watch::channel(Stage::Begins);
        let threads = Arc::new(Mutex::new(Threads::default()));
        let ending = Arc::new(Ending::default());
        let stands_alone = replica.config.stands_alone();
        let startup = Startup {
            replica: replica.clone(),
            raft: raft.clone(),
            housekeeping: clients.first().clone(),
            execution,
            disk,
            me,
            empty: is_empty.then_some(identity.incarnation),
            load_took,
            threads: threads.clone(),
            ending: ending.clone(),
            stage,
        };
        let (failed, failure) = oneshot::channel();
        let startup = raft.spawn(async move {
            if let Err(error) = startup.run(log).await
                && let Err(error) = failed.send(error)
            {
                die(&format!("{error:#}"));
            }
        });
        let member = Member { replica, server, admin, raft, startup, threads, tasks, ending };
        if stands_alone {
            until_it_serves(stages, failure).await?;
        }
        Ok(member)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.replica.config
    }

    /// What connections speak to.
    pub(crate) fn server(&self) -> &Arc<dyn Server> {
        &self.server
    }

    /// What the HTTP interface speaks to.
    pub(crate) fn admin(&self) -> &Arc<dyn Admin> {
        &self.admin
    }

    /// The counters of this member.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.replica.order.metrics
    }

    /// Serves a client that did not come through a listener, until its end.
    pub async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        listener::serve(&self.replica.order.connections, stream, peer, self.server.clone()).await;
    }

    /// Takes no more clients and no more requests, and closes each connection once all its requests are answered. A
    /// leader first hands over, so that nobody has to wait for an election.
    pub async fn part_with_clients(&self) {
        let (ensemble, connections) = (&self.replica.ensemble, &self.replica.order.connections);
        ensemble.leave();
        ensemble.lease.set_serving(Serving::Nobody);
        connections.take_no_more();
        ensemble.hand_over(connections).await;
        let_clients_go(connections).await;
    }

    /// Ends the member, with a last checkpoint. Nothing may be submitted any more.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.replica.ensemble.leave();
        // The startup has ended, unless the member never came up.
        self.startup.abort();
        let _ = self.startup.await;
        let Threads { sequencer, checkpointing } = std::mem::take(&mut *self.threads.lock());
        self.replica.order.inbox.put(Event::Stop);
        if let Some(sequencer) = sequencer {
            sequencer.join().map_err(|_| anyhow::anyhow!("the sequencer panicked"))?;
        }
        // This comes before the end of consensus, because the last checkpoint purges the log.
        self.ending.ask();
        if let Some(checkpointing) = checkpointing {
            checkpointing.join().map_err(|_| anyhow::anyhow!("writing the last checkpoint panicked"))?;
        }
        if let Some(consensus) = self.replica.ensemble.started_consensus().cloned() {
            // On Raft's runtime, which goes on while this waits.
            self.raft.spawn(async move { consensus.shutdown().await }).await?;
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}

/// Waits until a server that stands alone serves, before anybody is told that it has started. If other voters have
/// joined it since, it does not wait for them.
async fn until_it_serves(
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

async fn let_clients_go(connections: &Connections) {
    let answered = Instant::now() + limits::DRAIN_MAX;
    let flushed = answered + limits::FLUSH_AT_END_MAX;
    while connections.count() > 0 && Instant::now() < flushed {
        if Instant::now() < answered {
            connections.close_idle();
        } else {
            connections.close_all();
        }
        tokio::time::sleep(limits::DRAIN_LOOK_INTERVAL).await;
    }
}

/// Lets other members in, for as long as the returned tasks are not dropped.
async fn listen_for_members(
    config: &Config,
    net: &dyn Net,
    me: &LocalMember,
    known_members: &Arc<KnownMembers>,
    raft: &Handle,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for address in &config.ensemble.listen {
        let listener = net
            .listen(*address)
            .await
            .with_context(|| format!("listen for other members on {address}: is another server running there?"))?;
        tasks.spawn_on(peer::accept(listener, me.clone(), known_members.clone()), raft);
    }
    Ok(tasks)
}

/// Starts what asks plugins about reads. It ends with the member's connections.
fn start_asking_plugins(server: &Arc<dyn Server>, execution: &Execution, clients: &Workers) -> anyhow::Result<()> {
    let inquirer = session::Inquirer::of(server);
    match execution {
        Execution::Threads => {
            let answer = move || {
                let _whole = DieOnPanic("asking plugins about reads");
                inquirer.run();
            };
            std::thread::Builder::new().name("plugin-reads".into()).spawn(answer).context("start a thread")?;
        }
        Execution::Tasks { .. } => drop(clients.first().spawn(inquirer.run_as_task())),
    }
    Ok(())
}
