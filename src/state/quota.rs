//! Quotas: limits that clients write below /zookeeper/quota, and the usage of each (ZooKeeper's Quotas.java and
//! StatsTrack.java).
//!
//! A subtree `/a` has a quota while `/zookeeper/quota/a/zookeeper_limits` exists. `apply` keeps the usage in the text
//! of `/zookeeper/quota/a/zookeeper_stats`, as ZooKeeper does: it counts the subtree when that node is created and adds
//! each later change. A text there that is not a number counts as unset (ZooKeeper would fail with an exception). While
//! there is no quota at all, all of this costs one comparison per change.

use crate::model::control_plane::QUOTA;
use crate::model::path;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// The quota of one subtree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quota<'a> {
    /// The root of the subtree.
    pub(crate) path: &'a str,
    pub(crate) limits: Limits,
    pub(crate) used: Used,
}

/// -1 stands for no limit. A hard limit takes precedence over the soft one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub count: i64,
    pub bytes: i64,
    pub count_hard: i64,
    pub bytes_hard: i64,
}

/// Znodes, the root of the subtree included, and bytes of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Used {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
}

/// How a change would break a quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Excess {
    /// Leads to a line in the log, nothing more.
    Soft,
    /// QUOTAEXCEEDED.
    Hard,
}

impl Quota<'_> {
    /// How `count` more nodes and `bytes` more bytes would break the quota. A 0 is not checked. A negative number
    /// breaks a quota that is broken already, as in ZooKeeper. For plugins, the caller passes no negative number.
    pub(crate) fn check(&self, count: i64, bytes: i64) -> Option<Excess> {
        let count = excess(count, self.used.count, self.limits.count, self.limits.count_hard);
        let bytes = excess(bytes, self.used.bytes, self.limits.bytes, self.limits.bytes_hard);
        match (count, bytes) {
            (Some(Excess::Hard), _) | (_, Some(Excess::Hard)) => Some(Excess::Hard),
            (soft, None) | (None, soft) => soft,
            (soft, _) => soft,
        }
    }
}

fn excess(more: i64, used: i64, soft: i64, hard: i64) -> Option<Excess> {
    if more == 0 {
        return None;
    }
    let new = used.saturating_add(more);
    match (soft, hard) {
        (_, hard) if hard > -1 => (new > hard).then_some(Excess::Hard),
        (soft, _) if soft > -1 => (new > soft).then_some(Excess::Soft),
        _ => None,
    }
}

/// The subtrees that have a quota.
#[derive(Default)]
pub(super) struct Roots(BTreeSet<String>);

/// A node below /zookeeper/quota that the server itself reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special<'a> {
    /// The limits of that subtree.
    Limits(&'a str),
    /// The usage of that subtree.
    Stats(&'a str),
}

pub(super) fn special(path: &str) -> Option<Special<'_>> {
    let quota = path.strip_prefix(QUOTA)?;
    // A quota of the root itself has an empty path here; ZooKeeper keeps none.
    if let Some(root) = quota.strip_suffix(LIMITS) {
        return root.starts_with('/').then_some(Special::Limits(root));
    }
    let root = quota.strip_suffix(STATS)?;
    root.starts_with('/').then_some(Special::Stats(root))
}

pub(super) fn limits_path(root: &str) -> String {
    format!("{QUOTA}{root}{LIMITS}")
}

pub(super) fn stats_path(root: &str) -> String {
    format!("{QUOTA}{root}{STATS}")
}

impl Roots {
    /// Returns whether the subtree had no quota before.
    pub(super) fn insert(&mut self, root: &str) -> bool {
        self.0.insert(root.to_owned())
    }

    /// Returns whether the subtree had a quota before.
    pub(super) fn remove(&mut self, root: &str) -> bool {
        self.0.remove(root)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The root of the smallest subtree with a quota that contains the path.
    pub(super) fn find<'a>(&self, mut path: &'a str) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        while !self.0.contains(path) {
            path = path::parent(path)?;
        }
        Some(path)
    }
}

/// The numbers of a limits or stats node: `key=number` pairs separated by commas or semicolons, in any order.
#[derive(Default)]
pub(super) struct Numbers(BTreeMap<String, i64>);

