//! A checkpoint on its way from one member to another.
//!
//! The sender reads the checkpoint piece by piece while it serves on. The receiver writes it to a file beside
//! everything else. Only when count, sum and digest are right does it become the receiver's state. Neither side has
//! more than a few pieces in memory.
//!
//! An interrupted transfer goes on where it was. The receiver keeps what it has and says behind which key to go on. For
//! `limits::CHECKPOINT_OFFER_KEPT` the sender goes on offering that checkpoint, even if it has newer ones by then.

use super::connection::{MemberConnection, PeerError};
use super::{BlockingWork, IncomingCheckpoint, PinnedCheckpoint, StateMachine};
use crate::environment::Instant;
use crate::limits;
use crate::peer::Connection;
use crate::peer::messages::raft::{FromReceiver, FromSender, TransferRequest, Vote};
use crate::storage::records;
use crate::storage::{LogPosition, Meta};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::Arc;

/// What this member offers to members that need a checkpoint.
pub(crate) struct CheckpointOffers {
    blocking: BlockingWork,
    offered: Mutex<Offered>,
}

#[derive(Default)]
struct Offered {
    offer: Option<Offer>,
    /// The number of the last offer.
    last: u64,
}

struct Offer {
    /// Tells this offer from one that took its place.
    number: u64,
    checkpoint: Arc<dyn PinnedCheckpoint>,
    /// How many transfers of it run. Invariant: each `Transfer` of this number counts once.
    transfers: usize,
    /// If none runs, until when an interrupted one may go on.
    kept_until: Instant,
}

impl CheckpointOffers {
    pub(crate) fn new(blocking: BlockingWork) -> CheckpointOffers {
        CheckpointOffers { blocking, offered: Mutex::default() }
    }

    /// The checkpoint to offer: the one that is being sent, or was until just now. Otherwise the latest.
    pub(crate) fn choose(&self, latest: Option<Arc<dyn PinnedCheckpoint>>) -> Option<Arc<dyn PinnedCheckpoint>> {
        let mut offered = self.offered.lock();
        offered.offer.take_if(|offer| offer.transfers == 0 && offer.kept_until <= Instant::now());
        offered.offer.as_ref().map(|offer| offer.checkpoint.clone()).or(latest)
    }

    /// The position of the offered checkpoint. The entries behind it have to stay in the log: a member needs them next.
    pub(crate) fn oldest(&self) -> Option<LogPosition> {
        self.choose(None).map(|checkpoint| checkpoint.position())
    }

    /// Sends the checkpoint to another member, as its leader. Returns that member's vote when it goes on from the
    /// checkpoint, or when it does not want it from this leader.
    pub(crate) async fn send(
        &self,
        link: &mut MemberConnection,
        vote: Vote,
        checkpoint: Arc<dyn PinnedCheckpoint>,
    ) -> Result<Vote, PeerError> {
        let (mut connection, _) = link.take().await?;
        let transfer = Transfer::begin(self, &checkpoint);
        let request = TransferRequest::Send { vote, description: checkpoint.description() };
        connection.writer.send(&request).await?;
        let sent = send_pieces(&mut connection, &checkpoint, self.blocking).await;
        if let Ok(_) | Err(PeerError::Refused(_)) = sent {
            // Also a checkpoint that a receiver finds wrong is not offered again if there is another.
            transfer.end();
        }
        sent
    }

