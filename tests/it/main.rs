//! The integration tests, linked once (wasmtime makes linking slow). All of them run the real binary.

mod basics;
mod disk_full;
mod ensemble;
mod kill;
mod plugins;
mod policies;
mod process;
mod refusals;
mod security;
mod words;
