//! Every bound of the server, in one place: unit, reason, and what it does not protect against.
//!
//! Where ZooKeeper has a setting for it, the constant here is the default of that setting (`config`).

/// Bytes of a refusal's text in the log (architecture.md section 2).
pub const REFUSAL_TEXT_BYTES_MAX: usize = 512;

/// Refusals a session finds at `/zookeeper/rejection`, newest first.
pub const REFUSALS_KEPT: usize = 16;

/// Bytes of one request frame: ZooKeeper's jute.maxbuffer.
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Raft entries in flight. More adds only queueing: the log thread makes one fsync of all that wait.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;

/// Transactions in one entry, and their bytes: what is evaluated before the disk hears of it.
pub const BATCH_TXNS_MAX: usize = 1024;
pub const BATCH_BYTES_MAX: usize = 1 << 20;
