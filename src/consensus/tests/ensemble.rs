//! Several members in one process, on a network in memory. The clock moves only when no task has anything to do.

use super::*;
use crate::peer::messages::raft::{Append, Appended, Entry, FromFollower, Payload, Vote};
use crate::peer::{Connection, ConnectionHandler, Hello, HelloRefusal, Net, Purpose, accept};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Simulated time within which everything that must happen has happened.
const PATIENCE: Duration = Duration::from_secs(20);

struct Ensemble {
    net: MemoryNet,
    disks: BTreeMap<u64, SimDisk>,
    running: BTreeMap<u64, Running>,
}

struct Running {
    consensus: Consensus,
    counter: Arc<Counter>,
    accepts: JoinHandle<()>,
}

struct Serving(Consensus);

impl ConnectionHandler for Serving {
    fn admit(&self, _hello: &Hello) -> Result<(), HelloRefusal> {
        Ok(())
    }

    fn hosts_of(&self, _id: u32) -> Vec<String> {
        Vec::new()
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.0.serve(connection).await })
    }
}

fn name(id: u64) -> String {
    format!("m{id}")
}

fn me(id: u64) -> LocalMember {
    LocalMember::new(id as u32, [id as u8; 16], limits::FORMAT_LEVEL, 1)
}

fn member(id: u64, role: &str) -> Member {
    let server = Server::parse(id as u32, &format!("{}:2888:3888:{role}", name(id))).unwrap();
    Member { server, incarnation: [id as u8; 16] }
}

fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, Member> {
    ids.into_iter().map(|id| (id, member(id, "participant"))).collect()
}

/// A member's network, its dialer, and its log.
fn stand(net: &MemoryNet, disk: &SimDisk, id: u64) -> (Arc<dyn Net>, Arc<Peers>, Log) {
    let runtime = tokio::runtime::Handle::current();
    let delay = Arc::new(|| Duration::from_millis(1));
    let options = wal::Options { drive: wal::Drive::Task { runtime, delay }, ..log_options() };
    let host = net.host(&name(id));
    (host.clone(), Arc::new(Peers::new(host, me(id))), Log::open(Arc::new(disk.clone()), options).unwrap())
}

impl Ensemble {
    /// Starts all of them with the same first membership.
    async fn found(ids: impl IntoIterator<Item = u64>) -> Ensemble {
        let mut ensemble = Ensemble { net: MemoryNet::new(), disks: BTreeMap::new(), running: BTreeMap::new() };
        let members = members(ids);
        for id in members.keys() {
            ensemble.start(*id, Arc::default(), Some(members.clone())).await;
        }
        ensemble
    }

    async fn start(&mut self, id: u64, counter: Arc<Counter>, founding_members: Option<BTreeMap<u64, Member>>) {
        let disk = self.disks.entry(id).or_default();
        let (net, peers, log) = stand(&self.net, disk, id);
        let consensus = super::super::start(Options {
            member: id,
            log,
            machine: counter.clone(),
            runtime: tokio::runtime::Handle::current(),
            timing: Timing::default(),
            blocking: BlockingWork::Inline,
            peers,
            founding_members,
        });
        let consensus = consensus.await.unwrap();
        let listener = net.listen(([0, 0, 0, 0], 2888).into()).await.unwrap();
        let accepts = tokio::spawn(accept(listener, me(id), Arc::new(Serving(consensus.clone()))));
        self.running.insert(id, Running { consensus, counter, accepts });
    }

    /// Ends a member without a word to the others. From then on nobody listens there.
    async fn kill(&mut self, id: u64) -> Arc<Counter> {
        let running = self.running.remove(&id).unwrap();
        running.accepts.abort();
        let _ = running.accepts.await;
        running.consensus.raft.shutdown().await.unwrap();
        running.counter
    }

    fn of(&self, id: u64) -> &Consensus {
        &self.running[&id].consensus
    }

