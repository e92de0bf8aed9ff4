//! The sequencer alone, step by step, with a log of the test's own.

use super::*;
use crate::config::Config;
use crate::limits;
use crate::model::{Password, SessionId};
use crate::peer::testing::MemoryNet;
use crate::pipeline::{Caller, Submission};
use crate::replica::Member;
use crate::replica::ensemble::follower_links::FollowerLinkId;
use crate::replica::tests::start;
use crate::storage::LogPosition;
use crate::storage::testing::SimDisk;
use parking_lot::Mutex;

/// Keeps batches, and the callbacks that resolve them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Proposed>>>);

type Proposed = (Batch, Box<dyn FnOnce(ProposalOutcome) + Send>);

impl Proposes for Log {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static) {
        self.0.lock().push((batch, Box::new(done)));
    }
}

impl Log {
    fn xids(&self) -> Vec<i32> {
        let batches = self.0.lock();
        let txns = batches.iter().flat_map(|(batch, _)| batch.txns.iter());
        txns.map(|txn| txn.origin.as_ref().expect("a client's").xid).collect()
    }
}

struct Alone {
    member: Member,
    log: Log,
    sequencer: Sequencer<Log>,
    _folder: tempfile::TempDir,
}

impl Alone {
    /// A sequencer of the test's own, beside that of a member which serves no client.
    async fn new() -> Alone {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { plugins: false, ..Config::default() };
        config.storage.data_dir = folder.path().to_path_buf();
        let member = start(config, MemoryNet::new().host("a"), &SimDisk::new(), limits::FORMAT_LEVEL).await.unwrap();
        let log = Log::default();
        let replica = member.replica.clone();
        let judge = replica.order.plugins.judge();
        let sequencer = Sequencer::new(replica, log.clone(), judge, Clocks::new().unwrap());
        Alone { member, log, sequencer, _folder: folder }
    }

    fn hear(&mut self, events: impl IntoIterator<Item = Event>) {
        self.sequencer.step(&mut events.into_iter().collect());
    }

    fn link(&mut self, number: u64) -> tokio::sync::mpsc::UnboundedReceiver<Submission> {
        let (submissions, passed_on) = tokio::sync::mpsc::unbounded_channel();
        self.hear([Event::LinkUp(Forwarding::new(number, submissions, Arc::default()))]);
        passed_on
    }

    /// Resolves the oldest batch.
    fn resolve(&mut self, outcome: ProposalOutcome) {
        let (_, done) = self.log.0.lock().remove(0);
        done(outcome);
        let mut events = Vec::new();
        self.member.replica.order.inbox.take(&mut events);
        self.hear(events);
    }

    /// A write of a connection of this member, or, if `theirs`, of another member.
    fn write(&self, connection: u64, xid: i32, theirs: bool) -> Submission {
        let ours = self.member.replica.order.connections.run();
        let (member, run) = if theirs { (9, 9) } else { (1, ours) };
        let connection = ConnectionId { member, run, number: 1000 + connection };
        let session = SessionId(xid.into());
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let caller = Caller { session, connection, identities: [].into(), address, port: 1, local: false };
        let ask = Ask::OpenSession { session, password: Password([0; 16]), timeout_ms: 4000 };
        Submission { caller: Some(caller), xid, ask }
    }
}

fn xids(passed_on: &mut tokio::sync::mpsc::UnboundedReceiver<Submission>) -> Vec<i32> {
    std::iter::from_fn(|| passed_on.try_recv().ok()).map(|submission| submission.xid).collect()
}

