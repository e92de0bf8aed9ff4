//! The client's end of the protocol: requests to bytes, bytes to replies and events. For our own command line (`cli`)
//! and for tests; the server needs none of it.

use super::decode::Fault;
use super::jute::{self, Reader};
use super::reply::{ConnectResponse, ReplyHeader, xid};
use super::request::{ConnectRequest, Create, CreateForm, Operation, Request, SetWatches, op};
use crate::model::{AclEntry, Identity, Stat};
use bytes::{BufMut, Bytes, BytesMut};

/// Appends the first message of a connection.
pub fn connect_request(out: &mut BytesMut, request: &ConnectRequest) {
    jute::put_frame(out, |out| {
        out.put_i32(request.protocol_version);
        out.put_i64(request.last_zxid_seen);
        out.put_i32(request.timeout_ms);
        out.put_i64(request.session_id);
        jute::put_buffer(out, request.password.as_deref());
        if let Some(read_only) = request.read_only {
            out.put_u8(read_only.into());
        }
    });
}

/// Appends any later message.
pub fn request(out: &mut BytesMut, xid: i32, request: &Request) {
    raw(out, xid, opcode(request), |out| put_request(out, request));
}

/// Appends a message whose body `fill` writes.
pub fn raw(out: &mut BytesMut, xid: i32, opcode: i32, fill: impl FnOnce(&mut BytesMut)) {
    jute::put_frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(opcode);
        fill(out);
    });
}

/// Appends a setData. Like the ones below, for a load generator: nothing is built first.
pub fn set_data(out: &mut BytesMut, xid: i32, path: &str, data: &[u8], version: i32) {
    raw(out, xid, op::SET_DATA, |out| {
        jute::put_string(out, path);
        jute::put_buffer(out, Some(data));
        out.put_i32(version);
    });
}

pub fn get_data(out: &mut BytesMut, xid: i32, path: &str, watch: bool) {
    raw(out, xid, op::GET_DATA, |out| {
        jute::put_string(out, path);
        out.put_u8(watch.into());
    });
}

/// Appends a create of a node anybody may use.
pub fn create(out: &mut BytesMut, xid: i32, path: &str, data: &[u8], flags: i32) {
    raw(out, xid, op::CREATE, |out| {
        jute::put_string(out, path);
        jute::put_buffer(out, Some(data));
        jute::put_acl(out, &crate::model::acl::open_unsafe());
        out.put_i32(flags);
    });
}

pub fn delete(out: &mut BytesMut, xid: i32, path: &str, version: i32) {
    raw(out, xid, op::DELETE, |out| {
        jute::put_string(out, path);
        out.put_i32(version);
    });
}

pub fn ping(out: &mut BytesMut) {
    raw(out, xid::PING, op::PING, |_| {});
}

pub fn close_session(out: &mut BytesMut, xid: i32) {
    raw(out, xid, op::CLOSE_SESSION, |_| {});
}

/// The opcode a request is sent by. `setWatches` takes the older form when it needs nothing of the newer.
pub fn opcode(request: &Request) -> i32 {
    match request {
        Request::Create(create) => create.form.opcode(),
        Request::Delete { .. } => op::DELETE,
        Request::Exists { .. } => op::EXISTS,
        Request::GetData { .. } => op::GET_DATA,
        Request::SetData { .. } => op::SET_DATA,
        Request::GetAcl { .. } => op::GET_ACL,
        Request::SetAcl { .. } => op::SET_ACL,
        Request::GetChildren { .. } => op::GET_CHILDREN,
        Request::GetChildren2 { .. } => op::GET_CHILDREN2,
        Request::Sync { .. } => op::SYNC,
        Request::Ping => op::PING,
        Request::Check { .. } => op::CHECK,
        Request::Multi(_) => op::MULTI,
        Request::MultiRead(_) => op::MULTI_READ,
        Request::Reconfig { .. } => op::RECONFIG,
        Request::CheckWatches { .. } => op::CHECK_WATCHES,
        Request::RemoveWatches { .. } => op::REMOVE_WATCHES,
        Request::DeleteContainer { .. } => op::DELETE_CONTAINER,
        Request::Auth { .. } => op::AUTH,
        Request::Sasl { .. } => op::SASL,
        Request::SetWatches(watches) if watches.persistent.is_empty() && watches.recursive.is_empty() => op::SET_WATCHES,
        Request::SetWatches(_) => op::SET_WATCHES2,
        Request::GetEphemerals { .. } => op::GET_EPHEMERALS,
        Request::GetAllChildrenNumber { .. } => op::GET_ALL_CHILDREN_NUMBER,
        Request::AddWatch { .. } => op::ADD_WATCH,
        Request::WhoAmI => op::WHO_AM_I,
        Request::CloseSession => op::CLOSE_SESSION,
        Request::FilteredList { .. } => op::FILTERED_LIST,
        Request::CheckNotExists { .. } => op::CHECK_NOT_EXISTS,
    }
}

