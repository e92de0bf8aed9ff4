//! What clients asked of registers and were told, for `linear`. Registers lie below `/r/`.

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

pub fn answered(ask: &Ask, answer: &Answer, begin: u64) {
    if let Some((path, action)) = action(ask, Some(answer)) {
        add(&path, action, begin, Some(now_us()));
    }
}

/// Nobody knows whether it happened.
pub fn lost(ask: &Ask, begin: u64) {
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

/// Each set of a multi is one for its register; that all happen at once is the ledger's to see.
pub fn sets_answered(ask: &Ask, failed: Option<i32>, versions: &[i32], begin: u64) {
    if let (Ask::SetAll(sets) | Ask::CheckedSets { sets, .. }, None) = (ask, failed) {
        if sets.len() != versions.len() {
            breach(format!("{ask:?} is answered with versions {versions:?}"));
        }
        for ((path, value), version) in sets.iter().zip(versions) {
            add(path, Action::Set { value: *value, made: Some(*version) }, begin, Some(now_us()));
        }
    }
}

/// Checks every register. `initial`: what all held before.
pub fn check(initial: Register) -> usize {
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
                Verdict::Undecided => breach(format!("{path}: nobody can tell whether it is linearizable")),
            }
        }
        histories.values().map(Vec::len).sum()
    })
}
