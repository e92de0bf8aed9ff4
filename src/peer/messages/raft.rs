//! What Raft says from member to member, on the streams `Appends`, `Votes` and `Checkpoint`.
//!
//! Types of our own: openraft's may change from one release to the next. They are versioned by `Hello::protocol`;
//! variants and fields are only ever added at the end. What consensus makes of them is `consensus::convert`, and a
//! message that no member would send is refused there.

use crate::model::txn::Batch;
use crate::storage::LogPosition;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub term: u64,
    pub voted_for: u64,
    /// A quorum gave it: whom it names leads.
    pub committed: bool,
}

/// Entries from the leader behind `prev`, or none: then it is a heartbeat, or tells of a commit. The one message on an
/// `Appends` stream from the dialer's side; each that wants it is answered by an `Appended`, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Append {
    pub vote: Vote,
    pub prev: Option<LogPosition>,
    pub commit: Option<LogPosition>,
    pub entries: Vec<Entry>,
    /// Only the word of a commit behind entries of the same stream can do without: whatever can be said to it is said to
    /// what comes next, and half of all messages between two members would be such answers.
    pub wants_answer: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: LogPosition,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    Blank,
    Batch(Batch),
    /// As it lies in the log.
    Membership(Bytes),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    /// Durable up to here, and the same as the leader's.
    Matching(Option<LogPosition>),
    /// There is another entry at this place, or none. The last answer of its stream.
    Conflict(LogPosition),
    /// Somebody else leads, or wants to. The last answer of its stream.
    HigherVote(Vote),
}

/// On a `Votes` stream: one at a time, each answered by the variant of `Answer` with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    Heartbeat(Append),
    Vote(Candidacy),
    PreVote(Candidacy),
    HandOver(HandOver),
    /// What this member has voted and how far its log goes.
    VoteAndLog,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Heartbeat(Appended),
    Vote(VoteAndLog, Granted),
    PreVote(VoteAndLog, Granted),
    /// None: the leadership is asked for.
    HandOver(Option<String>),
    VoteAndLog(VoteAndLog),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    pub vote: Vote,
    pub last: Option<LogPosition>,
    /// The leader asked for it, or is known to be gone: its lease does not count.
    pub hand_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteAndLog {
    pub vote: Vote,
    pub last: Option<LogPosition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Granted {
    No,
    Yes,
}

/// `to` shall lead, since the leader of `from` goes or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    pub from: Vote,
    pub to: u64,
    /// What it must have in its log.
    pub last: Option<LogPosition>,
}

/// The dialer's first message on a `Checkpoint` stream. From then on one side gives and the other takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferRequest {
    /// The leader of `vote` gives the member it dials a checkpoint to go on from.
    Send { vote: Vote, description: Vec<u8> },
    /// The dialer has lost its state and takes whatever checkpoint there is.
    Fetch,
}

/// From the taker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromReceiver {
    /// Go on behind this key, after so many records; none of it is there yet otherwise.
    GoOn { after: Option<Vec<u8>>, records: u64 },
    /// So many records are written down.
    Written { records: u64 },
    /// All of it is there and being made the state: still at it.
    Busy,
    /// It is the state now, unless `vote` is another than the giver's: then it is not wanted any more.
    Done { vote: Vote },
    /// A full sentence.
    Failed(String),
}

/// From the giver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSender {
    /// The first answer to `TransferRequest::Fetch`: what there is (`storage::records::encode`), or nothing.
    Description(Option<Vec<u8>>),
    /// Records in key order, each once over all pieces. The last piece may be empty.
    Piece { records: Vec<(Bytes, Bytes)>, last: bool },
}
