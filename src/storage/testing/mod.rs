//! A disk in memory that loses power on command. The storage tests and the simulator run on it.
//!
//! It promises no more than a file system does:
//! - Bytes that were written and not synced may be lost. They may be torn, between any two bytes or between two
//!   sectors. They may reach the platter in another order. A file's length may have grown or not.
//! - A file that was created, renamed or removed may be so or not until its folder is synced.
//! - Whatever was synced is there.
//! - A sync that failed has lost the bytes that it should have kept, even if a later sync succeeds. Linux does the
//!   same.
//!
//! The same seed always gives the same crash. A file that was opened before a crash cannot be used after it.
//!
//! | file | what |
//! |---|---|
//! | `world` | the state behind the disk, and what a power loss makes of it |
//! | `content` | the content of a file |
//! | `dice` | random numbers from a seed |

mod content;
mod dice;
mod world;

pub use dice::Dice;

use super::disk::{Disk, DiskFile};
use content::Content;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use world::{Inode, NameChange, World, Write, not_found, parent, power_lost};

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// The error that a chosen call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// EIO: the medium has a defect.
    Medium,
    /// ENOSPC: the file system is full. The first half of a write arrives.
    Full,
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk of its own with the same content, unsynced writes included. To try many crashes of one moment.
    pub(crate) fn fork(&self) -> SimDisk {
        SimDisk { world: Arc::new(Mutex::new(self.world.lock().clone())) }
    }

    /// How many calls there were, reading calls included.
    pub(crate) fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// How many calls there were that change something: writes, lengths, syncs, and changes to folders.
    pub(crate) fn changes(&self) -> u64 {
        self.world.lock().changes
    }

    /// Makes the `nth` call from now (1 is the next) fail once. Reading calls count.
    pub(crate) fn fail_at(&self, nth: u64, failure: Failure) {
        let mut world = self.world.lock();
        world.fail_at = Some((world.calls + nth, failure));
    }

    /// Power is lost in the `nth` changing call from now (1 is the next). That call and every later call fail until
    /// `crash`. What that call writes counts as unsynced.
    pub(crate) fn crash_at(&self, nth: u64) {
        let mut world = self.world.lock();
        world.crash_at = Some(world.changes + nth);
    }

    /// Whether power is gone. Then every call fails until `crash`.
    pub(crate) fn is_down(&self) -> bool {
        self.world.lock().down
    }

    /// Makes every call fail until `crash` or `restart`.
    pub fn cut_off(&self) {
        self.world.lock().down = true;
    }

    /// Loses power, if it is not lost yet, and starts again. `seed` decides which of the unsynced bytes survived.
    pub fn crash(&self, seed: u64) {
        self.world.lock().crash(&mut Dice::new(seed));
    }

    /// Starts again without losing anything: the process died, the machine did not.
    pub fn restart(&self) {
        self.world.lock().reboot();
    }

    /// A file's content as the process sees it.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        let inode = world.inodes.get(world.names.get(path)?)?;
        Some(inode.current.to_vec())
    }

    /// Puts a file and its folder there, durably, without counting calls. So tests damage a file.
    pub(crate) fn set_bytes(&self, path: &str, bytes: &[u8]) {
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

    /// Flips the bits of `mask` in one byte of a file, durably. Returns false if there is no such byte.
    pub(crate) fn flip(&self, path: &str, offset: u64, mask: u8) -> bool {
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

    /// The path of every file, sorted.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.world.lock().names.keys().cloned().collect()
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
    use std::collections::BTreeSet;

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
