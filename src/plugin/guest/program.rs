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
pub(crate) struct Program {
    pub(super) engine: wasmtime::Engine,
    pub(super) prepared: InstancePre<HostState>,
    pub(super) exports: Exports,
    pub(crate) section: Section,
}

/// Where the component's exported functions are: those of `setup`, and those of each kind.
pub(super) struct Exports {
    pub(crate) setup: setup::GuestIndices,
    pub(crate) validation: Option<validation::GuestIndices>,
    pub(crate) authorization: Option<authorization::GuestIndices>,
    pub(crate) authentication: Option<authentication::GuestIndices>,
    pub(crate) behavior: Option<behavior::GuestIndices>,
    pub(crate) reconciliation: Option<reconciliation::GuestIndices>,
}

impl Program {
    /// `kinds`: the kinds whose interfaces the component exports (`component::inspect`).
    pub(crate) fn new(
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

    pub(crate) fn is(&self, kind: Kind) -> bool {
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
pub(crate) struct Setup {
    pub(crate) name: Arc<str>,
    /// The kind that the binding uses. A component may be of several kinds.
    pub(crate) kind: Kind,
    pub(crate) mount: Arc<str>,
    /// JSON text.
    pub(crate) settings: Arc<str>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) budget: Budget,
    /// Where the calls are counted, and where log lines are kept.
    pub(crate) counters: Arc<Counters>,
}

/// The bounds of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Budget {
    pub(crate) fuel: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) memory_bytes: usize,
    /// A call that takes at least this long is noted as slow. The call is not ended.
    pub(crate) slow: Duration,
}
