//! `gtmk`: the trace mask. `stmk`: a new trace mask, in the eight bytes behind the word.
//!
//! The mask turns nothing on here: tracing has filters of its own.

use super::{Answer, Facts, Word};

/// The mask before any `stmk`.
pub(crate) const TRACE_MASK_DEFAULT: i64 = 0o462;

pub(super) const GTMK: Word = Word::about_process("gtmk", |facts| facts.trace_mask().to_string());
pub(super) const STMK: Word = Word { name: "stmk", answer: Answer::ToArgument(stmk), not_serving: None };

fn stmk(facts: &dyn Facts, argument: Option<[u8; 8]>) -> String {
    let Some(bytes) = argument else { return String::new() };
    let mask = i64::from_be_bytes(bytes);
    facts.set_trace_mask(mask);
    mask.to_string()
}
