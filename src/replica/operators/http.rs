//! What the HTTP interface tells of this member (`admin::http`).

use crate::admin::fourletter;
use crate::admin::http::{Admin, CallError, RecipeCall};
use crate::admin::prometheus;
use crate::replica::plugins::calls;
use crate::replica::ports::Endpoint;
use crate::session::{Serving, auth};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

impl Admin for Endpoint {
    fn metrics(&self) -> String {
        prometheus::text(&fourletter::mntr(&self.facts), &self.facts)
    }

    fn ready(&self) -> Result<(), String> {
        match self.replica.ensemble.lease.serving() {
            Serving::Everybody => {}
            Serving::ReadOnly => return Err("it is cut off from its ensemble and lets clients read only".into()),
            Serving::Nobody => {
                let why = match self.replica.ensemble.hindrance(&self.replica.order) {
                    Some(hindrance) if self.replica.order.has_recovered() => hindrance.to_string(),
                    _ => "it starts, ends, or has no leader".to_owned(),
                };
                return Err(format!("it serves nobody: {why}"));
            }
        }
        let plugins = &self.replica.order.plugins;
        for binding in plugins.registry().all() {
            let status = binding.status(plugins.enabled());
            let state = status["state"].as_str().unwrap_or_default();
            // A plugin under quarantine is not called by any member. An operator has to look at it; sending clients to
            // another member would not help.
            if !matches!(state, "active" | "off" | "quarantine") {
                let why = status["reason"].as_str().map_or_else(String::new, |why| format!(": {why}"));
                return Err(format!("plugin {} is {state}{why}", binding.key));
            }
        }
        Ok(())
    }

    fn is_superuser(&self, credential: Option<&str>, peer: SocketAddr) -> bool {
        if self.replica.order.rules.deploy_by_anyone && peer.ip().to_canonical().is_loopback() {
            return true;
        }
        let nobody = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let config = &self.replica.config.auth;
        let added = credential.map(|pair| auth::add(config, Some("digest"), Some(pair.as_bytes()), &[], nobody));
        matches!(added, Some(auth::Added::Proven(proven)) if proven.contains(&auth::superuser()))
    }

    fn call(&self, call: RecipeCall) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let replica = self.replica.clone();
        Box::pin(async move {
            let RecipeCall { plugin, method, payload, peer } = call;
            let identities = Arc::from([auth::superuser()]);
            calls::call_recipe(&replica.order, &plugin, &method, payload, identities, peer).await
        })
    }

    fn plugins(&self) -> String {
        let plugins = &self.replica.order.plugins;
        let registry = plugins.registry();
        let shown: Vec<Value> = registry
            .all()
            .map(|binding| {
                json!({
                    "name": &*binding.key,
                    "status": binding.status(plugins.enabled()),
                    "counters": binding.counters.json(),
                })
            })
            .collect();
        json!({ "plugins": shown }).to_string()
    }
}
