//! What plugins decide about requests that this server answers, and about events: policies judge paths, and
//! authenticators say which identities satisfy an ACL id of their scheme.
//!
//! No plugin runs here. This file only uses answers that are cached. If an answer is missing, the question is open: the
//! connection waits while plugins are asked (`asking`), and the request is judged again on the state of that time.

use super::order::LocalRequest;
use super::{Connections, auth};
use crate::limits;
use crate::model::{Acl, AclEntry, ErrorCode, Identity, Refusal, acl};
use crate::pipeline::authorize::{self, Who};
use crate::pipeline::read::pieces::Pieces;
use crate::pipeline::view::AppliedTree;
use crate::pipeline::{Call, Caller, Rules, Schemes, Verb};
use crate::plugin::Plugins;
use crate::plugin::policies::{Answers, Known, Question};
use crate::plugin::registry::Registry;
use crate::state::{Node, State};
use crate::wire::reply::EventKind;
use crate::wire::request::{Operation, Request};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// What a request wants to do with one node.
#[derive(Clone, Copy)]
struct Part<'a> {
    verb: Verb,
    path: &'a str,
    /// The node's ACL must give one of these permissions. 0: no ACL is checked.
    permissions: i32,
}

/// What has been done so far for one request that is not answered at once: the plugins' answers, by the request's
/// parts, and the pieces of its answer.
#[derive(Default)]
pub(super) struct Inquiry {
    parts: HashMap<usize, AskedPart>,
    /// The parts before this one had all answers when they were last looked at. They are looked at again when the last
    /// part has its answers, too. So the work grows with the number of parts, and not with its square.
    settled: usize,
    /// Whether the request must be answered at once.
    closed: bool,
    /// How many watches of a setWatches are set.
    pub(crate) watches_set: usize,
    /// The list that the request asks for, as far as it has been read.
    pub(crate) pieces: Option<Pieces>,
}

/// Why a request has no answer yet.
pub(super) enum Unready {
    /// Plugins must be asked these questions first.
    Ask(Vec<OpenQuestion>),
    /// The next piece of the answer can be made at once, after the locks have been released.
    GoOn,
}

#[derive(Default)]
struct AskedPart {
    answers: Answers,
    tries: u32,
}

/// A part of a request that plugins must be asked about.
pub(super) struct OpenQuestion {
    part: usize,
    verb: Verb,
    path: Box<str>,
    permissions: i32,
    /// The node's ACL, if it is not known yet what the ACL allows the client.
    list: Option<Acl>,
}

/// By part of a request: the policies' refusal. Parts beyond the end of the list are allowed.
pub(crate) type Rulings = SmallVec<[Option<Refusal>; 1]>;

/// The refusal of the whole request. None for multiRead and setWatches, of which each part has its own ruling.
pub(crate) fn of_all<'a>(rulings: &'a Rulings, request: &Request) -> Option<&'a Refusal> {
    match request {
        Request::MultiRead(_) | Request::SetWatches(_) => None,
        _ => rulings.iter().flatten().next(),
    }
}

/// The refusals of a multiRead's operations, for `read::Reader`.
pub(crate) fn of_operations(rulings: &Rulings, request: &Request) -> Vec<Option<ErrorCode>> {
    match request {
        Request::MultiRead(_) => rulings.iter().map(|ruling| ruling.as_ref().map(|refusal| refusal.code)).collect(),
        _ => Vec::new(),
    }
}

/// The final rulings, with plugins asked at once. For scenarios, where nobody waits for the tree.
pub(crate) fn at_once(plugins: &Plugins, rules: &Rules, state: &State, request: &Request, call: &Call<'_>) -> Rulings {
    let registry = plugins.registry();
    let who = call.caller.map_or(Who::NOBODY, Caller::who);
    let judge = |part: &Part<'_>| {
        let judged = || registry.authorize(plugins.enabled(), call, part.verb, part.path).said.err();
        let listed = part.node(state).is_none_or(|node| asked_list(rules, node.acl(), part.permissions, who));
        listed.then(judged).flatten()
    };
    parts(request).iter().map(judge).collect()
}

