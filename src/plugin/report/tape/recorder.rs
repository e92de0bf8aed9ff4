//! Listens to one call of a guest for a recording.

use super::form::{Around, Heard, HostAnswer, HostQuestion, Question, Recorded, Who, entries};
use crate::model::{Acl, NodeKind, Refusal, SessionId, Stat};
use crate::pipeline::{Call, NodeCopy, ReadView, TreeWriter, Versions};
use std::cell::RefCell;

/// Stands between a guest and the host in one call, and notes each question to the host with its answer.
pub(crate) struct Recorder<'a> {
    view: &'a dyn ReadView,
    bench: Option<&'a dyn TreeWriter>,
    heard: RefCell<Vec<Heard>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(call: &Call<'a>) -> Recorder<'a> {
        Recorder { view: call.view, bench: call.writer, heard: RefCell::default() }
    }

    /// The same call, with this recorder in front of the view and the bench.
    pub(crate) fn wrap<'b>(&'b self, call: &Call<'b>) -> Call<'b> {
        Call { view: self, writer: call.writer.map(|_| self as &dyn TreeWriter), ..*call }
    }

    /// The call as a recording. Its number is set when the tape keeps it.
    pub(crate) fn recorded(self, question: Question, call: &Call<'_>, said: String, fuel: u64) -> Recorded {
        Recorded { number: 0, question, around: around(call), heard: self.heard.into_inner(), said, fuel }
    }

    fn note(&self, asked: HostQuestion, answer: HostAnswer) {
        self.heard.borrow_mut().push(Heard { asked, answer });
    }

    /// The guest has a handle of the bench only if the call lends one.
    fn bench(&self) -> &'a dyn TreeWriter {
        self.bench.expect("through() offers a bench only where there is one")
    }
}

impl ReadView for Recorder<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        let found = self.view.node(path);
        self.note(HostQuestion::Node(path.into()), node_answer(found.as_ref()));
        found
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        let found = self.view.original(path);
        self.note(HostQuestion::Original(path.into()), node_answer(found.as_ref()));
        found
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let names = self.view.children(path, after, limit);
        self.note(
            HostQuestion::Children(path.into(), after.map(String::from), limit),
            HostAnswer::Names(names.clone()),
        );
        names
    }

    fn ephemerals(&self, session: SessionId, prefix: &str, limit: usize) -> Vec<String> {
        let paths = self.view.ephemerals(session, prefix, limit);
        self.note(HostQuestion::Ephemerals(session.0, prefix.into(), limit), HostAnswer::Names(paths.clone()));
        paths
    }

    fn stat(&self, path: &str) -> Option<Stat> {
        let found = self.view.stat(path);
        self.note(HostQuestion::Stat(path.into()), found.map_or(HostAnswer::Nothing, HostAnswer::Stat));
        found
    }

    // For cached verdicts. The guest does not learn these.
    fn versions(&self, path: &str) -> Option<Versions> {
        self.view.versions(path)
    }

    fn is_outstanding(&self, path: &str) -> bool {
        self.view.is_outstanding(path)
    }
}

impl TreeWriter for Recorder<'_> {
    fn create(&self, path: &str, data: &[u8], kind: NodeKind, acl: &Acl, sequential: bool) -> Result<String, Refusal> {
        let result = self.bench().create(path, data, kind, acl, sequential);
        let (path, data, kind, acl) = (path.into(), data.into(), kind.into(), entries(acl));
        self.note(HostQuestion::Create { path, data, kind, acl, sequential }, done(&result, Clone::clone));
        result
    }

    fn set_data(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().set_data(path, data, version);
        let asked = HostQuestion::SetData { path: path.into(), data: data.into(), version };
        self.note(asked, done(&result, |()| String::new()));
        result
    }

    fn set_acl(&self, path: &str, acl: &Acl, version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().set_acl(path, acl, version);
        let asked = HostQuestion::SetAcl { path: path.into(), acl: entries(acl), version };
        self.note(asked, done(&result, |()| String::new()));
        result
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Refusal> {
        let result = self.bench().delete(path, version);
        self.note(HostQuestion::Delete { path: path.into(), version }, done(&result, |()| String::new()));
        result
    }

    fn set_timer(&self, name: &str, after_ms: u64) -> Result<(), Refusal> {
        let result = self.bench().set_timer(name, after_ms);
        self.note(HostQuestion::SetTimer(name.into(), after_ms), done(&result, |()| String::new()));
        result
    }

    fn cancel_timer(&self, name: &str) {
        self.bench().cancel_timer(name);
        self.note(HostQuestion::CancelTimer(name.into()), HostAnswer::Done(String::new()));
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
    let data = node.data.as_deref().map(Into::into);
    HostAnswer::Node { data, stat: node.stat, acl: entries(&node.acl) }
}

fn done<T>(result: &Result<T, Refusal>, path: impl FnOnce(&T) -> String) -> HostAnswer {
    match result {
        Ok(done) => HostAnswer::Done(path(done)),
        Err(refusal) => HostAnswer::Refused(refusal.code.code(), refusal.text.clone()),
    }
}
