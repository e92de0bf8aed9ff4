//! TLS towards clients: certificates, handshakes, and the subject of a client's certificate.
//!
//! Promises:
//! - A handshake ends within `ssl.handshakeDetectionTimeoutMillis`. The number of handshakes under way is bounded,
//!   since each costs a signature.
//! - Changed files are used for new connections without a restart (`client.certReload`). If a new file is broken, the
//!   old certificates stay in use.
//! - What goes wrong at the start is one sentence that names the file.

use crate::config::{ClientAuth, Store, Tls};
use crate::limits;
use crate::tls::{self, ClientCertificates, Look, TlsError};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;

/// Why a client got no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("too many TLS handshakes are under way")]
    Busy,
    #[error("the TLS handshake took too long")]
    Late,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Does TLS handshakes. A server has one.
pub struct Acceptor {
    settings: Tls,
    /// Guards the certificates in use and the look of their files. Nothing blocks while the lock is held.
    loaded: RwLock<Loaded>,
    handshakes: Semaphore,
}

struct Loaded {
    config: Arc<ServerConfig>,
    files: Look,
}

impl Acceptor {
    /// Reads the stores. Blocks on files.
    pub(crate) fn new(settings: &Tls) -> Result<Acceptor, TlsError> {
        let handshakes = match settings.handshakes_max {
            0 => Semaphore::MAX_PERMITS,
            some => some,
        };
        let files = tls::look(stores(settings));
        let loaded = RwLock::new(Loaded { config: Arc::new(server_config(settings)?), files });
        Ok(Acceptor { settings: settings.clone(), loaded, handshakes: Semaphore::new(handshakes) })
    }

    /// Does the handshake on a new connection.
    pub(crate) async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let _permit = self.handshakes.try_acquire().map_err(|_| AcceptError::Busy)?;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.loaded.read().config));
        let timeout = Duration::from_millis(self.settings.handshake_timeout_ms);
        match tokio::time::timeout(timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(AcceptError::Handshake(error)),
            Err(_) => Err(AcceptError::Late),
        }
    }

    /// Handshakes under way.
    pub(crate) fn handshakes(&self) -> usize {
        let all = if self.settings.handshakes_max == 0 { Semaphore::MAX_PERMITS } else { self.settings.handshakes_max };
        all.saturating_sub(self.handshakes.available_permits())
    }

    /// Uses new certificates if the files have changed since the last call. Returns whether they had. After an error
    /// the old certificates stay in use. A broken file is an error once, until it changes again. Blocks on files.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let files = tls::look(stores(&self.settings));
        if self.loaded.read().files == files {
            return Ok(false);
        }
        let config = server_config(&self.settings);
        let mut loaded = self.loaded.write();
        loaded.files = files;
        loaded.config = Arc::new(config?);
        Ok(true)
    }

    /// Reloads changed files every `limits::TLS_RELOAD_INTERVAL_S` seconds until the future is dropped. Returns at once
    /// if `client.certReload` is off.
    pub(crate) async fn watch_files(self: Arc<Self>) {
        if !self.settings.reload {
            return;
        }
        loop {
            tokio::time::sleep(Duration::from_secs(limits::TLS_RELOAD_INTERVAL_S)).await;
            let acceptor = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || acceptor.reload()).await {
                Ok(Ok(true)) => tracing::info!("new TLS certificates are in use"),
                Ok(Err(error)) => tracing::error!("the old TLS certificates stay in use: {error}"),
                Ok(Ok(false)) | Err(_) => (),
            }
        }
    }
}

/// The stores that `reload` looks at.
fn stores(settings: &Tls) -> impl Iterator<Item = &Store> {
    std::iter::once(&settings.key_store).chain(&settings.trust_store)
}

/// The configuration of rustls for these settings. Blocks on files.
fn server_config(settings: &Tls) -> Result<ServerConfig, TlsError> {
    let provider = tls::provider(&settings.cipher_suites);
    let refused = |what: String| TlsError { path: settings.key_store.path.clone(), what };
    let key = tls::certified_key(&settings.key_store, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&tls::versions(settings.versions))
        .map_err(|error| refused(format!("`ssl.ciphersuites` has none for the protocols that are enabled: {error}")))?;
    let builder = match (&settings.trust_store, settings.client_auth) {
        (Some(store), ClientAuth::Want | ClientAuth::Need) => builder
            .with_client_cert_verifier(Arc::new(ClientCertificates::new(store, settings.client_auth, &provider)?)),
        (_, ClientAuth::None) => builder.with_no_client_auth(),
        (None, _) => return Err(refused("client certificates are asked for, but there is no trust store".into())),
    };
    Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))))
}

