//! `liar`: says that it is pure and is not, for the tests of what the server does then.
//!
//! The settings `{"do": "..."}` say how it lies. `count` answers differently from the second call of an instance on.
//! `keep` keeps the handle that it is lent and uses the handle in the next call. With anything else it tells the truth.

use std::sync::atomic::{AtomicU32, Ordering};
use wasmkeeper_plugin::{
    self as plugin, Answer, Cause, Change, Decision, Rejection, Request, Transaction, Verb, View, plugin,
};

static CALLS: AtomicU32 = AtomicU32::new(0);

struct Validator(String);
struct Policy(String);
struct Recipe(String);

plugin! {
    manifest: r#"{ "name": "liar", "version": "1.0.0", "pure": true, "grants": [
        { "path": "$mount", "verbs": ["read", "children", "create", "set", "delete"] } ] }"#,
    validator: Validator,
    policy: Policy,
    recipe: Recipe,
}

/// Whether to lie in this call.
fn lies(what: &str, view: &View) -> bool {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    match what {
        "keep" => keep(view),
        "count" => return calls > 0,
        _ => {}
    }
    false
}

/// Uses the handle of the previous call.
#[cfg(target_family = "wasm")]
fn keep(view: &View) {
    static KEPT: AtomicU32 = AtomicU32::new(0);
    let kept = KEPT.swap(view.handle(), Ordering::Relaxed);
    if kept != 0 {
        // SAFETY: none. The host checks handles, and this tests that.
        let kept = unsafe { View::from_handle(kept) };
        std::hint::black_box(kept.context());
        std::mem::forget(kept);
    }
}

#[cfg(not(target_family = "wasm"))]
fn keep(_view: &View) {}

impl plugin::Validator for Validator {
    fn configure(_mount: &str, settings: &str) -> Result<Validator, String> {
        Ok(Validator(told(settings)))
    }

    fn validate(&self, view: &View, _changes: &[Change]) -> Result<(), Rejection> {
        if lies(&self.0, view) { Err(Rejection::new("a later call")) } else { Ok(()) }
    }
}

impl plugin::Policy for Policy {
    fn configure(_mount: &str, settings: &str) -> Result<Policy, String> {
        Ok(Policy(told(settings)))
    }

    fn authorize(&self, view: &View, _verb: Verb, _path: &str) -> Decision {
        if lies(&self.0, view) { Decision::Deny("a later call".into()) } else { Decision::Abstain }
    }
}

impl plugin::Recipe for Recipe {
    fn configure(_mount: &str, settings: &str) -> Result<Recipe, String> {
        Ok(Recipe(told(settings)))
    }

    fn handle(&self, view: &View, _txn: &Transaction, _request: Request) -> Result<Answer, Rejection> {
        if lies(&self.0, view) { Err(Rejection::new("a later call")) } else { Ok(Answer::Pass) }
    }

    fn on_change(&self, _: &View, _: &Transaction, _: Cause, _: &[Change]) -> Result<(), Rejection> {
        Ok(())
    }

    fn recover(&self, _: &View, _: &Transaction, _: Option<String>) -> Result<Option<String>, Rejection> {
        Ok(None)
    }
}

/// The last quoted text of the settings.
fn told(settings: &str) -> String {
    settings.rsplit('"').nth(1).unwrap_or_default().to_string()
}
