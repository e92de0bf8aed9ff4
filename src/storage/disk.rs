//! The disk as a trait, so that tests can try out power loss, torn writes and failing calls.
//!
//! `RealDisk` is the operating system's disk. `testing::SimDisk` (tests and simulation) keeps unsynced bytes apart from
//! synced ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files below one data directory. Paths are relative to it, with `/`.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing. With `create` the file may be new.
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// The names in a folder, sorted. Empty if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    fn create_folder(&self, folder: &str) -> io::Result<()>;
    /// Durable only after `sync_folder` of the parent folder. The same holds for `remove`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

/// One open file. Positions and lengths are bytes.
#[allow(clippy::len_without_is_empty)] // The length of a file, which may fail, not of a collection.
pub trait DiskFile: Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Fills `buffer`. A read past the end is `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file at least `len` bytes long. Reserves room, so that later writes need no new block of metadata. The
    /// new bytes read as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// fdatasync: syncs the data, and the length if it grew. After an error the process must end (docs/decisions).
    fn sync_data(&self) -> io::Result<()>;
}

/// The operating system's files.
pub(crate) struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    pub(crate) fn new(root: impl AsRef<Path>) -> RealDisk {
        RealDisk { root: root.as_ref().to_owned() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(create).truncate(false).open(self.at(path))?;
        Ok(Arc::new(file))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.at(path).try_exists()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.at(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.at(folder))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::File::open(self.at(folder))?.sync_all()
    }
}

impl DiskFile for std::fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        std::fs::File::set_len(self, len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len) {
            // This file system has no fallocate. The length alone is enough; the first write of a block costs more.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => std::fs::File::set_len(self, len),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        std::fs::File::sync_data(self)
    }
}
