//! The cached answers of an authenticator to `matches`. They depend only on the two ids and on the settings of the
//! binding.

use crate::limits;
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;

/// Answers by the id that is held and the ACL id that is wanted. The cache is emptied when it is full.
///
/// Invariant: at most `limits::MATCHES_KEPT_MAX` answers.
#[derive(Default)]
pub struct Matches(Mutex<HashMap<Held, bool>>);

/// The id that is held, and the ACL id that is wanted.
type Held = (Box<str>, Box<str>);

#[derive(Hash)]
struct Pair<'a>(&'a str, &'a str);

impl Equivalent<Held> for Pair<'_> {
    fn equivalent(&self, key: &Held) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

impl Matches {
    pub(crate) fn find(&self, held: &str, wanted: &str) -> Option<bool> {
        self.0.lock().get(&Pair(held, wanted)).copied()
    }

    pub(crate) fn keep(&self, held: &str, wanted: &str, answer: bool) {
        let mut kept = self.0.lock();
        if kept.len() >= limits::MATCHES_KEPT_MAX {
            kept.clear();
        }
        kept.insert((held.into(), wanted.into()), answer);
        assert!(kept.len() <= limits::MATCHES_KEPT_MAX, "too many answers of an authenticator are cached");
    }
}
