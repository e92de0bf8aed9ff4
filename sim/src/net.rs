//! The simulated network: streams of bytes between machines, and the faults of such streams.
//!
//! A message leaves at the beginning of the slice in which it is written, and arrives at the beginning of a later
//! slice. So the order in which machines are stepped does not matter to the network. Bytes of one stream keep their
//! order. Bytes of different streams do not, since each message has its own delay.
//!
//! Faults look as TCP shows them. A lost message delays its stream. A cut link holds messages back, in one direction or
//! in both, and sends them again some time after it heals. A process that ends resets its streams. A machine without
//! power sends nothing; once power is back, it resets the streams on which messages arrive.
//!
//! All machines share one `Net`. Clones of the handle are cheap.

use crate::trace;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmkeeper::peer::{self, Listen, Origin, Socket};
use wasmkeeper::storage::testing::Dice;

/// A machine: members by their number, 1 to 99; clients from 100 on.
pub(crate) type Machine = u32;

/// The port on which members accept clients.
pub(crate) const CLIENT_PORT: u16 = 2181;

/// The machine of the client with that number.
pub(crate) fn client_machine(number: u32) -> Machine {
    100 + number
}

/// The address of a machine.
pub(crate) fn address(machine: Machine, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, (machine >> 8) as u8, machine as u8], port))
}

/// A writer waits while this many bytes of its stream are under way or unread.
const WINDOW_BYTES: usize = 256 << 10;

/// The largest number of bytes in one message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The largest number of connections that wait to be accepted at a port.
const BACKLOG: usize = 128;

/// Microseconds until TCP sends a lost message again: the first time, and at most.
const RETRANSMIT_US: u64 = 200_000;
const RETRANSMIT_US_MAX: u64 = 3_000_000;

/// The current quality of all links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    pub(crate) delay_us: u64,
    /// The most that is added to the delay, evenly distributed.
    pub(crate) jitter_us: u64,
    /// Messages lost, out of 10,000.
    pub(crate) lost: u64,
}

#[derive(Clone)]
pub(crate) struct Net {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    dice: Dice,
    quality: Quality,
    /// Messages under way, ordered by the time of arrival and then by the order of sending.
    under_way: BTreeMap<(u64, u64), Message>,
    sent: u64,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    listeners: BTreeMap<(Machine, u16), Listener>,
    /// Directions (from, to) that are cut, with the time of the cut.
    cuts: BTreeMap<(Machine, Machine), u64>,
    without_power: BTreeSet<Machine>,
    /// Messages held back until a cut heals or a machine has power again, in the order of sending.
    held: Vec<Message>,
    /// Wakers to call after the lock is released. A waker may drop a task and its stream, which would take the lock
    /// again.
    to_wake: Vec<Waker>,
}

struct Message {
    connection: u64,
    /// The end that receives the message. End 0 is the one that dialled.
    to: usize,
    what: What,
}

enum What {
    Open,
    Opened,
    Refused,
    Bytes(Bytes),
    /// The sender sends nothing more.
    End,
    Reset,
}

struct Connection {
    port: u16,
    ends: [End; 2],
    /// For each end, whether everything sent to that end is lost for good. Neither end is told.
    lost: [bool; 2],
}

struct End {
    machine: Machine,
    phase: Phase,
    arrived: VecDeque<Bytes>,
    /// Bytes sent to this end and not read yet.
    unread_bytes: usize,
    /// When the last message to this end arrives. No later message arrives earlier.
    last_arrival: u64,
    held: usize,
    end_arrived: bool,
    reset: bool,
    /// Whether this end has sent `What::End`.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Dialled, not yet answered.
    Opening,
    Open,
    Refused,
    /// The process has closed this end, or has ended.
    Gone,
}

struct Listener {
    arrived: VecDeque<u64>,
    waker: Option<Waker>,
}

