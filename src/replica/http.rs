//! What HTTP tells of this member (`admin::http`).

use super::serve::Front;
use crate::admin::fourletter;
use crate::admin::http::Admin;
use crate::admin::prometheus;
use crate::session::Serving;
use serde_json::{Value, json};

impl Admin for Front {
    fn metrics(&self) -> String {
        prometheus::text(&fourletter::mntr(&self.words), &self.words)
    }

    fn ready(&self) -> Result<(), String> {
        match self.replica.word.serving() {
            Serving::Everybody => {}
            Serving::ReadOnly => return Err("it is cut off from its ensemble and lets clients read only".into()),
            Serving::Nobody => return Err("it serves nobody: it starts, ends, or has no leader".into()),
        }
        let plugins = &self.replica.plugins;
        for binding in plugins.registry().all() {
            let status = binding.status(plugins.enabled());
            let state = status["state"].as_str().unwrap_or_default();
            if !matches!(state, "active" | "off") {
                let why = status["reason"].as_str().map_or_else(String::new, |why| format!(": {why}"));
                return Err(format!("plugin {} is {state}{why}", binding.name));
            }
        }
        Ok(())
    }

    fn plugins(&self) -> String {
        let plugins = &self.replica.plugins;
        let registry = plugins.registry();
        let shown: Vec<Value> = registry
            .all()
            .map(|binding| {
                json!({
                    "name": &*binding.name,
                    "status": binding.status(plugins.enabled()),
                    "counters": binding.counters.json(),
                })
            })
            .collect();
        json!({ "plugins": shown }).to_string()
    }
}
