//! `ruok`: whether the process is alive.

use super::Word;

pub(super) const RUOK: Word = Word::about_process("ruok", |_| "imok".to_owned());
