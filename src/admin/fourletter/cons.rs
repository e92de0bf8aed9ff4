//! `cons`: each connection, with its session and latencies.

use super::stat::brief;
use super::{Facts, SessionFacts, Word};

pub(super) const CONS: Word = Word::about_tree("cons", cons);

fn cons(facts: &dyn Facts) -> String {
    let mut out = String::new();
    facts.connections(&mut |connection| {
        out.push_str(&brief(connection));
        if let Some(session) = &connection.session {
            let SessionFacts { id, last_operation, established_ms, timeout_ms, .. } = session;
            out.push_str(&format!(",sid=0x{id:x},lop={last_operation},est={established_ms},to={timeout_ms}"));
            if session.last_xid >= 0 {
                out.push_str(&format!(",lcxid=0x{:x}", session.last_xid));
            }
            out.push_str(&format!(
                ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.last_zxid,
                session.last_response_ms,
                session.last_latency_ms,
                session.min_latency_ms,
                session.average_latency_ms,
                session.max_latency_ms,
            ));
        }
        out.push_str(")\n");
    });
    out.push('\n');
    out
}

/// The name of an operation in `cons` (FinalRequestProcessor.java).
pub(crate) fn operation_name(opcode: i32) -> &'static str {
    use crate::wire::request::op;
    match opcode {
        op::PING => "PING",
        op::CREATE_SESSION => "SESS",
        op::MULTI => "MULT",
        op::MULTI_READ => "MLTR",
        op::CREATE | op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER | op::CREATE_IF_NOT_EXISTS => "CREA",
        op::DELETE | op::DELETE_CONTAINER => "DELE",
        op::SET_DATA => "SETD",
        op::RECONFIG => "RECO",
        op::SET_ACL => "SETA",
        op::CLOSE_SESSION => "CLOS",
        op::SYNC => "SYNC",
        op::CHECK | op::CHECK_NOT_EXISTS => "CHEC",
        op::EXISTS => "EXIS",
        op::GET_DATA => "GETD",
        op::SET_WATCHES => "SETW",
        op::SET_WATCHES2 => "STW2",
        op::ADD_WATCH => "ADDW",
        op::GET_ACL => "GETA",
        op::GET_CHILDREN | op::GET_CHILDREN2 | op::FILTERED_LIST => "GETC",
        op::GET_ALL_CHILDREN_NUMBER => "GETACN",
        op::CHECK_WATCHES => "CHKW",
        op::REMOVE_WATCHES => "REMW",
        op::WHO_AM_I => "HOMI",
        op::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}
