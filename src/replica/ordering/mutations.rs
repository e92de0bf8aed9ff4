//! Deliberate mistakes of the simulation, where the order of writes would have to make them (`hooks::Mutation`). The
//! code beside this file calls in here, and reads as if the mistakes did not exist. Without the feature `simulation`
//! every function here does what the rule says.

use super::WriteOrder;
use crate::model::txn::Txn;
use crate::state::{Effects, State};

/// What clients hear of the transactions of one batch.
#[derive(Default)]
pub(super) struct Replies {
    /// `Mutation::ReadBetween`: transactions that clients have not heard of, with their effects.
    #[cfg(feature = "simulation")]
    late: Vec<(Txn, Effects)>,
}

impl Replies {
    /// Sends events and replies of `txn`, which has just been applied to `state`.
    pub(super) fn send(&mut self, order: &WriteOrder, state: &State, txn: &Txn, effects: &mut Effects) {
        #[cfg(feature = "simulation")]
        if !crate::hooks::replies_precede_next_txn() {
            return self.late.push((txn.clone(), std::mem::take(effects)));
        }
        order.connections.applied(state, &mut order.watches.lock(), txn, effects);
    }

    /// The batch is applied.
    pub(super) fn end(self, order: &WriteOrder) {
        #[cfg(feature = "simulation")]
        for (txn, effects) in self.late {
            order.connections.applied(&order.state.read(), &mut order.watches.lock(), &txn, &effects);
        }
        #[cfg(not(feature = "simulation"))]
        let _ = order;
    }
}

/// A transaction as it is proposed. `Mutation::RefusalEarly`: a refusal that its connection waits for next is answered
/// now, and nobody answers it later.
pub(super) fn before_proposal(order: &WriteOrder, state: &State, txn: Txn) -> Txn {
    #[cfg(feature = "simulation")]
    if !crate::hooks::refusals_wait() {
        return order.connections.answer_refusal_early(state, &mut order.watches.lock(), txn);
    }
    #[cfg(not(feature = "simulation"))]
    let _ = (order, state);
    txn
}
