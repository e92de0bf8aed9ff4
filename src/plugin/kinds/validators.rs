//! Validators: what becomes of a transaction that a validator is asked about.

use crate::limits;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::{Answered, Call};
use crate::plugin::binding::{Binding, CallResult, Once};
use crate::plugin::contract::{Change, Rejection};

/// Asks a validator about the changes of a transaction that match its binding.
pub(crate) fn validate(binding: &Binding, enabled: bool, call: &Call<'_>, changes: &[Change]) -> Answered<()> {
    let first = changes.first().map_or("/", |change| change.path.as_str());
    if changes.len() > limits::PLUGIN_CHANGES_MAX {
        let text = format!(
            "{}: {} changes in one transaction, a plugin judges at most {}",
            binding.name,
            changes.len(),
            limits::PLUGIN_CHANGES_MAX
        );
        return Answered::unasked(binding.refuse(Refusal::new(ErrorCode::BadArguments, text)));
    }
    let CallResult { said, cost } =
        binding.ask_at_cost(enabled, Once::OrTwice, call, |instance| instance.validate(call, changes));
    let said = match said.and_then(|said| binding.checked(call, said.answer)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(rejection)) => binding.refuse(refusal(binding, rejection, changes)),
        Err(fault) => binding.failed(&fault, first),
    };
    Answered { said, fuel: cost }
}

/// The guest's refusal for the client. With several changes, the guest's text says which one it means.
fn refusal(binding: &Binding, rejection: Rejection, changes: &[Change]) -> Refusal {
    let code = ErrorCode::from_code(rejection.code).unwrap_or(ErrorCode::SystemError);
    let names_its_change = changes
        .iter()
        .any(|change| rejection.text.strip_prefix(change.path.as_str()).is_some_and(|rest| rest.starts_with(':')));
    let text = match changes {
        [change] if !names_its_change => format!("{}: {}: {}", binding.name, change.path, rejection.text),
        _ => format!("{}: {}", binding.name, rejection.text),
    };
    Refusal::new(code, text)
}
