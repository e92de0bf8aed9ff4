//! A whole state from another member: sent while it changes, refused before anything is replaced, and put in the place
//! of a member's own state with power losses at every call.

use super::with_log::{Changes, durable, log_options, position};
use super::{Map, Model, lived_in, load_checkpoint, load_image, meta_at, open, recover};
use crate::state::State;
use crate::storage::checkpoint::{Change, Checkpoint, CheckpointView};
use crate::storage::checkpointer::{Checkpointer, Progress};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::identity::Identity;
use crate::storage::receive::{IncomingState, ReceivedState};
use crate::storage::records::{self, FileError, Tally};
use crate::storage::start::{self, LogExtent, Source, StartError};
use crate::storage::testing::{Dice, SimDisk};
use crate::storage::wal::{Entry, Vote, Wal};
use crate::storage::{CHECKPOINT_FILE, IMAGE_FILE, IMAGE_FILE_RECEIVED, LogPosition, Meta};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// The records that one member sends and another receives.
type Records = Vec<(Bytes, Bytes)>;

const PIECE_BYTES: usize = 3000;

/// Sends the next piece of a checkpoint, behind what was received. Returns false if it was the last.
fn take_piece(view: &CheckpointView, incoming: &mut IncomingState<Map>) -> bool {
    let mut records = Records::new();
    let after = incoming.progress().0.map(<[u8]>::to_vec);
    let more = view.piece(after.as_deref(), PIECE_BYTES, &mut records).unwrap();
    records.iter().for_each(|(key, value)| incoming.record(key, value).unwrap());
    more
}

/// A directory with a checkpoint of `entries` entries, and their state.
fn giver(disk: Arc<dyn Disk>, entries: u64, dice: &mut Dice) -> (Model, Checkpointer) {
    let log = LogExtent { purged: None, is_new: false };
    let mut checkpointer = start::open(disk, log, 0, Map::new).unwrap().checkpointer;
    let mut model = Model::default();
    (0..entries).for_each(|_| model.apply(&some_changes(dice)));
    checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
    (model, checkpointer)
}

fn some_changes(dice: &mut Dice) -> Vec<Change> {
    let change = |dice: &mut Dice| {
        let key = format!("n/node-{:03}", dice.below(150)).into_bytes();
        (key, (!dice.one_in(6)).then(|| vec![dice.roll() as u8; dice.below(300) as usize]))
    };
    (0..1 + dice.below(8)).map(|_| change(dice)).collect()
}

/// Sends `giver`'s checkpoint to another directory while the state changes with each piece, and compares.
fn give_while_it_changes(from: Arc<dyn Disk>, to: Arc<dyn Disk>) {
    let dice = &mut Dice::new(11);
    let (mut model, mut checkpointer) = giver(from.clone(), 60, dice);
    let (given, reader) = (model.clone(), checkpointer.last().reader());
    let view = reader.view().unwrap().unwrap();
    let description = records::encode(view.meta(), view.tally());
    let (mut taker, mut own) = giver(to.clone(), 5, dice);
    let mut incoming = IncomingState::begin(to.clone(), &description, Map::new()).unwrap();
    let mut pieces = 1;
    while take_piece(&view, &mut incoming) {
        pieces += 1;
        model.apply(&some_changes(dice));
        checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
        checkpointer.image(&Progress::default()).unwrap();
    }
    assert!(pieces > 3 && model.map != given.map);
    incoming.finish().unwrap();
    let complete = incoming.into_complete().unwrap();
    assert_eq!(complete.meta, given.meta());
    assert!(complete.state.map == given.map, "what came is a mix");
    // A new view shows the present checkpoint.
    assert_eq!(*reader.view().unwrap().unwrap().meta(), model.meta());

    // Puts the state in its place, while a view of the old checkpoint is still read.
    let before = own.last().reader().view().unwrap().unwrap();
    let (state, meta) = own.replace(complete, &Progress::default()).unwrap();
    assert!(state.map == given.map && meta == given.meta());
    assert_eq!(own.purge_up_to(), meta.position);
    let read: Map = all_in(&before).into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    assert!(read == taker.map, "the checkpoint before is not what it was");
    // The next checkpoint goes on from the received state.
    taker = state;
    taker.apply(&some_changes(dice));
    own.checkpoint(&Progress::default(), &mut taker).unwrap();
    drop((own, before));
    let log = LogExtent { purged: None, is_new: false };
    let started = start::open(to, log, 0, Map::new).unwrap();
    assert_eq!(started.source, Source::Checkpoint);
    assert!(started.state.unwrap().map == taker.map);
}

