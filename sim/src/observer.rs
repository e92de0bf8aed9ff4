//! Receives the events that members report, and passes them to the ledger and to `coverage`.

use crate::bundled::WEAK;
use crate::coverage::{Situation, met};
use crate::ledger::{Shown, ledger};
use crate::machine;
use crate::net::Machine;
use crate::recipes;
use crate::trace::{breach, note, now_us, say};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use wasmkeeper::consensus;
use wasmkeeper::hooks::{Died, Hooks, Mutation, Pace};
use wasmkeeper::model::txn::{Outcome, Txn};
use wasmkeeper::simulation::{Observer, Seen, Source};

/// Events that all members may report in one slice. A member that replays its log at a start reports thousands.
const SEEN_MAX: u64 = 100_000;

pub(crate) struct MemberObserver {
    mutation: Option<Mutation>,
    pace: Cell<Pace>,
    /// The start of a slice, and the number of events seen in that slice.
    seen: Cell<(u64, u64)>,
    /// Log entries that were proposed and are not resolved, by member and entry.
    in_flight: RefCell<BTreeMap<(Machine, u64), InFlight>>,
}

/// The contents of a proposed log entry that matter for `coverage`.
#[derive(Clone, Copy, Default)]
struct InFlight {
    refusals: usize,
    /// A lock passes to its next holder.
    hand_over: bool,
    /// A queue's item goes to a worker or comes back.
    claim: bool,
}

impl InFlight {
    fn of(txns: &[Txn]) -> InFlight {
        InFlight {
            refusals: txns.iter().filter(|txn| !matches!(txn.outcome, Outcome::Done(_))).count(),
            hand_over: txns.iter().any(recipes::hands_over),
            claim: txns.iter().any(recipes::claims),
        }
    }
}

impl MemberObserver {
    pub(crate) fn new(mutation: Option<Mutation>, pace: Pace) -> MemberObserver {
        MemberObserver { mutation, pace: Cell::new(pace), seen: Cell::new((0, 0)), in_flight: RefCell::default() }
    }

    /// Counts the situations in which `machine` lost its leadership.
    fn lost_leadership(&self, machine: Machine) {
        let in_flight = self.in_flight.borrow();
        let own: Vec<&InFlight> =
            in_flight.range((machine, 0)..=(machine, u64::MAX)).map(|(_, in_flight)| in_flight).collect();
        let quarantine = ledger(|ledger| ledger.is_quarantined(WEAK, ledger.last()));
        let awaited =
            ledger(|ledger| if ledger.leader() == Some(machine) { ledger.awaited.clone() } else { Vec::new() });
        for (is_so, what) in [
            (!own.is_empty(), Situation::LeaderChangeWithWrites),
            (own.iter().any(|in_flight| in_flight.refusals > 0), Situation::RefusalAcrossLeaderChange),
            (own.iter().any(|in_flight| in_flight.hand_over), Situation::LeaderChangeWithHandOver),
            (own.iter().any(|in_flight| in_flight.claim), Situation::LeaderChangeWithClaim),
            (quarantine, Situation::LeaderChangeWithQuarantine),
        ] {
            if is_so {
                met(what);
            }
        }
        awaited.into_iter().for_each(met);
    }

    /// The process of `machine` has ended.
    pub(crate) fn forget(&self, machine: Machine) {
        self.lost_leadership(machine);
        self.in_flight.borrow_mut().retain(|&(of, _), _| of != machine);
    }
}

impl MemberObserver {
    /// Ends a member that reports more than `SEEN_MAX` events in a slice. Simulated time stands still while a member
    /// runs, so an endless loop would never end.
    fn count_slice(&self) {
        let (slice, count) = self.seen.get();
        let count = if slice == now_us() { count + 1 } else { 1 };
        self.seen.set((now_us(), count));
        if count > SEEN_MAX {
            breach(format!("member {} is in an endless loop", machine::current()));
            std::panic::panic_any(Died);
        }
    }
}

impl Observer for MemberObserver {
    fn see(&self, seen: &Seen<'_>) {
        let machine = machine::current();
        self.count_slice();
        let who = format!("m{machine}");
        match *seen {
            Seen::Loaded { zxid, digest, from } => {
                say(who, || format!("has the state of {zxid} from {from:?}"));
                if from == Source::Peer {
                    met(Situation::CheckpointInstall);
                }
                ledger(|ledger| ledger.loaded(machine, zxid, digest));
            }
            Seen::Applied { at, batch, txn, before, digest } => {
                ledger(|ledger| ledger.applied(machine, at, batch, txn, before, digest));
            }
            Seen::Bound { zxid, registry } => ledger(|ledger| ledger.bound(machine, zxid, registry)),
            Seen::Fenced { at, batch } => {
                note(&[12, machine.into(), at.index]);
                say(who, || {
                    format!("entry {} of term {} is fenced: {} on {}", at.index, at.term, batch.term, batch.prev)
                });
                met(Situation::Fenced);
            }
            Seen::Leads { term } => {
                note(&[13, machine.into(), term]);
                say(who, || format!("leads in term {term}"));
                ledger(|ledger| ledger.leads(machine, term, now_us()));
            }
            Seen::Follows => self.lost_leadership(machine),
            Seen::Proposed { entry, txns, registry } => {
                for txn in txns {
                    say(&who, || format!("proposes {}", Shown(txn)));
                }
                ledger(|ledger| ledger.judged(txns, registry));
                self.in_flight.borrow_mut().insert((machine, entry), InFlight::of(txns));
            }
            Seen::Resolved { entry, outcome } => {
                let InFlight { refusals, .. } =
                    self.in_flight.borrow_mut().remove(&(machine, entry)).unwrap_or_default();
                if !matches!(outcome, consensus::ProposalOutcome::Applied { accepted: true, .. }) {
                    note(&[14, machine.into(), entry]);
                    say(who, || format!("its entry {entry} has the outcome {outcome:?}"));
                    met(Situation::ChainReset);
                    if refusals > 0 {
                        met(Situation::RefusalAcrossLeaderChange);
                    }
                }
            }
            Seen::Checkpoint { zxid } => {
                say(who, || format!("has written a checkpoint of {zxid}"));
                met(Situation::Checkpoint);
            }
        }
    }
}

impl Hooks for MemberObserver {
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn dies(&self, sentence: &str) {
        machine::dies(sentence);
    }

    fn pace(&self) -> Pace {
        self.pace.get()
    }
}
