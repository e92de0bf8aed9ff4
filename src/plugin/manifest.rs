//! The two manifests of a plugin: the one in the tree, which binds a component to paths, and the one inside the
//! component, by which its author says what it is and needs.
//!
//! Both come from outside: parsing them never panics, and an error is a sentence that names the key.

use super::grant::{self, Grant};
use super::pattern::Pattern;
use crate::limits;
use serde::{Deserialize, Serialize};

/// The data of `/zookeeper/plugins/<name>` (docs/plugins.md, "In the tree").
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1: this form.
    pub format: u32,
    /// Counts the deployments of this name, from 1.
    pub version: u32,
    pub component: Component,
    pub paths: Vec<String>,
    #[serde(default = "all_operations")]
    pub on: Vec<Operation>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub on_failure: OnFailure,
    #[serde(default = "no_settings")]
    pub settings: serde_json::Value,
    #[serde(default)]
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub limits: Limits,
}

/// Where the component is: pieces `/zookeeper/modules/<sha256>/00000` and on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// 64 hexadecimal digits, small letters.
    pub sha256: String,
    pub bytes: u64,
    pub chunks: u32,
    /// Where it came from, for people: `bundled:guard`, a file's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Create,
    Set,
    Delete,
    Acl,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A refusal refuses the write.
    #[default]
    Enforce,
    /// A refusal is counted and logged; the write goes on.
    Audit,
    /// Not called.
    Off,
}

/// What a write gets when the plugin fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    #[default]
    Reject,
    Ignore,
}

/// None: the server's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Of CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// The custom section `wasmkeeper:manifest`. Unknown keys are a later version's.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Section {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: String,
    /// Answers do not depend on earlier calls: instances may be reused.
    #[serde(default)]
    pub pure: bool,
    #[serde(default)]
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub limits: Limits,
}

fn all_operations() -> Vec<Operation> {
    vec![Operation::Create, Operation::Set, Operation::Delete, Operation::Acl]
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// Reads and checks a manifest by itself: what it names is `admission`'s to look at.
pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    if bytes.len() > limits::PLUGIN_MANIFEST_BYTES_MAX {
        return Err(format!(
            "the manifest has {} bytes, at most {} are allowed",
            bytes.len(),
            limits::PLUGIN_MANIFEST_BYTES_MAX
        ));
    }
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| format!("the manifest cannot be read: {error}"))?;
    manifest.check()?;
    Ok(manifest)
}

/// Reads the author's manifest.
pub fn parse_section(bytes: &[u8]) -> Result<Section, String> {
    let section: Section = serde_json::from_slice(bytes)
        .map_err(|error| format!("its section wasmkeeper:manifest cannot be read: {error}"))?;
    if section.grants.len() > limits::PLUGIN_GRANTS_MAX {
        return Err(format!("its section wasmkeeper:manifest asks for more than {} grants", limits::PLUGIN_GRANTS_MAX));
    }
    Ok(section)
}

/// Whether a plugin may be called that: its name is a node's name and stands in refusals.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(good)
        || name.len() > limits::PLUGIN_NAME_BYTES_MAX
    {
        return Err(format!(
            "{name:?} is no name for a plugin: it begins with a small letter and has small letters, digits, - _ . and at most {} of them",
            limits::PLUGIN_NAME_BYTES_MAX
        ));
    }
    Ok(())
}

impl Manifest {
    fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format: {} is unknown to this server, which knows 1", self.format));
        }
        if self.version == 0 {
            return Err("version: deployments count from 1".into());
        }
        self.component.check()?;
        if self.paths.is_empty() {
            return Err("paths: at least one pattern is required, such as \"/services/**\"".into());
        }
        if self.paths.len() > limits::PLUGIN_PATHS_MAX {
            return Err(format!("paths: at most {} patterns", limits::PLUGIN_PATHS_MAX));
        }
        for path in &self.paths {
            Pattern::parse(path).map_err(|error| format!("paths: {error}"))?;
        }
        if self.on.is_empty() {
            return Err("on: at least one operation is required: create, set, delete or acl".into());
        }
        if !self.settings.is_object() {
            return Err("settings: a JSON object is required, such as {}".into());
        }
        if self.grants.len() > limits::PLUGIN_GRANTS_MAX {
            return Err(format!("grants: at most {}", limits::PLUGIN_GRANTS_MAX));
        }
        for granted in &self.grants {
            grant::check(granted).map_err(|error| format!("grants: {error}"))?;
        }
        self.limits.check()
    }

    pub fn patterns(&self) -> Result<Vec<Pattern>, String> {
        self.paths.iter().map(|path| Pattern::parse(path)).collect()
    }
}

/// The deepest path that all patterns are at or below: what `configure` is told as the mount.
pub fn mount(patterns: &[Pattern]) -> String {
    let Some((first, others)) = patterns.split_first() else { return "/".into() };
    let mut mount = first.base();
    for other in others {
        while !crate::model::path::is_within(other.base(), mount) {
            mount = crate::model::path::parent(mount).unwrap_or("/");
        }
    }
    mount.into()
}

