//! Connections from members, within limits.
//!
//! Each connection has a task of its own from its first byte. So a connection that is slow with its hello, or with its
//! TLS handshake, delays no other. The tasks end with the future that accepts.
//!
//! A dialer proves itself before the membership is asked about it. A dialer that does not prove itself changes nothing,
//! and takes a few kB until `limits::PEER_HELLO_TIMEOUT`, or until others come behind it: if too many have not proven
//! themselves yet, one of the address with the most of them goes. So one stranger who says nothing keeps no member out.

use super::Connection;
use super::frame::{self, FrameReader, FrameWriter};
use super::hello::{self, Admission, Claim, Hello, HelloRefusal, LocalMember, Welcome};
use super::net::{Listen, Origin, Socket};
use super::refusals::Refusals;
use super::secret::Side;
use crate::limits;
use futures::future::BoxFuture;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinSet};

/// Takes the accepted connections.
pub(crate) trait ConnectionHandler: Send + Sync + 'static {
    /// Whether the membership allows the connection. The caller has checked that the hello is meant for this member,
    /// comes from its cluster, and is proven.
    fn admit(&self, hello: &Hello) -> Result<(), HelloRefusal>;

    /// A connection was refused that a newer roster may allow.
    fn turned_away(&self) {}

    /// The hosts at which others reach that member: its certificate must name one of them. Empty: the number is not
    /// known.
    fn hosts_of(&self, id: u32) -> Vec<String>;

    /// Serves a connection until it ends.
    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()>;
}

