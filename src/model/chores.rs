//! The nodes for a plugin's timers and for a mount that must be put in order, below `/zookeeper/plugins/<name>`:
//!
//! ```text
//! timers/<name, escaped>   a timer: "<due> <attempts>", ensemble milliseconds and failed attempts
//! owed                     the plugin's mount must be put in order first: JSON, `Owed`
//! ```
//!
//! They are ordinary nodes, so checkpoints, images, digests and replication need no code for them.

use super::control_plane::PLUGINS;
use super::path;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The pause after `attempts` failed attempts in a row, in milliseconds.
pub(crate) fn back_off_ms(attempts: u32) -> u64 {
    (limits::ms(limits::PLUGIN_BACK_OFF_MIN) << attempts.saturating_sub(1).min(16))
        .min(limits::ms(limits::PLUGIN_BACK_OFF_MAX))
}

/// What a node below `/zookeeper/plugins` is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place<'a> {
    /// `/zookeeper/plugins/<name>`: the manifest that binds the plugin.
    Manifest {
        plugin: &'a str,
    },
    Owed {
        plugin: &'a str,
    },
    /// `name` is escaped.
    Timer {
        plugin: &'a str,
        name: &'a str,
    },
    Other,
}

/// What the node at that path is for. None: the path does not lie below `/zookeeper/plugins`.
pub(crate) fn place(node: &str) -> Option<Place<'_>> {
    let rest = node.strip_prefix(PLUGINS)?.strip_prefix('/')?;
    Some(match rest.split_once('/') {
        None => Place::Manifest { plugin: rest },
        Some((plugin, "owed")) => Place::Owed { plugin },
        Some((plugin, rest)) => match rest.strip_prefix("timers/") {
            Some(name) if !name.contains('/') => Place::Timer { plugin, name },
            _ => Place::Other,
        },
    })
}

pub(crate) fn owed_path(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/owed")
}

/// The folder of a plugin's timers.
pub(crate) fn timers_path(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/timers")
}

/// The node of the timer that the plugin calls `name`.
pub(crate) fn timer_path(plugin: &str, name: &str) -> String {
    format!("{PLUGINS}/{plugin}/timers/{}", escape(name))
}

/// Makes any text one name of a path. A character that a name may not contain, and `%`, becomes `%` and two hexadecimal
/// digits for each of its bytes. The empty text becomes a single `%`.
pub(crate) fn escape(name: &str) -> String {
    if name.is_empty() {
        return "%".into();
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    let relative = matches!(name, "." | "..");
    let mut bytes = [0; 4];
    for c in name.chars() {
        if relative || matches!(c, '/' | '%') || !path::allowed(c) {
            for byte in c.encode_utf8(&mut bytes).as_bytes() {
                write!(escaped, "%{byte:02X}").expect("writing to a String cannot fail");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The text that `escape` made this name of. None: `escape` makes no such name.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    if escaped == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// The data of a timer's node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timer {
    /// The ensemble time at which the timer fires, in milliseconds.
    pub(crate) due_ms: u64,
    /// How often in a row the timer has fired and failed.
    pub(crate) attempts: u32,
}

impl Timer {
    /// Reads the data. None: it is not a timer's, so somebody else has written there.
    pub(crate) fn parse(data: &[u8]) -> Option<Timer> {
        let (due_ms, attempts) = std::str::from_utf8(data).ok()?.split_once(' ')?;
        Some(Timer { due_ms: due_ms.parse().ok()?, attempts: attempts.parse().ok()? })
    }

    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.due_ms, self.attempts)
    }

    /// The timer after it has failed once more, at `now_ms`.
    pub(crate) fn failed(&self, now_ms: u64) -> Timer {
        let attempts = self.attempts.saturating_add(1);
        Timer { due_ms: now_ms.saturating_add(back_off_ms(attempts)), attempts }
    }
}

/// The data of `owed`: how far putting the mount in order has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Owed {
    /// The zxid since which the mount must be put in order.
    pub(crate) since: u64,
    /// The epoch of the leadership that made the last step. Another leadership begins from the first step.
    pub(crate) epoch: u32,
    /// What the last step returned. None: the next step is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// Failed attempts in a row.
    pub(crate) attempts: u32,
    /// The ensemble time before which no step is made, in milliseconds.
    pub(crate) due: u64,
}

impl Owed {
    /// Reads the data. If it cannot be read, the mount must be put in order from the beginning.
    pub(crate) fn parse(data: &[u8]) -> Owed {
        serde_json::from_slice(data).unwrap_or(Owed { since: 0, epoch: 0, after: None, attempts: 0, due: 0 })
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and a text make valid JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_escaped_and_unescaped() {
        for (name, escaped) in [
            ("plain", "plain"),
            ("/locks/db", "%2Flocks%2Fdb"),
            ("100%", "100%25"),
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("ä\n", "ä%0A"),
            ("\u{1f600}", "%F0%9F%98%80"),
        ] {
            assert_eq!(escape(name), escaped, "{name:?}");
            assert_eq!(unescape(escaped).as_deref(), Some(name));
            assert_eq!(path::validate(&timer_path("p", name)), Ok(()));
        }
        for wrong in ["%2", "%zz", "a%", "%ff"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_below_plugins_are_told_apart() {
        assert_eq!(place("/zookeeper/plugins/a"), Some(Place::Manifest { plugin: "a" }));
        assert_eq!(place("/zookeeper/plugins/a/owed"), Some(Place::Owed { plugin: "a" }));
        assert_eq!(place("/zookeeper/plugins/a/timers/t"), Some(Place::Timer { plugin: "a", name: "t" }));
        for other in
            ["/zookeeper/plugins/a/timers", "/zookeeper/plugins/a/versions/1", "/zookeeper/plugins/a/timers/t/u"]
        {
            assert_eq!(place(other), Some(Place::Other), "{other}");
        }
        for none in ["/zookeeper/plugins", "/zookeeper/pluginsx/a", "/a"] {
            assert_eq!(place(none), None, "{none}");
        }
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let mut timer = Timer { due_ms: 5, attempts: 0 };
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            timer = timer.failed(1_000_000);
            assert_eq!(timer.due_ms, 1_000_000 + pause * 1_000);
            assert_eq!(Timer::parse(timer.text().as_bytes()), Some(timer));
        }
        assert_eq!(Timer::parse(b"12"), None);
        let owed = Owed { since: 7, epoch: 1, after: Some("x".into()), attempts: 2, due: 9 };
        assert_eq!(Owed::parse(owed.text().as_bytes()), owed);
        assert_eq!(Owed::parse(b"?").after, None);
    }
}
