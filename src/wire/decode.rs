//! Frames to requests, by the rules of ZooKeeper 3.9.5.
//!
//! Bytes behind a record are ignored, as ZooKeeper does. What cannot be read is a `DecodeError`, which carries the header
//! when there was one and knows what ZooKeeper would have answered (`DecodeError::answer`).

pub use super::jute::Fault;
use super::jute::Reader;
use super::request::{
    ConnectRequest, Create, CreateForm, Operation, Request, RequestHeader, SetWatches, create_mode, op,
};
use crate::model::ErrorCode;
use bytes::Bytes;
use thiserror::Error;

/// A frame that is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{}{fault}", self.header.map_or_else(String::new, |header| format!("operation {}: ", header.op)))]
pub struct DecodeError {
    /// None if the frame ends within it.
    pub header: Option<RequestHeader>,
    pub fault: Fault,
}

/// What becomes of a frame that is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The connection is closed without a reply.
    Close,
    /// The connection lives on.
    Reply(RequestHeader, ErrorCode),
    /// The reply overtakes those of earlier requests; then the connection is closed.
    ReplyAndClose(RequestHeader, ErrorCode),
}

impl DecodeError {
    pub fn answer(&self) -> Answer {
        let Some(header) = self.header else { return Answer::Close };
        match (self.fault, header.op) {
            (Fault::UnknownOperation, _) => Answer::ReplyAndClose(header, ErrorCode::Unimplemented),
            // These two are read on the connection's own thread in ZooKeeper, which gives up.
            (_, op::AUTH | op::SASL) => Answer::Close,
            _ => Answer::Reply(header, ErrorCode::MarshallingError),
        }
    }
}

/// The first message of a connection.
pub fn connect_request(frame: &Bytes) -> Result<ConnectRequest, DecodeError> {
    let mut reader = Reader::new(frame.clone());
    read_connect_request(&mut reader).map_err(|fault| DecodeError { header: None, fault })
}

fn read_connect_request(reader: &mut Reader) -> Result<ConnectRequest, Fault> {
    Ok(ConnectRequest {
        protocol_version: reader.int()?,
        last_zxid_seen: reader.long()?,
        timeout_ms: reader.int()?,
        session_id: reader.long()?,
        password: reader.buffer()?,
        read_only: if reader.remaining() > 0 { Some(reader.boolean()?) } else { None },
    })
}

/// Any later message. Buffers in the request are slices of the frame.
pub fn request(frame: Bytes) -> Result<(RequestHeader, Request), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = read_header(&mut reader).map_err(|fault| DecodeError { header: None, fault })?;
    match read_request(&mut reader, header.op) {
        Ok(request) => Ok((header, request)),
        Err(fault) => Err(DecodeError { header: Some(header), fault }),
    }
}

fn read_header(reader: &mut Reader) -> Result<RequestHeader, Fault> {
    Ok(RequestHeader { xid: reader.int()?, op: reader.int()? })
}

fn read_request(reader: &mut Reader, opcode: i32) -> Result<Request, Fault> {
    Ok(match opcode {
        op::CREATE => Request::Create(read_create(reader, CreateForm::Create)?),
        op::CREATE2 => Request::Create(read_create(reader, CreateForm::Create2)?),
        op::CREATE_CONTAINER => Request::Create(read_create(reader, CreateForm::Container)?),
        op::CREATE_TTL => Request::Create(read_create(reader, CreateForm::Ttl)?),
        op::CREATE_IF_NOT_EXISTS => Request::Create(read_create(reader, CreateForm::IfNotExists)?),
        op::DELETE => Request::Delete { path: reader.string()?, version: reader.int()? },
        op::EXISTS => Request::Exists { path: reader.string()?, watch: reader.boolean()? },
        op::GET_DATA => Request::GetData { path: reader.string()?, watch: reader.boolean()? },
        op::SET_DATA => {
            Request::SetData { path: reader.string()?, data: reader.buffer()?, version: reader.int()? }
        }
        op::GET_ACL => Request::GetAcl { path: reader.string()? },
        op::SET_ACL => Request::SetAcl { path: reader.string()?, acl: reader.acl()?, version: reader.int()? },
        op::GET_CHILDREN => Request::GetChildren { path: reader.string()?, watch: reader.boolean()? },
        op::GET_CHILDREN2 => Request::GetChildren2 { path: reader.string()?, watch: reader.boolean()? },
        op::SYNC => Request::Sync { path: reader.string()? },
        op::PING => Request::Ping,
        op::MULTI => Request::Multi(read_multi(reader, MultiKind::Writes)?),
        op::MULTI_READ => Request::MultiRead(read_multi(reader, MultiKind::Reads)?),
        op::RECONFIG => Request::Reconfig {
            joining: reader.string()?,
            leaving: reader.string()?,
            new_members: reader.string()?,
            config_id: reader.long()?,
        },
        op::CHECK_WATCHES => Request::CheckWatches { path: reader.string()?, kind: reader.int()? },
        op::REMOVE_WATCHES => Request::RemoveWatches { path: reader.string()?, kind: reader.int()? },
        op::DELETE_CONTAINER => Request::DeleteContainer { path: reader.string()? },
        op::AUTH => {
            Request::Auth { kind: reader.int()?, scheme: reader.string()?, credential: reader.buffer()? }
        }
        op::SASL => Request::Sasl { token: reader.buffer()? },
        op::SET_WATCHES => Request::SetWatches(read_set_watches(reader)?),
        op::SET_WATCHES2 => {
            let watches = read_set_watches(reader)?;
            Request::SetWatches(SetWatches { persistent: paths(reader)?, recursive: paths(reader)?, ..watches })
        }
        op::GET_EPHEMERALS => Request::GetEphemerals { prefix: reader.string()? },
        op::GET_ALL_CHILDREN_NUMBER => Request::GetAllChildrenNumber { path: reader.string()? },
        op::ADD_WATCH => Request::AddWatch { path: reader.string()?, mode: reader.int()? },
        op::WHO_AM_I => Request::WhoAmI,
        op::CLOSE_SESSION => Request::CloseSession,
        op::FILTERED_LIST => {
            Request::FilteredList { path: reader.string()?, watch: reader.boolean()?, filter: reader.byte()? }
        }
        op::CHECK_NOT_EXISTS => Request::CheckNotExists { path: reader.string()?, version: reader.int()? },
        // `check` (13) exists only within a multi.
        _ => return Err(Fault::UnknownOperation),
    })
}

