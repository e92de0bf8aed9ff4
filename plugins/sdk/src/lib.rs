//! Write a Wasmkeeper plugin in Rust: implement [`Validator`] and name it in [`validator!`].
//!
//! ```ignore
//! use wasmkeeper_plugin::{Change, Rejection, Validator, View, validator};
//!
//! struct Short;
//!
//! impl Validator for Short {
//!     fn configure(_mount: &str, _settings: &str) -> Result<Short, String> {
//!         Ok(Short)
//!     }
//!     fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
//!         for change in changes {
//!             if view.stat(&change.path)?.is_some_and(|stat| stat.data_length > 100) {
//!                 return Err(Rejection::at(&change.path, "longer than 100 bytes"));
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! validator!(Short, r#"{ "name": "short", "version": "1.0.0", "pure": true,
//!     "grants": [ { "path": "$mount", "verbs": ["read"] } ] }"#);
//! ```
//!
//! Build it for `wasm32-unknown-unknown` as a `cdylib`; `wasmkeeper plugin deploy` takes the `.wasm` file. A panic's text
//! goes to the plugin's log before the call ends.

/// The guest's side of the contract, generated from `wit/plugin.wit`.
pub mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: "../../wit",
        world: "validator",
        pub_export_macro: true,
        export_macro_name: "export_validator",
        default_bindings_module: "wasmkeeper_plugin::bindings",
    });
}

pub use bindings::wasmkeeper::plugin::logging::{Level, log};
pub use bindings::wasmkeeper::plugin::reading::View;
pub use bindings::wasmkeeper::plugin::types::{Change, ChangeKind, Context, Identity, Node, Rejection, Stat};

/// A ZooKeeper error code that clients may get from a plugin.
pub const BAD_ARGUMENTS: i32 = -8;

/// A plugin that refuses transactions which would leave wrong data behind.
pub trait Validator: Sized + 'static {
    /// Checks the settings (JSON text, `{}` if there are none) and makes the validator; an error's text is what the
    /// operator reads, so name the key: `max_bytes: a number is required`.
    fn configure(mount: &str, settings: &str) -> Result<Self, String>;

    /// All changes of one transaction that match the binding, with the tree as they leave it.
    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection>;
}

impl Rejection {
    /// BADARGUMENTS for the client. The server puts the path of the change before the text where there was one change.
    pub fn new(text: impl Into<String>) -> Rejection {
        Rejection { code: BAD_ARGUMENTS, text: text.into() }
    }

    /// BADARGUMENTS for the client, saying which of the changes is meant.
    pub fn at(path: &str, text: &str) -> Rejection {
        Rejection::new([path, ": ", text].concat())
    }
}

/// Sends a panic's text to the plugin's log: all that remains of it outside is "unreachable".
#[doc(hidden)]
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
}

/// Makes the crate a component: `validator!(Type, manifest)`, the manifest being the JSON that `wit/plugin.wit`
/// describes.
#[macro_export]
macro_rules! validator {
    ($type:ty, $manifest:expr) => {
        struct WasmkeeperComponent;

        ::std::thread_local! {
            static WASMKEEPER_INSTANCE: ::std::cell::OnceCell<$type> = const { ::std::cell::OnceCell::new() };
        }

        impl $crate::bindings::exports::wasmkeeper::plugin::setup::Guest for WasmkeeperComponent {
            fn configure(mount: String, settings: String) -> Result<(), String> {
                $crate::report_panics();
                let made = <$type as $crate::Validator>::configure(&mount, &settings)?;
                WASMKEEPER_INSTANCE.with(|instance| instance.set(made).map_err(|_| String::from("configured twice")))
            }
        }

        impl $crate::bindings::exports::wasmkeeper::plugin::validation::Guest for WasmkeeperComponent {
            fn validate(view: &$crate::View, changes: Vec<$crate::Change>) -> Result<(), $crate::Rejection> {
                WASMKEEPER_INSTANCE.with(|instance| {
                    let instance = instance.get().expect("the server configures an instance before it asks");
                    $crate::Validator::validate(instance, view, &changes)
                })
            }
        }

        $crate::bindings::export_validator!(WasmkeeperComponent with_types_in $crate::bindings);

        const WASMKEEPER_MANIFEST: &str = $manifest;

        #[used]
        #[unsafe(link_section = "wasmkeeper:manifest")]
        static WASMKEEPER_MANIFEST_SECTION: [u8; WASMKEEPER_MANIFEST.len()] = {
            let mut bytes = [0; WASMKEEPER_MANIFEST.len()];
            bytes.copy_from_slice(WASMKEEPER_MANIFEST.as_bytes());
            bytes
        };
    };
}
