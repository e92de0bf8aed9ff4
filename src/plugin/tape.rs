//! Recording a plugin's calls on a server, and playing them again on a laptop.
//!
//! A call depends on nothing but its settings, its arguments and what the host answers, all of which pass through here. So
//! a recording holds everything to make the call again, with the same component or another, and to see whether it says the
//! same. Off unless somebody listens: reading `/zookeeper/plugins/<name>/recording/N` (the superuser's) gives the calls
//! behind number N, and keeps recording on for the next `limits::RECORDING_LEASE_MS`.
//!
//! **The format** (version 1) is JSON, a line each: first a `Header`, then `Recorded` calls. Bytes are base64; answers are
//! in the form of Rust's `{:?}`, which both sides of a comparison are made with.

use super::call::{Cause, Request};
use super::grant::Grant;
use super::host::exports::behavior;
use super::host::{Change, ChangeKind, contract::wasmkeeper::plugin::types};
use super::manifest::Kind;
use crate::environment::wall_ms;
use crate::limits;
use crate::model::{Acl, AclEntry, ConnectionId, ErrorCode, Identity, NodeKind, Refusal, SessionId, Stat, Zxid};
use crate::pipeline::{Call, Caller, Moment, NodeCopy, ReadView, TreeWriter, Verb, Versions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// This form.
pub const FORMAT: u32 = 1;

/// What the calls were made with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    pub plugin: String,
    /// The deployment.
    pub version: u32,
    pub kind: Kind,
    /// The component's digest, and where it came from.
    pub sha256: String,
    pub source: String,
    pub mount: String,
    pub settings: String,
    /// Those that hold.
    pub grants: Vec<Grant>,
    pub fuel: u64,
    pub cpu_ms: u64,
    pub memory_bytes: u64,
}

/// A call with all that went in and came out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// From 1, counted per plugin since the server started.
    pub number: u64,
    pub question: Question,
    pub around: Around,
    /// What the guest asked the host, in order, and was answered.
    pub heard: Vec<Heard>,
    pub said: String,
    pub fuel: u64,
}

/// A function of the contract with its arguments.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    Validate(Vec<(Verb, String)>),
    Authorize(Verb, String),
    /// Credentials are secrets: the call is recorded without its argument, and cannot be played.
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

/// `behavior.request`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    Create { path: String, data: Base64, kind: Life, sequential: bool, acl: Vec<Entry> },
    SetData { path: String, data: Base64, version: Option<i32> },
    SetAcl { path: String, acl: Vec<Entry>, version: Option<i32> },
    Delete { path: String, version: Option<i32> },
}

/// Permission bits as ZooKeeper has them, scheme, id.
pub type Entry = (i32, String, String);

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    Persistent,
    Ephemeral(i64),
    Container,
    Ttl(i64),
}

/// The circumstances of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Around {
    pub session: i64,
    pub xid: i32,
    pub zxid: u64,
    pub wall_ms: i64,
    pub ensemble_ms: u64,
    pub seed: u64,
    /// None: nobody asks.
    pub caller: Option<Who>,
    pub writers: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Who {
    pub identities: Vec<(String, String)>,
    pub address: std::net::SocketAddr,
}

