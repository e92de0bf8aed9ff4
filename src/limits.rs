//! Every bound of the server, in one place: unit, reason, and what it does not protect against.
//!
//! Where ZooKeeper has a setting for it, the constant here is the default of that setting (`config`).

// ---- Log

/// A thread that let others go first, and got the processor back later than this, has met one that computes without end.
/// Clients of a full machine take up to 3 ms for all that they have to ask; with 1 or 2 a third of the gain is lost, and beside
/// endless loops on both processors 4 costs nothing that can be measured.
pub(crate) const COURTESY_MAX: std::time::Duration = std::time::Duration::from_millis(4);

/// For so long it then goes on at once. A time slice lost in so long is what courtesy costs at most.
pub(crate) const COURTESY_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Transactions in one entry, and their bytes: what is evaluated before the disk hears of it.
pub(crate) const BATCH_TXNS_MAX: usize = 1024;
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes of one preallocated segment of the log. Large enough that a new one is rare, small enough that a purge frees room
/// soon; a start preallocates one.
pub(crate) const LOG_SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of records the log thread gathers into one write, if that much waits. One larger entry still goes in whole.
pub(crate) const LOG_BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes of its two write buffers the log thread keeps between batches, each.
pub(crate) const LOG_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Bytes, as encoded, of durable entries kept decoded in memory for apply and replication: about 8 MiB there. Older ones are
/// read back.
pub(crate) const LOG_CACHE_BYTES_MAX: usize = 3 << 20;

/// Bytes of log behind one entry of the index from log positions to file offsets: the index costs 32 bytes for each, and
/// reading one entry back reads at most this much (or one batch).
pub(crate) const LOG_INDEX_STRIDE_BYTES: u64 = 32 << 10;

/// Bytes of entries, as encoded, read back at once while a long stretch of the log is applied. A start has up to three such
/// pieces in memory.
pub(crate) const LOG_READ_BYTES_MAX: usize = 1 << 20;

/// The format level this version writes; raised with the first new kind of change.
pub const FORMAT_LEVEL: u32 = 1;

// ---- Consensus

/// Raft entries in flight: one whose fsync runs, and one evaluated meanwhile. Measured with 64 writers: with 4, batches are
/// smaller and more processor time goes into waking threads; with 1, the disk waits for the evaluation.
pub(crate) const ENTRIES_IN_FLIGHT_MAX: usize = 2;

/// Milliseconds between a leader's heartbeats, and the bounds of the election time-out. The lease is `ELECTION_MAX_MS`, and
/// a follower campaigns once it has heard nothing for the lease and a time-out drawn from the bounds: 450 to 600 ms here,
/// so that a leader that is lost without a trace is replaced in about half a second, most of it waiting. (One whose
/// process is gone is replaced at once: `Consensus::take_over`.) Nine heartbeats in a row must fail to come for a false
/// election, and even that needs a majority that has missed as many, since votes are asked for beforehand: a machine that stands still for
/// a third of a second loses nothing. A quorum that is silent for longer than the lease, as two slow disks are, costs refused
/// entries that are proposed again, and no election. The lower bound is also what an asked vote may take, a sync of the
/// log included.
pub(crate) const HEARTBEAT_MS: u64 = 50;
pub(crate) const ELECTION_MIN_MS: u64 = 150;
pub(crate) const ELECTION_MAX_MS: u64 = 300;
const _: () = assert!(2 * HEARTBEAT_MS < ELECTION_MIN_MS && ELECTION_MIN_MS < ELECTION_MAX_MS);

/// Milliseconds in which a member must say how it stands before somebody takes over without it.
pub(crate) const STANDING_MS_MAX: u64 = 100;

/// Milliseconds that a leader waits for another to take its place when it goes.
pub(crate) const TRANSFER_MS_MAX: u64 = 2_000;

/// Requests with entries that are on their way to a member and not answered; each has up to `LOG_READ_BYTES_MAX` of entries.
/// With 2, a member is never idle on a fast network; more cover the time that a request travels.
pub(crate) const APPENDS_IN_FLIGHT_MAX: usize = 8;

/// Milliseconds until a connection is given up on which a member does not say that entries are durable. Above any stall
/// of a healthy disk; they are only sent again.
pub(crate) const APPEND_ANSWER_MS_MAX: u64 = 2_000;

/// Milliseconds until a member that could not be reached is tried again: doubled each time, up to the second. Far below the
/// election time-out at first, since a new leader has to reach all others.
pub(crate) const RAFT_BACKOFF_MS_MIN: u64 = 20;
pub(crate) const RAFT_BACKOFF_MS_MAX: u64 = 500;

