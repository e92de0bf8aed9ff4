//! openraft's own suite on this storage, and a single voter from its first start on.

#![expect(clippy::disallowed_methods, reason = "a real disk takes real time")]

use super::checkpoint_transfer::CheckpointOffers;
use super::log::LogStore;
use super::machine::Machine;
use super::types::TypeConfig;
use super::*;
use crate::environment::Instant;
use crate::model::Zxid;
use crate::model::ensemble::Server;
use crate::model::txn::{Change, Outcome, Txn};
use crate::peer::LocalMember;
use crate::peer::testing::MemoryNet;
use crate::storage::Meta;
use crate::storage::records::{self, Tally};
use crate::storage::testing::{Failure, SimDisk};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use openraft::StorageError;
use openraft::storage::RaftStateMachine;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;

mod ensemble;

/// Resolves to the outcome of a proposal.
struct Proposal(oneshot::Receiver<ProposalOutcome>);

impl Proposal {
    /// Blocks the calling thread, which must not be a thread of a runtime.
    fn wait(self) -> ProposalOutcome {
        self.0.blocking_recv().unwrap_or(ProposalOutcome::Unknown)
    }
}

impl Future for Proposal {
    type Output = ProposalOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProposalOutcome> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(ProposalOutcome::Unknown))
    }
}

impl Consensus {
    /// Does what `propose_then` does, for a caller that waits.
    fn propose(&self, batch: Batch) -> Proposal {
        let (done, outcome) = oneshot::channel();
        self.propose_then(batch, move |outcome| {
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        });
        Proposal(outcome)
    }
}

/// A state machine of one number: the last applied zxid, behind the chain fence. It loses its state when it is dropped,
/// except its checkpoint, if a test makes one.
#[derive(Default)]
struct Counter {
    state: Mutex<CounterState>,
    checkpoint: Mutex<Option<CounterState>>,
    /// The checkpoint that is sent to other members instead of `checkpoint`.
    served_instead: Mutex<Option<Arc<dyn PinnedCheckpoint>>>,
    /// Makes a checkpoint at each entry outside the chain.
    always: bool,
    /// The state is not to be trusted, and this one replaces it.
    replacement: Mutex<Option<CounterState>>,
}

#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
struct CounterState {
    applied: Option<LogPosition>,
    membership: Option<Vec<u8>>,
    zxid: u64,
    /// The indexes of the applied batches.
    batches: Vec<u64>,
    /// As a checkpoint, this state announces a wrong digest.
    #[serde(skip)]
    lies: bool,
}

impl CounterState {
    /// Describes the state as a checkpoint with a record for each batch.
    fn describe(&self) -> (Meta, Tally) {
        let mut tally = Tally::default();
        for batch in &self.batches {
            tally.add(&batch.to_be_bytes(), b"applied");
        }
        let digest = self.batches.iter().fold(7, |digest: u64, batch| digest.wrapping_mul(31).wrapping_add(*batch));
        let (position, membership) = (self.applied, self.membership.clone());
        (
            Meta {
                position,
                membership,
                zxid: Zxid(self.zxid),
                digest: digest + u64::from(self.lies),
                format_level: 1,
            },
            tally,
        )
    }
}

impl Counter {
    fn zxid(&self) -> Zxid {
        Zxid(self.state.lock().zxid)
    }

    fn make_checkpoint(&self) -> LogPosition {
        let state = self.state.lock().clone();
        let at = state.applied.unwrap();
        *self.checkpoint.lock() = Some(state);
        at
    }
}

impl PinnedCheckpoint for CounterState {
    fn position(&self) -> LogPosition {
        self.applied.unwrap()
    }

    fn membership(&self) -> Option<Vec<u8>> {
        self.membership.clone()
    }

    fn description(&self) -> Vec<u8> {
        let (meta, tally) = self.describe();
        records::encode(&meta, &tally)
    }

    /// A piece has few records, so that there are several pieces.
    fn piece(&self, after: Option<&[u8]>, _: usize, out: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool> {
        let keys: Vec<[u8; 8]> = self.batches.iter().map(|batch| batch.to_be_bytes()).collect();
        let behind = keys.iter().position(|key| after.is_none_or(|after| key.as_slice() > after)).unwrap_or(keys.len());
        let piece = &keys[behind..(behind + 20).min(keys.len())];
        out.extend(piece.iter().map(|key| (Bytes::copy_from_slice(key), Bytes::from_static(b"applied"))));
        Ok(behind + piece.len() < keys.len())
    }
}

struct CounterReceiving {
    announced: (Meta, Tally),
    state: CounterState,
    tally: Tally,
}

impl IncomingCheckpoint for CounterReceiving {
    fn progress(&self) -> (Option<Vec<u8>>, u64) {
        (self.state.batches.last().map(|batch| batch.to_be_bytes().to_vec()), self.tally.count)
    }