impl Net {
    pub(crate) fn new(seed: u64, quality: Quality) -> Net {
        let inner = Inner {
            dice: Dice::new(seed),
            quality,
            under_way: BTreeMap::new(),
            sent: 0,
            connections: BTreeMap::new(),
            last_connection: 0,
            listeners: BTreeMap::new(),
            cuts: BTreeMap::new(),
            without_power: BTreeSet::new(),
            held: Vec::new(),
            to_wake: Vec::new(),
        };
        Net { inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let (result, to_wake) = {
            let mut inner = self.inner.lock();
            let result = change(&mut inner);
            (result, std::mem::take(&mut inner.to_wake))
        };
        to_wake.into_iter().for_each(Waker::wake);
        result
    }

    /// Delivers every message that is due.
    pub(crate) fn deliver(&self) {
        let now = trace::now_us();
        self.with(|inner| {
            while let Some(entry) = inner.under_way.first_entry()
                && entry.key().0 <= now
            {
                let message = entry.remove();
                inner.arrive(message);
            }
        });
    }

    pub(crate) fn set_quality(&self, quality: Quality) {
        self.with(|inner| inner.quality = quality);
    }

    /// Cuts the direction from `from` to `to`: messages are held back until it heals.
    pub(crate) fn cut(&self, from: Machine, to: Machine) {
        self.with(|inner| {
            inner.cuts.entry((from, to)).or_insert(trace::now_us());
        });
    }

    pub(crate) fn is_cut(&self, from: Machine, to: Machine) -> bool {
        self.with(|inner| inner.cuts.contains_key(&(from, to)))
    }

    pub(crate) fn heal(&self, from: Machine, to: Machine) {
        self.with(|inner| {
            if let Some(since) = inner.cuts.remove(&(from, to)) {
                inner.send_again(trace::now_us() - since);
            }
        });
    }

    pub(crate) fn heal_all(&self) {
        self.with(|inner| {
            let since = inner.cuts.values().copied().min().unwrap_or_else(trace::now_us);
            inner.cuts.clear();
            inner.send_again(trace::now_us() - since);
        });
    }

    /// The machine's process has ended. Its kernel resets every connection.
    pub(crate) fn process_ended(&self, machine: Machine) {
        self.with(|inner| {
            for (connection, end) in inner.ends_of(machine) {
                inner.abandon(connection, end);
                inner.send(connection, 1 - end, What::Reset);
            }
            inner.forget_listeners(machine);
        });
    }

    /// The machine has lost power. The other ends are not told.
    pub(crate) fn power_lost(&self, machine: Machine) {
        self.with(|inner| {
            for (connection, end) in inner.ends_of(machine) {
                inner.abandon(connection, end);
            }
            inner.forget_listeners(machine);
            inner.without_power.insert(machine);
        });
    }

    pub(crate) fn power_is_back(&self, machine: Machine) {
        self.with(|inner| {
            inner.without_power.remove(&machine);
            inner.send_again(RETRANSMIT_US_MAX);
        });
    }

    /// Resets about half of the connections between the two machines, at both ends. Returns their number.
    pub(crate) fn reset_some(&self, one: Machine, other: Machine) -> usize {
        self.with(|inner| {
            let chosen: Vec<u64> = inner
                .connections
                .iter()
                .filter(|(_, connection)| connection.joins(one, other))
                .map(|(&number, _)| number)
                .collect();
            let chosen: Vec<u64> = chosen.into_iter().filter(|_| inner.dice.one_in(2)).collect();
            for &connection in &chosen {
                inner.arrive(Message { connection, to: 0, what: What::Reset });
                inner.arrive(Message { connection, to: 1, what: What::Reset });
            }
            chosen.len()
        })
    }

    /// Makes about half of the connections between the two machines lose everything sent towards `to`, for good.
    /// Returns their number.
    pub(crate) fn half_open_some(&self, from: Machine, to: Machine) -> usize {
        self.with(|inner| {
            let mut count = 0;
            let dice = &mut inner.dice;
            for connection in inner.connections.values_mut().filter(|connection| connection.joins(from, to)) {
                let end = usize::from(connection.ends[1].machine == to);
                if dice.one_in(2) {
                    connection.lost[end] = true;
                    count += 1;
                }
            }
            count
        })
    }

    /// Opens a connection. Resolves when the other machine's kernel has answered, which may never happen.
    pub(crate) async fn dial(&self, from: Machine, to: Machine, port: u16) -> io::Result<Stream> {
        let connection = self.with(|inner| {
            inner.last_connection += 1;
            let connection = inner.last_connection;
            let ends = [End::new(from, Phase::Opening), End::new(to, Phase::Opening)];
            inner.connections.insert(connection, Connection { port, ends, lost: [false; 2] });
            inner.send(connection, 1, What::Open);
            connection
        });
        let stream = Stream { net: self.clone(), connection, end: 0 };
        std::future::poll_fn(|context| {
            stream.net.with(|inner| {
                let Some(end) = inner.end(connection, 0) else { return Poll::Ready(Err(reset())) };
                match end.phase {
                    _ if end.reset => Poll::Ready(Err(reset())),
                    Phase::Open => Poll::Ready(Ok(())),
                    Phase::Opening => {
                        end.reader = Some(context.waker().clone());
                        Poll::Pending
                    }
                    Phase::Refused | Phase::Gone => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
                }
            })
        })
        .await?;
        Ok(stream)
    }

    /// Accepts connections to the port until the handle is dropped.
    pub(crate) fn listen(&self, machine: Machine, port: u16) -> io::Result<Listening> {
        self.with(|inner| {
            if inner.listeners.contains_key(&(machine, port)) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            inner.listeners.insert((machine, port), Listener { arrived: VecDeque::new(), waker: None });
            Ok(Listening { net: self.clone(), machine, port })
        })
    }
}

impl Inner {
    fn end(&mut self, connection: u64, end: usize) -> Option<&mut End> {
        self.connections.get_mut(&connection).map(|connection| &mut connection.ends[end])
    }

