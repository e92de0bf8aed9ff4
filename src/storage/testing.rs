//! A disk in memory that loses power on command: what the storage tests and the simulator run on.
//!
//! Promises no more than a file system does. What was written but not synced may be lost, torn - between any two bytes or
//! between two sectors - or reach the platter in another order; a length may have grown or not; what was created, renamed
//! or removed may have happened or not until the folder was synced. What was synced is there. A sync that failed has lost
//! what it should have kept, even if a later one succeeds, as Linux does it.
//!
//! The same seed always gives the same crash. Handles opened before a crash are dead after it.

use super::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

const PAGE: usize = 4096;
/// What a disk writes whole or not at all, if the crash is a kind one.
const SECTOR: usize = 512;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// The error that a chosen call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO: the medium.
    Medium,
    /// ENOSPC: the file system is full. Of a write, the first half arrives.
    Full,
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk of its own with the same content, unsynced writes included: to try many crashes of one moment.
    pub fn fork(&self) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(self.world.lock().clone())) }
    }

    /// Calls so far, reading ones included.
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// Calls so far that change something: writes, lengths, syncs, and changes to folders.
    pub fn changes(&self) -> u64 {
        self.world.lock().changes
    }

    /// The `nth` call from now (1 is the next), reading ones included, fails once.
    pub fn fail_at(&self, nth: u64, failure: Failure) {
        let mut world = self.world.lock();
        world.fail_at = Some((world.calls + nth, failure));
    }

    /// Power is lost in the `nth` changing call from now (1 is the next): it and every later call fail until `crash`.
    /// What that call writes counts as unsynced.
    pub fn crash_at(&self, nth: u64) {
        let mut world = self.world.lock();
        world.crash_at = Some(world.changes + nth);
    }

    /// Whether power is gone: every call fails until `crash`.
    pub fn is_down(&self) -> bool {
        self.world.lock().down
    }

    /// From now on every call fails, until `crash` or `restart`.
    pub fn cut_off(&self) {
        self.world.lock().down = true;
    }

    /// Loses power, if it is not lost yet, and starts again: decides by `seed` what of the unsynced survived.
    pub fn crash(&self, seed: u64) {
        self.world.lock().crash(&mut Dice::new(seed));
    }

    /// Starts again without losing anything: the process died, the machine did not.
    pub fn restart(&self) {
        self.world.lock().reboot();
    }

    /// A file's content as the process sees it.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        let inode = world.inodes.get(world.names.get(path)?)?;
        Some(inode.current.to_vec())
    }

    /// Puts a file and its folder there, durably, outside all counting: how tests damage a file.
    pub fn set_bytes(&self, path: &str, bytes: &[u8]) {
        let mut world = self.world.lock();
        let mut content = Content::default();
        content.set_len(bytes.len() as u64);
        content.write(bytes, 0);
        let id = world.add_inode(Inode { synced: content.clone(), current: content, pending: Vec::new() });
        if !parent(path).is_empty() {
            world.folders.insert(parent(path).to_owned());
            world.durable_folders.insert(parent(path).to_owned());
        }
        world.names.insert(path.to_owned(), id);
        world.durable_names.insert(path.to_owned(), id);
    }

    /// Flips the bits of `mask` in one byte of a file, durably. False if there is no such byte.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) -> bool {
        let mut world = self.world.lock();
        let Some(&id) = world.names.get(path) else { return false };
        let Some(inode) = world.inodes.get_mut(&id) else { return false };
        let mut flipped = false;
        for content in [&mut inode.synced, &mut inode.current] {
            let mut byte = [0];
            if content.read(&mut byte, offset) {
                content.write(&[byte[0] ^ mask], offset);
                flipped = true;
            }
        }
        flipped
    }

    /// Every file's path, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.world.lock().names.keys().cloned().collect()
    }
}

/// Small seeded random numbers (splitmix64): good enough to choose crashes, the same on every machine.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.roll() % bound }
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[derive(Clone, Default)]
struct World {
    /// What the process sees, and what a crash leaves at least.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    folders: BTreeSet<String>,
    durable_folders: BTreeSet<String>,
    /// Changes to names since the folder was synced, oldest first.
    pending: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// Counts restarts; a handle of an earlier one is dead.
    boot: u64,
    calls: u64,
    changes: u64,
    fail_at: Option<(u64, Failure)>,
    crash_at: Option<u64>,
    down: bool,
}

#[derive(Clone)]
enum NameChange {
    Create { path: String, inode: u64 },
    Folder { path: String },
    Rename { from: String, to: String },
    Remove { path: String },
}

