//! The model of a lock as plugins/lock/README.md describes it, and of any recipe that clients use in the same way. A
//! client joins by creating an ephemeral sequential node. It reads that node. It leaves by deleting the node, or when
//! its session ends.
//!
//! Only the client that came first holds the lock. Each holder's token is larger than all tokens before it. A client
//! that joins again under the same name gets the node of its first join. For `delay_ms` after a holder's session has
//! expired, the lock may stay without a holder.

use super::{Asked, EPHEMERAL_SEQUENTIAL, Record, Step, below, made_of};
use crate::linear::Model;
use crate::model::SessionId;
use crate::wire::request::Request;
use serde_json::Value;

pub(crate) struct Lock {
    pub(crate) path: String,
    pub(crate) delay_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Line {
    /// The members in the order in which they came. The first one holds the lock, unless there is a delay.
    members: Vec<Member>,
    /// The expired session of the last holder, while the delay lasts.
    delayed_by: Option<SessionId>,
    /// The largest token that a client has seen.
    token: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Member {
    session: SessionId,
    /// The path that was asked for, without digits.
    name: String,
    /// None: the answer to the join was lost, and no client has seen the node yet.
    path: Option<String>,
    /// The number of the join.
    join: u64,
    token: Option<u64>,
}

pub(crate) enum Action {
    /// `tries`: the client does not wait (`"wait-ms":0`).
    Join {
        session: SessionId,
        name: String,
        path: Option<String>,
        join: u64,
        tries: bool,
    },
    /// A client that does not wait is refused.
    Busy {
        session: SessionId,
        name: String,
    },
    Leave {
        session: SessionId,
        path: String,
    },
    /// There is no such member.
    Gone {
        path: String,
    },
    Holds {
        path: String,
        token: u64,
    },
    Waits {
        path: String,
    },
    /// The lock's own node says that nobody holds it.
    Nobody,
    /// A node has data that no lock writes.
    Nonsense,
    Ends {
        session: SessionId,
        expired: bool,
    },
    /// Without a request: a member that has waited for `wait-ms` leaves.
    PatienceEnds {
        join: u64,
    },
    DelayEnds {
        session: SessionId,
    },
    /// Several actions at one moment: the operations of a multi.
    All(Vec<Action>),
}

impl Lock {
    pub(crate) fn steps(&self, record: &Record) -> Vec<Step<Action>> {
        let mut steps = Vec::new();
        for (at, exchange) in record.exchanges.iter().enumerate() {
            let session = exchange.session;
            if let Asked::End { expired } = exchange.asked {
                steps.push(exchange.step(at, Action::Ends { session, expired }));
                let due_ms = exchange.begin_ms + self.delay_ms;
                steps.extend(
                    record.by_itself(due_ms, Action::DelayEnds { session }).filter(|_| expired && self.delay_ms > 0),
                );
                continue;
            }
            let parts = exchange.parts();
            let actions = parts.iter().zip(0..).filter_map(|((request, answer), part)| {
                // No join has more than a thousand others in its multi.
                self.action(session, request, *answer, exchange.begin * 1000 + part)
            });
            let mut actions: Vec<Action> = actions.collect();
            for ((request, _), part) in parts.iter().zip(0..) {
                if let Request::Create(create) = request
                    && let Some(wait_ms @ 1..) = wait_ms(create.data.as_deref().unwrap_or_default())
                {
                    let join = exchange.begin * 1000 + part;
                    steps.extend(record.by_itself(exchange.begin_ms + wait_ms, Action::PatienceEnds { join }));
                }
            }
            match actions.len() {
                0 => {}
                1 => steps.push(exchange.step(at, actions.remove(0))),
                _ => steps.push(exchange.step(at, Action::All(actions))),
            }
        }
        steps
    }

    /// What the request means for this lock. None: it means nothing for this lock, or it was refused.
    fn action(&self, session: SessionId, request: &Request, answer: Option<&str>, join: u64) -> Option<Action> {
        let is = |code| answer.is_some_and(|answer: &str| answer.split(' ').next() == Some(code));
        match request {
            Request::Create(create) if create.flags == EPHEMERAL_SEQUENTIAL => {
                let name = create.path.clone().filter(|path| below(&self.path, Some(path)).is_some())?;
                let tries = wait_ms(create.data.as_deref().unwrap_or_default()) == Some(0);
                match answer {
                    Some(path) if path.starts_with('/') => {
                        Some(Action::Join { session, name, path: Some(path.into()), join, tries })
                    }
                    Some(_) => (tries && is("NODEEXISTS")).then_some(Action::Busy { session, name }),
                    None => Some(Action::Join { session, name, path: None, join, tries }),
                }
            }
            Request::Delete { path, .. } => {
                let path = path.clone().filter(|path| below(&self.path, Some(path)).is_some())?;
                match answer {
                    None | Some("ok") => Some(Action::Leave { session, path }),
                    Some(_) => is("NONODE").then_some(Action::Gone { path }),
                }
            }
            Request::GetData { path: Some(path), .. } if *path == self.path => {
                let data: Value =
                    serde_json::from_str(answer.filter(|_| !is("NONODE")).unwrap_or("{}")).unwrap_or_default();
                match (data["holder"].as_str(), data["token"].as_u64()) {
                    (Some(holder), Some(token)) => Some(Action::Holds { path: format!("{path}/{holder}"), token }),
                    _ => Some(if data.is_object() { Action::Nobody } else { Action::Nonsense }),
                }
            }
            Request::GetData { path, .. } => {
                below(&self.path, path.as_deref())?;
                let path = path.clone()?;
                if is("NONODE") {
                    return Some(Action::Gone { path });
                }
                let data: Value = serde_json::from_str(answer?).unwrap_or_default();
                match (data["state"].as_str(), data["token"].as_u64()) {
                    (Some("held"), Some(token)) => Some(Action::Holds { path, token }),
                    (Some("waiting"), _) => Some(Action::Waits { path }),
                    _ => Some(Action::Nonsense),
                }
            }
            _ => None,
        }
    }
}

/// `{"wait-ms":200}`
fn wait_ms(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(data).ok()?["wait-ms"].as_u64()
}

impl Model for Lock {
    type State = Line;
    type Action = Action;

    fn after(&self, line: &Line, action: &Action) -> Option<Line> {
        let mut line = line.clone();
        self.act(&mut line, action).map(|()| line)
    }
}

impl Lock {
    /// Changes `line`. None: in this state the action cannot happen, or cannot get the answer that it got.
    fn act(&self, line: &mut Line, action: &Action) -> Option<()> {
        match action {
            Action::Join { session, name, path, join, tries } => {
                let mine = |member: &&mut Member| member.session == *session && member.name == *name;
                if let Some(member) = line.members.iter_mut().find(mine) {
                    return member.is(path.as_deref()).then(|| member.path = member.path.take().or(path.clone()));
                }
                let is_new = path.as_ref().is_none_or(|path| made_of(path, name) && line.known(path).is_none());
                (is_new && !(*tries && line.is_busy())).then(|| {
                    let (name, path) = (name.clone(), path.clone());
                    line.members.push(Member { session: *session, name, path, join: *join, token: None });
                })
            }
            Action::Busy { session, name } => {
                let is_mine = line.members.iter().any(|member| member.session == *session && member.name == *name);
                (line.is_busy() && !is_mine).then_some(())
            }
            Action::Leave { session, path } => {
                let at = line.find(path).filter(|at| line.members[*at].session == *session)?;
                line.members.remove(at);
                Some(())
            }
            Action::Gone { path } => line.known(path).is_none().then_some(()),
            Action::Holds { path, token } => {
                let at = line.find(path).filter(|at| *at == 0 && line.delayed_by.is_none())?;
                let member = &mut line.members[at];
                match member.token {
                    Some(seen) => (seen == *token).then_some(()),
                    None => (*token > line.token).then(|| {
                        (member.token, member.path, line.token) = (Some(*token), Some(path.clone()), *token);
                    }),
                }
            }
            Action::Waits { path } => {
                let at = line.find(path).filter(|at| *at > 0 || line.delayed_by.is_some())?;
                line.members[at].path = Some(path.clone());
                Some(())
            }
            Action::Nobody => (line.members.is_empty() || line.delayed_by.is_some()).then_some(()),
            Action::Nonsense => None,
            Action::Ends { session, expired } => {
                let held =
                    line.delayed_by.is_none() && line.members.first().is_some_and(|first| first.session == *session);
                line.members.retain(|member| member.session != *session);
                if held && *expired && self.delay_ms > 0 {
                    line.delayed_by = Some(*session);
                }
                Some(())
            }
            Action::PatienceEnds { join } => {
                let at = line.members.iter().position(|member| member.join == *join)?;
                (at > 0 || line.delayed_by.is_some()).then(|| drop(line.members.remove(at)))
            }
            Action::DelayEnds { session } => (line.delayed_by == Some(*session)).then(|| line.delayed_by = None),
            Action::All(actions) => actions.iter().try_for_each(|action| self.act(line, action)),
        }
    }
}

impl Line {
    fn is_busy(&self) -> bool {
        !self.members.is_empty() || self.delayed_by.is_some()
    }

    /// The member whose node is known to be at `path`.
    fn known(&self, path: &str) -> Option<usize> {
        self.members.iter().position(|member| member.path.as_deref() == Some(path))
    }

    /// The member whose node is at `path`, or else one whose node may be there.
    fn find(&self, path: &str) -> Option<usize> {
        self.known(path).or_else(|| self.members.iter().position(|member| member.is(Some(path))))
    }
}

impl Member {
    /// Whether the member's node may be at `path`. True if the path is not known.
    fn is(&self, path: Option<&str>) -> bool {
        match (&self.path, path) {
            (Some(mine), Some(path)) => mine == path,
            (None, Some(path)) => made_of(path, &self.name),
            (_, None) => true,
        }
    }
}
