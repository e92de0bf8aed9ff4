//! The state behind a simulated disk, and what a power loss makes of it.

use super::Failure;
use super::content::Content;
use super::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A disk writes this many bytes whole or not at all, if the crash is a kind one.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct World {
    /// The names that the process sees. `durable_names` are the names that a crash leaves at least.
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) folders: BTreeSet<String>,
    pub(super) durable_folders: BTreeSet<String>,
    /// Changes to names since their folder was synced, oldest first.
    pub(super) pending: Vec<NameChange>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    /// Counts restarts. A file that was opened before a restart cannot be used after it.
    pub(super) boot: u64,
    pub(super) calls: u64,
    pub(super) changes: u64,
    pub(super) fail_at: Option<(u64, Failure)>,
    pub(super) crash_at: Option<u64>,
    pub(super) down: bool,
}

#[derive(Clone)]
pub(super) enum NameChange {
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

    /// Makes the change. If its source is not there, does nothing: an earlier change was lost.
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
pub(super) struct Inode {
    pub(super) synced: Content,
    pub(super) current: Content,
    /// The writes since the last sync, oldest first.
    pub(super) pending: Vec<Write>,
}

#[derive(Clone)]
pub(super) enum Write {
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

/// What a call has to do when it was counted.
enum Verdict {
    Proceed,
    /// The call has its effect, unsynced. Then the power is gone.
    LosePower,
    Fail(Failure),
}

impl World {
    pub(super) fn add_inode(&mut self, inode: Inode) -> u64 {
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

    pub(super) fn read_call(&mut self) -> io::Result<()> {
        match self.count(false)? {
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::Proceed | Verdict::LosePower => Ok(()),
        }
    }

    /// Counts a change to the folders and makes it.
    pub(super) fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let verdict = self.count(true)?;
        if let Verdict::Fail(failure) = verdict {
            return Err(failure.error());
        }
        change.apply(&mut self.names, &mut self.folders);
        self.pending.push(change);
        self.finish(verdict)
    }

    pub(super) fn change_file(&mut self, inode: u64, mut write: Write) -> io::Result<()> {
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

    pub(super) fn sync_file(&mut self, inode: u64) -> io::Result<()> {
        let verdict = self.count(true)?;
        let Some(inode) = self.inodes.get_mut(&inode) else { return self.finish(verdict) };
        match verdict {
            Verdict::Proceed => {
                for write in std::mem::take(&mut inode.pending) {
                    write.apply(&mut inode.synced);
                }
            }
            // The kernel marks the pages clean all the same, so nothing writes them again.
            Verdict::Fail(_) => inode.pending.clear(),
            Verdict::LosePower => {}
        }
        self.finish(verdict)
    }

    pub(super) fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
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

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        for change in survivors(pending, dice) {
            change.apply(&mut self.durable_names, &mut self.durable_folders);
        }
        self.names = self.durable_names.clone();
        self.folders = self.durable_folders.clone();
        // If a folder was lost, its files are lost too.
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

    pub(super) fn reboot(&mut self) {
        self.down = false;
        self.fail_at = None;
        self.crash_at = None;
        self.boot += 1;
    }
}

/// The changes to folders that survive: all, none, the first few, or any, in their order.
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
                // In order, up to a torn write: a log that was written from front to back.
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

/// The parts of one write that survive: all, nothing, a piece between any two bytes, or any of its sectors.
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

pub(super) fn power_lost() -> io::Error {
    io::Error::other("the simulated power is gone")
}

pub(super) fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"))
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
