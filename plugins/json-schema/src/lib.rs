//! `json-schema`: a validator. The data of a node must be JSON that matches a schema. Settings:
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | the schema: the part of JSON Schema 2020-12 that README.md lists |
//! | `allow-empty` | `true`: a node may have no data |
//!
//! The schema is parsed once, in `configure`. A schema with keywords that are not supported is refused there.

mod schema;

use schema::Schema;
use wasmkeeper_plugin::{Change, ChangeKind, Rejection, Settings, Validator, View, validator};

struct JsonSchema {
    schema: Schema,
    allow_empty: bool,
}

validator!(
    JsonSchema,
    r#"{ "name": "json-schema", "version": "1.0.0", "pure": true,
        "grants": [ { "path": "$mount", "verbs": ["read"] } ] }"#
);

impl Validator for JsonSchema {
    fn configure(_mount: &str, settings: &str) -> Result<JsonSchema, String> {
        let mut settings = Settings::parse(settings)?;
        let schema =
            settings.value("schema").ok_or("schema: a JSON Schema is required, such as {\"type\":\"object\"}")?;
        let schema = Schema::read("schema", &schema)?;
        let allow_empty = settings.flag("allow-empty")?.unwrap_or(false);
        settings.finish()?;
        Ok(JsonSchema { schema, allow_empty })
    }

    fn validate(&self, view: &View, changes: &[Change]) -> Result<(), Rejection> {
        let written = |change: &&Change| matches!(change.kind, ChangeKind::Created | ChangeKind::DataSet);
        for change in changes.iter().filter(written) {
            // A later change of the same transaction may have deleted the node.
            let Some(node) = view.get(&change.path)? else { continue };
            if self.allow_empty && node.data.is_empty() {
                continue;
            }
            let fits = match serde_json::from_slice(&node.data) {
                Ok(document) => self.schema.check(&document).map_err(|misfit| misfit.to_string()),
                Err(error) => Err(format!("the data is not JSON: {error}")),
            };
            fits.map_err(|text| Rejection::at(&change.path, &text))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
