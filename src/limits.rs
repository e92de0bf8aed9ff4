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

/// Bytes of one preallocated segment of the log. Large enough that a new one is rare, small enough that a purge frees room
/// soon; a start preallocates one.
pub const LOG_SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of records the log thread gathers into one write, if that much waits. One larger entry still goes in whole.
pub const LOG_BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes of its two write buffers the log thread keeps between batches, each.
pub const LOG_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Bytes, as encoded, of durable entries kept decoded in memory for apply and replication: about 8 MiB there. Older ones are
/// read back.
pub const LOG_CACHE_BYTES_MAX: usize = 3 << 20;

/// Bytes of log behind one entry of the index from log positions to file offsets: the index costs 32 bytes for each, and
/// reading one entry back reads at most this much (or one batch).
pub const LOG_INDEX_STRIDE_BYTES: u64 = 32 << 10;

/// Bytes of entries, as encoded, read back at once while a long stretch of the log is applied. A start has up to three such
/// pieces in memory.
pub const LOG_READ_BYTES_MAX: usize = 1 << 20;

/// Milliseconds between a leader's heartbeats, and the bounds of the election time-out. A disk stall above the latter costs
/// the leadership.
pub const HEARTBEAT_MS: u64 = 100;
pub const ELECTION_MIN_MS: u64 = 300;
pub const ELECTION_MAX_MS: u64 = 600;

/// Milliseconds a shutdown waits for proposals that are still under way.
pub const SHUTDOWN_DRAIN_MS: u64 = 2_000;
/// Bytes that redb may keep of the checkpoint's pages (architecture.md section 8). More would only speed up
/// checkpoints, which nobody waits for.
pub const CHECKPOINT_CACHE_BYTES: usize = 16 << 20;

/// Bytes of records handed from the tree to redb at a time: what the tree's lock is held for, and what is copied. One
/// record may be larger.
pub const CHECKPOINT_PIECE_BYTES: usize = 256 << 10;

/// Bytes of log after which a checkpoint is due: bounds the replay at a start.
pub const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;

/// Milliseconds after which a checkpoint is due if anything changed at all.
pub const CHECKPOINT_INTERVAL_MS: u64 = 30_000;

/// Bytes of log since the last image below which no new one is written, however small the tree is.
pub const IMAGE_LOG_BYTES_MIN: u64 = 64 << 20;

/// Bytes of records that a block of the image aims at: one checksum each, so damage is found before it is used.
pub const IMAGE_BLOCK_BYTES: usize = 256 << 10;

/// Bytes of an image written between two syncs, so that the log's own sync never waits for a whole image to reach the
/// disk.
pub const IMAGE_SYNC_BYTES: u64 = 8 << 20;

/// Damaged checkpoints kept aside for whoever wants to find out why. The oldest goes first.
pub const DAMAGED_CHECKPOINTS_KEPT_MAX: usize = 3;
