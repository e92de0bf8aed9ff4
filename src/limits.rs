//! Every bound of the server, in one place, with its unit and its reason.
//!
//! A span of time is a `Duration`. `ms` is for code that counts milliseconds. The name of a number of bytes says
//! `BYTES`. Other numbers count what their name says. `MAX` and `MIN` stand at the end, and `KEPT` says how much of
//! something finished is kept. Where ZooKeeper has a setting for a bound, the constant here is the default of that
//! setting (`config`).

use std::time::Duration;

/// `span` in whole milliseconds, for configuration keys and for clocks that count milliseconds.
pub(crate) const fn ms(span: Duration) -> u64 {
    span.as_secs() * 1_000 + span.subsec_millis() as u64
}

// ---- Threads

/// How long `courtesy` tolerates a yield to last. A longer yield means that another program computes without pause.
/// Clients on a full machine take up to 3 ms for one round of requests. With 1 or 2 ms a third of the gain is lost.
/// Beside endless loops on both processors, 4 ms costs nothing that can be measured.
pub(crate) const COURTESY_MAX: Duration = Duration::from_millis(4);

/// How long yielding stays off after a yield that lasted longer than `COURTESY_MAX`. So yielding costs at most one time
/// slice in this time.
pub(crate) const COURTESY_PAUSE: Duration = Duration::from_millis(100);

/// Threads that serve clients.
pub(crate) const CLIENT_THREADS: usize = 2;

// ---- Log

/// Transactions in one log entry, and their bytes. The sequencer evaluates at most one such batch before it proposes
/// it.
pub(crate) const BATCH_TXNS_MAX: usize = 1024;
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes of one transaction (`Txn::weight`). A larger transaction is refused while it is made. A log entry, which is
/// one batch, then has at most 9 MiB. That is far less than a message between members may have. A network of one
/// gigabit carries it in half of the shortest election timeout. The end of a session cannot be refused: there a recipe
/// exceeds the bound by its last operation at most, by 2 MiB.
pub(crate) const TXN_BYTES_MAX: usize = 8 << 20;

/// Bytes of the deletions in one transaction of a session's end. A session with more ephemeral nodes ends in several
/// transactions.
pub(crate) const SESSION_END_BYTES: usize = BATCH_BYTES_MAX;

/// The most that `jute.maxbuffer` may be set to. A request of this size still fits into a transaction, with what
/// recipes and ACLs add to it.
pub(crate) const FRAME_BYTES_LIMIT: i64 = 6 << 20;
const _: () = assert!(FRAME_BYTES_LIMIT < TXN_BYTES_MAX as i64);

/// Bytes of one preallocated segment of the log. Large enough that a new segment is rare, and small enough that a purge
/// frees space soon. A start preallocates one segment.
pub(crate) const LOG_SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of records that the log thread gathers into one write, if that much waits. A single larger entry is written
/// whole.
pub(crate) const LOG_BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes that the log thread keeps of each of its two write buffers between batches.
pub(crate) const LOG_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Encoded bytes of durable entries that stay decoded in memory for apply and replication. They take about 8 MiB there.
/// Older entries are read back from the disk.
pub(crate) const LOG_CACHE_BYTES_MAX: usize = 3 << 20;

/// Bytes of log for each entry of the index from log positions to file offsets. An index entry takes 32 bytes. Reading
/// one log entry back reads at most this much, or one batch.
pub(crate) const LOG_INDEX_STRIDE_BYTES: u64 = 32 << 10;

/// Encoded bytes of entries that are read back at once while a long stretch of the log is applied. A start has up to
/// three such pieces in memory.
pub(crate) const LOG_READ_BYTES_MAX: usize = 1 << 20;

/// The highest format level that this release knows. It rises with each release that has a new kind of change.
pub const FORMAT_LEVEL: u32 = 2;

/// The format level that has `Change::SetBackClock`.
pub(crate) const SET_BACK_CLOCK_LEVEL: u32 = 2;

/// Up to this level, the transaction that needs a level raises it. The leader raises higher levels by itself, as soon
/// as every voter knows them. With a rise of its own, a new ensemble would take a zxid that ZooKeeper does not take.
pub(crate) const FORMAT_LEVEL_ON_DEMAND: u32 = SET_BACK_CLOCK_LEVEL;

// ---- Consensus

/// Raft entries in flight: one whose fsync runs, and one that is evaluated meanwhile. Measured with 64 writers: with
/// four, batches are smaller and more processor time goes into waking threads; with one, the disk waits for the
/// evaluation.
pub(crate) const ENTRIES_IN_FLIGHT_MAX: usize = 2;

/// Time between a leader's heartbeats.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);

/// Bounds of the election timeout. A follower starts an election when it has heard nothing for the leader's lease
/// (`ELECTION_MAX`) plus a timeout drawn from these bounds, so after 450 to 600 ms.
///
/// A leader that is lost without a trace is therefore replaced after about half a second. A leader whose process has
/// ended is replaced at once (`Consensus::take_over`). A false election needs nine lost heartbeats in a row, and a
/// majority that has missed as many, because members ask for votes beforehand (pre-vote). So a machine that stands
/// still for a third of a second loses nothing. A quorum that is silent for longer than the lease, as two slow disks
/// are, costs refused entries that are proposed again, and no election. A vote, with its sync of the log, must also fit
/// into `ELECTION_MIN`.
pub(crate) const ELECTION_MIN: Duration = Duration::from_millis(150);
pub(crate) const ELECTION_MAX: Duration = Duration::from_millis(300);
const _: () = assert!(2 * ms(HEARTBEAT) < ms(ELECTION_MIN) && ms(ELECTION_MIN) < ms(ELECTION_MAX));

/// How long a leader evaluates without hearing from a quorum: openraft's lease.
pub(crate) const LEASE: Duration = ELECTION_MAX;

