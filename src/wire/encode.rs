//! Encodes replies and events, straight into the connection's outbox.

use super::jute;
use super::reply::{Body, ConnectResponse, EventKind, MultiSlot, ReplyHeader, xid};
use super::request::op;
use crate::model::Stat;
use bytes::{BufMut, BytesMut};

/// KeeperState SyncConnected, the state in every event of a node.
const SYNC_CONNECTED: i32 = 3;

/// The end of a multi's results: type -1, done, error -1.
const MULTI_END: (i32, bool, i32) = (-1, true, -1);

/// Appends a reply as a complete frame. A header with an error is sent without the body, unless a multiRead was cut
/// off.
pub(crate) fn frame(out: &mut BytesMut, header: &ReplyHeader, body: &Body<'_>) {
    jute::put_frame(out, |out| {
        put_header(out, header);
        if header.error == 0 || matches!(body, Body::BrokenMulti(_)) {
            put_body(out, body);
        }
    });
}

/// Appends a watch event. `zxid`: the transaction that fired the watch, or -1 if setWatches makes the event.
pub(crate) fn event(out: &mut BytesMut, zxid: i64, kind: EventKind, path: &str) {
    jute::put_frame(out, |out| {
        put_header(out, &ReplyHeader { xid: xid::NOTIFICATION, zxid, error: 0 });
        out.put_i32(kind as i32);
        out.put_i32(SYNC_CONNECTED);
        jute::put_string(out, path);
    });
}

/// Appends the answer to the first message of a connection, which has no reply header.
pub(crate) fn connect_response(out: &mut BytesMut, response: &ConnectResponse) {
    jute::put_frame(out, |out| {
        out.put_i32(0);
        out.put_i32(response.timeout_ms);
        out.put_i64(response.session_id);
        jute::put_buffer(out, Some(&response.password));
        if let Some(read_only) = response.read_only {
            out.put_u8(read_only.into());
        }
    });
}

/// A reply whose body is a list of names, made name by name. Its header is known only at the end.
pub(crate) struct NamesReply {
    /// The frame so far, without what comes before the names.
    frame: BytesMut,
    count: usize,
}

/// Bytes of a reply before the first name: the frame's length, the header, the number of names.
const BEFORE_NAMES_BYTES: usize = 4 + 16 + 4;

impl NamesReply {
    pub(crate) fn new() -> NamesReply {
        NamesReply { frame: BytesMut::zeroed(BEFORE_NAMES_BYTES), count: 0 }
    }

