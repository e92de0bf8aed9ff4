//! The nouns of the field, which every other folder talks about. Pure. Of our own folders, only `limits` lies below.
//!
//! | file | noun |
//! |---|---|
//! | `zxid` | the number of a transaction |
//! | `session` | sessions, connections, passwords |
//! | `path` | znode paths and ZooKeeper's rules for them |
//! | `stat` | what a client learns of a node |
//! | `owner` | how long a node lives: persistent, ephemeral, container, TTL |
//! | `acl` | identities and access control lists |
//! | `error` | error codes and refusals |
//! | `chores` | the nodes for a plugin's timers and for a mount that must be put in order |
//! | `control_plane` | the paths of the server's own nodes below `/zookeeper` |
//! | `ensemble` | the servers of an ensemble, and their text form |
//! | `txn` | a transaction: what one write changes. Only transactions enter the log |

#![deny(clippy::iter_over_hash_type)]

pub mod acl;
pub(crate) mod chores;
pub mod control_plane;
pub mod ensemble;
pub(crate) mod error;
pub(crate) mod owner;
pub mod path;
pub(crate) mod session;
pub(crate) mod stat;
pub mod txn;
pub(crate) mod zxid;

pub(crate) use acl::{Acl, AclEntry, Identity};
pub use error::ErrorCode;
pub use error::Refusal;
pub(crate) use owner::{NodeKind, Owner};
pub use session::ConnectionId;
pub(crate) use session::Password;
pub use session::SessionId;
pub use stat::Stat;
pub use zxid::Zxid;
