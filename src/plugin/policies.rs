//! Policies: who may do what. Which are asked about an operation, and what their answers come to together.
//!
//! Deny wins: of all policies that are hit, the first `deny` in the order of their names decides. Where a binding requires
//! an `allow`, one policy that enforces must give it. A fault denies, unless the binding ignores faults. Nothing under
//! `/zookeeper` and nothing of the superuser's is asked about.

use super::binding::{Binding, Once};
use super::call::{Decision, Fault};
use super::manifest::{Kind, Mode, OnFailure, Operation, Require};
use super::registry::Registry;
use crate::model::{ErrorCode, Identity, Refusal, path};
use crate::pipeline::{Call, Verb};
use smallvec::SmallVec;
use std::sync::Arc;

/// Whether no policy is asked about what these do there.
pub fn exempt(identities: &[Identity], path: &str) -> bool {
    path::is_within(path, "/zookeeper") || identities.iter().any(|identity| identity.scheme == "super")
}

/// Asks all policies that the operation hits. `enabled`: see `Plugins::enabled`.
pub fn authorize(registry: &Registry, enabled: bool, call: &Call<'_>, verb: Verb, path: &str) -> Result<(), Refusal> {
    // The server's own operations are nobody's.
    let Some(caller) = call.caller.filter(|_| !registry.is_empty()) else { return Ok(()) };
    let operation = Operation::from(verb);
    let mut sum = Sum { path, allowed: false, requires: SmallVec::new() };
    for binding in registry.of(Kind::Policy).filter(|binding| binding.matches(operation, path)) {
        if exempt(&caller.identities, path) {
            return Ok(());
        }
        let asked = binding.ask(enabled, Once::OrTwice, |instance| instance.authorize(call, verb.into(), path));
        sum.add(binding, asked.as_ref().map(|said| &said.said))?;
    }
    sum.end()
}

/// What several policies' answers come to.
struct Sum<'a> {
    path: &'a str,
    /// By one that enforces: a policy on trial has no say yet.
    allowed: bool,
    /// Those that require an `allow` and have not given it.
    requires: SmallVec<[&'a Arc<Binding>; 2]>,
}

impl<'a> Sum<'a> {
    /// One more answer; an error is the end.
    fn add(&mut self, binding: &'a Arc<Binding>, answer: Result<&Decision, &Fault>) -> Result<(), Refusal> {
        match answer {
            Ok(Decision::Allow) => {
                self.allowed |= binding.manifest.mode == Mode::Enforce;
                return Ok(());
            }
            Ok(Decision::Abstain) => {}
            Ok(Decision::Deny(text)) => binding.refuse(self.refusal(binding, text))?,
            Err(fault) => {
                binding.failed(fault, self.path)?;
                if binding.manifest.on_failure == OnFailure::Ignore {
                    return Ok(());
                }
            }
        }
        if binding.manifest.require == Require::Allow {
            self.requires.push(binding);
        }
        Ok(())
    }

    fn end(self) -> Result<(), Refusal> {
        let unmet = self.requires.iter().filter(|_| !self.allowed);
        unmet.map(|binding| binding.refuse(self.refusal(binding, "no policy allows it, and one must"))).collect()
    }

    /// "plugin: path: text".
    fn refusal(&self, binding: &Binding, text: &str) -> Refusal {
        Refusal::new(ErrorCode::NoAuth, format!("{}: {}: {text}", binding.name, self.path))
    }
}
