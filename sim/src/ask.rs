//! The requests of simulated clients, their answers, and the protocol request for each of them.

use crate::linear::{Action, Register};
use bytes::Bytes;
use std::collections::BTreeSet;
use wasmkeeper::client::codec as wire;
use wasmkeeper::model::control_plane::CONFIG;
use wasmkeeper::model::{ErrorCode, acl};
use wasmkeeper::pipeline::Verb;
use wasmkeeper::wire::request::{Create, CreateForm, Operation, Request};

/// A request of a simulated client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    Create {
        path: String,
        value: u64,
        mode: i32,
    },
    /// A create with arbitrary data. `Create` writes a value that checkers recognise.
    Make {
        path: String,
        data: Data,
        mode: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    /// A setData with arbitrary data and no expected version.
    Write {
        path: String,
        data: Data,
    },
    /// A getData of a znode with arbitrary data.
    Read {
        path: String,
        watch: bool,
    },
    /// A setData of a value, with no expected version.
    Set {
        path: String,
        value: u64,
    },
    CompareAndSet {
        path: String,
        value: u64,
        expected: i32,
    },
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
    },
    /// A sync, and a getData right behind it. Together they are a linearizable read.
    SyncGet {
        path: String,
    },
    /// A multi of these requests: all take effect, or none does.
    All(Vec<Ask>),
    /// A multi of setData requests: all take effect, or none does.
    SetAll(Vec<(String, u64)>),
    /// A getData of `/zookeeper/config`.
    Members,
    /// ZooKeeper's reconfig in its incremental form.
    Reconfig {
        joining: Option<String>,
        leaving: Option<String>,
    },
    /// A multi of a version check and of setData requests behind it.
    CheckedSets {
        path: String,
        expected: i32,
        sets: Vec<(String, u64)>,
    },
}

/// A znode's data. `Debug` prints long data as a length.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Data(pub Bytes);

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.len() < 200 => write!(f, "{text:?}"),
            _ => write!(f, "{} bytes", self.0.len()),
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Created(String),
    Node {
        value: Option<u64>,
        version: i32,
    },
    Names(BTreeSet<String>),
    Text(String),
    Data(Data),
    Refused(ErrorCode),
    /// The connection was lost before the answer came. Whether the request took effect is unknown.
    Lost,
}

/// The data of a znode that holds `value`: the value, and padding up to a length that depends on the value.
pub(crate) fn data(value: u64) -> Bytes {
    let mut bytes = value.to_be_bytes().to_vec();
    bytes.resize(8 + (value % 200) as usize, 0x2e);
    bytes.into()
}

impl Ask {
    pub(crate) fn writes(&self) -> bool {
        !matches!(
            self,
            Ask::Get { .. }
                | Ask::Read { .. }
                | Ask::Exists { .. }
                | Ask::Children { .. }
                | Ask::SyncGet { .. }
                | Ask::Members
        )
    }

    /// Whether the write takes effect in the order of its session's writes. A reconfig need not: the server carries it
    /// out even if the session has ended meanwhile.
    pub(crate) fn is_ordered(&self) -> bool {
        self.writes() && !matches!(self, Ask::Reconfig { .. })
    }

    /// The verbs and paths about which the server asks a policy for this write.
    pub(crate) fn writings(&self) -> Vec<(Verb, &str)> {
        match self {
            Ask::Create { path, .. } | Ask::Make { path, .. } => vec![(Verb::Create, path)],
            Ask::Delete { path, .. } => vec![(Verb::Delete, path)],
            Ask::Write { path, .. } | Ask::Set { path, .. } | Ask::CompareAndSet { path, .. } => {
                vec![(Verb::Set, path)]
            }
            Ask::All(asks) => asks.iter().flat_map(Ask::writings).collect(),
            Ask::SetAll(sets) => sets.iter().map(|(path, _)| (Verb::Set, path.as_str())).collect(),
            Ask::CheckedSets { path, sets, .. } => {
                let sets = sets.iter().map(|(path, _)| (Verb::Set, path.as_str()));
                std::iter::once((Verb::Read, path.as_str())).chain(sets).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn request(&self) -> Request {
        let set = |path: &str, value: u64, version: i32| Request::SetData {
            path: Some(path.to_owned()),
            data: Some(data(value)),
            version,
        };
        let sets = |sets: &[(String, u64)]| -> Vec<Request> {
            sets.iter().map(|(path, value)| set(path, *value, -1)).collect()
        };
        let multi = |requests: Vec<Request>| {
            let operation = |request: Request| Operation { op: wire::opcode(&request), request };
            Request::Multi(requests.into_iter().map(operation).collect())
        };
        let create = |path: String, data: Bytes, mode: i32| {
            Request::Create(Create {
                form: CreateForm::Create,
                path: Some(path),
                data: Some(data),
                acl: Some(acl::open_unsafe().to_vec()),
                flags: mode,
                ttl_ms: 0,
            })
        };
        match self.clone() {
            Ask::Create { path, value, mode } => create(path, data(value), mode),
            Ask::Make { path, data, mode } => create(path, data.0, mode),
            Ask::Write { path, data } => Request::SetData { path: Some(path), data: Some(data.0), version: -1 },
            Ask::Read { path, watch } => Request::GetData { path: Some(path), watch },
            Ask::Delete { path, version } => Request::Delete { path: Some(path), version },
            Ask::Set { path, value } => set(&path, value, -1),
            Ask::CompareAndSet { path, value, expected } => set(&path, value, expected),
            Ask::Get { path, watch } => Request::GetData { path: Some(path), watch },
            Ask::SyncGet { path } => Request::GetData { path: Some(path), watch: false },
            Ask::Exists { path, watch } => Request::Exists { path: Some(path), watch },
            Ask::Children { path, watch } => Request::GetChildren { path: Some(path), watch },
            Ask::Members => Request::GetData { path: Some(CONFIG.to_owned()), watch: false },
            Ask::Reconfig { joining, leaving } => {
                Request::Reconfig { joining, leaving, new_members: None, config_id: -1 }
            }
            Ask::All(asks) => multi(asks.iter().map(Ask::request).collect()),
            Ask::SetAll(all) => multi(sets(&all)),
            Ask::CheckedSets { path, expected, sets: all } => {
                let mut requests = vec![Request::Check { path: Some(path), version: expected }];
                requests.extend(sets(&all));
                multi(requests)
            }
        }
    }
}

/// The path and the action on a register for `linear`. `None` if the request is none on a register, or if the answer
/// says too little.
pub(crate) fn action(ask: &Ask, answer: Option<&Answer>) -> Option<(String, Action)> {
    let (path, action) = match (ask, answer) {
        (Ask::Set { path, value }, None | Some(Answer::Lost)) => (path, Action::Set { value: *value, made: None }),
        (Ask::Set { path, value }, Some(Answer::Node { version, .. })) => {
            (path, Action::Set { value: *value, made: Some(*version) })
        }
        (Ask::CompareAndSet { path, value, expected }, answer) => {
            let done = match answer {
                None | Some(Answer::Lost) => None,
                Some(Answer::Node { .. }) => Some(true),
                Some(Answer::Refused(ErrorCode::BadVersion)) => Some(false),
                _ => return None,
            };
            (path, Action::CompareAndSet { expected: *expected, value: *value, done })
        }
        (Ask::SyncGet { path }, Some(Answer::Node { value: Some(value), version })) => {
            (path, Action::Get(Register { value: *value, version: *version }))
        }
        _ => return None,
    };
    Some((path.clone(), action))
}
