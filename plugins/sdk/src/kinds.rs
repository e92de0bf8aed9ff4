//! The five kinds of plugins, with a trait for each.
//!
//! Every trait has a function `configure`. It checks the settings and makes the plugin. `settings` is JSON text, and
//! `{}` if there are none. `mount` is the path where the plugin applies, such as `/locks`.
//!
//! The server also calls `configure` on a separate instance before it accepts a deployment. The operator then gets the
//! text of an error as the answer. So the text should name the key: `max-bytes: a number is required`.

use crate::{
    Answer, Cause, Change, Decision, Login, Rejection, Request, Transaction, Verb, View, code, rejection::refuse,
};

/// What the macros define for a plugin of any kind.
pub trait Plugin {
    /// The author's manifest: the JSON text of the section `wasmkeeper:manifest`.
    const MANIFEST: &'static str;
}

/// A plugin that refuses transactions which would leave wrong data behind.
pub trait Validator: Sized + 'static {
    /// Checks the settings and makes the validator.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// Judges one transaction. `changes` are its changes that match the binding, and `view` shows the tree after the
    /// transaction. An error refuses the whole transaction. A changed node may be absent from `view`, because a later
    /// change of the same transaction has deleted it.
    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection>;
}

/// A plugin that takes away rights that ACLs grant.
pub trait Policy: Sized + 'static {
    /// Checks the settings and makes the policy.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// Answers whether the caller (`view.identities()`) may do this. `path` is the path of the node itself, as the
    /// client wrote it.
    fn authorize(&self, view: &View, verb: Verb, path: &str) -> Decision;
}

/// A plugin that proves who a client is, in a scheme of its own. Clients send `addauth <scheme> <credential>`.
pub trait Authenticator: Sized + 'static {
    /// Checks the settings and makes the authenticator. `scheme` is the scheme that the plugin is bound to.
    fn configure(scheme: &str, settings: &str) -> Result<Self, String>;

    /// Returns what the credential proves. After an error the client learns AUTHFAILED and nothing else, and the server
    /// logs the text. Never log the credential, nor put it into the text.
    fn authenticate(&self, view: &View, credential: &[u8]) -> Result<Login, Rejection>;

    /// Checks whether an id in an ACL of the scheme is well formed. The default accepts every id that is not empty.
    fn check_id(&self, id: &str) -> Result<(), String> {
        if id.is_empty() { Err("an id is required".into()) } else { Ok(()) }
    }

    /// Whether a client that has proven the id `held` satisfies the ACL id `wanted`. Asked only if the two differ. The
    /// default answers no.
    fn matches(&self, held: &str, wanted: &str) -> bool {
        let _ = (held, wanted);
        false
    }
}

/// A plugin that gives the nodes at and below its mount a meaning of their own, within the transaction.
///
/// Rules that keep a recipe right:
/// - Keep every index rebuildable from the nodes that clients see.
/// - Treat a missing node as normal.
/// - When a timer fires, look at the nodes again: the reason for the timer may be gone.
/// - Let a repeated request find what the first request did ([`View::earlier`]).
/// - Bound every loop.
pub trait Recipe: Sized + 'static {
    /// Checks the settings and makes the recipe.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// Answers a client's write at the mount.
    fn handle(&self, view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection>;

    /// Completes a transaction in which others changed nodes at the mount, within the same zxid. The most important
    /// case is the end of a session. Read the list as a whole: a session that ends may hold one node and wait with
    /// another.
    fn on_change(&self, view: &View, txn: &Transaction, cause: Cause, changes: &[Change]) -> Result<(), Rejection>;

    /// Handles a timer that has fired. The timer is gone, and its reason may be gone as well. The default does nothing.
    fn on_timer(&self, view: &View, txn: &Transaction, name: &str) -> Result<(), Rejection> {
        let _ = (view, txn, name);
        Ok(())
    }

    /// Answers a call over HTTP or from the command line. The default knows no method.
    fn on_call(&self, view: &View, txn: &Transaction, method: &str, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
        let _ = (view, txn, payload);
        refuse(code::UNIMPLEMENTED, [method, ": there is no such method"].concat())
    }

    /// Puts the mount in order, in bounded steps. The first call gets `None`. Each further call gets what the last one
    /// returned, until that is `None`. A step must change nothing if everything is in order.
    fn recover(&self, view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection>;
}

/// A plugin that brings the tree towards a wanted state, in transactions of its own beside clients' requests.
pub trait Controller: Sized + 'static {
    /// Checks the settings and makes the controller.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// Called because something at `path` may have changed: read, compare, write what is missing. To be called again in
    /// any case, set a timer with the path as its name.
    fn reconcile(&self, view: &View, txn: &Transaction, path: &str) -> Result<(), Rejection>;
}
