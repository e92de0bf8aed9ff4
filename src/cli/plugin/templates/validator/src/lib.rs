//! A validator that refuses data of more than `max-bytes`: a beginning to change into your own.
//!
//! What a validator is asked and what it may ask back stands in wit/plugin.wit.

use wasmkeeper_plugin::{Change, Rejection, Settings, Validator, View, validator};

/// What `configure` found in the settings; later calls need nothing else.
struct Short {
    bytes_max: u32,
}

validator!(Short, include_str!("../manifest.json"));

impl Validator for Short {
    /// Runs before a deployment is accepted, too. An error is the operator's answer, so it names the setting.
    fn configure(_mount: &str, settings: &str) -> Result<Short, String> {
        let mut settings = Settings::parse(settings)?;
        let bytes_max = settings.number("max-bytes", 1..=1_048_576)?.unwrap_or(1024);
        settings.finish()?;
        Ok(Short { bytes_max: bytes_max as u32 })
    }

    /// All changes of one transaction that match; `view` shows the tree as they leave it. An error refuses them all.
    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        for change in changes {
            // A change carries no data: `stat` tells the length, `get` has the bytes, `original` the node as it was.
            // None: the node is gone, by this change or a later one. `?` refuses in the server's own words.
            let Some(stat) = view.stat(&change.path)? else { continue };
            if stat.data_length > self.bytes_max {
                let text = format!("{} bytes, at most {} are allowed", stat.data_length, self.bytes_max);
                return Err(Rejection::at(&change.path, &text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::ChangeKind;
    use wasmkeeper_plugin::testing::Tree;

    fn create(data: &str) -> Result<(), Rejection> {
        let short = Short::configure("/app", r#"{"max-bytes":4}"#).unwrap();
        let tree = Tree::new();
        tree.put("/app/x", data);
        short.validate(&tree.view(), &[Change { kind: ChangeKind::Created, path: "/app/x".into() }])
    }

    #[test]
    fn what_is_longer_is_refused() {
        assert_eq!(create("four"), Ok(()));
        assert_eq!(create("fiver").unwrap_err().text, "/app/x: 5 bytes, at most 4 are allowed");
    }

    #[test]
    fn settings_are_checked() {
        assert!(Short::configure("/app", r#"{"max-byte":4}"#).is_err_and(|text| text.starts_with("max-byte:")));
    }
}
