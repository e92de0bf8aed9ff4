//! The form of a recording, version 1: the types of its lines, and conversions from and to calls.

use crate::model::{Acl, AclEntry, Identity, NodeKind, Stat};
use crate::pipeline::Verb;
use crate::plugin::contract::exports::behavior::{self, Cause, Request};
use crate::plugin::contract::{self, Change, ChangeKind, types};
use crate::plugin::manifest::Kind;
use crate::plugin::manifest::grant::Grant;
use serde::{Deserialize, Serialize};

/// The version of this form.
pub(crate) const FORMAT: u32 = 1;

/// The first line: what the instances were made with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: u32,
    pub(crate) plugin: String,
    /// The number of the deployment.
    pub(crate) version: u32,
    pub(crate) kind: Kind,
    /// The SHA-256 of the component, and where the component came from.
    pub(crate) sha256: String,
    pub(crate) source: String,
    pub(crate) mount: String,
    pub(crate) settings: String,
    /// The grants that are in force.
    pub(crate) grants: Vec<Grant>,
    pub(crate) fuel: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) memory_bytes: u64,
}

/// A call, with everything that went in and came out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// Counts the recorded calls of the plugin since the server started, from 1.
    pub(crate) number: u64,
    pub(crate) question: Question,
    pub(crate) around: Around,
    /// The guest's questions to the host in order, with their answers.
    pub(crate) heard: Vec<Heard>,
    pub(crate) said: String,
    pub(crate) fuel: u64,
}

/// An exported function of the contract, with its arguments.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    Validate(Vec<(Verb, String)>),
    Authorize(Verb, String),
    /// Credentials are secrets. The call is recorded without its argument and cannot be played.
    Authenticate,
    CheckId(String),
    Matches(String, String),
    Handle(Write),
    OnChange(String, Vec<(Verb, String)>),
    OnTimer(String),
    OnCall(String, Base64),
    Recover(Option<String>),
    Reconcile(String),
}

/// The request to a recipe (`behavior.request`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Write {
    Create { path: String, data: Base64, kind: Life, sequential: bool, acl: Vec<Entry> },
    SetData { path: String, data: Base64, version: Option<i32> },
    SetAcl { path: String, acl: Vec<Entry>, version: Option<i32> },
    Delete { path: String, version: Option<i32> },
}

/// An ACL entry: permission bits as ZooKeeper defines them, scheme, id.
pub(crate) type Entry = (i32, String, String);

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Life {
    Persistent,
    Ephemeral(i64),
    Container,
    Ttl(i64),
}

/// The circumstances of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Around {
    pub(crate) session: i64,
    pub(crate) xid: i32,
    pub(crate) zxid: u64,
    pub(crate) wall_ms: i64,
    pub(crate) ensemble_ms: u64,
    pub(crate) seed: u64,
    /// None if the server itself makes the call.
    pub(crate) caller: Option<Who>,
    pub(crate) writers: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Who {
    pub(crate) identities: Vec<(String, String)>,
    pub(crate) address: std::net::SocketAddr,
}

/// One question of the guest to the host, and its answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Heard {
    pub(crate) asked: HostQuestion,
    pub(crate) answer: HostAnswer,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostQuestion {
    Node(String),
    Stat(String),
    Original(String),
    Children(String, Option<String>, usize),
    Ephemerals(i64, String, usize),
    Create { path: String, data: Base64, kind: Life, acl: Vec<Entry>, sequential: bool },
    SetData { path: String, data: Base64, version: Option<i32> },
    SetAcl { path: String, acl: Vec<Entry>, version: Option<i32> },
    Delete { path: String, version: Option<i32> },
    SetTimer(String, u64),
    CancelTimer(String),
}

