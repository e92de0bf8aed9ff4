//! What a refusal or a fault of a guest means for the request: the binding's mode and failure policy.

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

/// The error codes that a plugin may choose (`types.rejection` of the contract). Other codes would make client
/// libraries close sessions or connections.
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
    /// Turns a rejection with a code that clients must not get into a fault.
    pub(crate) fn checked<T>(
        &self,
        call: &Call<'_>,
        said: Result<T, Rejection>,
    ) -> Result<Result<T, Rejection>, Fault> {
        match said {
            Err(rejection) if !CODES.iter().any(|code| code.code() == rejection.code) => {
                Err(self.bad_answer(call, format!("plugins may not choose code {}", rejection.code)))
            }
            said => Ok(said),
        }
    }

    /// Counts an answer that means nothing as a fault of this call.
    pub(crate) fn bad_answer(&self, call: &Call<'_>, what: String) -> Fault {
        let fault = Fault::Output(what);
        self.note(&fault, call, Evidence::default());
        fault
    }

    /// Counts and enforces a refusal that the guest decided on. In mode `audit` the request goes on.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.manifest.mode == Mode::Enforce {
            self.counters.refusals.fetch_add(1, Ordering::Relaxed);
        }
        self.enforce(refusal)
    }

    /// Applies the failure policy to a fault. `about`: the path of the question.
    pub(crate) fn failed(&self, fault: &Fault, about: &str) -> Result<(), Refusal> {
        let refusal = self.fault_refusal(fault, about);
        self.warn(&refusal.text);
        if self.manifest.on_failure == OnFailure::Ignore {
            self.counters.let_pass.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.enforce(refusal)
    }

    /// The refusal that clients get for a fault under `reject`.
    pub(crate) fn fault_refusal(&self, fault: &Fault, about: &str) -> Refusal {
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

    /// The guest's refusal for the client: "plugin: path: text". `about`: the path of the question.
    pub(crate) fn refusal_about(&self, rejection: Rejection, about: &str) -> Refusal {
        let code = ErrorCode::from_code(rejection.code).unwrap_or(ErrorCode::SystemError);
        let text = match rejection.text.strip_prefix(about) {
            Some(rest) if rest.starts_with(':') => format!("{}: {}", self.name, rejection.text),
            _ => format!("{}: {about}: {}", self.name, rejection.text),
        };
        Refusal::new(code, text)
    }

    /// Logs a warning: to the plugin's log always, and to the server's log at most once a second for each binding.
    pub(crate) fn warn(&self, text: &str) {
        self.counters.log.push(Level::Warn, text);
        let mut last = self.last_warning.lock();
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::warn!(target: "wasmkeeper::plugin", "{}", text.escape_debug());
        }
    }
}
