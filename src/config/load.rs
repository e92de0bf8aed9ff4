//! From command line, properties and file to one [`Config`], and every check that looks at more than one key.

use super::keys::{self, Draft, DraftPeerTls, DraftStore, Effect, Key};
use super::{
    ClientAuth, Config, DATA_DIR, FourLetterWords, PeerTls, Sasl, Secret, Store, StoreFormat, Tls, TlsVersions, jaas,
    properties, toml_file,
};
use crate::limits;
use crate::model::ensemble::{self, ClientAddress, PeerAddress, SERVER_IDS};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `-D key=value`, in order
    pub properties: Vec<String>,
    /// `--plugins`
    pub plugins: Option<bool>,
    /// `--found-without`
    pub found_without: Vec<u32>,
}

/// Why the configuration is refused: a full sentence with the way out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    pub place: Place,
    pub what: String,
}

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// An option of the command line, as it was written.
    CommandLine(String),
    File(PathBuf),
    /// Lines are counted from 1.
    Line(PathBuf, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::CommandLine(option) => write!(f, "{option}"),
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Line(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

struct Setting {
    place: Place,
    /// As it was written.
    name: String,
    key: &'static Key,
    value: String,
}

/// Reads what the sources name and returns a configuration that holds together. Touches files, and the resolver where an
/// address is a name.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let mut settings = Settings::default();
    for property in &sources.properties {
        settings.property(property)?;
    }
    match &sources.file {
        Some(path) if is_toml(path) => settings.toml(path)?,
        Some(path) => settings.zoo_cfg(path)?,
        None => (),
    }
    let mut draft = Draft::default();
    let mut places = BTreeMap::new();
    settings.apply(&mut draft, &mut places)?;
    if let Some(path) = draft.dynamic_file.take() {
        if let Some(place) = places.get("server.*").filter(|_| !draft.config.ensemble.servers.is_empty()) {
            let what =
                format!("with `dynamicConfigFile` the servers are listed in {} only; move the line", path.display());
            return Err(ConfigError { place: place.clone(), what });
        }
        let mut dynamic = Settings::default();
        dynamic.zoo_cfg(&path)?;
        dynamic.apply(&mut draft, &mut places)?;
        settings.unused.append(&mut dynamic.unused);
    }
    let place = match &sources.file {
        Some(path) => Place::File(path.clone()),
        None => Place::CommandLine("command line".to_owned()),
    };
    let finish = Finish { sources, places, place, zoo_cfg: sources.file.as_deref().is_some_and(|path| !is_toml(path)) };
    finish.config(draft, settings.unused)
}

#[derive(Default)]
struct Settings {
    settings: Vec<Setting>,
    /// Names of what was accepted and does nothing.
    unused: Vec<String>,
}

impl Settings {
    fn property(&mut self, property: &str) -> Result<(), ConfigError> {
        // A JVM takes -Dname without a value as the empty text.
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        let place = Place::CommandLine(format!("-D {name}"));
        match keys::by_name(name) {
            Some(key) => self.add(place, name, key, value.trim())?,
            None if name.starts_with("zookeeper.") => self.unused.push(format!("-D {name}")),
            // Properties of the JVM and of logging libraries come along when a start script is reused.
            None => (),
        }
        Ok(())
    }

    fn zoo_cfg(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read(path)?;
        let lines = properties::parse(&text).map_err(|bad| ConfigError {
            place: Place::Line(path.to_owned(), bad.line),
            what: "`\\u` must be followed by four hexadecimal digits of a character; write `\\\\` for a backslash"
                .into(),
        })?;
        for line in lines {
            let place = Place::Line(path.to_owned(), line.line);
            match keys::by_name(&line.key) {
                Some(key) => self.add(place, &line.key, key, &line.value)?,
                None => self.unused.push(line.key),
            }
        }
        Ok(())
    }

    fn toml(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read(path)?;
        let entries = toml_file::parse(&text)
            .map_err(|refused| ConfigError { place: Place::Line(path.to_owned(), refused.line), what: refused.what })?;
        for entry in entries {
            self.add(Place::Line(path.to_owned(), entry.line), &entry.name, entry.key, &entry.value)?;
        }
        Ok(())
    }

    /// The same setting twice is fine if both say the same.
    fn add(&mut self, place: Place, name: &str, key: &'static Key, value: &str) -> Result<(), ConfigError> {
        let same =
            |other: &&Setting| std::ptr::eq(other.key, key) && (!is_family(key) || plain(&other.name) == plain(name));
        if let Some(other) = self.settings.iter().find(same) {
            if other.value != value {
                let what =
                    format!("`{name}` is set to another value at {} already; remove one of the two", other.place);
                return Err(ConfigError { place, what });
            }
            return Ok(());
        }
        self.settings.push(Setting { place, name: name.to_owned(), key, value: value.to_owned() });
        Ok(())
    }

    fn apply(&mut self, draft: &mut Draft, places: &mut BTreeMap<&'static str, Place>) -> Result<(), ConfigError> {
        for setting in self.settings.drain(..) {
            match setting.key.effect {
                Effect::Set(set) => {
                    // An empty value is none, in ZooKeeper too: `clientPortAddress=` in a template.
                    if setting.value.is_empty() {
                        continue;
                    }
                    set(draft, plain(&setting.name), &setting.value).map_err(|why| ConfigError {
                        place: setting.place.clone(),
                        what: format!("`{}` {why}; it is `{}`", setting.name, shown(&setting)),
                    })?;
                    for name in [setting.key.name, setting.key.toml] {
                        places.insert(name, setting.place.clone());
                    }
                }
                Effect::Nothing => self.unused.push(setting.name),
                Effect::Silent => (),
            }
        }
        Ok(())
    }
}

fn is_family(key: &Key) -> bool {
    key.name.ends_with('*')
}

fn plain(name: &str) -> &str {
    name.strip_prefix("zookeeper.").unwrap_or(name)
}

/// The value for an error message, unless it is a secret.
fn shown(setting: &Setting) -> &str {
    let name = setting.name.to_ascii_lowercase();
    if name.contains("password") || name.contains("digest") { "(not shown)" } else { &setting.value }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let refused = |what: String| ConfigError { place: Place::File(path.to_owned()), what };
    let size = std::fs::metadata(path).map_err(|error| refused(format!("cannot be read: {error}")))?.len();
    if size > limits::CONFIG_FILE_BYTES_MAX {
        return Err(refused(format!("has {size} bytes, more than a configuration can have; is it the right file?")));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError { place: Place::Line(path.to_owned(), line), what: "is not UTF-8; save the file as UTF-8".into() }
    })
}

