//! Threads with a runtime of their own: those that serve clients, where a connection stays on the one it was put on, and
//! Raft's.
//!
//! A shared, work-stealing runtime wakes a second thread for each reply that comes from outside of it; with one runtime a
//! thread, a wake-up goes straight to the thread that writes the reply. A runtime without sockets sleeps on a futex
//! instead of epoll, which is the cheaper one to be woken from: Raft's thread is woken twice for each lone write.

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

/// Hands out threads in turn. Clones share the threads.
#[derive(Clone)]
pub struct Workers {
    workers: Arc<[(Handle, Arc<Bell>)]>,
    next: Arc<AtomicUsize>,
}

/// How other threads wake connections of one worker: many with one system call. Waking a task of a sleeping runtime from
/// outside costs one each, and whoever applies a batch has as many to wake as the batch has writers.
#[derive(Default)]
pub struct Bell {
    waiting: Mutex<Vec<Arc<Connection>>>,
    rung: Notify,
}

impl Bell {
    /// Wakes them all, each on its thread.
    pub fn wake_all(connections: Vec<Arc<Connection>>) {
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

    /// Runs on the worker, for good.
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
    /// Turns that connections have had on this thread since it last slept; one alone with its client has one.
    static TURNS: Cell<u32> = const { Cell::new(0) };
    static COURTESY: RefCell<Courtesy> = const { RefCell::new(Courtesy::new()) };
}

/// A connection has its turn on this thread.
pub(super) fn count_turn() {
    TURNS.set(TURNS.get().saturating_add(1));
}

/// Before a thread sleeps that several connections have kept busy, others may go first: one look at the sockets then finds
/// many requests. One that served a single connection sleeps at once, and is there when the next request comes.
fn let_others_ask() {
    if TURNS.replace(0) > 1 {
        COURTESY.with_borrow_mut(Courtesy::let_others_go_first);
    }
}

/// The threads themselves; ends them.
pub struct WorkerThreads {
    workers: Workers,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One worker: a runtime that is there already, and that somebody else runs.
    pub fn on(runtime: Handle) -> Workers {
        let bell = Arc::<Bell>::default();
        runtime.spawn(bell.clone().answer());
        Workers { workers: Arc::new([(runtime, bell)]), next: Arc::default() }
    }

    /// The worker for the next connection.
    pub fn next(&self) -> (&Handle, &Arc<Bell>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (handle, bell) = &self.workers[turn % self.workers.len()];
        (handle, bell)
    }

    /// The runtime that listeners and housekeeping run on.
    pub fn first(&self) -> &Handle {
        &self.workers[0].0
    }
}

/// What the tasks of a runtime wait for, besides each other and timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    Clients,
    Peers,
    Nothing,
}

impl WorkerThreads {
    pub fn start(name: &str, count: usize, waits_for: WaitsFor) -> io::Result<WorkerThreads> {
        assert!(count > 0, "somebody has to serve");
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
                // An error means that whoever could end it is gone.
                let _ = runtime.block_on(async { ended.wait_for(|ended| *ended).await.map(drop) });
                runtime.shutdown_timeout(Duration::ZERO);
            })?);
        }
        let workers = Workers { workers: workers.into(), next: Arc::default() };
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
