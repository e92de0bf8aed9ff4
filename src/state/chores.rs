//! Timers and owed work of plugins, by what the tree has of them below `/zookeeper/plugins` (`model::chores`): so that
//! whoever fires timers need not look for those that are due.

use crate::model::chores::{self, Owed, Place, Timer};
use crate::model::control_plane::PLUGINS;
use std::collections::{BTreeMap, BTreeSet};

/// Of all plugins. Derived from nodes, and kept up to date with them.
#[derive(Default)]
pub struct Chores {
    by_plugin: BTreeMap<Box<str>, Work>,
    changes: u64,
}

/// Of one plugin; never empty.
#[derive(Default)]
pub struct Work {
    /// When due, in ensemble milliseconds, with the node's name.
    timers: BTreeSet<(u64, Box<str>)>,
    /// Its mount must be put in order, not before that ensemble time.
    owed: Option<u64>,
}

impl Chores {
    /// In order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Work)> {
        self.by_plugin.iter().map(|(plugin, work)| (&**plugin, work))
    }

    /// How often something has changed: whoever has seen this number has seen all.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A node's data was `before` and is `after`; none: there was or is no node.
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
                    work.timers.remove(&before);
                }
                work.timers.extend(after.and_then(key));
            }
        }
        if work.timers.is_empty() && work.owed.is_none() {
            self.by_plugin.remove(plugin);
        }
    }
}

impl Work {
    /// By the time at which they are due: that, and the node's name (`chores::unescape`).
    pub fn timers(&self) -> impl Iterator<Item = (u64, &str)> {
        self.timers.iter().map(|(due_ms, name)| (*due_ms, &**name))
    }

    /// From when on the mount is to be put in order; none: it is.
    pub fn owed(&self) -> Option<u64> {
        self.owed
    }
}

/// Whether changes of that node's data may have to be noted: quick to say.
pub(super) fn concern(path: &str) -> bool {
    path.len() > PLUGINS.len() && path.starts_with(PLUGINS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_forgotten_with_its_node() {
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
