//! The thread on which plugins are asked on behalf of clients: policies about reads and events, authenticators about
//! logins. It also does work that takes long and is done in pieces: lists of many names, setWatches with many paths,
//! the watches of a connection that has ended.
//!
//! There is one such thread, so plugins never occupy the threads that serve clients. A slow policy delays only the
//! clients that it is asked about, and later jobs of this thread.
//!
//! A connection has at most three jobs here: its oldest read, its held events, and a login. A job is done in turns of
//! at most `limits::QUESTIONS_IN_A_ROW` questions, or one piece. Each read of a plugin locks the state anew
//! (`LockedTree`), so the tree may change while a plugin runs. The code that uses an answer first checks, under the
//! state's lock, whether the answer is still right.

use super::Server;
use super::connection::{Connection, Turn};
use super::judgement::{EventQuestion, EventVerdict, Inquiry};
use crate::environment::{self, wall_ms};
use crate::limits;
use crate::model::ConnectionId;
use crate::pipeline::view::LockedTree;
use crate::pipeline::{Call, Caller, Moment};
use crate::plugin::policies::Answers;
use crate::wire::request::RequestHeader;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is to be done. Bounded by the number of connections.
pub(super) enum Job {
    /// The oldest request of the connection is a read that plugins are asked about, or whose answer is long.
    Read { connection: Arc<Connection>, inquiry: Inquiry },
    /// The connection's outbox holds events.
    Events { connection: Arc<Connection> },
    /// An `addauth` for an authenticator. The credential is given to nobody else.
    Login { connection: Arc<Connection>, header: RequestHeader, scheme: String, credential: Bytes },
    /// A connection that has ended had many watches. The rest of them is given up.
    Forget { connection: ConnectionId },
}

/// The queue of jobs for the thread.
pub(super) struct Asking {
    jobs: UnboundedSender<Job>,
    /// The thread's end of the queue, until `Inquirer::of` takes it.
    receiver: Mutex<Option<UnboundedReceiver<Job>>>,
}

impl Default for Asking {
    fn default() -> Asking {
        let (jobs, receiver) = unbounded_channel();
        Asking { jobs, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Asking {
    pub(crate) fn put(&self, job: Job) {
        // An error means that the thread has ended, and so have the server and the connection.
        let _ = self.jobs.send(job);
    }
}

/// What the thread runs. It ends with the server.
pub(crate) struct Inquirer {
    jobs: UnboundedReceiver<Job>,
    /// Weak, so that the thread does not keep the server alive.
    server: Weak<dyn Server>,
}

impl Inquirer {
    /// The one thread of a server. Panics if it is called twice for a server.
    pub(crate) fn of(server: &Arc<dyn Server>) -> Inquirer {
        let jobs = server.connections().asking().receiver.lock().take().expect("a server has one such thread");
        Inquirer { jobs, server: Arc::downgrade(server) }
    }

    pub(crate) fn run(mut self) {
        while let Some(job) = self.jobs.blocking_recv() {
            self.turn(job);
        }
    }

    pub(crate) async fn run_as_task(mut self) {
        while let Some(job) = self.jobs.recv().await {
            self.turn(job);
        }
    }

    /// Does one turn of one job, if there is a job. Returns whether there was.
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

/// One turn of a job. Returns the job if it needs another turn.
fn turn(server: &dyn Server, job: Job) -> Option<Job> {
    let home = server.connections();
    let plugins = home.plugins();
    match job {
        Job::Read { connection, mut inquiry } => {
            let mut turn = connection.judge_asked(server, &mut inquiry);
            if let Turn::Ask { open, identities, xid } = turn {
                let caller = connection.caller_of(connection.session(), identities);
                with_call(server, &caller, xid, |call| inquiry.ask(home, &caller.identities, call, &open));
                turn = connection.judge_asked(server, &mut inquiry);
            }
            match turn {
                Turn::Done => None,
                Turn::Ask { .. } | Turn::GoOn => Some(Job::Read { connection, inquiry }),
            }
        }
        Job::Forget { connection } => (!home.forget_watches(server, connection)).then_some(Job::Forget { connection }),
        Job::Events { connection } => {
            for _ in 0..limits::QUESTIONS_IN_A_ROW {
                let held = connection.outbox.first_held().filter(|_| !connection.is_gone())?;
                let question =
                    EventQuestion { kind: held.kind, path: &held.path, acl: &held.acl, who: &held.identities };
                let mut answers = Answers::default();
                let mut verdict = question.judge(home, &server.state(), &answers);
                for _ in 0..limits::QUESTION_TRIES {
                    if verdict != EventVerdict::Unknown {
                        break;
                    }
                    let caller = connection.caller_of(connection.session(), held.identities.clone());
                    with_call(server, &caller, 0, |call| question.ask(home, call, &mut answers));
                    verdict = question.judge(home, &server.state(), &answers);
                }
                connection.settle_event(&held, verdict == EventVerdict::Send);
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

/// Calls `ask` with a call whose reads see the applied tree of their moment.
fn with_call<T>(server: &dyn Server, caller: &Caller, xid: i32, ask: impl FnOnce(&Call<'_>) -> T) -> T {
    let (zxid, ensemble_ms) = {
        let state = server.state();
        (state.last_zxid(), state.ensemble_ms())
    };
    // A plugin can answer without random bytes, and the seed is no secret.
    let seed = environment::random_u64().unwrap_or_default();
    let moment = Moment { wall_ms: wall_ms(), ensemble_ms, seed };
    ask(&Call::looking(&LockedTree(|| server.state()), Some(caller), xid, zxid, moment))
}
