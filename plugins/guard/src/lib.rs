//! `guard`: a validator with the checks that most trees want. All settings are optional:
//!
//! | key | meaning |
//! |---|---|
//! | `max_bytes` | the largest size of a node's data, in bytes |
//! | `name` | a pattern for the last name of a created node: `*` is any text, `?` any character |
//! | `require_json` | the data must be a JSON object with these fields |
//! | `immutable` | `true`: an existing node keeps its data and is not deleted |

mod json;
mod name;

use serde_json::Value;
use wasmkeeper_plugin::{Change, ChangeKind, Rejection, Validator, View, validator};

#[derive(Default)]
struct Guard {
    bytes_max: Option<u32>,
    name: Option<String>,
    fields: Vec<String>,
    immutable: bool,
}

validator!(
    Guard,
    r#"{ "name": "guard", "version": "1.0.0", "pure": true, "grants": [ { "path": "$mount", "verbs": ["read"] } ] }"#
);

impl Validator for Guard {
    fn configure(_mount: &str, settings: &str) -> Result<Guard, String> {
        let Ok(Value::Object(settings)) = serde_json::from_str(settings) else {
            return Err("the settings must be a JSON object, such as {\"max_bytes\":4096}".into());
        };
        let mut guard = Guard::default();
        for (key, value) in &settings {
            match key.as_str() {
                "max_bytes" => {
                    let bytes = value.as_u64().and_then(|n| u32::try_from(n).ok());
                    guard.bytes_max = Some(bytes.ok_or("max_bytes: a number of bytes is required, such as 4096")?);
                }
                "name" => {
                    let pattern = value.as_str().filter(|pattern| !pattern.is_empty());
                    guard.name = Some(pattern.ok_or("name: a pattern is required, such as \"svc-*\"")?.into());
                }
                "require_json" => {
                    let wrong = "require_json: a list of field names is required, such as [\"owner\"]";
                    for field in value.as_array().ok_or(wrong)? {
                        guard.fields.push(field.as_str().ok_or(wrong)?.into());
                    }
                    if guard.fields.len() > json::FIELDS_MAX {
                        return Err(format!("require_json: at most {} fields", json::FIELDS_MAX));
                    }
                }
                "immutable" => guard.immutable = value.as_bool().ok_or("immutable: true or false is required")?,
                other => {
                    return Err(format!(
                        "{other}: there is no such setting; there are max_bytes, name, require_json, immutable"
                    ));
                }
            }
        }
        Ok(guard)
    }

    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        for change in changes {
            self.check(view, change)?;
        }
        Ok(())
    }
}

impl Guard {
    fn check(&self, view: &View, change: &Change) -> Result<(), Rejection> {
        let path = change.path.as_str();
        match change.kind {
            ChangeKind::AclSet => return Ok(()),
            ChangeKind::Deleted => return self.keep(view, path, "is immutable and cannot be deleted"),
            ChangeKind::DataSet => self.keep(view, path, "is immutable")?,
            ChangeKind::Created => self.named(path)?,
        }
        if self.fields.is_empty() {
            let Some(bytes_max) = self.bytes_max else { return Ok(()) };
            // The Stat is enough, and cheaper to read than the data.
            return view.stat(path)?.map_or(Ok(()), |stat| within(path, stat.data_length, bytes_max));
        }
        // A later change of the same transaction may have deleted the node.
        let Some(node) = view.get(path)? else { return Ok(()) };
        if let Some(bytes_max) = self.bytes_max {
            within(path, node.stat.data_length, bytes_max)?;
        }
        match json::missing(&node.data, &self.fields) {
            Ok(None) => Ok(()),
            Ok(Some(field)) => Err(Rejection::at(path, &format!("field \"{field}\" is missing"))),
            Err(json::NotAnObject) => Err(Rejection::at(path, "the data must be a JSON object")),
        }
    }

    fn keep(&self, view: &View, path: &str, text: &str) -> Result<(), Rejection> {
        // A node that this transaction creates may still change within it.
        if self.immutable && view.original(path)?.is_some() { Err(Rejection::at(path, text)) } else { Ok(()) }
    }

    fn named(&self, path: &str) -> Result<(), Rejection> {
        let Some(pattern) = &self.name else { return Ok(()) };
        let name = path.rsplit('/').next().unwrap_or_default();
        if name::fits(pattern, name) {
            return Ok(());
        }
        Err(Rejection::at(path, &format!("the name does not fit {pattern}")))
    }
}

fn within(path: &str, bytes: u32, bytes_max: u32) -> Result<(), Rejection> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Rejection::at(path, &format!("{bytes} bytes, at most {bytes_max} are allowed")))
}
