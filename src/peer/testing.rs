//! A network in memory whose cables can be cut or slow. Tests that need other delays, or loss, run in the simulation.
//!
//! Hosts have names and addresses from 10.0.0.1 on. While a cable is cut, nothing arrives: dials wait, and sent bytes
//! stay where they are until the cable is healed. A host refuses a dial if it has no listener at the port, or if the
//! listener was dropped.

use super::net::{Listen, Net, Origin, Socket};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// How many bytes are on their way in one direction of a connection before the writer waits.
const PIPE_BYTES: usize = 256 << 10;
/// How many bytes arrive at once on a slow cable.
const SLOW_READ_BYTES: usize = 8 << 10;
/// How many connections wait to be accepted.
const BACKLOG: usize = 128;

/// The cables and the listeners. Clones are the same network.
#[derive(Clone, Default)]
pub(crate) struct MemoryNet {
    cables: Arc<Mutex<Cables>>,
}

/// Its lock is held for a moment only.
#[derive(Default)]
struct Cables {
    /// By position: host n has the address 10.0.0.(n + 1).
    hosts: Vec<String>,
    listeners: BTreeMap<SocketAddr, mpsc::Sender<(Socket, SocketAddr)>>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    /// Bytes that arrive on a connection in a second, in each direction. None: without delay.
    bytes_per_second: Option<u64>,
    /// The tasks that wait for a cut cable. They are woken when something changes.
    waiting: Vec<Waker>,
    /// The number of calls of [`MemoryNet::reset`] for each pair of hosts.
    resets: BTreeMap<(IpAddr, IpAddr), u64>,
    /// The last port given to a dialer.
    port: u16,
}

impl MemoryNet {
    pub(crate) fn new() -> MemoryNet {
        MemoryNet::default()
    }

    /// The network as that host sees it. The host joins when it is first named.
    pub(crate) fn host(&self, name: &str) -> Arc<dyn Net> {
        let address = self.address(name);
        Arc::new(Host { net: self.clone(), address })
    }

    /// The address of the host with that name.
    pub(crate) fn address(&self, name: &str) -> IpAddr {
        let mut cables = self.cables.lock();
        let position = cables.hosts.iter().position(|host| host == name).unwrap_or_else(|| {
            cables.hosts.push(name.to_owned());
            cables.hosts.len() - 1
        });
        nth(position)
    }

    fn resolve(&self, host: &str) -> Option<IpAddr> {
        let position = || self.cables.lock().hosts.iter().position(|name| name == host);
        host.parse().ok().or_else(|| position().map(nth))
    }

    /// From now on nothing passes between the two hosts, in either direction.
    pub(crate) fn cut(&self, a: &str, b: &str) {
        let pair = pair(self.address(a), self.address(b));
        self.cables.lock().cut.insert(pair);
    }

    /// From now on every connection carries so many bytes a second in each direction.
    pub(crate) fn slow_down(&self, bytes_per_second: u64) {
        self.change(|cables| cables.bytes_per_second = Some(bytes_per_second));
    }

    pub(crate) fn heal(&self, a: &str, b: &str) {
        let pair = pair(self.address(a), self.address(b));
        self.change(|cables| {
            cables.cut.remove(&pair);
        });
    }

    /// Breaks every connection between the two hosts.
    pub(crate) fn reset(&self, a: &str, b: &str) {
        let pair = pair(self.address(a), self.address(b));
        self.change(|cables| *cables.resets.entry(pair).or_default() += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Cables)) {
        let mut cables = self.cables.lock();
        change(&mut cables);
        let waiting = std::mem::take(&mut cables.waiting);
        drop(cables);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ready when the cable is whole.
    fn poll_whole(&self, pair: (IpAddr, IpAddr), context: &Context<'_>) -> Poll<()> {
        let mut cables = self.cables.lock();
        if !cables.cut.contains(&pair) {
            return Poll::Ready(());
        }
        cables.wait(context);
        Poll::Pending
    }
}

impl Cables {
    fn wait(&mut self, context: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            self.waiting.push(context.waker().clone());
        }
    }

