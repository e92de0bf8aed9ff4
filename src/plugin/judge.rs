//! The plugins as the pipeline asks them about a write: which are hit, one after the other.

use super::host::{Change, ChangeKind};
use super::manifest::{Kind, Operation};
use super::registry::{Plugins, Registry};
use crate::model::{Refusal, path};
use crate::pipeline::{self, Call, Verb, txn};
use std::sync::Arc;

/// Asks the plugins about transactions; belongs to one thread.
pub struct Judge {
    plugins: Arc<Plugins>,
    /// Of `registry`.
    generation: u64,
    registry: Arc<Registry>,
    /// Kept for its memory.
    matching: Vec<Change>,
}

impl Judge {
    pub fn new(plugins: Arc<Plugins>) -> Judge {
        Judge { plugins, generation: u64::MAX, registry: Arc::default(), matching: Vec::new() }
    }

    /// Looks whether the tree binds something else by now.
    fn refresh(&mut self) {
        if let Some((generation, registry)) = self.plugins.newer_registry(self.generation) {
            self.registry = registry;
            self.generation = generation;
        }
    }
}

impl pipeline::Plugins for Judge {
    fn validate(&mut self, call: &Call<'_>, changes: &[txn::Change]) -> Result<(), Refusal> {
        self.refresh();
        if self.registry.is_empty() {
            return Ok(());
        }
        // The pipeline does not ask about the server's own transactions and the superuser's; a lock-out by a plugin would
        // be so bad that it is checked here again.
        let Some(caller) = call.caller else { return Ok(()) };
        if caller.identities.iter().any(|identity| identity.scheme == "super") {
            return Ok(());
        }
        for binding in self.registry.of(Kind::Validator) {
            self.matching.clear();
            for change in changes {
                let Some((kind, operation, path)) = describe(change) else { continue };
                if binding.matches(operation, path) && !path::is_within(path, "/zookeeper") {
                    self.matching.push(Change { kind, path: path.to_string() });
                }
            }
            if !self.matching.is_empty() {
                binding.validate(self.plugins.enabled(), call, &self.matching)?;
            }
        }
        Ok(())
    }

    fn authorize(&mut self, call: &Call<'_>, verb: Verb, path: &str) -> Result<(), Refusal> {
        self.refresh();
        self.registry.authorize(self.plugins.enabled(), call, verb, path)
    }
}

/// Sessions and the format are no plugin's affair.
fn describe(change: &txn::Change) -> Option<(ChangeKind, Operation, &str)> {
    match change {
        txn::Change::Create { path, .. } => Some((ChangeKind::Created, Operation::Create, path)),
        txn::Change::Delete { path } => Some((ChangeKind::Deleted, Operation::Delete, path)),
        txn::Change::SetData { path, .. } => Some((ChangeKind::DataSet, Operation::Set, path)),
        txn::Change::SetAcl { path, .. } => Some((ChangeKind::AclSet, Operation::Acl, path)),
        txn::Change::OpenSession { .. }
        | txn::Change::AttachSession { .. }
        | txn::Change::CloseSession { .. }
        | txn::Change::RaiseFormatLevel { .. } => None,
    }
}
