//! What the simulation may change in a member: its pace, how it ends, and one deliberate mistake.
//!
//! A mutation is a defect that is put in on purpose, to see whether the simulation's checkers find it. Each mutation
//! has one function here, named for the rule that the mutation breaks. The server calls the function where it keeps the
//! rule. Without the feature `simulation` every function here is the rule alone, and the compiler removes the call.
//!
//! This file is low in the list of layers, so that every folder can use it. What a member shows to the simulation is in
//! `simulation`, near the top.

use crate::limits;

/// A defect that the simulation can put in. Each is made in one place of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// A refusal is answered before the view it was judged on has committed.
    RefusalEarly,
    /// A read between two pipelined writes sees the second write.
    ReadBetween,
    /// An entry is applied although it was evaluated on another state.
    NoFence,
    /// The log reports a batch as durable before its fsync.
    AckBeforeFsync,
    /// The leader accepts a write in a session's name from a connection that does not own the session.
    OwnersLost,
    /// A follower that is cut off from the leader goes on answering pings.
    PingWhileCutOff,
    /// A late tick of expiry ends sessions that nobody could have heard from in the meantime.
    LateExpiry,
    /// The reply to a write leaves before the events that the write caused.
    EventAfterReply,
    /// A new leader tells no recipe of the sessions that end among its first transactions.
    HandOverDropped,
    /// Requests behind a deployment are judged before the deployment is applied.
    JudgedTooEarly,
    /// A policy's cached answer is used although what it rests on has changed.
    StaleVerdict,
    /// The version in force is asked on paths where the version on trial is asked in its place.
    TrialBeside,
    /// A quarantine is written to the tree and has no effect.
    QuarantineUnseen,
}

impl Mutation {
    /// Every mutation, with the name that the simulation's command line uses.
    pub const ALL: [(&'static str, Mutation); 13] = [
        ("refusal-early", Mutation::RefusalEarly),
        ("read-between", Mutation::ReadBetween),
        ("no-fence", Mutation::NoFence),
        ("ack-before-fsync", Mutation::AckBeforeFsync),
        ("owners-lost", Mutation::OwnersLost),
        ("ping-while-cut-off", Mutation::PingWhileCutOff),
        ("late-expiry", Mutation::LateExpiry),
        ("event-after-reply", Mutation::EventAfterReply),
        ("hand-over-dropped", Mutation::HandOverDropped),
        ("judged-too-early", Mutation::JudgedTooEarly),
        ("stale-verdict", Mutation::StaleVerdict),
        ("trial-beside", Mutation::TrialBeside),
        ("quarantine-unseen", Mutation::QuarantineUnseen),
    ];
}

/// How often a member writes checkpoints and images, and how much log it keeps. The simulation uses small numbers, so
/// that short runs meet these situations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub checkpoint_log_bytes: u64,
    pub checkpoint_interval_ms: u64,
    pub image_log_bytes: u64,
    pub log_segment_bytes: u64,
    pub log_entries_kept_for_peers: u64,
}

#[cfg(feature = "simulation")]
mod installed {
    use super::{Mutation, Pace};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The simulation's side of this file.
    pub trait Hooks {
        /// Whether this run has that defect.
        fn has(&self, mutation: Mutation) -> bool;
        /// The member ends itself with that sentence.
        fn dies(&self, sentence: &str);
        fn pace(&self) -> Pace;
    }

    /// What the task of a dying member unwinds with.
    pub struct Died;

    thread_local! {
        static HOOKS: RefCell<Option<Rc<dyn Hooks>>> = const { RefCell::new(None) };
    }

    /// From now on the members on this thread ask `hooks`.
    pub fn install(hooks: Rc<dyn Hooks>) {
        HOOKS.with_borrow_mut(|current| *current = Some(hooks));
    }

    pub(super) fn ask<T>(question: impl FnOnce(&dyn Hooks) -> T) -> Option<T> {
        let hooks = HOOKS.with_borrow(|hooks| hooks.clone());
        hooks.as_deref().map(question)
    }
}

#[cfg(feature = "simulation")]
pub use installed::{Died, Hooks, install};

/// Whether the defect is to be made now.
#[inline]
fn has(mutation: Mutation) -> bool {
    #[cfg(feature = "simulation")]
    return installed::ask(|hooks| hooks.has(mutation)).unwrap_or(false);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = mutation;
        false
    }
}