    fn resets(&self, pair: (IpAddr, IpAddr)) -> u64 {
        self.resets.get(&pair).copied().unwrap_or_default()
    }
}

/// Host 0 has 10.0.0.1.
fn nth(position: usize) -> IpAddr {
    let [.., high, low] = (position + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}

struct Host {
    net: MemoryNet,
    address: IpAddr,
}

impl Net for Host {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Socket>> {
        Box::pin(async move {
            let to = self.net.resolve(host).ok_or(io::ErrorKind::NotFound)?;
            let pair = pair(self.address, to);
            std::future::poll_fn(|context| self.net.poll_whole(pair, context)).await;
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let (from, listener, resets) = {
                let mut cables = self.net.cables.lock();
                cables.port = cables.port.checked_add(1).unwrap_or(1);
                let listener = cables.listeners.get(&SocketAddr::new(to, port)).cloned();
                (SocketAddr::new(self.address, cables.port), listener, cables.resets(pair))
            };
            let end = |pipe| Box::new(End { net: self.net.clone(), pair, resets, pipe, arriving: None }) as Socket;
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            listener.ok_or(()).map_err(refused)?.send((end(far), from)).await.map_err(|_| refused(()))?;
            Ok(end(near))
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move {
            let ip = if address.ip().is_unspecified() { self.address } else { address.ip() };
            if ip != self.address {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let address = SocketAddr::new(ip, address.port());
            let (sender, accepted) = mpsc::channel(BACKLOG);
            let mut cables = self.net.cables.lock();
            if cables.listeners.contains_key(&address) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            cables.listeners.insert(address, sender);
            drop(cables);
            Ok(Box::new(Listener { net: self.net.clone(), address, accepted }) as Box<dyn Listen>)
        })
    }
}

struct Listener {
    net: MemoryNet,
    address: SocketAddr,
    accepted: mpsc::Receiver<(Socket, SocketAddr)>,
}

impl Listen for Listener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, Origin)>> {
        Box::pin(async {
            let (socket, from) = self.accepted.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok((socket, Origin::from(from)))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.net.cables.lock().listeners.remove(&self.address);
    }
}

/// One end of a connection.
struct End {
    net: MemoryNet,
    pair: (IpAddr, IpAddr),
    /// How many resets there were when the connection was made.
    resets: u64,
    pipe: DuplexStream,
    /// On a slow cable, the time that the bytes take which were read last.
    arriving: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl End {
    /// Ready if bytes may pass. Registers for resets too, so that a reset wakes an end that waits for bytes.
    fn poll_cable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut cables = self.net.cables.lock();
        if cables.resets(self.pair) != self.resets {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        cables.wait(context);
        if cables.cut.contains(&self.pair) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        std::task::ready!(end.poll_cable(context))?;
        if let Some(arriving) = &mut end.arriving {
            std::task::ready!(arriving.as_mut().poll(context));
            end.arriving = None;
        }
        let Some(bytes_per_second) = end.net.cables.lock().bytes_per_second else {
            return Pin::new(&mut end.pipe).poll_read(context, buffer);
        };
        let mut bytes = [0; SLOW_READ_BYTES];
        let room = buffer.remaining().min(SLOW_READ_BYTES);
        let mut part = ReadBuf::new(&mut bytes[..room]);
        std::task::ready!(Pin::new(&mut end.pipe).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        let takes = Duration::from_secs_f64(part.filled().len() as f64 / bytes_per_second as f64);
        end.arriving = Some(Box::pin(tokio::time::sleep(takes)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    /// Takes bytes also while the cable is cut, as the kernel's buffer does. They do not arrive before the cable is
    /// healed.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        if let Poll::Ready(Err(error)) = end.poll_cable(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut end.pipe).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_shutdown(context)
    }
}