    /// Sends a checkpoint to a member that asks for one.
    pub(crate) async fn send_on_request(
        &self,
        mut connection: Connection,
        machine: &dyn StateMachine,
    ) -> io::Result<()> {
        let checkpoint = self.choose(machine.checkpoint()?);
        let description = checkpoint.as_ref().map(|checkpoint| checkpoint.description());
        connection.writer.send(&FromSender::Description(description)).await?;
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let transfer = Transfer::begin(self, &checkpoint);
        match send_pieces(&mut connection, &checkpoint, self.blocking).await {
            Ok(_) => {
                transfer.end();
                Ok(())
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}

/// A running transfer. If it is dropped without `end`, the checkpoint stays on offer for a while.
struct Transfer<'a> {
    offers: &'a CheckpointOffers,
    /// The number of the offer.
    number: u64,
    kept: std::time::Duration,
}

impl<'a> Transfer<'a> {
    fn begin(offers: &'a CheckpointOffers, checkpoint: &Arc<dyn PinnedCheckpoint>) -> Transfer<'a> {
        let mut offered = offers.offered.lock();
        let number = match &mut offered.offer {
            Some(offer) if offer.checkpoint.position() == checkpoint.position() => {
                offer.transfers += 1;
                offer.number
            }
            _ => {
                offered.last += 1;
                let number = offered.last;
                let checkpoint = checkpoint.clone();
                offered.offer = Some(Offer { number, checkpoint, transfers: 1, kept_until: Instant::now() });
                number
            }
        };
        drop(offered);
        Transfer { offers, number, kept: limits::CHECKPOINT_OFFER_KEPT }
    }

    fn end(mut self) {
        self.kept = std::time::Duration::ZERO;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        let mut offered = self.offers.offered.lock();
        let Some(offer) = offered.offer.as_mut().filter(|offer| offer.number == self.number) else { return };
        assert!(offer.transfers > 0, "transfer {} ends, and none is counted", self.number);
        offer.transfers -= 1;
        offer.kept_until = Instant::now() + self.kept;
    }
}

/// The sender's side, once the receiver knows the description.
async fn send_pieces(
    connection: &mut Connection,
    checkpoint: &Arc<dyn PinnedCheckpoint>,
    blocking: BlockingWork,
) -> Result<Vote, PeerError> {
    let mut after = match next(connection).await? {
        FromReceiver::GoOn { after, records } => {
            tracing::info!(position = %checkpoint.position(), behind = records, "sending a checkpoint to another member");
            after
        }
        FromReceiver::Done { vote } => return Ok(vote),
        FromReceiver::Failed(why) => return Err(PeerError::Refused(why)),
        other => return Err(out_of_place(&other).into()),
    };
    let mut unconfirmed = 0;
    let mut more = true;
    while more || unconfirmed > 0 {
        if more && unconfirmed < limits::CHECKPOINT_PIECES_IN_FLIGHT_MAX {
            let (source, behind) = (checkpoint.clone(), after.take());
            let (records, goes_on) = blocking
                .run(move || {
                    let mut records = Vec::new();
                    let more = source.piece(behind.as_deref(), limits::CHECKPOINT_PIECE_BYTES, &mut records)?;
                    io::Result::Ok((records, more))
                })
                .await??;
            more = goes_on;
            after = records.last().map(|(key, _): &(Bytes, Bytes)| key.to_vec());
            let piece = FromSender::Piece { records, last: !more };
            in_time(connection.writer.send(&piece)).await?;
            unconfirmed += 1;
        } else {
            match next(connection).await? {
                FromReceiver::Written { .. } => {
                    assert!(unconfirmed > 0, "a piece is confirmed, and none is on its way");
                    unconfirmed -= 1;
                }
                FromReceiver::Failed(why) => return Err(PeerError::Refused(why)),
                other => return Err(out_of_place(&other).into()),
            }
        }
    }
    loop {
        match next(connection).await? {
            FromReceiver::Busy => {}
            FromReceiver::Done { vote } => return Ok(vote),
            FromReceiver::Failed(why) => return Err(PeerError::Refused(why)),
            other => return Err(out_of_place(&other).into()),
        }
    }
}

/// Receives one checkpoint at a time. Keeps an unfinished one from one connection to the next.
#[derive(Default)]
pub(crate) struct CheckpointReceiver(tokio::sync::Mutex<Option<Partial>>);

struct Partial {
    description: Vec<u8>,
    incoming: Box<dyn IncomingCheckpoint>,
}

impl CheckpointReceiver {
    /// Receives a whole checkpoint and verifies it. `begin` begins one of that description.
    pub(crate) async fn receive(
        &self,
        connection: &mut Connection,
        description: Vec<u8>,
        blocking: BlockingWork,
        begin: impl FnOnce(&[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>,
    ) -> Result<Box<dyn IncomingCheckpoint>, PeerError> {
        // Another connection may hold the lock while it waits for its next piece. Its wait has a time limit.
        let mut partial = self.0.lock().await;
        if partial.as_ref().is_none_or(|partial| partial.description != description) {
            *partial = None;
            *partial = Some(Partial { incoming: begin(&description)?, description });
        }
        let Some(Partial { incoming, .. }) = &*partial else { return Err(gone().into()) };
        let (after, records) = incoming.progress();
        in_time(connection.writer.send(&FromReceiver::GoOn { after, records })).await?;
        loop {
            let piece = next::<FromSender>(connection).await?;
            let FromSender::Piece { records, last } = piece else { return Err(out_of_place(&piece).into()) };
            // Taken out while it is written: if the write fails, nothing of it is kept.
            let Some(Partial { mut incoming, description }) = partial.take() else { return Err(gone().into()) };
            let (_, before) = incoming.progress();
            let (incoming, written) = blocking
                .run(move || {
                    let written = incoming.write(&records);
                    (incoming, written)
                })
                .await?;
            written?;
            let (_, records) = incoming.progress();
            assert!(records >= before, "a piece leaves {records} records of {before}");
            if !last {
                *partial = Some(Partial { incoming, description });
                in_time(connection.writer.send(&FromReceiver::Written { records })).await?;
                continue;
            }
            in_time(connection.writer.send(&FromReceiver::Written { records })).await?;
            let mut incoming = incoming;
            let verified = blocking.run(move || incoming.finish().map(|()| incoming));
            return Ok(busy_until(connection, verified).await??);
        }
    }
}

/// Waits for `done`. Meanwhile tells the sender that this member works on the checkpoint.
pub(crate) async fn busy_until<T>(
    connection: &mut Connection,
    done: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            biased;
            result = &mut done => return result,
            () = tokio::time::sleep(limits::CHECKPOINT_BUSY_INTERVAL) => connection.writer.send(&FromReceiver::Busy).await?,
        }
    }
}

/// Decodes a description, and the log position that it must name.
pub(crate) fn describe(description: &[u8]) -> io::Result<(Meta, LogPosition)> {
    let (meta, _) = records::decode(description)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a peer's checkpoint: {error}")))?;
    let position = meta.position;
    let position = position.ok_or_else(|| super::convert::invalid_message("a checkpoint of no log position"))?;
    Ok((meta, position))
}

fn gone() -> io::Error {
    io::Error::other("what was received of the checkpoint is not there any more")
}

fn out_of_place(message: &impl std::fmt::Debug) -> io::Error {
    super::convert::invalid_message(&format!("out of place while a checkpoint is sent: {message:?}"))
}

async fn next<T: DeserializeOwned>(connection: &mut Connection) -> Result<T, PeerError> {
    let message = in_time(connection.reader.next::<T>()).await?;
    let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has ended the connection");
    Ok(message.ok_or_else(ended)?)
}

async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> Result<T, PeerError> {
    let patience = limits::CHECKPOINT_ANSWER_MAX;
    Ok(tokio::time::timeout(patience, future).await.map_err(|_| PeerError::NoAnswer(patience))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(u64);

    impl PinnedCheckpoint for At {
        fn position(&self) -> LogPosition {
            LogPosition { term: 1, index: self.0 }
        }

        fn membership(&self) -> Option<Vec<u8>> {
            None
        }

        fn description(&self) -> Vec<u8> {
            Vec::new()
        }

        fn piece(&self, _: Option<&[u8]>, _: usize, _: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn the_end_of_an_older_transfer_leaves_the_offer_of_a_newer_one() {
        let offers = CheckpointOffers::new(BlockingWork::Inline);
        let (older, newer): (Arc<dyn PinnedCheckpoint>, Arc<dyn PinnedCheckpoint>) = (Arc::new(At(5)), Arc::new(At(9)));
        let transfer_of_older = Transfer::begin(&offers, &older);
        let transfer_of_newer = Transfer::begin(&offers, &newer);
        transfer_of_older.end();
        assert_eq!(offers.oldest(), Some(newer.position()), "a transfer of it runs");
        drop(transfer_of_newer);
        assert_eq!(offers.oldest(), Some(newer.position()), "its transfer may go on");
        Transfer::begin(&offers, &newer).end();
        assert_eq!(offers.oldest(), None);
    }
}
