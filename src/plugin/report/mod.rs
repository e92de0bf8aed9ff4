//! What people see of a plugin: counters, faults, log lines, recordings.

pub mod counters;
pub mod faults;
pub mod log;
pub mod tape;
