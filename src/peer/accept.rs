//! Connections from members, within limits.
//!
//! Each connection has a task of its own from its first byte. So a connection that is slow with its hello, or with its
//! TLS handshake, delays no other. The tasks end with the future that accepts.
//!
//! What this does not protect against: a stranger who can reach the port and keeps opening connections leaves none for
//! members. Only members should be able to reach the port.

use super::Connection;
use super::frame::{self, FrameReader, FrameWriter};
use super::hello::{self, Hello, HelloRefusal, LocalMember, Welcome};
use super::net::{Listen, Socket};
use crate::limits;
use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Takes the accepted connections.
pub(crate) trait ConnectionHandler: Send + Sync + 'static {
    /// Refuses a connection that the membership does not allow. The caller has checked that the hello is meant for this
    /// member and comes from its cluster.
    fn admit(&self, hello: &Hello) -> Result<(), HelloRefusal>;

    /// Serves a connection until it ends.
    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()>;
}

/// Accepts connections until the future is dropped.
pub(crate) async fn accept(mut listener: Box<dyn Listen>, me: LocalMember, incoming: Arc<dyn ConnectionHandler>) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! { biased;
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the task that served a connection of another member has failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => serve_socket(&mut connections, socket, from, &me, &incoming),
                Err(error) => {
                    // Most likely the process has no file descriptors left. The peer waits in the backlog until some
                    // are free.
                    tracing::warn!(%error, "no connection of another member can be accepted at the moment");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

fn serve_socket(
    connections: &mut JoinSet<()>,
    socket: Socket,
    from: SocketAddr,
    me: &LocalMember,
    incoming: &Arc<dyn ConnectionHandler>,
) {
    let full = connections.len() >= limits::PEER_CONNECTIONS_MAX;
    if connections.len() >= limits::PEER_CONNECTIONS_MAX + limits::PEER_CONNECTIONS_TURNED_AWAY_MAX {
        return;
    }
    let (me, incoming) = (me.clone(), Arc::clone(incoming));
    // Invariant: a stranger who opens connections takes no more than this many tasks.
    connections.spawn(async move {
        let greeted = tokio::time::timeout(limits::PEER_HELLO_TIMEOUT, handshake(socket, &me, &*incoming, full));
        match greeted.await {
            Ok(Ok(Some(connection))) => incoming.serve(connection).await,
            Ok(Ok(None)) => (),
            Ok(Err(error)) => tracing::debug!(%from, %error, "a connection ended before its hello"),
            Err(_) => tracing::debug!(%from, "a connection sent no hello in time"),
        }
    });
    let count = connections.len();
    let most = limits::PEER_CONNECTIONS_MAX + limits::PEER_CONNECTIONS_TURNED_AWAY_MAX;
    assert!(count <= most, "{count} connections of members are served");
}

/// Exchanges hello and welcome. None: the connection was refused.
async fn handshake(
    socket: Socket,
    me: &LocalMember,
    incoming: &dyn ConnectionHandler,
    full: bool,
) -> io::Result<Option<Connection>> {
    let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
    let Some(payload) = reader.next_payload().await? else { return Ok(None) };
    let judged = hello::decode_hello(&payload)?.and_then(|hello| {
        me.check_hello(&hello)?;
        if full {
            return Err(HelloRefusal::Full { id: me.id });
        }
        incoming.admit(&hello)?;
        Ok(hello)
    });
    let hello = match judged {
        Ok(hello) => hello,
        Err(refusal) => return refuse(refusal, reader, writer).await.map(|()| None),
    };
    let welcome = me.accepted();
    writer.send(&Welcome::Accepted(welcome)).await?;
    let bytes_max = hello.purpose.bytes_max();
    reader.set_bytes_max(bytes_max);
    writer.set_bytes_max(bytes_max);
    Ok(Some(Connection { hello, welcome, reader, writer }))
}

/// Tells the dialer why it is refused, and waits until it has closed. If this end closed first, the answer could be
/// lost.
async fn refuse(refusal: HelloRefusal, mut reader: FrameReader, mut writer: FrameWriter) -> io::Result<()> {
    tracing::debug!(%refusal, "a member is refused");
    writer.send(&Welcome::Refused(refusal)).await?;
    writer.close().await?;
    while reader.next_payload().await?.is_some() {}
    Ok(())
}