    fn write(&mut self, records: &[(Bytes, Bytes)]) -> io::Result<()> {
        for (key, value) in records {
            self.tally.add(key, value);
            self.state.batches.push(u64::from_be_bytes(key[..].try_into().unwrap()));
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let meta = &self.announced.0;
        self.state.applied = meta.position;
        self.state.membership = meta.membership.clone();
        self.state.zxid = meta.zxid.0;
        let same = self.state.describe() == self.announced && self.tally == self.announced.1;
        if same { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "the digest is another")) }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl StateMachine for Counter {
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool {
        let mut state = self.state.lock();
        state.applied = Some(at);
        let accepted = batch.term == at.term && batch.prev.0 == state.zxid;
        if accepted {
            state.zxid = batch.txns.last().map_or(state.zxid, |txn| txn.zxid.0);
            state.batches.push(at.index);
        }
        accepted
    }

    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>) {
        let mut state = self.state.lock();
        state.applied = Some(at);
        if membership.is_some() {
            state.membership = membership;
        }
        if self.always {
            *self.checkpoint.lock() = Some(state.clone());
        }
    }

    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>) {
        let state = self.state.lock();
        (state.applied, state.membership.clone())
    }

    fn batch_done(&self) {}

    fn is_sound(&self) -> bool {
        self.replacement.lock().is_none()
    }

    fn until_sound(&self) -> BoxFuture<'_, ()> {
        if let Some(replacement) = self.replacement.lock().take() {
            *self.state.lock() = replacement;
        }
        Box::pin(std::future::ready(()))
    }

    fn checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>> {
        let instead = self.served_instead.lock().clone();
        Ok(instead.or_else(|| Some(Arc::new(self.checkpoint.lock().clone()?) as Arc<dyn PinnedCheckpoint>)))
    }

    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>> {
        let announced = records::decode(description).map_err(io::Error::other)?;
        Ok(Box::new(CounterReceiving { announced, state: CounterState::default(), tally: Tally::default() }))
    }

    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn IncomingCheckpoint>) -> io::Result<()> {
        let received = received.into_any().downcast::<CounterReceiving>().map_err(|_| io::Error::other("not mine"))?;
        assert_eq!((received.state.applied, &received.state.membership), (Some(at), &Some(membership)));
        *self.checkpoint.lock() = Some(received.state.clone());
        *self.state.lock() = received.state;
        Ok(())
    }
}

fn log_options() -> wal::Options {
    wal::Options {
        segment_bytes: 64 << 10,
        cache_bytes_max: 1000,
        on_fatal: Arc::new(|sentence| panic!("{sentence}")),
        ..wal::Options::new("log", [3; 16])
    }
}

struct Stores;

impl StoreBuilder<TypeConfig, LogStore, Machine, ()> for Stores {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        let log = Log::open(Arc::new(SimDisk::new()), log_options()).unwrap();
        let counter = Arc::new(Counter { always: true, ..Counter::default() });
        let machine =
            Machine::new(counter, Arc::new(CheckpointOffers::new(BlockingWork::Inline)), BlockingWork::Inline);
        Ok(((), LogStore::new(log.0), machine))
    }
}

#[tokio::test]
async fn openrafts_own_suite_passes() {
    Suite::test_all(Stores).await.unwrap();
}

/// openraft does not know that the state was replaced. A snapshot that was on its way meanwhile is behind the state.
#[tokio::test]
async fn a_snapshot_behind_a_replaced_state_takes_nothing_back() {
    let at = |index| LogPosition { term: 1, index };
    let counter = Arc::new(Counter::default());
    let offers = Arc::new(CheckpointOffers::new(BlockingWork::Inline));
    let mut machine = Machine::new(counter.clone(), offers, BlockingWork::Inline);
    let replacement = CounterState { applied: Some(at(10)), zxid: 7, ..CounterState::default() };
    *counter.replacement.lock() = Some(replacement.clone());
    let blank = |index| types::Entry { log_id: types::log_id(at(index)), payload: types::Payload::Blank };
    let apply = |indexes: std::ops::Range<u64>| stream::iter(indexes.map(move |index| Ok((blank(index), None))));
    machine.apply(apply(0..2)).await.unwrap();
    assert_eq!(*counter.state.lock(), replacement);

    let snapshot = CounterState { applied: Some(at(5)), ..CounterState::default() };
    let meta = openraft::SnapshotMeta { last_log_id: Some(types::log_id(at(5))), ..Default::default() };
    machine.install_snapshot(&meta, SnapshotData::Pinned(Arc::new(snapshot))).await.unwrap();
    assert_eq!(*counter.state.lock(), replacement);
    machine.apply(apply(6..11)).await.unwrap();
    assert_eq!(*counter.state.lock(), replacement);
    machine.apply(apply(11..12)).await.unwrap();
    assert_eq!(counter.state.lock().applied, Some(at(11)));
}