/// Entries kept in the log behind this member's last for members that were away, though its own start needs them no more;
/// and the bytes of log beyond which it keeps none. Catching up by log is cheaper than by checkpoint unless most of it
/// changed meanwhile.
pub(crate) const LOG_ENTRIES_KEPT_FOR_PEERS: u64 = 10_000;
pub(crate) const LOG_BYTES_KEPT_FOR_PEERS: u64 = 16 * LOG_SEGMENT_BYTES;

/// Milliseconds a shutdown waits for proposals that are still under way.
pub(crate) const SHUTDOWN_DRAIN_MS: u64 = 2_000;

/// How long openraft is waited for to take note of a checkpoint, and then to let the log go, which its core does between two
/// messages. If it does not, the log goes with the next checkpoint.
pub(crate) const CHECKPOINT_NOTED_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a call into openraft has to find out by itself that openraft has ended, which takes it a second at most.
pub(crate) const CONSENSUS_END_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// Requests evaluated under one shared lock of the state: some tens of microseconds, for which applying waits at most.
pub(crate) const EVALUATED_PER_LOCK: usize = 32;

/// How long a leader may go on without a quorum before it stops evaluating: openraft's lease.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_millis(ELECTION_MAX_MS);

/// What the voters that find the leader's process gone wait for each other, one after the other.
pub(crate) const TAKE_OVER_STAGGER: std::time::Duration = std::time::Duration::from_millis(50);

/// Epochs that a forced recovery leaves out: more leaderships than the lost members can have had without the one that is
/// left.
pub(crate) const RECOVERY_EPOCHS: u32 = 1 << 16;

/// Digests of the state kept by a replica, one at the end of each batch: the leader's is of a batch or two before.
pub(crate) const DIGESTS_KEPT: usize = 1_024;

// ---- Members

/// How long a member leaves a leader's heartbeats unanswered until the operator reads of it, and `mntr` no longer counts it
/// among the learners. Longer than a slow disk takes, and
/// than a server that is started again.
pub(crate) const MEMBER_SILENT: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a member that goes waits for requests that are under way: a leader for those that others have passed on to it,
/// before it hands over; then any member for those of its own clients.
pub(crate) const DRAIN_MAX: std::time::Duration = std::time::Duration::from_millis(1_000);

/// How often whoever goes, or holds requests back, looks whether those under way are through.
pub(crate) const DRAIN_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

/// Messages of a leader that wait to be written to one member. Beyond it the member does not read, and its link is ended.
pub(crate) const FROM_LEADER_WAITING_MAX: usize = 1 << 16;

/// The shortest time for which the word of a leader is good, however short sessions may be: some heartbeats.
pub const WORD_LASTS_MIN: std::time::Duration = std::time::Duration::from_millis(3 * HEARTBEAT_MS);

/// A member reports to its leader at least this often, and looks whether it may serve.
pub(crate) const REPORT_INTERVAL_MAX: std::time::Duration = std::time::Duration::from_millis(500);
pub(crate) const GATE_INTERVAL_MAX: std::time::Duration = std::time::Duration::from_millis(100);

/// Sessions in one message of a report: it fits a frame with much room.
pub(crate) const REPORT_SESSIONS_MAX: usize = 10_000;

/// Reports without an answer that a member remembers. More than that are unanswered only when it is cut off anyway.
pub(crate) const REPORTS_UNANSWERED_MAX: usize = 64;

/// How long a member waits for its leader to take requests, and that one for its own leadership to be ready.
pub(crate) const LINK_BEGIN_MAX: std::time::Duration = std::time::Duration::from_millis(2_000);
pub(crate) const LEADER_READY_MAX: std::time::Duration = std::time::Duration::from_millis(1_000);

/// How long a member is cut off before it serves clients that only read (ZooKeeper: two seconds or a tick).
pub(crate) const READ_ONLY_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a `sync` that found no leader waits before it looks for one again.
pub(crate) const BARRIER_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

/// How often a `sync` that cannot be had yet looks whether its client is still there.
pub(crate) const BARRIER_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// Bytes of one message between members: an entry of the log as large as a batch with the largest request that can be
/// configured (64 MiB, `jute.maxbuffer`). No more memory is taken than has arrived.
pub(crate) const PEER_FRAME_BYTES_MAX: usize = 80 << 20;
const _: () = assert!(PEER_FRAME_BYTES_MAX > (64 << 20) + BATCH_BYTES_MAX);

/// Bytes of a hello or its answer, from somebody who is not known yet.
pub(crate) const PEER_HELLO_BYTES_MAX: usize = 1 << 10;

