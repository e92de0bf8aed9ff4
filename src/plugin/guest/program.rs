//! A component that is ready to be instantiated, and what an instance of it is made with.

use super::host::HostState;
use crate::plugin::contract::exports::{authentication, authorization, behavior, reconciliation, setup, validation};
use crate::plugin::manifest::grant::Grants;
use crate::plugin::manifest::{Kind, Section};
use crate::plugin::report::counters::Counters;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::InstancePre;

/// A component that is ready to be instantiated, with its author's manifest.
pub struct Program {
    pub(super) engine: wasmtime::Engine,
    pub(super) prepared: InstancePre<HostState>,
    pub(super) exports: Exports,
    pub section: Section,
}

/// Where the component's exported functions are: those of `setup`, and those of each kind.
pub(super) struct Exports {
    pub setup: setup::GuestIndices,
    pub validation: Option<validation::GuestIndices>,
    pub authorization: Option<authorization::GuestIndices>,
    pub authentication: Option<authentication::GuestIndices>,
    pub behavior: Option<behavior::GuestIndices>,
    pub reconciliation: Option<reconciliation::GuestIndices>,
}

impl Program {
    /// `kinds`: the kinds whose interfaces the component exports (`component::inspect`).
    pub fn new(
        engine: &wasmtime::Engine,
        prepared: InstancePre<HostState>,
        kinds: &[Kind],
        section: Section,
    ) -> wasmtime::Result<Program> {
        let is = |kind| kinds.contains(&kind);
        let exports = Exports {
            setup: setup::GuestIndices::new(&prepared)?,
            validation: is(Kind::Validator).then(|| validation::GuestIndices::new(&prepared)).transpose()?,
            authorization: is(Kind::Policy).then(|| authorization::GuestIndices::new(&prepared)).transpose()?,
            authentication: is(Kind::Authenticator)
                .then(|| authentication::GuestIndices::new(&prepared))
                .transpose()?,
            behavior: is(Kind::Recipe).then(|| behavior::GuestIndices::new(&prepared)).transpose()?,
            reconciliation: is(Kind::Controller).then(|| reconciliation::GuestIndices::new(&prepared)).transpose()?,
        };
        Ok(Program { engine: engine.clone(), prepared, exports, section })
    }

    pub fn is(&self, kind: Kind) -> bool {
        match kind {
            Kind::Validator => self.exports.validation.is_some(),
            Kind::Policy => self.exports.authorization.is_some(),
            Kind::Authenticator => self.exports.authentication.is_some(),
            Kind::Recipe => self.exports.behavior.is_some(),
            Kind::Controller => self.exports.reconciliation.is_some(),
        }
    }
}

/// What an instance is made with.

#[derive(Clone)]
pub struct Setup {
    pub name: Arc<str>,
    /// The kind that the binding uses. A component may be of several kinds.
    pub kind: Kind,
    pub mount: Arc<str>,
    /// JSON text.
    pub settings: Arc<str>,
    pub grants: Arc<Grants>,
    pub budget: Budget,
    /// Where the calls are counted, and where log lines are kept.
    pub counters: Arc<Counters>,
}

/// The bounds of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    pub fuel: u64,
    pub cpu_ms: u64,
    pub memory_bytes: usize,
    /// A call that takes at least this long is noted as slow. The call is not ended.
    pub slow: Duration,
}