/// How long a member may take to report its log position before another member takes over without that report.
pub(crate) const STANDING_MAX: Duration = Duration::from_millis(100);

/// How long a leader that shuts down waits for another member to become leader.
pub(crate) const TRANSFER_MAX: Duration = Duration::from_secs(2);

/// Append requests on their way to one member without an answer. Each carries up to `LOG_READ_BYTES_MAX` of entries.
/// Two keep a member busy on a fast network. More cover the time that a request travels.
pub(crate) const APPENDS_IN_FLIGHT_MAX: usize = 8;

/// How long a connection is kept on which a member shows neither that entries are durable nor that more of them have
/// arrived. Above any stall of a healthy disk. The entries are sent again on the next connection.
pub(crate) const APPEND_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Time until a member that could not be reached is tried again. It doubles each time, from `MIN` up to `MAX`. `MIN` is
/// far below the election timeout, because a new leader has to reach all other members.
pub(crate) const RAFT_BACKOFF_MIN: Duration = Duration::from_millis(20);
pub(crate) const RAFT_BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Log entries that are kept for members that were away, although this member's own start does not need them. If the
/// log has more bytes than the second bound, none of them are kept. Catching up from the log is cheaper than from a
/// checkpoint, unless most of the tree changed.
pub(crate) const LOG_ENTRIES_KEPT_FOR_PEERS: u64 = 10_000;
pub(crate) const LOG_BYTES_KEPT_FOR_PEERS: u64 = 16 * LOG_SEGMENT_BYTES;

/// How long a shutdown waits for proposals that are in flight.
pub(crate) const SHUTDOWN_DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long this member waits until openraft has taken note of a checkpoint, and again until openraft has purged the
/// log. openraft's core does both between two messages. If the purge does not come in time, the log goes with the next
/// checkpoint.
pub(crate) const CHECKPOINT_NOTED_MAX: Duration = Duration::from_secs(2);

/// How long a call into openraft may take to notice that openraft has ended. openraft needs a second at most.
pub(crate) const CONSENSUS_END_MAX: Duration = Duration::from_secs(2);

/// Requests that are evaluated under one shared lock of the state. That takes some tens of microseconds, the longest
/// time that apply waits for the sequencer.
pub(crate) const EVALUATED_PER_LOCK: usize = 32;

/// Time between the take-over attempts of voters that find the leader's process gone. The voters try one after the
/// other.
pub(crate) const TAKE_OVER_STAGGER: Duration = Duration::from_millis(50);

/// Epochs that a forced recovery skips. That is more leaderships than the lost members can have had without the member
/// that is left.
pub(crate) const RECOVERY_EPOCHS: u32 = 1 << 16;

/// State digests that a member keeps, one for the end of each batch. The digest that a leader sends is of one or two
/// batches before.
pub(crate) const DIGESTS_KEPT: usize = 1_024;

// ---- Members

/// How long a member may leave a leader's heartbeats unanswered before the leader tells the operator, and `mntr` stops
/// counting the member among the learners. Longer than a slow disk takes, and longer than the restart of a server.
pub(crate) const MEMBER_SILENT: Duration = Duration::from_secs(2);

/// How long a member that shuts down waits for requests in flight: a leader for requests that followers forwarded,
/// before the leader hands over; then every member for the requests of its own clients.
pub(crate) const DRAIN_MAX: Duration = Duration::from_millis(1_000);

/// How often a member that drains, or holds requests back, checks whether the requests in flight are done.
pub(crate) const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Messages of a leader that wait to be written to one member. A member that leaves more unread loses its link.
pub(crate) const FROM_LEADER_WAITING_MAX: usize = 1 << 16;

/// The shortest time for which a leader's word counts, however short sessions may be: a few heartbeats.
pub const WORD_LASTS_MIN: Duration = HEARTBEAT.saturating_mul(3);

/// The longest time between two reports of a member to its leader, and between two checks whether the member may serve.
pub(crate) const REPORT_INTERVAL_MAX: Duration = Duration::from_millis(500);
pub(crate) const GATE_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Sessions in one message of a report. The message is far smaller than a frame may be.
pub(crate) const REPORT_SESSIONS_MAX: usize = 10_000;

/// Unanswered reports that a member remembers. More are unanswered only if the member is cut off anyway.
pub(crate) const REPORTS_UNANSWERED_MAX: usize = 64;

/// How many questions "am I current?" of one member are under way at once. If a member asks once in each
/// `REPORT_INTERVAL_MAX`, the oldest of this many questions is older than the usual syncLimit, and its answer would no
/// longer help.
pub(crate) const CURRENCY_QUESTIONS_MAX: usize = 64;

/// How long a member waits until its leader accepts requests, and how long the leader waits until its own leadership is
/// ready.
pub(crate) const LINK_BEGIN_MAX: Duration = Duration::from_millis(2_000);
pub(crate) const LEADER_READY_MAX: Duration = Duration::from_millis(1_000);

/// How long a member must be cut off before it serves read-only clients. ZooKeeper: two seconds, or one tick if that is
/// longer.
pub(crate) const READ_ONLY_AFTER: Duration = Duration::from_secs(2);

/// How long a `sync` that found no leader waits before it looks for a leader again.
pub(crate) const BARRIER_AGAIN: Duration = Duration::from_millis(20);

/// How often a `sync` that cannot complete yet checks whether its client is still connected.
pub(crate) const BARRIER_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of one message between members. The largest that this release makes is a log entry with a full batch and the
/// largest transaction. A log that an earlier build wrote may have entries of 64 MiB. A member takes no more memory for
/// a message than has arrived.
pub(crate) const PEER_FRAME_BYTES_MAX: usize = 80 << 20;
const _: () = assert!(PEER_FRAME_BYTES_MAX > 2 * (TXN_BYTES_MAX + BATCH_BYTES_MAX));

