//! A checkpoint on its way from one member to another.
//!
//! The giver reads it piece by piece while it serves on; the taker writes it to a file beside everything else, and only
//! once count, sum and digest are found right does it become the state. Neither has more than a few pieces in memory.
//!
//! A transfer that is interrupted goes on where it was: the taker keeps what it has and says behind which key to go on,
//! and for `limits::CHECKPOINT_OFFER_KEPT` the giver goes on offering that checkpoint, though it has newer ones by then.

use super::connection::{MemberConnection, PeerError};
use super::{BlockingWork, IncomingCheckpoint, PinnedCheckpoint, StateMachine};
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::Server;
use crate::peer::messages::raft::{FromReceiver, FromSender, TransferRequest, Vote};
use crate::peer::{Connection, Peers, Purpose};
use crate::storage::records;
use crate::storage::{LogPosition, Meta};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::Arc;

/// What this member offers to those that need a checkpoint.
pub struct CheckpointOffers {
    blocking: BlockingWork,
    offered: Mutex<Option<Offer>>,
}

struct Offer {
    checkpoint: Arc<dyn PinnedCheckpoint>,
    /// Transfers under way.
    takers: usize,
    /// With none under way, until when an interrupted one may be taken up.
    kept_until: Instant,
}

impl CheckpointOffers {
    pub fn new(blocking: BlockingWork) -> CheckpointOffers {
        CheckpointOffers { blocking, offered: Mutex::new(None) }
    }

    /// What to offer: the one that is being taken, or was until just now; else the latest.
    pub fn choose(&self, latest: Option<Arc<dyn PinnedCheckpoint>>) -> Option<Arc<dyn PinnedCheckpoint>> {
        let mut offered = self.offered.lock();
        if offered.as_ref().is_some_and(|offer| offer.takers == 0 && offer.kept_until <= Instant::now()) {
            *offered = None;
        }
        offered.as_ref().map(|offer| offer.checkpoint.clone()).or(latest)
    }

    /// Entries behind this one have to stay in the log: a member will need them next.
    pub fn oldest(&self) -> Option<LogPosition> {
        self.choose(None).map(|checkpoint| checkpoint.position())
    }

    /// Gives the checkpoint to the member at the other end. Returns its vote once it goes on from it, or does not want it
    /// from us.
    pub async fn give(
        &self,
        link: &mut MemberConnection,
        vote: Vote,
        checkpoint: Arc<dyn PinnedCheckpoint>,
    ) -> Result<Vote, PeerError> {
        let (mut connection, _) = link.take().await?;
        let taken = Transfer::begin(self, &checkpoint);
        let intent = TransferRequest::Send { vote, description: checkpoint.description() };
        connection.writer.send(&intent).await?;
        let given = give(&mut connection, &checkpoint, self.blocking).await;
        if let Ok(_) | Err(PeerError::Refused(_)) = given {
            // One that a taker finds wrong is not offered again if there is another.
            taken.end();
        }
        given
    }

    /// For a member that asks for one by itself.
    pub async fn give_to(&self, mut connection: Connection, machine: &dyn StateMachine) -> io::Result<()> {
        let checkpoint = self.choose(machine.checkpoint()?);
        let description = checkpoint.as_ref().map(|checkpoint| checkpoint.description());
        connection.writer.send(&FromSender::Description(description)).await?;
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let taken = Transfer::begin(self, &checkpoint);
        match give(&mut connection, &checkpoint, self.blocking).await {
            Ok(_) => {
                taken.end();
                Ok(())
            }
            Err(trouble) => Err(io::Error::other(trouble.to_string())),
        }
    }
}

/// One transfer under way. If it is dropped before its end, it may be taken up later.
struct Transfer<'a> {
    offers: &'a CheckpointOffers,
    kept: std::time::Duration,
}