#[test]
fn a_checkpoint_is_given_whole_while_newer_ones_are_written() {
    give_while_it_changes(Arc::new(SimDisk::new()), Arc::new(SimDisk::new()));
}

#[test]
fn a_checkpoint_is_given_from_one_real_disk_to_another() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    give_while_it_changes(Arc::new(RealDisk::new(from.path())), Arc::new(RealDisk::new(to.path())));
}

/// A whole checkpoint, for tests to alter.
fn all_of(checkpoint: &Checkpoint) -> (Meta, Tally, Records) {
    let view = checkpoint.reader().view().unwrap().unwrap();
    (view.meta().clone(), *view.tally(), all_in(&view))
}

fn all_in(view: &CheckpointView) -> Records {
    let mut records = Records::new();
    let mut last: Option<Bytes> = None;
    while view.piece(last.as_deref(), PIECE_BYTES, &mut records).unwrap() {
        last = records.last().map(|(key, _)| key.clone());
    }
    records
}

fn receive(disk: &SimDisk, description: &[u8], records: &Records) -> Result<IncomingState<Map>, FileError> {
    let mut incoming = IncomingState::begin(Arc::new(disk.clone()), description, Map::new())?;
    records.iter().try_for_each(|(key, value)| incoming.record(key, value))?;
    incoming.finish()?;
    Ok(incoming)
}

#[test]
fn what_is_not_as_it_was_announced_is_refused_and_replaces_nothing() {
    let (_, checkpointer) = giver(Arc::new(SimDisk::new()), 60, &mut Dice::new(12));
    let (meta, tally, records) = all_of(checkpointer.last());
    let description = records::encode(&meta, &tally);
    let (disk, ledger, _) = lived_in(13);
    let (checkpoint, image) = (disk.bytes(CHECKPOINT_FILE), disk.bytes(IMAGE_FILE));

    let altered = |alter: &dyn Fn(&mut Records)| {
        let mut records = records.clone();
        alter(&mut records);
        (description.clone(), records)
    };
    let described = |meta: &Meta, tally: &Tally| (records::encode(meta, tally), records.clone());
    let cases = [
        ("one too few", altered(&|records| drop(records.pop()))),
        ("one too many", altered(&|records| records.push((Bytes::from_static(b"z"), Bytes::new())))),
        ("another value", altered(&|records| records[7].1 = Bytes::from_static(b"not what it was"))),
        ("another key", altered(&|records| records.last_mut().unwrap().0 = Bytes::from_static(b"z"))),
        ("out of order", altered(&|records| records.swap(3, 4))),
        ("one twice", altered(&|records| records[4] = records[3].clone())),
        ("another count", described(&meta, &Tally { count: tally.count + 1, ..tally })),
        ("another sum", described(&meta, &Tally { sum: tally.sum ^ 1, ..tally })),
        ("another digest", described(&Meta { digest: meta.digest ^ 1, ..meta.clone() }, &tally)),
        ("a damaged description", (description[1..].to_vec(), records.clone())),
    ];
    for (what, (description, records)) in &cases {
        let refused = receive(&disk, description, records);
        assert!(matches!(refused, Err(FileError::Damaged(_))), "{what}: {:?}", refused.err());
        assert!(disk.bytes(CHECKPOINT_FILE) == checkpoint && disk.bytes(IMAGE_FILE) == image, "{what}");
    }
    assert_eq!(recover(&disk, &ledger).unwrap().2, Source::Checkpoint);
    assert!(!disk.paths().contains(&IMAGE_FILE_RECEIVED.to_owned()), "a start removes what is left of it");
    // The unaltered records are accepted, and only `replace` changes anything.
    let complete = receive(&disk, &description, &records).unwrap().into_complete().unwrap();
    assert_eq!(complete.meta, meta);
    assert!(disk.bytes(IMAGE_FILE) == image);
    drop(complete);
    assert_eq!(open(&disk, &ledger).unwrap().meta, meta_at(80));
}

