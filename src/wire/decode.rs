//! Decodes requests by the rules of ZooKeeper 3.9.5.
//!
//! Bytes after a record are ignored, as in ZooKeeper. A frame that cannot be read is a `DecodeError`, which has the
//! header if that could be read, and knows what ZooKeeper would have answered (`DecodeError::answer`).

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
    /// None if the frame ends within the header.
    pub(crate) header: Option<RequestHeader>,
    pub(crate) fault: Fault,
}

/// What the server does about a frame that is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The connection is closed without a reply.
    Close,
    /// An error is the reply, and the connection stays open.
    Reply(RequestHeader, ErrorCode),
    /// The reply is sent before those of earlier requests. Then the connection is closed.
    ReplyAndClose(RequestHeader, ErrorCode),
}

impl DecodeError {
    pub(crate) fn answer(&self) -> Answer {
        let Some(header) = self.header else { return Answer::Close };
        match (self.fault, header.op) {
            (Fault::UnknownOperation, _) => Answer::ReplyAndClose(header, ErrorCode::Unimplemented),
            // ZooKeeper reads these two on the connection's own thread, which then closes the connection.
            (_, op::AUTH | op::SASL) => Answer::Close,
            // ZooKeeper does not know ClickHouse's operations, so it would answer that the operation is unknown.
            (_, op::FILTERED_LIST | op::CHECK_NOT_EXISTS | op::CREATE_IF_NOT_EXISTS) => {
                Answer::ReplyAndClose(header, ErrorCode::Unimplemented)
            }
            _ => Answer::Reply(header, ErrorCode::MarshallingError),
        }
    }
}

/// Decodes the first message of a connection.
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