impl NameChange {
    fn is_in(&self, folder: &str) -> bool {
        match self {
            NameChange::Create { path, .. } | NameChange::Folder { path } | NameChange::Remove { path } => {
                parent(path) == folder
            }
            NameChange::Rename { from, to } => parent(from) == folder || parent(to) == folder,
        }
    }

    /// A change whose source is not there does nothing: the change it builds on was lost.
    fn apply(&self, names: &mut BTreeMap<String, u64>, folders: &mut BTreeSet<String>) {
        match self {
            NameChange::Create { path, inode } => {
                names.entry(path.clone()).or_insert(*inode);
            }
            NameChange::Folder { path } => {
                folders.insert(path.clone());
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Inode {
    synced: Content,
    current: Content,
    /// Since the last sync, oldest first.
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Write {
    fn apply(&self, content: &mut Content) {
        match self {
            Write::Bytes { offset, bytes } => content.write(bytes, *offset),
            Write::Length(len) => content.set_len(*len),
        }
    }
}

/// A sparse file: pages that were never written are zeros.
#[derive(Clone, Default)]
struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let within = (at % PAGE as u64) as usize;
            let count = (PAGE - within).min(buffer.len() - done);
            let target = &mut buffer[done..done + count];
            match self.pages.get(&(at / PAGE as u64)) {
                Some(page) => target.copy_from_slice(&page[within..within + count]),
                None => target.fill(0),
            }
            done += count;
        }
        true
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE as u64) as usize;
            let count = (PAGE - within).min(bytes.len() - done);
            let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.retain(|&page, _| page * (PAGE as u64) < len);
            let within = (len % PAGE as u64) as usize;
            if let Some(page) = self.pages.get_mut(&(len / PAGE as u64)) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }
}

/// What a call has to do after it was counted.
enum Verdict {
    Proceed,
    /// The call has its effect, unsynced, and then the power is gone.
    LosePower,
    Fail(Failure),
}

impl World {
    fn add_inode(&mut self, inode: Inode) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, inode);
        self.next_inode
    }

    fn count(&mut self, changing: bool) -> io::Result<Verdict> {
        if self.down {
            return Err(power_lost());
        }
        self.calls += 1;
        self.changes += changing as u64;
        if let Some((_, failure)) = self.fail_at.take_if(|(at, _)| *at == self.calls) {
            return Ok(Verdict::Fail(failure));
        }
        if changing && self.crash_at.take_if(|at| *at == self.changes).is_some() {
            return Ok(Verdict::LosePower);
        }
        Ok(Verdict::Proceed)
    }

    fn read_call(&mut self) -> io::Result<()> {
        match self.count(false)? {
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::Proceed | Verdict::LosePower => Ok(()),
        }
    }

    /// Counts a change to the folders and lets it happen.
    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let verdict = self.count(true)?;
        if let Verdict::Fail(failure) = verdict {
            return Err(failure.error());
        }
        change.apply(&mut self.names, &mut self.folders);
        self.pending.push(change);
        self.finish(verdict)
    }

    fn change_file(&mut self, inode: u64, mut write: Write) -> io::Result<()> {
        let verdict = self.count(true)?;
        if let Verdict::Fail(failure) = verdict {
            match &mut write {
                Write::Bytes { bytes, .. } if failure == Failure::Full => bytes.truncate(bytes.len() / 2),
                _ => return Err(failure.error()),
            }
        }
        if let Some(inode) = self.inodes.get_mut(&inode) {
            write.apply(&mut inode.current);
            inode.pending.push(write);
        }
        self.finish(verdict)
    }

    fn sync_file(&mut self, inode: u64) -> io::Result<()> {
        let verdict = self.count(true)?;
        let Some(inode) = self.inodes.get_mut(&inode) else { return self.finish(verdict) };
        match verdict {
            Verdict::Proceed => {
                for write in std::mem::take(&mut inode.pending) {
                    write.apply(&mut inode.synced);
                }
            }
            // The kernel marks the pages clean all the same: nothing will write them again.
            Verdict::Fail(_) => inode.pending.clear(),
            Verdict::LosePower => {}
        }
        self.finish(verdict)
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let verdict = self.count(true)?;
        if let Verdict::Proceed = verdict {
            let folder = folder.trim_matches('/');
            for change in std::mem::take(&mut self.pending) {
                if change.is_in(folder) {
                    change.apply(&mut self.durable_names, &mut self.durable_folders);
                } else {
                    self.pending.push(change);
                }
            }
        }
        self.finish(verdict)
    }

    fn finish(&mut self, verdict: Verdict) -> io::Result<()> {
        match verdict {
            Verdict::Proceed => Ok(()),
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::LosePower => {
                self.down = true;
                Err(power_lost())
            }
        }
    }

    fn crash(&mut self, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        for change in survivors(pending, dice) {
            change.apply(&mut self.durable_names, &mut self.durable_folders);
        }
        self.names = self.durable_names.clone();
        self.folders = self.durable_folders.clone();
        // A file in a folder that was lost is lost with it.
        let folders = self.folders.clone();
        self.names.retain(|path, _| parent(path).is_empty() || folders.contains(parent(path)));
        self.durable_names = self.names.clone();
        let reachable: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| reachable.contains(id));
        for inode in self.inodes.values_mut() {
            inode.crash(dice);
        }
        self.reboot();
    }

    fn reboot(&mut self) {
        self.down = false;
        self.fail_at = None;
        self.crash_at = None;
        self.boot += 1;
    }
}