fn read_create(reader: &mut Reader, form: CreateForm) -> Result<Create, Fault> {
    Ok(Create {
        form,
        path: reader.string()?,
        data: reader.buffer()?,
        acl: reader.acl()?,
        flags: reader.int()?,
        ttl_ms: if form == CreateForm::Ttl { reader.long()? } else { 0 },
    })
}

fn read_set_watches(reader: &mut Reader) -> Result<SetWatches, Fault> {
    Ok(SetWatches {
        relative_zxid: reader.long()?,
        data: paths(reader)?,
        exist: paths(reader)?,
        child: paths(reader)?,
        persistent: Vec::new(),
        recursive: Vec::new(),
    })
}

/// ZooKeeper stumbles over a null list and over a null path in it.
fn paths(reader: &mut Reader) -> Result<Vec<String>, Fault> {
    reader.vector(|reader| reader.string()?.ok_or(Fault::Null))?.ok_or(Fault::Null)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MultiKind {
    Reads,
    Writes,
}

/// Operations, each behind a header {type, done, error}, up to a header that says done. Its type and the errors are not
/// looked at (MultiOperationRecord.java).
fn read_multi(reader: &mut Reader, kind: MultiKind) -> Result<Vec<Operation>, Fault> {
    let mut operations = Vec::new();
    loop {
        let opcode = reader.int()?;
        let done = reader.boolean()?;
        reader.int()?;
        if done {
            return Ok(operations);
        }
        operations.push(read_operation(reader, kind, opcode)?);
    }
}

fn read_operation(reader: &mut Reader, kind: MultiKind, opcode: i32) -> Result<Operation, Fault> {
    let request = match (kind, opcode) {
        (MultiKind::Writes, op::CREATE) => multi_create(reader, CreateForm::Create)?,
        (MultiKind::Writes, op::CREATE2) => multi_create(reader, CreateForm::Create2)?,
        (MultiKind::Writes, op::CREATE_CONTAINER) => multi_create(reader, CreateForm::Container)?,
        (MultiKind::Writes, op::CREATE_TTL) => multi_create_ttl(reader)?,
        (MultiKind::Writes, op::CREATE_IF_NOT_EXISTS) => {
            Request::Create(read_create(reader, CreateForm::IfNotExists)?)
        }
        (MultiKind::Writes, op::DELETE | op::SET_DATA | op::CHECK_NOT_EXISTS)
        | (MultiKind::Reads, op::GET_DATA | op::GET_CHILDREN) => read_request(reader, opcode)?,
        (MultiKind::Writes, op::CHECK) => Request::Check { path: reader.string()?, version: reader.int()? },
        _ => return Err(Fault::BadMultiPart(opcode)),
    };
    let opcode = if let Request::Create(create) = &request { create.form.opcode() } else { opcode };
    Ok(Operation { op: opcode, request: without_watch(request) })
}

/// A multiRead never leaves a watch, whatever its records say.
fn without_watch(mut request: Request) -> Request {
    if let Request::GetData { watch, .. } | Request::GetChildren { watch, .. } = &mut request {
        *watch = false;
    }
    request
}

/// In a multi the mode decides what a create is, not its opcode alone (Op.java): TTL modes make it a createTTL, with -1
/// as time to live where the record has none, and the container mode a createContainer.
fn multi_create(reader: &mut Reader, form: CreateForm) -> Result<Request, Fault> {
    let create = read_create(reader, form)?;
    if create.acl.is_none() {
        return Err(Fault::Null);
    }
    Ok(Request::Create(match create.flags {
        create_mode::PERSISTENT..=create_mode::EPHEMERAL_SEQUENTIAL => create,
        create_mode::CONTAINER => Create { form: CreateForm::Container, ..create },
        create_mode::TTL | create_mode::SEQUENTIAL_TTL => Create { form: CreateForm::Ttl, ttl_ms: -1, ..create },
        flags => return Err(Fault::BadCreateMode(flags)),
    }))
}

/// A createTTL whose mode is no TTL mode is an ordinary create, its time to live ignored; its mode is judged later.
fn multi_create_ttl(reader: &mut Reader) -> Result<Request, Fault> {
    let create = read_create(reader, CreateForm::Ttl)?;
    Ok(Request::Create(match create.flags {
        create_mode::TTL | create_mode::SEQUENTIAL_TTL => create,
        create_mode::CONTAINER => Create { form: CreateForm::Container, ttl_ms: 0, ..create },
        _ => Create { form: CreateForm::Create, ttl_ms: 0, ..create },
    }))
}
