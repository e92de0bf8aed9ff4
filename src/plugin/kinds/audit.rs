//! What a validator says of nodes that exist already. Each node is shown to the validator as if it were just created.
//!
//! Only the superuser may read `/zookeeper/plugins/<name>/audit`. The answer covers a slice of the tree: which nodes
//! are refused, and where the next slice starts. `.../audit/PATH` is the slice after PATH. The reader asks for slice
//! after slice and so sets the pace. The server keeps nothing between slices. A slice is bounded in nodes and time,
//! because the tree is locked against changes during a slice.

use crate::environment::{Instant, wall_ms};
use crate::limits;
use crate::model::path;
use crate::pipeline::overlay::Overlay;
use crate::pipeline::view::View;
use crate::pipeline::{Call, Moment, NodeCopy, ReadView, Verb};
use crate::plugin::PLUGINS;
use crate::plugin::binding::plugins::Plugins;
use crate::plugin::binding::{Binding, Once};
use crate::plugin::contract::{self, Change, ChangeKind};
use crate::plugin::manifest::Kind;
use crate::state::State;
use serde::{Deserialize, Serialize};

/// The result of one slice.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// The number of nodes that the validator was asked about.
    pub(crate) asked: u64,
    pub(crate) refused: Vec<Refused>,
    /// The last node that was visited. None if the tree ends with this slice.
    pub(crate) next: Option<String>,
    /// Why the slice ended early or visited no node.
    pub(crate) error: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Visits the nodes after the path `behind`, or from the beginning.
pub(crate) fn slice(binding: &Binding, enabled: bool, state: &State, behind: Option<&str>) -> Slice {
    if binding.manifest.kind != Kind::Validator {
        let error = format!(
            "{} is a {}, and only validators can be asked about nodes",
            binding.name,
            binding.manifest.kind.name()
        );
        return Slice { error: Some(error), ..Slice::default() };
    }
    let overlay = Overlay::default();
    let view = View { state, overlay: &overlay };
    let mut walk = Walk { binding, enabled, view, begun: Instant::now(), looked: 0, slice: Slice::default() };
    let names: Vec<&str> =
        behind.map_or_else(Vec::new, |behind| behind.split('/').filter(|name| !name.is_empty()).collect());
    if walk.below("/", &names) {
        walk.slice.next = None;
    }
    walk.slice
}

impl Plugins {
    /// The data of `/zookeeper/plugins/<name>/audit` and `.../audit/PATH`. The tree has no such nodes.
    pub(crate) fn audited(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        let (name, what) = path.strip_prefix(PLUGINS)?.strip_prefix('/')?.split_once('/')?;
        let behind = what.strip_prefix("audit")?;
        if !behind.is_empty() && !behind.starts_with('/') {
            return None;
        }
        let registry = self.registry();
        let slice = slice(registry.named(name)?, self.enabled(), state, Some(behind));
        Some(serde_json::to_vec(&slice).expect("it is JSON"))
    }
}

struct Walk<'a> {
    binding: &'a Binding,
    enabled: bool,
    view: View<'a>,
    begun: Instant,
    looked: usize,
    slice: Slice,
}

impl Walk<'_> {
    /// Visits the nodes below `parent` in the order of names, after the path that `behind` names. Returns false if the
    /// slice is full.
    fn below(&mut self, parent: &str, behind: &[&str]) -> bool {
        let mut after = None;
        if let Some((first, rest)) = behind.split_first() {
            if !self.below(&path::join(parent, first), rest) {
                return false;
            }
            after = Some((*first).to_owned());
        }
        loop {
            let names = ReadView::children(&self.view, parent, after.as_deref(), limits::PLUGIN_PAGE_MAX);
            for name in &names {
                let node = path::join(parent, name);
                if node == "/zookeeper" {
                    continue;
                }
                if self.is_full() || self.slice.error.is_some() {
                    return false;
                }
                self.look(&node);
                if !self.below(&node, &[]) {
                    return false;
                }
            }
            if names.len() < limits::PLUGIN_PAGE_MAX {
                return true;
            }
            after = names.into_iter().next_back();
        }
    }

    fn is_full(&self) -> bool {
        self.looked >= limits::AUDIT_SLICE_NODES
            || self.slice.refused.len() >= limits::AUDIT_SLICE_REFUSED
            || self.begun.elapsed() >= limits::AUDIT_SLICE_TIME
    }

    fn look(&mut self, node: &str) {
        self.looked += 1;
        self.slice.next = Some(node.to_owned());
        if !self.binding.matches(Verb::Create, node) {
            return;
        }
        self.slice.asked += 1;
        let state = self.view.state;
        let moment = Moment { wall_ms: wall_ms(), ensemble_ms: state.ensemble_ms(), seed: 0 };
        let created = Created { view: self.view, path: node };
        let call = Call::looking(&created, None, 0, state.last_zxid(), moment);
        let changes = [Change { kind: ChangeKind::Created, path: node.to_owned() }];
        let asked = self.binding.ask(self.enabled, Once::OrTwice, &call, |instance| instance.validate(&call, &changes));
        match asked {
            Ok(said) => {
                if let Err(rejection) = said.answer {
                    let text = contract::cut(&rejection.text, limits::REFUSAL_TEXT_BYTES_MAX).to_owned();
                    self.slice.refused.push(Refused { path: node.to_owned(), text });
                }
            }
            Err(fault) if fault.by_server() => self.slice.error = Some(fault.text()),
            Err(fault) => {
                let text = format!("the plugin failed ({}): {}", fault.name(), fault.text());
                self.slice.refused.push(Refused { path: node.to_owned(), text });
            }
        }
    }
}

/// The tree as if the node at `path` had just been created.
struct Created<'a> {
    view: View<'a>,
    path: &'a str,
}

impl ReadView for Created<'_> {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        ReadView::node(&self.view, path)
    }

    fn original(&self, path: &str) -> Option<NodeCopy> {
        if path == self.path { None } else { ReadView::node(&self.view, path) }
    }

    fn children(&self, path: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        ReadView::children(&self.view, path, after, limit)
    }

    fn ephemerals(&self, session: crate::model::SessionId, prefix: &str, limit: usize) -> Vec<String> {
        ReadView::ephemerals(&self.view, session, prefix, limit)
    }
}
