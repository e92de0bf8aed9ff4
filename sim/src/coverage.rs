//! Counts the situations that a run meets. A simulation that never meets a situation proves nothing about it.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Situation {
    /// A chain of proposals broke: an entry was refused or fenced, or its outcome is unknown.
    ChainReset,
    /// A leader lost its leadership while log entries that it had proposed were unresolved.
    LeaderChangeWithWrites,
    /// A leader lost its leadership, or a chain broke, while an unresolved log entry held a refused request.
    RefusalAcrossLeaderChange,
    /// A leader lost its leadership while a lock passed to its next holder.
    LeaderChangeWithHandOver,
    /// A leader lost its leadership while a queue's item went to a worker or came back.
    LeaderChangeWithClaim,
    /// A leader lost its leadership while a client waited for a deployment or a rollback.
    LeaderChangeWithDeployment,
    /// A leader lost its leadership while a client waited for a change of the policy's roles, subjects or settings.
    LeaderChangeWithPolicyChange,
    /// A leader lost its leadership while a client waited for a trial to begin or to end.
    LeaderChangeWithTrial,
    /// A leader lost its leadership while a plugin was under quarantine.
    LeaderChangeWithQuarantine,
    /// A member took its state from a peer.
    CheckpointInstall,
    SessionMove,
    /// A process was stopped for longer than the shortest session timeout, which exceeds the election timeout.
    PauseBeyondTimeout,
    Expiry,
    WipedMember,
    MembershipChange,
    /// An entry was appended although an entry before it was refused. Its fence made it a no-op.
    Fenced,
    Checkpoint,
    LeaderChange,
    CleanEnd,
    PowerLoss,
    Partition,
    SlowDisk,
    /// The lease of a member was made unreliable. Only a leader has one.
    LeaseGap,
    ClockJump,
    /// The guard got new settings, was rolled back, or was deployed anew.
    Deployment,
    /// A recipe was deployed again over a mount in use.
    RecipeDeployment,
    LockHeld,
    Acknowledgement,
    GuardRefusal,
    /// A plugin failed in the call for a write.
    Fault,
    /// The weak guard, which fails at writes, came under quarantine.
    Quarantine,
    /// The frail policy, which fails at reads, came under quarantine.
    QuarantineByReads,
    /// A write was refused because the plugin that it needs was under quarantine.
    QuarantineRefusal,
    /// A quarantine was ended.
    Release,
    /// A version of the guard went on trial.
    Trial,
    /// The version on trial became the version in force.
    Promotion,
    /// The version on trial was dropped.
    Abort,
    /// The version on trial and the version in force judged a write differently.
    TrialJudges,
    /// The policy's roles, subjects or settings changed.
    PolicyChange,
    /// The policy refused a write.
    WriteForbidden,
    /// The policy refused a read.
    ReadForbidden,
    /// A read was answered with `OperationTimeout`, since the policy's roles, subjects or settings were changing.
    ReadUndecided,
    /// A watch fired, and the policy withheld its event from the client.
    EventWithheld,
}

impl Situation {
    /// Situations that at least 5 of 100 seeds must meet, with their names in the table of a campaign.
    pub(crate) const DEMANDED: [(Situation, &'static str); 16] = [
        (Situation::ChainReset, "chain reset"),
        (Situation::Fenced, "entry behind a refused one"),
        (Situation::LeaderChangeWithWrites, "leader change with writes in flight"),
        (Situation::RefusalAcrossLeaderChange, "refusal across a leader change"),
        (Situation::LeaderChangeWithHandOver, "leader change with a hand-over"),
        (Situation::LeaderChangeWithClaim, "leader change with a claim"),
        (Situation::LeaderChangeWithDeployment, "leader change with a deployment"),
        (Situation::LeaderChangeWithTrial, "leader change with a trial"),
        (Situation::LeaderChangeWithPolicyChange, "leader change with a change of policy"),
        (Situation::LeaderChangeWithQuarantine, "leader change with a quarantine"),
        (Situation::CheckpointInstall, "checkpoint install"),
        (Situation::SessionMove, "session move"),
        (Situation::PauseBeyondTimeout, "pause beyond a timeout"),
        (Situation::Expiry, "expiry"),
        (Situation::WipedMember, "wiped member"),
        (Situation::MembershipChange, "membership change"),
    ];
}

thread_local! {
    static COUNTS: RefCell<BTreeMap<Situation, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts one occurrence of `what`.
pub(crate) fn met(what: Situation) {
    add(what, 1);
}

pub(crate) fn add(what: Situation, count: u64) {
    if count > 0 {
        COUNTS.with_borrow_mut(|counts| *counts.entry(what).or_insert(0) += count);
    }
}

pub(crate) fn counts() -> BTreeMap<Situation, u64> {
    COUNTS.with_borrow(|counts| counts.clone())
}