    /// The ends on `machine` that are in use, as (connection, end).
    fn ends_of(&self, machine: Machine) -> Vec<(u64, usize)> {
        let ends = self.connections.iter().flat_map(|(&number, connection)| {
            connection.ends.iter().enumerate().map(move |(end, which)| (number, end, which))
        });
        ends.filter(|(_, _, end)| end.machine == machine && end.phase != Phase::Gone)
            .map(|(number, end, _)| (number, end))
            .collect()
    }

    fn forget_listeners(&mut self, machine: Machine) {
        self.listeners.retain(|&(of, _), _| of != machine);
    }

    /// Sends a message to end `to` of a connection.
    fn send(&mut self, connection: u64, to: usize, what: What) {
        let now = trace::now_us();
        let Quality { delay_us, jitter_us, lost } = self.quality;
        let mut delay = delay_us + self.dice.below(jitter_us + 1);
        let mut again = RETRANSMIT_US;
        while self.dice.below(10_000) < lost && again < RETRANSMIT_US_MAX {
            delay += again;
            again *= 2;
        }
        let Some(end) = self.end(connection, to) else { return };
        end.last_arrival = end.last_arrival.max(now + delay);
        let at = end.last_arrival;
        self.sent += 1;
        self.under_way.insert((at, self.sent), Message { connection, to, what });
    }

    /// Sends all held messages again, with a new delay for each stream of at most `after_us`. They arrive before
    /// messages of the same stream that were sent later and are under way. A message whose link is still cut is held
    /// back again when it arrives.
    fn send_again(&mut self, after_us: u64) {
        let held = std::mem::take(&mut self.held);
        let mut delays = BTreeMap::new();
        for message in &held {
            let dice = &mut self.dice;
            let key = (message.connection, message.to);
            delays.entry(key).or_insert_with(|| dice.below(after_us.min(RETRANSMIT_US_MAX)) + 1_000);
            if let Some(end) = self.end(message.connection, message.to) {
                end.held -= 1;
            }
        }
        let under_way = std::mem::take(&mut self.under_way);
        let (behind, others) =
            under_way.into_iter().partition(|(_, message)| delays.contains_key(&(message.connection, message.to)));
        self.under_way = others;
        let behind: BTreeMap<(u64, u64), Message> = behind;
        for message in held.into_iter().chain(behind.into_values()) {
            let delay = delays[&(message.connection, message.to)];
            let Some(end) = self.end(message.connection, message.to) else { continue };
            end.last_arrival = end.last_arrival.max(trace::now_us() + delay);
            let at = end.last_arrival;
            self.sent += 1;
            self.under_way.insert((at, self.sent), message);
        }
    }

