//! Recipes: turns the pipeline's questions into the contract's types, and the guests' answers into the pipeline's
//! types.
//!
//! Faults of a recipe cannot be ignored, and a recipe cannot be in mode `audit`. So an answer that makes no sense
//! refuses the request, or the recipe's part of the transaction if the request cannot be refused.

use super::judge;
use crate::limits;
use crate::model::txn;
use crate::model::{Refusal, path};
use crate::pipeline::{Answered, Call, Cause, Handled, Write};
use crate::plugin::binding::{Binding, CallResult, Once};
use crate::plugin::contract::exports::behavior;
use crate::plugin::contract::{self, Change, Rejection};
use crate::plugin::fault::Fault;
use bytes::Bytes;
use std::sync::atomic::Ordering;

pub(crate) fn handle(binding: &Binding, enabled: bool, call: &Call<'_>, write: &Write<'_>) -> Answered<Handled> {
    let request = request(write);
    let asked = binding.ask_at_cost(enabled, Once::Only, call, |instance| instance.handle(call, &request));
    answered(binding, call, write.path(), asked, |handled| match handled {
        behavior::Answer::Pass => Ok(Handled::Pass),
        behavior::Answer::Done(path) if may_reply_with(write, &path) => Ok(Handled::Done(path)),
        behavior::Answer::Done(path) => {
            let path = contract::cut(&path, limits::PLUGIN_LOG_LINE_BYTES_MAX);
            Err(format!("its reply speaks of {path:?}, which is not what was asked for"))
        }
    })
}

pub(crate) fn on_change(
    binding: &Binding,
    enabled: bool,
    call: &Call<'_>,
    cause: Cause,
    changes: &[txn::Change],
) -> Answered<()> {
    let told: Vec<Change> = changes
        .iter()
        .filter_map(judge::describe)
        .map(|(kind, _, path)| Change { kind, path: path.to_owned() })
        .collect();
    let cause = match cause {
        Cause::Request => behavior::Cause::Request,
        Cause::SessionClosed => behavior::Cause::SessionClosed,
        Cause::SessionExpired => behavior::Cause::SessionExpired,
        Cause::Plugin => behavior::Cause::Plugin,
        Cause::Server => behavior::Cause::Server,
    };
    let about = told.first().map_or("/", |change| change.path.as_str());
    let asked = binding.ask_at_cost(enabled, Once::Only, call, |instance| instance.on_change(call, cause, &told));
    log_refusal(binding, answered(binding, call, about, asked, Ok))
}

pub(crate) fn on_timer(binding: &Binding, enabled: bool, call: &Call<'_>, name: &str) -> Answered<()> {
    let asked = binding.ask_at_cost(enabled, Once::Only, call, |instance| instance.on_timer(call, name));
    log_refusal(binding, answered(binding, call, mount(binding), asked, Ok))
}

pub(crate) fn on_call(
    binding: &Binding,
    enabled: bool,
    call: &Call<'_>,
    method: &str,
    payload: &[u8],
) -> Answered<Bytes> {
    let asked = binding.ask_at_cost(enabled, Once::Only, call, |instance| instance.on_call(call, method, payload));
    answered(binding, call, mount(binding), asked, |returned| {
        if returned.len() > limits::PLUGIN_CALL_BYTES_MAX {
            return Err(format!("it returned {} bytes", returned.len()));
        }
        Ok(Bytes::from(returned))
    })
}

pub(crate) fn recover(
    binding: &Binding,
    enabled: bool,
    call: &Call<'_>,
    after: Option<&str>,
) -> Answered<Option<String>> {
    let asked = binding.ask_at_cost(enabled, Once::Only, call, |instance| instance.recover(call, after));
    log_refusal(binding, answered(binding, call, mount(binding), asked, Ok))
}

fn mount(binding: &Binding) -> &str {
    binding.manifest.mount.as_deref().unwrap_or("/")
}

