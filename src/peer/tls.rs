//! Mutual TLS between members (`sslQuorum`). Both ends check the other's certificate and, unless configured otherwise,
//! the name in it: the dialer the name of the host that it dialed, the acceptor the names of the hosts that belong to
//! the member number in the hello (`accept`).
//!
//! Promises: the handshake of one member does not delay that of another, because an accepted connection makes its
//! handshake when it is first read. An error at start is one sentence that names the file; a later error is an
//! `io::Error` of the connection. Files that have changed are used for new connections without a restart
//! (`sslQuorumReloadCertFiles`). A broken new file leaves the old certificates in use.

use crate::config::{ClientAuth, PeerTls, Store};
use crate::limits;
use crate::tls::{self, ClientCertificates, Look, ServerCertificates, TlsError};
use parking_lot::RwLock;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, client, server};

/// Makes TLS connections out of plain ones, in both directions.
pub(crate) struct Tls {
    settings: PeerTls,
    /// What new connections are made with, and the modification times and lengths of the files that it was loaded from.
    /// The lock guards both, and is held for a moment only.
    loaded: RwLock<Loaded>,
}

struct Loaded {
    endpoints: Endpoints,
    files: Look,
}

/// Both sides of a connection between members.
#[derive(Clone)]
struct Endpoints {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the stores. Blocks on files.
    pub(crate) fn new(settings: &PeerTls) -> Result<Tls, TlsError> {
        let files = tls::look(stores(settings));
        let loaded = RwLock::new(Loaded { endpoints: Endpoints::new(settings)?, files });
        Ok(Tls { settings: settings.clone(), loaded })
    }

    /// Loads new certificates if the files have changed since the last look. Returns whether they had. An error leaves
    /// the old ones in use, and is returned once for each change. Blocks on files.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let files = tls::look(stores(&self.settings));
        if self.loaded.read().files == files {
            return Ok(false);
        }
        let endpoints = Endpoints::new(&self.settings);
        let mut loaded = self.loaded.write();
        loaded.files = files;
        loaded.endpoints = endpoints?;
        Ok(true)
    }

    /// Looks at the files as long as it is polled. Returns at once if reloading is not configured. To be spawned.
    pub(crate) async fn watch_files(self: Arc<Self>) {
        if !self.settings.reload {
            return;
        }
        loop {
            tokio::time::sleep(Duration::from_secs(limits::TLS_RELOAD_INTERVAL_S)).await;
            let tls = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(true)) => tracing::info!("new TLS certificates are in use between members"),
                Ok(Err(error)) => {
                    tracing::error!("the old TLS certificates stay in use between members: {error}");
                }
                Ok(Ok(false)) | Err(_) => (),
            }
        }
    }

    /// Shakes hands as the dialer. `host` is the name that was dialed.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = self.loaded.read().endpoints.connector.clone();
        connector
            .connect(name, stream)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("TLS with the member at `{host}`: {error}")))
    }

    /// The acceptor's side. It shakes hands when it is first read or written. The second result is filled then. It is
    /// None if names do not count.
    pub(crate) fn accept<S>(&self, stream: S) -> (Accepting<S>, Option<Shown>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let allowed: Arc<[String]> = self.settings.allowed_names.clone().into();
        let shown = self.settings.verify_names.then(|| Shown { allowed, certificate: Arc::default() });
        let handshake = Box::new(self.loaded.read().endpoints.acceptor.accept(stream));
        (Accepting::Handshake(handshake, shown.clone()), shown)
    }
}

/// What the dialer of a connection has shown. Clones belong to the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// `ssl.quorum.allowedNames`
    allowed: Arc<[String]>,
    /// Empty until the connection has shaken hands, or if the dialer need not show a certificate and has shown none.
    certificate: Arc<OnceLock<CertificateDer<'static>>>,
}

impl Shown {
    /// None: no certificate was shown.
    pub(super) fn certificate(&self) -> Option<PeerCertificate<'_>> {
        Some(PeerCertificate { allowed: &self.allowed, der: self.certificate.get()? })
    }
}

/// The certificate of a dialer, which is valid.
pub(crate) struct PeerCertificate<'a> {
    allowed: &'a [String],
    der: &'a CertificateDer<'static>,
}

impl PeerCertificate<'_> {
    /// Whether the certificate names one of these hosts, or one of the names that are allowed for any member. Only
    /// subject alternative names count.
    pub(super) fn names_one_of(&self, hosts: &[String]) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(self.der) else { return false };
        let mut names = hosts.iter().chain(self.allowed).filter_map(|host| ServerName::try_from(host.as_str()).ok());
        names.any(|name| verify_server_name(&parsed, &name).is_ok())
    }

    /// The names in the certificate, for an operator: at most `limits::CERTIFICATE_NAMES_SHOWN_BYTES_MAX`.
    pub(super) fn names(&self) -> String {
        let mut names = tls::names(self.der).join(", ");
        if names.is_empty() {
            return "no host".to_owned();
        }
        names.truncate(names.floor_char_boundary(limits::CERTIFICATE_NAMES_SHOWN_BYTES_MAX));
        names
    }
}

impl Endpoints {
    fn new(settings: &PeerTls) -> Result<Endpoints, TlsError> {
        let provider = tls::provider(&settings.cipher_suites);
        let versions = tls::versions(settings.versions);
        let refused = |error: rustls::Error| TlsError {
            path: settings.key_store.path.clone(),
            what: format!("`ssl.quorum.ciphersuites` has none for the protocols that are enabled: {error}"),
        };
        let key = Arc::new(SingleCertAndKey::from(tls::certified_key(&settings.key_store, &provider)?));
        let trusted = ServerCertificates::new(&settings.trust_store, settings.verify_names, &provider)?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusted))
            .with_client_cert_resolver(Arc::clone(&key) as _);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(refused)?;
        let server = match settings.client_auth {
            ClientAuth::None => server.with_no_client_auth(),
            asked => server.with_client_cert_verifier(Arc::new(ClientCertificates::new(
                &settings.trust_store,
                asked,
                &provider,
            )?)),
        };
        let server = server.with_cert_resolver(key);
        Ok(Endpoints { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
    }
}

/// The stores whose changes are watched.
fn stores(settings: &PeerTls) -> impl Iterator<Item = &Store> {
    [&settings.key_store, &settings.trust_store].into_iter()
}

/// A connection that may not have shaken hands yet.
pub(crate) enum Accepting<S> {
    Handshake(Box<Accept<S>>, Option<Shown>),
    Secure(Box<server::TlsStream<S>>),
    /// The handshake has failed, and its error was returned.
    Failed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accepting<S> {
    fn poll_secure(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut server::TlsStream<S>>>> {
        if let Accepting::Handshake(handshake, shown) = self {
            match ready!(Pin::new(handshake.as_mut()).poll(context)) {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    if let Some((shown, certificate)) = shown.as_ref().zip(certificates.first()) {
                        let _ = shown.certificate.set(certificate.clone().into_owned());
                    }
                    *self = Accepting::Secure(Box::new(stream));
                }
                Err(error) => {
                    *self = Accepting::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match self {
            Accepting::Secure(stream) => Ok(Pin::new(stream.as_mut())),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Accepting<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_secure(context))?.poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accepting<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_secure(context))?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_secure(context))?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_secure(context))?.poll_shutdown(context)
    }
}
