//! The stages of a write on the leader, from a decoded request to a `Txn` (docs/ARCHITECTURE.md). Pure: time and random
//! numbers come in as arguments, plugins as a trait.
//!
//! Promises: a transaction whose outcome is `Done` will succeed on every replica. A refusal leaves nothing behind. The
//! errors and their order are ZooKeeper's (PrepRequestProcessor and FinalRequestProcessor of 3.9.5).
//!
//! | file | |
//! |---|---|
//! | `evaluate` | the `Evaluator`, the stages of a request, one file for each operation |
//! | `authorize` | ACLs |
//! | `view` | the applied tree with the outstanding changes laid over it: what a request is evaluated on |
//! | `overlay` | the outstanding changes: reserved, not yet applied |
//! | `reconcile` | the optimistic transaction of a controller |
//! | `plugins` | what plugins are asked, and what they may read and change during a call |
//! | `read` | reads, on the applied tree |

#![deny(clippy::iter_over_hash_type)]

pub(crate) mod authorize;
pub(crate) mod evaluate;
pub(crate) mod overlay;
pub(crate) mod plugins;
pub(crate) mod read;
pub(crate) mod reconcile;
pub(crate) mod view;

pub(crate) use evaluate::{Evaluation, Evaluator};
#[cfg(test)]
pub(crate) use plugins::NoPlugins;
pub use plugins::Verb;
pub(crate) use plugins::{
    Answered, Call, Cause, Fuel, Handled, NoView, NodeCopy, Plugins, ProvenSchemes, ReadView, Recipe, Schemes,
    TreeWriter, Versions, Write,
};

use crate::model::{ConnectionId, Identity, Password, SessionId};
use crate::wire::request::Request;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// One request on its way to the sequencer, of this member or of another (`peer::messages::requests`).
#[derive(Debug, Serialize, Deserialize)]
pub struct Submission {
    /// None: the server itself (expiry, collection).
    pub(crate) caller: Option<Caller>,
    pub(crate) xid: i32,
    pub(crate) ask: Ask,
}

impl Submission {
    /// A submission of the server itself.
    pub(crate) fn own(ask: Ask) -> Submission {
        Submission { caller: None, xid: 0, ask }
    }
}

/// The client of a request, as its connection knew it when the request was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) session: SessionId,
    pub(crate) connection: ConnectionId,
    pub(crate) identities: Arc<[Identity]>,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// A local session: only the caller's own member knows it (`localSessionsEnabled`).
    pub(crate) local: bool,
}

impl Caller {
    /// The identities and the session, for the check of an ACL.
    pub(crate) fn who(&self) -> authorize::Who<'_> {
        authorize::Who { identities: &self.identities, session: self.session }
    }
}

/// What enters the pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A write of the protocol: create, delete, setData, setACL, multi, check, reconfig, deleteContainer.
    Request(Request),
    /// A client opens a session.
    OpenSession { session: SessionId, password: Password, timeout_ms: i32 },
    /// A client came back. `password`: what the client showed.
    AttachSession { session: SessionId, password: Option<Password>, timeout_ms: i32 },
    /// A client closes its session, or the session has expired.
    CloseSession { session: SessionId, expired: bool },
    /// Delete a container or TTL node that has become collectable. Nothing happens if the node no longer is.
    Collect { path: String },
    /// These are the members now: write them to `/zookeeper/config`. At the end of a reconfig the caller is that of the
    /// reconfig. A new leader also submits this on its own.
    Configure { servers: Vec<crate::model::ensemble::Server> },
    /// Every voter's release knows this format level. Nothing happens if the level is reached already.
    RaiseFormatLevel { level: u32 },
    /// The time of transactions goes back to the members' clocks (`evaluate::clock` has checked the request).
    SetBackClock,
    /// The plugin's timer of that name is due. Nothing happens if the timer is not due, is gone, or cannot fire now.
    Timer { plugin: String, name: String },
    /// Make the next step in putting a recipe's mount in order. Nothing happens if the mount is not owed.
    Recover { plugin: String },
    /// A native call of a recipe. The caller has no session, and a connection number that no connection has. What the
    /// recipe returned is at `Evaluator::take_reply`.
    Call { plugin: String, method: String, payload: bytes::Bytes },
    /// A plugin misbehaves. Nothing happens if that is known already.
    Blame(Blame),
    /// The operations that a controller has decided on, in the controller's own name. Nothing happens if something that
    /// the controller read has changed.
    Reconcile(Box<reconcile::Reconciled>),
}

/// A member's report against a plugin (`evaluate::blame`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Blame {
    /// The path of the plugin's node below `/zookeeper/plugins`: `<name>`, or `<name>/canary` for a version on trial.
    pub(crate) plugin: String,
    /// The mzxid of that node as the member knew it. It names the version that the report is about.
    pub(crate) manifest_mzxid: i64,
    /// The process that a call of the plugin has ended: `<member>-<run>`. None: the report is about faults.
    pub(crate) crashed: Option<String>,
    /// The data of the quarantine node, if the report leads to a quarantine.
    pub(crate) quarantine: bytes::Bytes,
}

/// The times and the random number that a transaction is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Unix milliseconds.
    pub(crate) wall_ms: i64,
    /// Milliseconds of ensemble time.
    pub(crate) ensemble_ms: u64,
    /// Random, for plugins' `context.seed`.
    pub(crate) seed: u64,
}

/// The server's settings that decide what a request may do (`config` fills it).
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// `zookeeper.skipACL`
    pub skip_acl: bool,
    /// `zookeeper.extendedTypesEnabled`: TTL nodes
    pub extended_types: bool,
    /// `zookeeper.enforceQuota`
    pub enforce_quota: bool,
    /// `reconfigEnabled`
    pub reconfig: bool,
    // `zookeeper.emulate353TTLNodes` is not supported; listed in docs.
    /// `znode.container.maxNeverUsedIntervalMs`, 0: never collected while unused.
    pub container_never_used_ms: i64,
    /// Clients from loopback addresses may write `/zookeeper/plugins` and `/zookeeper/modules`: all ports of the server
    /// listen on loopback, and the server has no superuser (docs/decisions/0018).
    pub deploy_by_anyone: bool,
    // `sessionRequireClientSASLAuth` and `enforce.auth.schemes` are checked by `session`, before the pipeline.
    /// Whether ACLs may use the scheme sasl.
    pub sasl_scheme_enabled: bool,
    /// Whether ACLs may use the scheme x509.
    pub x509_scheme_enabled: bool,
    /// The schemes that authenticators prove. Not a setting, but needed wherever an ACL is checked.
    pub schemes: ProvenSchemes,
}

impl Default for Rules {
    /// The settings of a standalone server without plugins. TTL nodes are allowed.
    fn default() -> Rules {
        Rules {
            skip_acl: false,
            extended_types: true,
            enforce_quota: false,
            reconfig: false,
            container_never_used_ms: 0,
            deploy_by_anyone: false,
            sasl_scheme_enabled: false,
            x509_scheme_enabled: false,
            schemes: ProvenSchemes::default(),
        }
    }
}
