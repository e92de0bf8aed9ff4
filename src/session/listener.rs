//! Accepts clients within the limits, plain or through TLS.

use super::connection::Arrival;
use super::connections::Connections;
use super::word_room::WordRoom;
use super::{Server, Workers, task, tls};
use crate::limits::ACCEPT_PAUSE;
use crate::metrics::Metrics;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::server::TlsStream;

/// What turns an accepted socket into a stream of the client protocol.
pub(crate) trait Acceptor: Send + Sync + 'static {
    /// Whether four letter words may come without TLS.
    const PLAIN_WORDS: bool;
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The stream, and the subject of the client's certificate (RFC 2253), if it showed one.
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<(Self::Stream, Option<String>)>> + Send;
}

/// A port without TLS.
pub(crate) struct Plain;

impl Acceptor for Plain {
    const PLAIN_WORDS: bool = true;
    type Stream = TcpStream;
    async fn accept(&self, socket: TcpStream) -> io::Result<(TcpStream, Option<String>)> {
        Ok((socket, None))
    }
}

/// A port for TLS only.
pub(crate) struct Secure {
    acceptor: Arc<tls::Acceptor>,
    metrics: Arc<Metrics>,
}

impl Secure {
    pub(crate) fn new(acceptor: Arc<tls::Acceptor>, metrics: Arc<Metrics>) -> Secure {
        Secure { acceptor, metrics }
    }
}

impl Acceptor for Secure {
    const PLAIN_WORDS: bool = false;
    type Stream = TlsStream<TcpStream>;
    async fn accept(&self, socket: TcpStream) -> io::Result<(Self::Stream, Option<String>)> {
        let stream = self.acceptor.accept(socket).await.map_err(|error| {
            match error {
                tls::AcceptError::Busy => self.metrics.tls_handshake_exceeded.increment(),
                tls::AcceptError::Late | tls::AcceptError::Handshake(_) => {
                    self.metrics.unsuccessful_handshake.increment()
                }
            }
            io::Error::other(error)
        })?;
        let subject = tls::peer_subject(&stream);
        Ok((stream, subject))
    }
}

/// A port for both (`client.portUnification`). The first byte tells them apart: the first byte of a TLS handshake is no
/// letter, so it begins no four letter word, and the length of a first message does not begin with it.
pub(crate) struct Either(pub(crate) Secure);

/// The type of a TLS record that carries a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

impl Acceptor for Either {
    const PLAIN_WORDS: bool = true;
    type Stream = EitherStream;
    async fn accept(&self, socket: TcpStream) -> io::Result<(EitherStream, Option<String>)> {
        let mut first = [0];
        if socket.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE] {
            let (stream, subject) = self.0.accept(socket).await?;
            return Ok((EitherStream::Secure(Box::new(stream)), subject));
        }
        Ok((EitherStream::Plain(socket), None))
    }
}

/// The stream of a client on a port for both.
pub(crate) enum EitherStream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for EitherStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            EitherStream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            EitherStream::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for EitherStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            EitherStream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            EitherStream::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            EitherStream::Plain(stream) => Pin::new(stream).poll_flush(context),
            EitherStream::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            EitherStream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            EitherStream::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Opens a listening socket. `backlog`: `clientPortListenBacklog`.
pub(crate) fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that restarts gets its port back although old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Accepts clients until the future is dropped. Each connection goes on in a task of its own, on one of the workers.
pub(crate) async fn accept<A: Acceptor>(listener: TcpListener, acceptor: A, server: Arc<dyn Server>, workers: Workers) {
    let acceptor = Arc::new(acceptor);
    let mut words = WordRoom::default();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if let Err(error) = welcome(socket, peer, &acceptor, &server, &workers, &mut words) {
                    tracing::debug!(%peer, %error, "a client left at once");
                }
            }
            Err(error) => {
                // Most likely the process is out of file descriptors. The client waits in the backlog until some are
                // free.
                tracing::warn!(%error, "accepting a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Lets a client in and starts its task.
fn welcome<A: Acceptor>(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: &Arc<A>,
    server: &Arc<dyn Server>,
    workers: &Workers,
    words: &mut WordRoom,
) -> io::Result<()> {
    let home = server.connections();
    let admission = match home.admit(peer.ip()) {
        Ok(admission) => admission,
        Err(reason) if A::PLAIN_WORDS => return words.take(socket, peer, reason, server, workers),
        Err(reason) => {
            home.count_rejected();
            tracing::warn!(%peer, reason, "turning a client away");
            return Ok(());
        }
    };
    // Replies are small, and each client waits for its own: Nagle's algorithm would delay them.
    let _ = socket.set_nodelay(true);
    let (acceptor, server) = (acceptor.clone(), server.clone());
    let patience = Duration::from_millis(home.options().network.sessionless_timeout_ms);
    // The socket belongs to the runtime of the listener, and has to move to that of the worker.
    let socket = socket.into_std()?;
    let (worker, bell) = workers.next();
    let bell = Some(bell.clone());
    worker.spawn(async move {
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%peer, %error, "taking over a client"),
        };
        match tokio::time::timeout(patience, acceptor.accept(socket)).await {
            Ok(Ok((stream, subject))) => {
                let connection = server.connections().register(Arrival { admission, peer, subject, bell });
                task::serve(stream, server, connection).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
            Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
        }
    });
    Ok(())
}

/// Serves one stream that no listener accepted. For tests and simulated members.
pub(crate) async fn serve<S>(home: &Arc<Connections>, stream: S, peer: SocketAddr, server: Arc<dyn Server>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match home.admit(peer.ip()) {
        Ok(admission) => {
            let connection = home.register(Arrival { admission, peer, subject: None, bell: None });
            task::serve(stream, server, connection).await;
        }
        Err(_) => home.count_rejected(),
    }
}
