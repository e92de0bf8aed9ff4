//! What openraft calls when it has something to tell another member.
//!
//! Promises:
//! - Heartbeats, votes, entries and checkpoints each have a connection of their own. None waits behind another kind.
//! - Each answer has a time limit. If an exchange was given up halfway, its connection is not used again.
//! - Only tasks that want something of a member wait for that member. Dialing is a task of its own, because openraft
//!   gives a heartbeat less time than a handshake may take. The next call finds the connection.
//!
//! A member at whose address nobody listens, or who refuses the connection, is `Unreachable` to openraft. openraft then
//! backs off (`backoff`). A connection that broke is a network error, and openraft tries again at once.

use super::SnapshotData;
use super::append_pipeline::AppendPipeline;
use super::checkpoint_transfer::CheckpointOffers;
use super::connection::{MemberConnection, PeerError, ended};
use super::convert;
use super::membership::Membership;
use super::reachability::Reachability;
use super::types::{TypeConfig, Vote};
use crate::limits;
use crate::model::ensemble::Member;
use crate::peer::messages::raft::{Answer, Call};
use crate::peer::{Peers, Purpose};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Makes openraft's clients.
pub(crate) struct ClientFactory {
    pub(super) me: u64,
    pub(super) peers: Arc<Peers>,
    /// The members' present addresses. openraft keeps its clients when an address changes.
    pub(super) members: watch::Receiver<Membership>,
    pub(super) offers: Arc<CheckpointOffers>,
    reach: Arc<Reachability>,
    /// The connections for votes. openraft makes a new client for each election; the connection stays.
    votes: BTreeMap<u64, Arc<Mutex<MemberConnection>>>,
}

impl ClientFactory {
    pub(crate) fn new(
        me: u64,
        peers: Arc<Peers>,
        members: watch::Receiver<Membership>,
        offers: Arc<CheckpointOffers>,
    ) -> ClientFactory {
        ClientFactory { me, peers, members, offers, reach: Arc::default(), votes: BTreeMap::new() }
    }

    pub(super) fn link(&self, to: u64, member: &Member, purpose: Purpose) -> MemberConnection {
        let (peers, members) = (self.peers.clone(), self.members.clone());
        MemberConnection {
            to,
            member: member.clone(),
            purpose,
            peers,
            members,
            kept: parking_lot::Mutex::new(None),
            dialing: None,
        }
    }

    fn client(&mut self, to: u64, member: &Member, traffic: Traffic) -> RaftClient {
        let purpose = match traffic {
            Traffic::Entries => Purpose::Appends,
            Traffic::Heartbeats => Purpose::Votes,
            Traffic::Checkpoint => Purpose::Checkpoint,
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
        RaftClient { me: self.me, to, traffic, link, votes, offers: self.offers.clone(), reach: self.reach.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for ClientFactory {
    type Network = RaftClient;

    async fn new_client(&mut self, to: u64, member: &Member) -> RaftClient {
        self.client(to, member, Traffic::Entries)
    }

    async fn new_heartbeat_client(&mut self, to: u64, member: &Member) -> RaftClient {
        self.client(to, member, Traffic::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, to: u64, member: &Member) -> RaftClient {
        self.client(to, member, Traffic::Checkpoint)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Entries,
    Heartbeats,
    Checkpoint,
}

/// openraft's client of one member, for one kind of traffic.
pub(crate) struct RaftClient {
    me: u64,
    to: u64,
    traffic: Traffic,
    pub(super) link: MemberConnection,
    votes: Arc<Mutex<MemberConnection>>,
    offers: Arc<CheckpointOffers>,
    reach: Arc<Reachability>,
}

impl RaftClient {
    pub(super) fn error(&self, error: PeerError, action: RPCTypes) -> RPCError<TypeConfig> {
        rpc_error(error, action, self.me, self.to)
    }

    /// Makes a call on the connection for votes. openraft drops the future when its own time limit ends.
    async fn call(&self, call: Call, action: RPCTypes) -> Result<Answer, RPCError<TypeConfig>> {
        self.votes.lock().await.call(&call).await.map_err(|error| self.error(error, action))
    }

    fn misplaced(&self, answer: &Answer) -> RPCError<TypeConfig> {
        RPCError::Network(NetworkError::new(&convert::unexpected_answer(answer)))
    }

    async fn heartbeat(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        // openraft drops this future when its own time limit ends.
        let attempt = self.reach.attempt(self.to);
        let answer = self.link.call(&Call::Heartbeat(convert::append(request, true))).await;
        attempt.ends(answer.as_ref().err());
        match answer.map_err(|error| self.error(error, RPCTypes::AppendEntries))? {
            Answer::Heartbeat(appended) => Ok(convert::to_appended(appended)),
            answer => Err(self.misplaced(&answer)),
        }
    }
}

pub(crate) fn rpc_error(error: PeerError, action: RPCTypes, me: u64, to: u64) -> RPCError<TypeConfig> {
    match error {
        PeerError::Connect(error) => RPCError::Unreachable(Unreachable::from_string(format!("member {to}: {error}"))),
        PeerError::Refused(why) => RPCError::Unreachable(Unreachable::from_string(format!("member {to}: {why}"))),
        PeerError::Io(error) => RPCError::Network(NetworkError::from_string(format!("member {to}: {error}"))),
        PeerError::NoAnswer(timeout) => RPCError::Timeout(Timeout { action, id: me, target: to, timeout }),
    }
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

impl RaftNetworkV2<TypeConfig> for RaftClient {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let one = Box::pin(stream::once(async move { request }));
        let answer = AppendPipeline::begin(self, one).next().await;
        let answer = answer.unwrap_or_else(|| Err(self.error(PeerError::Io(ended()), RPCTypes::AppendEntries)))?;
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
            let answers: Answers<'s> = match self.traffic {
                Traffic::Heartbeats => {
                    let each = stream::unfold((self, input), |(client, mut input)| async move {
                        let request = input.next().await?;
                        Some((client.heartbeat(request).await, (client, input)))
                    });
                    Box::pin(each)
                }
                Traffic::Entries | Traffic::Checkpoint => Box::pin(AppendPipeline::begin(self, input)),
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
        let SnapshotData::Pinned(checkpoint) = snapshot.snapshot else {
            let error = NetworkError::from_string("this member has no checkpoint to send");
            return Err(StreamingError::Network(error));
        };
        let offers = self.offers.clone();
        let sent = offers.send(&mut self.link, convert::vote(&vote), checkpoint);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(convert::to_vote(&vote))),
                Err(error) => Err(self.error(error, RPCTypes::InstallSnapshot).into()),
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
        let first = limits::RAFT_BACKOFF_MIN;
        let max = limits::RAFT_BACKOFF_MAX;
        Some(Backoff::new(std::iter::successors(Some(first), move |last| Some((*last * 2).min(max)))))
    }
}
