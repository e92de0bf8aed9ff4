//! The messages of a `Requests` connection: writes on their way to the leader, and what a member must hear from the
//! leader to serve clients.
//!
//! There is one connection for each leadership. It begins with `Begin` and ends with the leadership at the latest.
//! Answers to writes do not come this way: each member answers its own clients when it applies their transactions.

use crate::model::{ConnectionId, SessionId};
use crate::pipeline::{Blame, Submission};
use serde::{Deserialize, Serialize};

/// From the member that dialed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLeader {
    /// The first message: the dialer takes the other member for the leader.
    Begin,
    /// A client's write, behind everything that was submitted before.
    Submit(Submission),
    /// Asks what the dialer must have applied to see everything that was acknowledged before.
    ReadIndex { id: u64 },
    /// The sessions that were heard since the last report. `number`: set on the last message of a report, which is to
    /// be answered.
    Heard { number: Option<u64>, sessions: Vec<SessionId> },
    /// The answer to `HoldBack`: everything submitted is applied here, and nothing more will be submitted.
    HeldBack,
    /// A complaint about a plugin.
    Blame(Blame),
    /// The answer to `Compile`. An error is a sentence.
    Compiled { id: u64, result: Result<(), String> },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromLeader {
    /// The answer to `Begin`: the member leads in this term and takes requests.
    Begun {
        term: u64,
    },
    /// Nothing more of that client connection can be served: its session has moved, or a write has an unknown outcome.
    Close(ConnectionId),
    ReadIndexAt {
        id: u64,
        index: u64,
    },
    /// The answer to a report. It shows that a quorum has recently acknowledged the leader.
    HeardBy {
        number: u64,
    },
    /// The other answer to `Begin`: the member does not lead. The last message.
    NotLeading,
    /// The leader is about to hand over. Submit nothing more, so that nothing is in flight then.
    HoldBack,
    /// Compile the component that this manifest (JSON) names. Its pieces are in the tree.
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
