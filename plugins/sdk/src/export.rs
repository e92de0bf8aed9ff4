//! The glue between the traits of the kinds and the functions that a component exports. The macros use it.

use crate::bindings;
use crate::{
    Answer, Authenticator, Cause, Change, Controller, Decision, Login, Policy, Recipe, Rejection, Request, Transaction,
    Validator, Verb, View,
};
use std::cell::OnceCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// The place of a type's one instance in the memory of the component.
pub trait Placed: Sized + 'static {
    fn place() -> &'static LocalKey<OnceCell<Self>>;
}

/// Keeps the instance that `configure` made.
pub fn keep<T: Placed>(made: T) -> Result<(), String> {
    T::place().with(|place| place.set(made).map_err(|_| "configured twice".into()))
}

/// Sends the text of a panic to the plugin's log. The server itself sees only that the guest executed `unreachable`.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log(crate::Level::Error, &panic.to_string())));
}

/// Exports the interface of a kind for a type that implements the kind's trait.
pub struct Exported<T>(PhantomData<T>);

fn with<T: Placed, R>(call: impl FnOnce(&T) -> R) -> R {
    T::place().with(|place| call(place.get().expect("the server configures an instance before it asks")))
}

impl<T: Validator + Placed> bindings::validation::exports::wasmkeeper::plugin::validation::Guest for Exported<T> {
    fn validate(view: &View, changes: Vec<Change>) -> Result<(), Rejection> {
        with(|plugin: &T| plugin.validate(view, &changes))
    }
}

impl<T: Policy + Placed> bindings::authorization::exports::wasmkeeper::plugin::authorization::Guest for Exported<T> {
    fn authorize(view: &View, verb: Verb, path: String) -> Decision {
        with(|plugin: &T| plugin.authorize(view, verb, &path))
    }
}

impl<T: Authenticator + Placed> bindings::authentication::exports::wasmkeeper::plugin::authentication::Guest
    for Exported<T>
{
    fn authenticate(view: &View, credential: Vec<u8>) -> Result<Login, Rejection> {
        with(|plugin: &T| plugin.authenticate(view, &credential))
    }

    fn check_id(id: String) -> Result<(), String> {
        with(|plugin: &T| plugin.check_id(&id))
    }

    fn matches(held: String, wanted: String) -> bool {
        with(|plugin: &T| plugin.matches(&held, &wanted))
    }
}

impl<T: Recipe + Placed> bindings::behavior::exports::wasmkeeper::plugin::behavior::Guest for Exported<T> {
    fn handle(view: &View, txn: &Transaction, request: Request) -> Result<Answer, Rejection> {
        with(|plugin: &T| plugin.handle(view, txn, request))
    }

    fn on_change(view: &View, txn: &Transaction, cause: Cause, changes: Vec<Change>) -> Result<(), Rejection> {
        with(|plugin: &T| plugin.on_change(view, txn, cause, &changes))
    }

    fn on_timer(view: &View, txn: &Transaction, name: String) -> Result<(), Rejection> {
        with(|plugin: &T| plugin.on_timer(view, txn, &name))
    }

    fn on_call(view: &View, txn: &Transaction, method: String, payload: Vec<u8>) -> Result<Vec<u8>, Rejection> {
        with(|plugin: &T| plugin.on_call(view, txn, &method, &payload))
    }

    fn recover(view: &View, txn: &Transaction, after: Option<String>) -> Result<Option<String>, Rejection> {
        with(|plugin: &T| plugin.recover(view, txn, after))
    }
}

impl<T: Controller + Placed> bindings::reconciliation::exports::wasmkeeper::plugin::reconciliation::Guest
    for Exported<T>
{
    fn reconcile(view: &View, txn: &Transaction, path: String) -> Result<(), Rejection> {
        with(|plugin: &T| plugin.reconcile(view, txn, &path))
    }
}
