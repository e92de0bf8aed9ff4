//! What operators read below a plugin's node, although the tree has no such nodes.

use super::plugins::Plugins;
use crate::plugin::PLUGINS;
use crate::plugin::code::compile;

impl Plugins {
    /// The data of `counters`, `status`, `faults`, `log` and `recording` below `/zookeeper/plugins/<name>`, and below
    /// `.../canary` for a version on trial. `log/N` and `recording/N` return what came after number N.
    ///
    /// These are not nodes of the tree: they are answers about this server, never logged, listed or counted. None for
    /// any other path.
    pub(crate) fn virtual_node(&self, path: &str) -> Option<Vec<u8>> {
        let (key, what) = path.strip_prefix(PLUGINS)?.strip_prefix('/')?.rsplit_once('/')?;
        match what {
            "counters" => self.counters_json(key),
            "status" => self.status_json(key),
            "faults" => Some(self.counters.lock().get(key)?.last_faults.json().to_string().into_bytes()),
            "log" => Some(self.counters.lock().get(key)?.log.json_behind(0).into_bytes()),
            "recording" => {
                let header = self.registry.read().named(key)?.recording_header()?;
                Some(serde_json::to_vec(&header).expect("it is JSON"))
            }
            number => self.behind(key, number.parse().ok()?),
        }
    }

    /// The data of `log/N` and `recording/N`: what came after number N.
    fn behind(&self, key: &str, number: u64) -> Option<Vec<u8>> {
        let (key, what) = key.rsplit_once('/')?;
        let counters = self.counters.lock().get(key)?.clone();
        match what {
            "log" => Some(counters.log.json_behind(number).into_bytes()),
            "recording" => Some(counters.tape.listen(number).into_bytes()),
            _ => None,
        }
    }

    pub(crate) fn counters_json(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.counters.lock().get(name)?.json().to_string().into_bytes())
    }

    /// How the plugin runs on this server. `state` is `active`, `loading`, `failed`, `quarantine` or `off`. The states
    /// `failed` and `quarantine` come with a `reason`.
    pub(crate) fn status_json(&self, name: &str) -> Option<Vec<u8>> {
        let registry = self.registry.read().clone();
        let binding = registry.named(name)?;
        let mut status = binding.status(self.enabled);
        if let Some(Ok(running)) = self.engine.get() {
            status["engine"] = format!("{:016x}", compile::compatibility(&running.engine)).into();
        }
        if let Some(signature) = &binding.manifest.signature {
            status["signer"] = self.signers.name(&signature.signer).unwrap_or(&signature.signer).into();
        }
        Some(status.to_string().into_bytes())
    }
}
