//! Work that takes more than a moment, kept off the threads that send heartbeats.

use std::io;

/// Where such work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockingWork {
    /// On a thread beside the runtime, so that no heartbeat waits for it.
    OwnThread,
    /// On the caller's thread. For the simulation, which has one thread and whose time stands still meanwhile.
    Inline,
}

impl BlockingWork {
    /// Runs `work`. To be called on a runtime. An error is a panic in `work`, or the end of the runtime.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            BlockingWork::OwnThread => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            BlockingWork::Inline => Ok(work()),
        }
    }
}