/// The verb that policies are asked about for an event of that kind.
pub(crate) fn verb_of(kind: EventKind) -> Verb {
    match kind {
        EventKind::ChildrenChanged => Verb::Children,
        EventKind::Created | EventKind::Deleted | EventKind::DataChanged => Verb::Read,
    }
}

impl Inquiry {
    /// An inquiry for a request that was expected, when it was read, to need no plugin and no pieces. Later requests
    /// have been taken from the socket already, so this request is answered at once. If a plugin must be asked after
    /// all, the client has to send the request again.
    pub(crate) fn closed() -> Inquiry {
        Inquiry { closed: true, ..Inquiry::default() }
    }

    /// Whether the request must be answered at once.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The parts of the request that are answered next. Each watch of a setWatches is independent of the others, so the
    /// watches are set piece by piece.
    pub(crate) fn next_parts(&self, request: &Request) -> Range<usize> {
        match request {
            Request::SetWatches(_) if !self.closed => self.watches_set..self.watches_set + limits::WATCHES_SET_AT_ONCE,
            _ => 0..usize::MAX,
        }
    }

    /// Asks plugins the open questions, and keeps their answers. The tree may change meanwhile.
    pub(crate) fn ask(&mut self, home: &Connections, who: &Arc<[Identity]>, call: &Call<'_>, open: &[OpenQuestion]) {
        let plugins = home.plugins();
        let registry = plugins.registry();
        for OpenQuestion { part, verb, path, permissions, list } in open {
            let asked = self.parts.entry(*part).or_default();
            asked.tries += 1;
            let caller = Who { identities: who, session: call.session };
            // The registry caches the authenticators' answers.
            if list.as_ref().is_some_and(|list| !asked_list(home.rules(), list, *permissions, caller)) {
                continue;
            }
            registry.ask(plugins.enabled(), Question { who, verb: *verb, path }, call, &mut asked.answers);
        }
    }
}

/// Whether plugins may have to be asked about the request when its turn comes.
pub(super) fn concerns(
    plugins: &Plugins,
    rules: &Rules,
    state: &State,
    who: &Arc<[Identity]>,
    request: &LocalRequest,
) -> bool {
    let LocalRequest::Request(request) = request else { return false };
    let policed = plugins.has_policies();
    let proven = plugins.has_authenticators() && who.iter().any(|identity| plugins.proves(&identity.scheme));
    if !policed && !proven {
        return false;
    }
    let registry = plugins.registry_now();
    let hits = |part: &Part<'_>| registry.hits(Question { who, verb: part.verb, path: part.path });
    // A node that does not exist yet may have any ACL when the request's turn comes.
    let may_be_open = |part: &Part<'_>| match part.node(state) {
        None => part.permissions != 0,
        Some(_) => part.listed(rules, state, who).is_none(),
    };
    parts(request).iter().any(|part| policed && hits(part) || proven && may_be_open(part))
}

/// The policies' rulings on the request's next parts (`Inquiry::next_parts`) in this state. The error has questions
/// that plugins must be asked first; it may not have all of them. If rulings are returned, the request can be answered
/// without a plugin: `authorize::known` has an answer for its ACLs.
pub(super) fn rule(
    plugins: &Plugins,
    rules: &Rules,
    state: &State,
    who: &Arc<[Identity]>,
    request: &Request,
    inquiry: &mut Inquiry,
) -> Result<Rulings, Vec<OpenQuestion>> {
    let authenticated = plugins.has_authenticators();
    if !plugins.has_policies() && !authenticated {
        return Ok(Rulings::new());
    }
    let registry = plugins.registry_now();
    let parts = parts(request);
    let next = inquiry.next_parts(request);
    let next = next.start.min(parts.len())..next.end.min(parts.len());
    let is_multi_read = matches!(request, Request::MultiRead(_));
    let begin = inquiry.settled.clamp(next.start, next.end);
    let looked = Looked { registry: &registry, rules, state, who, authenticated, is_multi_read, inquiry };
    // First look only at the parts that are not settled.
    let known = looked.at(&parts, begin..next.end).and_then(|mut rest| {
        let mut known = looked.at(&parts, next.start..begin)?;
        known.append(&mut rest);
        Ok(known)
    });
    let known = match known {
        Ok(known) => known,
        Err(open) => {
            inquiry.settled = open.first().map_or(begin, |question| question.part);
            return Err(open);
        }
    };
    inquiry.settled = next.end;
    let decide = |(part, known): (&Part<'_>, Standing<'_>)| match known {
        Standing::Known(known) => known.decide(part.path).err(),
        Standing::Unlisted => None,
        Standing::Refused(refusal) => Some(refusal),
    };
    Ok(parts[next].iter().zip(known).map(decide).collect())
}

