//! The table of settings: every key of `zoo.cfg`, every property of ZooKeeper 3.9.5, and what each does here.
//!
//! A key is found by its `zoo.cfg` name, by the property `zookeeper.<name>`, and by its name in our own format, if it
//! has one. (A few of ZooKeeper's properties have no prefix: both forms work.) docs/configuration.md is generated from
//! this table, so the texts here are written for operators. A key that is accepted and does nothing says why.
//!
//! To add a setting, add an entry to the file of its section, and a field to `Config` that the entry sets. A value that
//! is checked together with others first goes to `Draft`, and from there to `Config` in `load`. Then rewrite the page:
//! `REWRITE=1 cargo test --lib config`.
//!
//! | file | holds |
//! |---|---|
//! | `network`, `sessions`, `data`, `behaviour`, `auth`, `tls`, `ensemble`, `peer_tls` | the settings of one section |
//! | `without_effect` | settings of ZooKeeper that change nothing here |
//! | `values` | from a value's text to a number, a switch, a port and so on |
//! | `draft` | what the settings set |

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

pub use draft::Draft;
pub use draft::DraftPeerTls;
pub(crate) use draft::DraftStore;

/// One setting; or, with `*` at the end of its name, all settings whose names begin with the rest.
pub struct Key {
    /// The name in `zoo.cfg`; empty: the setting exists in our own format only.
    pub name: &'static str,
    /// `section.key` in our own format; empty: our own format does not have the setting.
    pub toml: &'static str,
    /// The default, as the page shows it; empty: not set.
    pub default: &'static str,
    pub effect: Effect,
    /// What the setting means, its unit and bounds, and when to change it. Sentences for operators, in Markdown.
    pub meaning: &'static str,
}

/// What a value of the setting does.
pub enum Effect {
    /// Changes the draft. The arguments are the draft, the name as it was written, and the value. The error is the end
    /// of a sentence that begins with the name: "must be a number from 1 to 65535".
    Set(fn(&mut Draft, &str, &str) -> Result<(), String>),
    /// Nothing; `meaning` says why. The one warning about settings without effect names it.
    Nothing,
    /// Nothing, as operators expect. There is no warning.
    Silent,
}

type Setter = fn(&mut Draft, &str, &str) -> Result<(), String>;

/// A setting that changes the draft.
const fn key(name: &'static str, toml: &'static str, default: &'static str, meaning: &'static str, set: Setter) -> Key {
    Key { name, toml, default, effect: Effect::Set(set), meaning }
}

/// A setting that is accepted with a warning and changes nothing.
const fn nothing(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Nothing, meaning: why }
}

/// A setting that is accepted and changes nothing.
const fn silent(name: &'static str, why: &'static str) -> Key {
    Key { name, toml: "", default: "", effect: Effect::Silent, meaning: why }
}

/// The sections in the order of the page: heading and settings.
pub(crate) const KEYS: &[(&str, &[Key])] = &[
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

/// The key with this `zoo.cfg` name or property. A key with exactly that name comes before every family, and a family
/// with a longer name before a shorter one.
pub fn by_name(name: &str) -> Option<&'static Key> {
    let stripped = name.strip_prefix("zookeeper.").unwrap_or(name);
    let all = || KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.name.is_empty());
    all().find(|key| key.name == name || key.name == stripped).or_else(|| {
        all()
            .filter(|key| key.name.strip_suffix('*').is_some_and(|family| stripped.starts_with(family)))
            .max_by_key(|key| key.name.len())
    })
}

/// The key with this name in our own format.
pub fn by_toml(name: &str) -> Option<&'static Key> {
    let is_it = |key: &&Key| match key.toml.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => !key.toml.is_empty() && key.toml == name,
    };
    KEYS.iter().flat_map(|(_, keys)| keys.iter()).find(is_it)
}

/// The name in our own format that is most like `name`, for "did you mean". None: no name differs by at most 4 edits.
pub(crate) fn like(name: &str) -> Option<&'static str> {
    let own = KEYS.iter().flat_map(|(_, keys)| keys.iter()).filter(|key| !key.toml.is_empty()).map(|key| key.toml);
    own.map(|candidate| (edits(name, candidate), candidate)).min().filter(|(far, _)| *far <= 4).map(|(_, name)| name)
}

/// The Levenshtein distance.
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