/// One question to the host, and its answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Heard {
    pub asked: HostQuestion,
    pub answer: HostAnswer,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostQuestion {
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
    fn writes(&self) -> bool {
        use HostQuestion::{Children, Ephemerals, Node, Original, Stat};
        !matches!(self, Node(_) | Stat(_) | Original(_) | Children(..) | Ephemerals(..))
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAnswer {
    /// There is no such node.
    Nothing,
    Node {
        data: Option<Base64>,
        stat: Stat,
        acl: Vec<Entry>,
    },
    Stat(Stat),
    Names(Vec<String>),
    /// Of an operation: the path of a create, else empty.
    Done(String),
    Refused(i32, String),
}

/// Bytes as base64 text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Base64(String);

impl From<&[u8]> for Base64 {
    fn from(bytes: &[u8]) -> Base64 {
        use base64::Engine as _;
        Base64(base64::engine::general_purpose::STANDARD.encode(bytes))
    }
}

impl Base64 {
    /// None: it is no base64, since somebody has written into the file.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(&self.0).ok()
    }
}

/// Where a plugin's calls are recorded. Costs a load a call while nobody listens.
#[derive(Default)]
pub struct Tape {
    on: AtomicBool,
    /// Until when somebody listens, Unix milliseconds.
    until: AtomicI64,
    reel: Mutex<Reel>,
}

#[derive(Default)]
struct Reel {
    calls: VecDeque<(u64, String)>,
    bytes: usize,
    recorded: u64,
}

impl Tape {
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Keeps a call; the oldest go when they are too many bytes. Stops when nobody has listened for a while.
    pub fn keep(&self, mut call: Recorded) {
        let mut reel = self.reel.lock();
        if wall_ms() > self.until.load(Relaxed) {
            self.on.store(false, Relaxed);
            reel.calls.clear();
            reel.bytes = 0;
            return;
        }
        reel.recorded += 1;
        call.number = reel.recorded;
        // What is made of strings and numbers can be written.
        let line = serde_json::to_string(&call).expect("it is JSON");
        reel.bytes += line.len();
        let number = reel.recorded;
        reel.calls.push_back((number, line));
        while reel.bytes > limits::RECORDING_BYTES_MAX {
            let Some((_, gone)) = reel.calls.pop_front() else { break };
            reel.bytes -= gone.len();
        }
    }

    /// The calls behind that number, a line each, as many as fit into an answer; and recording goes on.
    pub fn listen(&self, number: u64) -> String {
        self.until.store(wall_ms().saturating_add(limits::RECORDING_LEASE_MS), Relaxed);
        self.on.store(true, Relaxed);
        let reel = self.reel.lock();
        let mut lines = String::new();
        for (_, line) in reel.calls.iter().filter(|(kept, _)| *kept > number) {
            if !lines.is_empty() && lines.len() + line.len() > limits::RECORDING_ANSWER_BYTES_MAX {
                break;
            }
            lines.push_str(line);
            lines.push('\n');
        }
        lines
    }
}

/// Hears what a guest asks the host in one call.
pub struct Ear<'a> {
    view: &'a dyn ReadView,
    bench: Option<&'a dyn TreeWriter>,
    heard: RefCell<Vec<Heard>>,
}

impl<'a> Ear<'a> {
    pub fn new(call: &Call<'a>) -> Ear<'a> {
        Ear { view: call.view, bench: call.writer, heard: RefCell::default() }
    }

    /// The same call, through this ear.
    pub fn through<'b>(&'b self, call: &Call<'b>) -> Call<'b> {
        Call { view: self, writer: call.writer.map(|_| self as &dyn TreeWriter), ..*call }
    }

    /// The call as it is to be kept; its number is found then.
    pub fn recorded(self, question: Question, call: &Call<'_>, said: String, fuel: u64) -> Recorded {
        Recorded { number: 0, question, around: around(call), heard: self.heard.into_inner(), said, fuel }
    }

    fn hear(&self, asked: HostQuestion, answer: HostAnswer) {
        self.heard.borrow_mut().push(Heard { asked, answer });
    }

    /// Calls lend a bench or none; the guest has no handle of it then.
    fn bench(&self) -> &'a dyn TreeWriter {
        self.bench.expect("through() offers a bench only where there is one")
    }
}

impl ReadView for Ear<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        let found = self.view.node(path);
        self.hear(HostQuestion::Node(path.into()), node_answer(found.as_ref()));
        found
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        let found = self.view.original(path);
        self.hear(HostQuestion::Original(path.into()), node_answer(found.as_ref()));
        found
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let names = self.view.children(path, after, limit);
        self.hear(
            HostQuestion::Children(path.into(), after.map(String::from), limit),
            HostAnswer::Names(names.clone()),
        );
        names
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        let paths = self.view.ephemerals(session, prefix, limit);
        self.hear(HostQuestion::Ephemerals(session.0, prefix.into(), limit), HostAnswer::Names(paths.clone()));
        paths
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        let found = self.view.stat(path);
        self.hear(HostQuestion::Stat(path.into()), found.map_or(HostAnswer::Nothing, HostAnswer::Stat));
        found
    }

    // For keeping verdicts: nothing that the guest learns.
    fn versions(&self, path: &str) -> Option<Versions> {
        self.view.versions(path)
    }

    fn is_outstanding(&self, path: &str) -> bool {
        self.view.is_outstanding(path)
    }
}

impl TreeWriter for Ear<'_> {
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal> {
        let result = self.bench().create(path, data, kind, acl, sequential);
        let (path, data, kind, acl) = (path.into(), data.into(), kind.into(), entries(acl));
        self.hear(HostQuestion::Create { path, data, kind, acl, sequential }, done(&result, Clone::clone));
        result
    }

    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().set_data(path, data, version);
        let asked = HostQuestion::SetData { path: path.into(), data: data.into(), version };
        self.hear(asked, done(&result, |()| String::new()));
        result
    }

    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().set_acl(path, acl, version);
        let asked = HostQuestion::SetAcl { path: path.into(), acl: entries(acl), version };
        self.hear(asked, done(&result, |()| String::new()));
        result
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().delete(path, version);
        self.hear(HostQuestion::Delete { path: path.into(), version }, done(&result, |()| String::new()));
        result
    }

    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal> {
        let result = self.bench().set_timer(name, after_ms);
        self.hear(HostQuestion::SetTimer(name.into(), after_ms), done(&result, |()| String::new()));
        result
    }

    fn cancel_timer(&self, name: &str) {
        self.bench().cancel_timer(name);
        self.hear(HostQuestion::CancelTimer(name.into()), HostAnswer::Done(String::new()));
    }
}