impl Component {
    fn check(&self) -> Result<(), String> {
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("component.sha256: 64 hexadecimal digits in small letters are required".into());
        }
        if self.bytes == 0 || self.bytes > limits::COMPONENT_BYTES_MAX as u64 {
            return Err(format!("component.bytes: {} is not within 1 to {}", self.bytes, limits::COMPONENT_BYTES_MAX));
        }
        // A chunk may be shorter than it could be, but not so short that counting them costs more than reading.
        if self.chunks == 0 || u64::from(self.chunks) > self.bytes.div_ceil(1024) {
            return Err(format!("component.chunks: {} is not within 1 to one for each KiB", self.chunks));
        }
        Ok(())
    }

    /// The node of that chunk.
    pub fn chunk_path(&self, chunk: u32) -> String {
        format!("{}/{}/{chunk:05}", super::MODULES, self.sha256)
    }
}

impl Limits {
    fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: Option<u64>, min: u64, max: u64| match value {
            Some(value) if value < min || value > max => {
                Err(format!("limits.{key}: {value} is not within {min} to {max}"))
            }
            _ => Ok(()),
        };
        within("fuel", self.fuel, 1, limits::PLUGIN_FUEL_MAX)?;
        within("deadline_ms", self.deadline_ms, 1, limits::PLUGIN_CPU_MS_MAX)?;
        within("memory_bytes", self.memory_bytes, 64 << 10, limits::PLUGIN_MEMORY_BYTES_MAX as u64)
    }
}

impl Operation {
    pub const ALL: [Operation; 4] = [Operation::Create, Operation::Set, Operation::Delete, Operation::Acl];

    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Set => "set",
            Operation::Delete => "delete",
            Operation::Acl => "acl",
        }
    }
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
            Mode::Off => "off",
        }
    }
}

impl OnFailure {
    pub fn name(self) -> &'static str {
        match self {
            OnFailure::Reject => "reject",
            OnFailure::Ignore => "ignore",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "format": 1, "version": 1, "paths": ["/services/**"],
            "component": { "sha256": "0".repeat(64), "bytes": 10, "chunks": 1 },
        })
    }

    fn with(pointer: &str, value: Value) -> Vec<u8> {
        let mut manifest = good();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        manifest.to_string().into_bytes()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let manifest = parse(good().to_string().as_bytes()).unwrap();
        assert_eq!((manifest.mode, manifest.on_failure), (Mode::Enforce, OnFailure::Reject));
        assert_eq!(manifest.on.len(), 4);
        assert_eq!(manifest.settings, json!({}));
        let again = parse(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pointer, value, words) in [
            ("/format", json!(2), "format: 2"),
            ("/pathz", json!([]), "pathz"),
            ("/paths", json!([]), "paths: at least one"),
            ("/paths", json!(["services"]), "start with /"),
            ("/paths", json!(["/zookeeper/x"]), "/zookeeper"),
            ("/on", json!(["read"]), "read"),
            ("/mode", json!("on"), "on"),
            ("/settings", json!(3), "settings"),
            ("/grants", json!([{ "path": "/a", "verbs": [] }]), "a verb is required"),
            ("/grants", json!([{ "path": "/zookeeper", "verbs": ["read"] }]), "no grant reaches /zookeeper"),
            ("/limits", json!({ "fuel": 0 }), "limits.fuel: 0"),
            ("/limits", json!({ "memory_bytes": 1u64 << 40 }), "limits.memory_bytes"),
            ("/limits", json!({ "deadline_ms": 5000 }), "limits.deadline_ms"),
            ("/component/sha256", json!("00"), "component.sha256"),
            ("/component/bytes", json!(1u64 << 40), "component.bytes"),
            ("/component/chunks", json!(5), "component.chunks"),
        ] {
            let error = parse(&with(pointer, value)).unwrap_err();
            assert!(error.contains(words), "{pointer}: {error}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        for bytes in [&b""[..], b"{", b"\xff\xff", b"[]", b"null", &[b'['; 100_000]] {
            assert!(parse(bytes).is_err());
            assert!(parse_section(bytes).is_err() || bytes == b"[]");
        }
    }

    #[test]
    fn the_mount_is_what_the_paths_share() {
        let mount_of =
            |paths: &[&str]| mount(&paths.iter().map(|path| Pattern::parse(path).unwrap()).collect::<Vec<_>>());
        assert_eq!(mount_of(&["/services/**"]), "/services");
        assert_eq!(mount_of(&["/a/b/*", "/a/c/**"]), "/a");
        assert_eq!(mount_of(&["/a/**", "/b/**"]), "/");
    }

    #[test]
    fn names() {
        for good in ["names", "a", "my-plugin_2.x"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "A", "1a", "a/b", "a b", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