impl<'a> Transfer<'a> {
    fn begin(offers: &'a CheckpointOffers, checkpoint: &Arc<dyn PinnedCheckpoint>) -> Transfer<'a> {
        let mut offered = offers.offered.lock();
        match &mut *offered {
            Some(offer) if offer.checkpoint.position() == checkpoint.position() => offer.takers += 1,
            _ => *offered = Some(Offer { checkpoint: checkpoint.clone(), takers: 1, kept_until: Instant::now() }),
        }
        drop(offered);
        Transfer { offers, kept: limits::CHECKPOINT_OFFER_KEPT }
    }

    fn end(mut self) {
        self.kept = std::time::Duration::ZERO;
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if let Some(offer) = &mut *self.offers.offered.lock() {
            offer.takers = offer.takers.saturating_sub(1);
            offer.kept_until = Instant::now() + self.kept;
        }
    }
}

/// The giver's side, once the taker knows what it gets.
async fn give(
    connection: &mut Connection,
    checkpoint: &Arc<dyn PinnedCheckpoint>,
    blocking: BlockingWork,
) -> Result<Vote, PeerError> {
    let mut after = match next(connection).await? {
        FromReceiver::GoOn { after, records } => {
            tracing::info!(position = %checkpoint.position(), behind = records, "gives a checkpoint");
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
                FromReceiver::Written { .. } => unconfirmed -= 1,
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

/// What this member takes: one checkpoint at a time, kept from one connection to the next.
#[derive(Default)]
pub struct CheckpointReceiver(tokio::sync::Mutex<Option<Partial>>);

struct Partial {
    description: Vec<u8>,
    receiving: Box<dyn IncomingCheckpoint>,
}

impl CheckpointReceiver {
    /// Receives all of it. `begin` makes the place for one of that description; what comes back is found to be whole.
    pub async fn take(
        &self,
        connection: &mut Connection,
        description: Vec<u8>,
        blocking: BlockingWork,
        begin: impl FnOnce(&[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>,
    ) -> Result<Box<dyn IncomingCheckpoint>, PeerError> {
        // Another connection may still wait for its next piece; it gives up in time.
        let mut partial = self.0.lock().await;
        if partial.as_ref().is_none_or(|partial| partial.description != description) {
            *partial = None;
            *partial = Some(Partial { receiving: begin(&description)?, description });
        }
        let Some(Partial { receiving, .. }) = &*partial else { return Err(gone().into()) };
        let (after, records) = receiving.progress();
        in_time(connection.writer.send(&FromReceiver::GoOn { after, records })).await?;
        loop {
            let piece = next::<FromSender>(connection).await?;
            let FromSender::Piece { records, last } = piece else { return Err(out_of_place(&piece).into()) };
            // Not there any more if it could not be written.
            let Some(Partial { mut receiving, description }) = partial.take() else { return Err(gone().into()) };
            let (receiving, written) = blocking
                .run(move || {
                    let written = receiving.write(&records);
                    (receiving, written)
                })
                .await?;
            written?;
            let (_, records) = receiving.progress();
            if !last {
                *partial = Some(Partial { receiving, description });
                in_time(connection.writer.send(&FromReceiver::Written { records })).await?;
                continue;
            }
            in_time(connection.writer.send(&FromReceiver::Written { records })).await?;
            let mut receiving = receiving;
            let verified = blocking.run(move || receiving.finish().map(|()| receiving));
            return Ok(busy_until(connection, verified).await??);
        }
    }
}

/// Tells the giver that its checkpoint is being worked on until `done` is.
pub async fn busy_until<T>(connection: &mut Connection, done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            biased;
            result = &mut done => return result,
            () = tokio::time::sleep(limits::CHECKPOINT_BUSY_INTERVAL) => connection.writer.send(&FromReceiver::Busy).await?,
        }
    }
}

/// What a description says, if it is whole.
pub fn describe(description: &[u8]) -> io::Result<(Meta, LogPosition)> {
    let (meta, _) = records::decode(description)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a peer's checkpoint: {error}")))?;
    let position = meta.position;
    let position = position.ok_or_else(|| super::convert::invalid_message("a checkpoint of no log position"))?;
    Ok((meta, position))
}

fn gone() -> io::Error {
    io::Error::other("what was received is not there any more")
}

fn out_of_place(message: &impl std::fmt::Debug) -> io::Error {
    super::convert::invalid_message(&format!("out of place while a checkpoint is given: {message:?}"))
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

/// For a member that has lost its state and still has its votes and its log: takes a checkpoint of any of `from`, from
/// which a log goes on whose first entries are gone up to `purged`. Goes on asking until one of them has such a one; what
/// comes back is found to be whole, and has not taken its place. To be called before `start`. `begin` as
/// `StateMachine::receive`.
pub async fn fetch(
    peers: &Peers,
    from: &[Server],
    purged: LogPosition,
    blocking: BlockingWork,
    begin: impl Fn(&[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>,
) -> Box<dyn IncomingCheckpoint> {
    let receiver = CheckpointReceiver::default();
    loop {
        for server in from {
            match fetch_from(peers, server, purged, blocking, &receiver, &begin).await {
                Ok(received) => return received,
                Err(trouble) => {
                    tracing::warn!(member = server.id, ?trouble, "no checkpoint of this member to go on from");
                }
            }
        }
        tokio::time::sleep(limits::CHECKPOINT_FETCH_PAUSE).await;
    }
}

async fn fetch_from(
    peers: &Peers,
    from: &Server,
    purged: LogPosition,
    blocking: BlockingWork,
    receiver: &CheckpointReceiver,
    begin: impl FnOnce(&[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>,
) -> Result<Box<dyn IncomingCheckpoint>, PeerError> {
    let mut connection = peers.connect(from, None, Purpose::Checkpoint).await?;
    in_time(connection.writer.send(&TransferRequest::Fetch)).await?;
    let first = next::<FromSender>(&mut connection).await?;
    let FromSender::Description(description) = first else { return Err(out_of_place(&first).into()) };
    let description = description.ok_or_else(|| PeerError::Refused("it has no checkpoint yet".to_owned()))?;
    let (meta, at) = describe(&description)?;
    if at.index < purged.index {
        return Err(PeerError::Refused(format!(
            "its checkpoint ends at entry {}, the log begins behind {}",
            at, purged
        )));
    }
    let received = receiver.take(&mut connection, description, blocking, begin).await?;
    tracing::info!(zxid = %meta.zxid, position = %at, member = from.id, "has taken the state of another member");
    // The giver need not know what becomes of it; without this it would offer it for a while.
    let vote = Vote { term: 0, voted_for: 0, committed: false };
    let _ = connection.writer.send(&FromReceiver::Done { vote }).await;
    Ok(received)
}
