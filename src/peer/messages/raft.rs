//! Raft's messages from member to member, on the streams `Appends`, `Votes` and `Checkpoint`.
//!
//! These types are our own, because openraft's types may change from one release to the next. `Hello::protocol` is
//! their version; variants and fields are only ever added at the end. `consensus::convert` turns them into openraft's
//! types, and refuses a message that no member would send.

use crate::model::txn::Batch;
use crate::storage::LogPosition;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) voted_for: u64,
    /// A quorum gave this vote, so `voted_for` leads.
    pub(crate) committed: bool,
}

/// Log entries from the leader, behind entry `prev`. Without entries it is a heartbeat, or reports a commit. The only
/// message of the dialer on an `Appends` stream. Each that wants an answer gets a `FromFollower::Appended`, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) vote: Vote,
    pub(crate) prev: Option<LogPosition>,
    pub(crate) commit: Option<LogPosition>,
    pub(crate) entries: Vec<Entry>,
    /// False only for the report of a commit behind entries of the same stream. Anything that could be answered to it
    /// is answered to the next message. Otherwise half of all messages between two members would be such answers.
    pub(crate) wants_answer: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub at: LogPosition,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Payload {
    Blank,
    Batch(Batch),
    /// The membership as it lies in the log.
    Membership(Bytes),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Appended {
    /// The log is durable up to here, and is the same as the leader's.
    Matching(Option<LogPosition>),
    /// At this place the log has another entry, or none. The last answer of its stream.
    Conflict(LogPosition),
    /// Another member leads, or stands for election. The last answer of its stream.
    HigherVote(Vote),
}

/// The acceptor's messages on an `Appends` stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromFollower {
    /// A further `PEER_PART_BYTES` of a large `Append` have arrived. The leader then goes on waiting: on a slow path
    /// one log entry can take longer than an answer may.
    Arriving,
    Appended(Appended),
}

/// Calls on a `Votes` stream: one at a time. The variant of `Answer` with the same name answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Call {
    Heartbeat(Append),
    Vote(Candidacy),
    PreVote(Candidacy),
    HandOver(HandOver),
    /// Asks for the member's vote and how far its log goes.
    VoteAndLog,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Heartbeat(Appended),
    Vote(VoteAndLog, Granted),
    PreVote(VoteAndLog, Granted),
    /// None: the member stands for election. Some: why it does not.
    HandOver(Option<String>),
    VoteAndLog(VoteAndLog),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Candidacy {
    pub(crate) vote: Vote,
    pub(crate) last: Option<LogPosition>,
    /// The leader asked for it, or is known to be gone. So the leader's lease does not count.
    pub(crate) hand_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteAndLog {
    pub(crate) vote: Vote,
    pub(crate) last: Option<LogPosition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Granted {
    No,
    Yes,
}

/// Asks `to` to lead, because the leader of `from` goes or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandOver {
    pub(crate) from: Vote,
    pub(crate) to: u64,
    /// The entry that `to` must have in its log.
    pub(crate) last: Option<LogPosition>,
}

/// The dialer's first message on a `Checkpoint` stream. From then on one side sends a checkpoint and the other receives
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferRequest {
    /// The leader of `vote` sends a checkpoint to the member that it dials.
    Send { vote: Vote, description: Vec<u8> },
    /// The dialer has lost its state and asks for the checkpoint that the other member has.
    Fetch,
}

/// From the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromReceiver {
    /// Go on behind this key; the receiver has this many records. None and 0: begin.
    GoOn { after: Option<Vec<u8>>, records: u64 },
    /// This many records are written.
    Written { records: u64 },
    /// All records are there, and the receiver makes them its state. It is still at work.
    Busy,
    /// The checkpoint is the receiver's state now. If `vote` differs from the sender's, the checkpoint was not wanted
    /// any more.
    Done { vote: Vote },
    /// A full sentence.
    Failed(String),
}

/// From the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromSender {
    /// The first answer to `TransferRequest::Fetch`: the description of the checkpoint (`storage::records::encode`), or
    /// None if there is none.
    Description(Option<Vec<u8>>),
    /// Records in key order. Each record comes once over all pieces. The last piece may be empty.
    Piece { records: Vec<(Bytes, Bytes)>, last: bool },
}