/// Decodes any later message. Buffers in the request are slices of the frame.
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
        op::SET_DATA => Request::SetData { path: reader.string()?, data: reader.buffer()?, version: reader.int()? },
        op::GET_ACL => Request::GetAcl { path: reader.string()? },
        op::SET_ACL => Request::SetAcl { path: reader.string()?, acl: reader.acl()?, version: reader.int()? },
        op::GET_CHILDREN => Request::GetChildren { path: reader.string()?, watch: reader.boolean()? },
        op::GET_CHILDREN2 => Request::GetChildren2 { path: reader.string()?, watch: reader.boolean()? },
        op::SYNC => Request::Sync { path: reader.string()? },
        op::PING => Request::Ping,
        op::MULTI => Request::Multi(read_multi(reader, Some(MultiKind::Writes))?),
        op::MULTI_READ => Request::MultiRead(read_multi(reader, None)?),
        op::RECONFIG => Request::Reconfig {
            joining: reader.string()?,
            leaving: reader.string()?,
            new_members: reader.string()?,
            config_id: reader.long()?,
        },
        op::CHECK_WATCHES => Request::CheckWatches { path: reader.string()?, kind: reader.int()? },
        op::REMOVE_WATCHES => Request::RemoveWatches { path: reader.string()?, kind: reader.int()? },
        op::DELETE_CONTAINER => Request::DeleteContainer { path: reader.string()? },
        op::AUTH => Request::Auth { kind: reader.int()?, scheme: reader.string()?, credential: reader.buffer()? },
        op::SASL => Request::Sasl { token: reader.buffer()? },
        op::SET_WATCHES => Request::SetWatches(read_set_watches(reader)?),
        op::SET_WATCHES2 => {
            let watches = read_set_watches(reader)?;
            let persistent = optional_paths(reader)?;
            Request::SetWatches(SetWatches { persistent, recursive: optional_paths(reader)?, ..watches })
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
        // `check` (13) is allowed only in a multi.
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

/// A list of paths. ZooKeeper cannot handle a null list, nor a null path in a list.
fn paths(reader: &mut Reader) -> Result<Vec<String>, Fault> {
    reader.vector(|reader| reader.string()?.ok_or(Fault::Null))?.ok_or(Fault::Null)
}

/// A list of paths of persistent watches. ZooKeeper accepts a null path and watches it, but no event can ever happen
/// there. So null paths are left out.
fn optional_paths(reader: &mut Reader) -> Result<Vec<String>, Fault> {
    let paths = reader.vector(Reader::string)?.ok_or(Fault::Null)?;
    Ok(paths.into_iter().flatten().collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MultiKind {
    Reads,
    Writes,
}

impl MultiKind {
    fn of(opcode: i32) -> MultiKind {
        if matches!(opcode, op::GET_DATA | op::GET_CHILDREN) { MultiKind::Reads } else { MultiKind::Writes }
    }
}

/// Operations, each behind a header {type, done, error}, up to a header that says done. Its type and the errors are not
/// looked at (MultiOperationRecord.java). Without a `kind`, the first operation's is that of all.
fn read_multi(reader: &mut Reader, mut kind: Option<MultiKind>) -> Result<Vec<Operation>, Fault> {
    let mut operations = Vec::new();
    loop {
        let opcode = reader.int()?;
        let done = reader.boolean()?;
        reader.int()?;
        if done {
            return Ok(operations);
        }
        let kind = *kind.get_or_insert(MultiKind::of(opcode));
        operations.push(read_operation(reader, kind, opcode)?);
    }
}

fn read_operation(reader: &mut Reader, kind: MultiKind, opcode: i32) -> Result<Operation, Fault> {
    let request = match (kind, opcode) {
        (MultiKind::Writes, op::CREATE) => multi_create(reader, CreateForm::Create)?,
        (MultiKind::Writes, op::CREATE2) => multi_create(reader, CreateForm::Create2)?,
        (MultiKind::Writes, op::CREATE_CONTAINER) => multi_create(reader, CreateForm::Container)?,
        (MultiKind::Writes, op::CREATE_TTL) => multi_create_ttl(reader)?,
        (MultiKind::Writes, op::CREATE_IF_NOT_EXISTS) => Request::Create(read_create(reader, CreateForm::IfNotExists)?),
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

/// In a multi the mode decides what a create is, not its opcode alone (Op.java): the container mode makes it a
/// createContainer. TTL modes would make it a createTTL, without a time to live, which ZooKeeper cannot read.
fn multi_create(reader: &mut Reader, form: CreateForm) -> Result<Request, Fault> {
    let create = read_create(reader, form)?;
    if create.acl.is_none() {
        return Err(Fault::Null);
    }
    Ok(Request::Create(match create.flags {
        create_mode::PERSISTENT..=create_mode::EPHEMERAL_SEQUENTIAL => create,
        create_mode::CONTAINER => Create { form: CreateForm::Container, ..create },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AclEntry, Identity};

    /// The frame of that opcode with that body, xid 1.
    fn frame(opcode: i32, body: &[u8]) -> Bytes {
        [&1i32.to_be_bytes(), &opcode.to_be_bytes(), body].concat().into()
    }

    fn decoded(opcode: i32, body: &[u8]) -> Request {
        let (header, request) = request(frame(opcode, body)).unwrap();
        assert_eq!(header, RequestHeader { xid: 1, op: opcode });
        request
    }

    fn fault(opcode: i32, body: &[u8]) -> Fault {
        let error = request(frame(opcode, body)).unwrap_err();
        assert_eq!(error.header, Some(RequestHeader { xid: 1, op: opcode }));
        error.fault
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    const PATH: &[u8] = b"\0\0\0\x02/a";
    const OPEN: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

    fn create(form: CreateForm, flags: i32, ttl_ms: i64) -> Create {
        let acl = vec![AclEntry { permissions: 31, who: Identity::new("world", "anyone") }];
        Create { form, path: some("/a"), data: Some(Bytes::from_static(b"d")), acl: Some(acl), flags, ttl_ms }
    }

    fn create_bytes(flags: u8) -> Vec<u8> {
        [PATH, b"\0\0\0\x01d", OPEN, &[0, 0, 0, flags]].concat()
    }

    #[test]
    fn creates() {
        for (opcode, form) in [
            (1, CreateForm::Create),
            (15, CreateForm::Create2),
            (19, CreateForm::Container),
            (502, CreateForm::IfNotExists),
        ] {
            assert_eq!(decoded(opcode, &create_bytes(3)), Request::Create(create(form, 3, 0)));
        }
        let ttl = [&create_bytes(5)[..], &[0, 0, 0, 0, 0, 0, 1, 0]].concat();
        assert_eq!(decoded(21, &ttl), Request::Create(create(CreateForm::Ttl, 5, 256)));
        assert_eq!(fault(21, &create_bytes(5)), Fault::Truncated);
    }

    #[test]
    fn nulls_are_not_empty() {
        let null = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
        let expected = Create { form: CreateForm::Create, path: None, data: None, acl: None, flags: 0, ttl_ms: 0 };
        assert_eq!(decoded(1, null), Request::Create(expected));
        let empty = [0; 16];
        let expected = Create {
            form: CreateForm::Create,
            path: some(""),
            data: Some(Bytes::new()),
            acl: Some(vec![]),
            flags: 0,
            ttl_ms: 0,
        };
        assert_eq!(decoded(1, &empty), Request::Create(expected));
    }

    #[test]
    fn one_path_and_a_number() {
        let body = [PATH, b"\xff\xff\xff\xff"].concat();
        let path = some("/a");
        assert_eq!(decoded(2, &body), Request::Delete { path: path.clone(), version: -1 });
        assert_eq!(decoded(17, &body), Request::CheckWatches { path: path.clone(), kind: -1 });
        assert_eq!(decoded(18, &body), Request::RemoveWatches { path: path.clone(), kind: -1 });
        assert_eq!(decoded(106, &body), Request::AddWatch { path: path.clone(), mode: -1 });
        assert_eq!(decoded(501, &body), Request::CheckNotExists { path, version: -1 });
    }

    #[test]
    fn reads() {
        let path = some("/a");
        let body = [PATH, b"\x02"].concat();
        assert_eq!(decoded(3, &body), Request::Exists { path: path.clone(), watch: true });
        assert_eq!(decoded(4, &body), Request::GetData { path: path.clone(), watch: true });
        assert_eq!(decoded(8, &body), Request::GetChildren { path: path.clone(), watch: true });
        assert_eq!(decoded(12, &body), Request::GetChildren2 { path: path.clone(), watch: true });
        assert_eq!(decoded(6, PATH), Request::GetAcl { path: path.clone() });
        assert_eq!(decoded(9, PATH), Request::Sync { path: path.clone() });
        assert_eq!(decoded(20, PATH), Request::DeleteContainer { path: path.clone() });
        assert_eq!(decoded(103, PATH), Request::GetEphemerals { prefix: path.clone() });
        assert_eq!(decoded(103, b"\xff\xff\xff\xff"), Request::GetEphemerals { prefix: None });
        assert_eq!(decoded(104, PATH), Request::GetAllChildrenNumber { path: path.clone() });
        let listed = Request::FilteredList { path, watch: false, filter: 2 };
        assert_eq!(decoded(500, &[PATH, b"\0\x02"].concat()), listed);
    }

    #[test]
    fn writes() {
        let path = some("/a");
        let set = [PATH, b"\0\0\0\x01x\0\0\0\x07"].concat();
        let data = Some(Bytes::from_static(b"x"));
        assert_eq!(decoded(5, &set), Request::SetData { path: path.clone(), data, version: 7 });
        let set_acl = [PATH, OPEN, b"\xff\xff\xff\xff"].concat();
        let acl = create(CreateForm::Create, 0, 0).acl;
        assert_eq!(decoded(7, &set_acl), Request::SetAcl { path, acl, version: -1 });
        let reconfig = b"\xff\xff\xff\xff\0\0\0\x011\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        let expected = Request::Reconfig { joining: None, leaving: some("1"), new_members: some(""), config_id: -1 };
        assert_eq!(decoded(16, reconfig), expected);
    }

    #[test]
    fn bodiless_ones_ignore_what_follows() {
        for body in [&b""[..], b"abc"] {
            assert_eq!(decoded(11, body), Request::Ping);
            assert_eq!(decoded(107, body), Request::WhoAmI);
            assert_eq!(decoded(-11, body), Request::CloseSession);
        }
        assert_eq!(decoded(6, &[PATH, b"more"].concat()), Request::GetAcl { path: some("/a") });
    }

    #[test]
    fn auth_and_sasl() {
        let auth = b"\0\0\0\0\0\0\0\x06digest\0\0\0\x03a:b";
        let credential = Some(Bytes::from_static(b"a:b"));
        assert_eq!(decoded(100, auth), Request::Auth { kind: 0, scheme: some("digest"), credential });
        assert_eq!(decoded(102, b"\xff\xff\xff\xff"), Request::Sasl { token: None });
        for opcode in [100, 102] {
            let error = request(frame(opcode, b"\0\0")).unwrap_err();
            assert_eq!(error.answer(), Answer::Close, "a truncated auth closes without a reply");
        }
    }

    #[test]
    fn watches_set_again() {
        let older = b"\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0\x02/d\0\0\0\0\xff\xff\xff\xfe";
        let mut expected = SetWatches { relative_zxid: 5, data: vec!["/d".into()], ..SetWatches::default() };
        assert_eq!(decoded(101, older), Request::SetWatches(expected.clone()));
        let newer = [&older[..], b"\0\0\0\x01\0\0\0\x02/p\0\0\0\x01\0\0\0\x02/r"].concat();
        expected.persistent = vec!["/p".into()];
        expected.recursive = vec!["/r".into()];
        assert_eq!(decoded(105, &newer), Request::SetWatches(expected));
        assert_eq!(fault(105, older), Fault::Truncated);
        assert_eq!(fault(101, b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff"), Fault::Null, "a null list");
        assert_eq!(fault(101, b"\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff"), Fault::Null, "a null path");
    }

    #[test]
    fn acl_counts_and_nulls() {
        let with = |acl: &[u8]| [PATH, acl, b"\0\0\0\0"].concat();
        let acl = |bytes: &[u8]| match decoded(7, &with(bytes)) {
            Request::SetAcl { acl, .. } => acl,
            other => panic!("{other:?}"),
        };
        assert_eq!(acl(b"\xff\xff\xff\xff"), None);
        assert_eq!(acl(b"\xff\xff\xff\xfe"), Some(vec![]));
        assert_eq!(fault(7, &with(b"\x7f\xff\xff\xff")), Fault::Truncated);
        let nobody = AclEntry { permissions: 31, who: Identity::new("", "anyone") };
        assert_eq!(acl(b"\0\0\0\x01\0\0\0\x1f\xff\xff\xff\xff\0\0\0\x06anyone"), Some(vec![nobody]));
        assert_eq!(fault(7, &with(b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\xff\xff\xff\xff")), Fault::Null);
    }

    const END: &[u8] = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";

    fn part(opcode: i32, body: &[u8]) -> Vec<u8> {
        [&opcode.to_be_bytes()[..], b"\0\xff\xff\xff\xff", body].concat()
    }

    #[test]
    fn multis() {
        let delete = [PATH, b"\xff\xff\xff\xff"].concat();
        let body = [
            part(1, &create_bytes(0)),
            part(2, &delete),
            part(13, &delete),
            part(501, &delete),
            part(502, &create_bytes(0)),
            END.to_vec(),
            b"behind".to_vec(),
        ]
        .concat();
        let path = some("/a");
        let expected = vec![
            Operation { op: 1, request: Request::Create(create(CreateForm::Create, 0, 0)) },
            Operation { op: 2, request: Request::Delete { path: path.clone(), version: -1 } },
            Operation { op: 13, request: Request::Check { path: path.clone(), version: -1 } },
            Operation { op: 501, request: Request::CheckNotExists { path, version: -1 } },
            Operation { op: 502, request: Request::Create(create(CreateForm::IfNotExists, 0, 0)) },
        ];
        assert_eq!(decoded(14, &body), Request::Multi(expected));
        assert_eq!(decoded(14, END), Request::Multi(vec![]));
        assert_eq!(decoded(22, END), Request::MultiRead(vec![]));
        assert_eq!(fault(14, &body[..40]), Fault::Truncated);
        assert_eq!(fault(14, b""), Fault::Truncated);
    }

    #[test]
    fn the_mode_decides_what_a_create_in_a_multi_is() {
        let first = |opcode, body: &[u8]| match decoded(14, &[&part(opcode, body)[..], END].concat()) {
            Request::Multi(operations) => operations.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        };
        let of = |form: CreateForm, flags, ttl_ms| Operation {
            op: form.opcode(),
            request: Request::Create(create(form, flags, ttl_ms)),
        };
        assert_eq!(first(1, &create_bytes(4)), of(CreateForm::Container, 4, 0));
        assert_eq!(first(19, &create_bytes(0)), of(CreateForm::Container, 0, 0));
        let ttl = |flags| [&create_bytes(flags)[..], &[0, 0, 0, 0, 0, 0, 1, 0]].concat();
        assert_eq!(first(21, &ttl(5)), of(CreateForm::Ttl, 5, 256));
        assert_eq!(first(21, &ttl(4)), of(CreateForm::Container, 4, 0));
        assert_eq!(first(21, &ttl(9)), of(CreateForm::Create, 9, 0));
        for flags in [5, 6, 7] {
            let spoilt = [&part(15, &create_bytes(flags))[..], END].concat();
            assert_eq!(fault(14, &spoilt), Fault::BadCreateMode(flags.into()));
        }
    }

    #[test]
    fn multi_reads_leave_no_watch() {
        let read = [PATH, b"\x01"].concat();
        let body = [part(4, &read), part(8, &read), END.to_vec()].concat();
        let path = some("/a");
        let expected = vec![
            Operation { op: 4, request: Request::GetData { path: path.clone(), watch: false } },
            Operation { op: 8, request: Request::GetChildren { path, watch: false } },
        ];
        assert_eq!(decoded(22, &body), Request::MultiRead(expected));
    }

    #[test]
    fn a_multi_read_may_hold_writes_but_no_mixture() {
        let delete = part(2, &[PATH, b"\xff\xff\xff\xff"].concat());
        let operation = Operation { op: 2, request: Request::Delete { path: some("/a"), version: -1 } };
        let writes = [&delete[..], &delete, END].concat();
        assert_eq!(decoded(22, &writes), Request::MultiRead(vec![operation.clone(), operation]));
        let read = part(4, &[PATH, b"\x01"].concat());
        assert_eq!(fault(22, &[&read[..], &delete, END].concat()), Fault::BadMultiPart(2));
        assert_eq!(fault(22, &[&delete[..], &read, END].concat()), Fault::BadMultiPart(4));
    }

    #[test]
    fn persistent_watches_on_null_paths_are_none() {
        let none = [0; 4];
        let one = [&b"\0\0\0\x02\xff\xff\xff\xff"[..], PATH].concat();
        let body = [&[0; 8][..], &none, &none, &none, &one, &one].concat();
        let paths = vec!["/a".to_owned()];
        let expected = SetWatches { persistent: paths.clone(), recursive: paths, ..SetWatches::default() };
        assert_eq!(decoded(105, &body), Request::SetWatches(expected));
        assert_eq!(fault(105, &[&[0; 8][..], &one, &none, &none, &none, &none].concat()), Fault::Null);
    }

    #[test]
    fn operations_of_others_are_unknown_unless_by_their_rules() {
        for opcode in [500, 501, 502] {
            let error = request(frame(opcode, b"\0\0\0\x01/\0")).unwrap_err();
            let header = RequestHeader { xid: 1, op: opcode };
            assert_eq!(error.answer(), Answer::ReplyAndClose(header, ErrorCode::Unimplemented));
        }
    }

    #[test]
    fn parts_that_do_not_belong() {
        let read = [PATH, b"\x01"].concat();
        for (outer, inner) in [(14, 4), (14, 8), (14, 7), (14, 9), (14, 14), (14, 3), (14, -1), (14, 99), (22, 12)] {
            let error = request(frame(outer, &part(inner, &read))).unwrap_err();
            assert_eq!(error.fault, Fault::BadMultiPart(inner));
            let header = RequestHeader { xid: 1, op: outer };
            assert_eq!(error.answer(), Answer::Reply(header, ErrorCode::MarshallingError));
        }
    }

    #[test]
    fn unknown_operations_close_the_connection() {
        for opcode in [0, -1, 10, 13, 23, 99, 108, 503, -10, -12, i32::MIN, i32::MAX] {
            let error = request(frame(opcode, &[PATH, PATH].concat())).unwrap_err();
            let header = RequestHeader { xid: 1, op: opcode };
            assert_eq!(error.answer(), Answer::ReplyAndClose(header, ErrorCode::Unimplemented));
        }
    }

    #[test]
    fn a_frame_too_short_for_a_header_closes_the_connection() {
        for length in 0..8 {
            let error = request(Bytes::from(vec![0; length])).unwrap_err();
            assert_eq!(error.answer(), Answer::Close);
        }
    }

    #[test]
    fn hellos() {
        let hello =
            [&[0; 4][..], &[0, 0, 0, 0, 0, 0, 0, 9], b"\0\0\x75\x30", &[0; 8], b"\0\0\0\x10", &[7; 16]].concat();
        let mut expected = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 9,
            timeout_ms: 30_000,
            session_id: 0,
            password: Some(Bytes::from_static(&[7; 16])),
            read_only: None,
        };
        assert_eq!(connect_request(&hello.clone().into()).unwrap(), expected);
        for (flag, read_only) in [(0, false), (1, true), (2, true)] {
            expected.read_only = Some(read_only);
            assert_eq!(connect_request(&[&hello[..], &[flag, 0, 0]].concat().into()).unwrap(), expected);
        }
        for short in 0..hello.len() {
            assert!(connect_request(&Bytes::copy_from_slice(&hello[..short])).is_err());
        }
    }
}
