//! The events that the sequencer handles, and a request that waits for its turn.

use crate::consensus::{ProposalOutcome, Role};
use crate::model::{ConnectionId, Refusal};
use crate::pipeline::Submission;
use crate::replica::ensemble::follower_links::FollowerLinkId;
use crate::replica::ensemble::leader_link::Forwarding;
use crate::replica::ensemble::reconfig::ReconfigEnd;
use crate::replica::plugins::calls::NativeCall;

/// All that can happen to the sequencer.
pub(crate) enum Event {
    /// A client of this member, or the server itself, asks for a write.
    Submitted(Submission),
    /// A caller without a session asks, and waits for what a recipe returns.
    Called {
        submission: Submission,
        call: Box<NativeCall>,
    },
    /// A client of another member asks. That member passed the request on over the link.
    Forwarded {
        submission: Submission,
        link: FollowerLinkId,
    },
    /// Work for one request that was done off the sequencer's thread has ended, and the request may go on. A deployment
    /// has been checked, or a change of members or a transfer was refused, or the leadership has moved and the request
    /// must find the new leader.
    Prepared(QueuedRequest),
    /// A reconfig that this leader took up in `term` has ended.
    Reconfigured {
        request: QueuedRequest,
        term: u64,
        end: ReconfigEnd,
    },
    /// Consensus has an outcome for an entry.
    Resolved {
        entry: u64,
        outcome: ProposalOutcome,
        /// The entry has native calls, which the sequencer answers when it hears this.
        awaited: bool,
    },
    Role(Role),
    /// There is a link to the leader.
    LinkUp(Forwarding),
    /// The link of that number to the leader has ended.
    LinkEnded {
        number: u64,
    },
    /// Whether a quorum has acknowledged this leader lately. A new leadership assumes it until it hears otherwise.
    Lease {
        held: bool,
    },
    /// The sequencer shall end after the entries in flight are resolved, and at once if there is no quorum.
    Stop,
}

/// A request that waits for its turn.
pub(crate) struct QueuedRequest {
    pub(crate) submission: Submission,
    /// The link it came over, if another member passed it on.
    pub(crate) link: Option<FollowerLinkId>,
    /// What work off the sequencer's thread found out: None for a request that needed none. An error refuses the
    /// request in its turn.
    pub(crate) verdict: Option<Result<(), Refusal>>,
    /// The caller that waits for what a native call returns.
    pub(crate) call: Option<Box<NativeCall>>,
    /// This entry only stands for a transaction that is an early part of the next request in line (`Evaluation::Part`).
    /// Nobody gets an answer to it, and it is never evaluated itself. If its transaction has no effect, the next
    /// request starts again.
    pub(crate) is_part: bool,
}

impl QueuedRequest {
    pub(super) fn new(submission: Submission, link: Option<FollowerLinkId>) -> QueuedRequest {
        QueuedRequest { submission, link, verdict: None, call: None, is_part: false }
    }

    /// The connection that asks. None: the server itself asks.
    pub(in crate::replica) fn connection(&self) -> Option<ConnectionId> {
        self.submission.caller.as_ref().map(|caller| caller.connection)
    }
}