/// The subject of the client's certificate, as ACLs of the scheme x509 name it. None: the client showed no certificate.
pub(crate) fn peer_subject<S>(stream: &TlsStream<S>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().and_then(|chain| chain.first()).and_then(|certificate| tls::subject(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, StoreFormat, TlsVersions};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
    use std::path::Path;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const OLD_CA: &str = include_str!("../../tests/data/tls/ca.pem");
    /// The certificate of a client of that CA, X.509 version 1, with its key.
    const OLD_CLIENT: &str = include_str!("../../tests/data/tls/version-1.pem");

    struct Ca {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Ca {
        fn new(name: &str) -> Ca {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            Ca { pem, issuer: Issuer::new(params, key) }
        }

        /// Key and certificate in one PEM text.
        fn sign(&self, name: &str) -> String {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Wasm, Inc");
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            key.serialize_pem() + &certificate.pem()
        }
    }

    fn pem_store(folder: &Path, name: &str, text: &str) -> Store {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        Store { path, format: StoreFormat::Pem, password: Secret::default() }
    }

    fn settings(key_store: Store, trust_store: Option<Store>, client_auth: ClientAuth) -> Tls {
        Tls {
            key_store,
            trust_store,
            client_auth,
            versions: TlsVersions { v1_2: true, v1_3: true },
            cipher_suites: Vec::new(),
            reload: false,
            handshake_timeout_ms: 60_000,
            handshakes_max: 0,
        }
    }

    /// One connection over a pipe: what the server saw of the client, or why not.
    async fn connect(
        acceptor: &Acceptor,
        ca: &str,
        client: Option<&str>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Result<(Option<String>, ProtocolVersion), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        let client = async {
            // In TLS 1.3 the client is through before the server has judged it: only a byte from there tells.
            let mut stream = connector.connect(name, near).await.map_err(|error| error.to_string())?;
            stream.read_u8().await.map_err(|error| error.to_string())
        };
        let server = async {
            let mut stream = acceptor.accept(far).await.map_err(|error| error.to_string())?;
            stream.write_u8(7).await.map_err(|error| error.to_string())?;
            stream.flush().await.map_err(|error| error.to_string())?;
            Ok((peer_subject(&stream), stream.get_ref().1.protocol_version().unwrap()))
        };
        let (server, client): (Result<_, String>, _) = tokio::join!(server, client);
        let seen = server?;
        assert_eq!(client, Ok(7));
        Ok(seen)
    }

    #[tokio::test]
    async fn client_certificates_need_want_none() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let key = pem_store(folder.path(), "key.pem", &ca.sign("server"));
        let trust = pem_store(folder.path(), "trust.pem", &ca.pem);
        let (good, bad) = (ca.sign("bob"), other.sign("eve"));
        let subject = Some("CN=bob,O=Wasm\\, Inc".to_owned());
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let need = Acceptor::new(&settings(key.clone(), Some(trust.clone()), ClientAuth::Need)).unwrap();
            let (seen, spoken) = connect(&need, &ca.pem, Some(&good), version).await.unwrap();
            assert_eq!((seen, spoken), (subject.clone(), version.version));
            assert!(connect(&need, &ca.pem, Some(&bad), version).await.is_err());
            assert!(connect(&need, &ca.pem, None, version).await.is_err());
            let want = Acceptor::new(&settings(key.clone(), Some(trust.clone()), ClientAuth::Want)).unwrap();
            assert_eq!(connect(&want, &ca.pem, None, version).await.unwrap().0, None);
            assert_eq!(connect(&want, &ca.pem, Some(&good), version).await.unwrap().0, subject);
            assert!(connect(&want, &ca.pem, Some(&bad), version).await.is_err());
            let none = Acceptor::new(&settings(key.clone(), None, ClientAuth::None)).unwrap();
            assert_eq!(connect(&none, &ca.pem, Some(&bad), version).await.unwrap().0, None);
        }
    }

    /// kazoo's test suite makes such certificates for its clients.
    #[tokio::test]
    async fn certificates_of_version_1() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let key = pem_store(folder.path(), "key.pem", &ca.sign("server"));
        let trust = pem_store(folder.path(), "trust.pem", OLD_CA);
        let acceptor = Acceptor::new(&settings(key.clone(), Some(trust), ClientAuth::Need)).unwrap();
        // A CA with the same name and another key: the signature decides.
        let false_trust = pem_store(folder.path(), "false.pem", &Ca::new("ca").pem);
        let stranger = Acceptor::new(&settings(key.clone(), Some(false_trust), ClientAuth::Need)).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (seen, _) = connect(&acceptor, &ca.pem, Some(OLD_CLIENT), version).await.unwrap();
            assert_eq!(seen.as_deref(), Some("CN=old client"));
            assert!(connect(&stranger, &ca.pem, Some(OLD_CLIENT), version).await.is_err());
        }
        let own = pem_store(folder.path(), "old.pem", OLD_CLIENT);
        assert!(Acceptor::new(&settings(own, None, ClientAuth::None)).is_ok(), "as the server's own");
    }

    #[tokio::test]
    async fn changed_files_are_used_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let key = pem_store(folder.path(), "key.pem", &ca.sign("server"));
        let acceptor = Acceptor::new(&settings(key, None, ClientAuth::None)).unwrap();
        let version = &rustls::version::TLS13;
        assert!(!acceptor.reload().unwrap());
        pem_store(folder.path(), "key.pem", "nothing");
        assert!(acceptor.reload().is_err());
        assert!(!acceptor.reload().unwrap(), "a broken file is an error once");
        assert!(connect(&acceptor, &ca.pem, None, version).await.is_ok());
        pem_store(folder.path(), "key.pem", &(other.sign("server") + "\n# new\n"));
        assert!(acceptor.reload().unwrap());
        assert!(connect(&acceptor, &ca.pem, None, version).await.is_err());
        assert!(connect(&acceptor, &other.pem, None, version).await.is_ok());
    }

    #[tokio::test]
    async fn pkcs12_stores() {
        use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKeyChain};
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let pem = ca.sign("server");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap() else {
            panic!("PKCS#8")
        };
        let store = |name: &str, entry: KeyStoreEntry| {
            let mut store = KeyStore::new();
            store.add_entry("one", entry);
            let path = folder.path().join(name);
            std::fs::write(&path, store.writer("apassword").write().unwrap()).unwrap();
            Store { path, format: StoreFormat::Pkcs12, password: Secret("apassword".into()) }
        };
        let chain = PrivateKeyChain::new(key.secret_pkcs8_der(), [1, 2], [Certificate::from_der(&der).unwrap()]);
        let key_store = store("key.p12", KeyStoreEntry::PrivateKeyChain(chain));
        let ca_der = CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap();
        let trust_store = store("trust.p12", KeyStoreEntry::Certificate(Certificate::from_der(&ca_der).unwrap()));
        let acceptor = Acceptor::new(&settings(key_store.clone(), Some(trust_store), ClientAuth::Need)).unwrap();
        let (seen, _) = connect(&acceptor, &ca.pem, Some(&ca.sign("bob")), &rustls::version::TLS13).await.unwrap();
        assert_eq!(seen.as_deref(), Some("CN=bob,O=Wasm\\, Inc"));
        let wrong = Store { password: Secret("other".into()), ..key_store };
        let error = Acceptor::new(&settings(wrong, None, ClientAuth::None)).err().unwrap().to_string();
        assert!(error.contains("key.p12") && error.contains("password"), "{error}");
    }

    #[test]
    fn stores_that_cannot_serve_are_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let refusal = |text: &str| {
            let store = pem_store(folder.path(), "key.pem", text);
            Acceptor::new(&settings(store, None, ClientAuth::None)).err().unwrap().to_string()
        };
        assert!(refusal("").contains("no private key"));
        assert!(refusal(&ca.pem).contains("no private key"));
        assert!(refusal(&KeyPair::generate().unwrap().serialize_pem()).contains("no certificate"));
        assert!(refusal("-----BEGIN ENCRYPTED PRIVATE KEY-----\n").contains("encrypted"));
        let swapped = KeyPair::generate().unwrap().serialize_pem() + &ca.pem;
        assert!(refusal(&swapped).contains("not the one of the first certificate"));
        let missing = Store { path: "/no/such.pem".into(), format: StoreFormat::Pem, password: Secret::default() };
        let error = Acceptor::new(&settings(missing, None, ClientAuth::None)).err().unwrap().to_string();
        assert!(error.contains("/no/such.pem"), "{error}");
    }

    #[tokio::test]
    async fn handshakes_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let key = pem_store(folder.path(), "key.pem", &Ca::new("ca").sign("server"));
        let bounded = Tls { handshakes_max: 1, handshake_timeout_ms: 10, ..settings(key, None, ClientAuth::None) };
        let acceptor = Acceptor::new(&bounded).unwrap();
        let (_near, far) = tokio::io::duplex(64);
        let (_near_2, far_2) = tokio::io::duplex(64);
        let (first, second) = tokio::join!(acceptor.accept(far), acceptor.accept(far_2));
        assert!(matches!(first, Err(AcceptError::Late)));
        assert!(matches!(second, Err(AcceptError::Busy)));
        assert_eq!(acceptor.handshakes(), 0);
    }
}
