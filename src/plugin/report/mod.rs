//! What people see of a plugin on one server. None of it is replicated or survives a restart.
//!
//! | file | what |
//! |---|---|
//! | `counters` | counts and timings, which outlive a version of the plugin |
//! | `faults` | the last faults, with backtraces and log lines |
//! | `log` | the last log lines |
//! | `tape/` | recordings of calls, and how to play them again |

pub(crate) mod counters;
pub(crate) mod faults;
pub(crate) mod log;
pub(crate) mod tape;
