//! The lower bound that the machine sets for one client's write: one fdatasync and one round trip. Both are measured in
//! the same run as the writes, in pauses between them, since the speed of disks and machines varies over time.

use super::connection::Connection;
use super::{NANOS_PER_MICRO, histogram, record};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Bytes of one write: about what a log takes for one small transaction.
const WRITE_BYTES: usize = 300;
const FILE_BYTES: u64 = 4 << 20;
/// How many measurements of each kind are made in a pause.
const SAMPLES: u32 = 60;

pub(crate) struct Floor {
    file: File,
    at: u64,
    fdatasync: Histogram<u64>,
    ping: Histogram<u64>,
}

impl Floor {
    /// Preallocates a file in `dir`. The whole file is written once, so that later writes change no metadata.
    pub(crate) fn prepare(dir: &Path) -> Result<Floor> {
        let path = dir.join(format!(".wasmkeeper-bench-{}", std::process::id()));
        let context = || format!("prepare {}", path.display());
        let file = OpenOptions::new().create_new(true).write(true).open(&path).with_context(context)?;
        // A file without a name is gone when the process ends, however it ends.
        fs::remove_file(&path).with_context(context)?;
        // Not every file system supports this. Writing the file is enough.
        let _ = fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES);
        file.write_all_at(&vec![0; FILE_BYTES as usize], 0).with_context(context)?;
        file.sync_all().with_context(context)?;
        Ok(Floor { file, at: 0, fdatasync: histogram(), ping: histogram() })
    }

    pub(crate) async fn sample(&mut self, connection: &mut Connection) -> Result<()> {
        let bytes = [b'x'; WRITE_BYTES];
        for _ in 0..SAMPLES {
            let since = Instant::now();
            self.file.write_all_at(&bytes, self.at).context("write into the preallocated file")?;
            fdatasync(&self.file).context("fdatasync")?;
            record(&mut self.fdatasync, since.elapsed());
            self.at = (self.at + WRITE_BYTES as u64) % (FILE_BYTES - WRITE_BYTES as u64);
        }
        for _ in 0..SAMPLES {
            record(&mut self.ping, connection.ping().await?);
        }
        Ok(())
    }

    /// The medians, and the ratio of `write_p50_us`, the median of the client's writes in microseconds, to their sum.
    pub(crate) fn facts(&self, write_p50_us: f64) -> Vec<(&'static str, f64)> {
        let median = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64 / NANOS_PER_MICRO;
        let (fdatasync, ping) = (median(&self.fdatasync), median(&self.ping));
        vec![
            ("fdatasync_p50_us", fdatasync),
            ("ping_p50_us", ping),
            ("p50_over_fdatasync_plus_ping", write_p50_us / (fdatasync + ping).max(1e-3)),
        ]
    }
}
