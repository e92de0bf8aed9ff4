//! `hash`: digests of the tree.

use super::{Answer, Facts, Word};
use std::fmt::Write;

pub(super) const HASH: Word = Word {
    name: "hash",
    answer: Answer::Text(hash),
    // Other words end this line. ZooKeeper's `hash` does not.
    not_serving: Some("This ZooKeeper instance is not currently serving requests"),
};

fn hash(facts: &dyn Facts) -> String {
    let mut out = String::new();
    for (zxid, digest) in facts.digests() {
        push_line!(out, "{zxid:x}: {digest}");
    }
    out
}
