//! Where guests are asked on behalf of clients: one thread, so that reads call fewer guests at once than there are threads
//! that serve clients. A slow policy delays those that it is asked about, and nobody else.
//!
//! A connection has at most three jobs here: its oldest read, its oldest held event, a login. Each is done in turns of
//! `limits::QUESTIONS_IN_A_ROW` questions. A guest's host calls lock the state one by one (`Live`), so the tree may change
//! under it; whoever has its answer looks, under the state's lock, whether it still counts.

use super::Server;
use super::connection::{Connection, Turn};
use super::judgement::{Due, Inquiry, Told};
use crate::environment::{self, wall_ms};
use crate::limits;
use crate::pipeline::view::LockedTree;
use crate::pipeline::{Call, Caller, Moment};
use crate::plugin::policies::Answers;
use crate::wire::request::RequestHeader;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is to be asked. Bounded by the connections.
pub(super) enum Job {
    /// The oldest request of the connection reads what guests are asked about.
    Read { connection: Arc<Connection>, inquiry: Inquiry },
    /// Events are held in the connection's outbox.
    Events { connection: Arc<Connection> },
    /// An `addauth` for an authenticator. The credential goes nowhere else.
    Login { connection: Arc<Connection>, header: RequestHeader, scheme: String, credential: Bytes },
}

/// The way to the thread.
pub(super) struct Asking {
    jobs: UnboundedSender<Job>,
    taken: Mutex<Option<UnboundedReceiver<Job>>>,
}

impl Default for Asking {
    fn default() -> Asking {
        let (jobs, taken) = unbounded_channel();
        Asking { jobs, taken: Mutex::new(Some(taken)) }
    }
}

impl Asking {
    pub fn put(&self, job: Job) {
        // An error means that the server has ended, and with it the connection.
        let _ = self.jobs.send(job);
    }
}

/// The thread's side: does what is asked for, until the connections are gone.
pub struct Inquirer {
    jobs: UnboundedReceiver<Job>,
    /// Not kept alive from here.
    server: Weak<dyn Server>,
}

impl Inquirer {
    /// Of a server, once.
    pub fn of(server: &Arc<dyn Server>) -> Inquirer {
        let jobs = server.connections().asking().taken.lock().take().expect("one thread asks");
        Inquirer { jobs, server: Arc::downgrade(server) }
    }

    pub fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            self.turn(job);
        }
    }

    pub async fn run_as_task(mut self) {
        while let Some(job) = self.jobs.recv().await {
            self.turn(job);
        }
    }

    /// Does one turn of what has been asked for so far. Whether there was anything.
    #[cfg(test)]
    pub(super) fn run_once(&mut self) -> bool {
        let job = self.jobs.try_recv();
        let any = job.is_ok();
        job.into_iter().for_each(|job| self.turn(job));
        any
    }

    fn turn(&self, job: Job) {
        let Some(server) = self.server.upgrade() else { return };
        if let Some(job) = turn(&*server, job) {
            server.connections().asking().put(job);
        }
    }
}

/// One turn. Gives back what is not done with it.
fn turn(server: &dyn Server, job: Job) -> Option<Job> {
    let home = server.connections();
    let plugins = home.plugins();
    match job {
        Job::Read { connection, mut inquiry } => {
            let Turn::Ask { open, identities, xid } = connection.judge_asked(server, &inquiry) else { return None };
            let caller = connection.caller_of(connection.session(), identities);
            with_call(server, &caller, xid, |call| inquiry.ask(home, &caller.identities, call, &open));
            match connection.judge_asked(server, &inquiry) {
                Turn::Done => None,
                Turn::Ask { .. } => Some(Job::Read { connection, inquiry }),
            }
        }
        Job::Events { connection } => {
            for _ in 0..limits::QUESTIONS_IN_A_ROW {
                let held = connection.outbox.first_held().filter(|_| !connection.is_gone())?;
                let told = Told { kind: held.kind, path: &held.path, acl: &held.acl, who: &held.identities };
                let mut answers = Answers::default();
                let mut due = told.judge(home, &server.state(), &answers);
                for _ in 0..limits::QUESTION_TRIES {
                    if due != Due::Ask {
                        break;
                    }
                    let caller = connection.caller_of(connection.session(), held.identities.clone());
                    with_call(server, &caller, 0, |call| told.ask(home, call, &mut answers));
                    due = told.judge(home, &server.state(), &answers);
                }
                connection.settle_event(&held, due == Due::Tell);
            }
            Some(Job::Events { connection })
        }
        Job::Login { connection, header, scheme, credential } => {
            let caller = connection.caller_of(connection.session(), connection.identities());
            let proof = with_call(server, &caller, header.xid, |call| plugins.authenticate(&scheme, call, &credential));
            connection.logged_in(header, proof);
            None
        }
    }
}

/// A call that looks at the applied tree as it goes on.
fn with_call<T>(server: &dyn Server, caller: &Caller, xid: i32, ask: impl FnOnce(&Call<'_>) -> T) -> T {
    let (zxid, ensemble_ms) = {
        let state = server.state();
        (state.last_zxid(), state.ensemble_ms())
    };
    // Without chance a guest still has an answer to give, and the seed is no secret.
    let seed = environment::random_u64().unwrap_or_default();
    let moment = Moment { wall_ms: wall_ms(), ensemble_ms, seed };
    ask(&Call::looking(&LockedTree(|| server.state()), Some(caller), xid, zxid, moment))
}
