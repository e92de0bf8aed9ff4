//! The integration tests, linked once (wasmtime makes linking slow). All of them run the real binary.

#![expect(clippy::disallowed_methods, reason = "real processes run on real time")]

mod authors;
mod basics;
mod bystanders;
mod disk_full;
mod ensemble;
mod greedy;
mod hostile;
mod kill;
mod plugins;
mod plugins_life;
mod policies;
mod process;
mod recipes;
mod refusals;
mod security;
mod tools;
mod words;