/// Of changes to folders: all, none, those up to one, or any, in their order.
fn survivors(pending: Vec<NameChange>, dice: &mut Dice) -> Vec<NameChange> {
    match dice.below(4) {
        0 => pending,
        1 => Vec::new(),
        2 => {
            let kept = dice.below(pending.len() as u64 + 1) as usize;
            pending.into_iter().take(kept).collect()
        }
        _ => pending.into_iter().filter(|_| dice.one_in(2)).collect(),
    }
}

impl Inode {
    fn crash(&mut self, dice: &mut Dice) {
        let mut pending = std::mem::take(&mut self.pending);
        match dice.below(5) {
            0 => {}
            1 => pending.clear(),
            2 => {
                // In order up to a torn one, as a log written front to back.
                pending.truncate(dice.below(pending.len() as u64 + 1) as usize);
                if let Some(Write::Bytes { bytes, .. }) = pending.last_mut() {
                    bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
                }
            }
            3 => pending.retain(|_| dice.one_in(2)),
            _ => {
                dice.shuffle(&mut pending);
                pending = pending.into_iter().flat_map(|write| torn(write, dice)).collect();
            }
        }
        for write in pending {
            write.apply(&mut self.synced);
        }
        self.current = self.synced.clone();
    }
}

/// What is left of one write: all, nothing, a piece between any two bytes, or any of its sectors.
fn torn(write: Write, dice: &mut Dice) -> Vec<Write> {
    let Write::Bytes { offset, bytes } = write else { return if dice.one_in(2) { vec![write] } else { Vec::new() } };
    match dice.below(4) {
        0 => vec![Write::Bytes { offset, bytes }],
        1 => Vec::new(),
        2 => {
            let start = dice.below(bytes.len() as u64 + 1) as usize;
            let end = start + dice.below((bytes.len() - start) as u64 + 1) as usize;
            vec![Write::Bytes { offset: offset + start as u64, bytes: bytes[start..end].to_vec() }]
        }
        _ => {
            let mut pieces = Vec::new();
            let mut start = 0;
            while start < bytes.len() {
                let at = offset + start as u64;
                let end = (start + SECTOR - (at % SECTOR as u64) as usize).min(bytes.len());
                if dice.one_in(2) {
                    pieces.push(Write::Bytes { offset: at, bytes: bytes[start..end].to_vec() });
                }
                start = end;
            }
            pieces
        }
    }
}

impl Failure {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Failure::Medium => rustix::io::Errno::IO.raw_os_error(),
            Failure::Full => rustix::io::Errno::NOSPC.raw_os_error(),
        })
    }
}

