//! Requests that this server answers from its own state: reads, watches, ping, whoAmI.
//!
//! The reply is queued and the watch is set under one lock of the state. So no event of the watch leaves before the
//! reply.

use super::connection::{Connection, Kind};
use super::judgement::{self, Inquiry, Rulings, Unready};
use super::order::LocalRequest;
use super::rejection::Refusals;
use crate::limits::HEAVY_READ_BYTES;
use crate::model::control_plane::REJECTION;
use crate::model::{ErrorCode, Identity, SessionId, Stat};
use crate::pipeline::read::pieces::{self, Progress};
use crate::pipeline::read::{self, Reader, Scratch, VirtualNodes};
use crate::state::State;
use crate::watch::{PersistentMode, WatchKind, WatcherType, Watches};
use crate::wire::encode::NamesReply;
use crate::wire::reply::{Body, EventKind, MultiSlot, ReplyHeader, xid};
use crate::wire::request::{Request, RequestHeader, SetWatches};
use std::ops::Range;
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

/// Whether the answer would be too long now to be made under the exclusive lock of the state.
pub(super) fn is_heavy(state: &State, session: SessionId, request: &LocalRequest) -> bool {
    weight(state, session, request) > HEAVY_READ_BYTES
}

/// About how many bytes the answer has (`read::weight`).
pub(super) fn weight(state: &State, session: SessionId, request: &LocalRequest) -> usize {
    if let LocalRequest::Request(request) = request { read::weight(state, session, request) } else { 0 }
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

/// Queues the answer, or notes in `inquiry` how far it has come. Returns how many bytes were queued. With an error,
/// nothing is queued but events of setWatches. `watches`: Some if `needs_watches` says so.
pub(super) fn answer(
    connection: &Connection,
    refusals: &mut Refusals,
    state: &State,
    watches: Option<&mut Watches>,
    question: &Question<'_>,
    inquiry: &mut Inquiry,
) -> Result<u64, Unready> {
    let zxid = state.last_zxid().to_wire();
    let header = question.header;
    let bytes = match question.request {
        LocalRequest::Refused(code) => connection.reply(header.xid, zxid, code.code(), &Body::Empty),
        LocalRequest::CloseLocalSession => {
            let bytes = connection.reply(header.xid, zxid, 0, &Body::Empty);
            connection.home().local_sessions().forget(connection.session());
            connection.close_after_flush();
            bytes
        }
        LocalRequest::SessionAgain(password) => connection.queue_session(*password, true),
        LocalRequest::Request(request) => {
            let home = connection.home();
            let rulings = judgement::rule(home.plugins(), home.rules(), state, question.identities, request, inquiry);
            let rulings = rulings.map_err(Unready::Ask)?;
            answer_request(connection, refusals, state, watches, question, request, &rulings, inquiry)?
        }
    };
    connection.answered(header, question.received_us, Kind::Read, zxid);
    Ok(bytes)
}

#[expect(clippy::too_many_arguments, reason = "`answer` has prepared them for this one call")]
fn answer_request(
    connection: &Connection,
    refusals: &mut Refusals,
    state: &State,
    mut watches: Option<&mut Watches>,
    question: &Question<'_>,
    request: &Request,
    rulings: &Rulings,
    inquiry: &mut Inquiry,
) -> Result<u64, Unready> {
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
    let mut list = None;
    let mut result = match judgement::of_all(rulings, request) {
        Some(refusal) => Err(refusal.code),
        None => match watching(connection, state, &mut watches, request, rulings, inquiry)? {
            Some(result) => result.map(|()| watch_body(request)),
            None => match next_piece(reader, request, inquiry)? {
                Some(whole) => whole.map(|whole| {
                    list = Some(whole);
                    Body::Empty
                }),
                None => read::read(reader, request, &mut scratch),
            },
        },
    };
    // A read never succeeds without the watch that it asked for.
    let asked = result.as_ref().map(|_| ()).map_err(|&code| code);
    if let (Some((_, path)), Some(watches)) = (read::watch_to_arm(request, asked), &watches)
        && !watches.has_room(path, connection.id())
    {
        result = Err(ErrorCode::ThrottledOp);
    }
    let ended = match &result {
        Ok(Body::BrokenMulti(_)) => Err(ErrorCode::MarshallingError),
        other => other.as_ref().map(|_| ()).map_err(|&code| code),
    };
    let error = ended.err().map_or(0, ErrorCode::code);
    // A ping is answered under the xid of pings, whatever its own xid is.
    let xid = if *request == Request::Ping { xid::PING } else { header.xid };
    let body = result.unwrap_or(Body::Empty);
    let bytes = match list.filter(|_| error == 0) {
        Some((names, stat)) => {
            count_bytes_read(connection, request, names.bytes());
            let header = ReplyHeader { xid, zxid, error };
            connection.queue_reply(|out| names.finish(out, &header, stat.as_ref()))
        }
        None => connection.reply(xid, zxid, error, &body),
    };
    count_read(connection, request, &body);
    count_throttled(connection, error, &body);
    if let (Some((kind, path)), Some(watches)) = (read::watch_to_arm(request, ended), watches) {
        let armed = arm(watches, kind, path, connection);
        assert!(armed, "there was room for the watch a moment ago");
    }
    // Client libraries send setWatches by themselves, and nobody asks for the reason of its refusal.
    if !matches!(request, Request::SetWatches(_)) {
        rulings.iter().flatten().for_each(|refusal| refusals.note(header.xid, refusal));
    }
    // Client libraries do not look at the result of setWatches. Without its watches the client must begin anew.
    if matches!(request, Request::SetWatches(_)) && error != 0 {
        connection.close_after_flush();
    }
    Ok(bytes)
}

/// A long list that is whole, with the Stat of its node if the request asks for one; or the error that ended the read.
type WholeList = Result<(NamesReply, Option<Stat>), ErrorCode>;

/// Reads the next piece of a long list. None: the request is answered at once. An error of the read ends the list.
fn next_piece(reader: Reader<'_>, request: &Request, inquiry: &mut Inquiry) -> Result<Option<WholeList>, Unready> {
    let pieces = match inquiry.pieces.take() {
        None if inquiry.is_closed() => None,
        None => pieces::begin(reader, request),
        begun => begun,
    };
    let Some(pieces) = pieces else { return Ok(None) };
    match pieces::go_on(reader, request, pieces) {
        Ok(Progress::Whole(names, stat)) => Ok(Some(Ok((names, stat)))),
        Ok(Progress::More(pieces)) => {
            inquiry.pieces = Some(pieces);
            Err(Unready::GoOn)
        }
        Err(code) => Ok(Some(Err(code))),
    }
}

fn count_throttled(connection: &Connection, error: i32, body: &Body<'_>) {
    const THROTTLED: i32 = ErrorCode::ThrottledOp.code();
    let any = match body {
        Body::Multi(slots) | Body::BrokenMulti(slots) => slots.contains(&MultiSlot::Error(THROTTLED)),
        _ => error == THROTTLED,
    };
    if any {
        connection.metrics().throttled_ops.increment();
    }
}

fn count_bytes_read(connection: &Connection, request: &Request, bytes: usize) {
    if let Request::GetChildren { path: Some(path), .. } | Request::GetChildren2 { path: Some(path), .. } = request {
        connection.metrics().namespaces.read(path, bytes);
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
    inquiry: &mut Inquiry,
) -> Result<Option<Result<(), ErrorCode>>, Unready> {
    let watches = match request {
        Request::Ping => return Ok(Some(Ok(()))),
        Request::AddWatch { .. }
        | Request::CheckWatches { .. }
        | Request::RemoveWatches { .. }
        | Request::SetWatches(_) => watches.as_deref_mut().expect("needs_watches asked for the table"),
        _ => return Ok(None),
    };
    let id = connection.id();
    Ok(Some(match request {
        // ZooKeeper throws an exception at an unknown mode, which the client sees as MARSHALLINGERROR. ZooKeeper
        // accepts a watch on a null path, which never fires.
        Request::AddWatch { path, mode } => match (path, PersistentMode::from_wire(*mode)) {
            (Some(path), Some(mode)) => roomy(watches.add(path, mode, id)),
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
            let next = inquiry.next_parts(request);
            let set = set_watches(connection, state, watches, asked, next.clone(), rulings);
            if set.is_ok() && next.end < asked.count() {
                inquiry.watches_set = next.end;
                return Err(Unready::GoOn);
            }
            set
        }
        _ => return Ok(None),
    }))
}

/// The answer to a request that sets a watch. `set`: whether there was room for it.
fn roomy(set: bool) -> Result<(), ErrorCode> {
    if set { Ok(()) } else { Err(ErrorCode::ThrottledOp) }
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
/// changes, not of content. A path that a policy refuses gets neither event nor watch. `next`: which of the watches are
/// set now. `rulings`: on those. The error says that there is no room for a watch.
fn set_watches(
    connection: &Connection,
    state: &State,
    watches: &mut Watches,
    asked: &SetWatches,
    next: Range<usize>,
    rulings: &Rulings,
) -> Result<(), ErrorCode> {
    let mut rulings = rulings.iter();
    // `judgement` rules on the paths in this order.
    let data = asked.data.iter().map(|path| (Again::Data, path));
    let exist = asked.exist.iter().map(|path| (Again::Exist, path));
    let child = asked.child.iter().map(|path| (Again::Child, path));
    let persistent = asked.persistent.iter().map(|path| (Again::Added(PersistentMode::Persistent), path));
    let recursive = asked.recursive.iter().map(|path| (Again::Added(PersistentMode::Recursive), path));
    let all = data.chain(exist).chain(child).chain(persistent).chain(recursive);
    for (again, path) in all.skip(next.start).take(next.len()) {
        if rulings.next().is_some_and(Option::is_some) {
            continue;
        }
        let (event, kind) = match (again, state.node(path)) {
            (Again::Data | Again::Child, None) => (Some(EventKind::Deleted), WatchKind::Data),
            (Again::Data, Some(node)) => {
                ((node.mzxid() > asked.relative_zxid).then_some(EventKind::DataChanged), WatchKind::Data)
            }
            (Again::Exist, node) => (node.map(|_| EventKind::Created), WatchKind::Exist),
            (Again::Child, Some(node)) => {
                ((node.pzxid() > asked.relative_zxid).then_some(EventKind::ChildrenChanged), WatchKind::Child)
            }
            (Again::Added(mode), _) => {
                roomy(watches.add(path, mode, connection.id()))?;
                continue;
            }
        };
        match event {
            Some(event) => connection.queue_event(NO_ZXID, event, path),
            None => roomy(arm(watches, kind, path, connection))?,
        }
    }
    Ok(())
}

/// A watch that is set again.
#[derive(Clone, Copy)]
enum Again {
    Data,
    Exist,
    Child,
    Added(PersistentMode),
}

/// Sets a watch for the connection. False if there is no room for it.
fn arm(watches: &mut Watches, kind: WatchKind, path: &str, connection: &Connection) -> bool {
    // The path is no node, so a watch on it would never fire.
    path == REJECTION || watches.arm(kind, path, connection.id())
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
