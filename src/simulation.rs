//! What a simulated member shows to the simulation. Without the feature `simulation` nothing is shown.
//!
//! The window stands near the top of the layers, because it shows values of most folders. `hooks` is its counterpart near
//! the bottom: what the simulation changes in a member.

use crate::consensus::ProposalOutcome;
use crate::model::Zxid;
use crate::model::txn::{Batch, Txn};
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
        outcome: ProposalOutcome,
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

#[cfg(feature = "simulation")]
mod observed {
    use super::Seen;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The simulation.
    pub trait Observer {
        fn see(&self, seen: &Seen<'_>);
    }

    thread_local! {
        static OBSERVER: RefCell<Option<Rc<dyn Observer>>> = const { RefCell::new(None) };
    }

    /// From now on `observer` sees what the members on this thread show.
    pub fn observe(observer: Rc<dyn Observer>) {
        OBSERVER.with_borrow_mut(|current| *current = Some(observer));
    }

    pub(super) fn show(seen: &Seen<'_>) {
        let observer = OBSERVER.with_borrow(|observer| observer.clone());
        if let Some(observer) = observer {
            observer.see(seen);
        }
    }
}

#[cfg(feature = "simulation")]
pub use observed::{Observer, observe};

/// Shows something to the simulation. `seen` is only called if there is one.
#[inline]
pub fn see<'a>(seen: impl FnOnce() -> Seen<'a>) {
    #[cfg(feature = "simulation")]
    observed::show(&seen());
    #[cfg(not(feature = "simulation"))]
    let _ = seen;
}
