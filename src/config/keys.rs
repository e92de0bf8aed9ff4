//! The table of settings: every key of `zoo.cfg` and every property of ZooKeeper 3.9.5, and what becomes of it here.
//!
//! A key is found by its `zoo.cfg` name, by the property `zookeeper.<name>` (a few of ZooKeeper's properties have no
//! prefix: both forms work), and, where it has one, by its name in our own format. The page `docs/configuration.md` is
//! this table, so the texts here are written for the operator. Keys that are accepted and do nothing say why.

use super::cipher_suites as suites;
use super::{ClientAuth, Config, DigestAlgorithm, FourLetterWords, StoreFormat, TlsVersions};
use crate::limits;
use crate::model::ensemble::{Server, ServerRole};
use crate::plugin::signature::Signers;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// One setting, or (with `*` at the end of its name) a family of them.
pub struct Key {
    /// As in `zoo.cfg`.
    pub name: &'static str,
    /// `section.key` in our own format, or a family as above; empty: not there.
    pub toml: &'static str,
    /// As text for the page; empty: unset.
    pub default: &'static str,
    pub effect: Effect,
    /// Meaning, unit, bounds, when to change it.
    pub meaning: &'static str,
}

/// What a value does.
pub enum Effect {
    /// Sets something. The error is the end of "`key` ...": "must be a number from 1 to 65535".
    Set(fn(&mut Draft, &str, &str) -> Result<(), String>),
    /// Nothing, because of `meaning`; a value is worth a place in the one warning.
    Nothing,
    /// Nothing, and that is what the operator expects: no warning.
    Silent,
}

/// A configuration in the making: values that only mean something together wait here for [`super::load()`].
#[derive(Default)]
pub struct Draft {
    pub config: Config,
    pub client_port: Option<u16>,
    pub client_address: Option<String>,
    pub secure_port: Option<u16>,
    pub secure_address: Option<String>,
    /// The whole address as our own format and `--listen` give it.
    pub listen: Option<String>,
    pub secure_listen: Option<String>,
    pub log_dir: Option<PathBuf>,
    pub server_id: Option<u32>,
    pub timeout_ms_min: Option<i32>,
    pub timeout_ms_max: Option<i32>,
    pub login_config: Option<PathBuf>,
    pub login_section: Option<String>,
    /// `SASLAuthenticationProvider.superPassword`: the password of the SASL user `super`.
    pub sasl_super_password: Option<String>,
    pub sasl_provider: bool,
    pub enforce_auth: bool,
    pub key_store: DraftStore,
    pub trust_store: DraftStore,
    pub client_auth: Option<ClientAuth>,
    pub protocol: Option<TlsVersions>,
    pub enabled_protocols: Option<TlsVersions>,
    pub cipher_suites: Vec<String>,
    pub reload: bool,
    pub handshake_timeout_ms: Option<u64>,
    pub handshakes_max: Option<usize>,
    pub unify_ports: bool,
    pub peer_tls: DraftPeerTls,
    pub dynamic_file: Option<PathBuf>,
    pub listen_on_all: bool,
    pub peer_type: Option<ServerRole>,
    pub admin: DraftAdmin,
    /// Values that are accepted and do nothing: cipher suites, auth providers that are Java classes of somebody's.
    pub unused: Vec<String>,
}

#[derive(Default)]
pub struct DraftAdmin {
    /// `admin.enableServer`; without it the rest counts for nothing.
    pub enabled: bool,
    pub address: Option<String>,
    pub port: Option<u16>,
}

#[derive(Default)]
pub struct DraftPeerTls {
    /// `sslQuorum`; without it the rest counts for nothing.
    pub wanted: bool,
    pub key_store: DraftStore,
    pub trust_store: DraftStore,
    pub client_auth: Option<ClientAuth>,
    pub verify_names: Option<bool>,
    pub protocol: Option<TlsVersions>,
    pub enabled_protocols: Option<TlsVersions>,
    pub cipher_suites: Vec<String>,
    pub reload: bool,
}

#[derive(Default)]
pub struct DraftStore {
    pub path: Option<PathBuf>,
    pub format: Option<StoreFormat>,
    pub password: Option<String>,
    pub password_path: Option<PathBuf>,
}

type Setter = fn(&mut Draft, &str, &str) -> Result<(), String>;

const fn key(name: &'static str, toml: &'static str, default: &'static str, meaning: &'static str, set: Setter) -> Key {
    Key { name, toml, default, effect: Effect::Set(set), meaning }
}

/// Accepted and without effect.
const fn nothing(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Nothing, meaning: why }
}

const fn silent(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Silent, meaning: why }
}

const HIERARCHY: &str = "Refused: hierarchical quorums are not supported, every participant has one vote.";
const CATCH_UP: &str =
    "Concerns how ZooKeeper's members catch up with their leader; here they do by log or checkpoint.";
const QUORUM_AUTH: &str = "Members do not prove who they are by SASL; use TLS between members.";
const OWN_LOG: &str = "Concerns ZooKeeper's snapshots and log files; the log and the checkpoints here tend themselves.";
const ADMIN: &str =
    "ZooKeeper's `/commands` are not served by HTTP; see `admin.enableServer`, and the four letter words.";
const JAVA: &str = "Concerns the Java server's insides: threads, caches, Netty or the JVM.";
const THROTTLE: &str = "Not implemented; `maxClientCnxns`, `maxCnxns` and 1000 unanswered requests a connection bound what clients can cause.";

/// Headings of the page, each with its keys, in the order of the page.
pub const KEYS: &[(&str, &[Key])] = &[
    ("Network", NETWORK),
    ("Sessions", SESSIONS),
    ("Data", DATA),
    ("Behaviour", BEHAVIOUR),
    ("Who may do what", AUTH),
    ("TLS for clients", TLS),
    ("Ensemble", MEMBERS),
    ("TLS between members", PEER_TLS),
    ("Accepted without effect", WITHOUT_EFFECT),
];

