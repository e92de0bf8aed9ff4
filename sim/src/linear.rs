//! The model of a register, with which `wasmkeeper::linear` checks histories.
//!
//! This check ignores zxids and everything else that the server says about its own order; `ledger` checks those.
//! Registers are independent of each other, so each history is that of one register.

use std::collections::HashSet;
pub(crate) use wasmkeeper::linear::Verdict;
use wasmkeeper::linear::{self, Model};

/// The state of a register. The version counts the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    pub(crate) value: u64,
    pub(crate) version: i32,
}

/// A request on a register, with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A write without an expected version. `made`: the version that the answer names, if there was an answer.
    Set {
        value: u64,
        made: Option<i32>,
    },
    /// A write that takes effect if the version is `expected`. `done`: whether it did, if there was an answer.
    CompareAndSet {
        expected: i32,
        value: u64,
        done: Option<bool>,
    },
    Get(Register),
}

pub(crate) type Operation = linear::Operation<Action>;

/// Stands for every value that no read returned. Such values need not be told apart.
const UNSEEN: u64 = u64::MAX;

/// Checks the history `operations`, which may be in any order. `initial`: what the register holds before all of them.
pub(crate) fn check(initial: Register, operations: &[Operation]) -> Verdict {
    let seen = operations.iter().filter_map(|operation| match operation.action {
        Action::Get(register) => Some(register.value),
        _ => None,
    });
    linear::check(&Registers { seen: seen.collect() }, initial, operations)
}

struct Registers {
    /// Values that some read returned.
    seen: HashSet<u64>,
}

impl Model for Registers {
    type State = Register;
    type Action = Action;

    fn after(&self, register: &Register, action: &Action) -> Option<Register> {
        let version = register.version;
        let written = |value| Some(Register { value, version: version + 1 });
        match *action {
            Action::Set { made: None, .. } if self.is_anonymous(action) => written(UNSEEN),
            Action::Set { value, made } if made.is_none_or(|made| made == version + 1) => written(value),
            Action::CompareAndSet { expected, value, done } => match (expected == version, done) {
                (true, Some(true) | None) => written(value),
                (false, Some(false)) => Some(*register),
                _ => None,
            },
            Action::Get(seen) if seen == *register => Some(seen),
            Action::Set { .. } | Action::Get(_) => None,
        }
    }

