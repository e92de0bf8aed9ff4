//! Mutual TLS between members (`sslQuorum`): who dials checks the certificate and, unless told otherwise, the name in it;
//! who accepts checks the certificate.
//!
//! Promises: a member's handshake delays no other's, since an accepted connection shakes hands when it is first read. What
//! goes wrong at start is one sentence with the file in it; later, an `io::Error` of the connection. The files are read once.
//! A certificate says that a member may be spoken to, not which one it is: that is the hello's business.

use crate::config::{ClientAuth, PeerTls};
use crate::tls::{self, ClientCertificates, ServerCertificates, TlsError};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, client, server};

/// Makes secure connections out of plain ones, in both directions.
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the stores. Blocks on files.
    pub fn new(settings: &PeerTls) -> Result<Tls, TlsError> {
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
        Ok(Tls { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
    }

    /// The dialer's side, with its handshake. `host`: as it was dialed.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector
            .connect(name, stream)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("TLS with the member at `{host}`: {error}")))
    }

    /// The acceptor's side; it shakes hands when it is first read or written.
    pub fn accept<S>(&self, stream: S) -> Accepting<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Accepting::Handshake(Box::new(self.acceptor.accept(stream)))
    }
}

/// A connection that may not have shaken hands yet.
pub enum Accepting<S> {
    Handshake(Box<Accept<S>>),
    Secure(Box<server::TlsStream<S>>),
    /// The handshake has failed, and that has been told.
    Failed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accepting<S> {
    fn poll_secure(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut server::TlsStream<S>>>> {
        if let Accepting::Handshake(handshake) = self {
            match ready!(Pin::new(handshake.as_mut()).poll(context)) {
                Ok(stream) => *self = Accepting::Secure(Box::new(stream)),
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
