//! Plays a recorded call: answers the guest's questions from the recording.

use super::form::{Around, Base64, HostAnswer, HostQuestion, Recorded, acl_of, entries};
use crate::model::{Acl, ConnectionId, ErrorCode, Identity, NodeKind, Refusal, SessionId, Stat, Zxid};
use crate::pipeline::{Caller, Moment, NodeCopy, ReadView, TreeWriter, Versions};
use std::cell::RefCell;
use std::sync::Arc;

/// Answers a guest's questions from a recording.
///
/// If the recording has a question several times, the answers come in their order, and then the last one again. A
/// question that the recording lacks has no answer. Then the guest's answer rests on something else, and `unheard`
/// names the question.
pub(crate) struct Player<'a> {
    recorded: &'a Recorded,
    next: RefCell<Vec<bool>>,
    unheard: RefCell<Vec<HostQuestion>>,
    wrote: RefCell<Vec<HostQuestion>>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(recorded: &'a Recorded) -> Player<'a> {
        let next = RefCell::new(vec![true; recorded.heard.len()]);
        Player { recorded, next, unheard: RefCell::default(), wrote: RefCell::default() }
    }

    /// The questions that the recording lacks.
    pub(crate) fn unheard(&self) -> Vec<HostQuestion> {
        self.unheard.borrow().clone()
    }

    /// The operations that the guest asked for, if they differ from the recorded ones: recorded, now.
    pub(crate) fn wrote_otherwise(&self) -> Option<(Vec<HostQuestion>, Vec<HostQuestion>)> {
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
        // Cancelling a timer cannot be refused.
        let _ = self.done(HostQuestion::CancelTimer(name.into()));
    }
}

impl Around {
    /// The recorded caller. Its connection is a placeholder.
    pub(crate) fn caller(&self) -> Option<Caller> {
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

    pub(crate) fn moment(&self) -> Moment {
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms, seed: self.seed }
    }

    pub(crate) fn zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    pub(crate) fn writers(&self) -> Vec<Arc<str>> {
        self.writers.iter().map(|name| name.as_str().into()).collect()
    }
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
