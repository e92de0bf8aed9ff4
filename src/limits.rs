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

/// ZooKeeper's digest is noted at zxids divisible by this, and so many notes are kept for the `hash` word
/// (DataTree.DIGEST_LOG_INTERVAL and DIGEST_LOG_LIMIT).
pub const ZOOKEEPER_DIGEST_LOG_INTERVAL: u64 = 128;
pub const ZOOKEEPER_DIGESTS_KEPT: usize = 1024;

/// Bytes of the buffer for encoding one record that are kept from one transaction to the next; a larger one is given
/// back.
pub const RECORD_BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Children for which a table is made at once while a checkpoint is loaded; a table for more grows as they come. Keeps
/// a wrong number from asking for all memory.
pub const CHILDREN_RESERVED_MAX: usize = 16 << 20;
