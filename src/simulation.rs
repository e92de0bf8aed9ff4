//! What a simulated member shows to the simulation, and the mistakes that can be put into it to see whether they are found.
//!
//! Without the feature `simulation` all of this is nothing: no call does anything, and no mistake is ever made.

use crate::consensus::Resolution;
use crate::limits;
use crate::model::Zxid;
use crate::pipeline::txn::{Batch, Txn};
use crate::plugin::registry::Registry;
use crate::storage::LogPosition;

/// What happens inside a member that is not seen from outside.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// The state was loaded, or replaced by a peer's: it stands there now.
    Loaded {
        zxid: Zxid,
        digest: u64,
        from: Source,
    },
    /// A transaction was applied on the state of `before`.
    Applied {
        at: LogPosition,
        batch: &'a Batch,
        txn: &'a Txn,
        before: Zxid,
        digest: u64,
    },
    /// With the tree of that zxid these plugins came into force.
    Bound {
        zxid: Zxid,
        registry: &'a Registry,
    },
    /// An entry that its fence made a no-op.
    Fenced {
        at: LogPosition,
        batch: &'a Batch,
    },
    /// A chain begins: this member evaluates, under that term.
    Leads {
        term: u64,
    },
    /// It does so no more.
    Follows,
    /// `registry`: the plugins that were asked.
    Proposed {
        entry: u64,
        txns: &'a [Txn],
        registry: &'a Registry,
    },
    Resolved {
        entry: u64,
        outcome: Resolution,
    },
    /// A checkpoint was written at that zxid.
    Checkpoint {
        zxid: Zxid,
    },
}

/// Where a state came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Disk,
    Peer,
}

/// Mistakes, each of which is made in one place of the server if the simulation asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// A refusal is answered before the view it was judged on has committed.
    RefusalEarly,
    /// A read between two pipelined writes sees the second.
    ReadBetween,
    /// An entry is applied although it was evaluated on another state.
    NoFence,
    /// The log says that a batch is durable before it is.
    AckBeforeFsync,
    /// A new leader knows no owners of sessions: whoever speaks for one owns it.
    OwnersLost,
    /// A follower that is cut off goes on answering pings.
    PingWhileCutOff,
    /// A tick of expiry that comes late ends sessions nobody could have been heard of.
    LateExpiry,
    /// The reply to a write leaves before the events it caused.
    EventAfterReply,
    /// A new leader tells no recipe of the sessions that end among its first transactions.
    HandOverDropped,
    /// What comes behind a deployment is judged before that is applied.
    JudgedTooEarly,
    /// A policy's answer is kept although what it rests on has changed.
    StaleVerdict,
    /// The version in force is asked beside the one on trial, where that is asked in its place.
    TrialBeside,
    /// A quarantine is a node, and nothing comes of it.
    QuarantineUnseen,
}

impl Mutation {
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

/// How often a member writes checkpoints and images, and what log it keeps: in the simulation often, and little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub checkpoint_log_bytes: u64,
    pub checkpoint_interval_ms: u64,
    pub image_log_bytes: u64,
    pub log_segment_bytes: u64,
    pub log_entries_kept_for_peers: u64,
}

#[cfg(feature = "simulation")]
mod observed {
    use super::{Mutation, Pace, Seen};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The simulation.
    pub trait Observer {
        fn see(&self, seen: &Seen<'_>);
        fn makes(&self, mutation: Mutation) -> bool;
        /// The member ends itself, and says why.
        fn dies(&self, sentence: &str);
        fn pace(&self) -> Pace;
    }

    /// What a dying member's task unwinds with.
    pub struct Died;

    thread_local! {
        static OBSERVER: RefCell<Option<Rc<dyn Observer>>> = const { RefCell::new(None) };
    }

    /// From now on this thread's members are observed.
    pub fn observe(observer: Rc<dyn Observer>) {
        OBSERVER.with_borrow_mut(|current| *current = Some(observer));
    }

    pub(super) fn ask<T>(question: impl FnOnce(&dyn Observer) -> T) -> Option<T> {
        let observer = OBSERVER.with_borrow(|observer| observer.clone());
        observer.as_deref().map(question)
    }
}

#[cfg(feature = "simulation")]
pub use observed::{Died, Observer, observe};

/// Shows something to the simulation.
#[inline]
pub fn see<'a>(seen: impl FnOnce() -> Seen<'a>) {
    #[cfg(feature = "simulation")]
    observed::ask(|observer| observer.see(&seen()));
    #[cfg(not(feature = "simulation"))]
    let _ = seen;
}

/// Whether that mistake is to be made.
#[inline]
pub fn makes(mutation: Mutation) -> bool {
    #[cfg(feature = "simulation")]
    return observed::ask(|observer| observer.makes(mutation)).unwrap_or(false);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = mutation;
        false
    }
}

/// Ends a simulated member, and does not return; returns where the member is a process.
#[inline]
pub fn die(sentence: &str) {
    #[cfg(feature = "simulation")]
    // A panic that unwinds already cannot do so twice.
    if observed::ask(|observer| observer.dies(sentence)).is_some() && !std::thread::panicking() {
        std::panic::panic_any(Died);
    }
    #[cfg(not(feature = "simulation"))]
    let _ = sentence;
}

/// The pace of `limits`, or the simulation's.
#[inline]
pub fn pace() -> Pace {
    #[cfg(feature = "simulation")]
    if let Some(pace) = observed::ask(|observer| observer.pace()) {
        return pace;
    }
    Pace {
        checkpoint_log_bytes: limits::CHECKPOINT_LOG_BYTES,
        checkpoint_interval_ms: limits::CHECKPOINT_INTERVAL_MS,
        image_log_bytes: limits::IMAGE_LOG_BYTES_MIN,
        log_segment_bytes: limits::LOG_SEGMENT_BYTES,
        log_entries_kept_for_peers: limits::LOG_ENTRIES_KEPT_FOR_PEERS,
    }
}