/// Accepts connections until the future is dropped.
pub(crate) async fn accept(mut listener: Box<dyn Listen>, me: LocalMember, incoming: Arc<dyn ConnectionHandler>) {
    let mut newcomers = Newcomers::default();
    let mut admitted: JoinSet<()> = JoinSet::new();
    let refusals = Arc::new(Refusals::default());
    loop {
        tokio::select! { biased;
            Some(ended) = admitted.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the task that served a connection of another member has failed");
                }
            }
            Some(connection) = newcomers.next() => {
                if admitted.len() < limits::PEER_CONNECTIONS_MAX {
                    admitted.spawn(incoming.clone().serve(connection));
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => {
                    let full = admitted.len() >= limits::PEER_CONNECTIONS_MAX;
                    let (me, incoming, refusals) = (me.clone(), Arc::clone(&incoming), Arc::clone(&refusals));
                    newcomers.take(Newcomer { me, incoming, from, refusals, full }, socket);
                }
                Err(error) => {
                    // Most likely the process has no file descriptors left. The peer waits in the backlog until some
                    // are free.
                    newcomers.give_way();
                    tracing::warn!(%error, "no connection of another member can be accepted at the moment");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// The connections that have not proven themselves yet, each on a task.
#[derive(Default)]
struct Newcomers {
    tasks: JoinSet<Option<Connection>>,
    /// The tasks that may still run with the address of each, oldest first.
    ///
    /// Invariant: no more than `limits::PEER_NEWCOMERS_MAX`.
    oldest_first: VecDeque<(IpAddr, AbortHandle)>,
}

impl Newcomers {
    /// Lets a connection prove itself. If there are too many, another one gives way.
    fn take(&mut self, newcomer: Newcomer, socket: Socket) {
        self.oldest_first.retain(|(_, task)| !task.is_finished());
        if self.oldest_first.len() >= limits::PEER_NEWCOMERS_MAX {
            self.give_way();
        }
        let from = newcomer.from.ip();
        self.oldest_first.push_back((from, self.tasks.spawn(newcomer.prove(socket))));
        let count = self.oldest_first.len();
        assert!(count <= limits::PEER_NEWCOMERS_MAX, "{count} connections prove themselves");
    }

    /// Ends one connection: the oldest of the address that has most of them. A member has few, and needs two round
    /// trips, so what is old and one of many is most likely no member.
    fn give_way(&mut self) {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (from, _) in &self.oldest_first {
            *counts.entry(*from).or_default() += 1;
        }
        let Some((most, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
        let oldest = self.oldest_first.iter().position(|(from, _)| *from == most);
        if let Some((_, task)) = oldest.and_then(|at| self.oldest_first.remove(at)) {
            task.abort();
        }
    }

    /// The next connection that is admitted. None: there are no newcomers. The future may be dropped at any time.
    async fn next(&mut self) -> Option<Connection> {
        loop {
            match self.tasks.join_next().await? {
                Ok(Some(connection)) => return Some(connection),
                Ok(None) => {}
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!(%error, "the task that admits a connection of another member has failed"),
            }
        }
    }
}

/// An incoming connection before it is admitted.
struct Newcomer {
    me: LocalMember,
    incoming: Arc<dyn ConnectionHandler>,
    from: Origin,
    refusals: Arc<Refusals>,
    /// There were as many connections of members as there may be.
    full: bool,
}

impl Newcomer {
    /// Returns the connection if it is admitted in time.
    async fn prove(self, socket: Socket) -> Option<Connection> {
        let from = &self.from;
        match tokio::time::timeout(limits::PEER_HELLO_TIMEOUT, self.handshake(socket)).await {
            Ok(Ok(connection)) => return connection,
            Ok(Err(error)) => tracing::debug!(%from, %error, "a connection ended before it was admitted"),
            Err(_) => tracing::debug!(%from, "a connection has not proven itself in time"),
        }
        None
    }

    /// Exchanges hello, welcome, claim and admission. None: the connection was refused.
    async fn handshake(&self, socket: Socket) -> io::Result<Option<Connection>> {
        let (mut reader, mut writer) = frame::split(socket, limits::PEER_HELLO_BYTES_MAX);
        let Some(payload) = reader.next_payload().await? else { return Ok(None) };
        let judged = hello::decode_hello(&payload)?;
        let hello = match judged.and_then(|hello| self.me.check_hello(&hello).map(|()| hello)) {
            Ok(hello) => hello,
            Err(refusal) => {
                self.refuse(None, &refusal, &Welcome::Refused(refusal.clone()), reader, writer).await?;
                return Ok(None);
            }
        };
        let welcome = self.me.accepted(&hello)?;
        writer.send(&Welcome::Accepted(welcome)).await?;
        let Some(claim) = reader.next::<Claim>().await? else { return Ok(None) };
        let proven = self.me.check_proof(Side::Dialer, &hello, &welcome, claim.proof.as_ref());
        let member = proven.is_ok().then_some(hello.from);
        let judged = proven.and_then(|()| self.me.check_cluster(&hello)).and_then(|()| self.check_certificate(&hello));
        let judged = judged.and_then(|()| match self.full {
            true => Err(HelloRefusal::Full { id: self.me.id }),
            false => self.incoming.admit(&hello),
        });
        if let Err(refusal) = judged {
            self.refuse(member, &refusal, &Admission::Refused(refusal.clone()), reader, writer).await?;
            return Ok(None);
        }
        writer.send(&Admission::Admitted).await?;
        let bytes_max = hello.purpose.bytes_max();
        reader.set_bytes_max(bytes_max);
        writer.set_bytes_max(bytes_max);
        Ok(Some(Connection { hello, welcome, reader, writer }))
    }

    /// Checks that the dialer's certificate names the member that the dialer says it is. The certificate of a number
    /// that is not known here is not judged: `admit` lets such a dialer ask who is there, and no more.
    fn check_certificate(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        let Some(certificate) = self.from.certificate() else { return Ok(()) };
        let hosts = self.incoming.hosts_of(hello.from);
        if hosts.is_empty() || certificate.names_one_of(&hosts) {
            return Ok(());
        }
        // The member may have moved, and a newer roster may know its host.
        self.incoming.turned_away();
        Err(HelloRefusal::OtherName { from: hello.from, to: self.me.id, names: certificate.names() })
    }

    /// Tells the dialer why it is refused, and waits until it has closed. If this end closed first, the answer could be
    /// lost. `member`: the dialer's number, if the dialer has proven that it is a member.
    async fn refuse(
        &self,
        member: Option<u32>,
        refusal: &HelloRefusal,
        answer: &impl Serialize,
        mut reader: FrameReader,
        mut writer: FrameWriter,
    ) -> io::Result<()> {
        self.refusals.tell(self.me.id, member, &self.from, "a connection to this member is refused", refusal);
        writer.send(answer).await?;
        writer.close().await?;
        while reader.next_payload().await?.is_some() {}
        Ok(())
    }
}
