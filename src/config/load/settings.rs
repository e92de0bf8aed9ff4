//! All settings as they were made: which key, which value, and where.

use super::{ConfigError, Place};
use crate::config::keys::{self, Draft, Effect, Key};
use crate::config::{properties, toml_file};
use crate::limits;
use std::collections::BTreeMap;
use std::path::Path;

/// One setting that was made.
struct Setting {
    place: Place,
    /// The name as it was written.
    name: String,
    key: &'static Key,
    value: String,
}

/// Settings of all sources.
#[derive(Default)]
pub(super) struct Settings {
    settings: Vec<Setting>,
    /// Names of settings that were accepted and change nothing.
    pub(crate) unused: Vec<String>,
}

impl Settings {
    /// Reads a `-D` property.
    pub(super) fn property(&mut self, property: &str) -> Result<(), ConfigError> {
        // A JVM takes `-Dname` as an empty value.
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        let place = Place::CommandLine(format!("-D {name}"));
        match keys::by_name(name) {
            Some(key) => self.add(place, name, key, value.trim())?,
            None if name.starts_with("zookeeper.") => self.unused.push(format!("-D {name}")),
            // A start script that is used again may set properties of the JVM and of logging libraries.
            None => (),
        }
        Ok(())
    }

    /// Reads a file in ZooKeeper's format.
    pub(super) fn zoo_cfg(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read(path)?;
        let lines = properties::parse(&text).map_err(|bad| ConfigError {
            place: Place::Line(path.to_owned(), bad.line),
            what: "`\\u` must be followed by four hexadecimal digits of a character; write `\\\\` for a backslash"
                .into(),
        })?;
        for line in lines {
            let place = Place::Line(path.to_owned(), line.line);
            match keys::by_name(&line.key) {
                Some(key) => self.add(place, &line.key, key, &line.value)?,
                None => self.unused.push(line.key),
            }
        }
        Ok(())
    }

    /// Reads a file in our own format.
    pub(super) fn toml(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read(path)?;
        let entries = toml_file::parse(&text)
            .map_err(|refused| ConfigError { place: Place::Line(path.to_owned(), refused.line), what: refused.what })?;
        for entry in entries {
            self.add(Place::Line(path.to_owned(), entry.line), &entry.name, entry.key, &entry.value)?;
        }
        Ok(())
    }

    /// Adds a setting. A setting may be made twice if both values are the same.
    fn add(&mut self, place: Place, name: &str, key: &'static Key, value: &str) -> Result<(), ConfigError> {
        let same =
            |other: &&Setting| std::ptr::eq(other.key, key) && (!is_family(key) || plain(&other.name) == plain(name));
        if let Some(other) = self.settings.iter().find(same) {
            if other.value != value {
                let what =
                    format!("`{name}` is set to another value at {} already; remove one of the two", other.place);
                return Err(ConfigError { place, what });
            }
            return Ok(());
        }
        self.settings.push(Setting { place, name: name.to_owned(), key, value: value.to_owned() });
        Ok(())
    }

    /// Applies all settings to the draft. `places` gets the place of each, by its name in zoo.cfg and in our own
    /// format.
    pub(super) fn apply(
        &mut self,
        draft: &mut Draft,
        places: &mut BTreeMap<&'static str, Place>,
    ) -> Result<(), ConfigError> {
        for setting in self.settings.drain(..) {
            match setting.key.effect {
                Effect::Set(set) => {
                    // An empty value does not count, as in ZooKeeper: templates have lines like `clientPortAddress=`.
                    if setting.value.is_empty() {
                        continue;
                    }
                    set(draft, plain(&setting.name), &setting.value).map_err(|why| ConfigError {
                        place: setting.place.clone(),
                        what: format!("`{}` {why}; it is `{}`", setting.name, shown(&setting)),
                    })?;
                    for name in [setting.key.name, setting.key.toml] {
                        places.insert(name, setting.place.clone());
                    }
                }
                Effect::Nothing => self.unused.push(setting.name),
                Effect::Silent => (),
            }
        }
        Ok(())
    }
}

fn is_family(key: &Key) -> bool {
    key.name.ends_with('*')
}

/// The name without the prefix of ZooKeeper's properties.
fn plain(name: &str) -> &str {
    name.strip_prefix("zookeeper.").unwrap_or(name)
}

/// The value as error messages show it. Secrets are not shown.
fn shown(setting: &Setting) -> &str {
    let name = setting.name.to_ascii_lowercase();
    if name.contains("password") || name.contains("digest") { "(not shown)" } else { &setting.value }
}

/// Reads a configuration file: UTF-8, of at most `limits::CONFIG_FILE_BYTES_MAX`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let refused = |what: String| ConfigError { place: Place::File(path.to_owned()), what };
    let size = std::fs::metadata(path).map_err(|error| refused(format!("cannot be read: {error}")))?.len();
    if size > limits::CONFIG_FILE_BYTES_MAX {
        return Err(refused(format!("has {size} bytes, more than a configuration can have; is it the right file?")));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError { place: Place::Line(path.to_owned(), line), what: "is not UTF-8; save the file as UTF-8".into() }
    })
}
