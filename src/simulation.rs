//! What a simulated member shows to the simulation. Without the feature `simulation` nothing is shown.
//!
//! The window stands near the top of the layers, because it shows values of most folders. `hooks` is its counterpart
//! near the bottom: what the simulation changes in a member.

use crate::consensus::ProposalOutcome;
use crate::model::Zxid;
use crate::model::txn::{Batch, Txn};
use crate::plugin::registry::Registry;
use crate::storage::LogPosition;

/// What happens inside a member and cannot be seen from outside.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// The state was loaded from disk, or replaced by a peer's. Its last zxid is `zxid` now.
    Loaded { zxid: Zxid, digest: u64, from: Source },
    /// A transaction was applied to the state whose last zxid was `before`.
    Applied { at: LogPosition, batch: &'a Batch, txn: &'a Txn, before: Zxid, digest: u64 },
    /// These plugins are in force from the tree of that zxid on.
    Bound { zxid: Zxid, registry: &'a Registry },
    /// The chain fence made this entry a no-op.
    Fenced { at: LogPosition, batch: &'a Batch },
    /// A chain begins: this member evaluates requests in that term.
    Leads { term: u64 },
    /// This member no longer evaluates.
    Follows,
    /// The member proposed an entry. `registry`: the plugins that judged it.
    Proposed { entry: u64, txns: &'a [Txn], registry: &'a Registry },
    /// A proposed entry was applied, refused or lost.
    Resolved { entry: u64, outcome: ProposalOutcome },
    /// The member wrote a checkpoint of that zxid.
    Checkpoint { zxid: Zxid },
}

/// Where a member's state came from.
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
pub(crate) fn see<'a>(seen: impl FnOnce() -> Seen<'a>) {
    #[cfg(feature = "simulation")]
    observed::show(&seen());
    #[cfg(not(feature = "simulation"))]
    let _ = seen;
}
