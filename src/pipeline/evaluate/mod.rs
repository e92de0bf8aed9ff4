//! From a request to a transaction: one file an operation, and the evaluator that owns the outstanding changes.
//!
//! Promises: a transaction that comes out will succeed on every replica; a refusal is a transaction, too, and has left
//! nothing in the view; the next request sees what this one did. Nothing here waits or fails for want of resources.
//!
//! | file | operation |
//! |---|---|
//! | `create` | create in all forms |
//! | `delete`, `set_data`, `set_acl` | the same |
//! | `check` | check, checkNotExists |
//! | `multi` | multi |
//! | `session` | open, attach, close |
//! | `delete_container` | opcode 20 and the server's own collection |
//! | `reconfig` | reconfig |
//! | `transfer` | a write to `/zookeeper/leader` |
//! | `recipe` | recipes within a transaction |
//! | `chores` | timers, putting mounts in order, native calls |
//! | `manifest_integrity` | what must hold of a deployment in its transaction |
//! | `blame` | what a member says against a plugin |
//! | `controller` | what a controller has worked out |
//! | `workbench` | what a plugin's operations do |
//! | `draft` | the transaction in the making, which all of them write to |

pub mod blame;
mod check;
mod chores;
mod controller;
mod create;
mod delete;
mod delete_container;
mod draft;
pub mod manifest_integrity;
mod multi;
mod recipe;
mod reconfig;
mod session;
mod set_acl;
mod set_data;
mod transfer;
mod workbench;

pub use multi::effective_op;
pub use reconfig::servers_of;

use super::overlay::{Overlay, path_of};
use super::view::View;
use super::{Ask, Call, Cause, Moment, Plugins, Rules, Submission, authorize};
use crate::hooks;
use crate::model::control_plane::LEADER;
use crate::model::ensemble::Server;
use crate::model::txn::{Change, Origin, Outcome, Slot, Txn};
use crate::model::{ConnectionId, ErrorCode, Refusal, SessionId, Zxid, path};
use crate::state::{Session, State};
use crate::wire::request::{CreateForm, Operation, Request};
use bytes::Bytes;
use draft::{Draft, Lists, Parts};
use recipe::Asker;
use std::borrow::Cow;
use std::sync::Arc;

/// The leader's judge: owns the outstanding changes and the next zxid. Belongs to the sequencer's thread.
pub struct Evaluator {
    rules: Arc<Rules>,
    overlay: Overlay,
    /// The last zxid reserved.
    last: Zxid,
    /// The next one: behind `last`, or the first of a new leadership.
    next: Zxid,
    /// The times of the last transaction: none is made earlier, whatever the clock does.
    wall_ms: i64,
    ensemble_ms: u64,
    /// A reconfig is between its two steps: another one is refused.
    reconfiguring: bool,
    /// This member's number.
    member: u32,
    /// What the last native call returned.
    reply: Option<Bytes>,
}

/// What becomes of a submission.
#[derive(Debug)]
pub enum Evaluation {
    /// Its zxid is reserved and its effects lie over the view: it must be proposed, in order.
    Txn(Txn),
    /// The caller no longer owns its session (SESSIONMOVED): close the connection without a reply.
    Close,
    /// There is nothing to do: a session that is gone already, a node that is no longer collectable.
    Nothing,
    /// The leadership goes to that member first; the request is then asked again, of whoever leads.
    Transfer(u32),
    /// A reconfig that may go on: these shall be the servers. It comes back as `Ask::Configure`, or is refused.
    Reconfigure(Vec<Server>),
}

/// How an evaluation ends, before it is a transaction.
enum Ruling {
    Outcome(Outcome),
    Close,
    Nothing,
    Transfer(u32),
    Reconfigure(Vec<Server>),
}

