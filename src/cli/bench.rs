//! `wasmkeeper bench`.
