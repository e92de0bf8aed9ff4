//! The refusals a client finds at `/zookeeper/rejection`.
//!
//! The path is no node: a connection answers it from a ring of its last refusals with a text, in request order. It is gone
//! with the connection, NONODE when empty, never listed, and a watch on it never fires.

use crate::limits::REFUSALS_KEPT;
use crate::model::Refusal;
use std::collections::VecDeque;
use std::fmt::Write;

/// Newest first. Nothing is allocated before the first refusal with a text.
#[derive(Default)]
pub struct Refusals(VecDeque<Refused>);

struct Refused {
    xid: i32,
    text: String,
}

impl Refusals {
    /// Keeps a refusal that has something to say.
    pub fn note(&mut self, xid: i32, refusal: &Refusal) {
        if refusal.text.is_empty() {
            return;
        }
        self.0.truncate(REFUSALS_KEPT - 1);
        self.0.push_front(Refused { xid, text: refusal.text.clone() });
    }

    /// One line a refusal: its text and the request's xid. None: there is no such node.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        if self.0.is_empty() {
            return None;
        }
        for refused in &self.0 {
            // The text is a plugin's own; a line break in it must not make two refusals of one.
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
        assert!(refusals.text().is_none(), "an ordinary error has no words");
        for xid in 1..=REFUSALS_KEPT as i32 + 4 {
            let refusal = Refusal::new(ErrorCode::BadArguments, format!("names: /a: no\n{xid}"));
            refusals.note(xid, &refusal);
        }
        let text = refusals.text().unwrap();
        assert_eq!(text.lines().count(), REFUSALS_KEPT);
        assert_eq!(text.lines().next(), Some("names: /a: no 20 (xid 20)"));
    }
}