/// Answers a guest as the recording has it.
///
/// A question that was asked several times gets its answers in their order, then the last again. One that was never asked
/// has none: what the guest says then rests on something else, and `unheard` names it.
pub struct Player<'a> {
    recorded: &'a Recorded,
    next: RefCell<Vec<bool>>,
    unheard: RefCell<Vec<HostQuestion>>,
    wrote: RefCell<Vec<HostQuestion>>,
}

impl<'a> Player<'a> {
    pub fn new(recorded: &'a Recorded) -> Player<'a> {
        let next = RefCell::new(vec![true; recorded.heard.len()]);
        Player { recorded, next, unheard: RefCell::default(), wrote: RefCell::default() }
    }

    /// What the guest asked that the recording does not know.
    pub fn unheard(&self) -> Vec<HostQuestion> {
        self.unheard.borrow().clone()
    }

    /// The operations that the recorded call asked for, if this one asked for others: recorded, now.
    pub fn wrote_otherwise(&self) -> Option<(Vec<HostQuestion>, Vec<HostQuestion>)> {
        let heard = self.recorded.heard.iter().map(|heard| &heard.asked);
        let before: Vec<HostQuestion> = heard.filter(|asked| asked.writes()).cloned().collect();
        let now = self.wrote.borrow().clone();
        (before != now).then_some((before, now))
    }

    fn answer(&self, asked: HostQuestion) -> Option<&'a HostAnswer> {
        if asked.writes() {
            self.wrote.borrow_mut().push(asked.clone());
        }
        let heard = &self.recorded.heard;
        let mut next = self.next.borrow_mut();
        let fresh = heard.iter().zip(next.iter()).position(|(heard, fresh)| *fresh && heard.asked == asked);
        match fresh.or_else(|| heard.iter().rposition(|heard| heard.asked == asked)) {
            Some(at) => {
                if let Some(fresh) = next.get_mut(at) {
                    *fresh = false;
                }
                heard.get(at).map(|heard| &heard.answer)
            }
            None => {
                self.unheard.borrow_mut().push(asked);
                None
            }
        }
    }

    fn done(&self, asked: HostQuestion) -> Result<String, Refusal> {
        match self.answer(asked) {
            Some(HostAnswer::Refused(code, text)) => {
                Err(Refusal::new(ErrorCode::from_code(*code).unwrap_or(ErrorCode::SystemError), text.clone()))
            }
            Some(HostAnswer::Done(path)) => Ok(path.clone()),
            _ => Ok(String::new()),
        }
    }
}

impl ReadView for Player<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        self.answer(HostQuestion::Node(path.into())).and_then(node_copy)
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.answer(HostQuestion::Original(path.into())).and_then(node_copy)
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        names(self.answer(HostQuestion::Children(path.into(), after.map(String::from), limit)))
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        names(self.answer(HostQuestion::Ephemerals(session.0, prefix.into(), limit)))
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        match self.answer(HostQuestion::Stat(path.into()))? {
            HostAnswer::Stat(stat) => Some(*stat),
            _ => None,
        }
    }

    fn versions(&self, _: &str) -> Option<Versions> {
        None
    }
}

impl TreeWriter for Player<'_> {
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal> {
        let (asked_path, data, kind, acl) = (path.into(), data.into(), kind.into(), entries(acl));
        let made = self.done(HostQuestion::Create { path: asked_path, data, kind, acl, sequential })?;
        Ok(if made.is_empty() { path.into() } else { made })
    }

    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal> {
        self.done(HostQuestion::SetData { path: path.into(), data: data.into(), version }).map(drop)
    }

    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal> {
        self.done(HostQuestion::SetAcl { path: path.into(), acl: entries(acl), version }).map(drop)
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal> {
        self.done(HostQuestion::Delete { path: path.into(), version }).map(drop)
    }

    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal> {
        self.done(HostQuestion::SetTimer(name.into(), after_ms)).map(drop)
    }

    fn cancel_timer(&self, name: &str) {
        // It cannot be refused.
        let _ = self.done(HostQuestion::CancelTimer(name.into()));
    }
}

