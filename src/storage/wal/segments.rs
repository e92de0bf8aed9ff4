//! The files of the log's segments: made ahead of the writer, and removed behind it.

use super::fatal_sentence;
use crate::storage::disk::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A segment ready to be begun: preallocated, zero, durable as a file.
pub struct Prepared {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
}

/// The name of a segment's file in the log's folder.
pub fn segment_name(number: u64) -> String {
    format!("{number:016}.log")
}

pub enum Job {
    Prepare(u64),
    /// Oldest first.
    Remove(Vec<u64>),
}

pub struct Files {
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub segment_bytes: u64,
    pub ready: mpsc::Sender<Result<Prepared, String>>,
    /// A segment's file was synced.
    pub synced: Box<dyn Fn() + Send>,
}

/// Who prepares and removes files.
pub enum Jobs {
    /// The second thread, so that no write waits for it.
    Threaded(mpsc::Sender<Job>, JoinHandle<()>),
    Here(Files),
}

impl Jobs {
    pub fn put(&self, job: Job) {
        match self {
            // If that thread is gone, the next segment's turn will say so.
            Jobs::Threaded(jobs, _) => drop(jobs.send(job)),
            Jobs::Here(files) => files.work(job),
        }
    }

    pub fn end(self) {
        if let Jobs::Threaded(jobs, thread) = self {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

impl Files {
    pub fn run(self, jobs: mpsc::Receiver<Job>) {
        for job in jobs {
            self.work(job);
        }
    }

    fn work(&self, job: Job) {
        match job {
            Job::Prepare(number) => {
                let prepared = prepare(&*self.disk, &self.folder, number, self.segment_bytes)
                    .map_err(|error| fatal_sentence(&format!("make segment {number} of the log: {error}")));
                (self.synced)();
                // Nobody takes it any more when the log is on its way out.
                let _ = self.ready.send(prepared);
            }
            Job::Remove(numbers) => {
                for number in numbers {
                    // In order, each durable before the next: what is left is always a row without a gap.
                    let path = format!("{}/{}", self.folder, segment_name(number));
                    let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_folder(&self.folder));
                    if let Err(error) = removed {
                        tracing::warn!(
                            "remove old log segment {path}: {error}; it stays until the next purge after a start"
                        );
                        break;
                    }
                }
            }
        }
    }
}

/// Makes a segment's file, or brings one that is there and unused to its full length.
pub fn prepare(disk: &dyn Disk, folder: &str, number: u64, bytes: u64) -> io::Result<Prepared> {
    let file = disk.open(&format!("{folder}/{}", segment_name(number)), true)?;
    file.allocate(bytes)?;
    file.sync_data()?;
    disk.sync_folder(folder)?;
    Ok(Prepared { number, file })
}