/// Bytes taken from a member's connection at once, and bytes that wait to be written to it before the writer waits.
pub(crate) const PEER_READ_BYTES: usize = 64 << 10;
pub(crate) const PEER_WRITE_BYTES: usize = 256 << 10;

/// Bytes of each of the two buffers of a member's connection that are kept while nothing is in them.
pub(crate) const PEER_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Time for one address of a member, from its name to its answer to our hello. Far above a round trip around the world with
/// TLS; an address that swallows what it is sent is known after it.
pub(crate) const PEER_CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Time in which a connection must have said who it is, TLS included.
pub(crate) const PEER_HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
const _: () = assert!(PEER_HELLO_TIMEOUT.as_millis() > PEER_CONNECT_TIMEOUT.as_millis());

/// Connections from members at once: five for each of 253 others, with room for old ones that have not been found dead; and
/// so many more that are told that there is no room.
pub(crate) const PEER_CONNECTIONS_MAX: usize = 2_048;
pub(crate) const PEER_CONNECTIONS_TURNED_AWAY_MAX: usize = 64;

/// Names of members looked up at once, a thread each, and names whose addresses are remembered: one for each member.
pub(crate) const PEER_LOOKUPS_MAX: usize = 254;

/// Time after which a lookup counts as failed, and the name's last addresses are used.
pub(crate) const PEER_LOOKUP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
const _: () = assert!(PEER_LOOKUP_TIMEOUT.as_millis() < PEER_CONNECT_TIMEOUT.as_millis());

/// The shortest and the longest wait between two attempts to reach a member.
pub(crate) const PEER_BACKOFF_MIN: std::time::Duration = std::time::Duration::from_millis(50);
pub(crate) const PEER_BACKOFF_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// How long one greeting may take, and the pause between two rounds of an empty member that waits, or of a leader that waits
/// for a newcomer.
pub(crate) const GREETING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
pub(crate) const GREETING_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// How long an empty member waits for others before it says so: they are started one after the other.
pub(crate) const STARTING_TOGETHER: std::time::Duration = std::time::Duration::from_secs(5);

/// How often a leader greets every member, to learn how it is and to tell what it has learned.
pub(crate) const GATHER_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a member's report counts: one may be lost. As long a state that is in doubt waits for the leader to learn of it.
pub(crate) const REPORT_COUNTS_MAX: std::time::Duration = GATHER_INTERVAL.saturating_mul(2);

/// How long a reconfig waits for a server that is to join and does not answer: one that starts at this very moment is there
/// by then.
pub(crate) const NEWCOMER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// How long a reconfig waits until a server that joins has caught up. A tree of a gigabyte takes some tens of seconds.
pub(crate) const RECONFIG_PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Entries of the log by which a member may be behind to get a vote: some tens of milliseconds under full load. And how
/// often a reconfig looks.
pub(crate) const CLOSE_BEHIND_ENTRIES: u64 = 64;
pub(crate) const CLOSE_BEHIND_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// Silence after which the kernel asks whether a member's machine is still there; it gives up one and a half times that
/// later, if its questions are not answered.
pub(crate) const PEER_KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(10);

/// How often a member whose state is not the leader's looks whether it can be mended.
pub(crate) const MEND_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

// ---- Clients

/// Bytes of a refusal's text in the log.
pub(crate) const REFUSAL_TEXT_BYTES_MAX: usize = 512;

/// Refusals a session finds at `/zookeeper/rejection`, newest first.
pub(crate) const REFUSALS_KEPT: usize = 16;

/// Bytes of one request frame: ZooKeeper's jute.maxbuffer.
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Requests of one connection without an answer, writes and the reads behind them. Beyond it nothing is read from the
/// connection. `OUTSTANDING_REQUESTS_MAX` bounds all of them together.
pub(crate) const UNANSWERED_MAX: usize = 1000;

/// Room for so many of them is kept when none is left; more is given back.
pub(crate) const UNANSWERED_ROOM_KEPT: usize = 32;

/// Bytes a connection may have waiting to be written before no more requests are taken from it.
pub(crate) const OUTBOX_BYTES_SOFT: usize = 1 << 20;

/// Bytes waiting to be written at which a connection is closed: events and the answers to earlier writes arrive whether
/// the client reads or not. Does not bound one single reply.
pub(crate) const OUTBOX_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(OUTBOX_BYTES_SOFT < OUTBOX_BYTES_MAX);

/// Bytes taken from a socket at once; each worker thread owns one such buffer, connections own none while idle.
pub(crate) const SOCKET_READ_BYTES: usize = 64 << 10;

