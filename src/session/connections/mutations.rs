//! What only the simulation's deliberate mistakes need (`hooks::Mutation`).

use super::Connections;
use crate::model::txn::{Outcome, Txn};
use crate::state::{Effects, State};
use crate::watch::Watches;

impl Connections {
    /// `Mutation::RefusalEarly`: if `txn` is a refusal and its connection waits for it next, the connection is answered
    /// now. The transaction that is returned then answers nobody.
    pub(crate) fn answer_refusal_early(&self, state: &State, watches: &mut Watches, txn: Txn) -> Txn {
        let Some((origin, Outcome::Refused(_))) = txn.origin.zip(Some(&txn.outcome)) else { return txn };
        let connection = self.get(origin.connection).filter(|connection| connection.waits_for(origin.xid));
        match connection {
            Some(connection) if connection.applied(state, watches, &txn, &Effects::default()) => {
                Txn { origin: None, ..txn }
            }
            _ => txn,
        }
    }
}
