//! What goes over a `Requests` connection: writes on their way to the leader, and what a member must hear of it to serve.
//!
//! One connection a leadership: it begins with `Begin`, and ends with the leadership at the latest. Answers to writes do
//! not come this way: each member answers its own clients when it applies their transactions.

use crate::model::{ConnectionId, SessionId};
use crate::pipeline::{Blame, Submission};
use serde::{Deserialize, Serialize};

/// From the member that dialed.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToLeader {
    /// The first message: I take you for the leader.
    Begin,
    /// A client's write, behind all that was submitted before.
    Submit(Submission),
    /// What must I have applied to have seen everything acknowledged before now?
    ReadIndex { id: u64 },
    /// Sessions heard since the last report. `number`: of the last message of a report; it is to be answered.
    Heard { number: Option<u64>, sessions: Vec<SessionId> },
    /// The answer to `HoldBack`: all that was submitted is applied here, and nothing more will be.
    HeldBack,
    /// Something is to be said against a plugin.
    Blame(Blame),
    /// The answer to `Compile`; an error is a sentence.
    Compiled { id: u64, result: Result<(), String> },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromLeader {
    /// The answer to `Begin`: I lead in this term and take requests.
    Begun {
        term: u64,
    },
    /// Nothing more of that connection can be served: its session has moved, or a write has an unknown outcome.
    Close(ConnectionId),
    ReadIndexAt {
        id: u64,
        index: u64,
    },
    /// The answer to a report, from a leader that a quorum has acknowledged of late.
    HeardBy {
        number: u64,
    },
    /// The other answer to `Begin`, and the last message.
    NotLeading,
    /// I am about to hand over: submit nothing more, so that nothing is under way then.
    HoldBack,
    /// Make machine code of the component that this manifest (JSON) names; its pieces are in the tree.
    Compile {
        id: u64,
        manifest: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;
    use crate::pipeline::{Ask, Caller};
    use crate::wire::request::{Create, CreateForm, Operation, Request, op};
    use bytes::Bytes;

    #[test]
    fn a_write_arrives_as_it_was_sent() {
        let create = Request::Create(Create {
            form: CreateForm::Create2,
            path: Some("/a".into()),
            data: Some(Bytes::from_static(b"x")),
            acl: Some(crate::model::acl::open_unsafe().to_vec()),
            flags: 1,
            ttl_ms: 0,
        });
        let caller = Caller {
            session: SessionId(0x100_0000),
            connection: ConnectionId { member: 2, run: 7, number: 9 },
            identities: vec![Identity::new("ip", "::1")].into(),
            address: "::1".parse().unwrap(),
            port: 4000,
            local: false,
        };
        let ask = Ask::Request(Request::Multi(vec![Operation { op: op::CREATE2, request: create }]));
        let sent = ToLeader::Submit(Submission { caller: Some(caller), xid: -7, ask });
        let bytes = postcard::to_stdvec(&sent).unwrap();
        let arrived: ToLeader = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{sent:?}"));
    }
}
