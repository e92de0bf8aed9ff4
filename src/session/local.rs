//! Requests that this server answers from its own state: reads, watches, ping, whoAmI.
//!
//! The reply is queued and the watch is set under one lock of the state. So no event of the watch leaves before the
//! reply.

use super::connection::{Connection, Kind};
use super::judgement::{self, Inquiry, OpenQuestion, Rulings};
use super::order::LocalRequest;
use super::rejection::Refusals;
use crate::model::control_plane::REJECTION;
use crate::model::{ErrorCode, Identity};
use crate::pipeline::read::{self, Reader, Scratch, VirtualNodes};
use crate::state::State;
use crate::watch::{PersistentMode, WatchKind, WatcherType, Watches};
use crate::wire::reply::{Body, EventKind, xid};
use crate::wire::request::{Request, RequestHeader, SetWatches};
use std::sync::Arc;

/// The zxid of events that setWatches replays: they belong to no transaction (WatchedEvent.NO_ZXID).
const NO_ZXID: i64 = -1;

/// One request whose turn has come.
pub(super) struct Question<'a> {
    pub(crate) header: RequestHeader,
    pub(crate) received_us: u64,
    pub(crate) request: &'a LocalRequest,
    pub(crate) identities: &'a Arc<[Identity]>,
}

/// Whether `answer` needs the table of watches.
pub(super) fn needs_watches(request: &LocalRequest) -> bool {
    match request {
        LocalRequest::Request(request) => match request {
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
        LocalRequest::Refused(_) | LocalRequest::SessionAgain(_) | LocalRequest::CloseLocalSession => false,
    }
}

/// Queues the answer. The error has the questions that plugins must be asked first; then nothing is queued. `watches`:
/// Some if `needs_watches` says so.
pub(super) fn answer(
    connection: &Connection,
    refusals: &mut Refusals,
    state: &State,
    watches: Option<&mut Watches>,
    question: &Question<'_>,
    inquiry: &Inquiry,
) -> Result<(), Vec<OpenQuestion>> {
    let zxid = state.last_zxid().to_wire();
    let header = question.header;
    match question.request {
        LocalRequest::Refused(code) => connection.reply(header.xid, zxid, code.code(), &Body::Empty),
        LocalRequest::CloseLocalSession => {
            connection.reply(header.xid, zxid, 0, &Body::Empty);
            connection.home().local_sessions().forget(connection.session());
            connection.close_after_flush();
        }
        LocalRequest::SessionAgain(password) => connection.queue_session(*password, true),
        LocalRequest::Request(request) => {
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
    // A ping is answered under the xid of pings, whatever its own xid is.
    let xid = if *request == Request::Ping { xid::PING } else { header.xid };
    let body = result.unwrap_or(Body::Empty);
    connection.reply(xid, zxid, error, &body);
    count_read(connection, request, &body);
    if let (Some((kind, path)), Some(watches)) = (read::watch_to_arm(request, ended), watches) {
        arm(watches, kind, path, connection);
    }
    // Client libraries send setWatches by themselves, and nobody asks for the reason of its refusal.
    if !matches!(request, Request::SetWatches(_)) {
        rulings.iter().flatten().for_each(|refusal| refusals.note(header.xid, refusal));
    }
}

/// Counts the bytes read per namespace, for `mntr`.
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
        // The read failed.
        _ => return,
    };
    connection.metrics().namespaces.read(path, bytes);
}

/// Answers a request about the connection and its watches. None for reads of the tree.
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
        // ZooKeeper throws an exception at an unknown mode, which the client sees as MARSHALLINGERROR. ZooKeeper
        // accepts a watch on a null path, which never fires.
        Request::AddWatch { path, mode } => match (path, PersistentMode::from_wire(*mode)) {
            (Some(path), Some(mode)) => {
                watches.add(path, mode, id);
                Ok(())
            }
            (None, Some(_)) => Ok(()),
            (_, None) => Err(ErrorCode::MarshallingError),
        },
        // An unknown watcher type is an exception in ZooKeeper. Nobody watches a null path.
        Request::CheckWatches { path, kind } => match (path, WatcherType::from_wire(*kind)) {
            (_, None) => Err(ErrorCode::MarshallingError),
            (None, Some(_)) => Err(ErrorCode::NoWatcher),
            (Some(path), Some(kind)) => found(watches.has(path, kind, id)),
        },
        Request::RemoveWatches { path, kind } => match (path, WatcherType::from_wire(*kind)) {
            (_, None) => Err(ErrorCode::MarshallingError),
            (None, Some(_)) => Err(ErrorCode::NoWatcher),
            (Some(path), Some(kind)) => found(watches.remove(path, kind, id)),
        },
        Request::SetWatches(asked) => {
            set_watches(connection, state, watches, asked, rulings);
            Ok(())
        }
        _ => return None,
    })
}

/// The answer of checkWatches and removeWatches.
fn found(any: bool) -> Result<(), ErrorCode> {
    if any { Ok(()) } else { Err(ErrorCode::NoWatcher) }
}

fn watch_body(request: &Request) -> Body<'static> {
    match request {
        // ZooKeeper sends an ErrorResponse with code 0.
        Request::AddWatch { .. } => Body::Number(0),
        _ => Body::Empty,
    }
}

/// A client that came back sets its watches again (DataTree.setWatches). An event is sent at once for each node that
/// has changed since `relative_zxid`; the other watches are set. As in ZooKeeper, no ACL is checked: events tell of
/// changes, not of content. A path that a policy refuses gets neither event nor watch.
fn set_watches(connection: &Connection, state: &State, watches: &mut Watches, asked: &SetWatches, rulings: &Rulings) {
    // `judgement` rules on the paths in this order.
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

/// Sets a watch for the connection.
fn arm(watches: &mut Watches, kind: WatchKind, path: &str, connection: &Connection) {
    // The path is no node, so a watch on it would never fire.
    if path != REJECTION {
        watches.arm(kind, path, connection.id());
    }
}

/// The paths under `/zookeeper/` that are computed and are no nodes of the tree.
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