/// The checks that need everything at once.
struct Finish<'a> {
    sources: &'a Sources,
    /// Where the settings were made, by either name.
    places: BTreeMap<&'static str, Place>,
    /// Where to point when no single line is to blame.
    place: Place,
    zoo_cfg: bool,
}

impl Finish<'_> {
    fn config(&self, mut draft: Draft, mut unused: Vec<String>) -> Result<Config, ConfigError> {
        let mut config = std::mem::take(&mut draft.config);
        config.file = self.sources.file.clone();
        self.storage(&mut config, &mut draft)?;
        self.servers(&mut config)?;
        self.server_id(&mut config, &draft)?;
        self.own_server(&mut config, &draft)?;
        self.network(&mut config, &draft)?;
        if draft.admin.enabled {
            let host = draft.admin.address.as_deref().unwrap_or("127.0.0.1");
            let port = draft.admin.port.unwrap_or(limits::ADMIN_PORT);
            config.admin = Some(self.resolve("admin.serverAddress", host, port)?);
        }
        self.sessions(&mut config, &draft)?;
        self.tls(&mut config, &mut draft)?;
        config.peer_tls = self.peer_tls(std::mem::take(&mut draft.peer_tls))?;
        self.auth(&mut config, &draft)?;
        if let Some(plugins) = self.sources.plugins {
            config.plugins = plugins;
        }
        if let (true, FourLetterWords::Only(words)) = (config.read_only_mode, &mut config.four_letter_words) {
            words.insert("isro".to_owned());
        }
        config.rules.deploy_by_anyone = config.loopback_only() && !config.has_superuser();
        unused.append(&mut draft.unused);
        if !unused.is_empty() {
            config.warnings.push(format!(
                "these settings have no effect here (docs/configuration.md says why): {}",
                unused.join(", ")
            ));
        }
        Ok(config)
    }

    fn refuse<T>(&self, key: &str, what: impl Into<String>) -> Result<T, ConfigError> {
        let place = self.places.get(key).unwrap_or(&self.place).clone();
        Err(ConfigError { place, what: what.into() })
    }

    fn storage(&self, config: &mut Config, draft: &mut Draft) -> Result<(), ConfigError> {
        match &self.sources.data_dir {
            Some(path) => config.storage.data_dir.clone_from(path),
            None if self.places.contains_key("dataDir") => (),
            None if self.zoo_cfg => {
                return self
                    .refuse("dataDir", "`dataDir` is not set; add the line `dataDir=FOLDER`, or use --data-dir");
            }
            None => config.storage.data_dir = PathBuf::from(DATA_DIR),
        }
        config.storage.log_dir = draft.log_dir.take().unwrap_or_else(|| config.storage.data_dir.clone());
        Ok(())
    }

    /// `myid`, as ZooKeeper reads it.
    fn server_id(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        if let Some(id) = draft.server_id {
            config.server_id = id;
            return Ok(());
        }
        let path = config.storage.data_dir.join("myid");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match config.ensemble.servers.as_slice() {
                [] => return Ok(()),
                [only] => {
                    config.server_id = only.id;
                    return Ok(());
                }
                servers => {
                    let what = format!(
                        "does not exist, and {} servers are listed: it must hold the number of this one, N of its \
                         `server.N`; write it: mkdir -p {} && echo N > {}",
                        servers.len(),
                        config.storage.data_dir.display(),
                        path.display()
                    );
                    return Err(ConfigError { place: Place::File(path), what });
                }
            },
            Err(error) => {
                let what = format!("cannot be read: {error}; it must hold this server's number, or not exist");
                return Err(ConfigError { place: Place::File(path), what });
            }
        };
        match text.trim().parse() {
            Ok(id) if SERVER_IDS.contains(&id) => config.server_id = id,
            _ => {
                let what =
                    format!("must hold this server's number, 1 to 254, and nothing else; it holds `{}`", text.trim());
                return Err(ConfigError { place: Place::Line(path, 1), what });
            }
        }
        Ok(())
    }

    /// The list of servers, as a whole.
    fn servers(&self, config: &mut Config) -> Result<(), ConfigError> {
        let servers = &mut config.ensemble.servers;
        servers.sort_by_key(|server| server.id);
        if let Some([one, _]) = servers.array_windows().find(|[one, next]| one.id == next.id) {
            let what = format!("server {} is listed twice; give every server a number of its own", one.id);
            return self.refuse("server.*", what);
        }
        if let Some(why) = ensemble::conflict(servers.iter()) {
            return self.refuse("server.*", format!("{why}; correct one of the lines"));
        }
        let participants = servers.iter().filter(|server| !server.is_observer()).count();
        if participants == 0 && !servers.is_empty() {
            let what = "all servers listed are observers, and nobody could elect a leader; leave at least one \
                        participant";
            return self.refuse("server.*", what);
        }
        if servers.len() > 1 && participants.is_multiple_of(2) {
            config.warnings.push(format!(
                "{participants} participants are listed, which outlive the loss of {} of them, as one participant less \
                 would; an odd number is better",
                participants / 2 - 1
            ));
        }
        Ok(())
    }

    /// This server among those listed, and where it listens for the others.
    fn own_server(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        for id in &self.sources.found_without {
            let listed = config.ensemble.servers.iter().any(|server| server.id == *id);
            if !listed || *id == config.server_id {
                return Err(ConfigError {
                    place: Place::CommandLine("--found-without".into()),
                    what: format!("{id} is not the number of another server that is listed as `server.{id}`"),
                });
            }
            config.ensemble.found_without.insert(*id);
        }
        if config.ensemble.servers.is_empty() {
            return Ok(());
        }
        let Some(own) = config.own_server().cloned() else {
            let listed: Vec<String> = config.ensemble.servers.iter().map(|server| server.id.to_string()).collect();
            let what = format!(
                "this server is number {} (from {}), which is not among the servers listed: {}; add its line, or correct \
                 the number",
                config.server_id,
                if draft.server_id.is_some() {
                    "`server_id`".into()
                } else {
                    format!("the file myid in {}", config.storage.data_dir.display())
                },
                listed.join(", ")
            );
            return self.refuse("server.*", what);
        };
        if let Some(role) = draft.peer_type.filter(|role| *role != own.role) {
            let warning =
                format!("`peerType` is {role}, and the line server.{} says {}: the line counts", own.id, own.role);
            config.warnings.push(warning);
        }
        for PeerAddress { host, peer_port, .. } in &own.addresses {
            let address = match (draft.listen_on_all, host.contains(':')) {
                (true, false) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, *peer_port)),
                (true, true) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, *peer_port)),
                (false, _) => resolve(host, *peer_port).or_else(|what| {
                    let hint = "correct the line, or set `quorumListenOnAllIPs=true` to listen on all addresses";
                    self.refuse("server.*", format!("this server's own line server.{} {what}; {hint}", own.id))
                })?,
            };
            if !config.ensemble.listen.contains(&address) {
                config.ensemble.listen.push(address);
            }
        }
        Ok(())
    }

    fn network(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        if draft.listen.is_some() && draft.client_port.is_some() {
            return self
                .refuse("network.listen", "`network.listen` and `clientPort` are both set; remove one of the two");
        }
        if draft.secure_listen.is_some() && draft.secure_port.is_some() {
            let what = "`network.secure_listen` and `secureClientPort` are both set; remove one of the two";
            return self.refuse("network.secure_listen", what);
        }
        let own = config.own_server();
        let of_line = own.and_then(|own| own.client.clone());
        let of_file = self.port_of("clientPort", draft.client_port, draft.client_address.as_ref(), of_line)?;
        if of_file.is_none() && draft.client_address.is_some() {
            return self
                .refuse("clientPortAddress", "`clientPortAddress` is set without `clientPort`; add `clientPort`");
        }
        let of_line = own.and_then(|own| own.secure_client.clone());
        let secure = self.port_of("secureClientPort", draft.secure_port, draft.secure_address.as_ref(), of_line)?;
        if secure.is_none() && draft.secure_address.is_some() {
            let what = "`secureClientPortAddress` is set without `secureClientPort`; add `secureClientPort`";
            return self.refuse("secureClientPortAddress", what);
        }
        config.network.secure = match (&draft.secure_listen, secure) {
            (Some(listen), _) => Some(self.address("network.secure_listen", listen)?),
            (None, Some((host, port))) => Some(self.resolve("secureClientPortAddress", &host, port)?),
            (None, None) => None,
        };
        config.network.client = match (&self.sources.listen, &draft.listen, of_file) {
            (Some(listen), _, _) => Some(
                parse_address(listen)
                    .map_err(|what| ConfigError { place: Place::CommandLine("--listen".into()), what })?,
            ),
            (None, Some(listen), _) => Some(self.address("network.listen", listen)?),
            (None, None, Some((host, port))) => Some(self.resolve("clientPortAddress", &host, port)?),
            (None, None, None) if config.network.secure.is_some() => None,
            (None, None, None) if self.zoo_cfg => {
                return self.refuse("clientPort", "no port to listen on; add the line `clientPort=2181`");
            }
            (None, None, None) => config.network.client,
        };
        let overlap = |one: SocketAddr, other: SocketAddr| {
            let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && (one.ip() == other.ip() || everywhere)
        };
        if let (Some(client), Some(secure)) = (config.network.client, config.network.secure)
            && overlap(client, secure)
        {
            let key = if draft.secure_listen.is_some() { "network.secure_listen" } else { "secureClientPort" };
            return self.refuse(key, format!("port {} is used twice; give TLS a port of its own", client.port()));
        }
        for clients in [config.network.client, config.network.secure].into_iter().flatten() {
            if let Some(peers) = config.ensemble.listen.iter().find(|peers| overlap(clients, **peers)) {
                let what = format!(
                    "port {} is this server's for clients and for its peers; give each a port of its own",
                    peers.port()
                );
                return self.refuse("server.*", what);
            }
        }
        Ok(())
    }

    /// Host and port for clients, from the key with `name` and from this server's own line.
    fn port_of(
        &self,
        name: &str,
        port: Option<u16>,
        host: Option<&String>,
        of_line: Option<ClientAddress>,
    ) -> Result<Option<(String, u16)>, ConfigError> {
        let anywhere = || host.cloned().unwrap_or_else(|| ANYWHERE.to_owned());
        match (port, of_line) {
            (Some(port), Some(line)) if port != line.port => {
                let what = format!(
                    "`{name}` is {port}, this server's own `server.N` line says {}; remove one of the two",
                    line.port
                );
                self.refuse(name, what)
            }
            (_, Some(line)) => Ok(Some((line.host.unwrap_or_else(anywhere), line.port))),
            (Some(port), None) => Ok(Some((anywhere(), port))),
            (None, None) => Ok(None),
        }
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        parse_address(text).or_else(|what| self.refuse(key, format!("`{key}` {what}")))
    }

    fn resolve(&self, key: &str, host: &str, port: u16) -> Result<SocketAddr, ConfigError> {
        resolve(host, port).or_else(|what| self.refuse(key, format!("`{key}` {what}")))
    }

    fn sessions(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        let sessions = &mut config.sessions;
        let ticks = |count: i32| i32::try_from(sessions.tick_ms).unwrap_or(i32::MAX).saturating_mul(count);
        sessions.timeout_ms_min = draft.timeout_ms_min.unwrap_or(ticks(limits::SESSION_TIMEOUT_TICKS_MIN));
        sessions.timeout_ms_max = draft.timeout_ms_max.unwrap_or(ticks(limits::SESSION_TIMEOUT_TICKS_MAX));
        if sessions.timeout_ms_min > sessions.timeout_ms_max {
            let (min, max) = (sessions.timeout_ms_min, sessions.timeout_ms_max);
            let key = if draft.timeout_ms_min.is_some() { "minSessionTimeout" } else { "maxSessionTimeout" };
            return self.refuse(
                key,
                format!(
                    "minSessionTimeout ({min} ms) is above maxSessionTimeout ({max} ms); unset ones are 2 and 20 ticks"
                ),
            );
        }
        Ok(())
    }

    fn tls(&self, config: &mut Config, draft: &mut Draft) -> Result<(), ConfigError> {
        if config.network.secure.is_none() && !draft.unify_ports {
            return Ok(());
        }
        let asks = if draft.unify_ports { "client.portUnification" } else { "secureClientPort" };
        let key_store = store(std::mem::take(&mut draft.key_store), "ssl.keyStore")
            .or_else(|what| self.refuse("ssl.keyStore.location", what))?;
        let Some(key_store) = key_store else {
            let what = format!("`{asks}` needs a certificate; set `ssl.keyStore.location` to a PEM or PKCS#12 file");
            return self.refuse(asks, what);
        };
        let trust_store = store(std::mem::take(&mut draft.trust_store), "ssl.trustStore")
            .or_else(|what| self.refuse("ssl.trustStore.location", what))?;
        let client_auth = draft.client_auth.unwrap_or(ClientAuth::Need);
        if trust_store.is_none() && client_auth != ClientAuth::None {
            return self.refuse(
                asks,
                "client certificates are asked for, and `ssl.trustStore.location` does not say whose to trust; set it, or \
                 `ssl.clientAuth=none`",
            );
        }
        let both = TlsVersions { v1_2: true, v1_3: true };
        config.network.tls_on_client_port = draft.unify_ports;
        config.rules.x509_scheme_enabled = true;
        config.tls = Some(Tls {
            key_store,
            trust_store,
            client_auth,
            versions: draft.enabled_protocols.or(draft.protocol).unwrap_or(both),
            cipher_suites: std::mem::take(&mut draft.cipher_suites),
            reload: draft.reload,
            handshake_timeout_ms: draft.handshake_timeout_ms.unwrap_or(limits::TLS_HANDSHAKE_TIMEOUT_MS),
            handshakes_max: draft.handshakes_max.unwrap_or(limits::TLS_HANDSHAKES_MAX),
        });
        Ok(())
    }

    fn peer_tls(&self, draft: DraftPeerTls) -> Result<Option<PeerTls>, ConfigError> {
        if !draft.wanted {
            return Ok(None);
        }
        let store = |draft: DraftStore, name: &str, holds: &str| {
            let location = format!("{name}.location");
            match store(draft, name).or_else(|what| self.refuse(&location, what))? {
                Some(store) => Ok(store),
                None => self.refuse("sslQuorum", format!("`sslQuorum` needs {holds}; set `{location}`")),
            }
        };
        Ok(Some(PeerTls {
            key_store: store(draft.key_store, "ssl.quorum.keyStore", "this member's key and certificate")?,
            trust_store: store(draft.trust_store, "ssl.quorum.trustStore", "the CAs of the members' certificates")?,
            client_auth: draft.client_auth.unwrap_or(ClientAuth::Need),
            verify_names: draft.verify_names.unwrap_or(true),
            versions: draft.enabled_protocols.or(draft.protocol).unwrap_or(TlsVersions { v1_2: true, v1_3: true }),
            cipher_suites: draft.cipher_suites,
            reload: draft.reload,
        }))
    }

    fn auth(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        config.rules.sasl_scheme_enabled = draft.sasl_provider;
        if let Some(path) = &draft.login_config {
            let section = draft.login_section.as_deref().unwrap_or("Server");
            let users = jaas::users(&read(path)?, section)
                .map_err(|error| ConfigError { place: Place::Line(path.clone(), error.line), what: error.what })?;
            config.auth.sasl = users.map(|mut users| {
                users.extend(draft.sasl_super_password.clone().map(|password| ("super".to_owned(), password)));
                Sasl { users }
            });
        }
        if config.auth.require_sasl && config.auth.sasl.is_none() {
            let what = "`sessionRequireClientSASLAuth` is true and no SASL user exists; set \
                        `java.security.auth.login.config` to a JAAS file with the section Server";
            return self.refuse("sessionRequireClientSASLAuth", what);
        }
        if !draft.enforce_auth {
            config.auth.enforce_schemes.clear();
        } else if config.auth.enforce_schemes.is_empty() {
            let what = "`enforce.auth.enabled` is true and `enforce.auth.schemes` is empty; name the schemes";
            return self.refuse("enforce.auth.enabled", what);
        }
        for scheme in &config.auth.enforce_schemes {
            let exists = match scheme.as_str() {
                "ip" => true,
                "digest" => config.auth.digest_enabled,
                "x509" => config.tls.is_some(),
                "sasl" => config.auth.sasl.is_some(),
                _ => false,
            };
            if !exists {
                let what =
                    format!("`enforce.auth.schemes` names `{scheme}`, which no client could prove here; remove it");
                return self.refuse("enforce.auth.schemes", what);
            }
        }
        Ok(())
    }
}