/// Bytes of a hello, or of its answer. The sender of a hello is not authenticated yet.
pub(crate) const PEER_HELLO_BYTES_MAX: usize = 1 << 10;

/// Bytes of the names in a certificate that a refusal between members shows. The refusal must fit into a hello's
/// answer.
pub(crate) const CERTIFICATE_NAMES_SHOWN_BYTES_MAX: usize = 200;

/// How often refusals between members are warned of, for each member number. The member tries again all the time.
pub(crate) const REFUSAL_WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// Bytes that are read from a member's connection at once, and bytes that may wait to be written to it before the
/// writer waits.
pub(crate) const PEER_READ_BYTES: usize = 64 << 10;
pub(crate) const PEER_WRITE_BYTES: usize = 256 << 10;

/// After so many further bytes of an unfinished message a member tells the leader that entries are arriving. A path of
/// half a megabit carries that much within `APPEND_ANSWER_MAX`.
pub(crate) const PEER_PART_BYTES: usize = 128 << 10;

/// Bytes that stay allocated of each of the two buffers of a member's connection while the buffer is empty.
pub(crate) const PEER_BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Time for one address of a member, from looking up its name to its answer to our hello. Far above a round trip around
/// the world with TLS. An address that swallows what is sent to it is recognised after this time.
pub(crate) const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time in which an incoming connection must be admitted, TLS handshake included.
pub(crate) const PEER_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const _: () = assert!(PEER_HELLO_TIMEOUT.as_millis() > PEER_CONNECT_TIMEOUT.as_millis());

/// Connections from members at once: five for each of 253 other members, with room for dead connections that are not
/// detected yet.
pub(crate) const PEER_CONNECTIONS_MAX: usize = 2_048;

/// Connections to one address of this member that have not proven themselves yet. If one more comes, one of the dialer
/// that has most of them ends. Far fewer than the open files that every system allows a process.
pub(crate) const PEER_NEWCOMERS_MAX: usize = 256;

/// Names of members that are looked up at once, one thread for each, and names whose addresses are remembered: one for
/// each member.
pub(crate) const PEER_LOOKUPS_MAX: usize = 254;

/// Time after which a lookup counts as failed. The name's last known addresses are used then.
pub(crate) const PEER_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
const _: () = assert!(PEER_LOOKUP_TIMEOUT.as_millis() < PEER_CONNECT_TIMEOUT.as_millis());

/// The shortest and the longest pause between two attempts to reach a member.
pub(crate) const PEER_BACKOFF_MIN: Duration = Duration::from_millis(50);
pub(crate) const PEER_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long one greeting may take. The second constant is the pause between two rounds of greetings, if an empty member
/// waits for others or a leader waits for a new member.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const GREETING_INTERVAL: Duration = Duration::from_millis(500);

/// How long an empty member waits for other members before it logs that it waits. Members are started one after the
/// other.
pub(crate) const STARTING_TOGETHER: Duration = Duration::from_secs(5);

/// Bytes of a greeting. A roster of 254 members and their reports take some 60 kB.
pub(crate) const GREETING_BYTES_MAX: usize = 512 << 10;

/// Silence after which a connection for greetings is closed. A leader greets every `GATHER_INTERVAL`.
pub(crate) const GREETING_SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often a leader greets every member, to learn the member's condition and to pass on what the leader has learned.
pub(crate) const GATHER_INTERVAL: Duration = Duration::from_secs(2);

/// How far the time of a transaction may be from the median of the voters' clocks. More is an alarm. A reading of a
/// clock may be late by `GREETING_TIMEOUT`, and is passed on once.
pub(crate) const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(5);

/// How long a member's report counts, so that one report may be lost. A member whose state is in doubt also waits this
/// long for the leader to learn of the doubt.
pub(crate) const REPORT_COUNTS_MAX: Duration = GATHER_INTERVAL.saturating_mul(2);

/// How long a reconfig waits for a joining server that does not answer. A server that starts at this moment answers by
/// then.
pub(crate) const NEWCOMER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a reconfig waits until a joining server has caught up. A tree of a gigabyte takes some tens of seconds.
pub(crate) const RECONFIG_PATIENCE: Duration = Duration::from_secs(120);

/// How long members that are removed stay, so that they hear of their removal and their clients of the new members. Far
/// longer than a healthy member takes.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// How many log entries a joining member may be behind and still get a vote: some tens of milliseconds under full load.
/// The second constant says how often a reconfig checks.
pub(crate) const CLOSE_BEHIND_ENTRIES: u64 = 64;
pub(crate) const CLOSE_BEHIND_INTERVAL: Duration = Duration::from_millis(20);

/// Silence after which the kernel probes whether a member's machine is still there (TCP keep-alive). If no answer
/// comes, the kernel gives up the connection after one and a half times this long again.
pub(crate) const PEER_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How often a member whose state differs from the leader's checks whether its state can be replaced.
pub(crate) const MEND_INTERVAL: Duration = Duration::from_secs(1);

// ---- Clients

/// Bytes of a refusal's text in the log.
pub(crate) const REFUSAL_TEXT_BYTES_MAX: usize = 512;

/// Refusals that a session finds at `/zookeeper/rejection`, newest first.
pub(crate) const REFUSALS_KEPT: usize = 16;

/// Bytes of one request frame: ZooKeeper's jute.maxbuffer.
pub const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// Unanswered requests of one connection: writes, and the reads behind them. At the bound, the server reads nothing
/// more from the connection. `OUTSTANDING_REQUESTS_MAX` bounds the requests of all connections together.
pub(crate) const UNANSWERED_MAX: usize = 1000;

/// Entries for which an empty queue of unanswered requests keeps its memory. A larger queue gives the rest back.
pub(crate) const UNANSWERED_ROOM_KEPT: usize = 32;

