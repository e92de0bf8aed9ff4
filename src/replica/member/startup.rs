//! From a member whose state is loaded to one that serves.

use super::{Execution, Stage, Threads};
use crate::consensus::{self, Consensus, Role};
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::Incarnation;
use crate::peer::LocalMember;
use crate::replica::ensemble::bootstrap::{Bootstrapped, EmptyMember};
use crate::replica::ensemble::{gate, leader_link, repair, serving_lease};
use crate::replica::fatal::die;
use crate::replica::files::checkpointing::{Checkpointing, Ending};
use crate::replica::ordering::clocks::Clocks;
use crate::replica::ordering::delayed_consensus::DelayedConsensus;
use crate::replica::ordering::event::Event;
use crate::replica::ordering::sequencer::Sequencer;
use crate::replica::plugins::{chores, controllers};
use crate::replica::{Replica, housekeeping};
use crate::storage::disk::Disk;
use crate::storage::start as data_directory;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub(super) struct Startup {
    pub(crate) replica: Arc<Replica>,
    pub(crate) raft: Handle,
    /// Where housekeeping runs.
    pub(crate) housekeeping: Handle,
    pub(crate) execution: Execution,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) me: LocalMember,
    /// The incarnation, if log and state are empty.
    pub(crate) empty: Option<Incarnation>,
    pub(crate) load_took: Duration,
    pub(crate) threads: Arc<Mutex<Threads>>,
    pub(crate) ending: Arc<Ending>,
    pub(crate) stage: watch::Sender<Stage>,
}

impl Startup {
    pub(super) async fn run(self, log: consensus::Log) -> anyhow::Result<()> {
        let replica = &self.replica;
        let (order, ensemble) = (&replica.order, &replica.ensemble);
        let bootstrapped = self.bootstrap().await?;
        let replay_began = Instant::now();
        let consensus = self.start_consensus(log, bootstrapped).await?;
        let alone = ensemble.is_only_voter();
        self.start_ensemble_tasks(&consensus);
        if !alone {
            self.stage.send_replace(Stage::WithOthers);
        }
        anyhow::ensure!(consensus.recovered().await, "consensus ended before this server had recovered its state");
        self.count_startup(replay_began.elapsed());
        if alone {
            self.wait_until_leading().await;
        }
        // A member that has recovered has a leader. It has voted for this leader, or has stored the leader's vote as
        // its own. The log has that vote.
        data_directory::record_log_in_use(&*self.disk)?;
        self.settle_plugins().await;
        order.set_recovered();
        self.start_checkpointing()?;
        self.start_housekeeping();
        if alone {
            ensemble.serve_at_once(order);
        }
        self.stage.send_replace(Stage::Serves);
        Ok(())
    }

    /// An empty member finds out which ensemble it belongs to. None: it is not empty.
    async fn bootstrap(&self) -> anyhow::Result<Option<Bootstrapped>> {
        let Some(incarnation) = self.empty else { return Ok(None) };
        let known_members = &self.replica.ensemble.known_members;
        let bootstrapped = EmptyMember::new(&self.replica.config, incarnation).settle(known_members).await;
        // This is the first call. Only the first call has an effect.
        let _ = self.me.set_cluster(bootstrapped.cluster);
        data_directory::record_cluster(&*self.disk, bootstrapped.cluster)?;
        Ok(Some(bootstrapped))
    }

    /// Starts consensus and the sequencer, and lets other members in.
    async fn start_consensus(
        &self,
        log: consensus::Log,
        bootstrapped: Option<Bootstrapped>,
    ) -> anyhow::Result<Consensus> {
        let replica = &self.replica;
        let known_members = &replica.ensemble.known_members;
        let (found, roster) = bootstrapped.map_or((None, None), |ensemble| (ensemble.found, ensemble.roster));
        let consensus = consensus::start(consensus::Options {
            member: u64::from(replica.config.server_id),
            log,
            machine: replica.clone(),
            runtime: self.raft.clone(),
            timing: consensus::Timing::default(),
            blocking: replica.heavy,
            peers: known_members.peers().clone(),
            founding_members: found,
        })
        .await?;
        replica.ensemble.set_consensus(consensus.clone());
        self.start_sequencer(&consensus)?;
        known_members.open(replica, roster);
        Ok(consensus)
    }

