//! Log entries to one member. Several requests are on their way at once; their answers come in the order of the
//! requests.
//!
//! A request is given up, and its connection with it, if the member shows no progress for `APPEND_ANSWER_MAX`: neither
//! an answer, nor a further part of a large request that has arrived there. So one large entry crosses a slow path.

use super::connection::{PeerError, ended};
use super::convert;
use super::network::RaftClient;
use super::types::{LogId, TypeConfig};
use crate::environment::Instant;
use crate::limits;
use crate::peer::Connection;
use crate::peer::messages::raft::{Appended, FromFollower};
use futures::stream::{self, Stream, StreamExt};
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::{OptionalSend, RPCTypes};
use std::io;
use std::time::Duration;

pub(super) struct AppendPipeline<'s, S> {
    client: &'s mut RaftClient,
    /// None before the first request, and after the connection was given back.
    connection: Option<Connection>,
    /// None once it has ended.
    input: Option<S>,
    /// How many answers still come to requests of an earlier pipeline. They are read and dropped.
    stale_answers: usize,
    /// How many requests of this pipeline want an answer and have none. The last of them may still be on its way out.
    /// Invariant: at most `APPENDS_IN_FLIGHT_MAX`.
    unanswered: usize,
    /// The last entry that was sent, and when.
    sent: Option<(LogId, Instant)>,
    /// When the next sign of progress has to be there.
    deadline: Instant,
    ended: bool,
}

/// What the pipeline does next.
enum Step {
    Heard(io::Result<Option<FromFollower>>),
    TimedOut,
    Sent(io::Result<()>),
    Request(Option<AppendEntriesRequest<TypeConfig>>),
}

impl<'s, S> AppendPipeline<'s, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    pub(super) fn begin(
        client: &'s mut RaftClient,
        input: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> + Send + Unpin + use<'s, S>
    {
        let pipeline = AppendPipeline {
            client,
            connection: None,
            input: Some(input),
            stale_answers: 0,
            unanswered: 0,
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
                    // The requests that are on their way behind it get the same answer.
                    self.end();
                }
                Some(Ok(result))
            }
            Err(error) => {
                self.ended = true;
                self.connection = None;
                Some(Err(self.client.error(error, RPCTypes::AppendEntries)))
            }
        }
    }

    /// Ends in good order. A connection with a request halfway out is not used again.
    fn end(&mut self) {
        self.ended = true;
        if let Some(connection) = self.connection.take()
            && !connection.writer.has_pending()
        {
            self.client.link.keep(connection, self.stale_answers + self.unanswered);
        }
    }

    /// The next answer. None once the input has ended, every request has been sent, and every answer has come.
    async fn answer(&mut self) -> Result<Option<Appended>, PeerError> {
        let patience = limits::APPEND_ANSWER_MAX;
        loop {
            let sends = self.connection.as_ref().is_some_and(|connection| connection.writer.has_pending());
            if self.unanswered == 0 && self.input.is_none() && !sends {
                return Ok(None);
            }
            let waits = self.stale_answers + self.unanswered > 0;
            let takes = self.unanswered < limits::APPENDS_IN_FLIGHT_MAX && !sends && self.input.is_some();
            let step = match (&mut self.connection, &mut self.input) {
                (Some(Connection { reader, writer, .. }), input) => tokio::select! {
                    biased;
                    heard = reader.next::<FromFollower>(), if waits => Step::Heard(heard),
                    () = tokio::time::sleep_until(self.deadline), if waits || sends => Step::TimedOut,
                    sent = writer.flush(), if sends => Step::Sent(sent),
                    request = next_of(input), if takes => Step::Request(request),
                },
                (None, input) => Step::Request(next_of(input).await),
            };
            match step {
                Step::Heard(heard) => {
                    let heard = heard?.ok_or_else(ended)?;
                    self.deadline = Instant::now() + patience;
                    match heard {
                        FromFollower::Arriving => {}
                        FromFollower::Appended(_) if self.stale_answers > 0 => self.stale_answers -= 1,
                        FromFollower::Appended(answer) => {
                            assert!(self.unanswered > 0, "an answer was read that no request waits for");
                            self.unanswered -= 1;
                            return Ok(Some(answer));
                        }
                    }
                }
                Step::TimedOut => return Err(PeerError::NoAnswer(patience)),
                Step::Sent(sent) => sent?,
                Step::Request(None) => self.input = None,
                Step::Request(Some(request)) => self.begin_sending(request, patience).await?,
            }
        }
    }

    /// Hands the request to the connection's writer. `answer` sends it, and listens meanwhile.
    async fn begin_sending(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        patience: Duration,
    ) -> Result<(), PeerError> {
        let last = request.entries.last().map(|entry| entry.log_id);
        if let Some(last) = last {
            self.sent = Some((last, Instant::now()));
        }
        // An answer to a request of long ago does not show that the member is in touch now.
        let lasts = limits::HEARTBEAT;
        let told = self.sent.is_some_and(|(sent, at)| request.prev_log_id == Some(sent) && at.elapsed() < lasts);
        let wants_answer = last.is_some() || !told;
        if !wants_answer {
            // The task that applies what was committed goes first: clients of this member wait for it, and a send takes
            // longer.
            tokio::task::yield_now().await;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let (connection, stale_answers) = self.client.link.take().await?;
                self.stale_answers = stale_answers;
                self.deadline = Instant::now() + patience;
                self.connection.insert(connection)
            }
        };
        if self.stale_answers + self.unanswered == 0 {
            self.deadline = Instant::now() + patience;
        }
        assert!(!connection.writer.has_pending(), "a request is queued behind another one that is not sent");
        connection.writer.queue(&convert::append(request, wants_answer)).await?;
        self.unanswered += usize::from(wants_answer);
        assert!(self.unanswered <= limits::APPENDS_IN_FLIGHT_MAX, "{} requests are on their way", self.unanswered);
        Ok(())
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    input.as_mut()?.next().await
}