/// Bytes that may wait to be written to a connection before the server takes no more requests from it.
pub(crate) const OUTBOX_BYTES_SOFT: usize = 1 << 20;

/// Bytes waiting to be written at which a connection is closed. Events, and replies to earlier writes, arrive whether
/// the client reads or not. One single reply may be larger.
pub(crate) const OUTBOX_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(OUTBOX_BYTES_SOFT < OUTBOX_BYTES_MAX);

/// Bytes that are read from a socket at once. Each worker thread owns one such buffer. An idle connection owns none.
pub(crate) const SOCKET_READ_BYTES: usize = 64 << 10;

/// Reads that are answered under one shared lock of the state, before apply gets its chance, and the bytes of their
/// replies: some hundred microseconds. One reply may be larger.
pub(crate) const READS_PER_LOCK: u32 = 64;
pub(crate) const READ_BYTES_PER_LOCK: usize = 256 << 10;

/// Names of a list (getChildren, getEphemerals) that are read under one shared lock of the state: some 2 ms, since each
/// name lies elsewhere in memory. A longer list is read in pieces of this length.
pub(crate) const LISTED_AT_ONCE: usize = 8_192;

/// How many bytes one name in a list counts as, where the work of a read is estimated in bytes. Finding a name takes as
/// long as copying this many bytes.
pub(crate) const LISTED_NAME_BYTES: usize = 64;

/// Bytes of an expected reply above which a read that waits behind a write is left to the thread that asks plugins. The
/// thread that applies answers smaller ones, under the exclusive lock of the state.
pub(crate) const HEAVY_READ_BYTES: usize = 64 << 10;

/// Bytes of the expected replies to all reads of one connection that wait behind its writes. Beyond that, the server
/// reads nothing more from the connection until they are answered. They are answered at once when the write is applied.
pub(crate) const WAITING_READS_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(HEAVY_READ_BYTES < WAITING_READS_BYTES_MAX);

/// Bytes of the answer to one multiRead. The node that exceeds it is still sent; each further operation gets
/// THROTTLEDOP. Clients accept a reply of one `jute.maxbuffer` unless they are told otherwise, so four times the
/// default is beyond what most can use. It is copied under the shared lock of the state, which takes a millisecond or
/// two.
pub(crate) const MULTI_READ_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

/// Operations of one multiRead that are looked up, and names of children in its answer. Both keep the state's lock for
/// some milliseconds at most. What is beyond gets THROTTLEDOP.
pub(crate) const MULTI_READ_OPERATIONS_MAX: usize = 10_000;
pub(crate) const MULTI_READ_NAMES_MAX: usize = 4 * LISTED_AT_ONCE;

/// The least number of bytes that a virtual node in a multiRead counts as: making its text takes longer than copying
/// it.
pub(crate) const MULTI_READ_VIRTUAL_BYTES_MIN: usize = 4 << 10;

/// Operations of one multiRead about which policies are asked, with cached answers or by a call. Each answer rests on
/// nodes that are looked up again under the state's lock. Operations beyond get THROTTLEDOP.
pub(crate) const MULTI_READ_JUDGED_MAX: usize = 1_000;

/// Connections of which a follower remembers, until its link ends, that the leader has closed them. Eight bytes each.
pub(crate) const CONNECTIONS_GIVEN_UP_KEPT: usize = 10_000;

/// Watches that a setWatches sets while the state is locked once. A longer setWatches locks the state several times.
pub(crate) const WATCHES_SET_AT_ONCE: usize = 1_000;

/// Watches of one connection, and bytes of their paths. ZooKeeper's heaviest clients (HBase, Kafka's older brokers)
/// have some hundred thousand. A request for more gets THROTTLEDOP.
pub(crate) const WATCHES_PER_CONNECTION_MAX: usize = 1_000_000;
pub(crate) const WATCHES_PER_CONNECTION_BYTES_MAX: usize = 128 << 20;

/// Watches of all connections of this server, and bytes of their paths, each path counted once for each connection. A
/// watch takes some 100 bytes beside its path, so this is 1.5 GiB at worst.
pub(crate) const WATCHES_MAX: usize = 10_000_000;
pub(crate) const WATCHES_BYTES_MAX: usize = 512 << 20;
const _: () = assert!(WATCHES_PER_CONNECTION_MAX < WATCHES_MAX);
const _: () = assert!(WATCHES_PER_CONNECTION_BYTES_MAX < WATCHES_BYTES_MAX);

/// How many watches of a connection that has ended are removed under one lock. The second constant says how many
/// watched paths `wchs`, `wchc` and `wchp` show under one lock. Each takes a millisecond or two.
pub(crate) const WATCHES_DROPPED_AT_ONCE: usize = 4_096;
pub(crate) const WATCHED_PATHS_SHOWN_AT_ONCE: usize = 4_096;

/// Events of one connection that wait for a policy's verdict. A connection with more is closed, as with a full outbox.
pub(crate) const EVENTS_HELD_MAX: usize = 1_000;

/// Questions to guests that one connection asks in a row before other connections have their turn.
pub(crate) const QUESTIONS_IN_A_ROW: usize = 64;

/// How often a guest is asked the same question if the tree changes under its answer.
pub(crate) const QUESTION_TRIES: u32 = 3;

/// Identities that one connection may prove. A further `addauth` fails. Every request compares every identity with
/// every ACL entry.
pub(crate) const IDENTITIES_MAX: usize = 64;

/// Bytes of the id of one identity, and of all identities of a connection with their schemes. They travel to the leader
/// with each write, and `auth` in an ACL stands for all of them. A certificate's subject and a token's groups fit.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1 << 10;
pub(crate) const IDENTITIES_BYTES_MAX: usize = 8 << 10;