fn put_request(out: &mut BytesMut, request: &Request) {
    match request {
        Request::Create(create) => put_create(out, create),
        Request::Delete { path, version }
        | Request::Check { path, version }
        | Request::CheckNotExists { path, version }
        | Request::CheckWatches { path, kind: version }
        | Request::RemoveWatches { path, kind: version }
        | Request::AddWatch { path, mode: version } => {
            put_path(out, path);
            out.put_i32(*version);
        }
        Request::Exists { path, watch }
        | Request::GetData { path, watch }
        | Request::GetChildren { path, watch }
        | Request::GetChildren2 { path, watch } => {
            put_path(out, path);
            out.put_u8((*watch).into());
        }
        Request::FilteredList { path, watch, filter } => {
            put_path(out, path);
            out.put_u8((*watch).into());
            out.put_u8(*filter);
        }
        Request::SetData { path, data, version } => {
            put_path(out, path);
            jute::put_buffer(out, data.as_deref());
            out.put_i32(*version);
        }
        Request::SetAcl { path, acl, version } => {
            put_path(out, path);
            put_acl(out, acl.as_deref());
            out.put_i32(*version);
        }
        Request::GetAcl { path }
        | Request::Sync { path }
        | Request::DeleteContainer { path }
        | Request::GetEphemerals { prefix: path }
        | Request::GetAllChildrenNumber { path } => put_path(out, path),
        Request::Ping | Request::WhoAmI | Request::CloseSession => {}
        Request::Multi(operations) | Request::MultiRead(operations) => put_multi(out, operations),
        Request::Reconfig { joining, leaving, new_members, config_id } => {
            put_path(out, joining);
            put_path(out, leaving);
            put_path(out, new_members);
            out.put_i64(*config_id);
        }
        Request::Auth { kind, scheme, credential } => {
            out.put_i32(*kind);
            put_path(out, scheme);
            jute::put_buffer(out, credential.as_deref());
        }
        Request::Sasl { token } => jute::put_buffer(out, token.as_deref()),
        Request::SetWatches(watches) => put_set_watches(out, watches, opcode(request) == op::SET_WATCHES2),
    }
}

fn put_path(out: &mut BytesMut, path: &Option<String>) {
    jute::put_optional_string(out, path.as_deref());
}

fn put_acl(out: &mut BytesMut, acl: Option<&[AclEntry]>) {
    match acl {
        Some(acl) => jute::put_acl(out, acl),
        None => out.put_i32(-1),
    }
}

fn put_create(out: &mut BytesMut, create: &Create) {
    put_path(out, &create.path);
    jute::put_buffer(out, create.data.as_deref());
    put_acl(out, create.acl.as_deref());
    out.put_i32(create.flags);
    if create.form == CreateForm::Ttl {
        out.put_i64(create.ttl_ms);
    }
}

fn put_multi(out: &mut BytesMut, operations: &[Operation]) {
    for operation in operations {
        put_multi_header(out, operation.op, false);
        put_request(out, &operation.request);
    }
    put_multi_header(out, -1, true);
}

fn put_multi_header(out: &mut BytesMut, kind: i32, done: bool) {
    out.put_i32(kind);
    out.put_u8(done.into());
    out.put_i32(-1);
}

