//! One member in memory: a tree, and the evaluator that judges writes on it. No clients, no watches, no words: `stage`
//! adds those, and tests that need more than words use a `World` directly.

use super::clock::Clock;
use crate::model::Refusal;
use crate::model::txn::Txn;
use crate::pipeline::{Ask, Evaluation, Evaluator, Moment, Plugins, Rules, Submission};
use crate::state::{Effects, State};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// The seed of the tree's hash tables.
const STATE_SEED: u64 = 7;

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) evaluator: Evaluator,
    pub(crate) rules: Arc<Rules>,
    pub(crate) clock: Clock,
    /// What plugins say of writes.
    pub(crate) judge: Box<dyn Plugins>,
    /// Evaluated and not applied, in order.
    outstanding: VecDeque<Outstanding>,
    /// Whether another leader has begun since the last transaction was applied.
    new_leader: bool,
    history: Option<Vec<Happened>>,
    /// The effects of the transaction applied last.
    pub(crate) applied: Effects,
}

pub(crate) struct Outstanding {
    /// The name of the client that is answered. None: the server asked.
    pub(crate) who: Option<String>,
    pub(crate) given: Given,
    pub(crate) txn: Txn,
    /// What a native call returned.
    pub(crate) reply: Option<Bytes>,
    /// Whether the answer has been printed.
    pub(crate) shown: bool,
}

/// What a transaction was made from.
pub(crate) struct Given {
    pub(crate) submission: Submission,
    /// Why a deployment was refused before the evaluator saw it.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) moment: Moment,
}

/// A transaction that was applied, with what `one_by_one` needs to evaluate it again.
pub(crate) struct Happened {
    pub(crate) given: Given,
    /// Whether another leader had begun since the transaction before.
    new_leader: bool,
    pub(crate) txn: Txn,
}

impl World {
    pub(crate) fn new(rules: Rules, judge: Box<dyn Plugins>) -> World {
        let rules = Arc::new(rules);
        let state = empty_state();
        let evaluator = first_evaluator(&rules, &state);
        World {
            state,
            evaluator,
            rules,
            clock: Clock::new(),
            judge,
            outstanding: VecDeque::new(),
            new_leader: false,
            history: None,
            applied: Effects::default(),
        }
    }

    /// Whether nothing has been evaluated yet.
    pub(crate) fn is_new(&self) -> bool {
        self.evaluator.last_zxid() == crate::model::Zxid::ZERO
    }

    /// Gives a world in which nothing has been evaluated yet other rules.
    pub(crate) fn set_rules(&mut self, rules: Rules) {
        assert!(self.is_new(), "the rules of a server are set before its first transaction");
        self.rules = Arc::new(rules);
        self.evaluator = first_evaluator(&self.rules, &self.state);
    }

    /// Evaluates a submission. Its transaction, if there is one, becomes the youngest outstanding one; then None is
    /// returned.
    pub(crate) fn evaluate(
        &mut self,
        who: Option<String>,
        submission: Submission,
        refusal: Option<Refusal>,
    ) -> Option<Evaluation> {
        let (moment, txn) = loop {
            let moment = self.clock.moment();
            let evaluation = match &refusal {
                Some(refusal) => self.evaluator.refuse(&self.state, &submission, moment, refusal),
                None => self.evaluator.evaluate(&self.state, &submission, moment, &mut *self.judge),
            };
            match evaluation {
                Evaluation::Txn(txn) => break (moment, txn),
                Evaluation::Part(session, txn) => {
                    // The same end once more: an earlier part has been applied when this one is judged again.
                    let ask = Ask::CloseSession {
                        session,
                        expired: matches!(submission.ask, Ask::CloseSession { expired: true, .. }),
                    };
                    let given = Given { submission: Submission { caller: None, xid: 0, ask }, refusal: None, moment };
                    self.outstanding.push_back(Outstanding { who: None, given, txn, reply: None, shown: false });
                }
                other => return Some(other),
            }
        };
        let reply = self.evaluator.take_reply();
        let given = Given { submission, refusal, moment };
        self.outstanding.push_back(Outstanding { who, given, txn, reply, shown: false });
        None
    }

    /// How many transactions are evaluated and not applied.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The outstanding transaction that was evaluated last.
    pub(crate) fn youngest(&mut self) -> Option<&mut Outstanding> {
        self.outstanding.back_mut()
    }

