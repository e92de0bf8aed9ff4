//! The configuration: command line, `-D` properties and file become one plain [`Config`].
//!
//! A file ending in `.toml` is in our own format. Any other file is a `zoo.cfg`, read as ZooKeeper reads it. Both, and
//! `-D`, name the settings of one table (`keys`). docs/configuration.md is generated from the table.
//!
//! Promises: after `load` every value is within its bounds, and no two values contradict each other, so no other
//! code checks them again. A refusal is a `ConfigError`: file, line, key, and the remedy. Keys of ZooKeeper without
//! effect here are named in `Config::warnings`, in one sentence for the log.
//!
//! Precedence: `--listen`, `--data-dir` and `--plugins` replace the values of the file, since they are meant to
//! override it. `-D` and the file have the same rank: a setting with two different values is refused. (In ZooKeeper the
//! file would win silently, in most other servers the command line.)
//!
//! | file | what |
//! |---|---|
//! | `keys/` | the table: every key, its meaning, default, bounds, and what it sets |
//! | `properties` | the syntax of `zoo.cfg` |
//! | `toml_file` | the syntax of our own format |
//! | `jaas` | the JAAS file with the users of SASL DIGEST-MD5 |
//! | `load/` | from the sources to settings to `Config`, with the checks across keys |
//! | `cipher_suites` | the names of cipher suites |
//! | `reference` | the generated page |

pub(crate) mod cipher_suites;
pub mod jaas;
pub mod keys;
mod load;
pub mod properties;
#[cfg(test)]
mod reference;
pub mod toml_file;

pub(crate) use load::{Sources, load};

use crate::limits;
use crate::model::ensemble::Server;
use crate::pipeline::{ProvenSchemes, Rules};
use crate::plugin::signature::Signers;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// [`limits::TICK`] as the configuration counts a tick.
const TICK_MS: u32 = limits::ms(limits::TICK) as u32;

/// Everything that is set before a server starts, grouped by the folder that uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The configuration file, for messages. None: there is none.
    pub file: Option<PathBuf>,
    /// This server's number, 1 to 254.
    pub server_id: u32,
    pub ensemble: Ensemble,
    pub network: Network,
    pub sessions: Sessions,
    pub storage: Storage,
    pub rules: Rules,
    pub auth: Auth,
    /// Some if and only if clients can use TLS: `network.secure` is set, or `network.tls_on_client_port`.
    pub tls: Option<Tls>,
    /// TLS between members. None: connections between members are plain.
    pub peer_tls: Option<PeerTls>,
    pub four_letter_words: FourLetterWords,
    /// The address of the HTTP server (`admin::http`). None: there is no HTTP server.
    pub admin: Option<SocketAddr>,
    /// Whether plugins run. If not, their failure policies answer in their place, except to the superuser.
    pub plugins: bool,
    /// Whose signatures plugins need. Empty: plugins need no signature.
    pub plugin_signers: Signers,
    pub throttle: Throttle,
    pub containers: Containers,
    /// `readonlymode.enabled`: whether a member that is cut off serves clients that accept read-only mode.
    pub read_only_mode: bool,
    /// Sentences for the log, at WARN: about settings without effect, and settings with surprising effects.
    pub warnings: Vec<String>,
}

/// The servers of the ensemble. Used by `peer` and `replica`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// `server.N` by number, with this server among them. The list counts at the first start of the ensemble; later the
    /// members in the log count. Empty: a single server that no other can join.
    pub servers: Vec<Server>,
    /// Where this server listens for other members: the peer ports of its own line, on the addresses of that line, or
    /// on all addresses with `quorumListenOnAllIPs`. Empty if `servers` is.
    pub listen: Vec<SocketAddr>,
    /// `--found-without`: listed servers that are lost for ever. A server with an empty disk does not wait for them.
    pub found_without: BTreeSet<u32>,
    /// `peerSecretFile`: the file that holds the ensemble's secret. None: the data directory may hold it.
    pub secret_file: Option<PathBuf>,
    /// `standaloneEnabled`: whether clients see the only server of a list as a standalone server.
    pub standalone: bool,
    /// `initLimit`, in ticks
    pub init_ticks: u32,
    /// `syncLimit`, in ticks
    pub sync_ticks: u32,
}

