//! Native calls of recipes (`on-call`), as the HTTP interface and the command line make them.
//!
//! A call is a transaction of the leader's, without a session. Only the leader answers it: what the recipe returns is not
//! replicated. The caller hears of it once it is applied.

use crate::admin::http::CallError;
use crate::consensus::Role;
use crate::limits;
use crate::model::{ErrorCode, Identity, Refusal, SessionId};
use crate::pipeline::{Ask, Caller, Submission};
use crate::replica::Replica;
use crate::replica::ordering::sequencer::Event;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A call on its way through the sequencer. Whoever waits for it hears `CallError::Unknown` if it is dropped.
pub struct NativeCall {
    answer: oneshot::Sender<Result<Bytes, CallError>>,
    /// What it has come to, if its transaction is applied.
    pub outcome: Option<Result<Bytes, Refusal>>,
}

impl NativeCall {
    /// Its transaction is applied.
    pub fn applied(self) {
        if let Some(outcome) = self.outcome {
            // Who asked may have given up.
            let _ = self.answer.send(outcome.map_err(CallError::Refused));
        }
    }

    /// It has not been evaluated, and will not be.
    pub fn not_leading(self, leader: Option<u64>) {
        let _ = self.answer.send(Err(CallError::NotLeading { leader }));
    }
}

impl Replica {
    /// Calls the recipe; `identities`: what the caller has proven, for policies and the recipe.
    pub async fn call_recipe(
        &self,
        plugin: &str,
        method: &str,
        payload: Bytes,
        identities: Arc<[Identity]>,
        from: SocketAddr,
    ) -> Result<Bytes, CallError> {
        if payload.len() > limits::PLUGIN_CALL_BYTES_MAX {
            let text = format!("{plugin}: a payload of at most {} bytes", limits::PLUGIN_CALL_BYTES_MAX);
            return Err(CallError::Refused(Refusal::new(ErrorCode::BadArguments, text)));
        }
        let ask = Ask::Call { plugin: plugin.to_owned(), method: method.to_owned(), payload };
        self.submit_call(ask, identities, from).await
    }

    /// Asks in the name of somebody without a session, and waits until it is applied.
    pub(crate) async fn submit_call(
        &self,
        ask: Ask,
        identities: Arc<[Identity]>,
        from: SocketAddr,
    ) -> Result<Bytes, CallError> {
        let caller = Caller {
            session: SessionId::NONE,
            connection: self.connections.new_connection_id(),
            identities,
            address: from.ip(),
            port: from.port(),
            local: true,
        };
        let (answer, answered) = oneshot::channel();
        let call = Box::new(NativeCall { answer, outcome: None });
        self.inbox.put(Event::Called { submission: Submission { caller: Some(caller), xid: 0, ask }, call });
        answered.await.unwrap_or(Err(CallError::Unknown))
    }

    /// Who leads, if it is known and is another member.
    pub(crate) fn other_leader(&self) -> Option<u64> {
        match *self.consensus().role().borrow() {
            Role::Follower { leader } => leader,
            _ => None,
        }
    }
}