/// Bytes of an ACL as it is stored (`acl::bytes`), when `auth` has been replaced by identities. Every ACL that fits
/// into a request of `FRAME_BYTES_MAX` is allowed, as in ZooKeeper.
pub(crate) const ACL_BYTES_MAX: usize = 1 << 20;

/// Bytes of the path of a new node. ZooKeeper has no bound of its own, and its clients' paths have some hundred bytes.
/// The end of a session must be able to name all of its ephemeral nodes in transactions of a bounded size.
pub(crate) const PATH_BYTES_MAX: usize = 16 << 10;

/// A transaction caches the verdict on an ACL that has at least this many entries. A shorter ACL is compared as fast as
/// a cached verdict is found.
pub(crate) const ACL_KEPT_ENTRIES_MIN: usize = 16;

/// How long the listener pauses when the process has no more file descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// ZooKeeper's digest is noted at zxids divisible by this, and that many notes are kept for the `hash` word
/// (DataTree.DIGEST_LOG_INTERVAL and DIGEST_LOG_LIMIT).
pub(crate) const ZOOKEEPER_DIGEST_LOG_INTERVAL: u64 = 128;
pub(crate) const ZOOKEEPER_DIGESTS_KEPT: usize = 1024;

/// Connections of one client address: ZooKeeper's maxClientCnxns. All clients behind one proxy share this number.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 60;

/// Time until a connection without a session is closed (zookeeper.nio.sessionlessCnxnTimeout).
pub(crate) const SESSIONLESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections beyond the limits that may ask a four letter word, and how long each has. A word arrives with its
/// connection, so the bounds only matter for those that say nothing.
pub(crate) const WORD_CONNECTIONS_MAX: usize = 32;
pub(crate) const WORD_PATIENCE: Duration = Duration::from_secs(2);

/// The port that ZooKeeper clients try first.
pub(crate) const CLIENT_PORT: u16 = 2181;

/// Connections that the kernel queues before the server accepts them. ZooKeeper's 50 loses connections when many
/// clients reconnect at once.
pub(crate) const LISTEN_BACKLOG: u32 = 1024;

/// A tick (tickTime), and the bounds of session timeouts in ticks.
pub(crate) const TICK: Duration = Duration::from_secs(3);
pub(crate) const SESSION_TIMEOUT_TICKS_MIN: i32 = 2;
pub(crate) const SESSION_TIMEOUT_TICKS_MAX: i32 = 20;

/// Ticks that `conf` shows as initLimit and syncLimit unless they are set: those of ZooKeeper's sample configuration.
pub(crate) const INIT_TICKS: u32 = 10;
pub(crate) const SYNC_TICKS: u32 = 5;

/// Unanswered requests of all clients (ZooKeeper's globalOutstandingLimit). Above the bound, the server reads nothing
/// from connections that have a request in flight. A connection without one may always send a request.
pub(crate) const OUTSTANDING_REQUESTS_MAX: usize = 1_000;

/// Time between two searches for empty containers and expired TTL nodes, and how many are deleted in a minute at most.
pub(crate) const CONTAINER_CHECK_INTERVAL: Duration = Duration::from_secs(60);
pub(crate) const CONTAINERS_PER_MINUTE_MAX: u32 = 10_000;

/// Time that a TLS handshake may take, and handshakes at once. Each costs a signature, so this bounds processor time.
pub(crate) const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const TLS_HANDSHAKES_MAX: usize = 250;

/// Time between two checks whether certificate files have changed (client.certReload).
pub(crate) const TLS_RELOAD_INTERVAL_S: u64 = 10;

/// Bytes of a configuration, JAAS, key or certificate file. A larger file is surely the wrong one.
pub(crate) const CONFIG_FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one SASL token. RFC 2831 keeps a DIGEST-MD5 response below 4096.
pub(crate) const SASL_TOKEN_BYTES_MAX: usize = 4096;

/// How long a thread works on one connection's requests before its other connections have their turn. Usual requests
/// take far less together.
pub(crate) const CONNECTION_TURN_MAX: Duration = Duration::from_millis(5);

/// How long a clean shutdown waits for clients to take their last bytes.
pub(crate) const FLUSH_AT_END_MAX: Duration = Duration::from_millis(500);

/// Children of the root whose traffic is counted separately (`metrics::namespaces`). Some 200 bytes each.
pub(crate) const NAMESPACES_COUNTED: usize = 64;

/// Bytes of the name of such a child. Children with longer names are not counted, so that names cannot take the memory.
pub(crate) const NAMESPACE_BYTES_MAX: usize = 255;

// ---- Checkpoint and image

/// Pieces of a checkpoint that are sent and that the receiver has not written yet.
pub(crate) const CHECKPOINT_PIECES_IN_FLIGHT_MAX: usize = 2;

/// Time without a sign of life from the receiver, after which the transfer of a checkpoint counts as interrupted. A
/// receiver that is busy with a piece gives a sign of life every `CHECKPOINT_BUSY_INTERVAL`.
pub(crate) const CHECKPOINT_ANSWER_MAX: Duration = Duration::from_secs(5);
pub(crate) const CHECKPOINT_BUSY_INTERVAL: Duration = Duration::from_secs(1);
const _: () = assert!(CHECKPOINT_BUSY_INTERVAL.as_millis() < CHECKPOINT_ANSWER_MAX.as_millis());

/// How long a checkpoint is still offered after its transfer was interrupted. Its pages stay in the file that long, and
/// so does the log behind it.
pub(crate) const CHECKPOINT_OFFER_KEPT: Duration = Duration::from_secs(60);

/// Bytes that stay allocated of the buffer for encoding one record, from one transaction to the next.
pub(crate) const RECORD_BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Bytes of the checkpoint's pages that redb may cache. More would only make checkpoints faster, and nobody waits for
/// checkpoints.
pub(crate) const CHECKPOINT_CACHE_BYTES: usize = 16 << 20;