    /// Whether the action is an unanswered write of a value that no read returned.
    fn is_anonymous(&self, action: &Action) -> bool {
        matches!(action, Action::Set { value, made: None } if !self.seen.contains(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper::storage::testing::Dice;

    const START: Register = Register { value: 0, version: 0 };

    fn set(begin: u64, end: u64, value: u64, made: i32) -> Operation {
        Operation { begin, end: Some(end), action: Action::Set { value, made: Some(made) } }
    }

    fn lost_set(begin: u64, value: u64) -> Operation {
        Operation { begin, end: None, action: Action::Set { value, made: None } }
    }

    fn get(begin: u64, end: u64, value: u64, version: i32) -> Operation {
        Operation { begin, end: Some(end), action: Action::Get(Register { value, version }) }
    }

    fn cas(begin: u64, end: u64, expected: i32, value: u64, done: bool) -> Operation {
        Operation { begin, end: Some(end), action: Action::CompareAndSet { expected, value, done: Some(done) } }
    }

    fn is_fine(operations: &[Operation]) -> bool {
        match check(START, operations) {
            Verdict::Linearizable => true,
            Verdict::Not { .. } => false,
            Verdict::Undecided => panic!("undecided: {operations:?}"),
        }
    }

    #[test]
    fn good_histories() {
        assert!(is_fine(&[]));
        assert!(is_fine(&[get(1, 2, 0, 0)]));
        // Two concurrent writes, in either order.
        assert!(is_fine(&[set(1, 5, 7, 2), set(2, 6, 8, 1), get(7, 8, 7, 2)]));
        // A read concurrent with a write returns the old value or the new one.
        assert!(is_fine(&[set(1, 5, 7, 1), get(2, 3, 0, 0)]));
        assert!(is_fine(&[set(1, 5, 7, 1), get(2, 3, 7, 1)]));
        // An unanswered write takes effect at once, later, or never.
        assert!(is_fine(&[lost_set(1, 7), get(2, 3, 7, 1)]));
        assert!(is_fine(&[lost_set(1, 7), get(2, 3, 0, 0), get(4, 5, 7, 1)]));
        assert!(is_fine(&[lost_set(1, 7), get(2, 3, 0, 0)]));
        // An unanswered write of a value that is never read; the next version shows that it took effect.
        assert!(is_fine(&[lost_set(1, 7), set(2, 3, 8, 2)]));
        assert!(is_fine(&[set(1, 2, 7, 1), cas(3, 4, 1, 8, true), cas(5, 6, 1, 9, false), get(7, 8, 8, 2)]));
    }

    #[test]
    fn bad_histories() {
        // A stale read, and a read of a value that was never written.
        assert!(!is_fine(&[set(1, 2, 7, 1), get(3, 4, 0, 0)]));
        assert!(!is_fine(&[get(3, 4, 5, 1)]));
        // A read of the new value, and then one of the old value.
        assert!(!is_fine(&[set(1, 9, 7, 1), get(2, 3, 7, 1), get(4, 5, 0, 0)]));
        // An acknowledged write that is lost.
        assert!(!is_fine(&[set(1, 2, 7, 1), set(3, 4, 8, 1)]));
        // A compare-and-set that fails although nothing was written, and a second one that succeeds on the same
        // version.
        assert!(!is_fine(&[cas(1, 2, 0, 7, false)]));
        assert!(!is_fine(&[cas(1, 2, 0, 7, true), cas(3, 4, 0, 8, true)]));
        // A value that is read before its write begins.
        assert!(!is_fine(&[get(1, 2, 7, 1), lost_set(3, 7)]));
        // A gap in the versions that no lost write explains.
        assert!(!is_fine(&[set(1, 2, 7, 1), set(3, 4, 8, 3)]));
        assert!(!is_fine(&[lost_set(1, 5), set(1, 2, 7, 1), set(3, 4, 8, 4)]));
    }

    #[test]
    fn the_stuck_operation_is_named() {
        let history = [set(1, 2, 7, 1), get(3, 4, 7, 1), get(5, 6, 0, 0), get(7, 8, 7, 1)];
        assert_eq!(check(START, &history), Verdict::Not { stuck_at: 2 });
    }

    /// Whether some order explains the history. Tries every order of every subset of the unanswered operations.
    fn brute_force(register: Register, operations: &[Operation], taken: u32) -> bool {
        let left = |index: &usize| taken & (1 << index) == 0;
        let all = 0..operations.len();
        if all.clone().filter(left).all(|index| operations[index].end.is_none()) {
            return true;
        }
        let earliest_end = all.clone().filter(left).filter_map(|index| operations[index].end).min().unwrap_or(u64::MAX);
        all.filter(left).filter(|&index| operations[index].begin <= earliest_end).any(|index| {
            let Register { version, .. } = register;
            let next = match operations[index].action {
                Action::Set { made: Some(made), .. } if made != version + 1 => return false,
                Action::Set { value, .. } => Register { value, version: version + 1 },
                Action::CompareAndSet { expected, value, done } if expected == version && done != Some(false) => {
                    Register { value, version: version + 1 }
                }
                Action::CompareAndSet { expected, done: Some(false), .. } if expected != version => register,
                Action::CompareAndSet { .. } => return false,
                Action::Get(seen) if seen == register => register,
                Action::Get(_) => return false,
            };
            brute_force(next, operations, taken | 1 << index)
        })
    }

    /// A history of a correct register in which some answers are lost. In half of all histories one answer is
    /// falsified.
    fn random_history(dice: &mut Dice) -> Vec<Operation> {
        let mut register = START;
        let mut operations: Vec<Operation> = (0..1 + dice.below(7))
            .map(|index| {
                let at = 10 + 4 * index;
                let begin = at - dice.below(10);
                let end = (!dice.one_in(4)).then(|| at + dice.below(10));
                let happens = end.is_some() || dice.one_in(2);
                let value = 100 + index;
                let before = register;
                let mut write = || {
                    if happens {
                        register = Register { value, version: register.version + 1 };
                    }
                };
                let action = match dice.below(3) {
                    0 => {
                        write();
                        Action::Set { value, made: end.map(|_| before.version + 1) }
                    }
                    1 => {
                        let expected = before.version - dice.below(2) as i32;
                        let done = expected == before.version;
                        if done {
                            write();
                        }
                        Action::CompareAndSet { expected, value, done: end.map(|_| done) }
                    }
                    _ => Action::Get(before),
                };
                let end = if matches!(action, Action::Get(_)) { end.or(Some(at)) } else { end };
                Operation { begin, end, action }
            })
            .collect();
        if dice.one_in(2) {
            let index = dice.below(operations.len() as u64) as usize;
            match &mut operations[index].action {
                Action::Set { made: Some(made), .. } => *made += 1,
                Action::CompareAndSet { done: Some(done), .. } => *done = !*done,
                Action::Get(seen) => *seen = Register { value: 100 + dice.below(7), version: dice.below(4) as i32 },
                Action::Set { .. } | Action::CompareAndSet { .. } => {}
            }
        }
        operations
    }

    #[test]
    fn check_agrees_with_brute_force() {
        let mut dice = Dice::new(1);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let history = random_history(&mut dice);
            let expected = brute_force(START, &history, 0);
            assert_eq!(is_fine(&history), expected, "{history:?}");
            if expected { good += 1 } else { bad += 1 }
        }
        assert!(good > 5_000 && bad > 5_000, "{good} good, {bad} bad");
    }
}
