//! Threads with a runtime of their own: those that serve clients, where a connection stays on the one it was put on, and
//! Raft's.
//!
//! A shared, work-stealing runtime wakes a second thread for each reply that comes from outside of it; with one runtime a
//! thread, a wake-up goes straight to the thread that writes the reply. A runtime without sockets sleeps on a futex
//! instead of epoll, which is the cheaper one to be woken from: Raft's thread is woken twice for each lone write.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Hands out threads in turn. Clones share the threads.
#[derive(Clone)]
pub struct Workers {
    handles: std::sync::Arc<[Handle]>,
    next: std::sync::Arc<AtomicUsize>,
}

/// The threads themselves; ends them.
pub struct WorkerThreads {
    workers: Workers,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// The runtime for the next connection.
    pub fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[turn % self.handles.len()]
    }

    /// The runtime that listeners and housekeeping run on.
    pub fn first(&self) -> &Handle {
        &self.handles[0]
    }

    /// All connections on the runtime that this is called in: tests.
    pub fn here() -> Workers {
        Workers { handles: [Handle::current()].into(), next: Default::default() }
    }
}

/// What the tasks of a runtime wait for, besides each other and timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    Sockets,
    Nothing,
}

impl WorkerThreads {
    pub fn start(name: &str, count: usize, waits_for: WaitsFor) -> io::Result<WorkerThreads> {
        assert!(count > 0, "somebody has to serve");
        let (end, _) = watch::channel(false);
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            let mut builder = Builder::new_current_thread();
            builder.enable_time();
            if waits_for == WaitsFor::Sockets {
                builder.enable_io();
            }
            let runtime = builder.build()?;
            handles.push(runtime.handle().clone());
            let mut ended = end.subscribe();
            threads.push(std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                // An error means that whoever could end it is gone.
                let _ = runtime.block_on(async { ended.wait_for(|ended| *ended).await.map(drop) });
                runtime.shutdown_timeout(Duration::ZERO);
            })?);
        }
        let workers = Workers { handles: handles.into(), next: Default::default() };
        Ok(WorkerThreads { workers, end, threads })
    }

    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Drops every task, and with it every connection and listener.
    pub fn end(self) {
        let _ = self.end.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}