/// Bytes of records that go from the tree to redb at a time. The tree is locked while they are copied. One record may
/// be larger.
pub(crate) const CHECKPOINT_PIECE_BYTES: usize = 256 << 10;

/// Bytes of log after which a checkpoint is due. This bounds the replay at a start.
pub(crate) const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;

/// Time after which a checkpoint is due if anything changed at all.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);

/// Bytes of log since the last image below which no new image is written, however small the tree is.
pub(crate) const IMAGE_LOG_BYTES_MIN: u64 = 64 << 20;

/// Bytes of records that a block of the image aims at. Each block has one checksum, so damage is found before a record
/// is used.
pub(crate) const IMAGE_BLOCK_BYTES: usize = 256 << 10;

/// Bytes of an image that are written between two syncs, so that the log's own sync never waits for a whole image to
/// reach the disk.
pub(crate) const IMAGE_SYNC_BYTES: u64 = 8 << 20;

/// Damaged checkpoints that are kept for people who want to find out why. The oldest is deleted first.
pub(crate) const DAMAGED_CHECKPOINTS_KEPT_MAX: usize = 3;

/// How often the checkpoint thread checks whether a checkpoint is due.
pub(crate) const CHECKPOINT_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Children for which a table is allocated at once while a checkpoint is loaded. A larger table grows as children come.
/// So a wrong number in a file cannot take all memory.
pub(crate) const CHILDREN_RESERVED_MAX: usize = 16 << 20;

// ---- Plugins

/// Bytes of one plugin component. A validator takes 50 to 100 KB from Rust, 12 MB from JavaScript, 18 MB from Python.
pub(crate) const COMPONENT_BYTES_MAX: usize = 24 << 20;

/// Bytes of one piece of a component in the tree. A piece is far smaller than a request may be.
pub const CHUNK_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(CHUNK_BYTES_MAX < FRAME_BYTES_MAX);

/// Time after which a component that no manifest names is deleted from the tree. Longer than an upload takes.
pub(crate) const CHUNK_UNUSED: Duration = Duration::from_secs(3600);

/// Bytes of a plugin's manifest in the tree, settings included.
pub(crate) const PLUGIN_MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Bytes of a plugin's name.
pub(crate) const PLUGIN_NAME_BYTES_MAX: usize = 64;

/// Path patterns of one binding, and grants of one plugin. Every write compares with each of them.
pub(crate) const PLUGIN_PATHS_MAX: usize = 64;
pub(crate) const PLUGIN_GRANTS_MAX: usize = 64;

/// Fuel of one call: about a millisecond. `MAX`: the most that a manifest may ask for, some 50 ms.
pub(crate) const PLUGIN_FUEL: u64 = 2_000_000;
pub(crate) const PLUGIN_FUEL_MAX: u64 = 100_000_000;

/// Processor time after which a call is ended, however much fuel is left. Fuel does not count what the host does for a
/// guest; this bound does. The bound is checked once in each `PLUGIN_TICK`, so a call can exceed it by about one tick.
pub(crate) const PLUGIN_CPU: Duration = Duration::from_millis(50);
pub(crate) const PLUGIN_CPU_MAX: Duration = Duration::from_secs(1);

/// Wall time after which a call is ended. A machine that is too busy is not the guest's fault, so this is far above the
/// time that fuel allows.
pub(crate) const PLUGIN_WALL: Duration = Duration::from_secs(1);

/// Time between two checks of a call's processor time and wall time.
pub(crate) const PLUGIN_TICK: Duration = Duration::from_millis(10);

/// Bytes of an instance's linear memory. `MAX`: the most that a manifest may ask for.
pub(crate) const PLUGIN_MEMORY_BYTES: usize = 16 << 20;
pub(crate) const PLUGIN_MEMORY_BYTES_MAX: usize = 64 << 20;

/// Core instances in one instance of a component. wit-component makes three of one module (the module, a shim, a
/// fix-up). A Python component links 14, and packages with native parts add to them. They are only counted: no memory
/// is set aside for them.
pub(crate) const PLUGIN_CORE_INSTANCES_MAX: u32 = 32;

/// Elements of an instance's tables: functions that it calls indirectly.
pub(crate) const PLUGIN_TABLE_ELEMENTS_MAX: usize = 20_000;

/// Bytes of stack for guest code. The threads that call guests have more than twice that.
pub(crate) const PLUGIN_STACK_BYTES: usize = 256 << 10;

/// Resource handles that an instance may hold at once. A validator is lent one.
pub(crate) const PLUGIN_HANDLES_MAX: usize = 64;

/// Bytes that a guest may hand over in one call of the host: paths, log lines, a refusal.
pub(crate) const PLUGIN_TO_HOST_BYTES_MAX: usize = 1 << 20;

/// Bytes that a WASI guest is told it may write at once. A guest that writes more than the host takes in one call
/// (`PLUGIN_TO_HOST_BYTES_MAX`) is ended. The second bound is for the random bytes in one answer to a WASI guest: the
/// keys of a hash map take 16.
pub(crate) const STAND_IN_WRITE_BYTES_MAX: u64 = 64 << 10;
pub(crate) const STAND_IN_RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Reads of the tree in one call, and the bytes of their paths and results. Neither costs a guest much fuel.
pub(crate) const PLUGIN_READS_MAX: u64 = 10_000;
pub(crate) const PLUGIN_READ_BYTES_MAX: u64 = 8 << 20;

/// Operations on the transaction in one call of a recipe or controller, and their bytes (paths, data, ACLs). A node's
/// data is at most one frame, and a queue hands an item on in two nodes.
pub(crate) const PLUGIN_WRITES_MAX: u64 = 1_000;
pub(crate) const PLUGIN_WRITTEN_BYTES_MAX: u64 = 4 << 20;

