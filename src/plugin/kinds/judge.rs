//! The plugins as the pipeline asks them about a write: the matching ones, one after the other.

use super::{recipes, validators};
use crate::model::path;
use crate::model::txn;
use crate::pipeline::{self, Answered, Call, Caller, Cause, Handled, Recipe, Verb, Write, authorize};
use crate::plugin::binding::Binding;
use crate::plugin::binding::plugins::Plugins;
use crate::plugin::binding::registry::Registry;
use crate::plugin::contract::{Change, ChangeKind};
use crate::plugin::manifest;
use crate::plugin::manifest::Kind;
use bytes::Bytes;
use std::sync::Arc;

/// Asks the plugins about transactions. One thread owns it.
pub(crate) struct Judge {
    plugins: Arc<Plugins>,
    /// The generation of `registry`.
    generation: u64,
    registry: Arc<Registry>,
    /// Kept between calls to reuse its memory.
    matching: Vec<Change>,
}

impl Judge {
    pub(crate) fn new(plugins: Arc<Plugins>) -> Judge {
        Judge { plugins, generation: u64::MAX, registry: Arc::default(), matching: Vec::new() }
    }

    /// The newest registry.
    pub(crate) fn registry(&mut self) -> &Registry {
        self.refresh();
        &self.registry
    }

    /// Takes the newest registry, if there is a new one.
    fn refresh(&mut self) {
        if let Some((generation, registry)) = self.plugins.newer_registry(self.generation) {
            self.registry = registry;
            self.generation = generation;
        }
    }
}

impl Plugins {
    /// A judge for one thread that evaluates writes.
    pub(crate) fn judge(self: &Arc<Plugins>) -> Judge {
        Judge::new(self.clone())
    }
}

impl pipeline::Plugins for Judge {
    fn validate(&mut self, call: &Call<'_>, changes: &[txn::Change]) -> Answered<()> {
        self.refresh();
        if self.registry.is_empty() {
            return Answered::unasked(Ok(()));
        }
        // The pipeline does not ask about the superuser's transactions. This checks again, because a plugin must never
        // lock the superuser out.
        let is_super = |caller: &Caller| authorize::is_super(&caller.identities);
        if call.caller.is_some_and(is_super) {
            return Answered::unasked(Ok(()));
        }
        let mut fuel = 0u64;
        for binding in self.registry.of(Kind::Validator) {
            self.matching.clear();
            let mut told_bytes = 0;
            for change in changes {
                let Some((kind, operation, path)) = describe(change) else { continue };
                if binding.matches(operation, path) && !path::is_servers_own(path) {
                    self.matching.push(Change { kind, path: path.to_string() });
                    told_bytes += path.len() + data_bytes(change);
                }
            }
            if self.matching.is_empty() {
                continue;
            }
            let left = Call { told_bytes, ..call.after(fuel) };
            let answered = validators::validate(binding, self.plugins.enabled(), &left, &self.matching);
            fuel = fuel.saturating_add(answered.fuel);
            if answered.said.is_err() {
                return Answered { fuel, ..answered };
            }
        }
        Answered { said: Ok(()), fuel }
    }

    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Answered<()> {
        self.refresh();
        self.registry.authorize(self.plugins.enabled(), call, verb, path)
    }

    fn recipe(&mut self, path: &str) -> Option<Arc<Recipe>> {
        self.refresh();
        self.registry.recipe(path)?.recipe.clone()
    }

    fn recipe_named(&mut self, plugin: &str) -> Option<Arc<Recipe>> {
        self.refresh();
        self.registry.named(plugin).filter(|binding| binding.is_on())?.recipe.clone()
    }

    fn starts_recipe(&mut self, text: &[u8]) -> Option<String> {
        let manifest = manifest::parse(text).ok()?;
        manifest.mount.filter(|_| manifest.kind == Kind::Recipe && manifest.mode != manifest::Mode::Off)
    }

    fn pieces(&mut self, text: &[u8]) -> Vec<String> {
        let manifest = manifest::parse(text).ok().filter(|manifest| manifest.mode != manifest::Mode::Off);
        let component = manifest.map(|manifest| manifest.component);
        component.iter().flat_map(|component| (0..component.chunks).map(|piece| component.chunk_path(piece))).collect()
    }

    fn handle(&mut self, recipe: &Recipe, call: &Call<'_>, write: &Write<'_>) -> Answered<Handled> {
        let call = Call { told_bytes: write.bytes(), ..*call };
        self.with(recipe, |binding, enabled| recipes::handle(binding, enabled, &call, write))
    }

    fn on_change(&mut self, recipe: &Recipe, call: &Call<'_>, cause: Cause, changes: &[txn::Change]) -> Answered<()> {
        self.with(recipe, |binding, enabled| recipes::on_change(binding, enabled, call, cause, changes))
    }

    fn on_timer(&mut self, recipe: &Recipe, call: &Call<'_>, name: &str) -> Answered<()> {
        self.with(recipe, |binding, enabled| recipes::on_timer(binding, enabled, call, name))
    }

    fn on_call(&mut self, recipe: &Recipe, call: &Call<'_>, method: &str, payload: &[u8]) -> Answered<Bytes> {
        self.with(recipe, |binding, enabled| recipes::on_call(binding, enabled, call, method, payload))
    }

    fn recover(&mut self, recipe: &Recipe, call: &Call<'_>, after: Option<&str>) -> Answered<Option<String>> {
        self.with(recipe, |binding, enabled| recipes::recover(binding, enabled, call, after))
    }
}

impl Judge {
    /// Asks the binding of the recipe.
    fn with<T>(&self, recipe: &Recipe, ask: impl FnOnce(&Binding, bool) -> Answered<T>) -> Answered<T> {
        match self.registry.named(&recipe.name) {
            Some(binding) => ask(binding, self.plugins.enabled()),
            None => pipeline::plugins::no_recipe(recipe),
        }
    }
}

fn data_bytes(change: &txn::Change) -> usize {
    match change {
        txn::Change::Create { data, .. } | txn::Change::SetData { data, .. } => {
            data.as_ref().map_or(0, |data| data.len())
        }
        _ => 0,
    }
}

/// What a plugin is told of a change. None for sessions, format level and clock, which plugins are not told of.
pub(super) fn describe(change: &txn::Change) -> Option<(ChangeKind, Verb, &str)> {
    match change {
        txn::Change::Create { path, .. } => Some((ChangeKind::Created, Verb::Create, path)),
        txn::Change::Delete { path } => Some((ChangeKind::Deleted, Verb::Delete, path)),
        txn::Change::SetData { path, .. } => Some((ChangeKind::DataSet, Verb::Set, path)),
        txn::Change::SetAcl { path, .. } => Some((ChangeKind::AclSet, Verb::Acl, path)),
        txn::Change::OpenSession { .. }
        | txn::Change::AttachSession { .. }
        | txn::Change::CloseSession { .. }
        | txn::Change::RaiseFormatLevel { .. }
        | txn::Change::SetBackClock => None,
    }
}