fn put_set_watches(out: &mut BytesMut, watches: &SetWatches, newer: bool) {
    out.put_i64(watches.relative_zxid);
    let lists = [&watches.data, &watches.exist, &watches.child, &watches.persistent, &watches.recursive];
    for list in &lists[..if newer { 5 } else { 3 }] {
        jute::put_strings(out, list.iter().map(String::as_str));
    }
}

/// The server's answer to the first message.
pub fn connect_response(frame: Bytes) -> Result<ConnectResponse, Fault> {
    let mut reader = Reader::new(frame);
    reader.int()?;
    let timeout_ms = reader.int()?;
    let session_id = reader.long()?;
    let sent = reader.buffer()?.unwrap_or_default();
    let mut password = [0; 16];
    let length = sent.len().min(password.len());
    password[..length].copy_from_slice(&sent[..length]);
    let read_only = if reader.remaining() > 0 { Some(reader.boolean()?) } else { None };
    Ok(ConnectResponse { timeout_ms, session_id, password, read_only })
}

/// A reply's header, and its body still in bytes: which record it is, only the asker knows.
pub fn reply(frame: Bytes) -> Result<(ReplyHeader, Record), Fault> {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader { xid: reader.int()?, zxid: reader.long()?, error: reader.int()? };
    Ok((header, Record(reader)))
}

/// What a notification (xid -1) carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Watcher.Event.EventType: 1 created, 2 deleted, 3 data changed, 4 children changed.
    pub kind: i32,
    pub state: i32,
    pub path: String,
}

/// One slot of a multi's reply, with what it holds.
#[derive(Clone, PartialEq, Debug)]
pub enum SlotReply {
    Error(i32),
    Path(String),
    PathStat(String, Stat),
    Done,
    Stat(Stat),
    Data(Option<Bytes>, Stat),
    Children(Vec<String>),
}

/// The body of a reply, read field by field.
pub struct Record(Reader);

impl Record {
    pub fn string(&mut self) -> Result<String, Fault> {
        Ok(self.0.string()?.unwrap_or_default())
    }

    pub fn strings(&mut self) -> Result<Vec<String>, Fault> {
        Ok(self.0.vector(|reader| Ok(reader.string()?.unwrap_or_default()))?.unwrap_or_default())
    }

    pub fn buffer(&mut self) -> Result<Option<Bytes>, Fault> {
        self.0.buffer()
    }

    pub fn number(&mut self) -> Result<i32, Fault> {
        self.0.int()
    }

    pub fn stat(&mut self) -> Result<Stat, Fault> {
        self.0.stat()
    }

    pub fn acl(&mut self) -> Result<Vec<AclEntry>, Fault> {
        Ok(self.0.acl()?.unwrap_or_default())
    }

    pub fn identities(&mut self) -> Result<Vec<Identity>, Fault> {
        let identities = self.0.vector(|reader| {
            let scheme = reader.string()?.unwrap_or_default();
            Ok(Identity { scheme, id: reader.string()?.unwrap_or_default() })
        })?;
        Ok(identities.unwrap_or_default())
    }

    pub fn event(&mut self) -> Result<Event, Fault> {
        Ok(Event { kind: self.number()?, state: self.number()?, path: self.string()? })
    }

    pub fn multi(&mut self) -> Result<Vec<SlotReply>, Fault> {
        let mut slots = Vec::new();
        loop {
            let kind = self.number()?;
            let done = self.0.boolean()?;
            self.number()?;
            if done {
                return Ok(slots);
            }
            slots.push(match kind {
                op::ERROR => SlotReply::Error(self.number()?),
                op::CREATE | op::CREATE_IF_NOT_EXISTS => SlotReply::Path(self.string()?),
                op::CREATE2 => SlotReply::PathStat(self.string()?, self.stat()?),
                op::DELETE | op::CHECK | op::CHECK_NOT_EXISTS => SlotReply::Done,
                op::SET_DATA => SlotReply::Stat(self.stat()?),
                op::GET_DATA => SlotReply::Data(self.buffer()?, self.stat()?),
                op::GET_CHILDREN => SlotReply::Children(self.strings()?),
                _ => return Err(Fault::UnknownOperation),
            });
        }
    }
}
