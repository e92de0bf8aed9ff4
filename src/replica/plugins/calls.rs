//! Native calls of recipes (`on-call`), as the HTTP interface and the command line make them.
//!
//! A native call is a transaction without a session. Only the leader answers it, because what the recipe returns is not
//! replicated. The caller gets the answer once the transaction is applied.

use crate::admin::http::CallError;
use crate::limits;
use crate::model::{ErrorCode, Identity, Refusal, SessionId};
use crate::pipeline::{Ask, Caller, Submission};
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::event::Event;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A call on its way through the sequencer. If it is dropped, the caller gets `CallError::Unknown`.
pub(crate) struct NativeCall {
    answer: oneshot::Sender<Result<Bytes, CallError>>,
    /// What the recipe returned, or why the call was refused. The caller gets it if the transaction is applied.
    ///
    /// Invariant: Some once a transaction was made of the call.
    pub(in crate::replica) outcome: Option<Result<Bytes, Refusal>>,
}

impl NativeCall {
    /// The transaction of the call is applied.
    pub(in crate::replica) fn applied(self) {
        let outcome = self.outcome.expect("a transaction that was made of a call has an outcome");
        // An error means that the caller waits no more.
        let _ = self.answer.send(outcome.map_err(CallError::Refused));
    }

    /// The call was not evaluated, and will not be.
    pub(in crate::replica) fn not_leading(self, leader: Option<u64>) {
        let _ = self.answer.send(Err(CallError::NotLeading { leader }));
    }
}

/// Calls a recipe. `identities`: what the caller has proven, for policies and the recipe.
pub(in crate::replica) async fn call_recipe(
    order: &WriteOrder,
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
    submit(order, ask, identities, from).await
}

/// Submits a request in the name of a caller without a session, and waits until it is applied.
pub(super) async fn submit(
    order: &WriteOrder,
    ask: Ask,
    identities: Arc<[Identity]>,
    from: SocketAddr,
) -> Result<Bytes, CallError> {
    let caller = Caller {
        session: SessionId::NONE,
        connection: order.connections.new_connection_id(),
        identities,
        address: from.ip(),
        port: from.port(),
        local: true,
    };
    let (answer, answered) = oneshot::channel();
    let call = Box::new(NativeCall { answer, outcome: None });
    order.inbox.put(Event::Called { submission: Submission { caller: Some(caller), xid: 0, ask }, call });
    answered.await.unwrap_or(Err(CallError::Unknown))
}
