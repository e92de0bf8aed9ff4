//! The files of the log's segments: made ahead of the writer, and removed behind it.

use super::fatal_sentence;
use crate::storage::disk::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A segment ready to be begun: preallocated, zero, durable as a file.
pub struct PreparedSegment {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
}

/// The name of a segment's file in the log's folder.
pub fn segment_name(number: u64) -> String {
    format!("{number:016}.log")
}

pub enum FileJob {
    Prepare(u64),
    /// Oldest first.
    Remove(Vec<u64>),
}

pub struct SegmentFiles {
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub segment_bytes: u64,
    pub ready: mpsc::Sender<Result<PreparedSegment, String>>,
    /// A segment's file was synced.
    pub synced: Box<dyn Fn() + Send>,
}

/// Who prepares and removes files.
pub enum FileJobs {
    /// The second thread, so that no write waits for it.
    Threaded(mpsc::Sender<FileJob>, JoinHandle<()>),
    Here(SegmentFiles),
}

impl FileJobs {
    pub fn put(&self, job: FileJob) {
        match self {
            // If that thread is gone, the next segment's turn will say so.
            FileJobs::Threaded(jobs, _) => drop(jobs.send(job)),
            FileJobs::Here(files) => files.work(job),
        }
    }

    pub fn end(self) {
        if let FileJobs::Threaded(jobs, thread) = self {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

impl SegmentFiles {
    pub fn run(self, jobs: mpsc::Receiver<FileJob>) {
        for job in jobs {
            self.work(job);
        }
    }

    fn work(&self, job: FileJob) {
        match job {
            FileJob::Prepare(number) => {
                let prepared = prepare(&*self.disk, &self.folder, number, self.segment_bytes)
                    .map_err(|error| fatal_sentence(&format!("make segment {number} of the log: {error}")));
                (self.synced)();
                // Nobody takes it any more when the log is on its way out.
                let _ = self.ready.send(prepared);
            }
            FileJob::Remove(numbers) => {
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
pub fn prepare(disk: &dyn Disk, folder: &str, number: u64, bytes: u64) -> io::Result<PreparedSegment> {
    let file = disk.open(&format!("{folder}/{}", segment_name(number)), true)?;
    file.allocate(bytes)?;
    file.sync_data()?;
    disk.sync_folder(folder)?;
    Ok(PreparedSegment { number, file })
}
