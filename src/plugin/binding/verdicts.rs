//! The cached answers of a pure policy. An answer is used while the policy would give the same answer again.
//!
//! An answer depends on who asks, the verb, the path, the settings, and what the policy read. Identities, verb and path
//! are the key. The settings belong to the binding. Everything the policy read is remembered by the node's versions
//! (`pipeline::Versions`), or by its absence. While all of these are the same, the verdict holds. So a change of a role
//! takes effect with the zxid of the change. An answer that rests on outstanding changes is not cached, because their
//! zxids may come to stand for something else.
//!
//! The cache is bounded. A full shard is emptied, which costs one call for each question that was in it. Which shard a
//! question belongs to is random. A simulated run asks far fewer questions than one shard holds, so its results do not
//! depend on that.

use crate::hooks;
use crate::limits;
use crate::model::{Identity, Zxid};
use crate::pipeline::{ReadView, Verb};
use crate::plugin::contract::cut;
use crate::plugin::contract::exports::authorization::Decision;
use crate::plugin::guest::looks::Look;
use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Each shard has a lock, so that readers rarely wait for each other.
const SHARDS: usize = 16;
const SHARD_VERDICTS_MAX: usize = limits::VERDICTS_KEPT_MAX / SHARDS;

/// One answer.
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    looks: Box<[Look]>,
    /// The zxid of the applied tree on which the verdict was last checked and held. `NEVER` at first.
    held_at: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Verdict {
    pub(crate) fn new(decision: Decision, looks: Vec<Look>) -> Verdict {
        let decision = match decision {
            Decision::Deny(text) => Decision::Deny(cut(&text, limits::REFUSAL_TEXT_BYTES_MAX).to_owned()),
            decision => decision,
        };
        Verdict { decision, looks: looks.into(), held_at: AtomicU64::new(NEVER) }
    }

    /// Whether the policy would answer the same. `applied`: the last zxid of the applied tree, if `view` shows exactly
    /// that tree.
    pub(crate) fn holds(&self, view: &dyn ReadView, applied: Option<Zxid>) -> bool {
        match applied {
            _ if !hooks::verdicts_are_checked() => true,
            Some(zxid) if self.held_at.load(Relaxed) == zxid.0 => true,
            applied => {
                let holds = self.looks.iter().all(|look| look.holds(view));
                if let (true, Some(zxid)) = (holds, applied) {
                    self.held_at.store(zxid.0, Relaxed);
                }
                holds
            }
        }
    }
}

/// The cached verdicts of one binding.
#[derive(Default)]
pub struct Verdicts {
    hashing: DefaultHashBuilder,
    /// Invariant: a shard has at most `SHARD_VERDICTS_MAX` verdicts, and one for each question.
    shards: [Mutex<HashTable<Kept>>; SHARDS],
}

struct Kept {
    who: Arc<[Identity]>,
    verb: Verb,
    path: Box<str>,
    verdict: Arc<Verdict>,
}

impl Verdicts {
    /// The cached answer to this question. The caller checks whether it holds.
    pub(crate) fn find(&self, who: &Arc<[Identity]>, verb: Verb, path: &str) -> Option<Arc<Verdict>> {
        let hash = self.hash(who, verb, path);
        let shard = self.shard(hash).lock();
        shard.find(hash, |kept| kept.is(who, verb, path)).map(|kept| kept.verdict.clone())
    }

    pub(crate) fn keep(&self, who: &Arc<[Identity]>, verb: Verb, path: &str, verdict: Arc<Verdict>) {
        let hash = self.hash(who, verb, path);
        let mut shard = self.shard(hash).lock();
        if let Some(kept) = shard.find_mut(hash, |kept| kept.is(who, verb, path)) {
            kept.verdict = verdict;
            return;
        }
        if shard.len() >= SHARD_VERDICTS_MAX {
            shard.clear();
        }
        let kept = Kept { who: who.clone(), verb, path: path.into(), verdict };
        shard.insert_unique(hash, kept, |kept| self.hash(&kept.who, kept.verb, &kept.path));
        assert!(shard.len() <= SHARD_VERDICTS_MAX, "a shard has too many verdicts");
    }

    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().clear());
    }

    fn hash(&self, who: &[Identity], verb: Verb, path: &str) -> u64 {
        self.hashing.hash_one((who, verb, path))
    }

    fn shard(&self, hash: u64) -> &Mutex<HashTable<Kept>> {
        // The table uses the lowest bits and the highest seven of the hash.
        &self.shards[(hash >> 48) as usize % SHARDS]
    }
}

