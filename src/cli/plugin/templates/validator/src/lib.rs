//! A validator that refuses data of more than `max-bytes`: a start, for you to change.
//!
//! wit/plugin.wit says what a validator is asked and what it may ask.

use wasmkeeper_plugin::{Change, Rejection, Settings, Validator, View, validator};

/// What `configure` read from the settings, for later calls.
struct Short {
    bytes_max: u32,
}

validator!(Short, include_str!("../manifest.json"));

impl Validator for Short {
    /// Also runs before a deployment is accepted. The operator sees the error, so it names the setting.
    fn configure(_mount: &str, settings: &str) -> Result<Short, String> {
        let mut settings = Settings::parse(settings)?;
        let bytes_max = settings.number("max-bytes", 1..=1_048_576)?.unwrap_or(1024);
        settings.finish()?;
        Ok(Short { bytes_max: bytes_max as u32 })
    }

    /// All changes of one transaction that match. `view` shows the tree after them. An error refuses the transaction.
    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        for change in changes {
            // A change carries no data. `stat` has the length, `get` the bytes, and `original` the node before the
            // change. None: this change or a later one has deleted the node. `?` refuses with the server's own error.
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
