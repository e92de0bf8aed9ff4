//! From a request to a transaction: the `Evaluator` that owns the outstanding changes, and one file for each operation.
//!
//! Promises: a transaction that comes out will succeed on every replica. A refusal is a transaction too, and has left
//! nothing in the view. The next request sees what this request did. Nothing here waits, and nothing fails because
//! resources are missing.
//!
//! | file | what |
//! |---|---|
//! | `stages` | a client's request: authorize, recipe, evaluate, validate |
//! | `create` | create in all forms |
//! | `delete`, `set_data`, `set_acl` | the operation of that name |
//! | `check` | check, checkNotExists |
//! | `multi` | multi |
//! | `session` | opening, attaching and closing a session |
//! | `delete_container` | opcode 20, and the server's own collection of containers and TTL nodes |
//! | `reconfig` | reconfig |
//! | `clock` | a write to `/zookeeper/clock` |
//! | `transfer` | a write to `/zookeeper/leader` |
//! | `recipe` | what recipes do within a transaction |
//! | `chores` | timers of recipes, their recovery, native calls |
//! | `manifest_integrity` | that manifests and what they name agree |
//! | `blame` | a member's report against a plugin |
//! | `controller` | the operations that a controller has decided on |
//! | `workbench` | the operations that a recipe calls for |
//! | `draft` | the transaction in the making, which all of them write to |

pub(crate) mod blame;
mod check;
mod chores;
mod clock;
mod controller;
mod create;
mod delete;
mod delete_container;
mod draft;
pub(crate) mod manifest_integrity;
mod multi;
mod recipe;
mod reconfig;
mod session;
mod set_acl;
mod set_data;
mod stages;
mod transfer;
mod workbench;

#[cfg(test)]
pub(crate) use multi::effective_op;
pub(crate) use reconfig::servers_of;

use super::overlay::Overlay;
use super::view::View;
use super::{Ask, Cause, Moment, Plugins, Rules, Submission};
use crate::model::ensemble::Server;
use crate::model::txn::{Change, Origin, Outcome, Slot, Txn};
use crate::model::{ConnectionId, Refusal, SessionId, Zxid};
use crate::state::{Session, State};
use crate::wire::request::Request;
use bytes::Bytes;
use draft::{Draft, Lists, Parts};
use stages::complete;
use std::sync::Arc;

/// Turns submissions into transactions on the leader. Owns the outstanding changes and the next zxid. Only the
/// sequencer's thread uses it.
pub(crate) struct Evaluator {
    rules: Arc<Rules>,
    overlay: Overlay,
    /// The last zxid reserved.
    last: Zxid,
    /// The zxid of the next transaction.
    ///
    /// Invariant: `last.next()`, or the first zxid of a later epoch if a leadership has just begun.
    next: Zxid,
    /// The clock of the last transaction, Unix milliseconds.
    ///
    /// Invariant: never falls within a chain, whatever the machine's clock does.
    wall_ms: i64,
    /// Ensemble time of the last transaction, milliseconds.
    ///
    /// Invariant: never falls within a chain.
    ensemble_ms: u64,
    /// A reconfig is between its two steps. Another reconfig is refused.
    reconfiguring: bool,
    /// This member's number.
    member: u32,
    /// What the last native call returned.
    reply: Option<Bytes>,
}

/// What becomes of a submission.
#[derive(Debug)]
pub(crate) enum Evaluation {
    /// The transaction's zxid is reserved and its effects lie over the view. It must be proposed, in order.
    Txn(Txn),
    /// As `Txn`, but the submission, the end of that session, is not done: it must be evaluated again, before any
    /// other. The transaction answers nobody.
    Part(SessionId, Txn),
    /// The caller no longer owns its session (SESSIONMOVED). The connection is to be closed without a reply.
    Close,
    /// There is nothing to do: the session is gone already, or the node is no longer collectable.
    Nothing,
    /// The leadership must go to that member first. The request is then evaluated again by the next leader.
    Transfer(u32),
    /// A reconfig that may go on to these servers. It comes back as `Ask::Configure`, or is refused.
    Reconfigure(Vec<Server>),
    /// The time of transactions is to be set back. The request comes back as `Ask::SetBackClock`, or is refused.
    SetBackClock,
}

/// How an evaluation ends, before it becomes an `Evaluation`.
enum Ruling {
    Outcome(Outcome),
    /// The changes so far are a transaction. The end of that session must be evaluated again.
    Part(SessionId),
    Close,
    Nothing,
    Transfer(u32),
    Reconfigure(Vec<Server>),
    SetBackClock,
}

impl Evaluator {
    /// `start_chain` must be called before the first evaluation.
    pub(crate) fn new(rules: Arc<Rules>) -> Evaluator {
        let overlay = Overlay::default();
        Evaluator {
            rules,
            overlay,
            last: Zxid::ZERO,
            next: Zxid::ZERO.next(),
            wall_ms: 0,
            ensemble_ms: 0,
            reconfiguring: false,
            member: 0,
            reply: None,
        }
    }

    /// The same evaluator, for that member.
    pub(crate) fn of(self, member: u32) -> Evaluator {
        Evaluator { member, ..self }
    }

