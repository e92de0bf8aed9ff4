//! Accepts clients, within the limits.

use super::connections::Connections;
use super::{Server, Workers, task};
use crate::limits::ACCEPT_PAUSE_MS;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What turns an accepted socket into a stream of the client protocol.
pub trait Acceptor: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The stream, and the subject of the client's certificate (RFC 2253), if it showed one.
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<(Self::Stream, Option<String>)>> + Send;
}

/// No TLS.
pub struct Plain;

impl Acceptor for Plain {
    type Stream = TcpStream;
    async fn accept(&self, socket: TcpStream) -> io::Result<(TcpStream, Option<String>)> {
        Ok((socket, None))
    }
}

/// Opens a listening socket. `backlog`: `clientPortListenBacklog`.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that restarts gets its port back while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Accepts until it is dropped. Connections live on in tasks of their own, on one of the workers each.
pub async fn accept<A: Acceptor>(listener: TcpListener, acceptor: A, server: Arc<dyn Server>, workers: Workers) {
    let acceptor = Arc::new(acceptor);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if let Err(error) = welcome(socket, peer, &acceptor, &server, &workers) {
                    tracing::debug!(%peer, %error, "a client left at once");
                }
            }
            Err(error) => {
                // Most likely no file descriptors: the client waits in the backlog until some are given back.
                tracing::warn!(%error, "accepting a client");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

fn welcome<A: Acceptor>(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: &Arc<A>,
    server: &Arc<dyn Server>,
    workers: &Workers,
) -> io::Result<()> {
    let home = server.connections();
    let mut admission = match home.admit(peer.ip()) {
        Ok(admission) => admission,
        Err(reason) => {
            tracing::warn!(%peer, reason, "turning a client away");
            return Ok(());
        }
    };
    // Replies are small and each client waits for its own.
    let _ = socket.set_nodelay(true);
    let (acceptor, server) = (acceptor.clone(), server.clone());
    let patience = Duration::from_millis(home.options().network.sessionless_timeout_ms);
    // A socket belongs to the runtime that it was made in.
    let socket = socket.into_std()?;
    workers.next().spawn(async move {
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%peer, %error, "taking over a client"),
        };
        match tokio::time::timeout(patience, acceptor.accept(socket)).await {
            Ok(Ok((stream, subject))) => {
                admission.subject = subject;
                let connection = server.connections().register(admission, peer);
                task::serve(stream, server, connection).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
            Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
        }
    });
    Ok(())
}

/// Serves one stream that came otherwise than through a listener: tests, and ports that several protocols share.
pub async fn serve<S>(home: &Arc<Connections>, stream: S, peer: SocketAddr, server: Arc<dyn Server>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Ok(admission) = home.admit(peer.ip()) {
        let connection = home.register(admission, peer);
        task::serve(stream, server, connection).await;
    }
}