/// Reads answered under one shared lock of the state, before whoever applies gets a chance again.
pub(crate) const READS_PER_LOCK: u32 = 64;

/// Events of one connection that wait for a policy's verdict; with more it is closed, as with a full outbox.
pub(crate) const EVENTS_HELD_MAX: usize = 1_000;

/// Questions that guests are asked in a row for one connection, before others have their turn.
pub(crate) const QUESTIONS_IN_A_ROW: usize = 64;

/// How often a guest is asked the same if the tree changes under its answer.
pub(crate) const QUESTION_TRIES: u32 = 3;

/// Identities one connection may prove; more `addauth` fails. Each is compared with each ACL entry on every request.
pub(crate) const IDENTITIES_MAX: usize = 64;

/// Entries of an access list from which on its answer is kept for the rest of a transaction: shorter ones are looked through as
/// fast as a kept answer is found.
pub(crate) const ACL_KEPT_ENTRIES_MIN: usize = 16;

/// Milliseconds the listener waits when the process has no more file descriptors.
pub(crate) const ACCEPT_PAUSE_MS: u64 = 100;

/// ZooKeeper's digest is noted at zxids divisible by this, and so many notes are kept for the `hash` word
/// (DataTree.DIGEST_LOG_INTERVAL and DIGEST_LOG_LIMIT).
pub(crate) const ZOOKEEPER_DIGEST_LOG_INTERVAL: u64 = 128;
pub(crate) const ZOOKEEPER_DIGESTS_KEPT: usize = 1024;

/// Connections of one client address: ZooKeeper's maxClientCnxns. Clients behind one proxy share it.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 60;

/// Milliseconds until a connection without a session is dropped (zookeeper.nio.sessionlessCnxnTimeout).
pub(crate) const SESSIONLESS_TIMEOUT_MS: u64 = 10_000;

/// The port ZooKeeper clients try first.
pub(crate) const CLIENT_PORT: u16 = 2181;

/// Connections the kernel queues before we accept them. ZooKeeper's 50 loses connects when a fleet reconnects at once.
pub(crate) const LISTEN_BACKLOG: u32 = 1024;

/// Milliseconds of a tick (tickTime), and the session timeouts in ticks.
pub(crate) const TICK_MS: u32 = 3_000;
pub(crate) const SESSION_TIMEOUT_TICKS_MIN: i32 = 2;
pub(crate) const SESSION_TIMEOUT_TICKS_MAX: i32 = 20;

/// Ticks that `conf` shows as initLimit and syncLimit unless they are set: those of ZooKeeper's sample configuration.
pub(crate) const INIT_TICKS: u32 = 10;
pub(crate) const SYNC_TICKS: u32 = 5;

/// Requests of all clients without an answer (ZooKeeper's globalOutstandingLimit). Beyond it nothing is read from
/// connections that have one under way; a connection without any may always ask.
pub(crate) const OUTSTANDING_REQUESTS_MAX: usize = 1_000;

/// Milliseconds between two looks for empty containers and outlived TTL nodes, and how many go in a minute at most.
pub(crate) const CONTAINER_CHECK_INTERVAL_MS: u64 = 60_000;
pub(crate) const CONTAINERS_PER_MINUTE_MAX: u32 = 10_000;

/// Milliseconds a TLS handshake may take, and those under way at once: each costs a signature, so this bounds CPU.
pub(crate) const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
pub(crate) const TLS_HANDSHAKES_MAX: usize = 250;

/// Seconds between two looks at the certificate files (client.certReload).
pub(crate) const TLS_RELOAD_INTERVAL_S: u64 = 10;

/// Bytes of a configuration, JAAS, key or certificate file; a larger one is surely the wrong file.
pub(crate) const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one SASL token; a DIGEST-MD5 response is below 4096 by RFC 2831.
pub(crate) const SASL_TOKEN_BYTES_MAX: usize = 4096;

/// How long a connection's requests are dealt with before others of the same thread have their turn: far longer than any
/// usual ones take together.
pub(crate) const CONNECTION_TURN_MAX: std::time::Duration = std::time::Duration::from_millis(5);

/// Threads that serve clients.
pub(crate) const CLIENT_THREADS: usize = 2;

/// How long a clean end waits for clients to take their last bytes.
pub(crate) const FLUSH_AT_END_MAX: std::time::Duration = std::time::Duration::from_millis(500);

/// Children of the root whose traffic is counted one by one (`metrics::namespaces`). Some 200 bytes each.
pub(crate) const NAMESPACES_COUNTED: usize = 64;

/// Bytes of such a child's name; longer ones are not counted, so that names cannot take the memory.
pub(crate) const NAMESPACE_BYTES_MAX: usize = 255;