    fn counter(&self, id: u64) -> &Counter {
        &self.running[&id].counter
    }

    fn isolate(&self, id: u64) {
        self.disks.keys().filter(|other| **other != id).for_each(|other| self.net.cut(&name(id), &name(*other)));
    }

    fn heal(&self, id: u64) {
        self.disks.keys().filter(|other| **other != id).for_each(|other| self.net.heal(&name(id), &name(*other)));
    }

    /// Waits for a leader among the named members.
    async fn leader_among(&self, ids: &[u64]) -> (u64, u64) {
        self.until("there is a leader", || {
            let leads = |id: &u64| match *self.of(*id).role().borrow() {
                Role::Leader { term } => Some((term, *id)),
                _ => None,
            };
            ids.iter().filter_map(leads).max().map(|(term, id)| (id, term))
        })
        .await
    }

    async fn leader(&self) -> (u64, u64) {
        let ids: Vec<u64> = self.running.keys().copied().collect();
        self.leader_among(&ids).await
    }

    async fn until<T>(&self, what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = holds() {
                return value;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until_equal(&self) {
        self.until("all members have the same state", || {
            let mut states = self.running.values().map(|running| running.counter.state.lock().clone());
            let first = states.next()?;
            states.all(|state| state == first).then_some(())
        })
        .await
    }

    /// Proposes batches behind the leader's applied state, each until it is accepted.
    async fn write(&self, count: u64) {
        let (leader, mut term) = self.leader().await;
        for _ in 0..count {
            let end = Instant::now() + PATIENCE;
            loop {
                let next = batch(term, self.counter(leader).zxid(), 1);
                let proposed = tokio::time::timeout_at(end, self.of(leader).propose(next)).await;
                match proposed.unwrap_or_else(|_| panic!("a proposal of {leader} has no outcome within {PATIENCE:?}")) {
                    ProposalOutcome::Applied { accepted: true, .. } => break,
                    ProposalOutcome::Applied { .. } | ProposalOutcome::Refused => {
                        tokio::time::sleep(Duration::from_millis(5)).await
                    }
                    ProposalOutcome::Unknown => panic!("the leadership was lost"),
                }
                term = self.leader_among(&[leader]).await.1;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn members_elect_one_of_them_and_have_the_same_log() {
    let ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    ensemble.write(100).await;
    ensemble.until_equal().await;
    for id in [1, 2, 3] {
        assert_eq!(ensemble.counter(id).state.lock().batches.len(), 100);
        let membership = ensemble.of(id).membership();
        assert_eq!((membership.members, membership.changing), (members([1, 2, 3]), false));
    }
    // A proposal on a follower does not reach the log.
    let follower = if leader == 1 { 2 } else { 1 };
    assert_eq!(ensemble.of(follower).propose(batch(term, Zxid(100), 1)).await, ProposalOutcome::Refused);
    assert_eq!(ensemble.of(follower).lag(leader), None);
    assert_eq!(ensemble.of(leader).lag(follower), Some(0));

    // The leader has heard a quorum recently. Reads everywhere see what was acknowledged.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let recently = Instant::now() - 2 * limits::HEARTBEAT;
    assert!(ensemble.of(leader).quorum_heard().unwrap() > recently);
    assert_eq!(ensemble.of(follower).quorum_heard(), None);
    let index = ensemble.of(leader).read_index().await.unwrap();
    ensemble.of(follower).applied_at_least(index).await.unwrap();
    assert!(ensemble.of(follower).read_index().await.is_err());
    assert_eq!(ensemble.leader().await, (leader, term));
}

#[tokio::test(start_paused = true)]
async fn a_lost_leader_is_replaced_and_nothing_acknowledged_goes() {
    let mut ensemble = Ensemble::found([1, 2, 3]).await;
    for _ in 0..3 {
        let (leader, term) = ensemble.leader().await;
        ensemble.write(10).await;
        let batches = ensemble.counter(leader).state.lock().batches.clone();
        let lost = Instant::now();
        let counter = ensemble.kill(leader).await;
        let (successor, next) = ensemble.leader().await;
        // Less than 600 ms, unless two members stand for election at the same moment.
        assert!(lost.elapsed() < Duration::from_secs(3), "{:?}", lost.elapsed());
        assert!(successor != leader && next > term);
        assert!(ensemble.counter(successor).state.lock().batches.starts_with(&batches));
        ensemble.write(10).await;
        // The lost member comes back with its log alone.
        drop(counter);
        ensemble.start(leader, Arc::default(), None).await;
        ensemble.until_equal().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_out_of_touch_refuses_and_goes_on_in_the_same_term() {
    let ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    ensemble.write(1).await;
    let consensus = ensemble.of(leader);
    ensemble.isolate(leader);
    // The leader's lease still runs. So this batch enters its log, and is committed when the others get it.
    let pending = consensus.propose(batch(term, Zxid(1), 1));
    tokio::time::sleep(limits::ELECTION_MAX + Duration::from_millis(50)).await;
    assert_eq!(consensus.propose(batch(term, Zxid(2), 1)).await, ProposalOutcome::Refused);
    let silent = consensus.quorum_heard().unwrap().elapsed();
    assert!(silent > limits::ELECTION_MAX, "{silent:?}");
    ensemble.heal(leader);
    assert!(matches!(pending.await, ProposalOutcome::Applied { accepted: true, .. }));
    ensemble
        .until("a quorum answers again", || (consensus.quorum_heard()?.elapsed().as_millis() < 100).then_some(()))
        .await;
    // What was evaluated behind the refused batch is in the log and has no effect anywhere.
    let behind = consensus.propose(batch(term, Zxid(3), 1)).await;
    assert!(matches!(behind, ProposalOutcome::Applied { accepted: false, .. }), "{behind:?}");
    let again = consensus.propose(batch(term, Zxid(2), 1)).await;
    assert!(matches!(again, ProposalOutcome::Applied { accepted: true, .. }), "{again:?}");
    assert_eq!(ensemble.leader().await, (leader, term));
    ensemble.until_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_comes_back_unseats_nobody() {
    let ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    let follower = 1 + leader % 3;
    ensemble.isolate(follower);
    ensemble.write(10).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensemble.heal(follower);
    ensemble.until_equal().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensemble.write(10).await;
    assert_eq!(ensemble.leader().await, (leader, term));
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_leader_alone_has_in_its_log_goes() {
    let ensemble = Ensemble::found([1, 2, 3]).await;
    let (old, term) = ensemble.leader().await;
    ensemble.write(5).await;
    ensemble.isolate(old);
    let lost: Vec<Proposal> = (0..5).map(|n| ensemble.of(old).propose(batch(term, Zxid(5 + n), 1))).collect();
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != old).collect();
    let (new, next) = ensemble.leader_among(&others).await;
    assert!(new != old && next > term);
    for n in 0..20 {
        let written = ensemble.of(new).propose(batch(next, Zxid(5 + n), 1)).await;
        assert!(matches!(written, ProposalOutcome::Applied { accepted: true, .. }), "{written:?}");
    }
    ensemble.heal(old);
    for proposal in lost {
        assert_eq!(proposal.await, ProposalOutcome::Unknown);
    }
    ensemble.until_equal().await;
    assert_eq!(ensemble.counter(old).zxid(), Zxid(25));
    assert_eq!(ensemble.leader().await, (new, next));
}

/// The entry takes longer than an answer may, and arrives at the first attempt. The leader goes on leading meanwhile.
#[tokio::test(start_paused = true)]
async fn a_large_entry_crosses_a_slow_path() {
    let ensemble = Ensemble::found([1, 2]).await;
    let (leader, term) = ensemble.leader().await;
    ensemble.write(1).await;
    ensemble.net.slow_down(256 << 10);
    let began = Instant::now();
    let large = batch(term, ensemble.counter(leader).zxid(), 200_000);
    let proposed = tokio::time::timeout(PATIENCE, ensemble.of(leader).propose(large)).await;
    assert!(matches!(proposed, Ok(ProposalOutcome::Applied { accepted: true, .. })), "it has no outcome in time");
    assert!(began.elapsed() > 2 * limits::APPEND_ANSWER_MAX, "the path was slow: {:?}", began.elapsed());
    assert_eq!(ensemble.leader().await, (leader, term));
    ensemble.until_equal().await;
}

#[tokio::test(start_paused = true)]
async fn word_of_a_commit_is_not_answered() {
    let mut ensemble = Ensemble::found([]).await;
    ensemble.start(2, Arc::default(), None).await;
    // A leader that member 2 has never heard of.
    let (net, server) = (ensemble.net.clone(), member(2, "participant").server);
    let peers = Peers::new(net.host(&name(3)), me(3));
    let mut there = peers.connect(&server, None, Purpose::Appends).await.unwrap();
    let vote = Vote { term: 9, voted_for: 3, committed: true };
    let at = |index| LogPosition { term: 9, index };
    let entry = |index| Entry { at: at(index), payload: Payload::Blank };
    let first = Append { vote, prev: None, commit: None, entries: vec![entry(0)], wants_answer: true };
    let word = Append { prev: Some(at(0)), commit: Some(at(0)), entries: vec![], wants_answer: false, ..first.clone() };
    let second = Append { entries: vec![entry(1)], wants_answer: true, ..word.clone() };
    for append in [&first, &word, &second] {
        there.writer.send(append).await.unwrap();
    }
    for index in 0..2 {
        let answer = there.reader.next::<FromFollower>().await.unwrap();
        assert_eq!(answer, Some(FromFollower::Appended(Appended::Matching(Some(at(index))))));
    }
    ensemble.until("the word was heard", || (ensemble.of(2).metrics().applied == Some(at(0))).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_hands_over() {
    let ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    ensemble.write(10).await;
    let follower = 1 + leader % 3;
    let error = ensemble.of(follower).transfer(None).await.unwrap_err();
    assert_eq!(error, MembershipError::NotLeader { leader: Some(leader) });
    assert!(matches!(ensemble.of(leader).transfer(Some(9)).await, Err(MembershipError::Refused(_))));
    let began = Instant::now();
    assert_eq!(ensemble.of(leader).transfer(Some(follower)).await, Ok(follower));
    let (new, next) = ensemble.leader_among(&[follower]).await;
    assert!(began.elapsed() < limits::ELECTION_MIN, "{:?}", began.elapsed());
    assert!((new, next) == (follower, next) && next > term);
    ensemble.write(10).await;
    let successor = ensemble.of(new).transfer(None).await.unwrap();
    assert_ne!(successor, new);
    ensemble.write(10).await;
    ensemble.until_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_is_gone_is_replaced_before_its_lease_ends() {
    let mut ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    ensemble.write(10).await;
    ensemble.until_equal().await;
    ensemble.kill(leader).await;
    let began = Instant::now();
    let survivors: Vec<u64> = ensemble.running.keys().copied().collect();
    // Nothing happens if that leadership is over.
    ensemble.of(survivors[0]).take_over(term - 1).await;
    assert_eq!(ensemble.of(survivors[0]).metrics().term, term);
    // Both find out at once, and only one of them is elected.
    let both = survivors.iter().map(|id| ensemble.of(*id).take_over(term));
    futures::future::join_all(both).await;
    let (_, next) = ensemble.leader().await;
    assert_eq!(next, term + 1);
    assert!(began.elapsed() < limits::ELECTION_MAX, "{:?}", began.elapsed());
    ensemble.write(10).await;
    ensemble.until_equal().await;
}

#[tokio::test(start_paused = true)]
async fn the_member_with_the_longest_log_takes_over() {
    let mut ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, term) = ensemble.leader().await;
    let (behind, ahead) = (1 + leader % 3, 1 + (leader + 1) % 3);
    ensemble.write(1).await;
    ensemble.until_equal().await;
    ensemble.net.cut(&name(leader), &name(behind));
    ensemble.write(10).await;
    ensemble.kill(leader).await;
    ensemble.of(behind).take_over(term).await;
    assert_eq!(ensemble.leader().await.0, ahead);
    ensemble.until_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_may_not_lead_does_not() {
    let mut ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, _) = ensemble.leader().await;
    let (held_back, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
    ensemble.of(held_back).allow_election(false);
    ensemble.kill(leader).await;
    assert_eq!(ensemble.leader().await.0, other);
    ensemble.write(1).await;
}

#[tokio::test(start_paused = true)]
async fn one_member_becomes_three_and_another_one() {
    let mut ensemble = Ensemble::found([1]).await;
    ensemble.write(30).await;
    for id in [2, 3] {
        ensemble.start(id, Arc::default(), None).await;
    }
    let one = ensemble.of(1).clone();
    let before = one.membership();
    one.add_learner(member(2, "participant")).await.unwrap();
    one.add_learner(member(3, "participant")).await.unwrap();
    assert_eq!(one.membership().voters, BTreeSet::from([1]));
    ensemble.until("both have caught up", || (one.lag(2)? + one.lag(3)? == 0).then_some(())).await;
    ensemble.until_equal().await;

    let three = BTreeSet::from([1, 2, 3]);
    let decided_on_the_past = one.change_membership(before.at, three.clone(), members([1, 2, 3])).await;
    assert_eq!(decided_on_the_past, Err(MembershipError::Changed));
    let at = one.membership().at;
    one.change_membership(at, three.clone(), members([1, 2, 3])).await.unwrap();
    ensemble
        .until("all know", || {
            let knows = |running: &Running| running.consensus.membership().voters == three;
            ensemble.running.values().all(knows).then_some(())
        })
        .await;
    ensemble.write(10).await;
    assert!(matches!(
        one.change_membership(None, BTreeSet::new(), members([1])).await,
        Err(MembershipError::Refused(_))
    ));
    let strangers = one.change_membership(None, BTreeSet::from([1, 4]), members([1])).await;
    assert!(matches!(strangers, Err(MembershipError::Refused(_))));

    // At once one member goes and one becomes an observer. The leader is neither.
    let remaining = BTreeMap::from([(1, member(1, "participant")), (2, member(2, "observer"))]);
    one.change_membership(None, BTreeSet::from([1]), remaining.clone()).await.unwrap();
    let membership = one.membership();
    assert_eq!((membership.voters, membership.members), (BTreeSet::from([1]), remaining));
    ensemble.kill(3).await;
    ensemble.write(10).await;
    ensemble.until_equal().await;
    assert!(!ensemble.of(2).metrics().votes);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_founded_with_the_others_and_learns() {
    let mut ensemble = Ensemble::found([]).await;
    let founders = BTreeMap::from([(1, member(1, "participant")), (2, member(2, "observer"))]);
    for id in [1, 2] {
        ensemble.start(id, Arc::default(), Some(founders.clone())).await;
    }
    ensemble.write(10).await;
    ensemble.until_equal().await;
    assert_eq!(ensemble.of(2).membership().members, founders);
    assert!(!ensemble.of(2).metrics().votes);
}

/// An ensemble with one member far behind: the others have purged what it would need.
async fn left_behind() -> (Ensemble, u64, u64) {
    let mut ensemble = Ensemble::found([1, 2, 3]).await;
    let (leader, _) = ensemble.leader().await;
    let behind = 1 + leader % 3;
    ensemble.write(5).await;
    ensemble.until_equal().await;
    ensemble.kill(behind).await;
    ensemble.write(200).await;
    let at = ensemble.counter(leader).make_checkpoint();
    // `checkpointed` alone keeps entries for the other members.
    ensemble.of(leader).checkpointed(at, Some(at));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ensemble.of(leader).metrics().purged, None, "what others may ask for stays");
    ensemble.of(leader).raft.trigger().purge_log(at.index).await.unwrap();
    let purged = || (ensemble.of(leader).metrics().purged == Some(at)).then_some(());
    ensemble.until("the log is purged", purged).await;
    (ensemble, leader, behind)
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_far_behind_goes_on_from_a_checkpoint() {
    let (mut ensemble, leader, behind) = left_behind().await;
    ensemble.start(behind, Arc::default(), None).await;
    ensemble.until_equal().await;
    assert!(ensemble.counter(behind).checkpoint.lock().is_some());
    ensemble.write(5).await;
    ensemble.until_equal().await;
    // The member starts again from that checkpoint alone.
    let counter = ensemble.kill(behind).await;
    let checkpoint = counter.checkpoint.lock().clone().unwrap();
    let again = Counter { state: Mutex::new(checkpoint.clone()), ..Counter::default() };
    *again.checkpoint.lock() = Some(checkpoint);
    ensemble.start(behind, Arc::new(again), None).await;
    ensemble.until_equal().await;
    assert_eq!(ensemble.leader().await.0, leader);
}

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_goes_on_where_it_was_and_with_the_same_checkpoint() {
    let (mut ensemble, leader, behind) = left_behind().await;
    let state = ensemble.counter(leader).checkpoint.lock().clone().unwrap();
    let breaking = Arc::new(Breaking { state, asked: Mutex::default() });
    *ensemble.counter(leader).served_instead.lock() = Some(breaking.clone());
    ensemble.start(behind, Arc::default(), None).await;
    ensemble.until("the transfer broke", || (breaking.asked.lock().len() > 3).then_some(())).await;
    // The sender has a newer checkpoint when the transfer goes on.
    *ensemble.counter(leader).served_instead.lock() = None;
    ensemble.counter(leader).make_checkpoint();
    ensemble.until_equal().await;
    let asked = breaking.asked.lock().clone();
    assert!(asked.iter().filter(|after| after.is_none()).count() == 1, "begun again: {asked:?}");
    assert!(asked.len() <= 205usize.div_ceil(20) + 2, "{asked:?}");
}

/// A checkpoint of which one read fails. That breaks the connection.
struct Breaking {
    state: CounterState,
    asked: Mutex<Vec<Option<Vec<u8>>>>,
}

impl PinnedCheckpoint for Breaking {
    fn position(&self) -> LogPosition {
        self.state.position()
    }

    fn membership(&self) -> Option<Vec<u8>> {
        PinnedCheckpoint::membership(&self.state)
    }

    fn description(&self) -> Vec<u8> {
        self.state.description()
    }

    fn piece(&self, after: Option<&[u8]>, bytes_max: usize, out: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool> {
        let mut asked = self.asked.lock();
        asked.push(after.map(<[u8]>::to_vec));
        if asked.len() == 3 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.state.piece(after, bytes_max, out)
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_with_a_wrong_digest_replaces_nothing() {
    let (mut ensemble, leader, behind) = left_behind().await;
    let good = ensemble.counter(leader).checkpoint.lock().clone().unwrap();
    let bad = CounterState { lies: true, ..good.clone() };
    *ensemble.counter(leader).checkpoint.lock() = Some(bad);
    ensemble.start(behind, Arc::default(), None).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(ensemble.counter(behind).checkpoint.lock().is_none());
    assert_ne!(*ensemble.of(behind).role().borrow(), Role::Stopped);
    *ensemble.counter(leader).checkpoint.lock() = Some(good);
    tokio::time::sleep(2 * limits::CHECKPOINT_OFFER_KEPT).await;
    ensemble.until_equal().await;
}
