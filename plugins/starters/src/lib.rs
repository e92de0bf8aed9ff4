//! The projects that `wasmkeeper plugin new --lang rust` writes, each as a module, so that they are compiled, tested
//! and formatted here. This crate is no component: built for the machine it is written on, a plugin exports nothing.

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
