//! What operators read of a plugin below its node, though no such nodes are in the tree.

use super::plugins::Plugins;
use crate::plugin::PLUGINS;
use crate::plugin::code::compile;

impl Plugins {
    /// The data of `/zookeeper/plugins/<name>/counters`, `.../status`, `.../faults`, `.../log` and `.../log/N` (what came
    /// behind number N), `.../recording` and `.../recording/N`, and of those of a version on trial below `.../canary`. They
    /// are no nodes of the tree: answers about this server, never logged, neither listed nor counted. None for any other path.
    pub fn virtual_node(&self, path: &str) -> Option<Vec<u8>> {
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

    /// `log/N` and `recording/N`: what came behind that number.
    fn behind(&self, key: &str, number: u64) -> Option<Vec<u8>> {
        let (key, what) = key.rsplit_once('/')?;
        let counters = self.counters.lock().get(key)?.clone();
        match what {
            "log" => Some(counters.log.json_behind(number).into_bytes()),
            "recording" => Some(counters.tape.listen(number).into_bytes()),
            _ => None,
        }
    }

    pub fn counters_json(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.counters.lock().get(name)?.json().to_string().into_bytes())
    }

    /// How the plugin runs here: `state` is `active`, `loading`, `failed` or `quarantine` (both with
    /// `reason`) or `off`.
    pub fn status_json(&self, name: &str) -> Option<Vec<u8>> {
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