    /// Starts the tasks that have to do with other members. They end with consensus, or with the process.
    fn start_ensemble_tasks(&self, consensus: &Consensus) {
        let replica = &self.replica;
        let known_members = &replica.ensemble.known_members;
        self.raft.spawn(known_members.clone().keep_roster(Arc::downgrade(replica)));
        self.raft.spawn(known_members.clone().gather(Arc::downgrade(replica)));
        self.raft.spawn(tell_roles(replica.clone(), consensus.clone()));
        self.raft.spawn(leader_link::follow(replica.clone(), known_members.peers().clone()));
        self.raft.spawn(serving_lease::watch_quorum(replica.clone()));
        self.raft.spawn(serving_lease::keep_current(replica.clone()));
        self.raft.spawn(gate::keep_gate(replica.clone()));
        self.raft.spawn(repair::keep_sound(replica.clone()));
    }

    fn start_sequencer(&self, consensus: &Consensus) -> anyhow::Result<()> {
        let (replica, judge, clocks) = (self.replica.clone(), self.replica.order.plugins.judge(), Clocks::new()?);
        match &self.execution {
            Execution::Threads => {
                let sequencer = Sequencer::new(replica, consensus.clone(), judge, clocks);
                let thread = std::thread::Builder::new().name("sequencer".into()).spawn(move || sequencer.run())?;
                self.threads.lock().sequencer = Some(thread);
            }
            Execution::Tasks { proposal_faults, .. } => {
                let delayed = DelayedConsensus::new(consensus.clone(), proposal_faults.clone(), &self.raft);
                self.raft.spawn(Sequencer::new(replica, delayed, judge, clocks).run_as_task());
            }
        }
        Ok(())
    }

    fn start_checkpointing(&self) -> anyhow::Result<()> {
        let checkpointing = Checkpointing::new(self.replica.clone(), self.ending.clone());
        match &self.execution {
            Execution::Threads => {
                let thread =
                    std::thread::Builder::new().name("checkpoint".into()).spawn(move || checkpointing.run())?;
                self.threads.lock().checkpointing = Some(thread);
            }
            Execution::Tasks { .. } => drop(self.raft.spawn(checkpointing.run_as_task())),
        }
        Ok(())
    }

    fn start_housekeeping(&self) {
        let (replica, runtime) = (&self.replica, &self.housekeeping);
        runtime.spawn(housekeeping::expire_sessions(replica.clone()));
        runtime.spawn(housekeeping::collect(replica.clone()));
        runtime.spawn(chores::do_chores(replica.clone()));
        runtime.spawn(controllers::run_controllers(replica.clone()));
        runtime.spawn(housekeeping::remove_unused_modules(replica.clone()));
    }

    fn count_startup(&self, replay_took: Duration) {
        let order = &self.replica.order;
        order.metrics.startup_snap_load_time.add(self.load_took.as_millis() as u64);
        order.metrics.startup_txns_load_time.add(replay_took.as_millis() as u64);
        order.metrics.startup_txns_loaded.add(order.boundary.lock().replayed());
        order.metrics.dbinittime.add((self.load_took + replay_took).as_millis() as u64);
    }

    async fn wait_until_leading(&self) {
        while !self.replica.order.leadership.leads() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the code of the plugins is ready, so that they are enforced from the first request on. Gives up
    /// after `limits::PLUGINS_SETTLE_MAX`.
    async fn settle_plugins(&self) {
        let until = Instant::now() + limits::PLUGINS_SETTLE_MAX;
        while !self.replica.order.plugins.settled() && Instant::now() < until {
            tokio::time::sleep(limits::PLUGINS_SETTLE_LOOK_INTERVAL).await;
        }
    }
}

/// Passes the roles that consensus has on to the sequencer.
async fn tell_roles(replica: Arc<Replica>, consensus: Consensus) {
    let mut role = consensus.role();
    let metrics = replica.order.metrics.clone();
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
        replica.order.inbox.put(Event::Role(now));
        if now == Role::Stopped && !replica.ensemble.is_leaving() {
            die("consensus has ended by itself: this is a bug; start the server again");
        }
        if role.changed().await.is_err() {
            return;
        }
    }
}
