//! An index of the plugins' timers and owed mounts, which are nodes below `/zookeeper/plugins` (`model::chores`). It
//! lets the leader find the timers that are due without a search of the tree.

use crate::model::chores::{self, Owed, Place, Timer};
use crate::model::control_plane::PLUGINS;
use std::collections::{BTreeMap, BTreeSet};

/// The timers and owed mounts of all plugins. Derived from nodes, and kept up to date with them.
#[derive(Default)]
pub(crate) struct Chores {
    /// Invariant: no plugin without work.
    by_plugin: BTreeMap<Box<str>, Work>,
    changes: u64,
}

/// The timers and the owed mount of one plugin.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct Work {
    /// The ensemble time in milliseconds at which a timer is due, with the name of the timer's node.
    timers: BTreeSet<(u64, Box<str>)>,
    /// The ensemble time in milliseconds from which on the mount is to be put in order. None: the mount is in order.
    owed: Option<u64>,
}

impl Chores {
    /// The plugins that have work, in order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Work)> {
        self.by_plugin.iter().map(|(plugin, work)| (&**plugin, work))
    }

    /// Rises with each change, so that a caller can tell whether it has seen the last one.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Notes that a node's data was `before` and is `after`. None: there was or is no node.
    pub(super) fn note(&mut self, path: &str, before: Option<&[u8]>, after: Option<&[u8]>) {
        let (plugin, timer) = match chores::place(path) {
            Some(Place::Timer { plugin, name }) => (plugin, Some(name)),
            Some(Place::Owed { plugin }) => (plugin, None),
            _ => return,
        };
        self.changes += 1;
        let work = self.by_plugin.entry(plugin.into()).or_default();
        match timer {
            None => work.owed = after.map(|data| Owed::parse(data).due),
            Some(name) => {
                let key = |data: &[u8]| Timer::parse(data).map(|timer| (timer.due_ms, Box::from(name)));
                if let Some(before) = before.and_then(key) {
                    assert!(work.timers.remove(&before), "{path}: a timer's node is known");
                }
                if let Some(after) = after.and_then(key) {
                    assert!(work.timers.insert(after), "{path}: a timer has one node");
                }
            }
        }
        if work.timers.is_empty() && work.owed.is_none() {
            self.by_plugin.remove(plugin);
        }
    }
}

impl Work {
    /// The timers in the order in which they are due: the due time, and the name of the node (`chores::unescape`).
    pub(crate) fn timers(&self) -> impl Iterator<Item = (u64, &str)> {
        self.timers.iter().map(|(due_ms, name)| (*due_ms, &**name))
    }

    /// The ensemble time from which on the mount is to be put in order. None: the mount is in order.
    pub(crate) fn owed(&self) -> Option<u64> {
        self.owed
    }
}

/// Whether changes of that node's data may have to be noted. Costs one comparison.
pub(super) fn concern(path: &str) -> bool {
    path.len() > PLUGINS.len() && path.starts_with(PLUGINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_noted_and_forgotten_with_its_node() {
        let mut chores = Chores::default();
        let seen = |chores: &Chores| {
            let work = |(plugin, work): (&str, &Work)| {
                let timers: Vec<String> = work.timers().map(|(due, name)| format!("{due}:{name}")).collect();
                format!("{plugin} {} {:?}", timers.join(","), work.owed())
            };
            chores.iter().map(work).collect::<Vec<_>>()
        };
        let timer = |name: &str| format!("/zookeeper/plugins/p/timers/{name}");
        chores.note(&timer("b"), None, Some(b"20 0"));
        chores.note(&timer("a"), None, Some(b"20 0"));
        chores.note(&timer("c"), None, Some(b"nonsense"));
        chores.note("/zookeeper/plugins/q/owed", None, Some(br#"{"since":1,"epoch":0,"attempts":0,"due":7}"#));
        chores.note("/zookeeper/plugins/q", None, Some(b"{}"));
        assert_eq!(seen(&chores), ["p 20:a,20:b None", "q  Some(7)"]);
        assert_eq!(chores.changes(), 4);
        chores.note(&timer("a"), Some(b"20 0"), Some(b"5 1"));
        chores.note(&timer("b"), Some(b"20 0"), None);
        chores.note("/zookeeper/plugins/q/owed", Some(b""), None);
        assert_eq!(seen(&chores), ["p 5:a None"]);
        chores.note(&timer("a"), Some(b"5 1"), None);
        assert!(seen(&chores).is_empty());
    }
}
