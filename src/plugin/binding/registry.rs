//! The bindings at one zxid, and how to find the binding to ask. A registry never changes.

use super::Binding;
use crate::model::path;
use crate::plugin::manifest::Kind;
use std::collections::HashMap;
use std::sync::Arc;

/// The bindings at one zxid.
#[derive(Default)]
pub struct Registry {
    /// Invariant: sorted by key, and each key once.
    bindings: Vec<Arc<Binding>>,
    /// The policies that are not off, sorted by key. Every read looks at all of them.
    policies: Vec<Arc<Binding>>,
    /// The mounts of the recipes that are not off, with indexes into `bindings`.
    /// Invariant: the binding at the index is on, and its mount is the key.
    mounts: HashMap<Box<str>, usize>,
    /// The length of the longest mount, in bytes. Invariant: no mount is longer.
    mount_bytes_max: usize,
}

impl Registry {
    /// `bindings`: sorted by key. If two recipes have the same mount, the first one owns it.
    pub(super) fn new(bindings: Vec<Arc<Binding>>) -> Registry {
        let mut mounts: HashMap<Box<str>, usize> = HashMap::new();
        for (at, binding) in bindings.iter().enumerate() {
            if let Some(recipe) = binding.recipe.as_ref().filter(|_| binding.is_on()) {
                mounts.entry((*recipe.mount).into()).or_insert(at);
            }
        }
        let mount_bytes_max = mounts.keys().map(|mount| mount.len()).max().unwrap_or(0);
        let mut registry = Registry { bindings, policies: Vec::new(), mounts, mount_bytes_max };
        registry.policies = registry.of(Kind::Policy).cloned().collect();
        registry.check();
        registry
    }

    fn check(&self) {
        assert!(self.bindings.is_sorted_by(|one, other| one.key < other.key), "the bindings are not sorted by key");
        for (mount, &at) in &self.mounts {
            let binding = &self.bindings[at];
            let owns = binding.recipe.as_ref().is_some_and(|recipe| *recipe.mount == **mount);
            assert!(owns && binding.is_on(), "{} does not own the mount {mount}", binding.key);
            assert!(mount.len() <= self.mount_bytes_max, "the mount {mount} is longer than the longest one");
        }
    }

    /// The policies that are not off, sorted by name.
    pub(crate) fn policies(&self) -> &[Arc<Binding>] {
        &self.policies
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// The bindings of this kind that are not off.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.iter().filter(move |binding| binding.manifest.kind == kind && binding.is_on())
    }

    /// The binding of a key: a plugin's name, or `<name>/canary` for a version on trial.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Binding>> {
        let at = self.bindings.binary_search_by(|binding| (*binding.key).cmp(name)).ok()?;
        self.bindings.get(at)
    }

    /// All bindings, including those that are off and those on trial.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.iter()
    }

    /// The recipe that a request at `path` goes to: the one with the longest mount at or above `path`.
    pub(crate) fn recipe(&self, path: &str) -> Option<&Arc<Binding>> {
        if self.mounts.is_empty() {
            return None;
        }
        // A path may be as long as a frame. A longer path than the longest mount is cut before the look-up.
        let cut = path.floor_char_boundary(self.mount_bytes_max.saturating_add(1));
        let mut ancestor = if cut < path.len() { &path[..path[..cut].rfind('/')?] } else { path };
        loop {
            match self.mounts.get(ancestor) {
                Some(&at) => return self.bindings.get(at),
                None => ancestor = path::parent(ancestor)?,
            }
        }
    }

    /// The authenticator of a scheme.
    pub(crate) fn authenticator(&self, scheme: &str) -> Option<&Arc<Binding>> {
        self.of(Kind::Authenticator).find(|binding| binding.manifest.scheme.as_deref() == Some(scheme))
    }
}
