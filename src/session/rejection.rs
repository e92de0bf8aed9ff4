//! The refusals that a client finds at `/zookeeper/rejection`.
//!
//! The path is no node of the tree. A connection keeps its last refusals that have a text, and answers reads of the
//! path with them, in the order of the requests. Without such a refusal the path is NONODE. It is never listed, and a
//! watch on it never fires. The refusals are lost with the connection.

use crate::limits::REFUSALS_KEPT;
use crate::model::Refusal;
use std::collections::VecDeque;
use std::fmt::Write;

/// The last refusals with a text, newest first. Nothing is allocated before the first refusal.
///
/// Invariant: at most `limits::REFUSALS_KEPT`.
#[derive(Default)]
pub(crate) struct Refusals(VecDeque<Refused>);

struct Refused {
    xid: i32,
    text: String,
}

impl Refusals {
    /// Keeps a refusal if it has a text.
    pub(crate) fn note(&mut self, xid: i32, refusal: &Refusal) {
        if refusal.text.is_empty() {
            return;
        }
        self.0.truncate(REFUSALS_KEPT - 1);
        self.0.push_front(Refused { xid, text: refusal.text.clone() });
        assert!(self.0.len() <= REFUSALS_KEPT, "{} refusals are kept", self.0.len());
    }

    /// One line for each refusal: its text, and the xid of the request. None: there is no refusal.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = String::new();
        if self.0.is_empty() {
            return None;
        }
        for refused in &self.0 {
            // The text comes from a plugin. A line break in it must not look like a second refusal.
            let line = refused.text.replace(['\n', '\r'], " ");
            writeln!(text, "{line} (xid {})", refused.xid).expect("a string takes all that is written");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorCode;

    #[test]
    fn newest_first_and_bounded() {
        let mut refusals = Refusals::default();
        assert!(refusals.text().is_none());
        refusals.note(1, &ErrorCode::NoNode.into());
        assert!(refusals.text().is_none(), "an ordinary error has no text");
        for xid in 1..=REFUSALS_KEPT as i32 + 4 {
            let refusal = Refusal::new(ErrorCode::BadArguments, format!("names: /a: no\n{xid}"));
            refusals.note(xid, &refusal);
        }
        let text = refusals.text().unwrap();
        assert_eq!(text.lines().count(), REFUSALS_KEPT);
        assert_eq!(text.lines().next(), Some("names: /a: no 20 (xid 20)"));
    }
}