/// What a guest's answer means. `meaning` gives the meaning of an answer, or says why it has none. `about`: the path of
/// the question.
fn answered<T, U>(
    binding: &Binding,
    call: &Call<'_>,
    about: &str,
    asked: CallResult<Result<T, Rejection>>,
    meaning: impl FnOnce(T) -> Result<U, String>,
) -> Answered<U> {
    let failed = |fault: &Fault| {
        let refusal = binding.fault_refusal(fault, about);
        binding.warn(&refusal.text);
        refusal
    };
    let said = match asked.said.and_then(|said| binding.checked(call, said.answer)) {
        Ok(Ok(answer)) => meaning(answer).map_err(|what| failed(&binding.bad_answer(call, what))),
        Ok(Err(rejection)) => {
            binding.counters.refusals.fetch_add(1, Ordering::Relaxed);
            Err(binding.refusal_about(rejection, about))
        }
        Err(fault) => Err(failed(&fault)),
    };
    Answered { said, fuel: asked.cost }
}

/// Logs a refusal that no client hears of.
fn log_refusal<T>(binding: &Binding, answered: Answered<T>) -> Answered<T> {
    if let Err(Refusal { text, .. }) = &answered.said {
        binding.warn(text);
    }
    answered
}

/// Whether a recipe may answer a request with this path. A created node must lie under the requested parent, because
/// clients under a chroot cut the chroot off the path. Its name must begin with the requested name, because client
/// libraries search for the node of an interrupted create by that name.
fn may_reply_with(write: &Write<'_>, answered: &str) -> bool {
    match write {
        Write::Create { path: asked, .. } => {
            path::validate(answered).is_ok()
                && parent(answered) == parent(asked)
                && path::name(answered).starts_with(path::name(asked))
        }
        _ => answered == write.path(),
    }
}

/// As `path::parent`, also for a path that ends with a slash.
fn parent(path: &str) -> Option<&str> {
    path.rfind('/').map(|at| &path[..at])
}

fn request(write: &Write<'_>) -> behavior::Request {
    match *write {
        Write::Create { path, data, kind, sequential, acl } => behavior::Request::Create(behavior::CreateRequest {
            path: path.to_owned(),
            data: data.to_vec(),
            kind: contract::guest_node_kind(kind),
            sequential,
            acl: acl.iter().map(contract::guest_acl_entry).collect(),
        }),
        Write::SetData { path, data, version } => {
            behavior::Request::SetData(behavior::SetDataRequest { path: path.to_owned(), data: data.to_vec(), version })
        }
        Write::SetAcl { path, acl, version } => behavior::Request::SetAcl(behavior::SetAclRequest {
            path: path.to_owned(),
            acl: acl.iter().map(contract::guest_acl_entry).collect(),
            version,
        }),
        Write::Delete { path, version } => {
            behavior::Request::Delete(behavior::DeleteRequest { path: path.to_owned(), version })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeKind, acl};

    #[test]
    fn a_reply_must_name_the_requested_path() {
        let acl = acl::open_unsafe();
        let kind = NodeKind::Persistent;
        let create = |path| Write::Create { path, data: &[], kind, sequential: true, acl: &acl };
        for (asked, good) in [("/m/a-", "/m/a-1"), ("/m/", "/m/1"), ("/m", "/m"), ("/m/a", "/m/a")] {
            assert!(may_reply_with(&create(asked), good), "{asked} {good}");
        }
        for (asked, bad) in [("/m/a-", "/m/b-1"), ("/m/a-", "/m/x/a-1"), ("/m/", "/m"), ("/m/a", "/m/"), ("/m/", "/m/")]
        {
            assert!(!may_reply_with(&create(asked), bad), "{asked} {bad}");
        }
        let delete = Write::Delete { path: "/m/a", version: None };
        assert!(may_reply_with(&delete, "/m/a") && !may_reply_with(&delete, "/m/b"));
    }
}