/// Fuel that all plugins together may use in one transaction: some 6 ms, in which the sequencer does nothing else. The
/// end of a session with a few hundred locks fits. Beyond it, the rest of the recipes' work is owed. Validators,
/// policies and authenticators may exceed it by their last call: each has its own budget as long as anything is left.
pub(crate) const PLUGIN_TXN_FUEL: u64 = 12_000_000;
const _: () = assert!(PLUGIN_TXN_FUEL <= PLUGIN_FUEL_MAX);

/// Fuel that every call costs on top of what the guest uses. A call whose instance has to be made first costs
/// `PLUGIN_INSTANCE_FUEL` and the fuel of its `configure`.
pub(crate) const PLUGIN_CALL_FUEL: u64 = 2_000;
pub(crate) const PLUGIN_INSTANCE_FUEL: u64 = 40_000;

/// Operations of all plugins together in one transaction, and their bytes. A log entry must hold them.
pub(crate) const PLUGIN_TXN_OPERATIONS_MAX: usize = 10_000;
pub(crate) const PLUGIN_TXN_BYTES_MAX: usize = 8 << 20;

/// How deep recipes may answer each other's changes within one transaction. A deeper transaction is refused.
pub(crate) const PLUGIN_DEPTH_MAX: usize = 2;

/// Bytes of data that a plugin may give a node. A client's frame has room for that much data, the node's path and its
/// ACL.
pub(crate) const PLUGIN_NODE_BYTES_MAX: usize = 1_000_000;
const _: () = assert!(PLUGIN_NODE_BYTES_MAX + (16 << 10) < FRAME_BYTES_MAX);

/// Bytes of a native call's payload, and of its result.
pub(crate) const PLUGIN_CALL_BYTES_MAX: usize = 1 << 20;

/// How often a leader looks for timers and owed work if nothing has changed: a plugin may have become ready to run.
pub(crate) const CHORES_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Timers and pieces of owed work that a leader has evaluated at a time, so that clients' requests come in between.
pub(crate) const CHORES_IN_FLIGHT_MAX: usize = 32;

/// Time after which a leader asks again for a timer or owed work that led to nothing.
pub(crate) const CHORE_LOST: Duration = Duration::from_secs(2);

/// Pause before a plugin's failed work is repeated. It doubles each time, from `MIN` up to `MAX`.
pub(crate) const PLUGIN_BACK_OFF_MIN: Duration = Duration::from_secs(1);
pub(crate) const PLUGIN_BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// Paths that wait for one controller. If there are more, they are dropped. Once there is room again, the tree is
/// searched for all of the controller's paths.
pub(crate) const CONTROLLER_PATHS_MAX: usize = 100_000;

/// Nodes that the search for a controller's paths passes under one lock of the tree.
pub(crate) const CONTROLLER_SEARCHED_AT_ONCE: usize = 500;

/// Calls of controllers that run at the same time.
pub(crate) const CONTROLLER_CALLS_MAX: usize = 2;

/// Pause before a controller is called again after other writes have made its result worthless. It doubles a few times.
pub(crate) const CONTROLLER_OVERTAKEN: Duration = Duration::from_millis(10);

/// The longest pause after a controller's failures. The shortest is `PLUGIN_BACK_OFF_MIN`.
pub(crate) const CONTROLLER_BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// Timers of one binding.
pub(crate) const PLUGIN_TIMERS_MAX: usize = 100_000;

/// Bytes of a timer's name: a path and a little more.
pub(crate) const PLUGIN_TIMER_NAME_BYTES_MAX: usize = 4 << 10;

/// Names or paths in one answer to a guest.
pub(crate) const PLUGIN_PAGE_MAX: usize = 1_000;

/// Changes of one transaction that a validator is shown. A transaction with more changes is refused without a call.
pub(crate) const PLUGIN_CHANGES_MAX: usize = 1_000;

/// Bytes of one line in a plugin's log, and lines a second for each binding.
pub(crate) const PLUGIN_LOG_LINE_BYTES_MAX: usize = 1 << 10;
pub(crate) const PLUGIN_LOG_LINES_PER_SECOND: u32 = 20;

/// Faults of one plugin that are kept for its author, each with the last lines of the plugin's log in that call and the
/// lines of the guest's backtrace. Some 40 KiB for a fault at worst.
pub(crate) const PLUGIN_FAULTS_KEPT: usize = 16;
pub(crate) const PLUGIN_LOG_LINES_KEPT: usize = 16;
pub(crate) const PLUGIN_BACKTRACE_LINES_MAX: usize = 40;

/// A plugin comes under quarantine after this many faults, from this many sessions, within this time, if at most half
/// of the calls in that time succeeded. A malicious client has one session; or it opens many, and the calls of all
/// other clients outnumber its own. A broken plugin fails for everybody.
pub(crate) const PLUGIN_QUARANTINE_FAULTS: usize = 20;
pub(crate) const PLUGIN_QUARANTINE_SESSIONS: usize = 3;
const _: () = assert!(PLUGIN_QUARANTINE_SESSIONS < PLUGIN_QUARANTINE_FAULTS);
pub(crate) const PLUGIN_QUARANTINE_WINDOW: Duration = Duration::from_secs(60);

/// If a call that was shown more bytes than this runs out of fuel, time or memory, the plugin is not blamed.
pub(crate) const PLUGIN_INPUT_BLAMED_BYTES_MAX: usize = 4 << 10;

/// Time until a member blames a plugin again if the first report led to nothing.
pub(crate) const PLUGIN_BLAME_AGAIN: Duration = Duration::from_secs(10);

/// Crash reports of one plugin that are considered. All but two are of versions that are no longer in force.
pub(crate) const PLUGIN_CRASHES_LOOKED_AT_MAX: usize = 1_000;