// ---- Checkpoint and image

/// Pieces of a checkpoint that are on their way and not written down by the taker.
pub(crate) const CHECKPOINT_PIECES_IN_FLIGHT_MAX: usize = 2;

/// Until a transfer of a checkpoint counts as interrupted: for one piece to be written down, or another sign of life. A
/// taker at work on what it has gives one every `CHECKPOINT_BUSY_INTERVAL`.
pub(crate) const CHECKPOINT_ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(5);
pub(crate) const CHECKPOINT_BUSY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
const _: () = assert!(CHECKPOINT_BUSY_INTERVAL.as_millis() < CHECKPOINT_ANSWER_MAX.as_millis());

/// How long a checkpoint whose transfer was interrupted is still offered. Its pages stay in the file that long, and the log
/// behind it.
pub(crate) const CHECKPOINT_OFFER_KEPT: std::time::Duration = std::time::Duration::from_secs(60);

/// Between two rounds through the members by one that has lost its state and looks for a checkpoint.
pub(crate) const CHECKPOINT_FETCH_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Bytes of the buffer for encoding one record that are kept from one transaction to the next; a larger one is given
/// back.
pub(crate) const RECORD_BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Bytes that redb may keep of the checkpoint's pages. More would only speed up
/// checkpoints, which nobody waits for.
pub(crate) const CHECKPOINT_CACHE_BYTES: usize = 16 << 20;

/// Bytes of records handed from the tree to redb at a time: what the tree's lock is held for, and what is copied. One
/// record may be larger.
pub(crate) const CHECKPOINT_PIECE_BYTES: usize = 256 << 10;

/// Bytes of log after which a checkpoint is due: bounds the replay at a start.
pub(crate) const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;

/// Milliseconds after which a checkpoint is due if anything changed at all.
pub(crate) const CHECKPOINT_INTERVAL_MS: u64 = 30_000;

/// Bytes of log since the last image below which no new one is written, however small the tree is.
pub(crate) const IMAGE_LOG_BYTES_MIN: u64 = 64 << 20;

/// Bytes of records that a block of the image aims at: one checksum each, so damage is found before it is used.
pub(crate) const IMAGE_BLOCK_BYTES: usize = 256 << 10;

/// Bytes of an image written between two syncs, so that the log's own sync never waits for a whole image to reach the
/// disk.
pub(crate) const IMAGE_SYNC_BYTES: u64 = 8 << 20;

/// Damaged checkpoints kept aside for whoever wants to find out why. The oldest goes first.
pub(crate) const DAMAGED_CHECKPOINTS_KEPT_MAX: usize = 3;

/// How often the checkpoint thread looks whether one is due.
pub(crate) const CHECKPOINT_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// Children for which a table is made at once while a checkpoint is loaded; a table for more grows as they come. Keeps
/// a wrong number from asking for all memory.
pub(crate) const CHILDREN_RESERVED_MAX: usize = 16 << 20;

// ---- Plugins

/// Bytes of one plugin component. A validator from Rust is 50 to 100 KB, from JavaScript 12 MB, from Python 18 MB.
pub(crate) const COMPONENT_BYTES_MAX: usize = 24 << 20;

/// Bytes of one piece of a component in the tree: it fits a request with much room.
pub const CHUNK_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(CHUNK_BYTES_MAX < FRAME_BYTES_MAX);

/// Milliseconds after which a component that no manifest names is deleted from the tree: longer than an upload takes.
pub(crate) const CHUNK_UNUSED_MS: i64 = 3_600_000;

/// Bytes of a plugin's manifest in the tree, settings included.
pub(crate) const PLUGIN_MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Bytes of a plugin's name.
pub(crate) const PLUGIN_NAME_BYTES_MAX: usize = 64;

/// Path patterns of one binding, and grants of one plugin: both are gone through one by one on every write.
pub(crate) const PLUGIN_PATHS_MAX: usize = 64;
pub(crate) const PLUGIN_GRANTS_MAX: usize = 64;

/// Fuel of one call: about a millisecond. What a manifest may ask for is bounded by the second, some 50 ms.
pub(crate) const PLUGIN_FUEL: u64 = 2_000_000;
pub(crate) const PLUGIN_FUEL_MAX: u64 = 100_000_000;

/// Milliseconds of CPU time after which a call is ended whatever its fuel; the fuse behind fuel, which does not see
/// what the host does for a guest. It is looked at once a tick, so a call can exceed it by about one.
pub(crate) const PLUGIN_CPU_MS: u64 = 50;
pub(crate) const PLUGIN_CPU_MS_MAX: u64 = 1_000;

