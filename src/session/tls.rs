//! TLS towards clients: the certificates, the handshake, and who the client's certificate says it is.
//!
//! Promises: a handshake ends within its time, and no more of them are under way than configured, since each costs a
//! signature; files that have changed are taken up for new connections without a restart (`client.certReload`), and a broken
//! new file leaves the old certificates in use. What can go wrong at start is one sentence with the file in it.

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
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a client got no connection.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("too many TLS handshakes are under way")]
    Busy,
    #[error("the TLS handshake took too long")]
    Late,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Makes TLS connections out of plain ones; one for the whole server.
pub struct Acceptor {
    settings: Tls,
    /// Guards: the certificates in use and the look of the files they came from. Held for moments only.
    loaded: RwLock<Loaded>,
    handshakes: Semaphore,
}

struct Loaded {
    config: Arc<ServerConfig>,
    files: Look,
}

impl Acceptor {
    /// Reads the stores. Blocks on files.
    pub fn new(settings: &Tls) -> Result<Acceptor, TlsError> {
        let handshakes = match settings.handshakes_max {
            0 => Semaphore::MAX_PERMITS,
            some => some,
        };
        let files = tls::look(stores(settings));
        let loaded = RwLock::new(Loaded { config: Arc::new(server_config(settings)?), files });
        Ok(Acceptor { settings: settings.clone(), loaded, handshakes: Semaphore::new(handshakes) })
    }

    /// The handshake on a fresh connection.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, AcceptError>
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
    pub fn handshakes(&self) -> usize {
        let all = if self.settings.handshakes_max == 0 { Semaphore::MAX_PERMITS } else { self.settings.handshakes_max };
        all.saturating_sub(self.handshakes.available_permits())
    }

    /// Takes up new certificates if the files have changed since the last look; whether they had. An error leaves the old
    /// ones in use, and is told once for each change. Blocks on files.
    pub fn reload(&self) -> Result<bool, TlsError> {
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

    /// Looks at the files for as long as it is polled; returns at once if that is not wanted. To be spawned.
    pub async fn watch_files(self: Arc<Self>) {
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

/// The stores whose changes are looked for.
fn stores(settings: &Tls) -> impl Iterator<Item = &Store> {
    std::iter::once(&settings.key_store).chain(&settings.trust_store)
}

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

/// The subject of the certificate that the client has shown, as ACLs of the scheme x509 name it; None: it showed none.
pub fn peer_subject<S>(stream: &TlsStream<S>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().and_then(|chain| chain.first()).and_then(|certificate| subject(certificate))
}

/// A certificate's subject in RFC 2253's form, character by character as Java's `X500Principal.getName()` writes it.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject().iter_rdn().map(|name| name.iter().map(attribute).collect::<Vec<_>>().join("+"));
    let mut names: Vec<String> = names.collect();
    names.reverse();
    Some(names.join(","))
}

/// `CN=name`, or `1.2.3=#0c...` where RFC 2253 has no word for it (sun.security.x509.AVA).
fn attribute(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let word = match oid.as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        _ => None,
    };
    let value = attribute.attr_value();
    match (word, text(value.tag().0, value.data)) {
        (Some(word), Some(text)) => format!("{word}={}", escaped(&text)),
        (word, _) => {
            let mut element = vec![u8::try_from(value.tag().0).unwrap_or_default()];
            let length = value.data.len();
            match u8::try_from(length) {
                Ok(short @ 0..0x80) => element.push(short),
                Ok(long) => element.extend([0x81, long]),
                // Names are far below this; a longer one is cut, and then matches no ACL.
                Err(_) => element.extend([0x82, (length >> 8 & 0xff) as u8, (length & 0xff) as u8]),
            }
            element.extend(value.data);
            let digits: String = element.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{digits}", word.unwrap_or(&oid))
        }
    }
}

/// The text of an ASN.1 string; None: another type.
fn text(tag: u32, bytes: &[u8]) -> Option<String> {
    let latin = || bytes.iter().map(|byte| char::from(*byte)).collect();
    match tag {
        12 => Some(String::from_utf8_lossy(bytes).into_owned()),
        19 | 20 | 22 | 27 => Some(latin()),
        28 => bytes
            .chunks(4)
            .map(|unit| <[u8; 4]>::try_from(unit).ok().and_then(|unit| char::from_u32(u32::from_be_bytes(unit))))
            .collect(),
        30 => {
            let units: Option<Vec<u16>> =
                bytes.chunks(2).map(|unit| <[u8; 2]>::try_from(unit).ok().map(u16::from_be_bytes)).collect();
            String::from_utf16(&units?).ok()
        }
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    let is_pad = |c: &char| matches!(c, ' ' | '\r');
    let chars: Vec<char> = text.chars().collect();
    let lead = chars.iter().take_while(|c| is_pad(c)).count();
    let trail = chars.len() - chars.iter().rev().take_while(|c| is_pad(c)).count();
    let mut out = String::with_capacity(text.len());
    for (at, c) in chars.into_iter().enumerate() {
        match c {
            '\0' => out.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.extend(['\\', c]),
            _ if at < lead || at >= trail => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
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
    /// A client of that CA, X.509 version 1, with its key.
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

    /// kazoo's suite makes its clients' certificates so.
    #[tokio::test]
    async fn certificates_of_version_1() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let key = pem_store(folder.path(), "key.pem", &ca.sign("server"));
        let trust = pem_store(folder.path(), "trust.pem", OLD_CA);
        let acceptor = Acceptor::new(&settings(key.clone(), Some(trust), ClientAuth::Need)).unwrap();
        // A CA of the same name with another key: the signature decides.
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
    async fn changed_files_are_taken_up_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let key = pem_store(folder.path(), "key.pem", &ca.sign("server"));
        let acceptor = Acceptor::new(&settings(key, None, ClientAuth::None)).unwrap();
        let version = &rustls::version::TLS13;
        assert!(!acceptor.reload().unwrap());
        pem_store(folder.path(), "key.pem", "nothing");
        assert!(acceptor.reload().is_err());
        assert!(!acceptor.reload().unwrap(), "told once");
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

    #[test]
    fn subjects_as_java_writes_them() {
        let name = |entries: &[(DnType, &str)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in entries {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let key = KeyPair::generate().unwrap();
            subject(params.self_signed(&key).unwrap().der()).unwrap()
        };
        assert_eq!(name(&[(DnType::CountryName, "DE"), (DnType::CommonName, "zoo")]), "CN=zoo,C=DE");
        assert_eq!(name(&[(DnType::CommonName, " a=b;\"c\" #")]), "CN=\\ a\\=b\\;\\\"c\\\" \\#");
        assert_eq!(name(&[(DnType::CommonName, "größe ")]), "CN=größe\\ ");
        // An e-mail address has no word in RFC 2253: its type's number, and the DER of the value.
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        assert_eq!(name(&[(mail, "a@b")]), "1.2.840.113549.1.9.1=#0c03614062");
        assert_eq!(subject(b"no certificate"), None);
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
