//! `crst`: each connection's counters start over. `srst`: the server's counters start over.

use super::Word;

pub(super) const CRST: Word = Word::about_tree("crst", |facts| {
    facts.reset_connections();
    "Connection stats reset.\n".to_owned()
});

pub(super) const SRST: Word = Word::about_tree("srst", |facts| {
    facts.metrics().reset();
    "Server stats reset.\n".to_owned()
});