impl Evaluator {
    /// `start_chain` comes before the first evaluation.
    pub fn new(rules: Arc<Rules>) -> Evaluator {
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

    /// The member whose evaluator it is.
    pub fn of(self, member: u32) -> Evaluator {
        Evaluator { member, ..self }
    }

    /// Begins anew on the applied state: all outstanding changes are void. `new_epoch`: the leadership is new, too. The
    /// first of all has epoch 0, as in a ZooKeeper that stands alone: there is no epoch before it to tell it from.
    pub fn start_chain(&mut self, state: &State, new_epoch: bool) {
        self.overlay.clear();
        self.last = state.last_zxid();
        let first = self.last == Zxid::ZERO;
        self.next = if new_epoch && !first { self.last.next_epoch() } else { self.last.next() };
        self.wall_ms = state.wall_ms();
        self.ensemble_ms = state.ensemble_ms();
    }

    /// The last zxid reserved: what the next batch stands on.
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Forgets what is applied up to that zxid. Evaluating does so by itself.
    pub fn committed(&mut self, applied: Zxid) {
        self.overlay.forget(applied);
    }

    /// Whether nothing is outstanding.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.overlay.is_empty()
    }

    /// What the native call returned that was evaluated last; to be shown to its caller once its transaction is applied.
    pub fn take_reply(&mut self) -> Option<Bytes> {
        self.reply.take()
    }

    /// Whether a reconfig has been taken up and not yet ended.
    pub fn reconfigures(&mut self, under_way: bool) {
        self.reconfiguring = under_way;
    }

    /// The outstanding changes, to be looked at through a `View`.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Whether an outstanding transaction gives the session another owner: its client is just coming back, which nobody
    /// who looks at the applied state can know.
    pub fn is_coming_back(&self, state: &State, session: SessionId) -> bool {
        let view = View { state, overlay: &self.overlay };
        let owner = |known: &Session| known.owner;
        state.session(session).map(owner) != view.session(session).map(owner)
    }

