//! What the server was asked to be: command line, `-D` properties and file become one plain [`Config`].
//!
//! A file ending in `.toml` is our own format; any other is a `zoo.cfg`, read as ZooKeeper reads it. Both, and `-D`, name
//! the same settings, which stand in one table (`keys`); `docs/configuration.md` is generated from it.
//!
//! Promises: after [`load()`] every value is within its bounds and nothing contradicts anything else, so nobody behind it
//! checks again. A refusal is a [`ConfigError`]: file, line, key, and what to write instead. Keys of ZooKeeper that mean
//! nothing here are collected in [`Config::warnings`], one sentence for the log.
//!
//! Who wins: `--listen`, `--data-dir` and `--plugins` replace what the file says, because whoever types them looks at the
//! file's result. `-D` and the file are equals: the same setting with two different values is refused (ZooKeeper would
//! let the file win silently, most other servers the command line).
//!
//! | file | what |
//! |---|---|
//! | `keys` | the table: every key, its meaning, default, bounds, and what it sets |
//! | `properties` | the syntax of `zoo.cfg` |
//! | `toml_file` | the syntax of our own format |
//! | `jaas` | the JAAS file with the users of SASL DIGEST-MD5 |
//! | `load` | sources to settings to `Config`, and the checks across keys |
//! | `reference` | the generated page |

pub(crate) mod cipher_suites;
pub mod jaas;
pub mod keys;
mod load;
pub mod properties;
mod reference;
pub mod toml_file;

pub use load::{ConfigError, Place, Sources, load};
pub use reference::reference;

use crate::limits;
use crate::model::ensemble::Server;
use crate::pipeline::{ProvenSchemes, Rules};
use crate::plugin::signature::Signers;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Everything a server is told before it starts, grouped by who uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from, for messages; None: built-in values.
    pub file: Option<PathBuf>,
    /// This server's number, 1 to 254: the top byte of the session ids it gives out. From `myid`; 1 without one.
    pub server_id: u32,
    pub ensemble: Ensemble,
    pub network: Network,
    pub sessions: Sessions,
    pub storage: Storage,
    pub rules: Rules,
    pub auth: Auth,
    /// Present exactly if `network.secure` is, or `network.tls_on_client_port`.
    pub tls: Option<Tls>,
    /// TLS between members; None: plain.
    pub peer_tls: Option<PeerTls>,
    pub four_letter_words: FourLetterWords,
    /// Where HTTP is served (`admin::http`); None: nowhere.
    pub admin: Option<SocketAddr>,
    /// Whether plugins run. Without them, paths under an enforcing plugin refuse all but the superuser.
    pub plugins: bool,
    /// Who must have signed a plugin's component for it to run; nobody: it need not be signed.
    pub plugin_signers: Signers,
    pub throttle: Throttle,
    pub containers: Containers,
    /// `readonlymode.enabled`: a member cut off serves clients that accept it. A single server is never cut off.
    pub read_only_mode: bool,
    /// Sentences about what was accepted but means nothing here, or not what one may hope; for the log, at WARN.
    pub warnings: Vec<String>,
}

/// Owner: `peer` and `replica`; the servers this one belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// `server.N`, by number, this server among them. They found the ensemble at its first start; from then on the
    /// membership in the log counts. None: a single server that no other can join.
    pub servers: Vec<Server>,
    /// Where this server listens for its peers: the peer ports of its own line, on the line's own addresses or, with
    /// `quorumListenOnAllIPs`, on all. Empty without `servers`.
    pub listen: Vec<SocketAddr>,
    /// `--found-without`: listed servers that are gone for good, so that an empty server need not wait for them.
    pub found_without: BTreeSet<u32>,
    /// `standaloneEnabled`: a server that is listed alone is standalone in clients' eyes, as without any list.
    pub standalone: bool,
    /// `initLimit`, in ticks
    pub init_ticks: u32,
    /// `syncLimit`, in ticks
    pub sync_ticks: u32,
}

