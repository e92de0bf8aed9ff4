//! The state of another member in the place of one that is not to be trusted, while openraft goes on: to it, applying
//! merely takes long (`StateMachine::sound_again`).

use super::Consensus;
use super::checkpoint_transfer::{busy_until, describe};
use super::connection::Link;
use crate::peer::Purpose;
use crate::peer::messages::raft::{FromGiver, FromTaker, Intent};
use crate::storage::LogPosition;

impl Consensus {
    /// Takes the checkpoint of that member, if it has one that is not before `applied`; whether it had. An error is a
    /// sentence.
    pub async fn fetch_state(&self, from: u64, applied: Option<LogPosition>) -> Result<bool, String> {
        self.fetch(from, applied).await.map_err(|trouble| trouble.to_string())
    }

    async fn fetch(&self, from: u64, applied: Option<LogPosition>) -> std::io::Result<bool> {
        let Some(mut link) = Link::to(&self.roads, from, Purpose::Checkpoint) else { return Ok(false) };
        let (mut connection, _) = link.take().await.map_err(|error| std::io::Error::other(error.to_string()))?;
        connection.writer.send(&Intent::Take).await?;
        let Some(FromGiver::Description(Some(description))) = connection.reader.next().await? else { return Ok(false) };
        let (meta, at) = describe(&description)?;
        if Some(at) < applied {
            return Ok(false);
        }
        let machine = self.machine.clone();
        let receive = |description: &[u8]| machine.receive(description);
        let received = self.taking.take(&mut connection, description, self.heavy, receive).await;
        let received = received.map_err(|trouble| std::io::Error::other(trouble.to_string()))?;
        let machine = self.machine.clone();
        let install = self.heavy.run(move || machine.install(at, meta.membership.unwrap_or_default(), received));
        busy_until(&mut connection, install).await??;
        connection.writer.send(&FromTaker::Done { vote: self.standing_here().vote }).await?;
        Ok(true)
    }
}
