//! The way to the other members: what openraft calls when it wants to tell one something.
//!
//! Promises:
//! - Heartbeats have a connection of their own, and so have votes, entries and checkpoints: none waits behind another kind.
//! - Each answer is waited for only so long. A connection with an exchange that was given up halfway is not used again.
//! - Only tasks that want something of a peer wait for it. Dialing is a task of its own, since openraft gives a
//!   heartbeat less time than a handshake may take: whoever asks next finds the connection.
//!
//! Whoever nobody listens for, or who refuses us, is `Unreachable` to openraft, which then backs off (`backoff`);
//! a connection that broke is a network error and tried again at once.

use super::SnapshotData;
use super::checkpoint_transfer::Offers;
use super::convert;
use super::membership::Membership;
use super::reachability::Reach;
use super::types::{LogId, TypeConfig, Vote};
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::Member;
use crate::peer::messages::raft::{Answer, Appended, Call};
use crate::peer::{ConnectError, Connection, Peers, Purpose};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// Makes the clients.
pub struct Roads {
    pub(super) me: u64,
    pub(super) peers: Arc<Peers>,
    /// Where members are now: openraft's clients outlive a change of an address.
    pub(super) members: watch::Receiver<Membership>,
    pub(super) offers: Arc<Offers>,
    reach: Arc<Reach>,
    /// openraft makes a client for each election; the connection stays.
    votes: BTreeMap<u64, Arc<Mutex<Link>>>,
}

impl Roads {
    pub fn new(me: u64, peers: Arc<Peers>, members: watch::Receiver<Membership>, offers: Arc<Offers>) -> Roads {
        Roads { me, peers, members, offers, reach: Arc::default(), votes: BTreeMap::new() }
    }

    fn link(&self, to: u64, member: &Member, purpose: Purpose) -> Link {
        let (peers, members) = (self.peers.clone(), self.members.clone());
        Link { to, member: member.clone(), purpose, peers, members, kept: parking_lot::Mutex::new(None), dialing: None }
    }