    fn arrive(&mut self, message: Message) {
        let Message { connection: number, to, .. } = message;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.lost[to] {
            return;
        }
        let (from, here) = (connection.ends[1 - to].machine, connection.ends[to].machine);
        let is_held =
            connection.ends[to].held > 0 || self.cuts.contains_key(&(from, here)) || self.without_power.contains(&here);
        if is_held {
            connection.ends[to].held += 1;
            self.held.push(message);
            return;
        }
        let (kind, bytes) = match &message.what {
            What::Open => (1, 0),
            What::Opened => (2, 0),
            What::Refused => (3, 0),
            What::Bytes(bytes) => (4, trace::hash_of(bytes)),
            What::End => (5, 0),
            What::Reset => (6, 0),
        };
        trace::note(&[number, to as u64, kind, bytes]);
        let port = connection.port;
        let end = &mut connection.ends[to];
        match message.what {
            What::Open => {
                let waiting = self.listeners.get_mut(&(here, port)).filter(|listener| listener.arrived.len() < BACKLOG);
                match waiting {
                    Some(listener) => {
                        end.phase = Phase::Open;
                        listener.arrived.push_back(number);
                        self.to_wake.extend(listener.waker.take());
                        self.send(number, 0, What::Opened);
                    }
                    None => {
                        end.phase = Phase::Gone;
                        self.send(number, 0, What::Refused);
                    }
                }
            }
            What::Opened if end.phase == Phase::Opening => {
                end.phase = Phase::Open;
                self.to_wake.extend(end.reader.take());
            }
            What::Refused if end.phase == Phase::Opening => {
                end.phase = Phase::Refused;
                self.to_wake.extend(end.reader.take());
            }
            What::Bytes(_) | What::End | What::Opened if end.phase == Phase::Gone => {
                self.send(number, 1 - to, What::Reset);
            }
            What::Bytes(bytes) => {
                end.arrived.push_back(bytes);
                self.to_wake.extend(end.reader.take());
            }
            What::End => {
                end.end_arrived = true;
                self.to_wake.extend(end.reader.take());
            }
            What::Reset => {
                end.reset = true;
                self.to_wake.extend(end.reader.take());
                self.to_wake.extend(end.writer.take());
                self.forget_if_done(number);
            }
            What::Opened | What::Refused => {}
        }
    }

    /// Detaches the process from an end.
    fn abandon(&mut self, connection: u64, end: usize) {
        if let Some(end) = self.end(connection, end) {
            end.phase = Phase::Gone;
            end.arrived.clear();
            let waiting = [end.reader.take(), end.writer.take()];
            self.to_wake.extend(waiting.into_iter().flatten());
        }
        self.forget_if_done(connection);
    }

