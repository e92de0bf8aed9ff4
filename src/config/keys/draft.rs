//! The configuration while its settings are read.

use crate::config::{ClientAuth, Config, StoreFormat, TlsVersions};
use crate::model::ensemble::ServerRole;
use std::path::PathBuf;

/// A configuration that is being read. Values that are checked together with others stay here until `load` checks them.
#[derive(Default)]
pub struct Draft {
    pub config: Config,
    pub client_port: Option<u16>,
    pub client_address: Option<String>,
    pub secure_port: Option<u16>,
    pub secure_address: Option<String>,
    /// `network.listen`: host and port together.
    pub listen: Option<String>,
    /// `network.secure_listen`: host and port together.
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
    /// Values that are accepted and change nothing: unknown cipher suites, and authentication providers in Java. The
    /// warning names them.
    pub unused: Vec<String>,
}

/// `admin.*`
#[derive(Default)]
pub struct DraftAdmin {
    /// `admin.enableServer`. If it is false, the other fields do not count.
    pub enabled: bool,
    pub address: Option<String>,
    pub port: Option<u16>,
}

/// TLS between members.
#[derive(Default)]
pub struct DraftPeerTls {
    /// `sslQuorum`. If it is false, the other fields do not count.
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

/// A key store or a trust store.
#[derive(Default)]
pub struct DraftStore {
    pub path: Option<PathBuf>,
    pub format: Option<StoreFormat>,
    pub password: Option<String>,
    pub password_path: Option<PathBuf>,
}
