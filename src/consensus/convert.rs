//! Messages between members, to and from openraft's types.
//!
//! Incoming messages are checked for everything that openraft relies on and would panic over. Bytes from another member
//! may be those of a damaged or foreign program.

use super::types::{self, LogId, TypeConfig, log_id, position};
use crate::peer::messages::raft::{
    Answer, Append, Appended, Candidacy, Entry, Granted, HandOver, Payload, Vote, VoteAndLog,
};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use std::io;

pub(crate) fn vote(vote: &types::Vote) -> Vote {
    Vote { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn to_vote(vote: &Vote) -> types::Vote {
    types::Vote {
        leader_id: openraft::impls::leader_id_std::LeaderId { term: vote.term, voted_for: vote.voted_for },
        committed: vote.committed,
    }
}

fn positions(id: &Option<LogId>) -> Option<crate::storage::LogPosition> {
    id.as_ref().map(position)
}

/// The error for a message that no member would send. `what` says why.
pub(crate) fn invalid_message(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message of a peer makes no sense: {what}"))
}

pub(crate) fn append(request: AppendEntriesRequest<TypeConfig>, wants_answer: bool) -> Append {
    let entry = |entry: types::Entry| Entry {
        at: position(&entry.log_id),
        payload: match entry.payload {
            types::Payload::Blank => Payload::Blank,
            types::Payload::Normal(batch) => Payload::Batch(batch),
            types::Payload::Membership(membership) => {
                let mut bytes = Vec::new();
                types::encode_membership(&membership, &mut bytes);
                Payload::Membership(bytes.into())
            }
        },
    };
    Append {
        vote: vote(&request.vote),
        prev: positions(&request.prev_log_id),
        commit: positions(&request.leader_commit),
        entries: request.entries.into_iter().map(entry).collect(),
        wants_answer,
    }
}

pub(crate) fn to_append(append: Append) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    if !append.vote.committed {
        return Err(invalid_message("entries from a member that does not lead"));
    }
    let mut before = append.prev;
    let mut entries = Vec::with_capacity(append.entries.len());
    for entry in append.entries {
        let follows = match before {
            None => entry.at.index == 0,
            Some(before) => before.index.checked_add(1) == Some(entry.at.index) && entry.at.term >= before.term,
        };
        if !follows || entry.at.term > append.vote.term {
            return Err(invalid_message(&format!("entry {} does not follow what is before it", entry.at)));
        }
        before = Some(entry.at);
        let payload = match entry.payload {
            Payload::Blank => types::Payload::Blank,
            Payload::Batch(batch) => types::Payload::Normal(batch),
            Payload::Membership(bytes) => {
                let membership = types::decode_membership(&bytes).map_err(|error| invalid_message(&error))?;
                types::Payload::Membership(membership)
            }
        };
        entries.push(types::Entry { log_id: log_id(entry.at), payload });
    }
    if append.commit.max(before).is_some_and(|at| at.term > append.vote.term) {
        return Err(invalid_message("it names entries of a later term than its own"));
    }
    Ok(AppendEntriesRequest {
        vote: to_vote(&append.vote),
        prev_log_id: append.prev.map(log_id),
        leader_commit: append.commit.map(log_id),
        entries,
    })
}

pub(crate) fn appended(result: StreamAppendResult<TypeConfig>) -> Appended {
    match result {
        Ok(matching) => Appended::Matching(positions(&matching)),
        Err(StreamAppendError::Conflict(at)) => Appended::Conflict(position(&at)),
        Err(StreamAppendError::HigherVote(higher)) => Appended::HigherVote(vote(&higher)),
    }
}

pub(crate) fn to_appended(appended: Appended) -> StreamAppendResult<TypeConfig> {
    match appended {
        Appended::Matching(at) => Ok(at.map(log_id)),
        Appended::Conflict(at) => Err(StreamAppendError::Conflict(log_id(at))),
        Appended::HigherVote(higher) => Err(StreamAppendError::HigherVote(to_vote(&higher))),
    }
}

pub(crate) fn candidacy(request: &VoteRequest<TypeConfig>) -> Candidacy {
    Candidacy {
        vote: vote(&request.vote),
        last: positions(&request.last_log_id),
        hand_over: request.leadership_transfer,
    }
}

pub(crate) fn to_candidacy(candidacy: &Candidacy) -> io::Result<VoteRequest<TypeConfig>> {
    if candidacy.vote.committed || candidacy.last.is_some_and(|last| last.term > candidacy.vote.term) {
        return Err(invalid_message("a candidacy with a vote that is committed, or with entries of a later term"));
    }
    Ok(VoteRequest {
        vote: to_vote(&candidacy.vote),
        last_log_id: candidacy.last.map(log_id),
        leadership_transfer: candidacy.hand_over,
    })
}

pub(crate) fn voted(response: &VoteResponse<TypeConfig>) -> (VoteAndLog, Granted) {
    let standing = VoteAndLog { vote: vote(&response.vote), last: positions(&response.last_log_id) };
    (standing, if response.vote_granted { Granted::Yes } else { Granted::No })
}

pub(crate) fn to_voted(standing: &VoteAndLog, granted: Granted) -> VoteResponse<TypeConfig> {
    VoteResponse {
        vote: to_vote(&standing.vote),
        vote_granted: granted == Granted::Yes,
        last_log_id: standing.last.map(log_id),
    }
}

pub(crate) fn hand_over(request: &TransferLeaderRequest<TypeConfig>) -> HandOver {
    HandOver { from: vote(request.from_leader()), to: *request.to_node_id(), last: request.last_log_id().map(position) }
}

pub(crate) fn to_hand_over(hand_over: &HandOver) -> TransferLeaderRequest<TypeConfig> {
    TransferLeaderRequest::new(to_vote(&hand_over.from), hand_over.to, hand_over.last.map(log_id))
}

/// The error for an answer to another question than was asked.
pub(crate) fn unexpected_answer(answer: &Answer) -> io::Error {
    invalid_message(&format!("the answer does not fit what was asked: {answer:?}"))
}
