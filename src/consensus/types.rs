//! The types openraft carries for us, and their translation: openraft's own encodings may change between its releases, so
//! what goes to the disk is spelled out here.

use crate::pipeline::txn::Batch;
use crate::storage::wal::LogPosition;
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{EmptyNode, Membership, OptionalSend};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The choice of types. (openraft's macro for it cannot name a responder of one's own.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Batch;
    type R = Applied;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Batch, u64, EmptyNode>;
    type Entry = openraft::Entry<CommittedLeaderId<u64>, Self::Payload>;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::EntryPayload<Batch, u64, EmptyNode>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;

/// The state machine's word on one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub accepted: bool,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} behind {} in term {}", self.txns.len(), self.prev, self.term)
    }
}

/// Calls back once with the answer to a write; with None if openraft drops it unanswered, as it does when it is shut down.
pub struct Answer<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Answer<T> {
    pub fn new(done: impl FnOnce(Option<T>) + Send + 'static) -> Answer<T> {
        Answer(Some(Box::new(done)))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Answer<T> {
    fn on_complete(mut self, result: T) {
        if let Some(done) = self.0.take() {
            done(Some(result));
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(None);
        }
    }
}

pub fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.committed_leader_id().term, index: id.index }
}

pub fn log_id(at: LogPosition) -> LogId {
    LogId::new(CommittedLeaderId::new(at.term), at.index)
}

/// A membership as it lies in the log and beside the state: postcard of this, behind a format byte.
#[derive(Serialize, Deserialize)]
struct Members {
    /// One set of voters, or two while it changes.
    voters: Vec<BTreeSet<u64>>,
    /// Voters and learners.
    members: BTreeSet<u64>,
}

/// The membership with the position of its entry, as the state machine keeps it.
#[derive(Serialize, Deserialize)]
struct StoredMembers {
    at: Option<LogPosition>,
    members: Members,
}

const MEMBERS_FORMAT: u8 = 1;

fn members(membership: &Membership<u64, EmptyNode>) -> Members {
    Members { voters: membership.get_joint_config().clone(), members: membership.nodes().map(|(id, _)| *id).collect() }
}

fn membership(members: Members) -> Membership<u64, EmptyNode> {
    Membership::new_with_defaults(members.voters, members.members)
}

fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.push(MEMBERS_FORMAT);
    put_postcard(value, out);
}

/// Writing into memory cannot fail, and none of our types has a sequence of unknown length, postcard's other error.
pub fn put_postcard<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    postcard::to_io(value, out).expect("these types always encode");
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&MEMBERS_FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| format!("membership: {error}")),
        _ => Err("membership: of a format that this release does not know".to_owned()),
    }
}

pub fn encode_membership(value: &Membership<u64, EmptyNode>, out: &mut Vec<u8>) {
    put(&members(value), out);
}

pub fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, EmptyNode>, String> {
    take(bytes).map(membership)
}

pub fn encode_stored(value: &StoredMembership) -> Vec<u8> {
    let mut out = Vec::new();
    put(&StoredMembers { at: value.log_id().as_ref().map(position), members: members(value.membership()) }, &mut out);
    out
}

pub fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, String> {
    let stored: StoredMembers = take(bytes)?;
    Ok(StoredMembership::new(stored.at.map(log_id), membership(stored.members)))
}