/// What is known about one part of a request.
enum Standing<'a> {
    /// All policies have answered.
    Known(Known<'a>),
    /// The ACL refuses the part. Plugins are asked only about what an ACL allows.
    Unlisted,
    Refused(Refusal),
}

/// The state in which a request is judged.
struct Looked<'r, 'a> {
    registry: &'r Registry,
    rules: &'a Rules,
    state: &'a State,
    who: &'a Arc<[Identity]>,
    /// Whether there are authenticators.
    authenticated: bool,
    is_multi_read: bool,
    inquiry: &'a Inquiry,
}

impl<'r> Looked<'r, '_> {
    /// What is known about these parts. The error has open questions; it may not have all of them.
    fn at(&self, parts: &[Part<'_>], range: Range<usize>) -> Result<SmallVec<[Standing<'r>; 1]>, Vec<OpenQuestion>> {
        let mut known = SmallVec::with_capacity(range.len());
        let mut open = Vec::new();
        for at in range {
            match self.look(at, &parts[at]) {
                Ok(standing) => known.push(standing),
                Err(question) => open.push(question),
            }
            if open.len() >= limits::QUESTIONS_IN_A_ROW {
                break;
            }
        }
        if open.is_empty() { Ok(known) } else { Err(open) }
    }

    fn look(&self, at: usize, part: &Part<'_>) -> Result<Standing<'r>, OpenQuestion> {
        let none = Answers::default();
        let Part { verb, path, permissions } = part;
        let asked = self.inquiry.parts.get(&at);
        let question = Question { who: self.who, verb: *verb, path };
        let answers = asked.map_or(&none, |asked| &asked.answers);
        let listed = || part.listed(self.rules, self.state, self.who);
        if self.is_multi_read && at >= limits::MULTI_READ_JUDGED_MAX && self.registry.hits(question) {
            let text = format!("plugins: {path}: too many paths of one multiRead are under policies, ask for fewer");
            return Ok(Standing::Refused(Refusal::new(ErrorCode::ThrottledOp, text)));
        }
        match self.registry.known(question, &AppliedTree(self.state), Some(self.state.last_zxid()), answers) {
            Some(answered) if !self.authenticated || listed().is_some() => Ok(Standing::Known(answered)),
            None if listed() == Some(false) => Ok(Standing::Unlisted),
            _ if self.inquiry.closed || asked.is_some_and(|asked| asked.tries >= limits::QUESTION_TRIES) => {
                let text = format!("plugins: {path}: what decides it is just changing, ask again");
                Ok(Standing::Refused(Refusal::new(ErrorCode::OperationTimeout, text)))
            }
            _ => {
                let unknown = part.node(self.state).filter(|_| listed().is_none());
                let list = unknown.map(|node| node.acl().clone());
                Err(OpenQuestion { part: at, verb: *verb, path: (*path).into(), permissions: *permissions, list })
            }
        }
    }
}

/// Whether a client may get an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventVerdict {
    Send,
    Withhold,
    /// Plugins must be asked first.
    Unknown,
}

/// May a client with these identities get an event about the node at `path`?
#[derive(Clone, Copy)]
pub(super) struct EventQuestion<'a> {
    pub(crate) kind: EventKind,
    pub(crate) path: &'a str,
    pub(crate) acl: &'a [AclEntry],
    pub(crate) who: &'a Arc<[Identity]>,
}

