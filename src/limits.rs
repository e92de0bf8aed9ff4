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
/// The port ZooKeeper clients try first.
pub const CLIENT_PORT: u16 = 2181;

/// Connections of one client address (maxClientCnxns). A guard against a client that leaks them, not against attack.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 60;

/// Connections the kernel queues before we accept them. ZooKeeper's 50 loses connects when a fleet reconnects at once.
pub const LISTEN_BACKLOG: u32 = 1024;

/// Milliseconds until a connection must have asked for a session (nio.sessionlessCnxnTimeout).
pub const SESSIONLESS_TIMEOUT_MS: u64 = 10_000;

/// Milliseconds of a tick (tickTime), and the session timeouts in ticks.
pub const TICK_MS: u32 = 3_000;
pub const SESSION_TIMEOUT_TICKS_MIN: i32 = 2;
pub const SESSION_TIMEOUT_TICKS_MAX: i32 = 20;

/// Requests taken in and not yet answered before reading stops (globalOutstandingLimit).
pub const OUTSTANDING_REQUESTS_MAX: usize = 1_000;

/// Milliseconds between two looks for empty containers and outlived TTL nodes, and how many go in a minute at most.
pub const CONTAINER_CHECK_INTERVAL_MS: u64 = 60_000;
pub const CONTAINERS_PER_MINUTE_MAX: u32 = 10_000;

/// Milliseconds a TLS handshake may take, and those under way at once: each costs a signature, so this bounds CPU.
pub const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
pub const TLS_HANDSHAKES_MAX: usize = 250;

/// Seconds between two looks at the certificate files (client.certReload).
pub const TLS_RELOAD_INTERVAL_S: u64 = 10;

/// Bytes of a configuration, JAAS, key or certificate file; a larger one is surely the wrong file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one SASL token; a DIGEST-MD5 response is below 4096 by RFC 2831.
pub const SASL_TOKEN_BYTES_MAX: usize = 4096;
/// Connections of one client address: ZooKeeper's maxClientCnxns. Clients behind one proxy share it.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 60;

/// Milliseconds until a connection without a session is dropped (zookeeper.nio.sessionlessCnxnTimeout).
pub const SESSIONLESS_TIMEOUT_MS: u64 = 10_000;

/// Requests of one connection without an answer, writes and the reads behind them. Beyond it nothing is read from the
/// connection: ZooKeeper's globalOutstandingLimit, but for each client on its own.
pub const UNANSWERED_MAX: usize = 1000;

/// Bytes a connection may have waiting to be written before no more requests are taken from it.
pub const OUTBOX_BYTES_SOFT: usize = 1 << 20;

/// Bytes waiting to be written at which a connection is closed: events and the answers to earlier writes arrive whether
/// the client reads or not. Does not bound one single reply.
pub const OUTBOX_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(OUTBOX_BYTES_SOFT < OUTBOX_BYTES_MAX);

/// Bytes taken from a socket at once; each worker thread owns one such buffer, connections own none while idle.
pub const SOCKET_READ_BYTES: usize = 64 << 10;

/// Reads answered under one shared lock of the state, before whoever applies gets a chance again.
pub const READS_PER_LOCK: u32 = 64;

/// Identities one connection may prove; more `addauth` fails. Each is compared with each ACL entry on every request.
pub const IDENTITIES_MAX: usize = 64;

/// Milliseconds the listener waits when the process has no more file descriptors.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Children for which a table is made at once while a checkpoint is loaded; a table for more grows as they come. Keeps
/// a wrong number from asking for all memory.
pub const CHILDREN_RESERVED_MAX: usize = 16 << 20;
