//! Histories of registers for `linear`: each operation of a client with its answer. Registers are the znodes below
//! `/r/`.

use crate::ask::{Answer, Ask, action};
use crate::linear::{self, Action, Operation, Register, Verdict};
use crate::places::REGISTERS;
use crate::trace::{breach, now_us};
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static HISTORIES: RefCell<BTreeMap<String, Vec<Operation>>> = const { RefCell::new(BTreeMap::new()) };
}

fn add(path: &str, action: Action, begin: u64, end: Option<u64>) {
    if path.strip_prefix(REGISTERS).is_some_and(|rest| rest.starts_with('/')) {
        HISTORIES.with_borrow_mut(|histories| {
            histories.entry(path.to_owned()).or_default().push(Operation { begin, end, action });
        });
    }
}

pub(crate) fn answered(ask: &Ask, answer: &Answer, begin: u64) {
    if let Some((path, action)) = action(ask, Some(answer)) {
        add(&path, action, begin, Some(now_us()));
    }
}

/// Records a request whose answer was lost. Whether the request took effect is unknown.
pub(crate) fn lost(ask: &Ask, begin: u64) {
    match ask {
        Ask::SetAll(sets) | Ask::CheckedSets { sets, .. } => {
            for (path, value) in sets {
                add(path, Action::Set { value: *value, made: None }, begin, None);
            }
        }
        ask => {
            if let Some((path, action)) = action(ask, None) {
                add(&path, action, begin, None);
            }
        }
    }
}

/// Records each set of a multi as a set of its own register. The ledger checks that all of them happen at once.
pub(crate) fn sets_answered(ask: &Ask, failed: Option<i32>, versions: &[i32], begin: u64) {
    if let (Ask::SetAll(sets) | Ask::CheckedSets { sets, .. }, None) = (ask, failed) {
        if sets.len() != versions.len() {
            breach(format!("{ask:?} is answered with versions {versions:?}"));
        }
        for ((path, value), version) in sets.iter().zip(versions) {
            add(path, Action::Set { value: *value, made: Some(*version) }, begin, Some(now_us()));
        }
    }
}

/// Checks every register's history, and returns the number of operations. `initial`: what each register held first.
pub(crate) fn check(initial: Register) -> usize {
    HISTORIES.with_borrow(|histories| {
        for (path, history) in histories {
            match linear::check(initial, history) {
                Verdict::Linearizable => {}
                Verdict::Not { stuck_at } => {
                    let stuck = history[stuck_at];
                    let near = |operation: &&Operation| {
                        operation.begin <= stuck.end.unwrap_or(u64::MAX)
                            && operation.end.is_none_or(|end| end + 500_000 >= stuck.begin)
                    };
                    let near: Vec<&Operation> = history.iter().filter(near).collect();
                    breach(format!("{path} is not linearizable: {stuck:?} does not fit; near it: {near:#?}"));
                }
                Verdict::Undecided => {
                    breach(format!("{path}: the checker gave up before it decided on linearizability"))
                }
            }
        }
        histories.values().map(Vec::len).sum()
    })
}