    /// The outstanding transactions, oldest first.
    #[cfg(test)]
    pub(crate) fn all_outstanding(&self) -> impl Iterator<Item = &Outstanding> {
        self.outstanding.iter()
    }

    /// Applies the oldest outstanding transaction. `applied` then says what it did. The caller gives the
    /// transaction back with `keep`.
    pub(crate) fn apply_one(&mut self) -> Option<Outstanding> {
        let next = self.outstanding.pop_front()?;
        self.state.apply(&next.txn, &mut self.applied);
        if let crate::model::txn::Outcome::Done(slots) = &next.txn.outcome {
            assert_eq!(slots.len(), self.applied.slots.len(), "each slot has its Stat: {:?}", next.txn);
        }
        self.evaluator.committed(self.state.last_zxid());
        Some(next)
    }

    /// Checks every invariant of the tree and of the overlay. Walks everything.
    #[cfg(test)]
    pub(crate) fn check_all(&self) {
        self.state.check_all();
        self.evaluator.overlay().check_all();
    }

    /// Keeps an applied transaction for `one_by_one`, if history is kept.
    pub(crate) fn keep(&mut self, given: Given, txn: Txn) {
        let new_leader = std::mem::take(&mut self.new_leader);
        if let Some(history) = &mut self.history {
            history.push(Happened { given, new_leader, txn });
        }
    }

    /// Another leader begins: what was outstanding is void, and returned.
    pub(crate) fn new_leader(&mut self) -> VecDeque<Outstanding> {
        self.new_leader = true;
        self.begin_chain(true)
    }

    /// The same leader begins a new chain: what was outstanding is void, and returned.
    pub(crate) fn break_chain(&mut self) -> VecDeque<Outstanding> {
        self.begin_chain(false)
    }

    fn begin_chain(&mut self, new_epoch: bool) -> VecDeque<Outstanding> {
        self.evaluator.start_chain(&self.state, new_epoch);
        std::mem::take(&mut self.outstanding)
    }

    /// From now on every applied transaction is kept. To be called before the first one.
    pub(crate) fn keep_history(&mut self) {
        self.history = Some(Vec::new());
    }

    /// The transactions that were applied and kept, in order.
    pub(crate) fn history(&self) -> &[Happened] {
        self.history.as_deref().unwrap_or_default()
    }

    /// Evaluates what has been applied once more, each transaction alone on what the ones before it have left. Every
    /// transaction must come out as it did when others were outstanding and leaders changed. So each took effect at one
    /// moment between its request and its reply (the history is linearizable), and what was lost has left nothing.
    ///
    /// `judge`: plugins that have seen nothing yet. `refresh`: called with the tree after each transaction. The error
    /// names the first transaction that came out otherwise.
    pub(crate) fn one_by_one(
        &self,
        judge: &mut dyn Plugins,
        refresh: &mut dyn FnMut(&Txn, &State),
    ) -> Result<(), String> {
        let mut state = empty_state();
        let mut evaluator = first_evaluator(&self.rules, &state);
        let mut applied = Effects::default();
        for Happened { given, new_leader, txn } in self.history() {
            if *new_leader {
                evaluator.start_chain(&state, true);
            }
            let Given { submission, refusal, moment } = given;
            let again = match refusal {
                Some(refusal) => evaluator.refuse(&state, submission, *moment, refusal),
                None => evaluator.evaluate(&state, submission, *moment, judge),
            };
            match again {
                Evaluation::Txn(alone) | Evaluation::Part(_, alone)
                    if (&alone.outcome, &alone.changes) == (&txn.outcome, &txn.changes) =>
                {
                    state.apply(&alone, &mut applied);
                    refresh(&alone, &state);
                }
                alone => {
                    return Err(format!("0x{:x} is {txn:?}, and evaluated alone {alone:?}", txn.zxid.0));
                }
            }
        }
        Ok(())
    }
}

/// A tree in which nothing has happened yet.
pub(crate) fn empty_state() -> State {
    State::new(STATE_SEED)
}

/// The evaluator of member 1, which leads for the first time.
fn first_evaluator(rules: &Arc<Rules>, state: &State) -> Evaluator {
    let mut evaluator = Evaluator::new(rules.clone()).of(1);
    evaluator.start_chain(state, true);
    evaluator
}
