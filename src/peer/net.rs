//! The network between members: a trait, and the operating system's network. Tests and the simulation put networks of
//! their own in its place.

use super::resolve::Resolver;
use super::tls::{PeerCertificate, Shown, Tls};
use crate::config::PeerTls;
use crate::limits;
use crate::tls::TlsError;
use futures::future::BoxFuture;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub type Socket = Box<dyn Duplex>;

/// Makes connections. The error of a dial tells whether the other machine has answered.
/// `io::ErrorKind::ConnectionRefused` means that the machine runs and that nobody listens at the port. No other error
/// means that.
pub trait Net: Send + Sync + 'static {
    /// Connects. The name is resolved each time. The caller limits the time by dropping the future.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Socket>>;

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listen>>>;
}

/// A socket that others can connect to. When it is dropped, nobody listens there any more.
pub trait Listen: Send {
    /// The next connection, with nothing read from it. The future may be dropped while it waits.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, Origin)>>;

    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// Where an accepted connection comes from. `Display` is the address.
#[derive(Clone, Debug)]
pub struct Origin {
    address: SocketAddr,
    /// Some if the certificate must name the member.
    shown: Option<Shown>,
}

impl Origin {
    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The dialer's certificate, if the name in it counts, and if the dialer has shown one.
    pub(super) fn certificate(&self) -> Option<PeerCertificate<'_>> {
        self.shown.as_ref()?.certificate()
    }
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Origin {
        Origin { address, shown: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// TCP, with TLS if it is configured.
pub(crate) struct TcpNet {
    resolver: Resolver,
    tls: Option<Arc<Tls>>,
}

impl TcpNet {
    /// Without TLS, anybody on the path can read the traffic. Without TLS and without the ensemble's secret, anybody
    /// who reaches the ports can speak as any member. Blocks on the key files.
    pub(crate) fn new(tls: Option<&PeerTls>) -> Result<TcpNet, TlsError> {
        let tls = tls.map(Tls::new).transpose()?.map(Arc::new);
        Ok(TcpNet { resolver: Resolver::default(), tls })
    }

    /// Loads key and certificate files again when they have changed, if that is configured. To be spawned.
    pub(crate) fn watch_files(&self) -> impl Future<Output = ()> + Send + use<> {
        let tls = self.tls.clone();
        async move {
            if let Some(tls) = tls {
                tls.watch_files().await;
            }
        }
    }
}

impl Net for TcpNet {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Socket>> {
        Box::pin(async move {
            let stream = connect(&self.resolver.resolve(host).await?, port).await?;
            Ok(match &self.tls {
                Some(tls) => Box::new(tls.connect(host, stream).await?) as Socket,
                None => Box::new(stream),
            })
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listen>>> {
        let tls = self.tls.clone();
        Box::pin(async move { Ok(Box::new(TcpListen { listener: bind(address)?, tls }) as Box<dyn Listen>) })
    }
}

struct TcpListen {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listen for TcpListen {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, Origin)>> {
        Box::pin(async move {
            let (stream, address) = self.listener.accept().await?;
            set_options(&stream);
            let Some(tls) = &self.tls else { return Ok((Box::new(stream) as Socket, Origin::from(address))) };
            let (stream, shown) = tls.accept(stream);
            Ok((Box::new(stream) as Socket, Origin { address, shown }))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // This lets a member that restarts have its port back while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Connects to the first of the addresses that answers. Each address has an equal share of the time, so that the last
/// one is tried before the caller gives up.
async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let share = limits::PEER_CONNECT_TIMEOUT / (u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1));
    let mut failure: Option<io::Error> = None;
    for address in addresses {
        let error = match tokio::time::timeout(share, TcpStream::connect((*address, port))).await {
            Ok(Ok(stream)) => {
                set_options(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
        };
        failure = Some(match failure {
            Some(before) if specificity(&before) >= specificity(&error) => before,
            _ => error,
        });
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// Which of several failures is returned: the one with the highest number. An address without a route from this machine
/// tells nothing about the peer. "Refused" tells that its process is gone, unless another address failed in a way that
/// leaves open whether the process is alive.
fn specificity(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => 0,
        io::ErrorKind::ConnectionRefused => 1,
        _ => 2,
    }
}

/// Messages are small and must not wait for more bytes. A machine that lost its power must not keep its connections for
/// ever.
fn set_options(stream: &TcpStream) {
    use rustix::net::sockopt;
    // If a call fails, the connection is slower, or its loss is noticed later. It is still good.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, limits::PEER_KEEP_ALIVE);
    let _ = sockopt::set_tcp_keepintvl(stream, limits::PEER_KEEP_ALIVE / 2);
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}
