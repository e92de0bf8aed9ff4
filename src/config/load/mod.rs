//! From command line, properties and file to one [`Config`].
//!
//! | file | holds |
//! |---|---|
//! | `settings` | all settings as they were made: key, value, place |
//! | `finish` | the `Config`, and the checks across settings |
//! | `servers`, `network`, `security` | the checks of one subject |

mod finish;
mod network;
mod security;
mod servers;
mod settings;
#[cfg(test)]
mod tests;

use super::Config;
use super::keys::Draft;
use finish::Finish;
use settings::Settings;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sources {
    /// `--config`
    pub(crate) file: Option<PathBuf>,
    /// `--data-dir`
    pub(crate) data_dir: Option<PathBuf>,
    /// `--listen`
    pub(crate) listen: Option<String>,
    /// `-D key=value`, in order
    pub(crate) properties: Vec<String>,
    /// `--plugins`
    pub(crate) plugins: Option<bool>,
    /// `--found-without`
    pub(crate) found_without: Vec<u32>,
}

/// Why a configuration is refused: a sentence that says where, what, and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct ConfigError {
    pub(crate) place: Place,
    pub(crate) what: String,
}

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// An option on the command line, as it was written.
    CommandLine(String),
    File(PathBuf),
    /// Lines are counted from 1.
    Line(PathBuf, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::CommandLine(option) => write!(f, "{option}"),
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Line(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// Reads the sources and returns a configuration that is consistent. Reads files, and resolves addresses that are
/// names.
pub(crate) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let mut settings = Settings::default();
    for property in &sources.properties {
        settings.property(property)?;
    }
    match &sources.file {
        Some(path) if is_toml(path) => settings.toml(path)?,
        Some(path) => settings.zoo_cfg(path)?,
        None => (),
    }
    let mut draft = Draft::default();
    let mut places = BTreeMap::new();
    settings.apply(&mut draft, &mut places)?;
    if let Some(path) = draft.dynamic_file.take() {
        if let Some(place) = places.get("server.*").filter(|_| !draft.config.ensemble.servers.is_empty()) {
            let what =
                format!("with `dynamicConfigFile` the servers are listed in {} only; move the line", path.display());
            return Err(ConfigError { place: place.clone(), what });
        }
        let mut dynamic = Settings::default();
        dynamic.zoo_cfg(&path)?;
        dynamic.apply(&mut draft, &mut places)?;
        settings.unused.append(&mut dynamic.unused);
    }
    let place = match &sources.file {
        Some(path) => Place::File(path.clone()),
        None => Place::CommandLine("command line".to_owned()),
    };
    let finish = Finish { sources, places, place, zoo_cfg: sources.file.as_deref().is_some_and(|path| !is_toml(path)) };
    finish.config(draft, settings.unused)
}