/// Owner: `session`'s listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// `clientPort`, `clientPortAddress`
    pub client: Option<SocketAddr>,
    /// `secureClientPort`, `secureClientPortAddress`
    pub secure: Option<SocketAddr>,
    /// `client.portUnification`: the client port takes TLS too, told apart by the first byte.
    pub tls_on_client_port: bool,
    /// `maxClientCnxns`: connections of one client address; 0: no bound.
    pub connections_per_address_max: usize,
    /// `maxCnxns`: connections altogether; 0: no bound of ours.
    pub connections_max: usize,
    /// `clientPortListenBacklog`: connections the kernel queues for us.
    pub backlog: u32,
    /// `jute.maxbuffer`: bytes of one request.
    pub frame_bytes_max: usize,
    /// `nio.sessionlessCnxnTimeout`: a connection that has not asked for a session by then is closed.
    pub sessionless_timeout_ms: u64,
    /// `clientTcpKeepAlive`
    pub tcp_keep_alive: bool,
}

/// Owner: `session`'s handshake and expiry.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// `tickTime`: the grain of expiry; the two bounds below are multiples of it unless set.
    pub tick_ms: u32,
    /// `minSessionTimeout`
    pub timeout_ms_min: i32,
    /// `maxSessionTimeout`
    pub timeout_ms_max: i32,
    /// `localSessionsEnabled`
    pub local: bool,
    /// `localSessionsUpgradingEnabled`
    pub local_upgrade: bool,
}

/// Owner: `storage`.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// `dataDir`: checkpoint and image; created when missing.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the log; the same folder unless set.
    pub log_dir: PathBuf,
}

/// Owner: `session`; what a client must and may prove.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// `DigestAuthenticationProvider.superDigest`: `super:base64(hash(super:password))`.
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.enabled`
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`
    pub digest_algorithm: DigestAlgorithm,
    /// Users of SASL DIGEST-MD5; None: SASL is off and opcode 102 fails.
    pub sasl: Option<Sasl>,
    /// `superUser`, `superUser.N`: SASL users who are superusers.
    pub sasl_super_users: BTreeSet<String>,
    /// `X509AuthenticationProvider.superUser`: the subject of a client certificate that is superuser.
    pub x509_super_user: Option<String>,
    /// `enforce.auth.schemes`: when not empty, a session must have proven an identity of one of these.
    pub enforce_schemes: Vec<String>,
    /// `sessionRequireClientSASLAuth`: requests before a finished SASL exchange close the session.
    pub require_sasl: bool,
    /// `allowSaslFailedClients`: a failed exchange leaves the connection open, without an identity.
    pub allow_sasl_failed: bool,
}

/// Who may log in by SASL DIGEST-MD5.
#[derive(Clone, PartialEq)]
pub struct Sasl {
    /// `user_NAME="password"` of the JAAS file's `Server` section.
    pub users: BTreeMap<String, String>,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("users", &self.users.keys()).finish()
    }
}