    pub fn evaluate(
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

    /// As `evaluate`, for a request that was refused before it came here (a deployment that does not pass, a change of
    /// members or a transfer that cannot be): answered in its turn, like any refusal.
    pub fn refuse(&mut self, state: &State, submission: &Submission, moment: Moment, refusal: &Refusal) -> Evaluation {
        self.transact(state, submission, moment, |draft| match (check_session(draft), &submission.ask) {
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
            parts: Parts::default(),
            passed: false,
            lists: Lists::default(),
        };
        // Whoever asked for other members may have gone or moved meanwhile, but the members have changed all the same.
        let is_orphan = matches!(submission.ask, Ask::Configure { .. }) && check_session(&draft).is_err();
        let caller = submission.caller.as_ref().filter(|_| !is_orphan);
        draft.caller = caller;
        let outcome = match judge(&mut draft) {
            Ruling::Outcome(outcome) => outcome,
            Ruling::Close => return Evaluation::Close,
            Ruling::Nothing => return Evaluation::Nothing,
            Ruling::Transfer(to) => return Evaluation::Transfer(to),
            Ruling::Reconfigure(servers) => return Evaluation::Reconfigure(servers),
        };
        let Draft { mut changes, parts, .. } = draft;
        let mut made_by = parts.into_made_by();
        if !matches!(outcome, Outcome::Done(_)) {
            (changes, made_by) = (Vec::new(), Vec::new());
            self.overlay.rollback(start);
        }
        self.overlay.keep();
        // The caller of a native call has no connection that could be answered, nor has a controller.
        let asks = caller.filter(|_| !matches!(submission.ask, Ask::Call { .. } | Ask::Reconcile(_)));
        let origin =
            asks.map(|caller| Origin { session: caller.session, connection: caller.connection, xid: submission.xid });
        Evaluation::Txn(Txn {
            zxid: self.reserve(moment),
            wall_ms: moment.wall_ms,
            ensemble_ms: moment.ensemble_ms,
            origin,
            outcome,
            changes,
            made_by,
        })
    }

    fn reserve(&mut self, moment: Moment) -> Zxid {
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
        Ask::Request(request) => match check_session(draft) {
            Ok(()) => judge_request(draft, request, plugins),
            Err(ruling) => ruling,
        },
        Ask::OpenSession { session, password, timeout_ms } => {
            with_owner(owner, |owner| session::open(draft, *session, *password, *timeout_ms, owner))
        }
        Ask::AttachSession { session, password, timeout_ms } => {
            with_owner(owner, |owner| session::attach(draft, *session, *password, *timeout_ms, owner))
        }
        Ask::CloseSession { session, expired } => evaluate_close(draft, *session, *expired, plugins),
        Ask::Collect { path } => {
            let collected = delete_container::collect(draft, path);
            if collected {
                complete(draft, plugins, Cause::Server, SessionId::NONE)
                    .expect("what the server does by itself is never refused");
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

fn judge_request(draft: &mut Draft<'_>, request: &Request, plugins: &mut dyn Plugins) -> Ruling {
    match request {
        Request::Multi(operations) => evaluate_multi(draft, operations, plugins),
        Request::Reconfig { joining, leaving, new_members, config_id } => {
            let wanted = reconfig::Wanted {
                joining: joining.as_deref(),
                leaving: leaving.as_deref(),
                new_members: new_members.as_deref(),
                from_version: *config_id,
            };
            match reconfig::plan(draft, &wanted) {
                Ok(servers) => Ruling::Reconfigure(servers),
                Err(refusal) => single(Err(refusal)),
            }
        }
        Request::SetData { path: Some(path), data, .. } if path == LEADER => {
            match transfer::evaluate(draft, data.as_deref().unwrap_or_default()) {
                Ok(Some(to)) => Ruling::Transfer(to),
                Ok(None) => single(Ok(Slot::Nothing)),
                Err(refusal) => single(Err(refusal)),
            }
        }
        request => {
            let slot = evaluate_one(draft, plugins, request);
            single(slot.and_then(|slot| {
                complete_request(draft, plugins)?;
                Ok(slot)
            }))
        }
    }
}

fn evaluate_one(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, request: &Request) -> Result<Slot, Refusal> {
    let form = match request {
        Request::Create(create) => create.form,
        _ => CreateForm::Create,
    };
    recipe::first(draft, plugins, request, form, |draft, plugins| match request {
        Request::Create(create) => create::evaluate(draft, plugins, create, form),
        Request::Delete { path, version } => delete::evaluate(draft, plugins, path, *version),
        Request::SetData { path, data, version } => set_data::evaluate(draft, plugins, path, data, *version),
        Request::SetAcl { path, acl, version } => set_acl::evaluate(draft, plugins, path, acl.as_deref(), *version),
        Request::CheckNotExists { path, version } => check::evaluate_absence(draft, plugins, path, *version),
        Request::DeleteContainer { path } => delete_container::evaluate(draft, path),
        // A check alone is unimplemented in ZooKeeper; reads and what concerns the connection never come here.
        _ => Err(ErrorCode::Unimplemented.into()),
    })
}

fn evaluate_multi(draft: &mut Draft<'_>, operations: &[Operation], plugins: &mut dyn Plugins) -> Ruling {
    let count = operations.len() as u32;
    let refused = |failed, refusal| Outcome::MultiRefused { failed, operations: count, refusal };
    Ruling::Outcome(match multi::evaluate(draft, plugins, operations) {
        Ok(slots) => match complete_request(draft, plugins) {
            Ok(()) => Outcome::Done(slots),
            Err(refusal) => refused(last_judged(draft, &slots, operations), refusal),
        },
        Err(multi::Failure::Whole(refusal)) => Outcome::Refused(refusal),
        Err(multi::Failure::Operation { failed, refusal }) => refused(failed, refusal),
    })
}

/// The operation that a refusal of the whole is pinned on: the last one that changed something plugins may judge. Clients
/// read the code from whichever slot has one.
fn last_judged(draft: &Draft<'_>, slots: &[Slot], operations: &[Operation]) -> u32 {
    let changes = |slot: &Slot, request: &Request| match (slot, request) {
        (Slot::Change(index), _) => draft.changes.get(*index as usize).is_some_and(is_judged),
        (Slot::Nothing, Request::Delete { path: Some(path), .. }) => !path::is_servers_own(path),
        (Slot::Path(path), Request::Create(create)) => {
            create.form != CreateForm::IfNotExists && !path::is_servers_own(path)
        }
        (Slot::Path(path), _) => !path::is_servers_own(path),
        (Slot::Nothing, _) => false,
    };
    let last = slots.iter().zip(operations).rposition(|(slot, operation)| changes(slot, &operation.request));
    last.unwrap_or(0) as u32
}

/// What follows from a request's changes. Where it is a client's, recipes and validators may refuse it as a whole; the
/// superuser's and the server's own stand.
fn complete_request(draft: &mut Draft<'_>, plugins: &mut dyn Plugins) -> Result<(), Refusal> {
    let (by, session) = match draft.caller {
        None => (Cause::Server, SessionId::NONE),
        Some(caller) if authorize::is_super(&caller.identities) => (Cause::Request, caller.session),
        Some(caller) => (Cause::Plugin, caller.session),
    };
    manifest_integrity::check(draft, plugins)?;
    complete(draft, plugins, by, session)
}

/// What follows from a transaction's changes (`recipe::tell`).
fn complete(draft: &mut Draft<'_>, plugins: &mut dyn Plugins, by: Cause, session: SessionId) -> Result<(), Refusal> {
    recipe::tell(draft, plugins, by, session)?;
    recipe::note_beginnings(draft, plugins);
    match by {
        Cause::Plugin => validate(draft, plugins, 0, Asker { caller: draft.caller, session, xid: draft.xid }),
        _ => Ok(()),
    }
}

/// Closing needs no ownership in ZooKeeper, since expiry asks for it, too. Here the two are told apart: a connection whose
/// session moved away cannot end it.
fn evaluate_close(draft: &mut Draft<'_>, session: SessionId, expired: bool, plugins: &mut dyn Plugins) -> Ruling {
    match (draft.view().session(session), draft.caller) {
        (None, None) => Ruling::Nothing,
        (None, Some(_)) => single(Err(ErrorCode::SessionExpired.into())),
        (Some(known), Some(caller)) if known.owner != caller.connection => Ruling::Close,
        (Some(_), _) => {
            session::close(draft, session, expired);
            let cause = if expired { Cause::SessionExpired } else { Cause::SessionClosed };
            if !hooks::recipes_hear_of_end(draft.zxid.counter()) {
                return single(Ok(Slot::Nothing));
            }
            single(complete(draft, plugins, cause, session).map(|()| Slot::Nothing))
        }
    }
}

/// Only the connection that owns a session writes in its name. What only one member knows, that one vouches for.
fn check_session(draft: &Draft<'_>) -> Result<(), Ruling> {
    let Some(caller) = draft.caller.filter(|caller| !caller.local) else { return Ok(()) };
    match draft.view().session(caller.session) {
        None => Err(single(Err(ErrorCode::SessionExpired.into()))),
        Some(session) if !hooks::may_write(session.owner == caller.connection) => Err(Ruling::Close),
        Some(_) => Ok(()),
    }
}

/// Asks the validators about what the transaction changes from that change on. Everything under /zookeeper is not theirs
/// to judge; nor is what the superuser or the server does, and that is for the caller of this to know.
fn validate(draft: &Draft<'_>, plugins: &mut dyn Plugins, from: usize, asker: Asker<'_>) -> Result<(), Refusal> {
    let changes = &draft.changes[from..];
    let changes: Cow<'_, [Change]> = match changes.iter().all(is_judged) {
        true => Cow::Borrowed(changes),
        false => changes.iter().filter(|change| is_judged(change)).cloned().collect(),
    };
    if changes.is_empty() {
        return Ok(());
    }
    let view: View<'_> = draft.view();
    let writers = draft.parts.writers();
    let Asker { caller, session, xid } = asker;
    let looking = Call::looking(&view, caller, xid, draft.zxid, draft.moment);
    let call = Call { session, writers: &writers, fuel_max: draft.parts.fuel.left_to_judge(), ..looking };
    draft.parts.fuel.settle(plugins.validate(&call, &changes))
}

fn is_judged(change: &Change) -> bool {
    path_of(change).is_some_and(|path| !path::is_servers_own(path))
}

fn with_owner(owner: Option<ConnectionId>, evaluate: impl FnOnce(ConnectionId) -> Result<Slot, Refusal>) -> Ruling {
    // A session belongs to a connection: without a caller there is none to give it to.
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
