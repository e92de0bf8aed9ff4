//! Requests that this server answers from its own state: reads, watches, ping, whoAmI.
//!
//! The reply and the watch it sets are queued under the state's lock, so that no event of that watch can come before.

use super::connection::{Connection, Kind};
use super::judgement::{self, Inquiry, Open, Rulings};
use super::order::OwnRequest;
use super::rejection::Refusals;
use crate::model::control_plane::REJECTION;
use crate::model::{ErrorCode, Identity};
use crate::pipeline::read::{self, Reader, Scratch, VirtualNodes};
use crate::state::State;
use crate::watch::{PersistentMode, WatchKind, WatcherType, Watches};
use crate::wire::reply::{Body, EventKind, xid};
use crate::wire::request::{Request, RequestHeader, SetWatches};
use std::sync::Arc;

/// Events that setWatches replays belong to no transaction (WatchedEvent.NO_ZXID).
const NO_ZXID: i64 = -1;

/// One request whose turn has come.
pub(super) struct Question<'a> {
    pub header: RequestHeader,
    pub received_us: u64,
    pub request: &'a OwnRequest,
    pub identities: &'a Arc<[Identity]>,
}

/// Whether `answer` needs the table of watches.
pub(super) fn needs_watches(request: &OwnRequest) -> bool {
    match request {
        OwnRequest::Request(request) => match request {
            Request::Exists { watch, .. }
            | Request::GetData { watch, .. }
            | Request::GetChildren { watch, .. }
            | Request::GetChildren2 { watch, .. }
            | Request::FilteredList { watch, .. } => *watch,
            Request::AddWatch { .. }
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::SetWatches(_) => true,
            _ => false,
        },
        OwnRequest::Refused(_) | OwnRequest::SessionAgain(_) | OwnRequest::CloseLocalSession => false,
    }
}

/// Queues the answer, unless guests must be asked about it first. `watches`: given wherever `needs_watches` says so.
pub(super) fn answer(
    connection: &Connection,
    refusals: &mut Refusals,
    state: &State,
    watches: Option<&mut Watches>,
    question: &Question<'_>,
    inquiry: &Inquiry,
) -> Result<(), Vec<Open>> {
    let zxid = state.last_zxid().to_wire();
    let header = question.header;
    match question.request {
        OwnRequest::Refused(code) => connection.reply(header.xid, zxid, code.code(), &Body::Empty),
        OwnRequest::CloseLocalSession => {
            connection.reply(header.xid, zxid, 0, &Body::Empty);
            connection.home().local_sessions().forget(connection.session());
            connection.close_after_flush();
        }
        OwnRequest::SessionAgain(password) => connection.queue_session(*password, true),
        OwnRequest::Request(request) => {
            let home = connection.home();
            let rulings = judgement::rule(home.plugins(), home.rules(), state, question.identities, request, inquiry)?;
            answer_request(connection, refusals, state, watches, question, request, &rulings);
        }
    }
    connection.answered(header, question.received_us, Kind::Read, zxid);
    Ok(())
}

fn answer_request(
    connection: &Connection,
    refusals: &mut Refusals,
    state: &State,
    mut watches: Option<&mut Watches>,
    question: &Question<'_>,
    request: &Request,
    rulings: &Rulings,
) {
    let zxid = state.last_zxid().to_wire();
    let header = question.header;
    let denied = judgement::of_operations(rulings, request);
    let nodes = Nodes { refusals, of_server: connection.home().virtual_nodes() };
    let reader = Reader {
        state,
        rules: connection.home().rules(),
        identities: question.identities,
        session: connection.session(),
        virtual_nodes: &nodes,
        denied: &denied,
    };
    let mut scratch = Scratch::default();
    let result = match judgement::of_all(rulings, request) {
        Some(refusal) => Err(refusal.code),
        None => match watching(connection, state, &mut watches, request, rulings) {
            Some(result) => result.map(|()| watch_body(request)),
            None => read::read(reader, request, &mut scratch),
        },
    };
    let ended = match &result {
        Ok(Body::BrokenMulti(_)) => Err(ErrorCode::MarshallingError),
        other => other.as_ref().map(|_| ()).map_err(|&code| code),
    };
    let error = ended.err().map_or(0, ErrorCode::code);
    // Whatever number a ping came with.
    let xid = if *request == Request::Ping { xid::PING } else { header.xid };
    let body = result.unwrap_or(Body::Empty);
    connection.reply(xid, zxid, error, &body);
    count_read(connection, request, &body);
    if let (Some((kind, path)), Some(watches)) = (read::watch_to_arm(request, ended), watches) {
        arm(watches, kind, path, connection);
    }
    // Nobody asks for words about what a library sends by itself.
    if !matches!(request, Request::SetWatches(_)) {
        rulings.iter().flatten().for_each(|refusal| refusals.note(header.xid, refusal));
    }
}