const NETWORK: &[Key] = &[
    Key {
        name: "",
        toml: "network.listen",
        default: "127.0.0.1:2181",
        effect: Effect::Set(|draft, _, value| {
            draft.listen = Some(value.to_owned());
            Ok(())
        }),
        meaning: "Address and port for clients, `host:port`; also `--listen`. Only this machine reaches the default; \
                  `0.0.0.0:2181` lets everyone in, so set a superuser first.",
    },
    Key {
        name: "",
        toml: "network.secure_listen",
        default: "",
        effect: Effect::Set(|draft, _, value| {
            draft.secure_listen = Some(value.to_owned());
            Ok(())
        }),
        meaning: "Address and port for clients that speak TLS, `host:port`; needs `tls.key_store`.",
    },
    key("clientPort", "", "2181 without a file", "Port for clients, 1 to 65535.", |draft, _, value| {
        draft.client_port = Some(port(value)?);
        Ok(())
    }),
    key(
        "clientPortAddress",
        "",
        "0.0.0.0",
        "Address to listen on at `clientPort`: a name or an address.",
        |draft, _, value| {
            draft.client_address = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "secureClientPort",
        "",
        "",
        "Port for clients that speak TLS; needs `ssl.keyStore.location`.",
        |draft, _, value| {
            draft.secure_port = Some(port(value)?);
            Ok(())
        },
    ),
    key("secureClientPortAddress", "", "0.0.0.0", "Address to listen on at `secureClientPort`.", |draft, _, value| {
        draft.secure_address = Some(value.to_owned());
        Ok(())
    }),
    key(
        "maxClientCnxns",
        "network.connections_per_address_max",
        "60",
        "Connections one client address may hold; 0: any number. Raise it where many clients share an address (a \
         gateway, a test suite). No protection against a client with many addresses: see `maxCnxns`.",
        |draft, _, value| number(value, 0..=1_000_000, &mut draft.config.network.connections_per_address_max),
    ),
    key(
        "maxCnxns",
        "network.connections_max",
        "0",
        "Connections altogether; 0: as many as the operating system gives file descriptors.",
        |draft, _, value| number(value, 0..=10_000_000, &mut draft.config.network.connections_max),
    ),
    key(
        "admin.enableServer",
        "admin.enable",
        "false",
        "Whether metrics (`/metrics`, in Prometheus' format), `/healthz`, `/readyz` and `/plugins` are served by HTTP. Plain HTTP: \
         whoever reaches the port reads them. Other than ZooKeeper's it is off unless asked for, and has no `/commands`.",
        |draft, _, value| boolean(value, &mut draft.admin.enabled),
    ),
    key(
        "admin.serverAddress",
        "admin.address",
        "127.0.0.1",
        "Address of the HTTP server. The default, other than ZooKeeper's, lets nobody in but this machine.",
        |draft, _, value| {
            draft.admin.address = Some(value.to_owned());
            Ok(())
        },
    ),
    key("admin.serverPort", "admin.port", "8080", "Port of the HTTP server, 1 to 65535.", |draft, _, value| {
        // Harnesses that do not want the server give it port 0.
        draft.admin.port = if value == "0" { None } else { Some(port(value)?) };
        Ok(())
    }),
    key(
        "clientPortListenBacklog",
        "network.backlog",
        "1024",
        "Connections the kernel queues until they are accepted, 1 to 65535; -1: the default. The kernel's \
         `net.core.somaxconn` caps it.",
        |draft, _, value| {
            if value == "-1" {
                draft.config.network.backlog = limits::LISTEN_BACKLOG;
                return Ok(());
            }
            number(value, 1..=65_535, &mut draft.config.network.backlog)
        },
    ),
    key(
        "jute.maxbuffer",
        "network.frame_bytes_max",
        "1048575",
        "Bytes of one request, 1024 to 67108864, decimal or `0x` and hexadecimal; a longer one closes its connection. \
         Clients have the same bound for replies and must be told too. Large values delay everyone: keep data small.",
        |draft, _, value| match value.strip_prefix("0x") {
            Some(digits) => {
                let bytes = i64::from_str_radix(digits, 16).map_err(|_| "must be a number".to_owned())?;
                number(&bytes.to_string(), 1024..=64 << 20, &mut draft.config.network.frame_bytes_max)
            }
            None => number(value, 1024..=64 << 20, &mut draft.config.network.frame_bytes_max),
        },
    ),
    key(
        "nio.sessionlessCnxnTimeout",
        "network.sessionless_timeout_ms",
        "10000",
        "Milliseconds, 100 to 3600000, until a new connection must have asked for a session.",
        |draft, _, value| number(value, 100..=3_600_000, &mut draft.config.network.sessionless_timeout_ms),
    ),
    key(
        "clientTcpKeepAlive",
        "network.tcp_keep_alive",
        "false",
        "Accepted, without effect in this version: TCP keep-alive is not turned on. Sessions have pings of their own.",
        |draft, _, value| boolean(value, &mut draft.config.network.tcp_keep_alive),
    ),
    key(
        "globalOutstandingLimit",
        "network.outstanding_requests_max",
        "1000",
        "Unanswered requests of all clients together, 1 to 1000000. Beyond it, reading stops from every connection that has a request under way; one that has none may always ask. Each connection has a bound of 1000 of its own besides.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.throttle.outstanding_max),
    ),
];

const SESSIONS: &[Key] = &[
    key(
        "tickTime",
        "sessions.tick_ms",
        "3000",
        "Milliseconds of a tick, 10 to 3600000: the grain in which sessions expire, and the unit of the two defaults \
         below.",
        |draft, _, value| number(value, 10..=3_600_000, &mut draft.config.sessions.tick_ms),
    ),
    key(
        "minSessionTimeout",
        "sessions.timeout_ms_min",
        "2 ticks",
        "Shortest session timeout in milliseconds a client gets, whatever it asks for; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_min),
    ),
    key(
        "maxSessionTimeout",
        "sessions.timeout_ms_max",
        "20 ticks",
        "Longest session timeout in milliseconds a client gets; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_max),
    ),
    key(
        "localSessionsEnabled",
        "sessions.local",
        "false",
        "Sessions live on the member that a client is connected to until they need more: no write of the ensemble for a \
         client that only reads. They end with the member, and cannot own ephemeral nodes. Without effect on a single \
         server.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local),
    ),
    key(
        "localSessionsUpgradingEnabled",
        "sessions.local_upgrade",
        "false",
        "A local session that creates an ephemeral node becomes a global one first. Without it, that create is refused.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local_upgrade),
    ),
];

const DATA: &[Key] = &[
    key(
        "dataDir",
        "storage.data_dir",
        "wasmkeeper-data",
        "Folder of the checkpoints and, unless `dataLogDir` is set, of the log; also `--data-dir`. Created when missing. \
         A zoo.cfg must set it. Files of a ZooKeeper in it are left alone and not read.",
        |draft, _, value| {
            draft.config.storage.data_dir = PathBuf::from(value);
            Ok(())
        },
    ),
    key(
        "dataLogDir",
        "storage.log_dir",
        "dataDir",
        "Folder of the log. On a disk of its own, a checkpoint does not slow writes down.",
        |draft, _, value| {
            draft.log_dir = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    Key {
        name: "",
        toml: "server_id",
        default: "1",
        effect: Effect::Set(|draft, _, value| {
            let mut id = 0;
            number(value, 1..=254, &mut id)?;
            draft.server_id = Some(id);
            Ok(())
        }),
        meaning: "This server's number, 1 to 254: its place in the ensemble, and the top byte of its session ids. Without \
                  it the file `myid` in `dataDir` says it, as in ZooKeeper; with more than one server listed there \
                  must be one. Otherwise the number of the one line, or 1.",
    },
];

const BEHAVIOUR: &[Key] = &[
    key(
        "4lw.commands.whitelist",
        "four_letter_words",
        "srvr",
        "Four letter words that are answered: words divided by commas, or `*`. They need no authentication and tell \
         paths and session ids, so open them to networks you trust only.",
        |draft, _, value| {
            let words: BTreeSet<String> =
                value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            draft.config.four_letter_words =
                if words.contains("*") { FourLetterWords::All } else { FourLetterWords::Only(words) };
            Ok(())
        },
    ),
    Key {
        name: "",
        toml: "plugins",
        default: "true",
        effect: Effect::Set(|draft, _, value| boolean(value, &mut draft.config.plugins)),
        meaning: "Whether plugins run; also `--plugins on|off`. Off, a path under an enforcing plugin refuses everyone \
                  but the superuser: it is for repair.",
    },
    key(
        "pluginSigners",
        "plugin_signers",
        "",
        "Whose signatures plugins need: `name=KEY`, several separated by commas; KEY is an ed25519 public key in base64, as \
         `wasmkeeper plugin keygen` prints it. Set, no component is deployed or loaded that none of them has signed, those \
         that come with the server among them; set it to the same on all members. Unset, a signature is not needed, and \
         one that is there has to fit. Settings and grants are not signed.",
        |draft, _, value| {
            let signers = Signers::parse(value).map_err(|error| format!("must name signers: {error}"))?;
            draft.config.plugin_signers = signers;
            Ok(())
        },
    ),
    key(
        "extendedTypesEnabled",
        "rules.extended_types",
        "false",
        "TTL nodes. Off, creating one is UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.extended_types),
    ),
    key(
        "enforceQuota",
        "rules.enforce_quota",
        "false",
        "Hard quotas refuse (QUOTAEXCEEDED). Soft ones are logged either way.",
        |draft, _, value| boolean(value, &mut draft.config.rules.enforce_quota),
    ),
    key(
        "reconfigEnabled",
        "rules.reconfig",
        "false",
        "Whether clients may ask for a change of members (`reconfig`); RECONFIGDISABLED otherwise. Only who may write \
         `/zookeeper/config` can: the superuser, unless its ACL is changed. A single server answers UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.reconfig),
    ),
    key(
        "skipACL",
        "rules.skip_acl",
        "no",
        "`yes`: no ACL is checked. Everyone may do everything; for repair only.",
        |draft, _, value| boolean(value, &mut draft.config.rules.skip_acl),
    ),
    key(
        "znode.container.checkIntervalMs",
        "containers.check_interval_ms",
        "60000",
        "Milliseconds, 1 to 2^40, between two looks for empty containers and TTL nodes that have outlived their time.",
        |draft, _, value| number(value, 1..=1 << 40, &mut draft.config.containers.check_interval_ms),
    ),
    key(
        "znode.container.maxPerMinute",
        "containers.per_minute_max",
        "10000",
        "Containers and TTL nodes deleted in a minute at most, 1 to 60000000, so that they do not crowd out clients.",
        |draft, _, value| number(value, 1..=60_000_000, &mut draft.config.containers.per_minute_max),
    ),
    key(
        "znode.container.maxNeverUsedIntervalMs",
        "containers.never_used_ms",
        "0",
        "A container that never had a child goes after this many milliseconds; 0: never.",
        |draft, _, value| number(value, 0..=i64::MAX, &mut draft.config.rules.container_never_used_ms),
    ),
    key(
        "readonlymode.enabled",
        "sessions.read_only_mode",
        "false",
        "A member cut off from its ensemble serves clients that accept it, and the word `isro` is answered. A single \
         server is never cut off.",
        |draft, _, value| boolean(value, &mut draft.config.read_only_mode),
    ),
];

const AUTH: &[Key] = &[
    key(
        "DigestAuthenticationProvider.superDigest",
        "auth.super_digest",
        "",
        "Whoever proves this digest identity is superuser: `super:` and base64 of the hash of `super:PASSWORD` (`printf \
         %s super:PASSWORD | openssl dgst -sha1 -binary | base64`). Without any superuser a server that others can reach \
         accepts no plugins.",
        |draft, _, value| {
            if value.matches(':').count() != 1 || value.ends_with(':') || value.starts_with(':') {
                return Err("must have the form super:BASE64 (base64 of the hash of super:PASSWORD)".into());
            }
            draft.config.auth.super_digest = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "DigestAuthenticationProvider.enabled",
        "auth.digest_enabled",
        "true",
        "Whether the scheme digest exists.",
        |draft, _, value| boolean(value, &mut draft.config.auth.digest_enabled),
    ),
    key(
        "DigestAuthenticationProvider.digestAlg",
        "auth.digest_algorithm",
        "SHA1",
        "Hash of digest identities: SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA3-224 to SHA3-512, MD5. ACLs hold the \
         hashes, so a change locks out whoever is in them.",
        |draft, _, value| {
            let found = DigestAlgorithm::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            let (_, algorithm) = found.ok_or("must be one of SHA1, SHA-256, SHA-512, SHA3-256, SHA3-512, ...")?;
            draft.config.auth.digest_algorithm = *algorithm;
            Ok(())
        },
    ),
    key(
        "java.security.auth.login.config",
        "auth.jaas_file",
        "",
        "JAAS file whose section `Server` holds the users of SASL DIGEST-MD5 (`user_NAME=\"password\"`). A file without \
         that section leaves SASL off.",
        |draft, _, value| {
            draft.login_config = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("sasl.serverconfig", "auth.jaas_section", "Server", "Section of the JAAS file.", |draft, _, value| {
        draft.login_section = Some(value.to_owned());
        Ok(())
    }),
    key(
        "authProvider.*",
        "",
        "",
        "ZooKeeper's own providers: SASL opens the scheme sasl in ACLs; digest, ip and x509 are there anyway. Java \
         classes of others cannot be loaded: they are named in the warning.",
        |draft, name, value| {
            match value.rsplit('.').next().unwrap_or_default() {
                "SASLAuthenticationProvider" => draft.sasl_provider = true,
                "DigestAuthenticationProvider" | "IPAuthenticationProvider" | "X509AuthenticationProvider" => (),
                _ => draft.unused.push(format!("{name}={value}")),
            }
            Ok(())
        },
    ),
    key("superUser", "auth.sasl_super_user", "", "SASL user who is superuser.", |draft, _, value| {
        draft.config.auth.sasl_super_users.insert(value.to_owned());
        Ok(())
    }),
    key(
        "superUser.*",
        "",
        "",
        "More SASL users who are superusers: superUser.1, superUser.2, ...",
        |draft, _, value| {
            draft.config.auth.sasl_super_users.insert(value.to_owned());
            Ok(())
        },
    ),
    key(
        "SASLAuthenticationProvider.superPassword",
        "auth.sasl_super_password",
        "",
        "Password of the SASL user `super`, before the one in the JAAS file.",
        |draft, _, value| {
            draft.sasl_super_password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "X509AuthenticationProvider.superUser",
        "auth.x509_super_user",
        "",
        "Subject (RFC 2253, as in ACLs of the scheme x509) of the client certificate that is superuser.",
        |draft, _, value| {
            draft.config.auth.x509_super_user = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "enforce.auth.enabled",
        "auth.enforce",
        "false",
        "Whether a session must have proven an identity of `enforce.auth.schemes` before it may do anything.",
        |draft, _, value| boolean(value, &mut draft.enforce_auth),
    ),
    key(
        "enforce.auth.schemes",
        "auth.enforce_schemes",
        "",
        "Schemes divided by commas: digest, sasl, x509, ip.",
        |draft, _, value| {
            draft.config.auth.enforce_schemes =
                value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            Ok(())
        },
    ),
    key(
        "sessionRequireClientSASLAuth",
        "auth.require_sasl",
        "false",
        "Requests before a finished SASL exchange are refused with SESSIONCLOSEDREQUIRESASLAUTH.",
        |draft, _, value| boolean(value, &mut draft.config.auth.require_sasl),
    ),
    key(
        "allowSaslFailedClients",
        "auth.allow_sasl_failed",
        "false",
        "A failed SASL exchange leaves the connection open, without an identity.",
        |draft, _, value| boolean(value, &mut draft.config.auth.allow_sasl_failed),
    ),
];

const TLS: &[Key] = &[
    key(
        "ssl.keyStore.location",
        "tls.key_store",
        "",
        "The server's key and certificate chain: a PEM file (`.pem`: key and chain in one) or PKCS#12 (`.p12`, `.pfx`). \
         JKS and BCFKS are refused: `keytool -importkeystore -srckeystore A.jks -destkeystore A.p12 -deststoretype \
         PKCS12` converts.",
        |draft, _, value| {
            draft.key_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.keyStore.password", "tls.key_store_password", "", "Password of the key store.", |draft, _, value| {
        draft.key_store.password = Some(value.to_owned());
        Ok(())
    }),
    key(
        "ssl.keyStore.passwordPath",
        "tls.key_store_password_file",
        "",
        "File with the password of the key store, so that it stands in no configuration.",
        |draft, _, value| {
            draft.key_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.keyStore.type", "tls.key_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.key_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.trustStore.location",
        "tls.trust_store",
        "",
        "Certificates of the CAs that client certificates must come from: PEM or PKCS#12. Needed unless \
         `ssl.clientAuth` is none.",
        |draft, _, value| {
            draft.trust_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.trustStore.password",
        "tls.trust_store_password",
        "",
        "Password of the trust store.",
        |draft, _, value| {
            draft.trust_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.trustStore.passwordPath",
        "tls.trust_store_password_file",
        "",
        "File with the password of the trust store.",
        |draft, _, value| {
            draft.trust_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.trustStore.type", "tls.trust_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.trust_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.clientAuth",
        "tls.client_auth",
        "need",
        "`need`: no connection without a certificate of a trusted CA. `want`: one that is shown must be good. `none`.",
        |draft, _, value| {
            draft.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2; `ssl.enabledProtocols` goes before it.",
        |draft, _, value| {
            draft.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.enabledProtocols",
        "tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2 or both with a comma. Older ones do not exist here.",
        |draft, _, value| {
            draft.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.ciphersuites",
        "tls.cipher_suites",
        "all that are known",
        "Cipher suites by IANA name, divided by commas. Those with CBC or without forward secrecy do not exist here: they \
         are named in the warning, and refused if nothing is left.",
        |draft, name, value| {
            let (known, unknown) = cipher_suites(name, value)?;
            draft.cipher_suites = known;
            draft.unused.extend(unknown);
            Ok(())
        },
    ),
    key(
        "client.certReload",
        "tls.reload",
        "false",
        "Every 10 seconds look whether key or trust store have changed, and use the new ones for new connections. A \
         broken new file is logged and the old one stays.",
        |draft, _, value| boolean(value, &mut draft.reload),
    ),
    key(
        "ssl.handshakeDetectionTimeoutMillis",
        "tls.handshake_timeout_ms",
        "5000",
        "Milliseconds, 10 to 600000, in which a client must be through with its TLS handshake.",
        |draft, _, value| {
            let mut timeout_ms = 0;
            number(value, 10..=600_000, &mut timeout_ms)?;
            draft.handshake_timeout_ms = Some(timeout_ms);
            Ok(())
        },
    ),
    key(
        "netty.server.outstandingHandshake.limit",
        "tls.handshakes_max",
        "250",
        "TLS handshakes under way at once; more are closed. 0 or -1: any number.",
        |draft, _, value| {
            let mut handshakes: i64 = 0;
            number(value, -1..=1_000_000, &mut handshakes)?;
            draft.handshakes_max = Some(usize::try_from(handshakes).unwrap_or(0));
            Ok(())
        },
    ),
    key(
        "client.portUnification",
        "tls.on_client_port",
        "false",
        "`clientPort` takes TLS as well as plain connections, told apart by their first byte.",
        |draft, _, value| boolean(value, &mut draft.unify_ports),
    ),
    silent("ssl.authProvider", "The scheme x509 is the one that client certificates prove."),
    silent("ssl.sslProvider", "There is one TLS implementation here."),
    silent("ssl.context.supplier.class", "Java class."),
    silent("fips-mode", "The Java security providers' mode."),
    nothing("ssl.hostnameVerification", "Client names are not checked against their addresses."),
    nothing("ssl.clientHostnameVerification", "Client names are not checked against their addresses."),
    nothing("ssl.allowReverseDnsLookup", "Client names are not checked against their addresses."),
    nothing("ssl.crl", "Revocation lists are not fetched; take the CA out of the trust store instead."),
    nothing("ssl.ocsp", "Revocation is not asked for; take the CA out of the trust store instead."),
];

const MEMBERS: &[Key] = &[
    key(
        "server.*",
        "ensemble.servers.*",
        "",
        "`server.N=host:peerPort:electionPort[:participant|observer][;[host:]clientPort]`: the ensemble, one line for each \
         server, N from 1 to 254; in TOML the table `[ensemble.servers]` with lines `N = \"host:...\"`. Several addresses \
         of one server are divided by `|`, IPv6 stands in brackets. All traffic between members goes to the peer port; \
         the election port is accepted and not opened. The list founds the ensemble at its first start; after that the \
         members in the log count, and `reconfig` or `wasmkeeper cluster` changes them. An observer has no vote. One \
         line, or none, is a single server.",
        |draft, name, value| {
            let number = name.rsplit('.').next().and_then(|number| number.parse().ok());
            let id = number.ok_or("must be server.N, with N from 1 to 254")?;
            draft.config.ensemble.servers.push(Server::parse(id, value)?);
            Ok(())
        },
    ),
    key(
        "dynamicConfigFile",
        "",
        "",
        "File with the `server.N` lines, as ZooKeeper writes it on reconfig. Read, never written.",
        |draft, _, value| {
            draft.dynamic_file = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    silent("version", "Line of a dynamic configuration file."),
    key(
        "standaloneEnabled",
        "ensemble.standalone",
        "true",
        "Whether a server that is listed alone calls itself standalone, as one without a list does, and answers \
         `reconfig` with UNIMPLEMENTED. `false`: it is an ensemble of one, which `reconfig` can extend.",
        |draft, _, value| boolean(value, &mut draft.config.ensemble.standalone),
    ),
    key(
        "quorumListenOnAllIPs",
        "ensemble.listen_on_all_addresses",
        "false",
        "Whether the peer port is open on all addresses of this machine instead of those that this server's own line \
         names. For containers, whose name leads to an address that is not theirs. Opens the port to whoever reaches \
         any of them.",
        |draft, _, value| boolean(value, &mut draft.listen_on_all),
    ),
    key(
        "initLimit",
        "ensemble.init_ticks",
        "10",
        "Ticks, 1 to 1000000, shown by `conf`. A member that joins or comes back catches up for as long as it takes: \
         nothing here depends on the number.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.init_ticks),
    ),
    key(
        "syncLimit",
        "ensemble.sync_ticks",
        "5",
        "Ticks, 1 to 1000000, shown by `conf`. Members hear of each other ten times a second and elect a new leader \
         within one: nothing here depends on the number.",
        |draft, _, value| number(value, 1..=1_000_000, &mut draft.config.ensemble.sync_ticks),
    ),
    key(
        "peerType",
        "",
        "participant",
        "`participant` or `observer`. The role in this server's own line counts; another one here is a warning.",
        |draft, _, value| {
            draft.peer_type = Some(match value.to_ascii_lowercase().as_str() {
                "participant" => ServerRole::Participant,
                "observer" => ServerRole::Observer,
                _ => return Err("must be participant or observer".into()),
            });
            Ok(())
        },
    ),
    key(
        "electionAlg",
        "",
        "3",
        "3, as in ZooKeeper, which has given up the others. Elections here are Raft's, whatever it says.",
        |_, _, value| if value == "3" { Ok(()) } else { Err("must be 3, or not set".into()) },
    ),
    key(
        "leaderServes",
        "",
        "yes",
        "The leader serves clients like any member; `no` has no effect, with a warning.",
        |draft, _, value| {
            let mut serves = true;
            boolean(value, &mut serves)?;
            if !serves {
                draft.unused.push("leaderServes=no".to_owned());
            }
            Ok(())
        },
    ),
    nothing("observerMasterPort", "Observers follow the leader itself."),
    nothing("observer.*", "Observers follow the leader as other members do."),
    nothing("electionPortBindRetry", "Where the peer port cannot be opened, the start ends with a sentence."),
    nothing("cnxTimeout", "How long a connection to a member may take to open is fixed, and its trials never end."),
    key("group.*", "", "", HIERARCHY, hierarchy),
    key("weight.*", "", "", HIERARCHY, hierarchy),
    nothing("connectToLearnerMasterLimit", CATCH_UP),
    nothing("learner.*", CATCH_UP),
    nothing("learnerAsyncSending", CATCH_UP),
    nothing("leader.*", CATCH_UP),
    nothing("commitLogCount", CATCH_UP),
    nothing("maxTimeToWaitForEpoch", CATCH_UP),
    nothing("syncEnabled", "An observer keeps a log and checkpoints like every member."),
    nothing("fastleader.*", "Elections here are Raft's."),
    nothing("multiAddress.*", "Several addresses of a server are tried in their order; that needs no setting."),
    nothing("oraclePath", "Two servers cannot outlive one of them; use three, of which one may be small."),
    nothing("quorum.*", QUORUM_AUTH),
    nothing("ensembleAuthName", QUORUM_AUTH),
    nothing("tcpKeepAlive", "Members hear of each other ten times a second; a silent connection is given up."),
    nothing("closeSessionTxn.enabled", "The end of a session is always one transaction with all its ephemeral nodes."),
];

const PEER_TLS: &[Key] = &[
    key(
        "sslQuorum",
        "peer_tls.enabled",
        "false",
        "TLS between members, with certificates on both sides; the same on all of them. Needs `ssl.quorum.keyStore.location` \
         and `ssl.quorum.trustStore.location`. Off, whoever reaches the peer port can read everything and speak as any member.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.wanted),
    ),
    key(
        "ssl.quorum.keyStore.location",
        "peer_tls.key_store",
        "",
        "This member's key and certificate chain, shown to members it connects to and to those that connect to it. Formats \
         as `ssl.keyStore.location`.",
        |draft, _, value| {
            draft.peer_tls.key_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.keyStore.password",
        "peer_tls.key_store_password",
        "",
        "Password of the key store.",
        |draft, _, value| {
            draft.peer_tls.key_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.quorum.keyStore.passwordPath",
        "peer_tls.key_store_password_file",
        "",
        "File with the password of the key store.",
        |draft, _, value| {
            draft.peer_tls.key_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.quorum.keyStore.type", "peer_tls.key_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.peer_tls.key_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.quorum.trustStore.location",
        "peer_tls.trust_store",
        "",
        "Certificates of the CAs that members' certificates must come from: PEM or PKCS#12. Use a CA that signs for this \
         ensemble only: everyone with a certificate of it can speak as any member.",
        |draft, _, value| {
            draft.peer_tls.trust_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.password",
        "peer_tls.trust_store_password",
        "",
        "Password of the trust store.",
        |draft, _, value| {
            draft.peer_tls.trust_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.passwordPath",
        "peer_tls.trust_store_password_file",
        "",
        "File with the password of the trust store.",
        |draft, _, value| {
            draft.peer_tls.trust_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.type",
        "peer_tls.trust_store_type",
        "by extension",
        "PEM or PKCS12.",
        |draft, _, value| {
            draft.peer_tls.trust_store.format = Some(store_format(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.clientAuth",
        "peer_tls.client_auth",
        "need",
        "`need`: no member connects to this one without a certificate of a trusted CA. `want`, `none`: one without can, and \
         then anyone who reaches the port.",
        |draft, _, value| {
            draft.peer_tls.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.hostnameVerification",
        "peer_tls.verify_names",
        "true",
        "Whether the certificate of a member that this one connects to must name the host in its `server.N` line, as a \
         subject alternative name; the common name alone does not count. Who connects to this one is never checked by name.",
        |draft, _, value| {
            let mut verify = true;
            boolean(value, &mut verify)?;
            draft.peer_tls.verify_names = Some(verify);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2; `ssl.quorum.enabledProtocols` goes before it.",
        |draft, _, value| {
            draft.peer_tls.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.enabledProtocols",
        "peer_tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2 or both with a comma.",
        |draft, _, value| {
            draft.peer_tls.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.ciphersuites",
        "peer_tls.cipher_suites",
        "all that are known",
        "As `ssl.ciphersuites`, between members.",
        |draft, name, value| {
            let (known, unknown) = cipher_suites(name, value)?;
            draft.peer_tls.cipher_suites = known;
            draft.unused.extend(unknown);
            Ok(())
        },
    ),
    nothing("portUnification", "Members speak TLS or they do not; change an ensemble over with all members stopped."),
    key(
        "sslQuorumReloadCertFiles",
        "peer_tls.reload",
        "false",
        "Every 10 seconds look whether key or trust store have changed, and use the new ones for new connections between \
         members; those that are there go on. A broken new file is logged and the old one stays.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.reload),
    ),
    nothing(
        "ssl.quorum.*",
        "Not implemented; revocation lists are not fetched, and members that connect are not checked by name.",
    ),
];

const WITHOUT_EFFECT: &[Key] = &[
    silent("serverCnxnFactory", "There is one network layer here, which speaks TLS too."),
    nothing("snapCount", OWN_LOG),
    nothing("snapSizeLimitInKb", OWN_LOG),
    nothing("txnLogSizeLimitInKb", OWN_LOG),
    nothing("preAllocSize", OWN_LOG),
    nothing("autopurge.*", OWN_LOG),
    nothing("snapshot.*", OWN_LOG),
    nothing("serializeLastProcessedZxid.enabled", OWN_LOG),
    nothing("db.autocreate", OWN_LOG),
    nothing("datadir.autocreate", OWN_LOG),
    nothing("fsync.warningthresholdms", OWN_LOG),
    nothing("forceSync", "Every write is on disk before it is acknowledged; that cannot be turned off."),
    nothing("flushDelay", "A write waits for no timer: batches grow only from requests that have queued up."),
    nothing(
        "maxWriteQueuePollTime",
        "A write waits for no timer: batches grow only from requests that have queued up.",
    ),
    nothing("maxBatchSize", "Batches are bounded by fixed limits."),
    nothing("jute.maxbuffer.extrasize", "A record inside a request has the request's bound."),
    nothing("maxResponseCacheSize", "Replies are not cached; they are made from memory."),
    nothing("maxGetChildrenResponseCacheSize", "Replies are not cached; they are made from memory."),
    silent("admin.*", ADMIN),
    nothing("metricsProvider.*", "Metrics are served by HTTP, see `admin.enableServer`, and told by `mntr`."),
    nothing("audit.enable", "There is no audit log in this version."),
    nothing("audit.*", "There is no audit log in this version."),
    nothing("watchManagerName", JAVA),
    nothing("watcherCleanThreadsNum", JAVA),
    nothing("watcherCleanIntervalInSeconds", JAVA),
    nothing("watcherCleanThreshold", JAVA),
    nothing("maxInProcessingDeadWatchers", JAVA),
    nothing("bitHashCacheSize", JAVA),
    nothing("nio.*", JAVA),
    nothing("netty.*", JAVA),
    nothing("commitProcessor.*", JAVA),
    nothing("largeRequestMaxBytes", THROTTLE),
    nothing("largeRequestThreshold", THROTTLE),
    nothing("request_throttler.*", THROTTLE),
    nothing("request_throttle_max_requests", THROTTLE),
    nothing("request_throttle_stall_time", THROTTLE),
    nothing("request_throttle_drop_stale", THROTTLE),
    nothing("requestThrottleLatencyMeasureEnabled", THROTTLE),
    nothing("throttled_op_wait_time", THROTTLE),
    nothing("connection_throttle_*", THROTTLE),
    nothing("connectionMaxTokens", THROTTLE),
    nothing("connectionTokenFillTime", THROTTLE),
    nothing("connectionTokenFillCount", THROTTLE),
    nothing("connectionFreezeTime", THROTTLE),
    nothing("connectionDropIncrease", THROTTLE),
    nothing("connectionDropDecrease", THROTTLE),
    nothing("connectionDecreaseRatio", THROTTLE),
    nothing("connection.*", THROTTLE),
    nothing("globalConnectionWeight", THROTTLE),
    nothing("requestTimeout", THROTTLE),
    silent("enableEagerACLCheck", "A single server checks every ACL at once."),
    nothing("emulate353TTLNodes", "TTL nodes have ZooKeeper 3.5.4's encoding only."),
    nothing("digest.enabled", "The tree's digest is always kept."),
    nothing("test.*", JAVA),
    nothing("kerberos.*", "Kerberos is not supported; SASL is DIGEST-MD5."),
    nothing("requireClientAuthScheme", "Use `sessionRequireClientSASLAuth` or `enforce.auth.enabled`."),
    nothing("client.*", "A setting of clients."),
    nothing("pathStats.*", JAVA),
    nothing("traceMask", JAVA),
    nothing("exitOnError", JAVA),
    nothing("shutdown.*", JAVA),
    nothing("jmx.*", JAVA),
    nothing("DigestAuthenticationProvider.*", JAVA),
    nothing("X509AuthenticationProvider.*", "Names are taken from the certificate's subject only."),
    silent("log.*", "Logging of the Java server; see `--log`."),
    silent("root.logger", "Logging of the Java server; see `--log`."),
    silent("console.threshold", "Logging of the Java server; see `--log`."),
];

/// The key of this `zoo.cfg` name or property; the longest family wins, a whole name before every family.
pub fn by_name(name: &str) -> Option<&'static Key> {
    let stripped = name.strip_prefix("zookeeper.").unwrap_or(name);
    let all = || KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.name.is_empty());
    all().find(|key| key.name == name || key.name == stripped).or_else(|| {
        all()
            .filter(|key| key.name.strip_suffix('*').is_some_and(|family| stripped.starts_with(family)))
            .max_by_key(|key| key.name.len())
    })
}

/// The key of this `section.key` of our own format.
pub fn by_toml(name: &str) -> Option<&'static Key> {
    let is_it = |key: &&Key| match key.toml.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => !key.toml.is_empty() && key.toml == name,
    };
    KEYS.iter().flat_map(|(_, keys)| keys.iter()).find(is_it)
}

/// The name of our own format most like `name`, for "did you mean".
pub fn like(name: &str) -> Option<&'static str> {
    let own = KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.toml.is_empty()).map(|key| key.toml);
    own.map(|candidate| (edits(name, candidate), candidate)).min().filter(|(far, _)| *far <= 4).map(|(_, name)| name)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = match above {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn number<T: TryFrom<i64>>(value: &str, bounds: RangeInclusive<i64>, slot: &mut T) -> Result<(), String> {
    let refused = || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
    let number: i64 = value.parse().map_err(|_| refused())?;
    if !bounds.contains(&number) {
        return Err(refused());
    }
    *slot = T::try_from(number).map_err(|_| refused())?;
    Ok(())
}

fn boolean(value: &str, slot: &mut bool) -> Result<(), String> {
    *slot = match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => true,
        "false" | "no" | "off" => false,
        _ => return Err("must be true or false".into()),
    };
    Ok(())
}

fn port(value: &str) -> Result<u16, String> {
    let mut port = 0;
    number(value, 1..=65_535, &mut port)?;
    Ok(port)
}

/// Ignoring a weight would change whose votes decide.
fn hierarchy(_: &mut Draft, _: &str, _: &str) -> Result<(), String> {
    Err("is refused: hierarchical quorums are not supported, every participant has one vote; remove the line".into())
}

fn timeout(value: &str, slot: &mut Option<i32>) -> Result<(), String> {
    if value == "-1" {
        *slot = None;
        return Ok(());
    }
    let mut timeout_ms = 0;
    number(value, 1..=i64::from(i32::MAX), &mut timeout_ms)?;
    *slot = Some(timeout_ms);
    Ok(())
}

fn store_format(value: &str) -> Result<StoreFormat, String> {
    match value.to_ascii_uppercase().as_str() {
        "PEM" => Ok(StoreFormat::Pem),
        "PKCS12" => Ok(StoreFormat::Pkcs12),
        "JKS" | "BCFKS" => {
            Err("must be PEM or PKCS12; `keytool -importkeystore -deststoretype PKCS12` converts".into())
        }
        _ => Err("must be PEM or PKCS12".into()),
    }
}

fn client_auth(value: &str) -> Result<ClientAuth, String> {
    match value.to_ascii_lowercase().as_str() {
        "need" => Ok(ClientAuth::Need),
        "want" => Ok(ClientAuth::Want),
        "none" => Ok(ClientAuth::None),
        _ => Err("must be need, want or none".into()),
    }
}

/// The suites that exist here, and for the warning those that do not.
fn cipher_suites(key: &str, value: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let names = value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (known, unknown): (Vec<&str>, Vec<&str>) = names.partition(|suite| suites::is_known(suite));
    if known.is_empty() {
        return Err("must name a suite that exists here, such as TLS_AES_256_GCM_SHA384".into());
    }
    let known = known.into_iter().map(str::to_owned).collect();
    Ok((known, unknown.into_iter().map(|suite| format!("{key}={suite}")).collect()))
}

fn tls_versions(value: &str) -> Result<TlsVersions, String> {
    let mut versions = TlsVersions { v1_2: false, v1_3: false };
    for word in value.split(',').map(str::trim) {
        match word {
            "TLSv1.2" => versions.v1_2 = true,
            "TLSv1.3" => versions.v1_3 = true,
            // What old ensembles list beside the versions that are still safe: not offered, as in today's JVMs.
            "TLSv1" | "TLSv1.1" => (),
            _ => return Err("must be TLSv1.3, TLSv1.2 or both with a comma".into()),
        }
    }
    if versions.v1_2 || versions.v1_3 { Ok(versions) } else { Err("must contain TLSv1.3 or TLSv1.2".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once() {
        let mut seen = BTreeSet::new();
        for key in KEYS.iter().flat_map(|(_, keys)| keys.iter()) {
            for name in [key.name, key.toml] {
                assert!(name.is_empty() || seen.insert(name), "{name} stands twice");
            }
            assert!(!key.meaning.is_empty(), "{} has no meaning", key.name);
        }
    }

    #[test]
    fn keys_are_found_with_and_without_prefix() {
        let name = |name: &str| by_name(name).map(|key| key.name);
        assert_eq!(name("tickTime"), Some("tickTime"));
        assert_eq!(name("zookeeper.skipACL"), Some("skipACL"));
        assert_eq!(name("zookeeper.jute.maxbuffer"), Some("jute.maxbuffer"));
        assert_eq!(name("nio.sessionlessCnxnTimeout"), Some("nio.sessionlessCnxnTimeout"));
        assert_eq!(name("nio.numSelectorThreads"), Some("nio.*"));
        assert_eq!(name("ssl.quorum.keyStore.location"), Some("ssl.quorum.keyStore.location"));
        assert_eq!(name("zookeeper.ssl.quorum.crl"), Some("ssl.quorum.*"));
        assert_eq!(name("server.3"), Some("server.*"));
        assert_eq!(name("superUser.2"), Some("superUser.*"));
        assert_eq!(name("noSuchKey"), None);
        assert_eq!(like("sessions.tick"), Some("sessions.tick_ms"));
        assert_eq!(like("completely.different"), None);
    }
}
