//! The checkpoint: all state as records in a redb file. One transaction changes what changed since the last checkpoint.
//!
//! Promises: the file holds the state behind one log entry, whatever happens while a checkpoint is written. Memory is
//! bounded by `limits::CHECKPOINT_CACHE_BYTES` and one piece. No damage is loaded unseen: every record counts into the
//! sum that the description holds (`records`).
//!
//! What can go wrong: redb may report a damaged file. It may panic on a damaged file, at once or only when it needs
//! free pages. Or it may open the state before the last. The first two are `Damaged` here. `start` finds out whether
//! the log still continues the third.
//!
//! Votes and the log never live here (docs/decisions/0003).

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

use super::disk::{Disk, DiskFile};
use super::records::{self, FileError, LogPosition, Meta, Tally};
use super::{CHECKPOINT_FILE, CHECKPOINT_FILE_NEW};
use crate::limits;
use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

/// The state's records. The state packs keys and values.
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// One record with an empty key: `records::encode`.
const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");

/// redb's page size, which is part of its file format.
const PAGE_BYTES: u64 = 4096;

/// One changed record: its key, and its new value. None if the record is gone.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Where the records of a checkpoint come from. The replica implements it over its state.
pub(crate) trait CheckpointSource {
    /// Fixes the log entry behind which the following pieces are the state. Returns which one.
    fn begin(&mut self) -> Meta;
    /// Appends about `bytes_max` bytes of changes since the last checkpoint. Each key comes once, best in key order.
    /// Returns false if these were the last.
    fn piece(&mut self, bytes_max: usize, out: &mut Vec<Change>) -> bool;
    /// Called when the checkpoint is durable.
    fn end(&mut self);
}