impl Around {
    /// Whoever asked; its connection is nobody's.
    pub fn caller(&self) -> Option<Caller> {
        let who = self.caller.as_ref()?;
        Some(Caller {
            session: SessionId(self.session),
            connection: ConnectionId { member: 0, run: 0, number: 0 },
            identities: who.identities.iter().map(|(scheme, id)| Identity::new(scheme.as_str(), id.as_str())).collect(),
            address: who.address.ip(),
            port: who.address.port(),
            local: false,
        })
    }

    pub fn moment(&self) -> Moment {
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms, seed: self.seed }
    }

    pub fn zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    pub fn writers(&self) -> Vec<Arc<str>> {
        self.writers.iter().map(|name| name.as_str().into()).collect()
    }
}

fn around(call: &Call<'_>) -> Around {
    Around {
        session: call.session.0,
        xid: call.xid,
        zxid: call.zxid.0,
        wall_ms: call.moment.wall_ms,
        ensemble_ms: call.moment.ensemble_ms,
        seed: call.moment.seed,
        caller: call.caller.map(|caller| Who {
            identities: caller.identities.iter().map(|who| (who.scheme.clone(), who.id.clone())).collect(),
            address: std::net::SocketAddr::new(caller.address, caller.port),
        }),
        writers: call.writers.iter().map(|name| name.to_string()).collect(),
    }
}

fn node_answer(node: Option<&NodeCopy>) -> HostAnswer {
    let Some(node) = node else { return HostAnswer::Nothing };
    let data = node.data.as_deref().map(Base64::from);
    HostAnswer::Node { data, stat: node.stat, acl: entries(&node.acl) }
}

fn node_copy(answer: &HostAnswer) -> Option<NodeCopy> {
    let HostAnswer::Node { data, stat, acl } = answer else { return None };
    let data = data.as_ref().and_then(Base64::bytes).map(bytes::Bytes::from);
    Some(NodeCopy { data, stat: *stat, acl: acl_of(acl) })
}

fn names(answer: Option<&HostAnswer>) -> Vec<String> {
    match answer {
        Some(HostAnswer::Names(names)) => names.clone(),
        _ => Vec::new(),
    }
}

fn done<T>(result: &Result<T, Refusal>, path: impl FnOnce(&T) -> String) -> HostAnswer {
    match result {
        Ok(done) => HostAnswer::Done(path(done)),
        Err(refusal) => HostAnswer::Refused(refusal.code.code(), refusal.text.clone()),
    }
}

pub fn entries(acl: &[AclEntry]) -> Vec<Entry> {
    acl.iter().map(|entry| (entry.permissions, entry.who.scheme.clone(), entry.who.id.clone())).collect()
}

fn acl_of(entries: &[Entry]) -> Acl {
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
    /// As a guest is asked; none: the data are no base64.
    pub fn request(&self) -> Option<Request> {
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
        (super::functions::model_acl_entry(entry).permissions, entry.who.scheme.clone(), entry.who.id.clone())
    };
    acl.iter().map(entry).collect()
}

fn guest_acl(entries: &[Entry]) -> Vec<types::AclEntry> {
    acl_of(entries).iter().map(super::functions::acl_entry).collect()
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

const CAUSES: [(Cause, &str); 5] = [
    (Cause::Request, "request"),
    (Cause::SessionClosed, "session-closed"),
    (Cause::SessionExpired, "session-expired"),
    (Cause::Plugin, "plugin"),
    (Cause::Server, "server"),
];

pub fn cause_name(cause: Cause) -> &'static str {
    CAUSES.iter().find(|(known, _)| *known == cause).map_or("server", |(_, name)| name)
}

pub fn cause_named(name: &str) -> Option<Cause> {
    CAUSES.iter().find(|(_, known)| *known == name).map(|(cause, _)| *cause)
}

/// Changes as they are kept.
pub fn changes(changes: &[Change]) -> Vec<(Verb, String)> {
    let kind = |kind| match kind {
        ChangeKind::Created => Verb::Create,
        ChangeKind::DataSet => Verb::Set,
        ChangeKind::AclSet => Verb::Acl,
        ChangeKind::Deleted => Verb::Delete,
    };
    changes.iter().map(|change| (kind(change.kind), change.path.clone())).collect()
}

/// And as a guest is told of them.
pub fn changes_of(kept: &[(Verb, String)]) -> Vec<Change> {
    let kind = |operation| match operation {
        Verb::Set => ChangeKind::DataSet,
        Verb::Acl => ChangeKind::AclSet,
        Verb::Delete => ChangeKind::Deleted,
        Verb::Create | Verb::Read | Verb::Children | Verb::Call => ChangeKind::Created,
    };
    kept.iter().map(|(operation, path)| Change { kind: kind(*operation), path: path.clone() }).collect()
}
