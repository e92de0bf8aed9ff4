//! The model of a queue as plugins/queue/README.md describes it, and of any recipe that clients use in the same way. A
//! client puts an item by creating a node below `items`. It takes an item by creating an ephemeral sequential node
//! below `claims`, a claim, to which the queue then assigns an item. It ends the item by deleting the claim.
//!
//! Items go by priority, then by age, to the claims that have waited longest. An item that comes back keeps its place,
//! and is dropped after `attempts_max` attempts. One claim at a time has an item. An item that was done does not come
//! again.

use super::{Asked, EPHEMERAL_SEQUENTIAL, Record, Step, below, made_of};
use crate::linear::Model;
use crate::model::SessionId;
use crate::wire::request::{Request, create_mode};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) struct Queue {
    pub(crate) path: String,
    /// How long a claim may hold an item.
    pub(crate) visibility_ms: Option<u64>,
    pub(crate) attempts_max: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Items {
    /// Items that may be taken, in order.
    ready: BTreeMap<Rank, Item>,
    delayed: BTreeMap<Rank, Item>,
    /// Claims that wait, in the order in which they began to wait.
    idle: Vec<Claim>,
    taken: Vec<(Claim, Rank, Item)>,
    /// How many items have been put.
    put: u64,
}

/// The place of an item in the queue: first its distance to the highest priority, then the number of its put. A smaller
/// rank comes sooner.
type Rank = (u64, u64);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    /// The name that was asked for. Without digits if the node is sequential.
    asked: String,
    sequential: bool,
    /// None: the answer to the put was lost, and no client has seen the item yet.
    name: Option<String>,
    payload: String,
    attempts: u64,
    /// The number of the request that put the item.
    put: u64,
    delay_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Claim {
    session: SessionId,
    asked: String,
    path: Option<String>,
    /// The number of the request that made the claim.
    take: u64,
}

pub(crate) enum Action {
    Put(Item),
    Take {
        session: SessionId,
        asked: String,
        path: Option<String>,
        take: u64,
    },
    /// The claim is deleted. Its item, if it had one, is done.
    Delete {
        session: SessionId,
        path: String,
    },
    Retry {
        session: SessionId,
        path: String,
    },
    Extend {
        session: SessionId,
        path: String,
    },
    /// What a claim says: its item, the number of the attempt, and the payload. None: the claim waits.
    Shows {
        path: String,
        held: Option<(String, u64, String)>,
    },
    /// There is no claim at `path`.
    Gone {
        path: String,
    },
    /// A claim has data that no queue writes.
    Nonsense,
    Ends {
        session: SessionId,
    },
    /// Without a request: the delay of an item ends.
    DelayEnds {
        put: u64,
    },
    /// Without a request: a claim has held its item for `visibility_ms`.
    ClaimEnds {
        take: u64,
    },
    /// Several actions at one moment: the operations of a multi.
    All(Vec<Action>),
}

impl Queue {
    pub(crate) fn steps(&self, record: &Record) -> Vec<Step<Action>> {
        let mut steps = Vec::new();
        for (at, exchange) in record.exchanges.iter().enumerate() {
            let session = exchange.session;
            if matches!(exchange.asked, Asked::End { .. }) {
                steps.push(exchange.step(at, Action::Ends { session }));
            }
            let parts = exchange.parts();
            let mut actions = Vec::new();
            for ((request, answer), part) in parts.iter().zip(0..) {
                // No request has more than a thousand others in its multi.
                let number = exchange.begin * 1000 + part;
                let Some(action) = self.action(session, request, *answer, number) else { continue };
                match (&action, self.visibility_ms) {
                    (Action::Put(item), _) if item.delay_ms > 0 => {
                        let due_ms = exchange.begin_ms + item.delay_ms;
                        steps.extend(record.by_itself(due_ms, Action::DelayEnds { put: number }));
                    }
                    (Action::Take { .. }, Some(visibility_ms)) => {
                        let due_ms = exchange.begin_ms + visibility_ms;
                        steps.extend(record.by_itself(due_ms, Action::ClaimEnds { take: number }));
                    }
                    _ => {}
                }
                actions.push(action);
            }
            match actions.len() {
                0 => {}
                1 => steps.push(exchange.step(at, actions.remove(0))),
                _ => steps.push(exchange.step(at, Action::All(actions))),
            }
        }
        steps
    }

    /// What the request means for this queue. None: it means nothing for this queue, or it was refused.
    fn action(&self, session: SessionId, request: &Request, answer: Option<&str>, number: u64) -> Option<Action> {
        let claim = |path: &Option<String>| {
            path.clone().filter(|path| below(&format!("{}/claims", self.path), Some(path)).is_some())
        };
        let is_gone = answer.is_some_and(|answer| answer == "NONODE" || answer.starts_with("NONODE "));
        match request {
            Request::Create(create) => {
                let asked = create.path.clone()?;
                let path = answer.filter(|answer| answer.starts_with('/')).map(String::from);
                if answer.is_some() && path.is_none() {
                    return None;
                }
                if create.flags == EPHEMERAL_SEQUENTIAL && claim(&create.path).is_some() {
                    return Some(Action::Take { session, asked, path, take: number });
                }
                let folder = format!("{}/items", self.path);
                let asked = below(&folder, Some(&asked))?.to_owned();
                let name = path.and_then(|path| below(&folder, Some(&path)).map(String::from));
                let option = |key| {
                    asked.split(['?', '&']).find_map(|part| part.strip_prefix(key)?.trim_end_matches('-').parse().ok())
                };
                Some(Action::Put(Item {
                    sequential: create.flags == create_mode::PERSISTENT_SEQUENTIAL,
                    name,
                    payload: super::super::show::data(Some(create.data.as_deref().unwrap_or_default())),
                    attempts: 0,
                    put: number,
                    delay_ms: option("delay-ms=").unwrap_or(0),
                    asked,
                }))
            }
            Request::Delete { path, .. } => {
                let path = claim(path)?;
                match answer {
                    None | Some("ok") => Some(Action::Delete { session, path }),
                    Some(_) => is_gone.then_some(Action::Gone { path }),
                }
            }
            Request::SetData { path, data, .. } => {
                let path = claim(path)?;
                match (answer, data.as_deref()) {
                    (Some(_), _) if is_gone => Some(Action::Gone { path }),
                    (Some(answer), _) if !answer.starts_with("version ") => None,
                    (_, Some(b"retry")) => Some(Action::Retry { session, path }),
                    (_, Some(b"extend")) => Some(Action::Extend { session, path }),
                    _ => None,
                }
            }
            Request::GetData { path, .. } => {
                let path = claim(path)?;
                match answer? {
                    _ if is_gone => Some(Action::Gone { path }),
                    "\"\"" => Some(Action::Shows { path, held: None }),
                    text => {
                        let (head, payload) = text.split_once("\\n")?;
                        let head: Value = serde_json::from_str(head).unwrap_or_default();
                        let (Some(item), Some(attempt)) = (head["item"].as_str(), head["attempt"].as_u64()) else {
                            return Some(Action::Nonsense);
                        };
                        let payload = if payload.is_empty() { "\"\"" } else { payload };
                        Some(Action::Shows { path, held: Some((item.into(), attempt, payload.into())) })
                    }
                }
            }
            _ => None,
        }
    }
}

impl Model for Queue {
    type State = Items;
    type Action = Action;

    fn after(&self, items: &Items, action: &Action) -> Option<Items> {
        let mut items = items.clone();
        self.act(&mut items, action).map(|()| items)
    }
}

impl Queue {
    /// Changes `items`. None: in this state the action cannot happen, or cannot get the answer that it got.
    fn act(&self, items: &mut Items, action: &Action) -> Option<()> {
        match action {
            Action::Put(item) => {
                if item.name.as_ref().is_some_and(|name| items.all().any(|other| other.name.as_ref() == Some(name))) {
                    return None;
                }
                items.put += 1;
                let list = if item.delay_ms > 0 { &mut items.delayed } else { &mut items.ready };
                list.insert((9 - item.priority(), items.put), item.clone());
            }
            Action::Take { session, asked, path, take } => {
                let mine = |claim: &&mut Claim| claim.session == *session && claim.asked == *asked;
                if let Some(claim) = items.claims().find(mine) {
                    return claim.is(path.as_deref()).then(|| claim.path = claim.path.take().or(path.clone()));
                }
                if path.as_ref().is_some_and(|path| !made_of(path, asked) || items.known(path)) {
                    return None;
                }
                items.idle.push(Claim { session: *session, asked: asked.clone(), path: path.clone(), take: *take });
            }
            Action::Delete { session, path } => {
                let mine = |claim: &Claim| claim.session == *session && claim.is(Some(path));
                if let Some(at) = items.idle.iter().position(mine) {
                    items.idle.remove(at);
                } else {
                    let at = items.taken.iter().position(|(claim, _, _)| mine(claim))?;
                    items.taken.remove(at);
                }
            }
            Action::Retry { session, path } => {
                let mine = |claim: &Claim| claim.session == *session && claim.is(Some(path));
                let at = items.taken.iter().position(|(claim, _, _)| mine(claim))?;
                let claim = self.give_back(items, at);
                // Claims that wait already get their items first.
                items.match_up();
                items.idle.push(claim);
            }
            Action::Extend { session, path } => {
                let mine = |(claim, _, _): &(Claim, Rank, Item)| claim.session == *session && claim.is(Some(path));
                return items.taken.iter().any(mine).then_some(());
            }
            Action::Shows { path, held: None } => {
                return items
                    .idle
                    .iter_mut()
                    .find(|claim| claim.is(Some(path)))
                    .map(|claim| claim.path = Some(path.clone()));
            }
            Action::Shows { path, held: Some((name, attempt, payload)) } => {
                let (claim, _, item) = items.taken.iter_mut().find(|(claim, _, _)| claim.is(Some(path)))?;
                claim.path = Some(path.clone());
                let fits = item.is(name) && item.attempts == *attempt && item.payload == *payload;
                return fits.then(|| item.name = Some(name.clone()));
            }
            Action::Gone { path } => return (!items.known(path)).then_some(()),
            Action::Nonsense => return None,
            Action::Ends { session } => {
                items.idle.retain(|claim| claim.session != *session);
                while let Some(at) = items.taken.iter().position(|(claim, _, _)| claim.session == *session) {
                    self.give_back(items, at);
                }
            }
            Action::DelayEnds { put } => {
                let rank = items.delayed.iter().find(|(_, item)| item.put == *put).map(|(rank, _)| *rank)?;
                let item = items.delayed.remove(&rank)?;
                items.ready.insert(rank, item);
            }
            Action::ClaimEnds { take } => {
                let at = items.taken.iter().position(|(claim, _, _)| claim.take == *take)?;
                self.give_back(items, at);
            }
            Action::All(actions) => return actions.iter().try_for_each(|action| self.act(items, action)),
        }
        items.match_up();
        Some(())
    }

    /// Removes the claim at index `at`. Its item may be taken again, unless its attempts are used up.
    fn give_back(&self, items: &mut Items, at: usize) -> Claim {
        let (claim, rank, item) = items.taken.remove(at);
        if item.attempts < self.attempts_max {
            items.ready.insert(rank, item);
        }
        claim
    }
}

impl Items {
    /// Gives the first ready item to the claim that has waited longest, and so on.
    fn match_up(&mut self) {
        while !self.idle.is_empty()
            && let Some((rank, mut item)) = self.ready.pop_first()
        {
            item.attempts += 1;
            self.taken.push((self.idle.remove(0), rank, item));
        }
    }

    fn all(&self) -> impl Iterator<Item = &Item> {
        self.ready.values().chain(self.delayed.values()).chain(self.taken.iter().map(|(_, _, item)| item))
    }

    fn claims(&mut self) -> impl Iterator<Item = &mut Claim> {
        self.idle.iter_mut().chain(self.taken.iter_mut().map(|(claim, _, _)| claim))
    }

    /// Whether a claim is known to be at `path`.
    fn known(&self, path: &str) -> bool {
        let mut claims = self.idle.iter().chain(self.taken.iter().map(|(claim, _, _)| claim));
        claims.any(|claim| claim.path.as_deref() == Some(path))
    }
}

impl Item {
    fn priority(&self) -> u64 {
        let option = self.asked.split(['?', '&']).find_map(|part| part.strip_prefix("priority="));
        option.and_then(|value| value.trim_end_matches('-').parse().ok()).unwrap_or(4).min(9)
    }

    fn is(&self, name: &str) -> bool {
        match &self.name {
            Some(mine) => mine == name,
            None if self.sequential => made_of(name, &self.asked),
            None => name == self.asked,
        }
    }
}

impl Claim {
    /// Whether the claim may be at `path`. True if the path is not known.
    fn is(&self, path: Option<&str>) -> bool {
        match (&self.path, path) {
            (Some(mine), Some(path)) => mine == path,
            (None, Some(path)) => made_of(path, &self.asked),
            (_, None) => true,
        }
    }
}
