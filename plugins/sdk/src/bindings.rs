//! The guest's side of the contract, generated from `wit/plugin.wit`.
//!
//! The contract has one world for each kind. This module has one world for each exported interface instead, so that a
//! component can be of several kinds and still export `setup` once. Interfaces that a plugin does not use are not
//! linked.

#![allow(missing_docs)]

wit_bindgen::generate!({
    inline: "package wasmkeeper:sdk;
        world lent {
            import wasmkeeper:plugin/logging@1.0.0;
            import wasmkeeper:plugin/reading@1.0.0;
            import wasmkeeper:plugin/writing@1.0.0;
        }",
    path: "../../wit",
    world: "wasmkeeper:sdk/lent",
    additional_derives: [PartialEq, Eq],
    additional_derives_ignore: ["view", "transaction"],
    generate_all,
});

/// One exported interface. It uses the types of the module above, and `with` names those.
macro_rules! exported {
    ($module:ident, $macro:literal, $world:literal in $package:literal, $($interface:literal: $types:ident),*) => {
        pub mod $module {
            wit_bindgen::generate!({
                inline: $package,
                path: "../../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $macro,
                default_bindings_module: "wasmkeeper_plugin::bindings",
                additional_derives: [PartialEq, Eq],
                with: { $($interface: crate::bindings::wasmkeeper::plugin::$types),* },
            });
        }
    };
}

exported!(
    setup, "export_setup", "wasmkeeper:sdk/configured" in
    "package wasmkeeper:sdk; world configured { export wasmkeeper:plugin/setup@1.0.0; }",
);
exported!(
    validation, "export_validation", "wasmkeeper:sdk/validating" in
    "package wasmkeeper:sdk; world validating { export wasmkeeper:plugin/validation@1.0.0; }",
    "wasmkeeper:plugin/types@1.0.0": types,
    "wasmkeeper:plugin/reading@1.0.0": reading
);
exported!(
    authorization, "export_authorization", "wasmkeeper:sdk/authorizing" in
    "package wasmkeeper:sdk; world authorizing { export wasmkeeper:plugin/authorization@1.0.0; }",
    "wasmkeeper:plugin/types@1.0.0": types,
    "wasmkeeper:plugin/reading@1.0.0": reading
);
exported!(
    authentication, "export_authentication", "wasmkeeper:sdk/authenticating" in
    "package wasmkeeper:sdk; world authenticating { export wasmkeeper:plugin/authentication@1.0.0; }",
    "wasmkeeper:plugin/types@1.0.0": types,
    "wasmkeeper:plugin/reading@1.0.0": reading
);
exported!(
    behavior, "export_behavior", "wasmkeeper:sdk/behaving" in
    "package wasmkeeper:sdk; world behaving { export wasmkeeper:plugin/behavior@1.0.0; }",
    "wasmkeeper:plugin/types@1.0.0": types,
    "wasmkeeper:plugin/reading@1.0.0": reading,
    "wasmkeeper:plugin/writing@1.0.0": writing
);
exported!(
    reconciliation, "export_reconciliation", "wasmkeeper:sdk/reconciling" in
    "package wasmkeeper:sdk; world reconciling { export wasmkeeper:plugin/reconciliation@1.0.0; }",
    "wasmkeeper:plugin/types@1.0.0": types,
    "wasmkeeper:plugin/reading@1.0.0": reading,
    "wasmkeeper:plugin/writing@1.0.0": writing
);