impl EventQuestion<'_> {
    /// What the ACL and the policies say about the event. If a plugin has failed, the event is withheld.
    pub(crate) fn judge(self, home: &Connections, state: &State, answers: &Answers) -> EventVerdict {
        let plugins = home.plugins();
        match authorize::known(home.rules(), self.acl, acl::READ, self.who) {
            None => return EventVerdict::Unknown,
            Some(false) => return EventVerdict::Withhold,
            Some(true) => {}
        }
        if !plugins.has_policies() {
            return EventVerdict::Send;
        }
        let registry = plugins.registry_now();
        match registry.known(self.question(), &AppliedTree(state), Some(state.last_zxid()), answers) {
            None => EventVerdict::Unknown,
            Some(known) if known.decide(self.path).is_ok() => EventVerdict::Send,
            Some(_) => EventVerdict::Withhold,
        }
    }

    /// Asks authenticators about the ACL, and then policies about the path.
    pub(crate) fn ask(self, home: &Connections, call: &Call<'_>, answers: &mut Answers) {
        // The registry caches the authenticators' answers.
        if !auth::may_hear(home.rules(), self.acl, Who { identities: self.who, session: call.session }) {
            return;
        }
        let plugins = home.plugins();
        plugins.registry().ask(plugins.enabled(), self.question(), call, answers);
    }

    fn question(&self) -> Question<'_> {
        Question { who: self.who, verb: verb_of(self.kind), path: self.path }
    }
}

impl Part<'_> {
    /// The node whose ACL is checked. None: no ACL is checked, or there is no node.
    fn node<'s>(&self, state: &'s State) -> Option<Node<'s>> {
        if self.permissions == 0 { None } else { state.node(self.path) }
    }

    /// Whether the node's ACL gives one of the permissions. True if no ACL is checked. None: an authenticator must be
    /// asked.
    fn listed(&self, rules: &Rules, state: &State, who: &[Identity]) -> Option<bool> {
        let Some(node) = self.node(state) else { return Some(true) };
        let may = |permissions| authorize::known(rules, node.acl(), permissions, who);
        // A client with ADMIN is shown more of an ACL. So it must be known whether the client has ADMIN.
        if self.permissions & acl::ADMIN != 0 && may(acl::ADMIN).is_none() {
            return None;
        }
        may(self.permissions)
    }
}

/// Whether the node's ACL gives one of the permissions. Unlike `Part::listed`, it asks the authenticators whose answer
/// is missing.
fn asked_list(rules: &Rules, list: &[AclEntry], permissions: i32, who: Who<'_>) -> bool {
    let administers = permissions & acl::ADMIN != 0 && authorize::allowed(rules, list, acl::ADMIN, who);
    administers || authorize::allowed(rules, list, permissions, who)
}

/// The parts of a request that policies are asked about, in the request's order. A multiRead has one part for each
/// operation, up to the first operation that is malformed. Requests about the connection itself have no parts.
fn parts(request: &Request) -> SmallVec<[Part<'_>; 1]> {
    fn part(verb: Verb, permissions: i32, path: &Option<String>) -> SmallVec<[Part<'_>; 1]> {
        path.as_deref().map(|path| Part { verb, path: node(path), permissions }).into_iter().collect()
    }
    match request {
        Request::Exists { path, .. } | Request::GetData { path, .. } => part(Verb::Read, acl::READ, path),
        Request::GetAcl { path } => part(Verb::Read, acl::READ | acl::ADMIN, path),
        Request::GetChildren { path, .. }
        | Request::GetChildren2 { path, .. }
        | Request::FilteredList { path, .. }
        | Request::GetAllChildrenNumber { path } => part(Verb::Children, acl::READ, path),
        Request::AddWatch { path, .. } => part(Verb::Read, 0, path),
        Request::GetEphemerals { prefix } => {
            let path = listed(prefix.as_deref());
            SmallVec::from_iter([Part { verb: Verb::Children, path, permissions: 0 }])
        }
        // Operations beyond the bound are not read.
        Request::MultiRead(operations) => {
            operations.iter().take(limits::MULTI_READ_OPERATIONS_MAX).map_while(of_operation).collect()
        }
        Request::SetWatches(asked) => {
            let read = [&asked.data, &asked.exist].into_iter().flatten().map(|path| (Verb::Read, path));
            let children = asked.child.iter().map(|path| (Verb::Children, path));
            let added = [&asked.persistent, &asked.recursive].into_iter().flatten().map(|path| (Verb::Read, path));
            let all = read.chain(children).chain(added);
            all.map(|(verb, path)| Part { verb, path: node(path), permissions: 0 }).collect()
        }
        _ => SmallVec::new(),
    }
}

