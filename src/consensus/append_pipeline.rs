//! Log entries to one member: several requests are on their way at once.

use super::connection::{PeerError, ended};
use super::convert;
use super::network::RaftClient;
use super::types::{LogId, TypeConfig};
use crate::environment::Instant;
use crate::limits;
use crate::peer::Connection;
use crate::peer::messages::raft::Appended;
use futures::stream::{self, Stream, StreamExt};
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::{OptionalSend, RPCTypes};
use std::io;
use std::time::Duration;

/// Entries to one member: several requests are under way, answers come in their order.
pub(super) struct AppendPipeline<'s, S> {
    client: &'s mut RaftClient,
    /// None before the first request, and once it is given back.
    connection: Option<Connection>,
    /// None once it has ended.
    input: Option<S>,
    /// Answers to an earlier pipeline's requests, which nobody waits for.
    stale_answers: usize,
    /// Requests of this one without an answer that want one.
    unanswered: usize,
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
            self.client.link.keep(connection, self.stale_answers + self.unanswered);
        }
    }

    /// The next answer; None once the input has ended and everything is answered.
    async fn answer(&mut self) -> Result<Option<Appended>, PeerError> {
        let patience = Duration::from_millis(limits::APPEND_ANSWER_MS_MAX);
        loop {
            if self.unanswered == 0 && self.input.is_none() {
                return Ok(None);
            }
            let waits = self.stale_answers + self.unanswered > 0;
            let takes = self.unanswered < limits::APPENDS_IN_FLIGHT_MAX;
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
                    if self.stale_answers > 0 {
                        self.stale_answers -= 1;
                    } else {
                        self.unanswered -= 1;
                        return Ok(Some(answer));
                    }
                }
                Step::TimedOut => return Err(PeerError::NoAnswer(patience)),
                Step::Request(None) => self.input = None,
                Step::Request(Some(request)) => self.send(request, patience).await?,
            }
        }
    }

    async fn send(&mut self, request: AppendEntriesRequest<TypeConfig>, patience: Duration) -> Result<(), PeerError> {
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
                let (connection, stale_answers) = self.client.link.take().await?;
                self.stale_answers = stale_answers;
                self.deadline = Instant::now() + patience;
                self.connection.insert(connection)
            }
        };
        if self.stale_answers + self.unanswered == 0 {
            self.deadline = Instant::now() + patience;
        }
        let sent =
            tokio::time::timeout(patience, connection.writer.send(&convert::append(request, wants_answer))).await;
        sent.map_err(|_| PeerError::NoAnswer(patience))??;
        self.unanswered += usize::from(wants_answer);
        Ok(())
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    input.as_mut()?.next().await
}