/// What was read where, for `mntr`.
fn count_read(connection: &Connection, request: &Request, body: &Body<'_>) {
    let (Request::Exists { path: Some(path), .. }
    | Request::GetData { path: Some(path), .. }
    | Request::GetChildren { path: Some(path), .. }
    | Request::GetChildren2 { path: Some(path), .. }) = request
    else {
        return;
    };
    let bytes = match body {
        Body::Stat(_) => 0,
        Body::DataStat(data, _) => data.map_or(0, <[u8]>::len),
        Body::Children(names) | Body::ChildrenStat(names, _) => names.iter().map(|name| name.len()).sum(),
        // It failed.
        _ => return,
    };
    connection.home().metrics().namespaces.read(path, bytes);
}

/// What is about the connection itself, not the tree; none for reads.
fn watching(
    connection: &Connection,
    state: &State,
    watches: &mut Option<&mut Watches>,
    request: &Request,
    rulings: &Rulings,
) -> Option<Result<(), ErrorCode>> {
    let watches = match request {
        Request::Ping => return Some(Ok(())),
        Request::AddWatch { .. }
        | Request::CheckWatches { .. }
        | Request::RemoveWatches { .. }
        | Request::SetWatches(_) => watches.as_deref_mut().expect("needs_watches asked for the table"),
        _ => return None,
    };
    let id = connection.id();
    Some(match request {
        // ZooKeeper throws where a number is unknown, and calls that MARSHALLINGERROR. It watches a null path, to which
        // nothing happens.
        Request::AddWatch { path, mode } => match (path, PersistentMode::from_wire(*mode)) {
            (Some(path), Some(mode)) => {
                watches.add(path, mode, id);
                Ok(())
            }
            (None, Some(_)) => Ok(()),
            (_, None) => Err(ErrorCode::MarshallingError),
        },
        // Here a null path is too much for it.
        Request::CheckWatches { path, kind } => match (path, WatcherType::from_wire(*kind)) {
            (Some(path), Some(kind)) => found(watches.has(path, kind, id)),
            _ => Err(ErrorCode::MarshallingError),
        },
        Request::RemoveWatches { path, kind } => match (path, WatcherType::from_wire(*kind)) {
            (Some(path), Some(kind)) => found(watches.remove(path, kind, id)),
            _ => Err(ErrorCode::MarshallingError),
        },
        Request::SetWatches(asked) => {
            set_watches(connection, state, watches, asked, rulings);
            Ok(())
        }
        _ => return None,
    })
}

fn found(any: bool) -> Result<(), ErrorCode> {
    if any { Ok(()) } else { Err(ErrorCode::NoWatcher) }
}

fn watch_body(request: &Request) -> Body<'static> {
    match request {
        // ErrorResponse with the code 0
        Request::AddWatch { .. } => Body::Number(0),
        _ => Body::Empty,
    }
}

/// A client that came back: what changed meanwhile is told at once, the rest is watched again (DataTree.setWatches).
/// As in ZooKeeper, no ACL is asked: only changes are told, no content. What policies refuse is neither told nor watched.
fn set_watches(connection: &Connection, state: &State, watches: &mut Watches, asked: &SetWatches, rulings: &Rulings) {
    // In the order of the request, as `judgement` has it.
    let mut rulings = rulings.iter();
    let mut allowed = move |_: &&String| rulings.next().is_none_or(Option::is_none);
    for path in asked.data.iter().filter(&mut allowed) {
        match state.node(path) {
            None => connection.queue_event(NO_ZXID, EventKind::Deleted, path),
            Some(node) if node.mzxid() > asked.relative_zxid => {
                connection.queue_event(NO_ZXID, EventKind::DataChanged, path);
            }
            Some(_) => arm(watches, WatchKind::Data, path, connection),
        }
    }
    for path in asked.exist.iter().filter(&mut allowed) {
        match state.node(path) {
            Some(_) => connection.queue_event(NO_ZXID, EventKind::Created, path),
            None => arm(watches, WatchKind::Exist, path, connection),
        }
    }
    for path in asked.child.iter().filter(&mut allowed) {
        match state.node(path) {
            None => connection.queue_event(NO_ZXID, EventKind::Deleted, path),
            Some(node) if node.pzxid() > asked.relative_zxid => {
                connection.queue_event(NO_ZXID, EventKind::ChildrenChanged, path);
            }
            Some(_) => arm(watches, WatchKind::Child, path, connection),
        }
    }
    for path in asked.persistent.iter().filter(&mut allowed) {
        watches.add(path, PersistentMode::Persistent, connection.id());
    }
    for path in asked.recursive.iter().filter(&mut allowed) {
        watches.add(path, PersistentMode::Recursive, connection.id());
    }
}

fn arm(watches: &mut Watches, kind: WatchKind, path: &str, connection: &Connection) {
    // That node is none, so nothing would ever fire.
    if path != REJECTION {
        watches.arm(kind, path, connection.id());
    }
}

/// The nodes under `/zookeeper/` that are no nodes.
struct Nodes<'a> {
    refusals: &'a Refusals,
    of_server: &'a dyn VirtualNodes,
}

impl VirtualNodes for Nodes<'_> {
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        if path == REJECTION {
            return self.refusals.text().map(String::into_bytes);
        }
        self.of_server.data(state, path)
    }
}