/// Milliseconds of wall time after which a call is ended. A machine that is too busy is the server's fault, not the
/// guest's, hence far from the above.
pub(crate) const PLUGIN_WALL_MS: u64 = 1_000;

/// Milliseconds between two looks at the fuse.
pub(crate) const PLUGIN_TICK_MS: u64 = 10;

/// Bytes of an instance's linear memory.
pub(crate) const PLUGIN_MEMORY_BYTES: usize = 16 << 20;
pub(crate) const PLUGIN_MEMORY_BYTES_MAX: usize = 64 << 20;

/// Core instances in an instance of a component. wit-component makes three of one module (it, a shim, a fix-up), a Python
/// is linked from 14, and packages with native parts add to them. They are counted, nothing is set aside for them.
pub(crate) const PLUGIN_CORE_INSTANCES_MAX: u32 = 32;

/// Elements of an instance's tables: functions it calls indirectly.
pub(crate) const PLUGIN_TABLE_ELEMENTS_MAX: usize = 20_000;

/// Bytes of stack for guest code. The threads that call guests have more than twice that.
pub(crate) const PLUGIN_STACK_BYTES: usize = 256 << 10;

/// Handles an instance may hold at once; a validator is lent one.
pub(crate) const PLUGIN_HANDLES_MAX: usize = 64;

/// Bytes a guest may hand over in one call of the host: paths, log lines, a refusal.
pub(crate) const PLUGIN_TO_HOST_BYTES_MAX: usize = 1 << 20;

/// Bytes that a guest of WASI is told it may write at once; one that writes more than the host takes in a call
/// (`PLUGIN_TO_HOST_BYTES_MAX`) ends. And random bytes in one answer to it: a hash map's keys are 16.
pub(crate) const STAND_IN_WRITE_BYTES_MAX: u64 = 64 << 10;
pub(crate) const STAND_IN_RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Looks at the tree in one call, and their bytes, paths and what is returned: neither costs a guest much fuel.
pub(crate) const PLUGIN_READS_MAX: u64 = 10_000;
pub(crate) const PLUGIN_READ_BYTES_MAX: u64 = 8 << 20;

/// Operations on the transaction in one call of a recipe or controller, and their bytes (paths, data, lists). A node's data
/// is at most a frame, and a queue hands an item on in two nodes.
pub(crate) const PLUGIN_WRITES_MAX: u64 = 1_000;
pub(crate) const PLUGIN_WRITTEN_BYTES_MAX: u64 = 4 << 20;

/// What all plugins together may do in one transaction: fuel (some 6 ms, in which the sequencer does nothing else; a call
/// counts as so much more, and one of an instance that has to be made as so much and what its `configure` takes), operations, and their bytes (an entry of the log
/// must hold them). A session's end with a few hundred locks fits; beyond it the rest is owed. Fuel does not bound those that
/// judge (validators, policies, authenticators) to the last: each has its own budget as long as anything is left.
pub(crate) const PLUGIN_TXN_FUEL: u64 = 12_000_000;
const _: () = assert!(PLUGIN_TXN_FUEL <= PLUGIN_FUEL_MAX);
pub(crate) const PLUGIN_CALL_FUEL: u64 = 2_000;
pub(crate) const PLUGIN_INSTANCE_FUEL: u64 = 40_000;
pub(crate) const PLUGIN_TXN_OPERATIONS_MAX: usize = 10_000;
pub(crate) const PLUGIN_TXN_BYTES_MAX: usize = 8 << 20;

/// How deep recipes may answer each other's changes within one transaction; more is refused.
pub(crate) const PLUGIN_DEPTH_MAX: usize = 2;

/// Bytes of data that a plugin may give a node: a client's frame holds it, with its path and list.
pub(crate) const PLUGIN_NODE_BYTES_MAX: usize = 1_000_000;
const _: () = assert!(PLUGIN_NODE_BYTES_MAX + (16 << 10) < FRAME_BYTES_MAX);

/// Bytes of a native call's payload, and of what it returns.
pub(crate) const PLUGIN_CALL_BYTES_MAX: usize = 1 << 20;

/// How often a leader looks for timers and owed work where nothing has changed: a plugin may be ready to run by then. How
/// many it has evaluated at a time, so that clients' requests come in between. And milliseconds after which one that has come
/// to nothing is asked for again.
pub(crate) const CHORES_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
pub(crate) const CHORES_IN_FLIGHT_MAX: usize = 32;
pub(crate) const CHORE_LOST_MS: u64 = 2_000;