/// The digest of the tree itself, beside the sum over the records.
#[test]
fn a_tree_with_another_digest_than_announced_is_refused() {
    let mut state = State::new(1);
    let mut cut = state.begin_checkpoint();
    let (mut changes, mut tally) = (Vec::new(), Tally::default());
    while state.checkpoint_piece(&mut cut, 1 << 20, &mut changes) {}
    state.end_checkpoint(cut);
    changes.sort();
    let records: Vec<_> = changes.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
    records.iter().for_each(|(key, value)| tally.add(key, value));
    let position = Some(LogPosition { term: 1, index: 1 });
    let right = Meta { position, zxid: state.last_zxid(), digest: state.digest(), ..Meta::default() };
    for (meta, taken) in [(Meta { digest: right.digest ^ 1, ..right.clone() }, false), (right, true)] {
        let disk = SimDisk::new();
        let description = records::encode(&meta, &tally);
        let mut incoming = IncomingState::begin(Arc::new(disk), &description, State::load(1)).unwrap();
        records.iter().for_each(|(key, value)| incoming.record(key, value).unwrap());
        assert_eq!(incoming.finish().is_ok(), taken);
        assert_eq!(incoming.into_complete().is_some(), taken);
    }
}

/// The leader's log, of which this member has the beginning.
struct History {
    entries: Vec<Vec<Change>>,
    /// Behind that beginning: entries of an earlier leader that were never committed.
    lost: Vec<Vec<Change>>,
}

const HAS: u64 = 20;
const COMES: u64 = 60;

impl History {
    fn new(seed: u64) -> History {
        let dice = &mut Dice::new(seed);
        let mut some = |count| (0..count).map(|_| some_changes(dice)).collect();
        History { entries: some(COMES), lost: some(5) }
    }

    /// The state behind that many entries of the leader.
    fn leads_to(&self, entries: u64) -> Model {
        let mut model = Model::default();
        self.entries[..entries as usize].iter().for_each(|entry| model.apply(entry));
        model
    }

    fn old(&self) -> Model {
        let mut model = self.leads_to(HAS);
        self.lost.iter().for_each(|entry| model.apply(entry));
        model
    }
}

fn what_comes(model: &Model) -> (Vec<u8>, Records) {
    let (_, mut checkpointer) = giver(Arc::new(SimDisk::new()), 0, &mut Dice::new(1));
    checkpointer.checkpoint(&Progress::default(), &mut model.clone()).unwrap();
    let (meta, tally, records) = all_of(checkpointer.last());
    (records::encode(&meta, &tally), records)
}

struct Process {
    wal: Wal<Changes>,
    model: Model,
    checkpointer: Checkpointer,
}

fn begin(disk: &SimDisk) -> Result<Process, StartError> {
    let new = Identity { cluster: 1, member: 1, incarnation: [7; 16], log_in_use: false };
    let identity = start::identify(disk, new)?;
    let disk = Arc::new(disk.clone());
    let wal = Wal::<Changes>::open(disk.clone(), log_options(&identity))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let log = LogExtent { purged: wal.purged(), is_new: wal.last().is_none() && wal.vote().is_none() };
    let started = start::open(disk, log, 0, Map::new)?;
    let mut model = started.state.unwrap_or_default();
    let last = wal.last().map_or(0, |last| last.index);
    for entry in wal.read(model.index + 1..last + 1, usize::MAX)? {
        assert_eq!(entry.at.index, model.index + 1);
        model.apply(&entry.payload.0);
    }
    Ok(Process { wal, model, checkpointer: started.checkpointer })
}

/// A member that is behind. Its log is purged up to entry 10, where its image stands.
fn behind(history: &History) -> SimDisk {
    let disk = SimDisk::new();
    let Process { wal, mut model, mut checkpointer } = begin(&disk).unwrap();
    let all = history.entries[..HAS as usize].iter().chain(&history.lost);
    for (index, entry) in (1..).zip(all) {
        let entries = vec![Entry { at: position(index), payload: Changes(entry.clone()) }];
        durable(|done| wal.append(entries, done)).unwrap();
        model.apply(entry);
        if index == 10 {
            checkpointer.checkpoint(&Progress::default(), &mut model).unwrap();
            checkpointer.image(&Progress::default()).unwrap();
            wal.purge(checkpointer.purge_up_to().unwrap());
        }
    }
    disk
}

fn vote(wal: &Wal<Changes>) -> io::Result<()> {
    durable(|done| wal.save_vote(Vote { term: 9, voted_for: 2, committed: true }, done))
}