#[tokio::test(start_paused = true)]
async fn writes_wait_for_a_leader_and_are_passed_on_once_in_order() {
    let mut alone = Alone::new().await;
    let [first, second] = [alone.write(1, 1, false), alone.write(2, 2, false)];
    alone.hear([Event::Submitted(first), Event::Submitted(second)]);
    let mut to_leader = alone.link(1);
    assert_eq!(xids(&mut to_leader), [1, 2]);
    let third = alone.write(3, 3, false);
    alone.hear([Event::LinkEnded { number: 1 }, Event::Submitted(third)]);
    let behind_the_first = alone.write(1, 4, false);
    alone.hear([Event::Submitted(behind_the_first)]);
    let mut to_next = alone.link(2);
    assert_eq!(
        xids(&mut to_next),
        [3],
        "a request that was passed on is not repeated, and its connection's next one is dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_of_other_members_end_with_the_leadership_and_own_ones_are_passed_on() {
    let mut alone = Alone::new().await;
    let link = FollowerLinkId { number: 1, term: 5, member: 9 };
    let stale = alone.write(7, 1, true);
    alone.hear([Event::Forwarded { submission: stale, link }, Event::Role(Role::Leader { term: 5 })]);
    assert!(alone.log.xids().is_empty(), "it came before this leadership");
    let [theirs, own] = [alone.write(8, 2, true), alone.write(1, 3, false)];
    alone.hear([Event::Forwarded { submission: theirs, link }, Event::Submitted(own)]);
    assert_eq!(alone.log.xids(), [2, 3]);
    alone.hear([Event::Role(Role::Follower { leader: None })]);
    alone.resolve(ProposalOutcome::Refused);
    let mut to_leader = alone.link(1);
    assert_eq!(xids(&mut to_leader), [3]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_stops_only_its_own_connection() {
    let mut alone = Alone::new().await;
    alone.hear([Event::Role(Role::Leader { term: 5 })]);
    let unknown = alone.write(1, 1, false);
    alone.hear([Event::Submitted(unknown)]);
    alone.hear([Event::Role(Role::Follower { leader: None })]);
    alone.resolve(ProposalOutcome::Unknown);
    let [behind, other] = [alone.write(1, 2, false), alone.write(2, 3, false)];
    alone.hear([Event::Submitted(behind), Event::Submitted(other)]);
    let mut to_leader = alone.link(1);
    assert_eq!(xids(&mut to_leader), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_lease_evaluates_nothing() {
    let mut alone = Alone::new().await;
    alone.hear([Event::Role(Role::Leader { term: 5 }), Event::Lease { held: false }]);
    let write = alone.write(1, 1, false);
    alone.hear([Event::Submitted(write)]);
    assert!(alone.log.xids().is_empty());
    alone.hear([Event::Lease { held: true }]);
    assert_eq!(alone.log.xids(), [1]);
    alone.resolve(ProposalOutcome::Applied { at: LogPosition::default(), accepted: false });
    assert_eq!(alone.log.xids(), [1], "the requests of an entry without effect are evaluated again");
}

/// A leader of a later term has changed the state, and this one has not heard of it yet.
#[tokio::test(start_paused = true)]
async fn a_deposed_leader_evaluates_nothing_on_its_successors_state() {
    let mut alone = Alone::new().await;
    alone.hear([Event::Role(Role::Leader { term: 5 })]);
    let [before, behind] = [alone.write(1, 1, false), alone.write(2, 2, false)];
    alone.hear([Event::Submitted(before)]);
    alone.member.replica.order.set_applied_term(6);
    alone.hear([Event::Submitted(behind)]);
    assert_eq!(alone.log.xids(), [1]);
    assert!(!alone.sequencer.may_evaluate(), "it does not try again and again");
    alone.hear([Event::Role(Role::Follower { leader: None })]);
    alone.resolve(ProposalOutcome::Refused);
    let mut to_leader = alone.link(1);
    assert_eq!(xids(&mut to_leader), [1, 2], "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_can_end() {
    let mut alone = Alone::new().await;
    alone.hear([Event::Role(Role::Leader { term: 5 })]);
    let write = alone.write(1, 1, false);
    alone.hear([Event::Submitted(write)]);
    alone.hear([Event::Stop]);
    assert!(!alone.sequencer.is_done(), "the entry may still be resolved");
    alone.hear([Event::Lease { held: false }]);
    assert!(alone.sequencer.is_done());
}

/// A deployment is being prepared, and a transfer before it on the same connection is taken up late, because it was
/// evaluated again. Both cannot be worked on at once.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_held_is_not_held_twice() {
    let mut alone = Alone::new().await;
    alone.hear([Event::Role(Role::Leader { term: 5 })]);
    let [transfer, behind] = [alone.write(1, 1, false), alone.write(1, 2, false)];
    let connection = transfer.caller.as_ref().unwrap().connection;
    let behind = VecDeque::from([QueuedRequest::new(behind, None)]);
    alone.sequencer.held.insert(connection, behind);
    alone.sequencer.take_up_transfer(QueuedRequest::new(transfer, None), 2);
    assert_eq!(alone.sequencer.held[&connection].len(), 1, "the request behind the deployment is not lost");
    assert!(alone.sequencer.broken.contains(&connection), "and the connection is closed");
}

#[tokio::test(start_paused = true)]
#[should_panic = "links have growing numbers"]
async fn a_link_of_the_past_is_a_bug() {
    let mut alone = Alone::new().await;
    alone.link(2);
    alone.link(1);
}