fn of_operation(operation: &Operation) -> Option<Part<'_>> {
    match &operation.request {
        Request::GetData { path: Some(path), .. } => {
            Some(Part { verb: Verb::Read, path: node(path), permissions: acl::READ })
        }
        Request::GetChildren { path: Some(path), .. } => {
            Some(Part { verb: Verb::Children, path: node(path), permissions: acl::READ })
        }
        _ => None,
    }
}

/// The path as the tree has it. ZooKeeper knows the root under two names, `/` and the empty one.
fn node(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The deepest node above all paths with that prefix. The prefix is text: `/a/b` is a prefix of `/a/bc` as well.
fn listed(prefix: Option<&str>) -> &str {
    let prefix = prefix.map_or("", str::trim);
    match prefix.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((path, _)) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::{SetWatches, op};

    fn shown(request: &Request) -> Vec<String> {
        parts(request).iter().map(|part| format!("{:?} {} {}", part.verb, part.path, part.permissions)).collect()
    }

    #[test]
    fn every_read_has_its_parts() {
        let path = || Some("/a".to_owned());
        for (request, part) in [
            (Request::Exists { path: path(), watch: false }, "Read /a 1"),
            (Request::GetData { path: path(), watch: true }, "Read /a 1"),
            (Request::GetAcl { path: path() }, "Read /a 17"),
            (Request::GetChildren { path: path(), watch: false }, "Children /a 1"),
            (Request::GetChildren2 { path: path(), watch: false }, "Children /a 1"),
            (Request::FilteredList { path: path(), watch: false, filter: 2 }, "Children /a 1"),
            (Request::GetAllChildrenNumber { path: Some(String::new()) }, "Children / 1"),
            (Request::AddWatch { path: path(), mode: 1 }, "Read /a 0"),
            (Request::GetEphemerals { prefix: None }, "Children / 0"),
            (Request::GetEphemerals { prefix: Some("/a/b".into()) }, "Children /a 0"),
            (Request::GetEphemerals { prefix: Some("/a/b/".into()) }, "Children /a/b 0"),
        ] {
            assert_eq!(shown(&request), [part], "{request:?}");
        }
        for request in [
            Request::Exists { path: None, watch: false },
            Request::Ping,
            Request::WhoAmI,
            Request::CheckWatches { path: path(), kind: 3 },
            Request::RemoveWatches { path: path(), kind: 3 },
        ] {
            assert!(shown(&request).is_empty(), "{request:?}");
        }
    }

    #[test]
    fn the_parts_of_a_multi_read_are_in_its_order() {
        let get = |path: &str| Operation {
            op: op::GET_DATA,
            request: Request::GetData { path: Some(path.into()), watch: false },
        };
        let list = |path: &str| Operation {
            op: op::GET_CHILDREN,
            request: Request::GetChildren { path: Some(path.into()), watch: false },
        };
        let broken = Operation { op: op::GET_DATA, request: Request::GetData { path: None, watch: false } };
        let operations = vec![get("/a"), list("/b"), broken, get("/c")];
        assert_eq!(shown(&Request::MultiRead(operations)), ["Read /a 1", "Children /b 1"]);
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let asked = SetWatches {
            relative_zxid: 0,
            data: paths(&["/d"]),
            exist: paths(&["/e"]),
            child: paths(&["/c"]),
            persistent: paths(&["/p"]),
            recursive: paths(&["/r"]),
        };
        let parts = ["Read /d 0", "Read /e 0", "Children /c 0", "Read /p 0", "Read /r 0"];
        assert_eq!(shown(&Request::SetWatches(asked)), parts);
    }
}