    fn client(&mut self, to: u64, member: &Member, task: Task) -> Client {
        let purpose = match task {
            Task::Entries => Purpose::Appends,
            Task::Heartbeats => Purpose::Votes,
            Task::Checkpoint => Purpose::Checkpoint,
        };
        let votes = match self.votes.get(&to) {
            Some(votes) => votes.clone(),
            None => {
                let votes = Arc::new(Mutex::new(self.link(to, member, Purpose::Votes)));
                self.votes.insert(to, votes.clone());
                votes
            }
        };
        let link = self.link(to, member, purpose);
        Client { me: self.me, to, task, link, votes, offers: self.offers.clone(), reach: self.reach.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Roads {
    type Network = Client;

    async fn new_client(&mut self, to: u64, member: &Member) -> Client {
        self.client(to, member, Task::Entries)
    }

    async fn new_heartbeat_client(&mut self, to: u64, member: &Member) -> Client {
        self.client(to, member, Task::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, to: u64, member: &Member) -> Client {
        self.client(to, member, Task::Checkpoint)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Entries,
    Heartbeats,
    Checkpoint,
}

/// At most one connection to one member, dialed when it is wanted.
pub struct Link {
    to: u64,
    /// As of the client's making, for one that the membership does not name any more.
    member: Member,
    purpose: Purpose,
    peers: Arc<Peers>,
    members: watch::Receiver<Membership>,
    /// With the answers that still come to requests of an exchange that has ended early but in good order.
    /// Nobody ever waits for the lock: it makes this shareable, which openraft asks for.
    kept: parking_lot::Mutex<Option<(Connection, usize)>>,
    dialing: Option<JoinHandle<Result<Connection, ConnectError>>>,
}

impl Link {
    /// A link to a member that is named by the membership, for one exchange.
    pub fn to(roads: &Roads, to: u64, purpose: Purpose) -> Option<Link> {
        let member = roads.members.borrow().members.get(&to)?.clone();
        Some(roads.link(to, &member, purpose))
    }

    /// The connection, to be given back by `keep`. May be dropped and asked again: dialing goes on.
    pub async fn take(&mut self) -> Result<(Connection, usize), ConnectError> {
        if let Some(kept) = self.kept.get_mut().take() {
            return Ok(kept);
        }
        let dialing = self.dialing.get_or_insert_with(|| {
            let member = self.members.borrow().members.get(&self.to).cloned().unwrap_or_else(|| self.member.clone());
            let (peers, purpose) = (self.peers.clone(), self.purpose);
            tokio::spawn(async move { peers.connect(&member.server, Some(member.incarnation), purpose).await })
        });
        let dialed = dialing.await;
        self.dialing = None;
        match dialed {
            Ok(dialed) => dialed.map(|connection| (connection, 0)),
            Err(error) => Err(ConnectError::Unreachable(io::Error::other(error))),
        }
    }

    pub fn keep(&mut self, connection: Connection, owed: usize) {
        *self.kept.get_mut() = Some((connection, owed));
    }

    /// One call and its answer. If the future is dropped before its end, so is the connection.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, Trouble> {
        let (mut connection, _) = self.take().await?;
        connection.writer.send(call).await?;
        let answer = connection.reader.next::<Answer>().await?.ok_or_else(ended)?;
        self.keep(connection, 0);
        Ok(answer)
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has ended the connection")
}

/// What can go wrong with a peer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The peer says why it does not do what it was asked for.
    #[error("{0}")]
    Refused(String),
}

/// openraft's way to one member, for one of its tasks.
pub struct Client {
    me: u64,
    to: u64,
    task: Task,
    link: Link,
    votes: Arc<Mutex<Link>>,
    offers: Arc<Offers>,
    reach: Arc<Reach>,
}

impl Client {
    fn error(&self, trouble: Trouble, action: RPCTypes) -> RPCError<TypeConfig> {
        rpc_error(trouble, action, self.me, self.to)
    }

    /// On the connection for votes. openraft's own limit of time drops the future.
    async fn call(&self, call: Call, action: RPCTypes) -> Result<Answer, RPCError<TypeConfig>> {
        self.votes.lock().await.call(&call).await.map_err(|trouble| self.error(trouble, action))
    }

    fn misplaced(&self, answer: &Answer) -> RPCError<TypeConfig> {
        RPCError::Network(NetworkError::new(&convert::misplaced(answer)))
    }

    async fn heartbeat(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        // openraft drops this future when its own patience ends.
        let attempt = self.reach.attempt(self.to);
        let answer = self.link.call(&Call::Heartbeat(convert::append(request, true))).await;
        attempt.ends(answer.as_ref().err());
        match answer.map_err(|trouble| self.error(trouble, RPCTypes::AppendEntries))? {
            Answer::Heartbeat(appended) => Ok(convert::to_appended(appended)),
            answer => Err(self.misplaced(&answer)),
        }
    }
}

pub fn rpc_error(trouble: Trouble, action: RPCTypes, me: u64, to: u64) -> RPCError<TypeConfig> {
    match trouble {
        Trouble::Connect(error) => RPCError::Unreachable(Unreachable::from_string(format!("member {to}: {error}"))),
        Trouble::Refused(why) => RPCError::Unreachable(Unreachable::from_string(format!("member {to}: {why}"))),
        Trouble::Io(error) => RPCError::Network(NetworkError::from_string(format!("member {to}: {error}"))),
        Trouble::NoAnswer(timeout) => RPCError::Timeout(Timeout { action, id: me, target: to, timeout }),
    }
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let one = Box::pin(stream::once(async move { request }));
        let answer = Pipeline::begin(self, one).next().await;
        let answer = answer.unwrap_or_else(|| Err(self.error(Trouble::Io(ended()), RPCTypes::AppendEntries)))?;
        Ok(answer.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let answers: Answers<'s> = match self.task {
                Task::Heartbeats => {
                    let each = stream::unfold((self, input), |(client, mut input)| async move {
                        let request = input.next().await?;
                        Some((client.heartbeat(request).await, (client, input)))
                    });
                    Box::pin(each)
                }
                Task::Entries | Task::Checkpoint => Box::pin(Pipeline::begin(self, input)),
            };
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Call::Vote(convert::candidacy(&request)), RPCTypes::Vote).await? {
            Answer::Vote(standing, granted) => Ok(convert::to_voted(&standing, granted)),
            answer => Err(self.misplaced(&answer)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Call::PreVote(convert::candidacy(&request)), RPCTypes::Vote).await? {
            Answer::PreVote(standing, granted) => Ok(convert::to_voted(&standing, granted)),
            answer => Err(self.misplaced(&answer)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Held(checkpoint) = snapshot.snapshot else {
            let error = NetworkError::from_string("what was received is not what is given");
            return Err(StreamingError::Network(error));
        };
        let offers = self.offers.clone();
        let given = offers.give(&mut self.link, convert::vote(&vote), checkpoint);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            given = given => match given {
                Ok(vote) => Ok(SnapshotResponse::new(convert::to_vote(&vote))),
                Err(trouble) => Err(self.error(trouble, RPCTypes::InstallSnapshot).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Call::HandOver(convert::hand_over(&request)), RPCTypes::TransferLeader).await? {
            Answer::HandOver(None) => Ok(Ok(())),
            Answer::HandOver(Some(_)) => {
                Ok(Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().cloned(), actual: None }))
            }
            answer => Err(self.misplaced(&answer)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let first = Duration::from_millis(limits::RAFT_BACKOFF_MS_MIN);
        let max = Duration::from_millis(limits::RAFT_BACKOFF_MS_MAX);
        Some(Backoff::new(std::iter::successors(Some(first), move |last| Some((*last * 2).min(max)))))
    }
}

/// Entries to one member: several requests are under way, answers come in their order.
struct Pipeline<'s, S> {
    client: &'s mut Client,
    /// None before the first request, and once it is given back.
    connection: Option<Connection>,
    /// None once it has ended.
    input: Option<S>,
    /// Answers to an earlier pipeline's requests, which nobody waits for.
    owed: usize,
    /// Requests of this one without an answer that want one.
    under_way: usize,
    /// The last entry that was sent, and when.
    sent: Option<(LogId, Instant)>,
    /// When the next answer has to be there.
    deadline: Instant,
    ended: bool,
}

/// What the pipeline does next.
enum Step {
    Answered(io::Result<Option<Appended>>),
    TimedOut,
    Request(Option<AppendEntriesRequest<TypeConfig>>),
}

impl<'s, S> Pipeline<'s, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    fn begin(
        client: &'s mut Client,
        input: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> + Send + Unpin + use<'s, S>
    {
        let pipeline = Pipeline {
            client,
            connection: None,
            input: Some(input),
            owed: 0,
            under_way: 0,
            sent: None,
            deadline: Instant::now(),
            ended: false,
        };
        Box::pin(stream::unfold(pipeline, |mut pipeline| async move {
            let item = pipeline.next().await?;
            Some((item, pipeline))
        }))
    }

    async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> {
        if self.ended {
            return None;
        }
        match self.answer().await {
            Ok(None) => {
                self.end();
                None
            }
            Ok(Some(appended)) => {
                let result = convert::to_appended(appended);
                if let Err(StreamAppendError::Conflict(_) | StreamAppendError::HigherVote(_)) = &result {
                    // What is under way behind it is answered the same way.
                    self.end();
                }
                Some(Ok(result))
            }
            Err(trouble) => {
                self.ended = true;
                self.connection = None;
                Some(Err(self.client.error(trouble, RPCTypes::AppendEntries)))
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(connection) = self.connection.take() {
            self.client.link.keep(connection, self.owed + self.under_way);
        }
    }

    /// The next answer; None once the input has ended and everything is answered.
    async fn answer(&mut self) -> Result<Option<Appended>, Trouble> {
        let patience = Duration::from_millis(limits::APPEND_ANSWER_MS_MAX);
        loop {
            if self.under_way == 0 && self.input.is_none() {
                return Ok(None);
            }
            let waits = self.owed + self.under_way > 0;
            let takes = self.under_way < limits::APPENDS_IN_FLIGHT_MAX;
            let step = match (&mut self.connection, &mut self.input) {
                (Some(connection), input) => tokio::select! {
                    biased;
                    answer = connection.reader.next::<Appended>(), if waits => Step::Answered(answer),
                    () = tokio::time::sleep_until(self.deadline), if waits => Step::TimedOut,
                    request = next_of(input), if takes && input.is_some() => Step::Request(request),
                },
                (None, input) => Step::Request(next_of(input).await),
            };
            match step {
                Step::Answered(answer) => {
                    let answer = answer?.ok_or_else(ended)?;
                    self.deadline = Instant::now() + patience;
                    if self.owed > 0 {
                        self.owed -= 1;
                    } else {
                        self.under_way -= 1;
                        return Ok(Some(answer));
                    }
                }
                Step::TimedOut => return Err(Trouble::NoAnswer(patience)),
                Step::Request(None) => self.input = None,
                Step::Request(Some(request)) => self.send(request, patience).await?,
            }
        }
    }

    async fn send(&mut self, request: AppendEntriesRequest<TypeConfig>, patience: Duration) -> Result<(), Trouble> {
        let last = request.entries.last().map(|entry| entry.log_id);
        if let Some(last) = last {
            self.sent = Some((last, Instant::now()));
        }
        // An answer to what was sent long ago does not show that the member is in touch now.
        let lasts = Duration::from_millis(limits::HEARTBEAT_MS);
        let told = self.sent.is_some_and(|(sent, at)| request.prev_log_id == Some(sent) && at.elapsed() < lasts);
        let wants_answer = last.is_some() || !told;
        if !wants_answer {
            // Whoever is applying what was committed goes first: clients here wait for that, and a send takes longer.
            tokio::task::yield_now().await;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let (connection, owed) = self.client.link.take().await?;
                self.owed = owed;
                self.deadline = Instant::now() + patience;
                self.connection.insert(connection)
            }
        };
        if self.owed + self.under_way == 0 {
            self.deadline = Instant::now() + patience;
        }
        let sent =
            tokio::time::timeout(patience, connection.writer.send(&convert::append(request, wants_answer))).await;
        sent.map_err(|_| Trouble::NoAnswer(patience))??;
        self.under_way += usize::from(wants_answer);
        Ok(())
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    input.as_mut()?.next().await
}