fn batch(term: u64, prev: Zxid, count: usize) -> Batch {
    let mut zxid = prev;
    let txns = (0..count).map(|_| {
        zxid = Zxid(zxid.0 + 1);
        Txn {
            zxid,
            wall_ms: 1,
            ensemble_ms: 2,
            origin: None,
            outcome: Outcome::Done(Vec::new()),
            changes: Vec::new(),
            made_by: Vec::new(),
        }
    });
    Batch { term, prev, digest: None, txns: Arc::new(txns.collect()) }
}

/// The options of a member that knows only itself.
fn alone(log: Log, machine: Arc<dyn StateMachine>) -> Options {
    let net = MemoryNet::new().host("alone");
    let server = Server { id: 77, ..Server::default() };
    Options {
        member: 77,
        log,
        machine,
        runtime: tokio::runtime::Handle::current(),
        timing: Timing::default(),
        blocking: BlockingWork::OwnThread,
        peers: Arc::new(Peers::new(net, LocalMember::new(77, [3; 16], limits::FORMAT_LEVEL, 1))),
        founding_members: Some(BTreeMap::from([(77, Member { server, incarnation: [3; 16] })])),
    }
}

/// Starts a member on the disk. It rebuilds its state from the log, unless `counter` holds one.
async fn start_on(disk: &SimDisk, counter: Arc<Counter>) -> Consensus {
    let log = Log::open(Arc::new(disk.clone()), log_options()).unwrap();
    let consensus = start(alone(log, counter)).await.unwrap();
    assert!(consensus.recovered().await);
    consensus
}

fn term(consensus: &Consensus) -> u64 {
    led_term(consensus).unwrap()
}