/// Bytes of all components that manifests name, former versions included. The tree keeps them in memory.
pub(crate) const COMPONENTS_BYTES_MAX: u64 = 256 << 20;

/// Versions of a plugin that `wasmkeeper plugin` keeps. The next deployment removes an older one.
pub(crate) const PLUGIN_VERSIONS_KEPT: usize = 10;

/// The first constant says how long a leader waits for other members to compile a component before it refuses a
/// deployment. The second says how long another member waits for pieces of the component to arrive. The third says how
/// often both check.
pub(crate) const PREPARE_PATIENCE: Duration = COMPILE_WALL;
pub(crate) const PREPARE_PIECES_PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PREPARE_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long compiled code waits for the deployment it was prepared for.
pub(crate) const PLUGIN_PREPARED_FOR: Duration = Duration::from_secs(300);

/// Instances that exist at once. Reads, the sequencer and verification together need a handful.
pub(crate) const PLUGIN_INSTANCES_MAX: u32 = 64;

/// Instances of all bindings together that wait for their next call. The rest is for calls in progress.
pub(crate) const PLUGIN_INSTANCES_IDLE_MAX: usize = 48;
const _: () = assert!(PLUGIN_INSTANCES_IDLE_MAX < PLUGIN_INSTANCES_MAX as usize);

/// Calls that one reused instance answers before it is replaced. This bounds the memory that a guest can leak.
pub(crate) const PLUGIN_INSTANCE_CALLS_MAX: u32 = 10_000;

/// One answer in this many of a reused instance is compared with the answer of a fresh instance.
pub(crate) const PLUGIN_SAMPLE_EVERY: u64 = 4_096;

/// Fuel of `configure`, which may build tables: some 50 ms.
pub(crate) const PLUGIN_CONFIGURE_FUEL: u64 = 100_000_000;

/// Cached verdicts of one pure policy, some 250 bytes each. The second bound is for the nodes that one cached verdict
/// may depend on: each of them is looked up again whenever the tree has changed.
pub(crate) const VERDICTS_KEPT_MAX: usize = 100_000;
pub(crate) const VERDICT_LOOKS_MAX: usize = 64;

/// Cached answers of one authenticator about two ids, some 150 bytes each.
pub(crate) const MATCHES_KEPT_MAX: usize = 10_000;

/// The compiling child's address space, its processor time, and how long its parent waits for it.
pub(crate) const COMPILE_ADDRESS_SPACE_BYTES: u64 = 4 << 30;
pub(crate) const COMPILE_CPU: Duration = Duration::from_secs(120);
pub(crate) const COMPILE_WALL: Duration = Duration::from_secs(300);
const _: () = assert!(ms(COMPILE_WALL) > ms(COMPILE_CPU));

/// How long a start waits until the deployed plugins are compiled, and how often it checks. A plugin that is not ready
/// by then answers by its failure policy until it is ready.
pub(crate) const PLUGINS_SETTLE_MAX: Duration = Duration::from_secs(30);
pub(crate) const PLUGINS_SETTLE_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How often the leader looks for modules that no plugin names.
pub(crate) const MODULES_LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// Lines and bytes that are kept of a plugin's log: a few screens, for people who look after something went wrong. The
/// bytes fit into one reply.
pub(crate) const PLUGIN_LOG_RING_LINES: usize = 1_000;
pub(crate) const PLUGIN_LOG_RING_BYTES: usize = 256 << 10;
const _: () = assert!(PLUGIN_LOG_RING_BYTES >= PLUGIN_LOG_LINE_BYTES_MAX);

/// Time after which a call is noted as slow, unless its binding sets another: ten times what the call's fuel takes.
pub(crate) const PLUGIN_SLOW: Duration = Duration::from_millis(10);

/// How long a recording goes on after its calls were last fetched. `plugin record` fetches far more often.
pub(crate) const RECORDING_LEASE: Duration = Duration::from_secs(10);

/// Bytes of recorded calls that wait to be fetched, for each plugin; and bytes of recorded calls in one answer, unless
/// a single call is larger.
pub(crate) const RECORDING_BYTES_MAX: usize = 8 << 20;
pub(crate) const RECORDING_ANSWER_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(RECORDING_ANSWER_BYTES_MAX < RECORDING_BYTES_MAX);

/// Bounds of one slice of an audit: nodes passed, refusals reported, and time, in which the tree does not change. A
/// slice ends behind the call that exceeds a bound.
pub(crate) const AUDIT_SLICE_NODES: usize = 4_096;
pub(crate) const AUDIT_SLICE_REFUSED: usize = 256;
pub(crate) const AUDIT_SLICE_TIME: Duration = Duration::from_millis(5);

/// The latest transactions in which plugins had a part, kept for `plugin trace`; and operations that are listed for
/// each. Some hundred bytes each, more with long paths.
pub(crate) const TRACES_KEPT: usize = 4_096;
pub(crate) const TRACED_OPERATIONS: usize = 64;

// ---- HTTP

/// Port of the HTTP server if it is enabled without a port: ZooKeeper's.
pub(crate) const ADMIN_PORT: u16 = 8080;

/// HTTP connections at once: a few tools that ask every few seconds. One more takes the place of the connection that
/// has been silent for longest.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Calls of recipes by HTTP at once. A call can take long, and probes must always find a connection that is free.
pub(crate) const ADMIN_CALLS_MAX: usize = 48;
const _: () = assert!(ADMIN_CALLS_MAX < ADMIN_CONNECTIONS_MAX);

/// Time for a request's header, and for a whole answer.
pub(crate) const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const ADMIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const _: () = assert!(ADMIN_ANSWER_TIMEOUT.as_secs() > ADMIN_HEADER_TIMEOUT.as_secs());
