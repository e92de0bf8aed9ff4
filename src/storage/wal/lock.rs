//! The lock on the data directory. Two servers on one log would destroy it.
//!
//! The lock is an flock on the file `LOCK`. It goes away with the process, however the process ends. It does not
//! protect against a second machine on a network file system that ignores locks.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The lock is held as long as this value lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock. If another process holds it, the error is a full sentence.
    pub(crate) fn acquire(directory: &Path) -> io::Result<DirectoryLock> {
        let path = directory.join("LOCK");
        let context = |verb: &str, error: io::Error| io::Error::new(error.kind(), format!("{verb} {path:?}: {error}"));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| context("open", error))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!(
                        "the data directory {directory:?} is in use by another server, which holds the lock on {path:?}: \
                         stop that server, or give this server a directory of its own"
                    ),
                ));
            }
            Err(error) => return Err(context("lock", error.into())),
        }
        // The process number helps people to find the holder. No program reads it.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| context("write", error))?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_which_directory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(folder.path()).unwrap();
        let error = DirectoryLock::acquire(folder.path()).unwrap_err();
        assert!(error.to_string().contains("in use by another server"), "{error}");
        drop(lock);
        DirectoryLock::acquire(folder.path()).unwrap();
    }
}