/// The term in which this member leads. A borrow of the role blocks its writers, so it ends here.
fn led_term(consensus: &Consensus) -> Option<u64> {
    match *consensus.role().borrow() {
        Role::Leader { term } => Some(term),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_starts_proposes_and_comes_back() {
    let disk = SimDisk::new();
    let counter = Arc::new(Counter::default());
    let consensus = start_on(&disk, counter.clone()).await;
    let first_term = term(&consensus);
    // From one plain thread, without waiting for an outcome.
    let proposer = consensus.clone();
    let proposals = tokio::task::spawn_blocking(move || {
        let batches = (0..500).map(|n| batch(first_term, Zxid(n * 3), 3));
        let proposals: Vec<Proposal> = batches.map(|batch| proposer.propose(batch)).collect();
        proposals.into_iter().map(Proposal::wait).collect::<Vec<ProposalOutcome>>()
    });
    let outcomes = proposals.await.unwrap();
    let mut last = 0;
    for outcome in outcomes {
        let ProposalOutcome::Applied { at, accepted: true } = outcome else { panic!("{outcome:?}") };
        assert!(at.index > last);
        last = at.index;
    }
    assert_eq!(counter.zxid(), Zxid(1500));
    let index = consensus.read_index().await.unwrap();
    consensus.applied_at_least(index).await.unwrap();

    // The state machine checks the fence. A wrong term does not even reach the log.
    let gap = consensus.propose(batch(first_term, Zxid(1501), 1)).await;
    assert!(matches!(gap, ProposalOutcome::Applied { accepted: false, .. }), "{gap:?}");
    assert_eq!(consensus.propose(batch(first_term + 1, Zxid(1500), 1)).await, ProposalOutcome::Refused);
    let metrics = consensus.metrics();
    assert_eq!((metrics.term, metrics.leader), (first_term, Some(77)));
    assert!(metrics.log.entries >= 500 && metrics.log.syncs == metrics.log.batches, "{metrics:?}");

    consensus.shutdown().await;
    assert_eq!(*consensus.role().borrow(), Role::Stopped);
    assert_ne!(
        consensus.propose(batch(first_term, Zxid(1500), 1)).await,
        ProposalOutcome::Applied { at: LogPosition::default(), accepted: true }
    );
    let before = counter.state.lock().clone();
    drop(consensus);

    disk.crash(1);
    let counter = Arc::new(Counter::default());
    let consensus = start_on(&disk, counter.clone()).await;
    assert!(term(&consensus) > first_term);
    assert_eq!(counter.state.lock().batches, before.batches);
    let next = consensus.propose(batch(term(&consensus), Zxid(1500), 1)).await;
    assert!(matches!(next, ProposalOutcome::Applied { accepted: true, .. }), "{next:?}");
    consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_lets_the_log_go() {
    let disk = SimDisk::new();
    let counter = Arc::new(Counter::default());
    let consensus = start_on(&disk, counter.clone()).await;
    let first_term = term(&consensus);
    let mut zxid = Zxid::ZERO;
    let mut at = LogPosition::default();
    for _ in 0..100 {
        let ProposalOutcome::Applied { at: applied, accepted: true } =
            consensus.propose(batch(first_term, zxid, 100)).await
        else {
            panic!("not accepted")
        };
        at = applied;
        zxid = Zxid(zxid.0 + 100);
    }
    // The log goes only up to the image, although the checkpoint reaches further.
    counter.make_checkpoint();
    let image = LogPosition { index: at.index - 10, ..at };
    consensus.checkpointed(at, Some(image));
    while consensus.metrics().purged.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(consensus.metrics().purged, Some(image));
    // One more write makes the purge before it durable.
    consensus.propose(batch(first_term, zxid, 1)).await;
    assert!(consensus.metrics().log.segments <= 2);
    consensus.shutdown().await;
    drop(consensus);

    // From the checkpoint. The rest comes from the log.
    let checkpoint = counter.checkpoint.lock().clone().unwrap();
    let restored = Counter { state: Mutex::new(checkpoint.clone()), ..Counter::default() };
    *restored.checkpoint.lock() = Some(checkpoint);
    let restored = Arc::new(restored);
    let consensus = start_on(&disk, restored.clone()).await;
    assert_eq!(restored.zxid(), Zxid(zxid.0 + 1));
    assert_eq!(restored.state.lock().batches.len(), 101);
    assert_eq!(consensus.metrics().purged, Some(image));
    // A member that ends right behind a checkpoint has purged the log.
    let image = LogPosition { index: image.index + 3, ..image };
    consensus.checkpointed(at, Some(image));
    consensus.shutdown().await;
    drop(consensus);
    let consensus = start_on(&disk, restored).await;
    assert_eq!(consensus.metrics().purged, Some(image));
    consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_leaves_every_outcome_true() {
    for nth in 1.. {
        let disk = SimDisk::new();
        disk.fail_at(nth, Failure::Medium);
        let mut accepted = 0;
        let options = wal::Options { on_fatal: Arc::new(|_| {}), ..log_options() };
        if let Ok(log) = Log::open(Arc::new(disk.clone()), options)
            && let Ok(consensus) = start(alone(log, Arc::new(Counter::default()))).await
            && consensus.recovered().await
            && let Some(term) = led_term(&consensus)
        {
            for n in 0..10 {
                if let ProposalOutcome::Applied { accepted: true, .. } =
                    consensus.propose(batch(term, Zxid(n), 1)).await
                {
                    accepted = n + 1;
                }
            }
            consensus.shutdown().await;
        }
        let done = disk.calls() < nth;
        disk.crash(nth);
        let counter = Arc::new(Counter::default());
        let consensus = start_on(&disk, counter.clone()).await;
        assert!(counter.zxid() >= Zxid(accepted), "call {nth}");
        consensus.shutdown().await;
        if done {
            break;
        }
    }
}

/// The state came from another member, and this member lost power before openraft had adapted its log to the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_from_another_member_outweighs_what_was_never_committed() {
    let (committed, applied) = (LogPosition { term: 1, index: 10 }, LogPosition { term: 2, index: 15 });
    for last in [7, 15, 20] {
        let disk = SimDisk::new();
        let log = Log::open(Arc::new(disk.clone()), log_options()).unwrap();
        let blank =
            |index| wal::Entry { at: LogPosition { term: 1, index }, payload: log::Payload(types::Payload::Blank) };
        log.0.append((0..=last).map(blank).collect(), Box::new(|_| {}));
        log.0.save_committed(committed.min(LogPosition { index: last, ..committed }));
        let (done, durable) = oneshot::channel();
        let vote = wal::Vote { term: 3, voted_for: 77, committed: false };
        log.0.save_vote(vote, Box::new(move |result| done.send(result).unwrap()));
        durable.await.unwrap().unwrap();
        drop(log);
        disk.crash(last);

        let membership = types::alone(77, Member::default()).unwrap();
        let membership = types::StoredMembership::new(Some(types::log_id(LogPosition::default())), membership);
        let membership = Some(types::encode_stored(&membership));
        let state = CounterState { applied: Some(applied), membership, ..CounterState::default() };
        let restored = || {
            let (state, checkpoint) = (Mutex::new(state.clone()), Mutex::new(Some(state.clone())));
            Arc::new(Counter { state, checkpoint, ..Counter::default() })
        };
        let consensus = start_on(&disk, restored()).await;
        assert_eq!(consensus.log.purged(), Some(applied), "log up to {last}");
        let written = consensus.propose(batch(term(&consensus), Zxid::ZERO, 1)).await;
        assert!(matches!(written, ProposalOutcome::Applied { accepted: true, .. }), "{written:?}");
        consensus.shutdown().await;
        drop(consensus);

        // The adapted log was durable before that write was. It goes on behind the state.
        disk.crash(last + 1);
        let counter = restored();
        let consensus = start_on(&disk, counter.clone()).await;
        assert_eq!(consensus.log.purged(), Some(applied));
        assert_eq!(counter.zxid(), Zxid(1));
        consensus.shutdown().await;
    }
}

/// Measures, and tests nothing: `cargo test --release -- --ignored --nocapture what_a_commit_costs`. Prints the
/// microseconds of one commit with nothing else in flight, the microseconds of one fdatasync, and the milliseconds of a
/// restart behind a million transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; needs a quiet machine and a real disk"]
async fn what_a_commit_costs() {
    use crate::storage::disk::RealDisk;
    use std::time::Instant;
    // The system's folder for temporary files may be in memory, so it is not used.
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap().join("target")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.path()));
    let begin = async |disk: &Arc<dyn Disk>| {
        let started = Instant::now();
        let log = Log::open(disk.clone(), wal::Options::new("log", [3; 16])).unwrap();
        let opened = started.elapsed();
        let consensus = start(alone(log, Arc::new(Counter::default()))).await.unwrap();
        assert!(consensus.recovered().await);
        println!("log open after {opened:?}, recovered after {:?}", started.elapsed());
        consensus
    };
    let file = disk.open("floor", true).unwrap();
    file.allocate(1 << 20).unwrap();
    file.sync_data().unwrap();
    let percentile = |mut figures: Vec<u128>, percent: usize| {
        figures.sort_unstable();
        figures[figures.len() * percent / 100]
    };
    let consensus = begin(&disk).await;
    let first_term = term(&consensus);
    let proposer = consensus.clone();
    let last = tokio::task::spawn_blocking(move || {
        let (mut floor, mut commit) = (Vec::new(), Vec::new());
        let mut zxid = Zxid::ZERO;
        for n in 0..2000u64 {
            let started = Instant::now();
            file.write_at(&[1; 300], n * 300).unwrap();
            file.sync_data().unwrap();
            floor.push(started.elapsed().as_micros());
            let started = Instant::now();
            proposer.propose(batch(first_term, zxid, 8)).wait();
            commit.push(started.elapsed().as_micros());
            zxid = Zxid(zxid.0 + 8);
        }
        println!("fdatasync: p50 {} p99 {} us", percentile(floor.clone(), 50), percentile(floor, 99));
        println!("commit: p50 {} p99 {} us", percentile(commit.clone(), 50), percentile(commit, 99));
        // 160 MB in batches of 1,000: a million sets of 100 bytes.
        for _ in 0..1000 {
            let mut sets = batch(first_term, zxid, 1000);
            let txns = Arc::get_mut(&mut sets.txns).unwrap();
            for txn in txns {
                let path = format!("/bench/node-{:010}", txn.zxid.0).into();
                txn.changes.push(Change::SetData { path, data: Some(vec![7; 100].into()), version: 1 });
            }
            proposer.propose(sets).wait();
            zxid = Zxid(zxid.0 + 1000);
        }
        zxid
    });
    let last = last.await.unwrap();
    println!("{:?}", consensus.metrics().log);
    consensus.shutdown().await;
    drop(consensus);
    let consensus = begin(&disk).await;
    assert_eq!(consensus.metrics().term, first_term + 1);
    println!("zxid {last}");
    consensus.shutdown().await;
}