    pub(crate) fn push(&mut self, name: &str) {
        jute::put_string(&mut self.frame, name);
        self.count += 1;
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// Appends the reply as a complete frame, `stat` behind the names. Copies nothing if `out` is empty. Appends
    /// nothing if the frame would have 2 GiB or more, as `jute::put_frame`.
    pub(crate) fn finish(mut self, out: &mut BytesMut, header: &ReplyHeader, stat: Option<&Stat>) {
        if let Some(stat) = stat {
            jute::put_stat(&mut self.frame, stat);
        }
        let Ok(length) = i32::try_from(self.frame.len() - 4) else { return };
        let mut before = BytesMut::with_capacity(BEFORE_NAMES_BYTES);
        before.put_i32(length);
        put_header(&mut before, header);
        before.put_i32(jute::wire_length(self.count));
        for (place, byte) in self.frame.iter_mut().zip(&before) {
            *place = *byte;
        }
        if out.is_empty() {
            *out = self.frame;
        } else {
            out.extend_from_slice(&self.frame);
        }
    }
}

/// About how many bytes a slot of a multi's results has.
pub(crate) fn slot_bytes(slot: &MultiSlot<'_>) -> usize {
    const HEADER_BYTES: usize = 9;
    HEADER_BYTES
        + match slot {
            MultiSlot::Error(_) => 4,
            MultiSlot::Path(path) | MultiSlot::Typed(_, Some(path)) => 4 + path.len(),
            MultiSlot::PathStat(path, _) => 4 + path.len() + jute::STAT_BYTES,
            MultiSlot::Deleted | MultiSlot::Checked | MultiSlot::Typed(_, None) => 0,
            MultiSlot::Stat(_) => jute::STAT_BYTES,
            MultiSlot::Data(data, _) => 4 + data.map_or(0, <[u8]>::len) + jute::STAT_BYTES,
            MultiSlot::Children(names) => 4 + names.iter().map(|name| 4 + name.len()).sum::<usize>(),
        }
}

fn put_header(out: &mut BytesMut, header: &ReplyHeader) {
    out.reserve(16);
    out.put_i32(header.xid);
    out.put_i64(header.zxid);
    out.put_i32(header.error);
}

fn put_body(out: &mut BytesMut, body: &Body<'_>) {
    match body {
        Body::Empty => {}
        Body::Path(path) => jute::put_string(out, path),
        Body::OptionalPath(path) => jute::put_optional_string(out, *path),
        Body::PathStat(path, stat) => {
            jute::put_string(out, path);
            jute::put_stat(out, stat);
        }
        Body::Stat(stat) => jute::put_stat(out, stat),
        Body::DataStat(data, stat) => {
            jute::put_buffer(out, *data);
            jute::put_stat(out, stat);
        }
        Body::AclStat(acl, stat) => {
            jute::put_acl(out, acl);
            jute::put_stat(out, stat);
        }
        Body::Children(names) | Body::Paths(names) => jute::put_strings(out, names.iter().copied()),
        Body::ChildrenStat(names, stat) => {
            jute::put_strings(out, names.iter().copied());
            jute::put_stat(out, stat);
        }
        Body::Number(number) => out.put_i32(*number),
        Body::Identities(identities) => {
            out.put_i32(jute::wire_length(identities.len()));
            for identity in *identities {
                jute::put_string(out, &identity.scheme);
                jute::put_string(out, &identity.id);
            }
        }
        Body::Sasl(token) => jute::put_buffer(out, *token),
        Body::Multi(slots) | Body::BrokenMulti(slots) => {
            for slot in slots {
                put_slot(out, slot);
            }
            put_multi_header(out, MULTI_END);
        }
    }
}

/// kind, done, error
fn put_multi_header(out: &mut BytesMut, (kind, done, error): (i32, bool, i32)) {
    out.put_i32(kind);
    out.put_u8(done.into());
    out.put_i32(error);
}

fn put_slot(out: &mut BytesMut, slot: &MultiSlot<'_>) {
    let kind = match slot {
        MultiSlot::Error(_) => op::ERROR,
        MultiSlot::Path(_) => op::CREATE,
        MultiSlot::PathStat(..) => op::CREATE2,
        MultiSlot::Deleted => op::DELETE,
        MultiSlot::Checked => op::CHECK,
        MultiSlot::Stat(_) => op::SET_DATA,
        MultiSlot::Data(..) => op::GET_DATA,
        MultiSlot::Children(_) => op::GET_CHILDREN,
        MultiSlot::Typed(kind, _) => *kind,
    };
    // An error stands in the slot's header and once more as its body.
    let error = if let MultiSlot::Error(error) = slot { *error } else { 0 };
    put_multi_header(out, (kind, false, error));
    match slot {
        MultiSlot::Error(error) => out.put_i32(*error),
        MultiSlot::Path(path) => jute::put_string(out, path),
        MultiSlot::PathStat(path, stat) => {
            jute::put_string(out, path);
            jute::put_stat(out, stat);
        }
        MultiSlot::Deleted | MultiSlot::Checked | MultiSlot::Typed(_, None) => {}
        MultiSlot::Stat(stat) => jute::put_stat(out, stat),
        MultiSlot::Data(data, stat) => {
            jute::put_buffer(out, *data);
            jute::put_stat(out, stat);
        }
        MultiSlot::Children(names) => jute::put_strings(out, names.iter().copied()),
        MultiSlot::Typed(_, Some(path)) => jute::put_string(out, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    fn encoded(body: Body<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame(&mut out, &ReplyHeader { xid: 7, zxid: 0x1_0000_0002, error: 0 }, &body);
        out.to_vec()
    }

    const HEADER: &[u8] = b"\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\0";

    fn expected(body: &[u8]) -> Vec<u8> {
        let length = (HEADER.len() + body.len()) as u32;
        [&length.to_be_bytes(), HEADER, body].concat()
    }

    #[test]
    fn replies_byte_for_byte() {
        assert_eq!(encoded(Body::Empty), expected(b""));
        assert_eq!(encoded(Body::Path("/a")), expected(b"\0\0\0\x02/a"));
        assert_eq!(encoded(Body::Number(0)), expected(b"\0\0\0\0"));
        assert_eq!(encoded(Body::Children(vec!["a", "bc"])), expected(b"\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc"));
        assert_eq!(encoded(Body::OptionalPath(None)), expected(b"\xff\xff\xff\xff"));
        let surrogates = b"\0\0\0\x07/\xed\xa0\xbd\xed\xb8\x80";
        assert_eq!(encoded(Body::OptionalPath(Some("/\u{1f600}"))), expected(surrogates));
        assert_eq!(encoded(Body::Sasl(None)), expected(b"\xff\xff\xff\xff"));
        assert_eq!(
            encoded(Body::Identities(&[Identity::new("ip", "127.0.0.1")])),
            expected(b"\0\0\0\x01\0\0\0\x02ip\0\0\0\x09127.0.0.1")
        );
        let stat = Stat { czxid: 1, num_children: 3, pzxid: -1, ..Stat::default() };
        let body = [&b"\0\0\0\0\0\0\0\x01"[..], &[0; 48], b"\0\0\0\x03", &[0xff; 8]].concat();
        assert_eq!(encoded(Body::Stat(stat)), expected(&body));
        assert_eq!(encoded(Body::DataStat(None, stat)), expected(&[b"\xff\xff\xff\xff", &body[..]].concat()));
    }

    #[test]
    fn a_list_made_name_by_name_is_the_same_reply() {
        let header = ReplyHeader { xid: 7, zxid: 0x1_0000_0002, error: 0 };
        let stat = Stat { czxid: 1, num_children: 3, pzxid: -1, ..Stat::default() };
        for (body, stat) in
            [(Body::Children(vec!["a", "bc"]), None), (Body::ChildrenStat(vec!["a", "bc"], stat), Some(&stat))]
        {
            let expected = encoded(body);
            for before in [&b""[..], b"x"] {
                let mut names = NamesReply::new();
                names.push("a");
                names.push("bc");
                let mut out = BytesMut::from(before);
                names.finish(&mut out, &header, stat);
                assert_eq!(&out[before.len()..], expected);
            }
        }
    }

    #[test]
    fn a_failed_multi_as_zookeeper_sends_it() {
        let slots = vec![MultiSlot::Error(0), MultiSlot::Error(-101), MultiSlot::Error(-2)];
        let body = b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\
            \xff\xff\xff\xff\0\xff\xff\xff\x9b\xff\xff\xff\x9b\
            \xff\xff\xff\xff\0\xff\xff\xff\xfe\xff\xff\xff\xfe\
            \xff\xff\xff\xff\x01\xff\xff\xff\xff";
        assert_eq!(encoded(Body::Multi(slots)), expected(body));
    }

    #[test]
    fn slots_have_the_types_clients_expect() {
        let slots = vec![
            MultiSlot::Path("/a"),
            MultiSlot::Deleted,
            MultiSlot::Checked,
            MultiSlot::Typed(op::CHECK_NOT_EXISTS, None),
            MultiSlot::Typed(op::CREATE_IF_NOT_EXISTS, Some("/b")),
        ];
        let body = b"\0\0\0\x01\0\0\0\0\0\0\0\0\x02/a\
            \0\0\0\x02\0\0\0\0\0\
            \0\0\0\x0d\0\0\0\0\0\
            \0\0\x01\xf5\0\0\0\0\0\
            \0\0\x01\xf6\0\0\0\0\0\0\0\0\x02/b\
            \xff\xff\xff\xff\x01\xff\xff\xff\xff";
        assert_eq!(encoded(Body::Multi(slots)), expected(body));
    }

    #[test]
    fn an_error_has_no_body() {
        let mut out = BytesMut::new();
        frame(&mut out, &ReplyHeader { xid: 1, zxid: 2, error: -101 }, &Body::Path("/a"));
        assert_eq!(&out[..], b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x02\xff\xff\xff\x9b");
        out.clear();
        frame(&mut out, &ReplyHeader { xid: 1, zxid: 2, error: -5 }, &Body::BrokenMulti(vec![]));
        assert_eq!(&out[16..], b"\xff\xff\xff\xfb\xff\xff\xff\xff\x01\xff\xff\xff\xff", "a multiRead that broke off");
    }

    #[test]
    fn events_and_hellos() {
        let mut out = BytesMut::new();
        event(&mut out, 5, EventKind::ChildrenChanged, "/q");
        assert_eq!(&out[..], b"\0\0\0\x1e\xff\xff\xff\xff\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x04\0\0\0\x03\0\0\0\x02/q");
        for (read_only, length) in [(None, 36), (Some(false), 37)] {
            out.clear();
            connect_response(
                &mut out,
                &ConnectResponse { timeout_ms: 30_000, session_id: 9, password: [1; 16], read_only },
            );
            assert_eq!(out.len(), 4 + length);
            assert_eq!(out[3] as usize, length);
        }
    }
}