/// Receives all of it, and does not put it in its place yet.
fn take(disk: &SimDisk, description: &[u8], records: &Records) -> io::Result<ReceivedState<Model>> {
    let received = receive(disk, description, records).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(received.into_complete().unwrap())
}

/// Loses power at every changing call of `act`, in several ways, until `act` passes. `look` checks what a start finds
/// each time.
fn at_every_call(base: &SimDisk, act: impl Fn(&SimDisk) -> io::Result<()>, mut look: impl FnMut(&SimDisk, bool)) {
    for nth in 1.. {
        let disk = base.fork();
        disk.crash_at(nth);
        let through = act(&disk).is_ok();
        assert!(through || disk.is_down(), "call {nth}");
        for seed in 0..3 {
            let after = disk.fork();
            if seed == 0 {
                after.restart()
            } else {
                after.crash(nth * 10 + seed)
            }
            look(&after, through);
        }
        if through {
            return;
        }
    }
}

#[test]
fn power_lost_at_any_call_of_an_installation_leaves_the_old_state_or_the_new() {
    let history = History::new(21);
    let (old, new) = (history.old(), history.leads_to(COMES));
    let (description, records) = what_comes(&new);
    let base = behind(&history);
    let (mut olds, mut news) = (0, 0);
    at_every_call(
        &base,
        |disk| {
            let Process { wal, mut checkpointer, .. } = begin(disk).map_err(io::Error::other)?;
            let complete = take(disk, &description, &records)?;
            checkpointer.replace(complete, &Progress::default())?;
            // openraft does this behind an installation: the log ends before the entry up to which it is purged.
            wal.purge(position(COMES));
            vote(&wal)
        },
        |disk, through| {
            let Process { wal, model, checkpointer } = begin(disk).unwrap_or_else(|error| panic!("{error}"));
            let installed = model.map == new.map && model.index == COMES;
            assert!(installed || model.map == old.map && model.index == old.index, "a mix, at entry {}", model.index);
            if wal.purged() == Some(position(COMES)) {
                assert!(installed && wal.last() == Some(position(COMES)), "an old state beside a purged log");
            }
            assert!(!through || installed && wal.purged() == Some(position(COMES)));
            let half: Vec<String> =
                disk.paths().into_iter().filter(|path| path.ends_with(".tmp") || path == IMAGE_FILE_RECEIVED).collect();
            assert!(half.is_empty(), "{half:?}");
            // The other of the two files also gives a state that the log continues.
            let image = load_image(disk).unwrap().unwrap();
            assert!(image == (history.leads_to(10).map, meta_at(10)) || image == (new.map.clone(), new.meta()));
            *if installed { &mut news } else { &mut olds } += 1;
            drop((wal, checkpointer));
            disk.crash(1);
            disk.remove(CHECKPOINT_FILE).unwrap();
            let again = begin(disk).unwrap_or_else(|error| panic!("from the image: {error}")).model;
            assert!(again.map == new.map || again.map == old.map && !installed);
        },
    );
    println!("{olds} found the old state, {news} the new one");
    assert!(olds > 100 && news > 3);
}

/// Before anything is opened: how a member recovers whose checkpoint and image are both lost.
#[test]
fn power_lost_while_a_lost_state_is_replaced_leaves_a_refusal_or_the_new_state() {
    let history = History::new(22);
    let new = history.leads_to(COMES);
    let (description, records) = what_comes(&new);
    let base = behind(&history);
    base.set_bytes(CHECKPOINT_FILE, b"not a database");
    base.flip(IMAGE_FILE, 400, 1);
    assert!(matches!(begin(&base), Err(StartError::NoState { purged, .. }) if purged == position(10)));
    let (mut refused, mut news) = (0, 0);
    at_every_call(
        &base,
        |disk| take(disk, &description, &records)?.take_place(disk),
        |disk, through| match begin(disk) {
            Err(StartError::NoState { .. }) if !through => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(Process { wal, model, .. }) => {
                assert!(model.map == new.map && model.index == COMES, "not what came, at entry {}", model.index);
                assert_eq!(wal.last(), Some(position(HAS + 5)));
                assert!(load_checkpoint(disk).unwrap().unwrap() == (new.map.clone(), new.meta()));
                news += 1;
            }
        },
    );
    println!("{refused} refused, {news} found the new state");
    assert!(refused > 50 && news > 3);
}