/// Milliseconds until the first repetition of a plugin's work that failed, doubled each time, and the longest.
pub(crate) const PLUGIN_BACK_OFF_MS_MIN: u64 = 1_000;
pub(crate) const PLUGIN_BACK_OFF_MS_MAX: u64 = 60_000;

/// Paths that wait to be looked at by one controller; beyond it, all are looked for again when there is room. Nodes that are
/// looked through at once, under the tree's lock, while looking for them.
pub(crate) const CONTROLLER_PATHS_MAX: usize = 100_000;
pub(crate) const CONTROLLER_SEARCHED_AT_ONCE: usize = 500;

/// Calls of controllers at a time.
pub(crate) const CONTROLLER_CALLS_MAX: usize = 2;

/// Milliseconds until a controller is called again that was overtaken by other writes, doubled a few times; and the longest
/// pause after failures (the shortest is `PLUGIN_BACK_OFF_MS_MIN`).
pub(crate) const CONTROLLER_OVERTAKEN_MS: u64 = 10;
pub(crate) const CONTROLLER_BACK_OFF_MS_MAX: u64 = 300_000;

/// Timers of one binding.
pub(crate) const PLUGIN_TIMERS_MAX: usize = 100_000;

/// Bytes of a timer's name: a path and a little more.
pub(crate) const PLUGIN_TIMER_NAME_BYTES_MAX: usize = 4 << 10;

/// Names or paths in one answer to a guest.
pub(crate) const PLUGIN_PAGE_MAX: usize = 1_000;

/// Changes of one transaction that a validator is told of; a transaction with more is refused unasked.
pub(crate) const PLUGIN_CHANGES_MAX: usize = 1_000;

/// Bytes of one line in a plugin's log, and lines a second and binding.
pub(crate) const PLUGIN_LOG_LINE_BYTES_MAX: usize = 1 << 10;
pub(crate) const PLUGIN_LOG_LINES_PER_SECOND: u32 = 20;

/// Faults of one plugin that are kept for its author, with the last lines of its log in that call and the lines of the
/// guest's backtrace: some 40 KiB a fault at worst.
pub(crate) const PLUGIN_FAULTS_KEPT: usize = 16;
pub(crate) const PLUGIN_LOG_LINES_KEPT: usize = 16;
pub(crate) const PLUGIN_BACKTRACE_LINES_MAX: usize = 40;

/// So many faults of a plugin, which so many sessions met, within so many milliseconds, put it under quarantine, if at most
/// one call in two went well meanwhile. One client with bad intentions has one session, or opens many and is
/// outnumbered by the calls of all others; a plugin that is broken fails everybody.
pub(crate) const PLUGIN_QUARANTINE_FAULTS: usize = 20;
pub(crate) const PLUGIN_QUARANTINE_SESSIONS: usize = 3;
pub(crate) const PLUGIN_QUARANTINE_WINDOW_MS: u64 = 60_000;
const _: () = assert!(PLUGIN_QUARANTINE_SESSIONS < PLUGIN_QUARANTINE_FAULTS);

/// Bytes that a call was told of, beyond which it is not to blame if its fuel, time or memory did not suffice.
pub(crate) const PLUGIN_INPUT_BLAMED_BYTES_MAX: usize = 4 << 10;

/// Milliseconds until a member that has blamed a plugin, and sees nothing come of it, does so again.
pub(crate) const PLUGIN_BLAME_AGAIN_MS: u64 = 10_000;

/// Reports of processes that calls of one plugin have ended that are looked at: more than two are of versions that are no
/// longer in force.
pub(crate) const PLUGIN_CRASHES_LOOKED_AT_MAX: usize = 1_000;

/// Bytes of all components that manifests name, former versions included: the tree keeps them in memory.
pub(crate) const COMPONENTS_BYTES_MAX: u64 = 256 << 20;

/// Versions of a plugin that `wasmkeeper plugin` keeps; an older one goes with the next deployment.
pub(crate) const PLUGIN_VERSIONS_KEPT: usize = 10;

/// How long a leader waits for other members to compile a component before it refuses a deployment, and how long one of those
/// waits for pieces of it that are on their way; and how often each looks.
pub(crate) const PREPARE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(COMPILE_WALL_SECONDS);
pub(crate) const PREPARE_PIECES_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
pub(crate) const PREPARE_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// How long a program waits for the deployment it was prepared for.
pub(crate) const PLUGIN_PREPARED_FOR: std::time::Duration = std::time::Duration::from_secs(300);

/// Instances that exist at once. Reads, sequencer and verification together need a handful.
pub(crate) const PLUGIN_INSTANCES_MAX: u32 = 64;

