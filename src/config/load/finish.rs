//! The last step: from [`Draft`] to [`Config`], with all checks that need more than one setting.

use super::{ConfigError, Place, Sources};
use crate::config::keys::Draft;
use crate::config::{Config, DATA_DIR, FourLetterWords};
use crate::limits;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the checks need besides the draft.
pub(super) struct Finish<'a> {
    pub(crate) sources: &'a Sources,
    /// Where each setting was made, by its name in zoo.cfg and by its name in our own format.
    pub(crate) places: BTreeMap<&'static str, Place>,
    /// The place of a refusal that concerns no single setting.
    pub(crate) place: Place,
    /// Whether the file is a zoo.cfg.
    pub(crate) zoo_cfg: bool,
}

impl Finish<'_> {
    /// The configuration. `unused`: names of settings without effect, for the warning.
    pub(super) fn config(&self, mut draft: Draft, mut unused: Vec<String>) -> Result<Config, ConfigError> {
        let mut config = std::mem::take(&mut draft.config);
        config.file = self.sources.file.clone();
        self.storage(&mut config, &mut draft)?;
        self.servers(&mut config)?;
        self.server_id(&mut config, &draft)?;
        self.own_server(&mut config, &draft)?;
        self.network(&mut config, &draft)?;
        if draft.admin.enabled {
            let host = draft.admin.address.as_deref().unwrap_or("127.0.0.1");
            let port = draft.admin.port.unwrap_or(limits::ADMIN_PORT);
            config.admin = Some(self.resolve("admin.serverAddress", host, port)?);
        }
        self.sessions(&mut config, &draft)?;
        self.tls(&mut config, &mut draft)?;
        config.peer_tls = self.peer_tls(std::mem::take(&mut draft.peer_tls))?;
        self.auth(&mut config, &draft)?;
        if let Some(plugins) = self.sources.plugins {
            config.plugins = plugins;
        }
        if let (true, FourLetterWords::Only(words)) = (config.read_only_mode, &mut config.four_letter_words) {
            words.insert("isro".to_owned());
        }
        config.rules.deploy_by_anyone = config.loopback_only() && !config.has_superuser();
        unused.append(&mut draft.unused);
        if !unused.is_empty() {
            config.warnings.push(format!(
                "these settings have no effect here (docs/configuration.md says why): {}",
                unused.join(", ")
            ));
        }
        Ok(config)
    }

    /// A refusal at the place of the setting with that name.
    pub(super) fn refuse<T>(&self, key: &str, what: impl Into<String>) -> Result<T, ConfigError> {
        let place = self.places.get(key).unwrap_or(&self.place).clone();
        Err(ConfigError { place, what: what.into() })
    }

    fn storage(&self, config: &mut Config, draft: &mut Draft) -> Result<(), ConfigError> {
        match &self.sources.data_dir {
            Some(path) => config.storage.data_dir.clone_from(path),
            None if self.places.contains_key("dataDir") => (),
            None if self.zoo_cfg => {
                return self
                    .refuse("dataDir", "`dataDir` is not set; add the line `dataDir=FOLDER`, or use --data-dir");
            }
            None => config.storage.data_dir = PathBuf::from(DATA_DIR),
        }
        config.storage.log_dir = draft.log_dir.take().unwrap_or_else(|| config.storage.data_dir.clone());
        Ok(())
    }

    fn sessions(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        let sessions = &mut config.sessions;
        let ticks = |count: i32| i32::try_from(sessions.tick_ms).unwrap_or(i32::MAX).saturating_mul(count);
        sessions.timeout_ms_min = draft.timeout_ms_min.unwrap_or(ticks(limits::SESSION_TIMEOUT_TICKS_MIN));
        sessions.timeout_ms_max = draft.timeout_ms_max.unwrap_or(ticks(limits::SESSION_TIMEOUT_TICKS_MAX));
        if sessions.timeout_ms_min > sessions.timeout_ms_max {
            let (min, max) = (sessions.timeout_ms_min, sessions.timeout_ms_max);
            let key = if draft.timeout_ms_min.is_some() { "minSessionTimeout" } else { "maxSessionTimeout" };
            return self.refuse(
                key,
                format!(
                    "minSessionTimeout ({min} ms) is above maxSessionTimeout ({max} ms); unset ones are 2 and 20 ticks"
                ),
            );
        }
        Ok(())
    }
}
