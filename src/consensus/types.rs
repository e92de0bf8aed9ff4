//! The types that openraft carries, and their encodings on disk. They are written out here, because openraft's own
//! encodings may change between its releases.

use super::runtime::Runtime;
use crate::model::ensemble::{Member, Server};
use crate::model::txn::Batch;
use crate::storage::wal::{self, LogPosition};
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{Membership, OptionalSend};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The choice of types. openraft's macro for this cannot name a responder type of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Batch;
    type R = ApplyResult;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Batch, u64, Member>;
    type Entry = openraft::Entry<CommittedLeaderId<u64>, Self::Payload>;
    type Responder<T>
        = WriteResponder<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type AsyncRuntime = Runtime;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Payload = openraft::EntryPayload<Batch, u64, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;

/// Whether the state machine accepted one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApplyResult {
    pub(crate) accepted: bool,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} behind {} in term {}", self.txns.len(), self.prev, self.term)
    }
}

/// Calls back once with the answer to a write. Calls back with None if openraft drops the write unanswered, as it does
/// when it shuts down.
pub(crate) struct WriteResponder<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> WriteResponder<T> {
    pub(crate) fn new(done: impl FnOnce(Option<T>) + Send + 'static) -> WriteResponder<T> {
        WriteResponder(Some(Box::new(done)))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for WriteResponder<T> {
    fn on_complete(mut self, result: T) {
        if let Some(done) = self.0.take() {
            done(Some(result));
        }
    }
}

impl<T> Drop for WriteResponder<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(None);
        }
    }
}

pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.committed_leader_id().term, index: id.index }
}

pub(crate) fn vote_of(vote: wal::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, voted_for: vote.voted_for }, committed: vote.committed }
}

pub(crate) fn to_vote(vote: &Vote) -> wal::Vote {
    wal::Vote { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn log_id(at: LogPosition) -> LogId {
    LogId::new(CommittedLeaderId::new(at.term), at.index)
}

/// A membership as it lies in the log and beside the state: a format byte, then the postcard encoding of this type.
#[derive(Serialize, Deserialize)]
struct Members {
    /// One set of voters. Two sets during a change.
    voters: Vec<BTreeSet<u64>>,
    /// Voters and learners.
    members: BTreeMap<u64, Member>,
}

/// A membership and the position of its entry, as the state machine keeps it.
#[derive(Serialize, Deserialize)]
struct StoredMembers {
    at: Option<LogPosition>,
    members: Members,
}

/// Format 1 has no addresses and no incarnations. Servers wrote it when every ensemble had one member.
const FORMAT_1: u8 = 1;
const FORMAT: u8 = 2;

#[derive(Deserialize)]
struct Members1 {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeSet<u64>,
}

#[derive(Deserialize)]
struct StoredMembers1 {
    at: Option<LogPosition>,
    members: Members1,
}

impl From<Members1> for Members {
    fn from(old: Members1) -> Members {
        // A server that wrote format 1 was the only member, so nobody needed its address. The first change of the
        // membership fills in address and incarnation.
        let member = |id: u64| Member {
            server: Server { id: u32::try_from(id).unwrap_or_default(), ..Server::default() },
            ..Member::default()
        };
        Members { voters: old.voters, members: old.members.into_iter().map(|id| (id, member(id))).collect() }
    }
}

impl From<StoredMembers1> for StoredMembers {
    fn from(old: StoredMembers1) -> StoredMembers {
        StoredMembers { at: old.at, members: old.members.into() }
    }
}

fn members(membership: &Membership<u64, Member>) -> Members {
    Members {
        voters: membership.get_joint_config().clone(),
        members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
    }
}

fn membership(members: Members) -> Result<Membership<u64, Member>, String> {
    Membership::new(members.voters, members.members).map_err(|error| format!("membership: {error}"))
}

/// A membership of one voter and nobody else.
pub(crate) fn alone(id: u64, member: Member) -> Result<Membership<u64, Member>, String> {
    membership(Members { voters: vec![BTreeSet::from([id])], members: BTreeMap::from([(id, member)]) })
}

fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_postcard(value, out);
}

/// Writing into memory cannot fail. postcard's other error is a sequence of unknown length, which none of these types
/// has.
pub(crate) fn put_postcard<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    postcard::to_io(value, out).expect("these types always encode");
}

