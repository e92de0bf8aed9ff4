//! The paths of the server's own nodes and of its virtual nodes. All of them lie below `/zookeeper`, as in ZooKeeper.
//!
//! ```text
//! /zookeeper
//!   quota/...              limits and usage, as ZooKeeper has them
//!   config                 the servers and the version
//!   modules/<sha256>/...   components, in pieces
//!   plugins/<name>         the manifest in force
//!     versions/<n>         the last manifests
//!     canary               the manifest of a version on trial
//!     quarantine           why that version is not called; also below canary
//!     crashes/<report>     processes that a call has ended; also below canary
//!     timers/..., owed     timers, and a mount that must be put in order: see `chores`
//!
//! virtual nodes, answered by the member that is asked, neither listed nor counted:
//!   leader                 who leads; a write moves the leadership
//!   members                the members and their state
//!   clock                  the time of transactions; a write sets it back to the members' clocks
//!   rejection              the texts of this session's last refusals
//!   trace, trace/0x<zxid>  which plugins had a part in which transactions
//!   plugins/<name>/...     status, counters, faults, log, recording, audit: see `plugin::registry`
//! ```

pub(crate) const ROOT: &str = "/zookeeper";
pub(crate) const QUOTA: &str = "/zookeeper/quota";
pub const CONFIG: &str = "/zookeeper/config";
pub const MODULES: &str = "/zookeeper/modules";
pub const PLUGINS: &str = "/zookeeper/plugins";

/// Names of nodes below a plugin's.
pub(crate) const VERSIONS: &str = "versions";
pub const CANARY: &str = "canary";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const CRASHES: &str = "crashes";

pub(crate) const LEADER: &str = "/zookeeper/leader";
pub(crate) const CLOCK: &str = "/zookeeper/clock";
/// What a client writes to `CLOCK`.
pub(crate) const SET_BACK: &[u8] = b"set-back";
pub(crate) const MEMBERS: &str = "/zookeeper/members";
pub(crate) const REJECTION: &str = "/zookeeper/rejection";
pub(crate) const TRACE: &str = "/zookeeper/trace";
