//! Replaces a state that is not to be trusted by the state of another member, while openraft goes on. To openraft,
//! applying merely takes long (`StateMachine::until_sound`).

use super::Consensus;
use super::checkpoint_transfer::{busy_until, describe};
use super::connection::MemberConnection;
use crate::peer::Purpose;
use crate::peer::messages::raft::{FromReceiver, FromSender, TransferRequest};
use crate::storage::LogPosition;

impl Consensus {
    /// Takes the checkpoint of that member, if it has one that is not before `applied`. Returns whether it had. An
    /// error is a sentence.
    pub(crate) async fn fetch_state(&self, from: u64, applied: Option<LogPosition>) -> Result<bool, String> {
        self.fetch(from, applied).await.map_err(|error| error.to_string())
    }

    async fn fetch(&self, from: u64, applied: Option<LogPosition>) -> std::io::Result<bool> {
        let Some(mut link) = MemberConnection::to(&self.clients, from, Purpose::Checkpoint) else { return Ok(false) };
        let (mut connection, _) = link.take().await.map_err(|error| std::io::Error::other(error.to_string()))?;
        connection.writer.send(&TransferRequest::Fetch).await?;
        let Some(FromSender::Description(Some(description))) = connection.reader.next().await? else {
            return Ok(false);
        };
        let (meta, at) = describe(&description)?;
        if Some(at) < applied {
            return Ok(false);
        }
        let machine = self.machine.clone();
        let receive = |description: &[u8]| machine.receive(description);
        let received = self.receiver.receive(&mut connection, description, self.blocking, receive).await;
        let received = received.map_err(|error| std::io::Error::other(error.to_string()))?;
        let machine = self.machine.clone();
        let install = self.blocking.run(move || machine.install(at, meta.membership.unwrap_or_default(), received));
        busy_until(&mut connection, install).await??;
        connection.writer.send(&FromReceiver::Done { vote: self.own_vote_and_log().vote }).await?;
        Ok(true)
    }
}