fn take<Old: DeserializeOwned, T: DeserializeOwned + From<Old>>(bytes: &[u8]) -> Result<T, String> {
    let decoded = match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest),
        Some((&FORMAT_1, rest)) => postcard::from_bytes::<Old>(rest).map(T::from),
        _ => return Err("membership: of a format that this release does not know".to_owned()),
    };
    decoded.map_err(|error| format!("membership: {error}"))
}

pub(crate) fn encode_membership(value: &Membership<u64, Member>, out: &mut Vec<u8>) {
    put(&members(value), out);
}

/// The membership of a log entry. It has a voter: without voters, every set of members would be a majority.
pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, Member>, String> {
    let decoded = membership(take::<Members1, Members>(bytes)?)?;
    if decoded.voter_ids().next().is_none() { Err(NO_VOTERS.to_owned()) } else { Ok(decoded) }
}

const NO_VOTERS: &str = "a membership without voters";

pub(crate) fn encode_stored(value: &StoredMembership) -> Vec<u8> {
    let mut out = Vec::new();
    put(&StoredMembers { at: value.log_id().as_ref().map(position), members: members(value.membership()) }, &mut out);
    out
}

/// The membership beside a state. If it comes from a log entry, it has a voter.
pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, String> {
    let stored = take::<StoredMembers1, StoredMembers>(bytes)?;
    let decoded = membership(stored.members)?;
    if stored.at.is_some() && decoded.voter_ids().next().is_none() {
        return Err(NO_VOTERS.to_owned());
    }
    Ok(StoredMembership::new(stored.at.map(log_id), decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that release 0.1.0 wrote for member 77 alone, at log position 0.0.
    const STORED_1: [u8; 9] = [1, 1, 0, 0, 1, 1, 77, 1, 77];
    const MEMBERSHIP_1: [u8; 6] = [1, 1, 1, 77, 1, 77];

    #[test]
    fn the_first_format_stays_readable() {
        let stored = decode_stored(&STORED_1).unwrap();
        assert_eq!(stored.log_id().as_ref().map(position), Some(LogPosition { term: 0, index: 0 }));
        assert_eq!(stored.membership(), &decode_membership(&MEMBERSHIP_1).unwrap());
        assert_eq!(stored.voter_ids().collect::<Vec<u64>>(), [77]);
        assert_eq!(stored.get_node(&77).map(|member| member.server.id), Some(77));
    }

    #[test]
    fn a_membership_survives_the_round_trip_with_its_addresses() {
        let member = |id: u32| Member {
            server: Server::parse(id, &format!("host-{id}:2888:3888:observer;2181")).unwrap(),
            incarnation: [id as u8; 16],
        };
        let voters = vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])];
        let nodes: BTreeMap<u64, Member> = (1..=4).map(|id| (u64::from(id), member(id))).collect();
        let membership = Membership::new(voters, nodes).unwrap();
        let mut bytes = Vec::new();
        encode_membership(&membership, &mut bytes);
        assert_eq!(bytes[0], FORMAT);
        assert_eq!(decode_membership(&bytes).unwrap(), membership);
        let stored = StoredMembership::new(Some(log_id(LogPosition { term: 3, index: 9 })), membership);
        assert_eq!(decode_stored(&encode_stored(&stored)).unwrap(), stored);
        for length in 0..bytes.len() {
            assert!(decode_membership(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(decode_membership(&[3, 0, 0]).is_err());
        // No voters, no members; and beside a state, at log position 0.0 or at none.
        assert_eq!(decode_membership(&[FORMAT, 0, 0]), Err(NO_VOTERS.to_owned()));
        assert_eq!(decode_stored(&[FORMAT, 1, 0, 0, 0, 0]), Err(NO_VOTERS.to_owned()));
        assert_eq!(decode_stored(&[FORMAT, 0, 0, 0]), Ok(StoredMembership::default()));
    }
}