/// Instances that wait for their next call, of all bindings together: what is left is for calls under way.
pub(crate) const PLUGIN_INSTANCES_IDLE_MAX: usize = 48;
const _: () = assert!(PLUGIN_INSTANCES_IDLE_MAX < PLUGIN_INSTANCES_MAX as usize);

/// Calls that one reused instance answers before it is replaced: what a guest leaks is bounded by it.
pub(crate) const PLUGIN_INSTANCE_CALLS_MAX: u32 = 10_000;

/// One in so many answers of a reused instance is compared with that of a fresh one.
pub(crate) const PLUGIN_SAMPLE_EVERY: u64 = 4_096;

/// Fuel of `configure`, which may build tables: some 50 ms.
pub(crate) const PLUGIN_CONFIGURE_FUEL: u64 = 100_000_000;

/// Answers of one pure policy that are kept, some 250 bytes each; and what one of them may have looked at: each look is a
/// lookup whenever the tree has changed.
pub(crate) const VERDICTS_KEPT_MAX: usize = 100_000;
pub(crate) const VERDICT_LOOKS_MAX: usize = 64;

/// Answers of one authenticator about two ids that are kept, some 150 bytes each.
pub(crate) const MATCHES_KEPT_MAX: usize = 10_000;

/// Bytes of an identity that an authenticator proves. It stands in access lists and goes with each write.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1 << 10;

/// The compiling child's address space in bytes, its CPU seconds, and the seconds it is waited for.
pub(crate) const COMPILE_ADDRESS_SPACE_BYTES: u64 = 4 << 30;
pub(crate) const COMPILE_CPU_SECONDS: u64 = 120;
pub(crate) const COMPILE_WALL_SECONDS: u64 = 300;
const _: () = assert!(COMPILE_WALL_SECONDS > COMPILE_CPU_SECONDS);

/// How long a start waits for the plugins it finds to be compiled. What is not ready by then answers by its failure
/// policy until it is. And how often it looks.
pub(crate) const PLUGINS_SETTLE_MAX: std::time::Duration = std::time::Duration::from_secs(30);
pub(crate) const PLUGINS_SETTLE_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

/// How often the leader looks for modules that no plugin names.
pub(crate) const MODULES_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(600);

/// Lines and bytes kept of what a plugin says: some screens, for whoever looks after something went wrong. The bytes fit
/// into one reply.
pub(crate) const PLUGIN_LOG_RING_LINES: usize = 1_000;
pub(crate) const PLUGIN_LOG_RING_BYTES: usize = 256 << 10;
const _: () = assert!(PLUGIN_LOG_RING_BYTES >= PLUGIN_LOG_LINE_BYTES_MAX);

/// Milliseconds after which a call is noted as slow, unless its binding says otherwise: ten times what its fuel takes.
pub(crate) const PLUGIN_SLOW_MS: u64 = 10;

/// How long a recording goes on after somebody has last asked for its calls. `plugin record` asks far more often.
pub(crate) const RECORDING_LEASE_MS: i64 = 10_000;

/// Bytes of recorded calls that wait for whoever records, per plugin; and those in one answer, unless a single call is
/// larger.
pub(crate) const RECORDING_BYTES_MAX: usize = 8 << 20;
pub(crate) const RECORDING_ANSWER_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(RECORDING_ANSWER_BYTES_MAX < RECORDING_BYTES_MAX);

/// Bounds of one slice of an audit: nodes passed, refusals told, and time, in which the tree is not changed. A slice ends
/// behind the call that exceeds it.
pub(crate) const AUDIT_SLICE_NODES: usize = 4_096;
pub(crate) const AUDIT_SLICE_REFUSED: usize = 256;
pub(crate) const AUDIT_SLICE_TIME: std::time::Duration = std::time::Duration::from_millis(5);

/// Transactions of late that plugins had a part in, kept for `plugin trace`, and operations told of each. Some hundred
/// bytes each, more where paths are long.
pub(crate) const TRACES_KEPT: usize = 4_096;
pub(crate) const TRACED_OPERATIONS: usize = 64;

// ---- HTTP

/// Port of the HTTP server where it is switched on without one: ZooKeeper's.
pub(crate) const ADMIN_PORT: u16 = 8080;

/// HTTP connections at once: some tools that look every few seconds. What comes beyond waits to be accepted.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Time for a request's header, and for a whole answer.
pub(crate) const ADMIN_HEADER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
pub(crate) const ADMIN_ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
const _: () = assert!(ADMIN_ANSWER_TIMEOUT.as_secs() > ADMIN_HEADER_TIMEOUT.as_secs());
