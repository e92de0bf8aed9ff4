//! What a run has met: a simulation that never gets into a situation proves nothing about it.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Met {
    /// A chain broke: an entry was refused, fenced, or has an unknown outcome.
    ChainReset,
    LeaderChangeWithWrites,
    /// A leader lost its place, or an entry its chain, with a refusal in it that was not answered.
    RefusalAcrossLeaderChange,
    /// A leader lost its place while a lock went from hand to hand.
    LeaderChangeWithHandOver,
    /// A leader lost its place while an item went to a worker, or came back.
    LeaderChangeWithClaim,
    /// A leader lost its place while somebody waited for a deployment, or a rollback.
    LeaderChangeWithDeployment,
    /// A leader lost its place while somebody waited for a change of the policy's facts, or settings.
    LeaderChangeWithPolicyChange,
    /// A leader lost its place while somebody waited for a trial to begin, or to end.
    LeaderChangeWithTrial,
    /// A leader lost its place while a plugin was under quarantine.
    LeaderChangeWithQuarantine,
    CheckpointInstall,
    SessionMove,
    /// A process stood still for longer than a session's timeout or an election's.
    PauseBeyondTimeout,
    Expiry,
    WipedMember,
    MembershipChange,
    /// An entry that was taken although one before it was refused: its fence made it a no-op.
    Fenced,
    Checkpoint,
    LeaderChange,
    CleanEnd,
    PowerLoss,
    Partition,
    SlowDisk,
    /// The lease of a member came and went, had it one.
    LeaseGap,
    ClockJump,
    /// The guard's settings came into force, or former ones again, or it was deployed anew.
    Deployment,
    /// A recipe was deployed anew over a mount in use.
    RecipeDeployment,
    LockHeld,
    Acknowledgement,
    GuardRefusal,
    /// A plugin failed in the call for a write, came under quarantine, refused a write by it, and was called again.
    Fault,
    Quarantine,
    /// One came under it that only reads had been asked about.
    QuarantineByReads,
    QuarantineRefusal,
    Release,
    /// A version of the guard went on trial, became the one in force, or was dropped.
    Trial,
    Promotion,
    Abort,
    /// The one on trial refused, or let pass, what the one in force would not have.
    TrialJudges,
    /// The policy's facts, or settings, changed.
    PolicyChange,
    /// It refused a write, or a read.
    WriteForbidden,
    ReadForbidden,
    /// A read was to be asked again, since what decides it was just changing.
    ReadUndecided,
    /// A watch fired, and the policy withheld what there was to tell.
    EventWithheld,
}

impl Met {
    /// Those that no more than nineteen of twenty seeds may do without, with their names in tables.
    pub const DEMANDED: [(Met, &'static str); 16] = [
        (Met::ChainReset, "chain reset"),
        (Met::Fenced, "entry behind a refused one"),
        (Met::LeaderChangeWithWrites, "leader change with writes in flight"),
        (Met::RefusalAcrossLeaderChange, "refusal across a leader change"),
        (Met::LeaderChangeWithHandOver, "leader change with a hand-over"),
        (Met::LeaderChangeWithClaim, "leader change with a claim"),
        (Met::LeaderChangeWithDeployment, "leader change with a deployment"),
        (Met::LeaderChangeWithTrial, "leader change with a trial"),
        (Met::LeaderChangeWithPolicyChange, "leader change with a change of policy"),
        (Met::LeaderChangeWithQuarantine, "leader change with a quarantine"),
        (Met::CheckpointInstall, "checkpoint install"),
        (Met::SessionMove, "session move"),
        (Met::PauseBeyondTimeout, "pause beyond a timeout"),
        (Met::Expiry, "expiry"),
        (Met::WipedMember, "wiped member"),
        (Met::MembershipChange, "membership change"),
    ];
}

thread_local! {
    static COUNTS: RefCell<BTreeMap<Met, u64>> = const { RefCell::new(BTreeMap::new()) };
}

pub fn met(what: Met) {
    add(what, 1);
}

pub fn add(what: Met, count: u64) {
    if count > 0 {
        COUNTS.with_borrow_mut(|counts| *counts.entry(what).or_insert(0) += count);
    }
}

pub fn counts() -> BTreeMap<Met, u64> {
    COUNTS.with_borrow(|counts| counts.clone())
}
