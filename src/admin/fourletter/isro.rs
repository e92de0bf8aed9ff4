//! `isro`: whether clients may write here.

use super::{Facts, Mode, Word};

pub(super) const ISRO: Word = Word::about_process("isro", |facts| isro(facts).to_owned());

fn isro(facts: &dyn Facts) -> &'static str {
    match (facts.serving(), facts.mode()) {
        (false, _) => "null",
        (true, Mode::ReadOnly) => "ro",
        (true, _) => "rw",
    }
}