/// Addresses and bounds for connections. Used by `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// `clientPort`, `clientPortAddress`
    pub client: Option<SocketAddr>,
    /// `secureClientPort`, `secureClientPortAddress`
    pub secure: Option<SocketAddr>,
    /// `client.portUnification`: whether the client port also accepts TLS. The first byte of a connection tells whether
    /// it uses TLS.
    pub tls_on_client_port: bool,
    /// `maxClientCnxns`: connections of one client address at most; 0: no bound.
    pub connections_per_address_max: usize,
    /// `maxCnxns`: connections of all clients at most; 0: no bound.
    pub connections_max: usize,
    /// `clientPortListenBacklog`: connections that the kernel queues until they are accepted.
    pub backlog: u32,
    /// `jute.maxbuffer`: bytes of one request at most.
    pub frame_bytes_max: usize,
    /// `nio.sessionlessCnxnTimeout`: a connection that has not asked for a session after this time is closed.
    pub sessionless_timeout_ms: u64,
    /// `clientTcpKeepAlive`: without effect in this version.
    pub tcp_keep_alive: bool,
}

/// Session timeouts and local sessions. Used by `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// `tickTime`: sessions expire at multiples of it. The defaults of the two bounds below are multiples of it.
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

/// Folders. Used by `storage`.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// `dataDir`: checkpoint and image. Created if it does not exist.
    pub(crate) data_dir: PathBuf,
    /// `dataLogDir`: the log. The same folder as `data_dir` if it is not set.
    pub(crate) log_dir: PathBuf,
}

/// Which identities a client may prove, and which it must prove. Used by `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// `DigestAuthenticationProvider.superDigest`: `super:base64(hash(super:password))`.
    pub(crate) super_digest: Option<String>,
    /// `DigestAuthenticationProvider.enabled`
    pub(crate) digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`
    pub(crate) digest_algorithm: DigestAlgorithm,
    /// The users of SASL DIGEST-MD5. None: SASL is off.
    pub(crate) sasl: Option<Sasl>,
    /// `superUser`, `superUser.N`: SASL users that are superusers.
    pub(crate) sasl_super_users: BTreeSet<String>,
    /// `X509AuthenticationProvider.superUser`: the subject of a client certificate that is superuser.
    pub(crate) x509_super_user: Option<String>,
    /// `enforce.auth.schemes`: a client must have proven an identity of one of these schemes. Empty: it need not.
    pub(crate) enforce_schemes: Vec<String>,
    /// `sessionRequireClientSASLAuth`: a request before a finished SASL exchange closes the connection.
    pub(crate) require_sasl: bool,
    /// `allowSaslFailedClients`: whether a connection stays open after a failed exchange, without a SASL identity.
    pub(crate) allow_sasl_failed: bool,
}

/// The users of SASL DIGEST-MD5, with their passwords.
#[derive(Clone, PartialEq)]
pub(crate) struct Sasl {
    /// `user_NAME="password"` of the JAAS file's `Server` section.
    pub(crate) users: BTreeMap<String, String>,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("users", &self.users.keys()).finish()
    }
}

/// The hash of digest identities. Java's names for the hashes are in `NAMES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestAlgorithm {
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
    pub(crate) const NAMES: [(&'static str, DigestAlgorithm); 11] = [
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

    /// The hash of `bytes`: 16 to 64 bytes.
    pub(crate) fn hash(self, bytes: &[u8]) -> Vec<u8> {
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
    pub(crate) fn identity(self, user_and_password: &str) -> String {
        use base64::Engine as _;
        let user = user_and_password.split(':').next().unwrap_or_default();
        let hash = base64::engine::general_purpose::STANDARD.encode(self.hash(user_and_password.as_bytes()));
        format!("{user}:{hash}")
    }
}

/// TLS for clients. Used by `session::tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// `ssl.keyStore.*`: the server's key and certificate chain.
    pub(crate) key_store: Store,
    /// `ssl.trustStore.*`: the CAs that sign client certificates.
    pub(crate) trust_store: Option<Store>,
    /// `ssl.clientAuth`
    pub(crate) client_auth: ClientAuth,
    /// `ssl.enabledProtocols`, or else `ssl.protocol`
    pub(crate) versions: TlsVersions,
    /// `ssl.ciphersuites`: IANA names of suites that exist here. Empty: the library's default.
    pub(crate) cipher_suites: Vec<String>,
    /// `client.certReload`: whether changed files are used for new connections.
    pub(crate) reload: bool,
    /// `ssl.handshakeDetectionTimeoutMillis`: a client must finish its handshake in this time.
    pub(crate) handshake_timeout_ms: u64,
    /// `netty.server.outstandingHandshake.limit`: handshakes at the same time at most; 0: no bound.
    pub(crate) handshakes_max: usize,
}

/// TLS between members (`sslQuorum`). Used by `peer::tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerTls {
    /// `ssl.quorum.keyStore.*`: the certificate that this member shows on connections in both directions.
    pub(crate) key_store: Store,
    /// `ssl.quorum.trustStore.*`: the CAs that sign members' certificates.
    pub(crate) trust_store: Store,
    /// `ssl.quorum.clientAuth`: whether members that connect to this one must show a certificate.
    pub(crate) client_auth: ClientAuth,
    /// `ssl.quorum.hostnameVerification`: whether the certificate of a member must name the host that was dialed, and
    /// the certificate of a dialer one of the hosts of its member number.
    pub(crate) verify_names: bool,
    /// `ssl.quorum.allowedNames`: names that the certificate of any dialer may have instead.
    pub(crate) allowed_names: Vec<String>,
    /// `ssl.quorum.enabledProtocols`, or else `ssl.quorum.protocol`
    pub(crate) versions: TlsVersions,
    /// `ssl.quorum.ciphersuites`: as in [`Tls`].
    pub(crate) cipher_suites: Vec<String>,
    /// `sslQuorumReloadCertFiles`: whether changed files are used for new connections.
    pub(crate) reload: bool,
}

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    pub(crate) format: StoreFormat,
    pub(crate) password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFormat {
    Pem,
    Pkcs12,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// The client is not asked for a certificate.
    None,
    /// The client is asked for a certificate and need not show one. If it does, the certificate must be valid.
    Want,
    /// The client must show a valid certificate.
    Need,
}

/// The TLS versions that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsVersions {
    pub(crate) v1_2: bool,
    pub(crate) v1_3: bool,
}

