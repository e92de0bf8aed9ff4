//! The configuration while its settings are read.

use crate::config::{ClientAuth, Config, StoreFormat, TlsVersions};
use crate::model::ensemble::ServerRole;
use std::path::PathBuf;

/// A configuration that is being read. Values that are checked together with others stay here until `load` checks them.
#[derive(Default)]
pub struct Draft {
    pub(crate) config: Config,
    pub(crate) client_port: Option<u16>,
    pub(crate) client_address: Option<String>,
    pub(crate) secure_port: Option<u16>,
    pub(crate) secure_address: Option<String>,
    /// `network.listen`: host and port together.
    pub(crate) listen: Option<String>,
    /// `network.secure_listen`: host and port together.
    pub(crate) secure_listen: Option<String>,
    pub(crate) log_dir: Option<PathBuf>,
    pub(crate) server_id: Option<u32>,
    pub(crate) timeout_ms_min: Option<i32>,
    pub(crate) timeout_ms_max: Option<i32>,
    pub(crate) login_config: Option<PathBuf>,
    pub(crate) login_section: Option<String>,
    /// `SASLAuthenticationProvider.superPassword`: the password of the SASL user `super`.
    pub(crate) sasl_super_password: Option<String>,
    pub(crate) sasl_provider: bool,
    pub(crate) enforce_auth: bool,
    pub(crate) key_store: DraftStore,
    pub(crate) trust_store: DraftStore,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) protocol: Option<TlsVersions>,
    pub(crate) enabled_protocols: Option<TlsVersions>,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) reload: bool,
    pub(crate) handshake_timeout_ms: Option<u64>,
    pub(crate) handshakes_max: Option<usize>,
    pub(crate) unify_ports: bool,
    pub(crate) peer_tls: DraftPeerTls,
    pub(crate) dynamic_file: Option<PathBuf>,
    pub(crate) listen_on_all: bool,
    pub(crate) peer_type: Option<ServerRole>,
    pub(crate) admin: DraftAdmin,
    /// Values that are accepted and change nothing: unknown cipher suites, and authentication providers in Java. The
    /// warning names them.
    pub(crate) unused: Vec<String>,
}

/// `admin.*`
#[derive(Default)]
pub(crate) struct DraftAdmin {
    /// `admin.enableServer`. If it is false, the other fields do not count.
    pub(crate) enabled: bool,
    pub(crate) address: Option<String>,
    pub(crate) port: Option<u16>,
}

/// TLS between members.
#[derive(Default)]
pub struct DraftPeerTls {
    /// `sslQuorum`. If it is false, the other fields do not count.
    pub(crate) wanted: bool,
    pub(crate) key_store: DraftStore,
    pub(crate) trust_store: DraftStore,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) verify_names: Option<bool>,
    pub(crate) allowed_names: Vec<String>,
    pub(crate) protocol: Option<TlsVersions>,
    pub(crate) enabled_protocols: Option<TlsVersions>,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) reload: bool,
}

/// A key store or a trust store.
#[derive(Default)]
pub(crate) struct DraftStore {
    pub(crate) path: Option<PathBuf>,
    pub(crate) format: Option<StoreFormat>,
    pub(crate) password: Option<String>,
    pub(crate) password_path: Option<PathBuf>,
}
