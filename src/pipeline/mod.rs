//! The stages of a write on the leader, from a decoded request to a `Txn` (docs/ARCHITECTURE.md). Pure: time and
//! random numbers come in as arguments, plugins as a trait.
//!
//! Promises: what comes out as done will succeed on every replica; a refusal leaves nothing behind; errors and their order
//! are ZooKeeper's (PrepRequestProcessor and FinalRequestProcessor of 3.9.5).
//!
//! | file | |
//! |---|---|
//! | `overlay` | the outstanding changes: reserved, not yet applied |
//! | `view` | the applied tree with the overlay on it: what a request is judged on |
//! | `authorize` | access control lists |
//! | `evaluate` | one file an operation; the `Evaluator` |
//! | `desk` | what controllers look at, and what they shall have done |
//! | `plugins` | what plugins are asked and lent |
//! | `read` | reads, on the applied tree |

pub mod authorize;
pub mod desk;
pub mod evaluate;
pub mod overlay;
pub mod plugins;
pub mod read;
pub mod view;

pub use evaluate::{Evaluation, Evaluator};
pub use plugins::{
    Answered, Call, Cause, Fuel, Handled, NoPlugins, NoView, NodeCopy, Plugins, ProvenSchemes, ReadView, Recipe,
    Schemes, Verb, Versions, Workbench, Write,
};

use crate::model::{ConnectionId, Identity, Password, SessionId};
use crate::wire::request::Request;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// One request on its way to the sequencer, perhaps that of another member (`peer::messages::requests`).
#[derive(Debug, Serialize, Deserialize)]
pub struct Submission {
    /// None: the server itself asks (expiry, collection).
    pub caller: Option<Caller>,
    pub xid: i32,
    pub ask: Ask,
}

impl Submission {
    /// The server's own.
    pub fn own(ask: Ask) -> Submission {
        Submission { caller: None, xid: 0, ask }
    }
}

/// Who asks: what the connection had proven when the request was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Caller {
    pub session: SessionId,
    pub connection: ConnectionId,
    pub identities: Arc<[Identity]>,
    pub address: IpAddr,
    pub port: u16,
    /// Only its own member knows the session (`localSessionsEnabled`).
    pub local: bool,
}

impl Caller {
    /// As access lists ask.
    pub fn who(&self) -> authorize::Who<'_> {
        authorize::Who { identities: &self.identities, session: self.session }
    }
}

/// What enters the pipeline.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A write of the protocol: create, delete, setData, setACL, multi, check, reconfig, deleteContainer.
    Request(Request),
    OpenSession {
        session: SessionId,
        password: Password,
        timeout_ms: i32,
    },
    /// `password`: what the client showed.
    AttachSession {
        session: SessionId,
        password: Option<Password>,
        timeout_ms: i32,
    },
    CloseSession {
        session: SessionId,
        expired: bool,
    },
    /// Delete a container or TTL node that has become collectable; nothing happens if it no longer is.
    Collect {
        path: String,
    },
    /// The members are these now: write them to `/zookeeper/config`. The end of a reconfig, whose caller it then has, or a
    /// new leader's own.
    Configure {
        servers: Vec<crate::model::ensemble::Server>,
    },
    /// Every voter's release knows this format level; nothing happens if it is raised already.
    RaiseFormatLevel {
        level: u32,
    },
    /// The plugin's timer of that name is due; nothing happens if it is not, or is gone, or cannot fire now.
    Timer {
        plugin: String,
        name: String,
    },
    /// The next step of putting a recipe's mount in order; nothing happens if there is nothing to be done.
    Recover {
        plugin: String,
    },
    /// A native call of a recipe. Its caller has no session, and a connection number that no connection has; what the recipe
    /// returned is at `Evaluator::take_reply`.
    Call {
        plugin: String,
        method: String,
        payload: bytes::Bytes,
    },
    /// A plugin misbehaves; nothing happens if that is known already.
    Blame(Blame),
    /// What a controller has worked out, in its own name; nothing happens if something it looked at has changed.
    Reconcile(Box<desk::Reconciled>),
}

/// What a member has to say against a plugin (`evaluate::blame`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blame {
    /// Its node below `/zookeeper/plugins`: `<name>`, or `<name>/canary` for a version on trial.
    pub plugin: String,
    /// Of that node as the member knew it: it is this version that is meant.
    pub manifest_mzxid: i64,
    /// A call has ended a process, and which: `<member>-<run>`. None: its faults are reason enough.
    pub crashed: Option<String>,
    /// What the node of the quarantine is to say if it comes to that.
    pub quarantine: bytes::Bytes,
}

/// What a transaction knows of the time and chance it is made in.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall_ms: i64,
    pub ensemble_ms: u64,
    /// Random, for plugins' `context.seed`.
    pub seed: u64,
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
    /// `/zookeeper/plugins` and `/zookeeper/modules` may be written by anyone: the server listens on loopback only and
    /// has no superuser.
    pub deploy_by_anyone: bool,
    // `sessionRequireClientSASLAuth` and `enforce.auth.schemes` are checked by `session`, before the pipeline.
    /// Whether ACLs may use the scheme sasl.
    pub sasl_scheme_enabled: bool,
    /// Whether ACLs may use the scheme x509.
    pub x509_scheme_enabled: bool,
    /// Schemes of authenticators: no setting, but at hand wherever an access list is looked at.
    pub schemes: ProvenSchemes,
}

impl Default for Rules {
    /// A server that stands alone, without plugins.
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
