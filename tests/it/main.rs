//! The integration tests, linked once (wasmtime makes linking slow). All of them run the real binary.

mod basics;
mod kill;
mod process;
mod refusals;
mod words;