    /// Starts a new chain on the applied state and drops all outstanding changes. `new_epoch`: a leadership begins with
    /// this chain. The very first leadership has epoch 0, as in a standalone ZooKeeper, because no epoch came before.
    pub(crate) fn start_chain(&mut self, state: &State, new_epoch: bool) {
        self.overlay.clear();
        self.last = state.last_zxid();
        let first = self.last == Zxid::ZERO;
        self.next = if new_epoch && !first { self.last.next_epoch() } else { self.last.next() };
        self.wall_ms = state.wall_ms();
        self.ensemble_ms = state.ensemble_ms();
    }

    /// The last zxid reserved. The next batch is evaluated on it.
    pub(crate) fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Forgets the outstanding changes up to that zxid. `evaluate` and `refuse` do this themselves.
    pub(crate) fn committed(&mut self, applied: Zxid) {
        self.overlay.forget(applied);
    }

    /// Whether nothing is outstanding.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.overlay.is_empty()
    }

    /// What the last native call returned. The caller gets the reply once the call's transaction is applied.
    pub(crate) fn take_reply(&mut self) -> Option<Bytes> {
        self.reply.take()
    }

    /// Notes whether a reconfig is between its two steps.
    pub(crate) fn reconfigures(&mut self, under_way: bool) {
        self.reconfiguring = under_way;
    }

    /// The outstanding changes, for a `View`.
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Whether an outstanding transaction gives the session another owner, or ends it. Then the session's client is
    /// just coming back, which the applied state does not show yet.
    pub(crate) fn is_coming_back(&self, state: &State, session: SessionId) -> bool {
        let view = View { state, overlay: &self.overlay };
        let owner = |known: &Session| known.owner;
        state.session(session).map(owner) != view.session(session).map(owner)
    }

    /// Whether the session's end has begun, in the applied state or in an outstanding transaction.
    pub(crate) fn is_ending(&self, state: &State, session: SessionId) -> bool {
        View { state, overlay: &self.overlay }.session(session).is_some_and(Session::is_ending)
    }

    /// Evaluates a submission on the applied state with the outstanding changes laid over it.
    pub(crate) fn evaluate(
        &mut self,
        state: &State,
        submission: &Submission,
        moment: Moment,
        plugins: &mut dyn Plugins,
    ) -> Evaluation {
        let mut reply = None;
        let evaluation =
            self.transact(state, submission, moment, |draft| judge(draft, submission, plugins, &mut reply));
        self.reply = reply;
        evaluation
    }

    /// As `evaluate`, for a request that was refused before it came here: a deployment, a reconfig or a transfer that
    /// failed. The client gets the refusal in the order of its requests, like any other refusal.
    pub(crate) fn refuse(
        &mut self,
        state: &State,
        submission: &Submission,
        moment: Moment,
        refusal: &Refusal,
    ) -> Evaluation {
        self.transact(state, submission, moment, |draft| match (session::require_owner(draft), &submission.ask) {
            (Err(ruling), _) => ruling,
            (Ok(()), Ask::Request(Request::Multi(operations))) => Ruling::Outcome(Outcome::MultiRefused {
                failed: 0,
                operations: operations.len() as u32,
                refusal: refusal.clone(),
            }),
            (Ok(()), _) => Ruling::Outcome(Outcome::Refused(refusal.clone())),
        })
    }

    fn transact(
        &mut self,
        state: &State,
        submission: &Submission,
        moment: Moment,
        judge: impl FnOnce(&mut Draft<'_>) -> Ruling,
    ) -> Evaluation {
        self.overlay.forget(state.last_zxid());
        if let Ask::SetBackClock = submission.ask {
            self.wall_ms = self.wall_ms.min(moment.wall_ms);
        }
        let moment = Moment {
            wall_ms: moment.wall_ms.max(self.wall_ms),
            ensemble_ms: moment.ensemble_ms.max(self.ensemble_ms),
            seed: moment.seed,
        };
        let start = self.overlay.savepoint();
        let mut draft = Draft {
            state,
            overlay: &mut self.overlay,
            rules: &self.rules,
            caller: submission.caller.as_ref(),
            xid: submission.xid,
            zxid: self.next,
            moment,
            reconfiguring: self.reconfiguring,
            member: self.member,
            changes: Vec::with_capacity(1),
            weight: 0,
            parts: Parts::default(),
            lists: Lists::default(),
        };
        // The session that asked for the reconfig may have ended or moved since. The members have changed all the same.
        // Likewise the sequencer has set back its clock already.
        let is_orphan = matches!(submission.ask, Ask::Configure { .. } | Ask::SetBackClock)
            && session::require_owner(&draft).is_err();
        let caller = submission.caller.as_ref().filter(|_| !is_orphan);
        draft.caller = caller;
        let ruling = judge(&mut draft);
        let Draft { mut changes, parts, .. } = draft;
        let part_of = if let Ruling::Part(session) = ruling { Some(session) } else { None };
        if !matches!(ruling, Ruling::Outcome(_) | Ruling::Part(_)) {
            assert!(changes.is_empty(), "{} changes without a transaction to hold them", changes.len());
        }
        let outcome = match ruling {
            Ruling::Outcome(outcome) => outcome,
            Ruling::Part(_) => Outcome::Done(vec![Slot::Nothing]),
            Ruling::Close => return Evaluation::Close,
            Ruling::Nothing => return Evaluation::Nothing,
            Ruling::Transfer(to) => return Evaluation::Transfer(to),
            Ruling::Reconfigure(servers) => return Evaluation::Reconfigure(servers),
            Ruling::SetBackClock => return Evaluation::SetBackClock,
        };
        let mut made_by = parts.into_made_by();
        if !matches!(outcome, Outcome::Done(_)) {
            (changes, made_by) = (Vec::new(), Vec::new());
            self.overlay.rollback(start);
        }
        self.overlay.keep();
        // Neither the caller of a native call nor a controller has a connection that could get an answer.
        let asks =
            caller.filter(|_| part_of.is_none() && !matches!(submission.ask, Ask::Call { .. } | Ask::Reconcile(_)));
        let origin =
            asks.map(|caller| Origin { session: caller.session, connection: caller.connection, xid: submission.xid });
        let txn = Txn {
            zxid: self.reserve(moment),
            wall_ms: moment.wall_ms,
            ensemble_ms: moment.ensemble_ms,
            origin,
            outcome,
            changes,
            made_by,
        };
        txn.check();
        match part_of {
            Some(session) => Evaluation::Part(session, txn),
            None => Evaluation::Txn(txn),
        }
    }

    /// Stage "reserve": the transaction gets its zxid.
    fn reserve(&mut self, moment: Moment) -> Zxid {
        assert!(moment.wall_ms >= self.wall_ms, "{}: the clock of transactions went back", self.next);
        assert!(moment.ensemble_ms >= self.ensemble_ms, "{}: ensemble time went back", self.next);
        let follows = self.next == self.last.next() || self.next == self.last.next_epoch();
        assert!(follows, "{} does not follow {}", self.next, self.last);
        self.last = self.next;
        self.next = self.last.next();
        self.wall_ms = moment.wall_ms;
        self.ensemble_ms = moment.ensemble_ms;
        self.last
    }
}