impl HostQuestion {
    pub(crate) fn writes(&self) -> bool {
        use HostQuestion::{Children, Ephemerals, Node, Original, Stat};
        !matches!(self, Node(_) | Stat(_) | Original(_) | Children(..) | Ephemerals(..))
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostAnswer {
    /// There is no such node.
    Nothing,
    Node {
        data: Option<Base64>,
        stat: Stat,
        acl: Vec<Entry>,
    },
    Stat(Stat),
    Names(Vec<String>),
    /// An operation succeeded. The text is the path of a create, and empty otherwise.
    Done(String),
    Refused(i32, String),
}

/// Bytes as base64 text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Base64(String);

impl From<&[u8]> for Base64 {
    fn from(bytes: &[u8]) -> Base64 {
        use base64::Engine as _;
        Base64(base64::engine::general_purpose::STANDARD.encode(bytes))
    }
}

impl Base64 {
    /// None if the text is not base64, because somebody has edited the file.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(&self.0).ok()
    }
}

pub(crate) fn entries(acl: &[AclEntry]) -> Vec<Entry> {
    acl.iter().map(|entry| (entry.permissions, entry.who.scheme.clone(), entry.who.id.clone())).collect()
}

pub(crate) fn acl_of(entries: &[Entry]) -> Acl {
    let entry = |(permissions, scheme, id): &Entry| AclEntry {
        permissions: *permissions,
        who: Identity::new(scheme.as_str(), id.as_str()),
    };
    entries.iter().map(entry).collect()
}

impl From<NodeKind> for Life {
    fn from(kind: NodeKind) -> Life {
        match kind {
            NodeKind::Persistent => Life::Persistent,
            NodeKind::Ephemeral(session) => Life::Ephemeral(session.0),
            NodeKind::Container => Life::Container,
            NodeKind::Ttl(ms) => Life::Ttl(ms),
        }
    }
}

impl From<types::NodeKind> for Life {
    fn from(kind: types::NodeKind) -> Life {
        match kind {
            types::NodeKind::Persistent => Life::Persistent,
            types::NodeKind::Ephemeral(session) => Life::Ephemeral(session.cast_signed()),
            types::NodeKind::Container => Life::Container,
            types::NodeKind::Ttl(ms) => Life::Ttl(ms.cast_signed()),
        }
    }
}

impl From<Life> for types::NodeKind {
    fn from(life: Life) -> types::NodeKind {
        match life {
            Life::Persistent => types::NodeKind::Persistent,
            Life::Ephemeral(session) => types::NodeKind::Ephemeral(session.cast_unsigned()),
            Life::Container => types::NodeKind::Container,
            Life::Ttl(ms) => types::NodeKind::Ttl(ms.cast_unsigned()),
        }
    }
}

impl From<&Request> for Write {
    fn from(request: &Request) -> Write {
        match request {
            Request::Create(create) => Write::Create {
                path: create.path.clone(),
                data: create.data.as_slice().into(),
                kind: create.kind.into(),
                sequential: create.sequential,
                acl: guest_entries(&create.acl),
            },
            Request::SetData(set) => {
                Write::SetData { path: set.path.clone(), data: set.data.as_slice().into(), version: set.version }
            }
            Request::SetAcl(set) => {
                Write::SetAcl { path: set.path.clone(), acl: guest_entries(&set.acl), version: set.version }
            }
            Request::Delete(delete) => Write::Delete { path: delete.path.clone(), version: delete.version },
        }
    }
}

impl Write {
    /// The request in the contract's types. None if the data is not base64.
    pub(crate) fn request(&self) -> Option<Request> {
        Some(match self.clone() {
            Write::Create { path, data, kind, sequential, acl } => Request::Create(behavior::CreateRequest {
                path,
                data: data.bytes()?,
                kind: kind.into(),
                sequential,
                acl: guest_acl(&acl),
            }),
            Write::SetData { path, data, version } => {
                Request::SetData(behavior::SetDataRequest { path, data: data.bytes()?, version })
            }
            Write::SetAcl { path, acl, version } => {
                Request::SetAcl(behavior::SetAclRequest { path, acl: guest_acl(&acl), version })
            }
            Write::Delete { path, version } => Request::Delete(behavior::DeleteRequest { path, version }),
        })
    }
}

fn guest_entries(acl: &[types::AclEntry]) -> Vec<Entry> {
    let entry = |entry: &types::AclEntry| {
        (contract::model_acl_entry(entry).permissions, entry.who.scheme.clone(), entry.who.id.clone())
    };
    acl.iter().map(entry).collect()
}

fn guest_acl(entries: &[Entry]) -> Vec<types::AclEntry> {
    acl_of(entries).iter().map(contract::guest_acl_entry).collect()
}

const CAUSES: [(Cause, &str); 5] = [
    (Cause::Request, "request"),
    (Cause::SessionClosed, "session-closed"),
    (Cause::SessionExpired, "session-expired"),
    (Cause::Plugin, "plugin"),
    (Cause::Server, "server"),
];

pub(crate) fn cause_name(cause: Cause) -> &'static str {
    CAUSES.iter().find(|(known, _)| *known == cause).map_or("server", |(_, name)| name)
}

pub(crate) fn cause_named(name: &str) -> Option<Cause> {
    CAUSES.iter().find(|(_, known)| *known == name).map(|(cause, _)| *cause)
}

/// Changes in the form of a recording.
pub(crate) fn changes(changes: &[Change]) -> Vec<(Verb, String)> {
    let kind = |kind| match kind {
        ChangeKind::Created => Verb::Create,
        ChangeKind::DataSet => Verb::Set,
        ChangeKind::AclSet => Verb::Acl,
        ChangeKind::Deleted => Verb::Delete,
    };
    changes.iter().map(|change| (kind(change.kind), change.path.clone())).collect()
}

/// Changes in the contract's types, as a guest is told of them.
pub(crate) fn changes_of(kept: &[(Verb, String)]) -> Vec<Change> {
    let kind = |operation| match operation {
        Verb::Set => ChangeKind::DataSet,
        Verb::Acl => ChangeKind::AclSet,
        Verb::Delete => ChangeKind::Deleted,
        Verb::Create | Verb::Read | Verb::Children | Verb::Call => ChangeKind::Created,
    };
    kept.iter().map(|(operation, path)| Change { kind: kind(*operation), path: path.clone() }).collect()
}