/// Ends a simulated member and does not return. In a real process this function does nothing and returns: the caller
/// then ends the process.
#[inline]
pub(crate) fn die(sentence: &str) {
    #[cfg(feature = "simulation")]
    // A panic that unwinds already cannot unwind twice.
    if installed::ask(|hooks| hooks.dies(sentence)).is_some() && !std::thread::panicking() {
        std::panic::panic_any(Died);
    }
    #[cfg(not(feature = "simulation"))]
    let _ = sentence;
}

/// The pace of `limits`, or the simulation's.
#[inline]
pub(crate) fn pace() -> Pace {
    #[cfg(feature = "simulation")]
    if let Some(pace) = installed::ask(|hooks| hooks.pace()) {
        return pace;
    }
    Pace {
        checkpoint_log_bytes: limits::CHECKPOINT_LOG_BYTES,
        checkpoint_interval_ms: limits::ms(limits::CHECKPOINT_INTERVAL),
        image_log_bytes: limits::IMAGE_LOG_BYTES_MIN,
        log_segment_bytes: limits::LOG_SEGMENT_BYTES,
        log_entries_kept_for_peers: limits::LOG_ENTRIES_KEPT_FOR_PEERS,
    }
}

// ---- One function for each mutation. A function whose only caller is behind the feature is behind it, too.

/// A refusal waits for the entries before it. False: `Mutation::RefusalEarly`.
#[cfg(feature = "simulation")]
#[inline]
pub(crate) fn refusals_wait() -> bool {
    !has(Mutation::RefusalEarly)
}

/// The replies of a transaction leave before the next transaction is applied. False: `Mutation::ReadBetween`.
#[cfg(feature = "simulation")]
#[inline]
pub(crate) fn replies_precede_next_txn() -> bool {
    !has(Mutation::ReadBetween)
}

/// Whether an entry may be applied. `fits`: the chain fence says yes. `Mutation::NoFence` applies every entry.
#[inline]
pub(crate) fn passes_fence(fits: bool) -> bool {
    fits || has(Mutation::NoFence)
}

/// A batch is written before it is synced and reported as durable. False: `Mutation::AckBeforeFsync`.
#[inline]
pub(crate) fn write_precedes_sync() -> bool {
    !has(Mutation::AckBeforeFsync)
}

/// Whether a connection may write in a session's name. `Mutation::OwnersLost` lets every connection write.
#[inline]
pub(crate) fn may_write(is_owner: bool) -> bool {
    is_owner || has(Mutation::OwnersLost)
}

/// The server's time until which a follower may serve. `Mutation::PingWhileCutOff` has no end.
#[inline]
pub(crate) fn serves_until_us(until_us: u64) -> u64 {
    if has(Mutation::PingWhileCutOff) { u64::MAX } else { until_us }
}

/// How much time a late expiry tick gives back to every session. `Mutation::LateExpiry` gives nothing back.
#[inline]
pub(crate) fn forgiven_ms(late_ms: u64) -> u64 {
    if has(Mutation::LateExpiry) { 0 } else { late_ms }
}

/// Sends the events of a transaction, and then its reply. `Mutation::EventAfterReply` turns the order round.
#[inline]
pub(crate) fn events_then_reply<C>(context: &mut C, events: impl FnOnce(&mut C), reply: impl FnOnce(&mut C)) {
    if has(Mutation::EventAfterReply) {
        reply(context);
        events(context);
    } else {
        events(context);
        reply(context);
    }
}

/// Whether recipes hear of a session that ends. `zxid_counter`: of the transaction. `Mutation::HandOverDropped` drops
/// the first hundred of each leadership.
#[inline]
pub(crate) fn recipes_hear_of_end(zxid_counter: u32) -> bool {
    zxid_counter >= 100 || !has(Mutation::HandOverDropped)
}

/// Evaluation pauses behind a deployment until it is applied. False: `Mutation::JudgedTooEarly`.
#[inline]
pub(crate) fn waits_for_deployment() -> bool {
    !has(Mutation::JudgedTooEarly)
}

/// A cached verdict is checked against what it rests on. False: `Mutation::StaleVerdict`.
#[inline]
pub(crate) fn verdicts_are_checked() -> bool {
    !has(Mutation::StaleVerdict)
}

/// Whether the version in force is asked about a path. `on_trial`: another version is on trial there.
/// `Mutation::TrialBeside` asks both.
#[inline]
pub(crate) fn asks_version_in_force(on_trial: bool) -> bool {
    !on_trial || has(Mutation::TrialBeside)
}

/// A plugin's quarantine node takes effect. False: `Mutation::QuarantineUnseen`.
#[inline]
pub(crate) fn sees_quarantine() -> bool {
    !has(Mutation::QuarantineUnseen)
}