fn judge(
    draft: &mut Draft<'_>,
    submission: &Submission,
    plugins: &mut dyn Plugins,
    reply: &mut Option<Bytes>,
) -> Ruling {
    let owner = draft.caller.map(|caller| caller.connection);
    let done = |done| if done { single(Ok(Slot::Nothing)) } else { Ruling::Nothing };
    match &submission.ask {
        Ask::Request(request) => match session::require_owner(draft) {
            Ok(()) => stages::request(draft, plugins, request),
            Err(ruling) => ruling,
        },
        Ask::OpenSession { session, password, timeout_ms } => {
            with_owner(owner, |owner| session::open(draft, *session, *password, *timeout_ms, owner))
        }
        Ask::AttachSession { session, password, timeout_ms } => {
            with_owner(owner, |owner| session::attach(draft, *session, *password, *timeout_ms, owner))
        }
        Ask::CloseSession { session, expired } => session::end(draft, plugins, *session, *expired),
        Ask::Collect { path } => {
            let collected = delete_container::collect(draft, path);
            if collected {
                complete(draft, plugins, Cause::Server, SessionId::NONE)
                    .expect("nothing refuses what the server does on its own");
            }
            done(collected)
        }
        Ask::RaiseFormatLevel { level } => {
            let raises = *level > draft.state.format_level();
            if raises {
                draft.push(Change::RaiseFormatLevel { level: *level });
            }
            done(raises)
        }
        Ask::SetBackClock => {
            clock::set_back(draft);
            single(Ok(Slot::Nothing))
        }
        Ask::Configure { servers } => single(Ok(reconfig::configure(draft, servers))),
        Ask::Timer { plugin, name } => done(chores::timer(draft, plugins, plugin, name)),
        Ask::Recover { plugin } => done(chores::recover(draft, plugins, plugin)),
        Ask::Reconcile(work) if !controller::is_current(draft, work) => Ruling::Nothing,
        Ask::Reconcile(work) => single(controller::evaluate(draft, plugins, work).map(|()| Slot::Nothing)),
        Ask::Call { plugin, method, payload } => {
            let returned = chores::native(draft, plugins, plugin, method, payload);
            single(returned.map(|returned| {
                *reply = Some(returned);
                Slot::Nothing
            }))
        }
        Ask::Blame(blame) => done(blame::evaluate(draft, blame)),
    }
}

fn with_owner(owner: Option<ConnectionId>, evaluate: impl FnOnce(ConnectionId) -> Result<Slot, Refusal>) -> Ruling {
    // A session belongs to a connection. Without a caller there is no connection.
    owner.map_or(Ruling::Nothing, |owner| single(evaluate(owner)))
}

fn single(slot: Result<Slot, Refusal>) -> Ruling {
    Ruling::Outcome(match slot {
        Ok(slot) => Outcome::Done(vec![slot]),
        Err(refusal) => Outcome::Refused(refusal),
    })
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("last", &self.last).field("next", &self.next).finish_non_exhaustive()
    }
}
