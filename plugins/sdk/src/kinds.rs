//! The five kinds of plugins, a trait for each.
//!
//! `configure` is alike in all of them: it checks the settings (JSON text, `{}` if there are none) and makes the plugin.
//! It runs on an instance of its own, too, before a deployment is accepted; an error's text is then the operator's
//! answer, so name the key: `max-bytes: a number is required`. `mount` is where the binding applies, `/locks` say.

use crate::{
    Answer, Cause, Change, Decision, Login, Rejection, Request, Transaction, Verb, View, code, rejection::refuse,
};

/// What the macros know of a plugin of any kind.
pub trait Plugin {
    /// The JSON of the section `wasmkeeper:manifest`.
    const MANIFEST: &'static str;
}

/// Refuses transactions that would leave wrong data behind.
pub trait Validator: Sized + 'static {
    /// Checks the settings and makes the validator.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// All changes of one transaction that match the binding, with the tree as they leave it. An error refuses the whole
    /// transaction. A node may be absent again: a later change of the same transaction has deleted it.
    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection>;
}

/// Takes away what ACLs grant.
pub trait Policy: Sized + 'static {
    /// Checks the settings and makes the policy.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// May the caller (`view.identities()`) do this? `path` is the node's own, as the client wrote it.
    fn authorize(&self, view: &View, verb: Verb, path: &str) -> Decision;
}

/// Proves who a client is, in a scheme of its own: `addauth <scheme> <credential>`.
pub trait Authenticator: Sized + 'static {
    /// Checks the settings and makes the authenticator; `scheme` is the name it is bound to.
    fn configure(scheme: &str, settings: &str) -> Result<Self, String>;

    /// What this credential proves. Whatever the error, the client learns AUTHFAILED and no more. Never log it.
    fn authenticate(&self, view: &View, credential: &[u8]) -> Result<Login, Rejection>;

    /// Is this a well-formed id for an ACL entry of the scheme? The default takes all that are not empty.
    fn check_id(&self, id: &str) -> Result<(), String> {
        if id.is_empty() { Err("an id is required".into()) } else { Ok(()) }
    }

    /// Does someone who has proven `held` match the ACL entry `wanted`? Asked only if the two differ; the default says no.
    fn matches(&self, held: &str, wanted: &str) -> bool {
        let _ = (held, wanted);
        false
    }
}

/// Gives the nodes at and below its mount a meaning of their own, within the transaction.
///
/// To get one right: keep every index rebuildable from the nodes that clients see, take a missing node as normal, look
/// again when a timer fires, let a repeated request find what the first one did ([`View::earlier`]), bound every loop.
pub trait Recipe: Sized + 'static {
    /// Checks the settings and makes the recipe.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// A client's write at the mount.
    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection>;

    /// What others changed at the mount in this transaction, to complete it within the same zxid; the end of a session
    /// above all. Take the list as a whole: a session that ends may hold and wait at once.
    fn on_change(&self, view: &View, txn: &Transaction, cause: Cause, changes: &[Change]) -> Result<(), Rejection>;

    /// A timer has fired and is gone. What it was set for may be gone as well. The default does nothing.
    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        let _ = (view, txn, name);
        Ok(())
    }

    /// A call by HTTP or CLI. The default knows no method.
    fn on_call(&self, view: &View, txn: &Transaction, method: &str, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
        let _ = (view, txn, payload);
        refuse(code::UNIMPLEMENTED, [method, ": there is no such method"].concat())
    }

    /// Puts the mount in order, one bounded step at a time: called with none, then with what the last step returned,
    /// until that is none. A step must do nothing where all is well.
    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection>;
}

/// Brings the tree towards what it should be, beside the requests and not within them.
pub trait Controller: Sized + 'static {
    /// Checks the settings and makes the controller.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// Something at `path` may have changed: look, compare, write what is missing. To be called again in any case, set
    /// a timer named by the path.
    fn reconcile(&self, view: &View, txn: &Transaction, path: &str) -> Result<(), Rejection>;
}