/// The hash of digest identities, by the names Java gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlgorithm {
    pub const NAMES: [(&'static str, DigestAlgorithm); 11] = [
        ("SHA1", DigestAlgorithm::Sha1),
        ("SHA-1", DigestAlgorithm::Sha1),
        ("SHA-224", DigestAlgorithm::Sha224),
        ("SHA-256", DigestAlgorithm::Sha256),
        ("SHA-384", DigestAlgorithm::Sha384),
        ("SHA-512", DigestAlgorithm::Sha512),
        ("SHA3-224", DigestAlgorithm::Sha3_224),
        ("SHA3-256", DigestAlgorithm::Sha3_256),
        ("SHA3-384", DigestAlgorithm::Sha3_384),
        ("SHA3-512", DigestAlgorithm::Sha3_512),
        ("MD5", DigestAlgorithm::Md5),
    ];

    /// The hash of `bytes`, 16 to 64 bytes long.
    pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
        use sha1::Digest as _;
        match self {
            DigestAlgorithm::Md5 => md5::Md5::digest(bytes).to_vec(),
            DigestAlgorithm::Sha1 => sha1::Sha1::digest(bytes).to_vec(),
            DigestAlgorithm::Sha224 => sha2::Sha224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_224 => sha3::Sha3_224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_256 => sha3::Sha3_256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_384 => sha3::Sha3_384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_512 => sha3::Sha3_512::digest(bytes).to_vec(),
        }
    }

    /// The identity that `user:password` proves, as ZooKeeper writes it: `user:base64(hash(user:password))`.
    pub fn identity(self, user_and_password: &str) -> String {
        use base64::Engine as _;
        let user = user_and_password.split(':').next().unwrap_or_default();
        let hash = base64::engine::general_purpose::STANDARD.encode(self.hash(user_and_password.as_bytes()));
        format!("{user}:{hash}")
    }
}

/// Owner: `session::tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// `ssl.keyStore.*`: the server's key and certificate chain.
    pub key_store: Store,
    /// `ssl.trustStore.*`: the CAs that client certificates must come from.
    pub trust_store: Option<Store>,
    /// `ssl.clientAuth`
    pub client_auth: ClientAuth,
    /// `ssl.enabledProtocols`, or else `ssl.protocol`
    pub versions: TlsVersions,
    /// `ssl.ciphersuites`: IANA names, all of them known to us; empty: the library's choice.
    pub cipher_suites: Vec<String>,
    /// `client.certReload`: look every few seconds whether the files have changed.
    pub reload: bool,
    /// `ssl.handshakeDetectionTimeoutMillis`: a client must be through with its handshake by then.
    pub handshake_timeout_ms: u64,
    /// `outstandingHandshake.limit`: handshakes at once; more are closed. 0: no bound.
    pub handshakes_max: usize,
}

/// Owner: `peer::tls`; `sslQuorum`.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerTls {
    /// `ssl.quorum.keyStore.*`: what this member shows, dialing and accepting.
    pub key_store: Store,
    /// `ssl.quorum.trustStore.*`: the CAs that members' certificates come from.
    pub trust_store: Store,
    /// `ssl.quorum.clientAuth`: of members that connect to this one.
    pub client_auth: ClientAuth,
    /// `ssl.quorum.hostnameVerification`: the certificate of a member must name the host that was dialed.
    pub verify_names: bool,
    /// `ssl.quorum.enabledProtocols`, or else `ssl.quorum.protocol`
    pub versions: TlsVersions,
    /// `ssl.quorum.ciphersuites`: as in [`Tls`].
    pub cipher_suites: Vec<String>,
    /// `sslQuorumReloadCertFiles`: new files are used for new connections.
    pub reload: bool,
}

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub path: PathBuf,
    pub format: StoreFormat,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFormat {
    Pem,
    Pkcs12,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is not asked for one.
    None,
    /// It is asked; one that it shows must be good.
    Want,
    /// Without a good one there is no connection.
    Need,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    pub v1_2: bool,
    pub v1_3: bool,
}

/// A password on its way from the configuration to its one user; never printed.
#[derive(Clone, PartialEq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Owner: `admin`; `4lw.commands.whitelist`.
#[derive(Clone, Debug, PartialEq)]
pub enum FourLetterWords {
    All,
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    pub fn allows(&self, word: &str) -> bool {
        match self {
            FourLetterWords::All => true,
            FourLetterWords::Only(words) => words.contains(word),
        }
    }
}

/// Owner: `session`; when to stop reading from clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// `globalOutstandingLimit`: requests taken in and not yet answered, over all connections.
    pub outstanding_max: usize,
}

/// Owner: `replica`'s collector of empty containers and outlived TTL nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Containers {
    /// `znode.container.checkIntervalMs`
    pub check_interval_ms: u64,
    /// `znode.container.maxPerMinute`
    pub per_minute_max: u32,
}