/// A password. `Debug` does not print it.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `4lw.commands.whitelist`. Used by `admin`.
#[derive(Clone, Debug, PartialEq)]
pub enum FourLetterWords {
    All,
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    /// Whether the word is answered.
    #[cfg(test)]
    pub(crate) fn allows(&self, word: &str) -> bool {
        match self {
            FourLetterWords::All => true,
            FourLetterWords::Only(words) => words.contains(word),
        }
    }
}

/// When to stop reading from clients. Used by `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// `globalOutstandingLimit`: unanswered requests of all connections.
    pub(crate) outstanding_max: usize,
}

/// The collection of empty containers and expired TTL nodes. Used by `replica`.
#[derive(Clone, Debug, PartialEq)]
pub struct Containers {
    /// `znode.container.checkIntervalMs`
    pub(crate) check_interval_ms: u64,
    /// `znode.container.maxPerMinute`
    pub(crate) per_minute_max: u32,
}

impl Config {
    /// Whether only programs on this machine can reach the server: its ports for clients, for members, and for
    /// operators' tools.
    pub(crate) fn loopback_only(&self) -> bool {
        let clients = [self.network.client, self.network.secure];
        let addresses = clients.iter().flatten().chain(&self.ensemble.listen).chain(&self.admin);
        addresses.into_iter().all(|address| address.ip().is_loopback())
    }

    /// This server's entry in the list of servers.
    pub fn own_server(&self) -> Option<&Server> {
        self.ensemble.servers.iter().find(|server| server.id == self.server_id)
    }

    /// Whether the configuration is that of a standalone server. If members have joined since, the members in the log
    /// count instead.
    pub(crate) fn stands_alone(&self) -> bool {
        self.ensemble.servers.len() <= 1 && self.ensemble.standalone
    }

    /// Whether a client can become superuser.
    pub(crate) fn has_superuser(&self) -> bool {
        self.auth.super_digest.is_some()
            || self.auth.x509_super_user.is_some()
            || (self.auth.sasl.is_some() && !self.auth.sasl_super_users.is_empty())
    }
}

impl Default for Config {
    /// The configuration of a server without any setting: only this machine reaches the server, and its data is in the
    /// working directory.
    fn default() -> Config {
        Config {
            file: None,
            server_id: 1,
            ensemble: Ensemble {
                servers: Vec::new(),
                listen: Vec::new(),
                found_without: BTreeSet::new(),
                secret_file: None,
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
                sessionless_timeout_ms: limits::ms(limits::SESSIONLESS_TIMEOUT),
                tcp_keep_alive: false,
            },
            sessions: Sessions {
                tick_ms: TICK_MS,
                timeout_ms_min: TICK_MS as i32 * limits::SESSION_TIMEOUT_TICKS_MIN,
                timeout_ms_max: TICK_MS as i32 * limits::SESSION_TIMEOUT_TICKS_MAX,
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
                check_interval_ms: limits::ms(limits::CONTAINER_CHECK_INTERVAL),
                per_minute_max: limits::CONTAINERS_PER_MINUTE_MAX,
            },
            read_only_mode: false,
            warnings: Vec::new(),
        }
    }
}

/// The default of `dataDir`.
pub(crate) const DATA_DIR: &str = "wasmkeeper-data";