impl Numbers {
    pub(super) fn parse(data: Option<&[u8]>) -> Numbers {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let mut numbers = Numbers::default();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            // Later versions of ZooKeeper write "bytes=5=", so that earlier versions can parse it.
            let mut parts = pair.split('=');
            let key = parts.next().unwrap_or_default();
            let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(-1);
            numbers.0.insert(key.to_owned(), number);
        }
        numbers
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            count: self.get(COUNT),
            bytes: self.get(BYTES),
            count_hard: self.get("countHardLimit"),
            bytes_hard: self.get("byteHardLimit"),
        }
    }

    pub(super) fn used(&self) -> Used {
        Used { count: self.get(COUNT), bytes: self.get(BYTES) }
    }

    pub(super) fn set_used(&mut self, used: Used) {
        self.0.insert(COUNT.to_owned(), used.count);
        self.0.insert(BYTES.to_owned(), used.bytes);
    }

    /// The text as StatsTrack.java writes it: count and bytes first, then the other keys in order.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES));
        let mut separator = "=;";
        for (key, number) in self.0.iter().filter(|(key, _)| !matches!(key.as_str(), COUNT | BYTES)) {
            write!(text, "{separator}{key}={number}").expect("writing to a String cannot fail");
            separator = ";";
        }
        text
    }

    fn get(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }
}

/// The text of a stats node that has just been created.
pub(super) fn first_text(used: Used) -> String {
    let mut numbers = Numbers::default();
    numbers.set_used(used);
    numbers.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_as_zookeeper_writes_them() {
        let numbers = Numbers::parse(Some(b"count=4,bytes=5=;countHardLimit=10;byteHardLimit=20"));
        assert_eq!(numbers.limits(), Limits { count: 4, bytes: 5, count_hard: 10, bytes_hard: 20 });
        assert_eq!(numbers.text(), "count=4,bytes=5=;byteHardLimit=20;countHardLimit=10");
        assert_eq!(Numbers::parse(Some(b"bytes=7;count=1")).text(), "count=1,bytes=7");
        assert_eq!(Numbers::parse(Some(b"count=,x,=,;;\xff=1")).used(), Used { count: -1, bytes: -1 });
        assert_eq!(Numbers::parse(None).text(), "count=-1,bytes=-1");
    }

    #[test]
    fn hard_limits_come_before_soft_ones() {
        let quota = |count, count_hard, bytes, bytes_hard| Quota {
            path: "/a",
            limits: Limits { count, bytes, count_hard, bytes_hard },
            used: Used { count: 3, bytes: 100 },
        };
        assert_eq!(quota(-1, -1, -1, -1).check(5, 5), None);
        assert_eq!(quota(3, -1, -1, -1).check(1, 1), Some(Excess::Soft));
        assert_eq!(quota(3, -1, -1, -1).check(0, 1), None);
        assert_eq!(quota(3, 4, -1, -1).check(1, 1), None, "the soft limit does not count");
        assert_eq!(quota(3, 3, -1, -1).check(1, 1), Some(Excess::Hard));
        assert_eq!(quota(3, -1, -1, 100).check(1, 1), Some(Excess::Hard));
        assert_eq!(quota(-1, -1, 50, -1).check(0, -1), Some(Excess::Soft));
    }

    #[test]
    fn the_longest_prefix_by_whole_names() {
        let mut roots = Roots::default();
        assert_eq!(roots.find("/a"), None);
        assert!(roots.insert("/a") && roots.insert("/a/b") && !roots.insert("/a"));
        assert_eq!(roots.find("/a/b/c"), Some("/a/b"));
        assert_eq!(roots.find("/a/bc"), Some("/a"));
        assert_eq!(roots.find("/ab"), None);
        assert!(roots.remove("/a/b") && !roots.remove("/a/b"));
        assert_eq!(roots.find("/a/b/c"), Some("/a"));
        assert_eq!(special("/zookeeper/quota/a/zookeeper_limits"), Some(Special::Limits("/a")));
        assert_eq!(special("/zookeeper/quota/a/zookeeper_stats"), Some(Special::Stats("/a")));
        for other in ["/zookeeper/quota/zookeeper_limits", "/zookeeper/quotas/a/zookeeper_limits", "/zookeeper/quota/a"]
        {
            assert_eq!(special(other), None, "{other}");
        }
    }
}
