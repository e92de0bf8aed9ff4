//! The table of settings: every key of `zoo.cfg` and every property of ZooKeeper 3.9.5, and what becomes of it here.
//!
//! A key is found by its `zoo.cfg` name, by the property `zookeeper.<name>` (a few of ZooKeeper's properties have no
//! prefix: both forms work), and, where it has one, by its name in our own format. The page `docs/configuration.md` is
//! this table, so the texts here are written for the operator. Keys that are accepted and do nothing say why.

mod auth;
mod behaviour;
mod data;
mod draft;
mod ensemble;
mod network;
mod peer_tls;
mod sessions;
mod tls;
mod values;
mod without_effect;

pub use draft::{Draft, DraftAdmin, DraftPeerTls, DraftStore};

/// One setting, or (with `*` at the end of its name) a family of them.
pub struct Key {
    /// As in `zoo.cfg`.
    pub name: &'static str,
    /// `section.key` in our own format, or a family as above; empty: not there.
    pub toml: &'static str,
    /// As text for the page; empty: unset.
    pub default: &'static str,
    pub effect: Effect,
    /// Meaning, unit, bounds, when to change it.
    pub meaning: &'static str,
}

/// What a value does.
pub enum Effect {
    /// Sets something. The error is the end of "`key` ...": "must be a number from 1 to 65535".
    Set(fn(&mut Draft, &str, &str) -> Result<(), String>),
    /// Nothing, because of `meaning`; a value is worth a place in the one warning.
    Nothing,
    /// Nothing, and that is what the operator expects: no warning.
    Silent,
}

type Setter = fn(&mut Draft, &str, &str) -> Result<(), String>;

const fn key(name: &'static str, toml: &'static str, default: &'static str, meaning: &'static str, set: Setter) -> Key {
    Key { name, toml, default, effect: Effect::Set(set), meaning }
}

/// Accepted and without effect.
const fn nothing(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Nothing, meaning: why }
}

const fn silent(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Silent, meaning: why }
}

/// Headings of the page, each with its keys, in the order of the page.
pub const KEYS: &[(&str, &[Key])] = &[
    ("Network", network::KEYS),
    ("Sessions", sessions::KEYS),
    ("Data", data::KEYS),
    ("Behaviour", behaviour::KEYS),
    ("Who may do what", auth::KEYS),
    ("TLS for clients", tls::KEYS),
    ("Ensemble", ensemble::KEYS),
    ("TLS between members", peer_tls::KEYS),
    ("Accepted without effect", without_effect::KEYS),
];

/// The key of this `zoo.cfg` name or property; the longest family wins, a whole name before every family.
pub fn by_name(name: &str) -> Option<&'static Key> {
    let stripped = name.strip_prefix("zookeeper.").unwrap_or(name);
    let all = || KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.name.is_empty());
    all().find(|key| key.name == name || key.name == stripped).or_else(|| {
        all()
            .filter(|key| key.name.strip_suffix('*').is_some_and(|family| stripped.starts_with(family)))
            .max_by_key(|key| key.name.len())
    })
}

/// The key of this `section.key` of our own format.
pub fn by_toml(name: &str) -> Option<&'static Key> {
    let is_it = |key: &&Key| match key.toml.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => !key.toml.is_empty() && key.toml == name,
    };
    KEYS.iter().flat_map(|(_, keys)| keys.iter()).find(is_it)
}

/// The name of our own format most like `name`, for "did you mean".
pub fn like(name: &str) -> Option<&'static str> {
    let own = KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.toml.is_empty()).map(|key| key.toml);
    own.map(|candidate| (edits(name, candidate), candidate)).min().filter(|(far, _)| *far <= 4).map(|(_, name)| name)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = match above {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_stands_once() {
        let mut seen = BTreeSet::new();
        for key in KEYS.iter().flat_map(|(_, keys)| keys.iter()) {
            for name in [key.name, key.toml] {
                assert!(name.is_empty() || seen.insert(name), "{name} stands twice");
            }
            assert!(!key.meaning.is_empty(), "{} has no meaning", key.name);
        }
    }

    #[test]
    fn keys_are_found_with_and_without_prefix() {
        let name = |name: &str| by_name(name).map(|key| key.name);
        assert_eq!(name("tickTime"), Some("tickTime"));
        assert_eq!(name("zookeeper.skipACL"), Some("skipACL"));
        assert_eq!(name("zookeeper.jute.maxbuffer"), Some("jute.maxbuffer"));
        assert_eq!(name("nio.sessionlessCnxnTimeout"), Some("nio.sessionlessCnxnTimeout"));
        assert_eq!(name("nio.numSelectorThreads"), Some("nio.*"));
        assert_eq!(name("ssl.quorum.keyStore.location"), Some("ssl.quorum.keyStore.location"));
        assert_eq!(name("zookeeper.ssl.quorum.crl"), Some("ssl.quorum.*"));
        assert_eq!(name("server.3"), Some("server.*"));
        assert_eq!(name("superUser.2"), Some("superUser.*"));
        assert_eq!(name("noSuchKey"), None);
        assert_eq!(like("sessions.tick"), Some("sessions.tick_ms"));
        assert_eq!(like("completely.different"), None);
    }
}
