//! Members whose state goes wrong. Whole members run on a network in memory and on simulated disks, in one thread and
//! in virtual time.

use crate::config::Config;
use crate::consensus::Role;
use crate::model::Zxid;
use crate::model::ensemble::{Server, parse_config_text};
use crate::peer::testing::MemoryNet;
use crate::pipeline::{Ask, Submission};
use crate::plugin::Compiler;
use crate::replica::ordering::event::Event;
use crate::replica::{Execution, Listening, Member, MemberFacts, Platform, ProposalFault};
use crate::session::Workers;
use crate::storage::testing::SimDisk;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::sleep;

/// Longer than anything here takes. It is virtual time, so a test does not really wait for it.
const PATIENCE: Duration = Duration::from_secs(300);

struct Ensemble {
    servers: Vec<Server>,
    members: Vec<Member>,
    _data: tempfile::TempDir,
}

impl Ensemble {
    /// Three members that serve.
    async fn start() -> Ensemble {
        let net = MemoryNet::new();
        let servers = parse_config_text("server.1=one:1:2,server.2=two:1:2,server.3=three:1:2").unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut members = Vec::new();
        for server in &servers {
            let host = &server.addresses[0].host;
            let mut config = Config { server_id: server.id, plugins: false, ..Config::default() };
            config.storage.data_dir = data.path().to_owned();
            config.ensemble.servers = servers.clone();
            config.ensemble.listen = vec![SocketAddr::new(net.address(host), 1)];
            let disk = Arc::new(SimDisk::new());
            let platform = Platform {
                disk: disk.clone(),
                log_disk: disk,
                net: net.host(host),
                secret: None,
                raft: Handle::current(),
                clients: Workers::on(Handle::current()),
                execution: Execution::Tasks {
                    disk_delay: Arc::new(|| Duration::from_micros(200)),
                    proposal_faults: Arc::new(ProposalFault::default),
                    compiler: Compiler::here(),
                },
                format_level: crate::limits::FORMAT_LEVEL,
            };
            let nobody = || Listening { client_port: None, secure_client_port: None, tls: None };
            let member = Member::start(config, platform, |replica| MemberFacts::new(replica, nobody())).await;
            members.push(member.unwrap());
        }
        let ensemble = Ensemble { servers, members, _data: data };
        ensemble.until("all serve", |ensemble| (0..3).all(|at| ensemble.serves(at))).await;
        ensemble
    }

    async fn until(&self, what: &str, holds: impl Fn(&Ensemble) -> bool) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(tokio::time::Instant::now() < until, "waited in vain: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn serves(&self, at: usize) -> bool {
        self.members[at].server().serving() == crate::session::Serving::Everybody
    }

    fn leader(&self) -> Option<usize> {
        let leads = |member: &Member| match member.replica.ensemble.started_consensus() {
            Some(consensus) => matches!(*consensus.role().borrow(), Role::Leader { .. }),
            None => false,
        };
        self.members.iter().position(leads)
    }

    /// Submits a write of the server itself on the leader, if there is one.
    fn write(&self) {
        let Some(leader) = self.leader() else { return };
        let ask = Ask::Configure { servers: self.servers.clone() };
        self.members[leader].replica.order.inbox.put(Event::Submitted(Submission::own(ask)));
    }

    fn state(&self, at: usize) -> (Zxid, u64) {
        let state = self.members[at].replica.order.state.read();
        (state.last_zxid(), state.digest())
    }

    fn is_sound(&self, at: usize) -> bool {
        self.members[at].replica.order.soundness.is_sound()
    }

    /// Writes now and then until the condition holds.
    async fn write_until(&self, what: &str, holds: impl Fn(&Ensemble) -> bool) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(tokio::time::Instant::now() < until, "waited in vain: {what}");
            self.write();
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn until_level(&self) {
        self.until("all have the same state", |ensemble| {
            let first = ensemble.state(0);
            (1..3).all(|at| ensemble.state(at) == first)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_has_gone_wrong_takes_the_leaders_state() {
    let ensemble = Ensemble::start().await;
    ensemble.write_until("the leader has something to compare", |ensemble| ensemble.state(0).0 > Zxid(5)).await;
    let leader = ensemble.leader().unwrap();
    let wrong = (leader + 1) % 3;
    ensemble.members[wrong].replica.order.state.write().corrupt();
    ensemble.write_until("it is found out", |ensemble| !ensemble.is_sound(wrong)).await;
    let stopped_at = ensemble.state(wrong).0;
    ensemble.until("it turns clients away", |ensemble| !ensemble.serves(wrong)).await;
    ensemble.write_until("the others go on", |ensemble| ensemble.state(leader).0.0 > stopped_at.0 + 3).await;
    assert_eq!(ensemble.state(wrong).0, stopped_at, "it applies nothing more");
    ensemble.write_until("it is mended", |ensemble| ensemble.is_sound(wrong)).await;
    ensemble.until("it serves", |ensemble| ensemble.serves(wrong)).await;
    ensemble.until_level().await;
    assert_eq!(ensemble.leader(), Some(leader), "the leader leads on");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_most_voters_contradict_gives_up() {
    let ensemble = Ensemble::start().await;
    ensemble.write_until("the leader has something to compare", |ensemble| ensemble.state(0).0 > Zxid(5)).await;
    let wrong = ensemble.leader().unwrap();
    ensemble.members[wrong].replica.order.state.write().corrupt();
    ensemble.write_until("it is found out", |ensemble| !ensemble.is_sound(wrong)).await;
    ensemble.until("another leads", |ensemble| ensemble.leader().is_some_and(|leader| leader != wrong)).await;
    ensemble.write_until("all are sound", |ensemble| (0..3).all(|at| ensemble.is_sound(at))).await;
    ensemble.until("all serve", |ensemble| (0..3).all(|at| ensemble.serves(at))).await;
    ensemble.until_level().await;
}
