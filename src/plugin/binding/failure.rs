//! What a write gets when a guest refuses it or fails: the failure policy and the mode of a binding.

use super::Binding;
use crate::environment::Instant;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::Call;
use crate::plugin::contract::Rejection;
use crate::plugin::fault::{Evidence, Fault};
use crate::plugin::manifest::{Mode, OnFailure};
use crate::plugin::report::log::Level;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Codes a plugin may choose for a client (`types.rejection` of the contract): others would make client libraries drop
/// sessions or connections.
const CODES: [ErrorCode; 12] = [
    ErrorCode::SystemError,
    ErrorCode::Unimplemented,
    ErrorCode::BadArguments,
    ErrorCode::NoNode,
    ErrorCode::NoAuth,
    ErrorCode::BadVersion,
    ErrorCode::NoChildrenForEphemerals,
    ErrorCode::NodeExists,
    ErrorCode::NotEmpty,
    ErrorCode::InvalidAcl,
    ErrorCode::QuotaExceeded,
    ErrorCode::ThrottledOp,
];

impl Binding {
    /// A rejection whose code clients must not get is a fault.
    pub fn sensible<T>(&self, call: &Call<'_>, said: Result<T, Rejection>) -> Result<Result<T, Rejection>, Fault> {
        match said {
            Err(rejection) if !CODES.iter().any(|code| code.code() == rejection.code) => {
                Err(self.senseless(call, format!("plugins may not choose code {}", rejection.code)))
            }
            said => Ok(said),
        }
    }

    /// An answer to that call that means nothing: a fault as any other.
    pub fn senseless(&self, call: &Call<'_>, what: String) -> Fault {
        let fault = Fault::Output(what);
        self.note(&fault, call, Evidence::default());
        fault
    }

    /// A refusal by the guest's own judgement, as far as it is enforced.
    pub fn refuse(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            self.counters.refusals.fetch_add(1, Ordering::Relaxed);
        }
        self.enforce(refusal)
    }

    /// What the failure policy makes of a fault; `about` is the path that was asked about.
    pub fn failed(&self, fault: &Fault, about: &str) -> Result<(), Refusal> {
        let refusal = self.fault_refusal(fault, about);
        self.warn(&refusal.text);
        if self.manifest.on_failure == OnFailure::Ignore {
            self.counters.let_pass.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.enforce(refusal)
    }

    /// A fault in the words and the code that clients get under `reject`.
    pub fn fault_refusal(&self, fault: &Fault, about: &str) -> Refusal {
        let text = match fault {
            Fault::Quarantine(_) => format!("{}: {about}: the plugin is not called: {}", self.name, fault.text()),
            _ => format!("{}: {about}: the plugin failed ({}): {}", self.name, fault.name(), fault.text()),
        };
        let code = if fault.by_server() { ErrorCode::OperationTimeout } else { ErrorCode::SystemError };
        Refusal::new(code, text)
    }

    fn enforce(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            return Err(refusal);
        }
        self.counters.would_refuse.fetch_add(1, Ordering::Relaxed);
        self.warn(&format!("would have refused: {}", refusal.text));
        Ok(())
    }

    /// The guest's refusal for the client: "plugin: path: text"; `about` is the path that was asked about.
    pub fn refusal_about(&self, rejection: Rejection, about: &str) -> Refusal {
        let code = ErrorCode::from_code(rejection.code).unwrap_or(ErrorCode::SystemError);
        let text = match rejection.text.strip_prefix(about) {
            Some(rest) if rest.starts_with(':') => format!("{}: {}", self.name, rejection.text),
            _ => format!("{}: {about}: {}", self.name, rejection.text),
        };
        Refusal::new(code, text)
    }

    /// At most one line a second and binding: the counters have the rest.
    pub fn warn(&self, text: &str) {
        self.counters.log.push(Level::Warn, text);
        let mut last = self.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::warn!(target: "wasmkeeper::plugin", "{}", text.escape_debug());
        }
    }
}