    fn forget_if_done(&mut self, number: u64) {
        let done = |end: &End| end.phase == Phase::Gone;
        if self.connections.get(&number).is_some_and(|connection| connection.ends.iter().all(done)) {
            self.connections.remove(&number);
            self.held.retain(|message| message.connection != number);
        }
    }
}

impl Connection {
    fn joins(&self, one: Machine, other: Machine) -> bool {
        let ends = [self.ends[0].machine, self.ends[1].machine];
        ends == [one, other] || ends == [other, one]
    }
}

impl End {
    fn new(machine: Machine, phase: Phase) -> End {
        End {
            machine,
            phase,
            arrived: VecDeque::new(),
            unread_bytes: 0,
            last_arrival: 0,
            held: 0,
            end_arrived: false,
            reset: false,
            ended: false,
            reader: None,
            writer: None,
        }
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// One end of a connection.
pub(crate) struct Stream {
    net: Net,
    connection: u64,
    end: usize,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (connection, which) = (self.connection, self.end);
        self.net.with(|inner| {
            let Some(end) = inner.end(connection, which) else { return Poll::Ready(Err(reset())) };
            if end.reset || end.phase == Phase::Gone {
                return Poll::Ready(Err(reset()));
            }
            let mut read = 0;
            while buffer.remaining() > 0
                && let Some(first) = end.arrived.front_mut()
            {
                let bytes = first.split_to(first.len().min(buffer.remaining()));
                buffer.put_slice(&bytes);
                read += bytes.len();
                if first.is_empty() {
                    end.arrived.pop_front();
                }
            }
            if read == 0 && !end.end_arrived {
                end.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            end.unread_bytes -= read;
            if let Some(other) = inner.end(connection, 1 - which) {
                let writer = other.writer.take();
                inner.to_wake.extend(writer);
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (connection, which) = (self.connection, self.end);
        self.net.with(|inner| {
            let Some(end) = inner.end(connection, which) else { return Poll::Ready(Err(reset())) };
            if end.reset || end.ended || end.phase == Phase::Gone {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let unread = inner.end(connection, 1 - which).map_or(0, |other| other.unread_bytes);
            if unread >= WINDOW_BYTES {
                if let Some(end) = inner.end(connection, which) {
                    end.writer = Some(context.waker().clone());
                }
                return Poll::Pending;
            }
            let count = bytes.len().min(MESSAGE_BYTES_MAX);
            if let Some(other) = inner.end(connection, 1 - which) {
                other.unread_bytes += count;
            }
            inner.send(connection, 1 - which, What::Bytes(Bytes::copy_from_slice(&bytes[..count])));
            Poll::Ready(Ok(count))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (connection, which) = (self.connection, self.end);
        self.net.with(|inner| {
            if let Some(end) = inner.end(connection, which)
                && !std::mem::replace(&mut end.ended, true)
            {
                inner.send(connection, 1 - which, What::End);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (connection, which) = (self.connection, self.end);
        self.net.with(|inner| {
            let Some(end) = inner.end(connection, which) else { return };
            // A kernel resets a closed connection that has unread bytes. Otherwise it sends an end of stream.
            let (has_unread, ended, gone) = (!end.arrived.is_empty(), end.ended, end.phase == Phase::Gone);
            if gone {
                return;
            }
            if has_unread {
                inner.send(connection, 1 - which, What::Reset);
            } else if !ended {
                inner.send(connection, 1 - which, What::End);
            }
            inner.abandon(connection, which);
        });
    }
}

/// A port that accepts connections.
pub(crate) struct Listening {
    net: Net,
    machine: Machine,
    port: u16,
}

impl Listening {
    /// The next connection, and the address that it comes from.
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        std::future::poll_fn(|context| {
            self.net.with(|inner| {
                let Some(listener) = inner.listeners.get_mut(&(self.machine, self.port)) else {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                };
                let Some(connection) = listener.arrived.pop_front() else {
                    listener.waker = Some(context.waker().clone());
                    return Poll::Pending;
                };
                let from = inner.end(connection, 0).map_or(0, |end| end.machine);
                let stream = Stream { net: self.net.clone(), connection, end: 1 };
                Poll::Ready(Ok((stream, address(from, 30_000 + (connection % 30_000) as u16))))
            })
        })
        .await
    }
}

/// The network as one member sees it.
pub(crate) struct Plug {
    pub(crate) net: Net,
    pub(crate) machine: Machine,
}

/// The name of a member's machine.
pub(crate) fn host(machine: Machine) -> String {
    format!("m{machine}")
}

fn machine_named(host: &str) -> io::Result<Machine> {
    let number = host.strip_prefix('m').and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no host {host}")))
}

impl peer::Net for Plug {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Socket>> {
        Box::pin(async move {
            let to = machine_named(host)?;
            Ok(Box::new(self.net.dial(self.machine, to, port).await?) as Socket)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async move { Ok(Box::new(self.net.listen(self.machine, address.port())?) as Box<dyn Listen>) })
    }
}

impl Listen for Listening {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, Origin)>> {
        Box::pin(async move {
            let (stream, from) = Listening::accept(self).await?;
            Ok((Box::new(stream) as Socket, Origin::from(from)))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(address(self.machine, self.port))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.net.with(|inner| {
            // If the machine has lost power or its process has ended, the listener is already forgotten.
            if let Some(listener) = inner.listeners.remove(&(self.machine, self.port)) {
                for connection in listener.arrived {
                    inner.send(connection, 0, What::Reset);
                    inner.abandon(connection, 1);
                }
            }
        });
    }
}