/// Where ZooKeeper listens when no address is given.
const ANYWHERE: &str = "0.0.0.0";

/// `host:port` or `[v6]:port`; a bare port listens on this machine only.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let form = || format!("must have the form host:port, such as 127.0.0.1:2181; it is `{text}`");
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(form()) } else { Ok(address) };
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    match port.parse() {
        Ok(port @ 1..) if !host.is_empty() => resolve(host, port),
        _ => Err(form()),
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = host.trim_matches(['[', ']']);
    let mut found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("names the host `{host}`, which has no address: {error}"))?
        .collect();
    // IPv4 first: what `localhost` means to most clients.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("names the host `{host}`, which has no address"))
}

/// None: no location was given.
fn store(draft: DraftStore, name: &str) -> Result<Option<Store>, String> {
    let Some(path) = draft.path else { return Ok(None) };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let format = match (draft.format, extension.as_str()) {
        (Some(format), _) => format,
        (None, "pem" | "crt" | "cer") => StoreFormat::Pem,
        (None, "p12" | "pfx" | "pkcs12") => StoreFormat::Pkcs12,
        (None, "jks" | "bcfks") => {
            return Err(format!(
                "`{name}.location` is a Java key store; convert it: keytool -importkeystore -srckeystore {} -destkeystore \
                 {} -deststoretype PKCS12",
                path.display(),
                path.with_extension("p12").display()
            ));
        }
        (None, _) => {
            return Err(format!("`{name}.location` ends in neither .pem nor .p12; set `{name}.type` to PEM or PKCS12"));
        }
    };
    let password = match (draft.password, draft.password_path) {
        (Some(_), Some(_)) => {
            return Err(format!("`{name}.password` and `{name}.passwordPath` are both set; remove one of the two"));
        }
        (Some(password), None) => password,
        (None, Some(file)) => std::fs::read_to_string(&file)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| format!("`{name}.passwordPath`: {} cannot be read: {error}", file.display()))?,
        (None, None) => String::new(),
    };
    Ok(Some(Store { path, format, password: Secret(password) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DigestAlgorithm;
    use crate::model::ensemble::Server;
    use std::collections::BTreeSet;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().unwrap())
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn load(&self, name: &str, text: &str, properties: &[&str]) -> Result<Config, String> {
            let sources = Sources {
                file: Some(self.file(name, text)),
                properties: properties.iter().map(|property| (*property).to_owned()).collect(),
                ..Sources::default()
            };
            // Without the folder, so that texts can be compared.
            load(&sources).map_err(|error| error.to_string().replace(&format!("{}/", self.0.path().display()), ""))
        }
    }

    fn zoo_cfg(text: &str) -> Result<Config, String> {
        Folder::new().load("zoo.cfg", text, &[])
    }

    fn own(text: &str) -> Result<Config, String> {
        Folder::new().load("own.toml", text, &[])
    }

    fn refused(result: Result<Config, String>, with: &[&str]) {
        match result {
            Ok(_) => panic!("accepted; expected {with:?}"),
            Err(text) => with.iter().for_each(|part| assert!(text.contains(part), "{text:?} lacks {part:?}")),
        }
    }

    #[test]
    fn without_anything_it_is_local() {
        let config = load(&Sources::default()).unwrap();
        assert_eq!(config.network.client, Some("127.0.0.1:2181".parse().unwrap()));
        assert_eq!(config.storage.data_dir, PathBuf::from("wasmkeeper-data"));
        assert!(config.rules.deploy_by_anyone && config.plugins && config.warnings.is_empty());
        assert_eq!((config.sessions.timeout_ms_min, config.sessions.timeout_ms_max), (6_000, 60_000));
    }

    /// What kazoo's test suite starts its servers with (its template, its properties).
    #[test]
    fn the_configuration_of_kazoos_suite() {
        let folder = Folder::new();
        let data = folder.0.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("myid"), "3").unwrap();
        let jaas = folder.file("jaas.conf", "");
        let text = format!(
            "\ntickTime=2000\ndataDir={}\nclientPort=20000\nsecureClientPort=20004\nmaxClientCnxns=0\n\
             admin.serverPort=20003\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
             ssl.keyStore.location=/x/keystore.pem\nssl.trustStore.location=/x/truststore.pem\n\
             4lw.commands.whitelist=*\nreconfigEnabled=true\nlocalSessionsEnabled=false\n\
             localSessionsUpgradingEnabled=false\n",
            data.display()
        );
        let login = format!("java.security.auth.login.config={}", jaas.display());
        let properties = [
            "file.encoding=UTF-8",
            "readonlymode.enabled=true",
            "zookeeper.log.dir=/x/log",
            "zookeeper.root.logger=INFO,CONSOLE",
            "log4j.configuration=file:/x/log4j.properties",
            "java.awt.headless=true",
            &login,
            "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        ];
        let config = folder.load("zoo.cfg", &text, &properties).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.server_id, 3);
        assert_eq!(config.network.client, Some("0.0.0.0:20000".parse().unwrap()));
        assert_eq!(config.network.secure, Some("0.0.0.0:20004".parse().unwrap()));
        assert_eq!(config.network.connections_per_address_max, 0);
        assert_eq!((config.sessions.timeout_ms_min, config.sessions.timeout_ms_max), (4_000, 40_000));
        assert_eq!(config.four_letter_words, FourLetterWords::All);
        assert!(config.rules.reconfig && config.rules.sasl_scheme_enabled && config.rules.x509_scheme_enabled);
        assert!(!config.rules.deploy_by_anyone && config.read_only_mode && config.auth.sasl.is_none());
        let tls = config.tls.unwrap();
        assert_eq!((tls.key_store.format, tls.client_auth), (StoreFormat::Pem, ClientAuth::Need));
        let super_digest = DigestAlgorithm::Sha1.identity("super:test");
        assert_eq!(config.auth.super_digest, Some(super_digest));
    }

    #[test]
    fn what_means_nothing_here_is_one_warning() {
        let config = zoo_cfg(
            "dataDir=d\nclientPort=1\nsnapCount=1\nautopurge.purgeInterval=24\nnoSuch=1\nauthProvider.7=com.Mine\n",
        )
        .unwrap();
        let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        for name in ["snapCount", "autopurge.purgeInterval", "noSuch", "authProvider.7=com.Mine"] {
            assert!(warning.contains(name), "{warning}");
        }
    }

    #[test]
    fn refusals_name_file_line_key_and_fix() {
        let base = "dataDir=d\nclientPort=2181\n";
        refused(zoo_cfg(&format!("{base}tickTime=2s")), &["zoo.cfg:3", "tickTime", "whole number", "2s"]);
        refused(zoo_cfg(&format!("{base}skipACL=perhaps")), &["zoo.cfg:3", "skipACL", "true or false"]);
        refused(zoo_cfg(&format!("{base}clientPort=2182")), &["zoo.cfg:3", "zoo.cfg:2", "remove one"]);
        refused(zoo_cfg(&format!("{base}k=\\u12")), &["zoo.cfg:3", "hexadecimal"]);
        refused(zoo_cfg("clientPort=2181"), &["zoo.cfg", "dataDir"]);
        refused(zoo_cfg("dataDir=d"), &["clientPort"]);
        refused(zoo_cfg(&format!("{base}secureClientPort=2182")), &["zoo.cfg:3", "ssl.keyStore.location"]);
        refused(zoo_cfg(&format!("{base}minSessionTimeout=90000")), &["zoo.cfg:3", "maxSessionTimeout"]);
        refused(zoo_cfg(&format!("{base}enforce.auth.enabled=true")), &["zoo.cfg:3", "enforce.auth.schemes"]);
        refused(
            zoo_cfg(&format!("{base}secureClientPort=2182\nssl.keyStore.location=/k.jks")),
            &["zoo.cfg:4", "keytool", "/k.p12"],
        );
        refused(own("[network]\nlisten = \"nowhere\""), &["own.toml:2", "network.listen", "host:port"]);
        refused(own("[sessions]\ntick_ms = 0"), &["own.toml:2", "sessions.tick_ms", "10 to"]);
        refused(own("[zookeeper]\nfoo = 1"), &["own.toml:2", "zookeeper.foo"]);
        refused(own("[auth]\nsuper_digest = \"x\""), &["own.toml:2", "not shown"]);
    }

    #[test]
    fn found_without_names_other_listed_servers() {
        let folder = Folder::new();
        let load = |found_without: Vec<u32>| {
            let data = folder.0.path().join("d");
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("myid"), "1").unwrap();
            let servers = "server.1=127.0.0.1:2:3\nserver.2=b:2:3\nserver.3=c:2:3";
            let file = Some(folder.file("zoo.cfg", &format!("dataDir={}\nclientPort=1\n{servers}\n", data.display())));
            load(&Sources { file, found_without, ..Sources::default() })
        };
        assert_eq!(load(vec![3]).unwrap().ensemble.found_without, BTreeSet::from([3]));
        for id in [1, 4] {
            let error = load(vec![id]).unwrap_err().to_string();
            assert!(error.contains("--found-without") && error.contains(&id.to_string()), "{error}");
        }
    }

    #[test]
    fn command_line_file_and_properties() {
        let folder = Folder::new();
        let same = folder.load("zoo.cfg", "dataDir=d\nclientPort=1\nskipACL=yes", &["zookeeper.skipACL=yes"]).unwrap();
        assert!(same.rules.skip_acl);
        let text = "dataDir=d\nclientPort=1\nskipACL=yes";
        refused(folder.load("zoo.cfg", text, &["zookeeper.skipACL=no"]), &["zoo.cfg:3", "-D zookeeper.skipACL"]);
        let sources = Sources {
            file: Some(folder.file("zoo.cfg", "dataDir=d\nclientPort=1\n")),
            data_dir: Some("elsewhere".into()),
            listen: Some("[::1]:99".into()),
            plugins: Some(false),
            ..Sources::default()
        };
        let config = load(&sources).unwrap();
        assert_eq!(config.network.client, Some("[::1]:99".parse().unwrap()));
        assert_eq!(config.storage.log_dir, PathBuf::from("elsewhere"));
        assert!(!config.plugins && config.rules.deploy_by_anyone);
    }

    #[test]
    fn our_own_format() {
        let config = own("four_letter_words = [\"ruok\"]\nserver_id = 7\n[network]\nlisten = \"127.0.0.1:5\"\n\
                          [sessions]\ntick_ms = 500\n[zookeeper]\n\"server.7\" = \"localhost:2888:3888\"\n")
        .unwrap();
        assert_eq!(config.network.client, Some("127.0.0.1:5".parse().unwrap()));
        assert_eq!((config.server_id, config.sessions.timeout_ms_max), (7, 10_000));
        assert!(config.four_letter_words.allows("ruok") && !config.four_letter_words.allows("srvr"));
        assert!(matches!(config.ensemble.servers.as_slice(), [Server { id: 7, .. }]));
    }

    #[test]
    fn the_examples_are_accepted() {
        for (name, warns) in [("wasmkeeper.toml", false), ("zoo.cfg", true)] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
            let config = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
            assert_eq!(!config.warnings.is_empty(), warns, "{name}: {:?}", config.warnings);
        }
        assert_eq!(DigestAlgorithm::Sha1.identity("super:secret"), super_digest_of_the_example());
    }

    /// Three servers, twice: they name the same members, each another of them as itself.
    #[test]
    fn the_examples_of_an_ensemble_are_accepted() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ensemble");
        let mut lists = Vec::new();
        for id in 1..=3 {
            let folder = Folder::new();
            folder.file("myid", &id.to_string());
            let toml = Sources { file: Some(examples.join(format!("{id}.toml"))), ..Sources::default() };
            let zoo_cfg = Sources {
                file: Some(examples.join(format!("zoo{id}.cfg"))),
                data_dir: Some(folder.0.path().to_owned()),
                ..Sources::default()
            };
            for sources in [toml, zoo_cfg] {
                let config = load(&sources).unwrap();
                assert_eq!((config.server_id, config.warnings.len()), (id, 0), "{:?}", config.warnings);
                assert_eq!(config.network.client.map(|address| address.port()), Some(2180 + id as u16));
                lists.push(config.ensemble.servers);
            }
        }
        assert!(lists.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// What the example's comment promises.
    fn super_digest_of_the_example() -> String {
        let example = include_str!("../../examples/wasmkeeper.toml");
        let line = example.lines().find_map(|line| line.strip_prefix("super_digest = ")).unwrap();
        line.trim_matches('"').to_owned()
    }

    #[test]
    fn tls_between_members() {
        let base = "dataDir=d\nclientPort=2181\n";
        let stores = "ssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.p12\n";
        assert_eq!(zoo_cfg(&format!("{base}{stores}")).unwrap().peer_tls, None);
        let tls = zoo_cfg(&format!("{base}sslQuorum=true\n{stores}")).unwrap().peer_tls.unwrap();
        assert!(tls.verify_names && tls.client_auth == ClientAuth::Need && tls.versions.v1_2 && tls.versions.v1_3);
        assert!(!tls.reload);
        assert_eq!((tls.key_store.format, tls.trust_store.format), (StoreFormat::Pem, StoreFormat::Pkcs12));
        let changed = "ssl.quorum.hostnameVerification=false\nssl.quorum.enabledProtocols=TLSv1.3\n\
                       sslQuorumReloadCertFiles=true\n";
        let tls = zoo_cfg(&format!("{base}sslQuorum=true\n{stores}{changed}")).unwrap().peer_tls.unwrap();
        assert!(!tls.verify_names && !tls.versions.v1_2 && tls.reload);
        let no_trust = "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\n";
        refused(zoo_cfg(&format!("{base}{no_trust}")), &["zoo.cfg:3", "ssl.quorum.trustStore.location"]);
        let java = "sslQuorum=true\nssl.quorum.keyStore.location=/k.jks\n";
        refused(zoo_cfg(&format!("{base}{java}")), &["zoo.cfg:4", "keytool", "/k.p12"]);
    }

    #[test]
    fn members_in_a_file_of_their_own() {
        let folder = Folder::new();
        let dynamic =
            folder.file("zoo.cfg.dynamic", "server.1=localhost:2888:3888:participant;127.0.0.1:4\nversion=100\n");
        let text = format!("dataDir=d\ndynamicConfigFile={}\n", dynamic.display());
        let config = folder.load("zoo.cfg", &text, &[]).unwrap();
        assert_eq!(config.network.client, Some("127.0.0.1:4".parse().unwrap()));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    const THREE: &str = "server.1=127.0.0.1:11:12;21\nserver.2=127.0.0.2:11:12;22\nserver.3=zk3:11:12:observer;23\n\
                         server.10=zk10:11:12\n";

    impl Folder {
        /// With `myid` in a data directory, whose line this adds.
        fn member(&self, myid: &str, text: &str) -> Result<Config, String> {
            let data = self.0.path().join("data");
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("myid"), myid).unwrap();
            self.load("zoo.cfg", &format!("dataDir={}\n{text}", data.display()), &[])
        }
    }

    #[test]
    fn an_ensemble() {
        let folder = Folder::new();
        let text = format!("initLimit=7\nsyncLimit=3\nelectionAlg=3\npeerType=participant\n{THREE}");
        let config = folder.member("2\n", &text).unwrap();
        assert_eq!(config.server_id, 2);
        let ids: Vec<u32> = config.ensemble.servers.iter().map(|server| server.id).collect();
        assert_eq!(ids, [1, 2, 3, 10]);
        assert_eq!(config.ensemble.listen, ["127.0.0.2:11".parse().unwrap()]);
        assert_eq!(config.network.client, Some("0.0.0.0:22".parse().unwrap()));
        assert_eq!((config.ensemble.init_ticks, config.ensemble.sync_ticks), (7, 3));
        assert!(!config.stands_alone() && !config.rules.deploy_by_anyone && config.warnings.is_empty());

        let everywhere = folder.member("2", &format!("quorumListenOnAllIPs=true\n{THREE}")).unwrap();
        assert_eq!(everywhere.ensemble.listen, ["0.0.0.0:11".parse().unwrap()]);
        // An own name that cannot be resolved is no obstacle then; names of others never are.
        let named = folder.member("10", &format!("quorumListenOnAllIPs=true\nclientPort=9\n{THREE}")).unwrap();
        assert_eq!(named.network.client, Some("0.0.0.0:9".parse().unwrap()));
        let observer =
            folder.member("3", &format!("quorumListenOnAllIPs=true\npeerType=participant\n{THREE}")).unwrap();
        assert!(observer.warnings.iter().any(|it| it.contains("peerType") && it.contains("the line counts")));
        let text = "server.1=127.0.0.1:1:2|[::1]:3:4;5;6\nserver.2=b:1:2\nleaderServes=no\n\
                    client.portUnification=false\nssl.keyStore.location=/k.pem\nssl.clientAuth=none";
        let two = folder.member("1", text).unwrap();
        assert_eq!(two.ensemble.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:3".parse().unwrap()]);
        assert_eq!(two.network.secure, Some("0.0.0.0:6".parse().unwrap()));
        for part in ["2 participants", "loss of 0", "leaderServes=no"] {
            assert!(two.warnings.iter().any(|it| it.contains(part)), "{part}: {:?}", two.warnings);
        }
    }

    #[test]
    fn a_server_that_is_listed_alone() {
        let one = zoo_cfg("dataDir=d\nserver.4=127.0.0.1:1:2;3\n").unwrap();
        assert_eq!((one.server_id, one.stands_alone()), (4, true));
        assert_eq!(one.ensemble.listen, ["127.0.0.1:1".parse().unwrap()]);
        assert!(!zoo_cfg("dataDir=d\nserver.4=127.0.0.1:1:2;3\nstandaloneEnabled=false").unwrap().stands_alone());
    }

    #[test]
    fn an_ensemble_in_our_own_format() {
        let text = "server_id = 2\n[network]\nlisten = \"127.0.0.1:5\"\n[ensemble]\ninit_ticks = 4\n\
                    listen_on_all_addresses = true\n[ensemble.servers]\n1 = \"a:1:2;3\"\n2 = \"b:1:2\"\n3 = \"c:1:2:observer\"\n";
        let config = own(text).unwrap();
        assert_eq!(config.own_server().map(ToString::to_string).as_deref(), Some("b:1:2:participant"));
        assert_eq!((config.ensemble.servers.len(), config.ensemble.init_ticks), (3, 4));
        refused(own(&text.replace("1 = \"a", "one = \"a")), &["own.toml:8", "N from 1 to 254"]);
        refused(own(&text.replace("b:1:2", "b:1")), &["own.toml:9", "the election port"]);
        refused(own(&text.replace("server_id = 2", "")), &["wasmkeeper-data/myid", "echo N >"]);
        refused(own(&format!("{text}[zookeeper]\n\"server.3\" = \"d:1:2\"\n")), &["server 3 is listed twice"]);
    }

    #[test]
    fn an_ensemble_that_cannot_be_is_refused() {
        let folder = Folder::new();
        let member = |myid: &str, text: &str| folder.member(myid, text);
        refused(zoo_cfg(&format!("dataDir=d\n{THREE}")), &["d/myid", "does not exist", "4 servers", "echo N > d/myid"]);
        refused(member("7", THREE), &["zoo.cfg:5", "number 7", "myid", "1, 2, 3, 10"]);
        refused(member("255", THREE), &["data/myid:1", "1 to 254", "255"]);
        refused(member("1", "server.1=127.0.0.1\nserver.2=b:1:2"), &["zoo.cfg:2", "no port"]);
        refused(member("1", "server.1=a:1:2:observer\nserver.2=b:1:2:observer"), &["zoo.cfg:3", "observers"]);
        refused(member("1", "server.1=a:1:2\nserver.2=a:1:3"), &["zoo.cfg:3", "servers 1 and 2", "a:1"]);
        refused(member("1", "server.1=a:1:2\nserver.01=b:1:2"), &["zoo.cfg:3", "server 1 is listed twice"]);
        refused(member("1", "server.1=a:1:2\nserver.300=b:1:2"), &["zoo.cfg:3", "1 to 254"]);
        refused(member("1", "server.1=a:1:2\nserver.x=b:1:2"), &["zoo.cfg:3", "1 to 254"]);
        refused(
            member("1", "server.1=no-such-host.invalid:1:2;9\nserver.2=b:1:2"),
            &["no-such-host.invalid", "server.1", "quorumListenOnAllIPs"],
        );
        refused(member("1", "server.1=127.0.0.1:1:2\nclientPort=1\nserver.2=b:1:2"), &["port 1", "peers"]);
        refused(member("1", "server.1=127.0.0.1:1:2;3\nclientPort=4"), &["zoo.cfg:3", "clientPort", "says 3"]);
        refused(member("1", "server.1=127.0.0.1:1:2\nserver.2=b:1:2"), &["zoo.cfg", "clientPort"]);
        refused(member("1", "group.1=1:2"), &["zoo.cfg:2", "group.1", "hierarchical quorums are not supported"]);
        refused(member("1", "electionAlg=1"), &["zoo.cfg:2", "must be 3"]);
        refused(member("1", "peerType=king"), &["zoo.cfg:2", "participant or observer"]);
        let dynamic = folder.file("dynamic", "server.1=127.0.0.1:1:2;3\n");
        let text = format!("server.2=b:1:2\ndynamicConfigFile={}", dynamic.display());
        refused(member("1", &text), &["zoo.cfg:2", "dynamicConfigFile"]);
    }

    #[test]
    fn sasl_users_and_superusers() {
        let folder = Folder::new();
        let jaas = folder.file(
            "jaas.conf",
            "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_super=\"a\" user_bob=\"b\"; };",
        );
        let text = format!("dataDir=d\nclientPort=1\njava.security.auth.login.config={}\n", jaas.display());
        let properties = ["zookeeper.superUser=bob", "zookeeper.SASLAuthenticationProvider.superPassword=c"];
        let config = folder.load("zoo.cfg", &text, &properties).unwrap();
        let users = config.auth.sasl.clone().unwrap().users;
        assert_eq!(users.get("super").map(String::as_str), Some("c"));
        assert!(config.has_superuser() && config.auth.sasl_super_users.contains("bob"));
        assert!(!format!("{config:?}").contains("\"c\""), "passwords are not printed");
    }
}
