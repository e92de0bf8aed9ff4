//! What people see of a plugin on one server. None of it is replicated or survives a restart.
//!
//! | file | what |
//! |---|---|
//! | `counters` | counts and timings, which outlive a version of the plugin |
//! | `faults` | the last faults, with backtraces and log lines |
//! | `log` | the last log lines |
//! | `tape/` | recordings of calls, and how to play them again |

pub mod counters;
pub mod faults;
pub mod log;
pub mod tape;
