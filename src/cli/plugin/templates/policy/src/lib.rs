//! A policy under which everybody reads and only some may write: a beginning to change into your own.
//!
//! What a policy is asked and what it may ask back stands in wit/plugin.wit. It takes away what access lists grant, and
//! cannot grant what they refuse.

use wasmkeeper_plugin::{Decision, Policy, Settings, Verb, View, policy};

struct Writers {
    /// As `scheme:id`, `ip:127.0.0.1` say.
    writers: Vec<String>,
}

policy!(Writers, include_str!("../manifest.json"));

impl Policy for Writers {
    /// Runs before a deployment is accepted, too. An error is the operator's answer, so it names the setting.
    fn configure(_mount: &str, settings: &str) -> Result<Writers, String> {
        let mut settings = Settings::parse(settings)?;
        let writers = settings.texts("writers")?.unwrap_or_default();
        settings.finish()?;
        Ok(Writers { writers })
    }

    /// Asked for each operation that the access list has allowed, and for each event of a watch.
    fn authorize(&self, view: &View, verb: Verb, path: &str) -> Decision {
        if matches!(verb, Verb::Read | Verb::Children) {
            return Decision::Allow;
        }
        let is_writer = |scheme: &str, id: &str| self.writers.iter().any(|writer| *writer == format!("{scheme}:{id}"));
        if view.identities().iter().any(|who| is_writer(&who.scheme, &who.id)) {
            return Decision::Allow;
        }
        Decision::Deny(format!("only its writers may change {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::testing::Tree;

    #[test]
    fn only_writers_write() {
        let policy = Writers::configure("/app", r#"{"writers":["ip:10.0.0.1"]}"#).unwrap();
        let tree = Tree::new();
        tree.identify(&[("ip", "10.0.0.2")]);
        assert_eq!(policy.authorize(&tree.view(), Verb::Read, "/app/x"), Decision::Allow);
        assert_eq!(
            policy.authorize(&tree.view(), Verb::Set, "/app/x"),
            Decision::Deny("only its writers may change /app/x".into())
        );
        tree.identify(&[("ip", "10.0.0.1")]);
        assert_eq!(policy.authorize(&tree.view(), Verb::Set, "/app/x"), Decision::Allow);
    }
}
