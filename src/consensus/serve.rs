//! Answers the other members.

use super::checkpoint_transfer::{busy_until, describe};
use super::connection::PeerError;
use super::convert::{self, invalid_message};
use super::{Consensus, SnapshotData, types};
use crate::limits;
use crate::peer::messages::raft::{Answer, Append, Appended, Call, FromFollower, FromReceiver, TransferRequest, Vote};
use crate::peer::{Arrival, Connection, Purpose};
use crate::storage::LogPosition;
use futures::FutureExt;
use futures::stream::{FuturesOrdered, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::raft::AppendEntriesRequest;
use std::io;

impl Consensus {
    /// Serves a connection of another member until it ends. It carries entries, votes, or a checkpoint.
    pub(crate) async fn serve(&self, connection: Connection) {
        let (from, purpose) = (u64::from(connection.hello.from), connection.hello.purpose);
        // The member lives, so openraft need not wait any longer before it sends to the member.
        let _ = self.raft.trigger().reset_backoff([from]).await;
        let served = match purpose {
            Purpose::Appends => self.take_entries(connection).await,
            Purpose::Votes => self.answer_calls(connection).await,
            Purpose::Checkpoint => self.exchange_checkpoint(connection).await,
            Purpose::Greeting | Purpose::Requests => Err(invalid_message("the connection is not for consensus")),
        };
        if let Err(error) = served {
            tracing::debug!(from, ?purpose, %error, "a connection of a member ends");
        }
    }

    /// Hands entries in as they come, several requests at a time. Answers in the order of the requests, once the
    /// entries are durable. Says so while a large request is arriving.
    async fn take_entries(&self, mut connection: Connection) -> io::Result<()> {
        let mut answers = FuturesOrdered::new();
        loop {
            assert!(answers.len() <= limits::APPENDS_IN_FLIGHT_MAX, "{} requests are being answered", answers.len());
            let room = answers.len() < limits::APPENDS_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    let mut next = Some(answer);
                    let mut answered = false;
                    while let Some((wanted, answer)) = next {
                        let answer: Appended = Option::ok_or_else(answer, ended)?;
                        if wanted {
                            connection.writer.queue(&FromFollower::Appended(answer)).await?;
                            answered = true;
                        }
                        next = answers.next().now_or_never().flatten();
                    }
                    if answered {
                        connection.writer.flush().await?;
                    }
                }
                arrival = connection.reader.next_arrival::<Append>(), if room => match arrival? {
                    Arrival::Message(request) => {
                        let wanted = request.wants_answer;
                        let answer = self.clone().append(convert::to_append(request)?);
                        answers.push_back(answer.map(move |answer| (wanted, answer)));
                    }
                    Arrival::Part => connection.writer.send(&FromFollower::Arriving).await?,
                    Arrival::End => return Ok(()),
                }
            }
        }
    }

    /// Returns None if consensus has ended.
    async fn append(self, request: AppendEntriesRequest<types::TypeConfig>) -> Option<Appended> {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let response = self.raft.append_entries(request).await.ok()?;
        // If no entry lies before the first, nothing can conflict.
        let conflicts = matches!(response, openraft::raft::AppendEntriesResponse::Conflict) && prev.is_none();
        (!conflicts).then(|| convert::appended(response.into_stream_result(prev, last)))
    }

    async fn answer_calls(&self, mut connection: Connection) -> io::Result<()> {
        while let Some(call) = connection.reader.next::<Call>().await? {
            let answer = match call {
                Call::Heartbeat(append) => {
                    let request = convert::to_append(append)?;
                    Answer::Heartbeat(self.clone().append(request).await.ok_or_else(ended)?)
                }
                Call::Vote(candidacy) => {
                    let request = convert::to_candidacy(&candidacy)?;
                    let (standing, granted) = convert::voted(&self.raft.vote(request).await.map_err(io::Error::other)?);
                    Answer::Vote(standing, granted)
                }
                Call::PreVote(candidacy) => {
                    let request = convert::to_candidacy(&candidacy)?;
                    let response = self.raft.pre_vote(request).await.map_err(io::Error::other)?;
                    let (standing, granted) = convert::voted(&response);
                    Answer::PreVote(standing, granted)
                }
                Call::HandOver(hand_over) => {
                    let request = convert::to_hand_over(&hand_over);
                    let taken = self.raft.handle_transfer_leader(request).await.map_err(io::Error::other)?;
                    Answer::HandOver(taken.err().map(|error| error.to_string()))
                }
                Call::VoteAndLog => Answer::VoteAndLog(self.own_vote_and_log()),
            };
            connection.writer.send(&answer).await?;
        }
        Ok(())
    }

    async fn exchange_checkpoint(&self, mut connection: Connection) -> io::Result<()> {
        let Some(intent) = connection.reader.next::<TransferRequest>().await? else { return Ok(()) };
        match intent {
            TransferRequest::Fetch => self.offers.send_on_request(connection, &*self.machine).await,
            TransferRequest::Send { vote, description } => {
                let answer = match self.take_checkpoint(&mut connection, vote, description).await {
                    Ok(vote) => FromReceiver::Done { vote },
                    Err(PeerError::Io(error)) => {
                        tracing::warn!("a checkpoint from another member was not taken: {error}");
                        FromReceiver::Failed(error.to_string())
                    }
                    Err(error) => return Err(io::Error::other(error.to_string())),
                };
                connection.writer.send(&answer).await
            }
        }
    }

    /// Returns this member's vote. If it differs from the sender's, the checkpoint was not taken.
    async fn take_checkpoint(
        &self,
        connection: &mut Connection,
        vote: Vote,
        description: Vec<u8>,
    ) -> Result<Vote, PeerError> {
        let (meta, at) = describe(&description)?;
        let last_membership = meta.membership.as_deref().map(types::decode_stored).transpose();
        let last_membership = last_membership.map_err(|error| invalid_message(&error))?.unwrap_or_default();
        if !vote.committed || at.term > vote.term {
            return Err(invalid_message("a checkpoint from a member that does not lead").into());
        }
        if !self.wants(&vote, at)? {
            return Ok(self.own_vote_and_log().vote);
        }
        let machine = self.machine.clone();
        let received = self
            .receiver
            .receive(connection, description, self.blocking, |description| machine.receive(description))
            .await?;
        if !self.wants(&vote, at)? {
            return Ok(self.own_vote_and_log().vote);
        }
        let meta = openraft::SnapshotMeta { last_log_id: Some(types::log_id(at)), last_membership };
        let snapshot = openraft::Snapshot { meta, snapshot: SnapshotData::Received(received) };
        let installed = async {
            let installed = self.raft.install_full_snapshot(convert::to_vote(&vote), snapshot).await;
            installed.map_err(io::Error::other)
        };
        let installed = busy_until(connection, installed).await?;
        Ok(convert::vote(&installed.vote))
    }

    /// Whether openraft would take a checkpoint of that position from the leader of `vote`. Returns an error if the
    /// checkpoint contradicts what is committed here, because openraft would panic on it.
    fn wants(&self, vote: &Vote, at: LogPosition) -> io::Result<bool> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_term > vote.term {
            return Ok(false);
        }
        let Some(committed) = metrics.local_committed.as_ref().map(types::position) else { return Ok(true) };
        if at > committed && at.index <= committed.index {
            return Err(invalid_message("a checkpoint that contradicts what is committed"));
        }
        Ok(at > committed)
    }
}

fn ended() -> io::Error {
    io::Error::other("consensus has ended")
}