/// The open checkpoint file. It has one owner. Readers of its content see whole checkpoints only.
pub(crate) struct Checkpoint {
    /// None only while it is dropped.
    database: Option<Arc<Database>>,
    /// What is on disk; None before the first checkpoint.
    described: Option<(Meta, Tally)>,
    /// The first failure of the disk itself (`Backend`).
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Checkpoint {
    /// Makes a new, empty checkpoint in the place of the old one. Durable on return.
    pub(crate) fn create(disk: &dyn Disk) -> io::Result<Checkpoint> {
        let checkpoint = Checkpoint::build(disk, |_| Ok::<_, io::Error>(None))?;
        checkpoint.take_place(disk)?;
        Ok(checkpoint)
    }

    /// Makes a new checkpoint with other records, durable on return but not yet in its place (`take_place`). `fill`
    /// calls its argument with each record, in key order, and returns which state they are.
    pub(crate) fn build<E: From<io::Error>>(
        disk: &dyn Disk,
        fill: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>) -> Result<Option<Meta>, E>,
    ) -> Result<Checkpoint, E> {
        if disk.exists(CHECKPOINT_FILE_NEW)? {
            disk.remove(CHECKPOINT_FILE_NEW)?;
        }
        let file = disk.open(CHECKPOINT_FILE_NEW, true)?;
        let backend = Backend::new(file, None);
        let failure = backend.failure.clone();
        let database = database(backend, limits::CHECKPOINT_CACHE_BYTES).map_err(failed)?;
        let mut checkpoint = Checkpoint { database: Some(Arc::new(database)), described: None, failure };
        checkpoint.transaction(|table, tally| {
            fill(&mut |key, value| {
                tally.add(key, value);
                if table.insert(key, value).map_err(failed)?.is_some() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a record comes twice"));
                }
                Ok(())
            })
        })?;
        Ok(checkpoint)
    }

    /// Puts the checkpoint that `build` made in the place of the old one. A crash leaves the old file or the new one.
    pub(crate) fn take_place(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.rename(CHECKPOINT_FILE_NEW, CHECKPOINT_FILE)?;
        disk.sync_folder("")
    }

    /// Opens the file for further checkpoints. Does not look at its records (`load` does).
    pub(crate) fn open(disk: &dyn Disk) -> Result<Checkpoint, FileError> {
        let file = disk.open(CHECKPOINT_FILE, false)?;
        let backend = Backend::new(file, None);
        let failure = backend.failure.clone();
        guarded(&failure, || {
            let database = database(backend, limits::CHECKPOINT_CACHE_BYTES).map_err(damaged)?;
            let described = describe(&database)?;
            Ok(Checkpoint { database: Some(Arc::new(database)), described, failure: failure.clone() })
        })
    }

    /// Which state the records on disk are; None before the first checkpoint.
    pub(crate) fn meta(&self) -> Option<&Meta> {
        self.described.as_ref().map(|(meta, _)| meta)
    }

    pub(crate) fn position(&self) -> Option<LogPosition> {
        self.meta().and_then(|meta| meta.position)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.described.as_ref().map_or(Tally::default(), |(_, tally)| *tally)
    }

    /// Writes one checkpoint, in one transaction. After an error the process must end. The file then holds the
    /// checkpoint before, or it is damaged.
    pub(crate) fn write(&mut self, source: &mut dyn CheckpointSource) -> Result<(), FileError> {
        let failure = self.failure.clone();
        guarded(&failure, || self.write_changes(source).map_err(damaged))?;
        source.end();
        Ok(())
    }

    fn write_changes(&mut self, source: &mut dyn CheckpointSource) -> io::Result<()> {
        let meta = source.begin();
        self.transaction(|table, tally| {
            let mut piece = Vec::new();
            loop {
                let more = source.piece(limits::CHECKPOINT_PIECE_BYTES, &mut piece);
                for (key, value) in piece.drain(..) {
                    let before = match &value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice()),
                        None => table.remove(key.as_slice()),
                    };
                    if let Some(before) = before.map_err(failed)? {
                        tally.remove(&key, before.value());
                    }
                    if let Some(value) = value {
                        tally.add(&key, &value);
                    }
                }
                if !more {
                    return Ok::<_, io::Error>(Some(meta));
                }
            }
        })
    }

    /// Reads every record of the checkpoint on disk, in key order. Returns which state they are.
    pub(crate) fn read(
        &self,
        record: &mut records::EachRecord<'_, io::Error>,
    ) -> Result<Option<(Meta, Tally)>, FileError> {
        let Some((meta, tally)) = &self.described else { return Ok(None) };
        guarded(&self.failure, || {
            let transaction = self.database()?.begin_read().map_err(damaged)?;
            stream(&transaction, tally, |key, value| Ok(record(key, value)?))
        })?;
        Ok(Some((meta.clone(), *tally)))
    }

    /// A way to read checkpoints while newer ones are written.
    pub(crate) fn reader(&self) -> CheckpointReader {
        let database = self.database.as_ref().map(Arc::downgrade).unwrap_or_default();
        CheckpointReader { database, failure: self.failure.clone() }
    }

    fn database(&self) -> io::Result<&Arc<Database>> {
        self.database.as_ref().ok_or_else(|| io::Error::other("the checkpoint file is closed"))
    }

    /// Runs one durable transaction. `change` returns which state the records are behind it.
    fn transaction<E: From<io::Error>>(
        &mut self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>, &mut Tally) -> Result<Option<Meta>, E>,
    ) -> Result<(), E> {
        let mut tally = self.tally();
        let mut transaction = self.database()?.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        // This costs two syncs instead of one. In return an unclean end costs the next start nothing: redb knows that a
        // commit is good without a walk over the file.
        transaction.set_quick_repair(true);
        let meta = change(&mut transaction.open_table(RECORDS).map_err(failed)?, &mut tally)?;
        if let Some(meta) = &meta {
            let mut table = transaction.open_table(META).map_err(failed)?;
            table.insert([].as_slice(), records::encode(meta, &tally).as_slice()).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.described = meta.map(|meta| (meta, tally));
        Ok(())
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // redb writes once more when it closes, and may panic there if the disk has failed. All that matters is on
        // disk.
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// Opens views of the last checkpoint in a file.
#[derive(Clone)]
pub(crate) struct CheckpointReader {
    /// The writer's database. Only the `Checkpoint` and views of it keep the file open.
    database: Weak<Database>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl CheckpointReader {
    /// The last checkpoint. It does not change as long as the view lives. None: there is no checkpoint yet, or another
    /// file has replaced this one.
    pub(crate) fn view(&self) -> Result<Option<CheckpointView>, FileError> {
        let Some(database) = self.database.upgrade() else { return Ok(None) };
        guarded(&self.failure, || {
            let transaction = database.begin_read().map_err(damaged)?;
            let Some((meta, tally)) = description(&transaction)? else { return Ok(None) };
            let failure = self.failure.clone();
            Ok(Some(CheckpointView { meta, tally, transaction, failure, _database: database.clone() }))
        })
    }
}

/// One checkpoint, which does not change while newer ones are written. Its pages stay in the file, and the file grows
/// by what changes meanwhile.
pub(crate) struct CheckpointView {
    meta: Meta,
    tally: Tally,
    transaction: redb::ReadTransaction,
    failure: Arc<Mutex<Option<io::Error>>>,
    _database: Arc<Database>,
}

impl CheckpointView {
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Appends the records behind the key `after`, in key order, until about `bytes_max` bytes. Returns false if these
    /// were the last. They are not verified: a caller that has all of them compares them with the tally.
    pub(crate) fn piece(
        &self,
        after: Option<&[u8]>,
        bytes_max: usize,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<bool, FileError> {
        guarded(&self.failure, || {
            let table = self.transaction.open_table(RECORDS).map_err(damaged)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut bytes = 0;
            for record in table.range::<&[u8]>((from, Bound::Unbounded)).map_err(damaged)? {
                let (key, value) = record.map_err(damaged)?;
                if bytes >= bytes_max {
                    return Ok(true);
                }
                bytes += key.value().len() + value.value().len();
                out.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
            }
            Ok(false)
        })
    }
}

/// Reads every record of the checkpoint file, in key order, and verifies them against the description. None: there is
/// no such file, or no checkpoint was ever finished in it. `record` gets records before all of them are verified, so
/// whatever was built from them counts only once this function has returned.
pub(crate) fn load(
    disk: &dyn Disk,
    record: &mut records::EachRecord<'_, FileError>,
) -> Result<Option<Meta>, FileError> {
    if !disk.exists(CHECKPOINT_FILE)? {
        return Ok(None);
    }
    let file = disk.open(CHECKPOINT_FILE, false)?;
    // A damaged page could make redb walk in circles. Without a cache every step reads a page. Even a repair reads each
    // page only a few times, so a bound on the reads ends such a walk.
    let reads_max = 1024 + 8 * file.len()? / PAGE_BYTES;
    let backend = Backend::new(file, Some(reads_max));
    let failure = backend.failure.clone();
    guarded(&failure, || {
        let database = database(backend, 0).map_err(damaged)?;
        let Some((meta, tally)) = describe(&database)? else { return Ok(None) };
        let transaction = database.begin_read().map_err(damaged)?;
        stream(&transaction, &tally, |key, value| record(key, value))?;
        Ok(Some(meta))
    })
}

fn database(backend: Backend, cache: usize) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(cache).create_with_backend(backend)
}

fn describe(database: &Database) -> Result<Option<(Meta, Tally)>, FileError> {
    description(&database.begin_read().map_err(damaged)?)
}

fn description(transaction: &redb::ReadTransaction) -> Result<Option<(Meta, Tally)>, FileError> {
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(damaged(error)),
    };
    match table.get([].as_slice()).map_err(damaged)? {
        Some(bytes) => Ok(Some(records::decode(bytes.value())?)),
        None => Err(FileError::Damaged("it has no description".into())),
    }
}

fn stream(
    transaction: &redb::ReadTransaction,
    expected: &Tally,
    mut record: impl FnMut(&[u8], &[u8]) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let table = transaction.open_table(RECORDS).map_err(damaged)?;
    let mut found = Tally::default();
    for entry in table.iter().map_err(damaged)? {
        let (key, value) = entry.map_err(damaged)?;
        let (key, value) = (key.value(), value.value());
        found.add(key, value);
        if found.count > expected.count {
            break;
        }
        record(key, value)?;
    }
    if found != *expected {
        return Err(FileError::Damaged(format!(
            "its {} records do not add up to the {} that were written",
            found.count, expected.count
        )));
    }
    Ok(())
}

/// Renames a damaged checkpoint to a name with a number, so that people can find out what happened to it.
pub(super) fn set_aside(disk: &dyn Disk) -> io::Result<()> {
    if !disk.exists(CHECKPOINT_FILE)? {
        return Ok(());
    }
    const DAMAGED: &str = "checkpoint.damaged-";
    let number = |name: &String| name.strip_prefix(DAMAGED)?.parse::<u64>().ok();
    let mut numbers: Vec<u64> = disk.list("")?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    let surplus = (numbers.len() + 1).saturating_sub(limits::DAMAGED_CHECKPOINTS_KEPT_MAX);
    for old in numbers.into_iter().take(surplus) {
        disk.remove(&format!("{DAMAGED}{old}"))?;
    }
    disk.rename(CHECKPOINT_FILE, &format!("{DAMAGED}{next}"))?;
    disk.sync_folder("")
}

/// Runs code that may panic on a damaged file. If the disk itself failed, returns that failure, not what redb made of
/// it.
fn guarded<T>(failure: &Mutex<Option<io::Error>>, run: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    let result = catch_unwind(AssertUnwindSafe(run));
    if let Some(error) = failure.lock().take() {
        return Err(FileError::Io(error));
    }
    match result {
        Ok(result) => result,
        Err(_) => Err(FileError::Damaged("the database library panicked on it".into())),
    }
}

fn damaged(error: impl fmt::Display) -> FileError {
    FileError::Damaged(format!("the database library says: {error}"))
}

fn failed(error: impl fmt::Display) -> io::Error {
    io::Error::other(format!("write the checkpoint: {error}"))
}

/// Whether a failed read means that this file is damaged: it ends too early, or a sector is bad (EIO). Then another
/// file may replace this one. Any other error says something about the machine.
pub(super) fn is_content_error(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A file of `Disk` as redb wants it.
struct Backend {
    file: Arc<dyn DiskFile>,
    /// How many pages may still be read; None: any number.
    reads_left: Mutex<Option<u64>>,
    /// The first failure of the disk itself, not of the file's content.
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Backend {
    fn new(file: Arc<dyn DiskFile>, reads_max: Option<u64>) -> Backend {
        Backend { file, reads_left: Mutex::new(reads_max), failure: Arc::default() }
    }

    /// Keeps the first failure, because redb returns only some of them.
    fn keep_failure<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.failure.lock().get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
        }
        result
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("checkpoint file")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.keep_failure(self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(left) = self.reads_left.lock().as_mut() {
            let Some(fewer) = left.checked_sub(1) else {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its pages form a circle"));
            };
            *left = fewer;
        }
        match self.file.read_at(out, offset) {
            Err(error) if is_content_error(&error) => Err(error),
            result => self.keep_failure(result),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.keep_failure(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.keep_failure(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.keep_failure(self.file.write_at(data, offset))
    }
}
