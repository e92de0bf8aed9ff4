//! The projects that `wasmkeeper plugin new --lang rust` writes, each as a module, so that they are compiled, tested
//! and formatted here. This crate is not made into a component. It is built for the developer's own machine, where the
//! macros of the SDK export nothing.

#[cfg(not(target_family = "wasm"))]
#[path = "../../../src/cli/plugin/templates"]
mod templates {
    #[path = "authenticator/src/lib.rs"]
    mod authenticator;
    #[path = "controller/src/lib.rs"]
    mod controller;
    #[path = "policy/src/lib.rs"]
    mod policy;
    #[path = "recipe/src/lib.rs"]
    mod recipe;
    #[path = "validator/src/lib.rs"]
    mod validator;
}