impl Kept {
    fn is(&self, who: &Arc<[Identity]>, verb: Verb, path: &str) -> bool {
        self.verb == verb && *self.path == *path && (Arc::ptr_eq(&self.who, who) || self.who == *who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, Stat, acl};
    use crate::pipeline::{NodeCopy, Versions};
    use std::cell::Cell;
    use std::collections::BTreeMap;

    /// Nodes by path, with (mzxid, pzxid, aversion). Counts the reads.
    #[derive(Default)]
    struct Tree {
        nodes: BTreeMap<&'static str, (i64, i64, i32)>,
        looks: Cell<u32>,
    }

    impl ReadView for Tree {
        fn node(&self, path: &str) -> Option<NodeCopy> {
            self.looks.set(self.looks.get() + 1);
            let &(mzxid, pzxid, aversion) = self.nodes.get(path)?;
            Some(NodeCopy {
                data: None,
                stat: Stat { mzxid, pzxid, aversion, ..Stat::default() },
                acl: acl::open_unsafe(),
            })
        }
        fn original(&self, path: &str) -> Option<NodeCopy> {
            self.node(path)
        }
        fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
            Vec::new()
        }
        fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
            vec!["/e".into()]
        }
    }

    fn node(path: &str, was: Option<(i64, i64, i32)>) -> Look {
        let was = was.map(|(mzxid, pzxid, aversion)| Versions { mzxid, pzxid, aversion });
        Look::Node { path: path.into(), was }
    }

    #[test]
    fn a_verdict_holds_while_what_it_rests_on_is_the_same() {
        let mut tree = Tree::default();
        tree.nodes.insert("/roles", (5, 6, 0));
        let verdict = |look| Verdict::new(Decision::Allow, vec![look]);
        let roles = verdict(node("/roles", Some((5, 6, 0))));
        let absent = verdict(node("/none", None));
        let names = verdict(Look::Names { path: "/roles".into(), was: Some(6) });
        let of_session =
            |found| verdict(Look::Ephemerals { session: SessionId(1), prefix: "/".into(), limit: 9, found });
        assert!(roles.holds(&tree, None) && absent.holds(&tree, None) && names.holds(&tree, None));
        assert!(of_session(vec!["/e".into()]).holds(&tree, None) && !of_session(Vec::new()).holds(&tree, None));
        for (changed, names_hold) in [((7, 6, 0), true), ((5, 7, 0), false), ((5, 6, 1), true)] {
            tree.nodes.insert("/roles", changed);
            assert!(!roles.holds(&tree, None), "{changed:?}");
            assert_eq!(names.holds(&tree, None), names_hold, "{changed:?}");
        }
        tree.nodes.insert("/none", (8, 8, 0));
        tree.nodes.remove("/roles");
        assert!(!absent.holds(&tree, None) && !roles.holds(&tree, None) && !names.holds(&tree, None));
    }

    #[test]
    fn on_the_same_applied_tree_nothing_is_looked_at_twice() {
        let mut tree = Tree::default();
        let verdict = Verdict::new(Decision::Allow, vec![node("/a", None)]);
        for (zxid, looks) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
            assert!(verdict.holds(&tree, Some(Zxid(zxid))));
            assert_eq!(tree.looks.get(), looks);
        }
        tree.nodes.insert("/a", (3, 3, 0));
        assert!(!verdict.holds(&tree, Some(Zxid(3))) && !verdict.holds(&tree, Some(Zxid(3))));
        // A view with outstanding changes has no zxid of its own.
        assert!(!verdict.holds(&tree, None));
    }

    fn who(ids: &[&str]) -> Arc<[Identity]> {
        ids.iter().map(|id| Identity::new("digest", *id)).collect()
    }

    #[test]
    fn verdicts_are_known_by_identities_verb_and_path() {
        let verdicts = Verdicts::default();
        let allow = || Arc::new(Verdict::new(Decision::Allow, Vec::new()));
        verdicts.keep(&who(&["alice", "group"]), Verb::Read, "/a", allow());
        assert!(verdicts.find(&who(&["alice", "group"]), Verb::Read, "/a").is_some());
        for (ids, verb, path) in [
            (&["alice"][..], Verb::Read, "/a"),
            (&["alice", "groups"], Verb::Read, "/a"),
            (&["alice", "group"], Verb::Children, "/a"),
            (&["alice", "group"], Verb::Read, "/a/b"),
        ] {
            assert!(verdicts.find(&who(ids), verb, path).is_none(), "{ids:?} {verb:?} {path}");
        }
        let denied = Arc::new(Verdict::new(Decision::Deny("ä".repeat(1_000)), Vec::new()));
        verdicts.keep(&who(&["alice", "group"]), Verb::Read, "/a", denied);
        let Decision::Deny(text) = &verdicts.find(&who(&["alice", "group"]), Verb::Read, "/a").unwrap().decision else {
            panic!("the later verdict replaces the earlier one");
        };
        assert_eq!(text.len(), limits::REFUSAL_TEXT_BYTES_MAX);
        verdicts.clear();
        assert!(verdicts.find(&who(&["alice", "group"]), Verb::Read, "/a").is_none());
    }

    #[test]
    fn the_cache_is_bounded() {
        let verdicts = Verdicts::default();
        let verdict = Arc::new(Verdict::new(Decision::Allow, Vec::new()));
        for number in 0..limits::VERDICTS_KEPT_MAX * 2 {
            verdicts.keep(&who(&[]), Verb::Read, &format!("/{number}"), verdict.clone());
        }
        let kept: usize = verdicts.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= limits::VERDICTS_KEPT_MAX && kept > 0, "{kept}");
    }
}