impl Config {
    /// Whether only programs on this machine can reach the server, or another of its ensemble.
    pub fn loopback_only(&self) -> bool {
        let clients = [self.network.client, self.network.secure];
        clients.iter().flatten().chain(&self.ensemble.listen).all(|address| address.ip().is_loopback())
    }

    /// This server as the list has it.
    pub fn own_server(&self) -> Option<&Server> {
        self.ensemble.servers.iter().find(|server| server.id == self.server_id)
    }

    /// Whether the configuration asks for a server without an ensemble. A server that has joined others since, or that
    /// others have joined, is no longer one: the membership in the log counts then.
    pub fn stands_alone(&self) -> bool {
        self.ensemble.servers.len() <= 1 && self.ensemble.standalone
    }

    /// Whether anyone can be superuser.
    pub fn has_superuser(&self) -> bool {
        self.auth.super_digest.is_some()
            || self.auth.x509_super_user.is_some()
            || (self.auth.sasl.is_some() && !self.auth.sasl_super_users.is_empty())
    }
}

impl Default for Config {
    /// No configuration at all: reachable from this machine only, data beside the working directory.
    fn default() -> Config {
        Config {
            file: None,
            server_id: 1,
            ensemble: Ensemble {
                servers: Vec::new(),
                listen: Vec::new(),
                found_without: BTreeSet::new(),
                standalone: true,
                init_ticks: limits::INIT_TICKS,
                sync_ticks: limits::SYNC_TICKS,
            },
            network: Network {
                client: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, limits::CLIENT_PORT))),
                secure: None,
                tls_on_client_port: false,
                connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_MAX,
                connections_max: 0,
                backlog: limits::LISTEN_BACKLOG,
                frame_bytes_max: limits::FRAME_BYTES_MAX,
                sessionless_timeout_ms: limits::SESSIONLESS_TIMEOUT_MS,
                tcp_keep_alive: false,
            },
            sessions: Sessions {
                tick_ms: limits::TICK_MS,
                timeout_ms_min: limits::TICK_MS as i32 * limits::SESSION_TIMEOUT_TICKS_MIN,
                timeout_ms_max: limits::TICK_MS as i32 * limits::SESSION_TIMEOUT_TICKS_MAX,
                local: false,
                local_upgrade: false,
            },
            storage: Storage { data_dir: PathBuf::from(DATA_DIR), log_dir: PathBuf::from(DATA_DIR) },
            rules: Rules {
                skip_acl: false,
                extended_types: false,
                enforce_quota: false,
                reconfig: false,
                container_never_used_ms: 0,
                deploy_by_anyone: true,
                sasl_scheme_enabled: false,
                x509_scheme_enabled: false,
                schemes: ProvenSchemes::default(),
            },
            auth: Auth {
                super_digest: None,
                digest_enabled: true,
                digest_algorithm: DigestAlgorithm::Sha1,
                sasl: None,
                sasl_super_users: BTreeSet::new(),
                x509_super_user: None,
                enforce_schemes: Vec::new(),
                require_sasl: false,
                allow_sasl_failed: false,
            },
            tls: None,
            peer_tls: None,
            four_letter_words: FourLetterWords::Only(BTreeSet::from(["srvr".to_owned()])),
            admin: None,
            plugins: true,
            plugin_signers: Signers::default(),
            throttle: Throttle { outstanding_max: limits::OUTSTANDING_REQUESTS_MAX },
            containers: Containers {
                check_interval_ms: limits::CONTAINER_CHECK_INTERVAL_MS,
                per_minute_max: limits::CONTAINERS_PER_MINUTE_MAX,
            },
            read_only_mode: false,
            warnings: Vec::new(),
        }
    }
}

/// Where data goes when nobody says.
pub const DATA_DIR: &str = "wasmkeeper-data";
