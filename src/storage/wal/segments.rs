//! The files of the log's segments: prepared ahead of the writer and removed behind it, so that no write waits for
//! either.

use super::fatal_sentence;
use crate::storage::disk::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A segment that is ready to be begun: preallocated, zero, and durable as a file.
pub(crate) struct PreparedSegment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// The name of a segment's file in the log's folder.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016}.log")
}

pub(crate) enum FileJob {
    /// Prepare the segment of that number.
    Prepare(u64),
    /// Remove these segments, oldest first.
    Remove(Vec<u64>),
}

pub(crate) struct SegmentFiles {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: String,
    pub(crate) segment_bytes: u64,
    pub(crate) ready: mpsc::Sender<Result<PreparedSegment, String>>,
    /// Called after each sync of a segment's file.
    pub(crate) synced: Box<dyn Fn() + Send>,
}

/// Where the jobs are done.
pub(crate) enum FileJobs {
    /// On a second thread, so that no write waits for them.
    Threaded(mpsc::Sender<FileJob>, JoinHandle<()>),
    /// At once, on the writer's task.
    Inline(SegmentFiles),
}

impl FileJobs {
    pub(crate) fn put(&self, job: FileJob) {
        match self {
            // If that thread has ended, the writer finds out when it needs the next segment.
            FileJobs::Threaded(jobs, _) => drop(jobs.send(job)),
            FileJobs::Inline(files) => files.work(job),
        }
    }

    pub(crate) fn end(self) {
        if let FileJobs::Threaded(jobs, thread) = self {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

impl SegmentFiles {
    pub(crate) fn run(self, jobs: mpsc::Receiver<FileJob>) {
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
                // If the log is closing, nobody takes the segment.
                let _ = self.ready.send(prepared);
            }
            FileJob::Remove(numbers) => {
                for number in numbers {
                    // Each removal is durable before the next one, so the files that are left have no gap.
                    let path = format!("{}/{}", self.folder, segment_name(number));
                    let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_folder(&self.folder));
                    if let Err(error) = removed {
                        tracing::warn!(
                            "the old log segment {path} cannot be removed: {error}; it stays until the first purge after \
                             the next start"
                        );
                        break;
                    }
                }
            }
        }
    }
}

/// Makes a segment's file. If an unused file is there, brings it to its full length.
pub(crate) fn prepare(disk: &dyn Disk, folder: &str, number: u64, bytes: u64) -> io::Result<PreparedSegment> {
    let file = disk.open(&format!("{folder}/{}", segment_name(number)), true)?;
    file.allocate(bytes)?;
    file.sync_data()?;
    disk.sync_folder(folder)?;
    Ok(PreparedSegment { number, file })
}
