//! Threads that each have a runtime of their own: the workers, which serve clients, and Raft's thread. A connection
//! stays on the worker that it was given to.
//!
//! A shared, work-stealing runtime wakes a second thread for each reply that comes from outside the runtime. With one
//! runtime for each thread, a wake-up goes straight to the thread that writes the reply. A runtime without sockets
//! sleeps on a futex instead of epoll, and waking it costs less: Raft's thread is woken twice for each lone write.

use super::connection::Connection;
use crate::courtesy::Courtesy;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, watch};

/// Gives connections to threads in turn. Clones share the threads.
#[derive(Clone)]
pub struct Workers {
    /// Invariant: not empty.
    workers: Arc<[(Handle, Arc<Bell>)]>,
    /// How many connections have been given to workers, modulo 2^64.
    next: Arc<AtomicUsize>,
}

/// Wakes many connections of one worker with one system call. To wake a task of a sleeping runtime from another thread
/// costs one system call each, and the thread that applies a batch has to wake every writer of the batch.
#[derive(Default)]
pub(crate) struct Bell {
    /// Connections to be woken. A thread that holds this lock takes no other.
    waiting: Mutex<Vec<Arc<Connection>>>,
    rung: Notify,
}

impl Bell {
    /// Wakes all of them, each on its own thread.
    pub(crate) fn wake_all(connections: Vec<Arc<Connection>>) {
        if let [one] = connections.as_slice() {
            return one.wake();
        }
        let mut bells = SmallVec::<[Arc<Bell>; 4]>::new();
        for connection in connections {
            let Some(bell) = connection.bell().cloned() else {
                connection.wake();
                continue;
            };
            bell.waiting.lock().push(connection);
            if !bells.iter().any(|known| Arc::ptr_eq(known, &bell)) {
                bells.push(bell);
            }
        }
        for bell in bells {
            bell.rung.notify_one();
        }
    }

    /// Runs on the worker until the worker ends.
    async fn answer(self: Arc<Bell>) {
        loop {
            self.rung.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            for connection in waiting {
                connection.wake();
            }
        }
    }
}

thread_local! {
    /// Turns that connections have had on this thread since it last slept.
    static TURNS: Cell<u32> = const { Cell::new(0) };
    static COURTESY: RefCell<Courtesy> = const { RefCell::new(Courtesy::new()) };
}

/// Counts a turn of a connection on this thread.
pub(super) fn count_turn() {
    TURNS.set(TURNS.get().saturating_add(1));
}

/// Called before a worker sleeps. If several connections kept it busy, other threads may run first, so that the next
/// look at the sockets finds many requests. A worker that served a single connection sleeps at once, and is awake in
/// time for that connection's next request.
fn let_others_ask() {
    if TURNS.replace(0) > 1 {
        COURTESY.with_borrow_mut(Courtesy::let_others_go_first);
    }
}

/// Owns the threads. `end` ends them, and so does dropping this value.
pub(crate) struct WorkerThreads {
    workers: Workers,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One worker, on a runtime that the caller runs.
    pub fn on(runtime: Handle) -> Workers {
        let bell = Arc::<Bell>::default();
        runtime.spawn(bell.clone().answer());
        Workers { workers: Arc::new([(runtime, bell)]), next: Arc::default() }
    }

    /// The worker for the next connection.
    pub(crate) fn next(&self) -> (&Handle, &Arc<Bell>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(!self.workers.is_empty(), "there is a worker for every connection");
        let (handle, bell) = &self.workers[turn % self.workers.len()];
        (handle, bell)
    }

    /// The runtime of the first worker. Listeners and housekeeping run on it.
    pub(crate) fn first(&self) -> &Handle {
        &self.workers[0].0
    }
}

/// What the tasks of a runtime wait for, besides each other and timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitsFor {
    Clients,
    Peers,
    Nothing,
}

impl WorkerThreads {
    /// Starts `count` threads, at least one.
    pub(crate) fn start(name: &str, count: usize, waits_for: WaitsFor) -> io::Result<WorkerThreads> {
        assert!(count > 0, "there is a worker for every connection");
        let (end, _) = watch::channel(false);
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            let mut builder = Builder::new_current_thread();
            builder.enable_time();
            if waits_for != WaitsFor::Nothing {
                builder.enable_io();
            }
            if waits_for == WaitsFor::Clients {
                builder.on_thread_park(let_others_ask);
            }
            let runtime = builder.build()?;
            let bell = Arc::<Bell>::default();
            runtime.handle().spawn(bell.clone().answer());
            workers.push((runtime.handle().clone(), bell));
            let mut ended = end.subscribe();
            threads.push(std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                // An error means that `WorkerThreads` is gone, which is the end as well.
                let _ = runtime.block_on(async { ended.wait_for(|ended| *ended).await.map(drop) });
                runtime.shutdown_timeout(Duration::ZERO);
            })?);
        }
        assert_eq!(workers.len(), count, "each thread has one runtime");
        let workers = Workers { workers: workers.into(), next: Arc::default() };
        Ok(WorkerThreads { workers, end, threads })
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Ends the threads. Drops every task, and so every connection and listener.
    pub(crate) fn end(self) {
        let _ = self.end.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}