fn power_lost() -> io::Error {
    io::Error::other("the simulated power is gone")
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for SimDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        let inode = match world.names.get(path) {
            Some(&inode) => {
                world.read_call()?;
                inode
            }
            None if !create => {
                world.read_call()?;
                return Err(not_found(path));
            }
            None => {
                if !parent(path).is_empty() && !world.folders.contains(parent(path)) {
                    return Err(not_found(path));
                }
                let inode = world.add_inode(Inode::default());
                world.change_names(NameChange::Create { path: path.to_owned(), inode })?;
                inode
            }
        };
        Ok(Arc::new(SimFile { world: self.world.clone(), inode, boot: world.boot }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let mut world = self.world.lock();
        world.read_call()?;
        Ok(world.names.contains_key(path) || world.folders.contains(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut world = self.world.lock();
        world.read_call()?;
        let folder = folder.trim_matches('/');
        let everything = world.names.keys().chain(world.folders.iter());
        let within = everything.filter(|path| !path.is_empty() && parent(path) == folder);
        let names = within.map(|path| path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        let folder = folder.trim_matches('/');
        let mut world = self.world.lock();
        let mut path = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            if !world.folders.contains(&path) {
                world.change_names(NameChange::Folder { path: path.clone() })?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.names.contains_key(from) {
            world.read_call()?;
            return Err(not_found(from));
        }
        world.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.names.contains_key(path) {
            world.read_call()?;
            return Err(not_found(path));
        }
        world.change_names(NameChange::Remove { path: path.to_owned() })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.world.lock().sync_folder(folder)
    }
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: u64,
    boot: u64,
}

impl SimFile {
    fn live(&self) -> io::Result<parking_lot::MutexGuard<'_, World>> {
        let world = self.world.lock();
        if world.boot == self.boot { Ok(world) } else { Err(power_lost()) }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut world = self.live()?;
        world.read_call()?;
        Ok(world.inodes.get(&self.inode).map_or(0, |inode| inode.current.len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.live()?.change_file(self.inode, Write::Length(len))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.live()?;
        world.read_call()?;
        let read = world.inodes.get(&self.inode).is_some_and(|inode| inode.current.read(buffer, offset));
        if read { Ok(()) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end of the file")) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.live()?.change_file(self.inode, Write::Bytes { offset, bytes: bytes.to_vec() })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut world = self.live()?;
        let now = world.inodes.get(&self.inode).map_or(0, |inode| inode.current.len);
        world.change_file(self.inode, Write::Length(len.max(now)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.live()?.sync_file(self.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = disk.open(path, true).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..200 {
            let disk = SimDisk::new();
            disk.create_folder("log").unwrap();
            disk.sync_folder("").unwrap();
            let written = file(&disk, "log/a", b"kept");
            written.sync_data().unwrap();
            disk.sync_folder("log").unwrap();
            written.write_at(b"lost?", 4).unwrap();
            disk.crash(seed);
            let bytes = disk.bytes("log/a").expect("the name was synced");
            assert!(bytes.starts_with(b"kept"), "seed {seed}: {bytes:?}");
            assert!(written.len().is_err(), "a handle outlived the crash");
        }
    }

    #[test]
    fn crashes_lose_keep_and_tear_what_was_not_synced() {
        let mut seen = BTreeSet::new();
        for seed in 0..4000 {
            let disk = SimDisk::new();
            let written = file(&disk, "a", &[0; 4]);
            written.sync_data().unwrap();
            disk.sync_folder("").unwrap();
            written.write_at(&[1; 4], 0).unwrap();
            disk.crash(seed);
            seen.insert(disk.bytes("a").unwrap());
        }
        assert!(seen.contains(&vec![0; 4]) && seen.contains(&vec![1; 4]));
        assert!(seen.contains(&vec![1, 1, 0, 0]) && seen.contains(&vec![0, 0, 1, 1]), "no torn write in {seen:?}");
    }

    #[test]
    fn a_rename_without_a_folder_sync_leaves_the_old_name_or_the_new() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let disk = SimDisk::new();
            file(&disk, "old", b"1").sync_data().unwrap();
            disk.sync_folder("").unwrap();
            disk.rename("old", "new").unwrap();
            disk.crash(seed);
            seen.insert(disk.paths());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [vec!["new".to_owned()], vec!["old".to_owned()]]);
    }

    #[test]
    fn the_chosen_call_fails_and_a_failed_sync_has_lost_the_writes() {
        let disk = SimDisk::new();
        let written = file(&disk, "a", b"1");
        disk.sync_folder("").unwrap();
        disk.fail_at(1, Failure::Medium);
        assert_eq!(written.sync_data().unwrap_err().raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        written.sync_data().unwrap();
        disk.crash(0);
        assert_eq!(disk.bytes("a").unwrap(), b"");
    }

    #[test]
    fn power_is_lost_in_the_chosen_call_until_the_crash() {
        let disk = SimDisk::new();
        let written = file(&disk, "a", b"1");
        let before = disk.changes();
        disk.crash_at(2);
        written.write_at(b"2", 0).unwrap();
        assert!(written.write_at(b"3", 0).is_err() && disk.is_down());
        assert!(disk.exists("a").is_err());
        assert_eq!(disk.changes(), before + 2);
        disk.crash(7);
        assert!(disk.exists("a").is_ok());
    }

    #[test]
    fn reserved_room_reads_as_zeros() {
        let disk = SimDisk::new();
        let written = file(&disk, "a", b"123456");
        written.set_len(2).unwrap();
        written.allocate(1 << 30).unwrap();
        let mut buffer = [9; 6];
        written.read_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"12\0\0\0\0");
        assert!(written.read_at(&mut buffer, (1 << 30) - 5).is_err());
    }
}
