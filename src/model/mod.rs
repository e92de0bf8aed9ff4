//! The nouns of the field: what every other folder talks about. Pure; depends on nothing of ours.
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
//! | `chores` | what the tree keeps of a plugin's unfinished business |
//! | `control_plane` | where the server keeps and shows what is its own |
//! | `ensemble` | the servers of an ensemble, and their text |
//! | `txn` | a transaction: what one write changes; the only thing that enters the log |

pub mod acl;
pub mod chores;
pub mod control_plane;
pub mod ensemble;
pub mod error;
pub mod owner;
pub mod path;
pub mod session;
pub mod stat;
pub mod txn;
pub mod zxid;

pub use acl::{Acl, AclEntry, Identity};
pub use error::{ErrorCode, Refusal};
pub use owner::{NodeKind, Owner};
pub use session::{ConnectionId, Password, SessionId};
pub use stat::Stat;
pub use zxid::Zxid;
