//! The two manifests of a plugin: the one in the tree, which binds a component to paths, and the one inside the
//! component, by which its author says what it is and needs.
//!
//! Both come from outside: parsing them never panics, and an error is a sentence that names the key.

pub mod grant;
pub mod pattern;
pub mod signature;
pub mod tree;

use crate::limits;
use crate::pipeline::Verb;
use crate::plugin::code::component;
use crate::plugin::{MODULES, PLUGINS};
use grant::Grant;
use pattern::Pattern;
use serde::{Deserialize, Serialize};
use signature::Signature;

/// The data of `/zookeeper/plugins/<name>` (docs/plugins.md, "In the tree").
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1: this form.
    pub format: u32,
    /// Counts the deployments of this name, from 1.
    pub version: u32,
    pub component: Component,
    #[serde(default)]
    pub kind: Kind,
    /// Patterns of what it is asked about: of validators, policies and controllers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The node of a recipe: it owns that one and all below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Of an authenticator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// What validators and policies are asked about; left out, all that their kind can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Verb>,
    /// Of a policy: whether one that allows is needed.
    #[serde(default, skip_serializing_if = "Require::is_none")]
    pub require: Require,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Only of a version on trial (`/zookeeper/plugins/<name>/canary`): the nodes for which it is asked, each with all
    /// below. The rest of its manifest is what it will be bound by once it is promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<String>,
    /// Who vouches for the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
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

/// A component and who vouches for it: what it takes to run it.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    pub component: &'a Component,
    pub signature: Option<&'a Signature>,
}

impl Code<'_> {
    /// What it is known by in this process: the same component signed otherwise has to be looked at again.
    pub fn key(&self) -> String {
        match self.signature {
            None => self.component.sha256.clone(),
            Some(signature) => format!("{} {} {}", self.component.sha256, signature.signer, signature.ed25519),
        }
    }
}

/// What a plugin is: which of the contract's exported interfaces its binding uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Validator,
    Policy,
    Authenticator,
    Recipe,
    Controller,
}

/// What a policy's silence means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Nothing: only a deny decides.
    #[default]
    None,
    /// Of all policies that are asked one must allow.
    Allow,
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
    /// Calls that take longer are noted in the plugin's log; they are not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
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
    /// Whether the other one binds the same, perhaps in another mode.
    pub fn is_but_for_its_mode(&self, other: &Manifest) -> bool {
        *other == Manifest { mode: other.mode, version: other.version, ..self.clone() }
    }

    fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format: {} is unknown to this server, which knows 1", self.format));
        }
        if self.version == 0 {
            return Err("version: deployments count from 1".into());
        }
        self.component.check()?;
        self.signature.as_ref().map_or(Ok(()), Signature::check)?;
        self.check_place()?;
        if self.paths.len() > limits::PLUGIN_PATHS_MAX {
            return Err(format!("paths: at most {} patterns", limits::PLUGIN_PATHS_MAX));
        }
        for path in &self.paths {
            Pattern::parse(path).map_err(|error| format!("paths: {error}"))?;
        }
        if let Some(other) = self.on.iter().find(|operation| !self.kind.operations().contains(operation)) {
            let known: Vec<_> = self.kind.operations().iter().map(|operation| operation.name()).collect();
            return Err(match known.as_slice() {
                [] => format!("on: a {} is not asked about operations, leave it out", self.kind.name()),
                known => format!(
                    "on: a {} is not asked about `{}`, there are {}",
                    self.kind.name(),
                    other.name(),
                    known.join(", ")
                ),
            });
        }
        self.check_ways()?;
        self.check_canary()?;
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

    /// Where it applies: each kind has one way to say it.
    fn check_place(&self) -> Result<(), String> {
        let kind = self.kind.name();
        let (by_paths, by_mount, by_scheme) = match self.kind {
            Kind::Validator | Kind::Policy | Kind::Controller => (true, false, false),
            Kind::Recipe => (false, true, false),
            Kind::Authenticator => (false, false, true),
        };
        if by_paths && self.paths.is_empty() {
            return Err("paths: at least one pattern is required, such as \"/services/**\"".into());
        }
        if !by_paths && !self.paths.is_empty() {
            return Err(format!("paths: a {kind} has none"));
        }
        match &self.mount {
            None if by_mount => return Err("mount: a recipe needs one, such as \"/locks\"".into()),
            Some(_) if !by_mount => return Err(format!("mount: a {kind} has none")),
            Some(mount) => {
                crate::model::path::validate(mount).map_err(|error| format!("mount {mount:?}: {error}"))?;
                if mount == "/" || crate::model::path::is_servers_own(mount) || mount.contains('*') {
                    return Err(format!(
                        "mount {mount:?}: a recipe owns a subtree, such as \"/locks\": not the root, nothing in /zookeeper, no pattern"
                    ));
                }
            }
            None => {}
        }
        match &self.scheme {
            None if by_scheme => Err("scheme: an authenticator needs one, such as \"jwt\"".into()),
            Some(_) if !by_scheme => Err(format!("scheme: a {kind} has none")),
            Some(scheme) => check_scheme(scheme),
            None => Ok(()),
        }
    }

    /// Whether its kind can be bound that way.
    fn check_ways(&self) -> Result<(), String> {
        let kind = self.kind.name();
        let judges = matches!(self.kind, Kind::Validator | Kind::Policy);
        if self.mode == Mode::Audit && !judges {
            return Err(format!("mode: a {kind} judges nothing that audit could count: enforce or off"));
        }
        if self.on_failure == OnFailure::Ignore && !judges {
            return Err(format!("on_failure: what a {kind} fails to do cannot be ignored, leave it out"));
        }
        if self.require == Require::Allow && self.kind != Kind::Policy {
            return Err(format!("require: only a policy allows, this is a {kind}"));
        }
        Ok(())
    }

    /// Whether it may stand at that node below `/zookeeper/plugins`: `<name>`, or `<name>/canary`.
    pub fn check_node(&self, key: &str) -> Result<(), String> {
        match (key.contains('/'), self.canary.is_empty()) {
            (true, true) => Err("canary: a version on trial says for which paths, such as [\"/services/pay\"]".into()),
            (false, false) => Err(format!("canary: a version on trial stands at {}/{key}/canary", PLUGINS)),
            _ => Ok(()),
        }
    }

    /// Whether it can be tried at those paths.
    fn check_canary(&self) -> Result<(), String> {
        if self.canary.is_empty() {
            return Ok(());
        }
        match self.kind {
            Kind::Validator | Kind::Policy => {}
            Kind::Recipe => {
                return Err("canary: a mount has one recipe, which owns all that lies there: try the new version at a mount of \
                            its own"
                    .into());
            }
            Kind::Authenticator => {
                return Err(
                    "canary: a scheme has one authenticator, for all paths: try the new version under a scheme of its \
                            own"
                    .into(),
                );
            }
            Kind::Controller => return Err("canary: two versions of a controller would undo each other's work".into()),
        }
        if self.canary.len() > limits::PLUGIN_PATHS_MAX {
            return Err(format!("canary: at most {} paths", limits::PLUGIN_PATHS_MAX));
        }
        let place = self.place(&self.patterns()?);
        for path in &self.canary {
            if let Err(error) = crate::model::path::validate(path) {
                return Err(format!("canary: path {path:?}: {error}"));
            }
            if path.contains('*') {
                return Err(format!("canary: path {path:?}: a node, with all below, and no pattern"));
            }
            if !crate::model::path::is_within(path, &place) {
                return Err(format!("canary: path {path:?}: it is not within {place}, where the plugin applies"));
            }
        }
        Ok(())
    }

    pub fn code(&self) -> Code<'_> {
        Code { component: &self.component, signature: self.signature.as_ref() }
    }

    pub fn patterns(&self) -> Result<Vec<Pattern>, String> {
        self.paths.iter().map(|path| Pattern::parse(path)).collect()
    }

    /// Bits by `Verb`: what it is asked about.
    pub fn operations(&self) -> u8 {
        let asked = if self.on.is_empty() { self.kind.operations() } else { &self.on };
        asked.iter().fold(0, |bits, operation| bits | 1 << *operation as u8)
    }

    /// What `configure` is told as the mount.
    pub fn place(&self, patterns: &[Pattern]) -> String {
        match (&self.mount, &self.scheme) {
            (Some(place), _) | (None, Some(place)) => place.clone(),
            (None, None) => mount(patterns),
        }
    }
}

/// Schemes that the server proves itself, or gives a meaning to.
const SCHEMES_TAKEN: [&str; 9] = ["world", "auth", "digest", "ip", "x509", "sasl", "super", "host", "plugin"];

fn check_scheme(scheme: &str) -> Result<(), String> {
    check_name(scheme).map_err(|_| {
        format!("scheme {scheme:?}: it begins with a small letter and has small letters, digits, - _ . only")
    })?;
    if SCHEMES_TAKEN.contains(&scheme) {
        return Err(format!("scheme {scheme:?}: the server's own, choose another one"));
    }
    Ok(())
}

/// The deepest path that all patterns are at or below.
fn mount(patterns: &[Pattern]) -> String {
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
        if self.bytes > limits::COMPONENT_BYTES_MAX as u64 {
            return Err(component::too_large(self.bytes));
        }
        if self.bytes == 0 {
            return Err("component.bytes: 0 is no component".into());
        }
        // A chunk may be shorter than it could be, but not so short that counting them costs more than reading.
        if self.chunks == 0 || u64::from(self.chunks) > self.bytes.div_ceil(1024) {
            return Err(format!("component.chunks: {} is not within 1 to one for each KiB", self.chunks));
        }
        Ok(())
    }

    /// The node of that chunk.
    pub fn chunk_path(&self, chunk: u32) -> String {
        format!("{}/{}/{chunk:05}", MODULES, self.sha256)
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

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Validator, Kind::Policy, Kind::Authenticator, Kind::Recipe, Kind::Controller];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Validator => "validator",
            Kind::Policy => "policy",
            Kind::Authenticator => "authenticator",
            Kind::Recipe => "recipe",
            Kind::Controller => "controller",
        }
    }

    /// The interface of the contract that makes a component one.
    pub fn interface(self) -> &'static str {
        match self {
            Kind::Validator => "validation",
            Kind::Policy => "authorization",
            Kind::Authenticator => "authentication",
            Kind::Recipe => "behavior",
            Kind::Controller => "reconciliation",
        }
    }

    /// What it can be asked about: a validator about the middle four, a policy about all. Empty where it is not asked about
    /// operations.
    pub fn operations(self) -> &'static [Verb] {
        match self {
            Kind::Validator => &Verb::ALL[2..6],
            Kind::Policy => &Verb::ALL,
            Kind::Authenticator | Kind::Recipe | Kind::Controller => &[],
        }
    }
}

impl Require {
    fn is_none(&self) -> bool {
        *self == Require::None
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
        assert_eq!((manifest.kind, manifest.operations()), (Kind::Validator, 0b011_1100));
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
            ("/on", json!(["read"]), "on: a validator is not asked about `read`"),
            ("/kind", json!("recipe"), "paths: a recipe has none"),
            ("/mount", json!("/locks"), "mount: a validator has none"),
            ("/scheme", json!("jwt"), "scheme: a validator has none"),
            ("/require", json!("allow"), "require: only a policy"),
            ("/mode", json!("on"), "on"),
            ("/settings", json!(3), "settings"),
            ("/grants", json!([{ "path": "/a", "verbs": [] }]), "a verb is required"),
            ("/grants", json!([{ "path": "/zookeeper", "verbs": ["read"] }]), "no grant reaches /zookeeper"),
            ("/limits", json!({ "fuel": 0 }), "limits.fuel: 0"),
            ("/limits", json!({ "memory_bytes": 1u64 << 40 }), "limits.memory_bytes"),
            ("/limits", json!({ "deadline_ms": 5000 }), "limits.deadline_ms"),
            ("/canary", json!(["/other"]), "it is not within /services"),
            ("/canary", json!(["/services/*"]), "no pattern"),
            ("/component/sha256", json!("00"), "component.sha256"),
            ("/component/bytes", json!(1u64 << 40), "at most 25165824"),
            ("/component/chunks", json!(5), "component.chunks"),
        ] {
            let error = parse(&with(pointer, value)).unwrap_err();
            assert!(error.contains(words), "{pointer}: {error}");
        }
    }

    #[test]
    fn each_kind_says_where_it_applies() {
        let with = |more: Value| {
            let mut manifest = good();
            manifest.as_object_mut().unwrap().remove("paths");
            for (key, value) in more.as_object().unwrap() {
                manifest[key] = value.clone();
            }
            parse(manifest.to_string().as_bytes())
        };
        let lock = with(json!({ "kind": "recipe", "mount": "/locks" })).unwrap();
        assert_eq!(lock.place(&[]), "/locks");
        let jwt = with(json!({ "kind": "authenticator", "scheme": "jwt" })).unwrap();
        assert_eq!(jwt.place(&[]), "jwt");
        for (more, words) in [
            (json!({ "kind": "recipe" }), "mount: a recipe needs one"),
            (json!({ "kind": "recipe", "mount": "/zookeeper/x" }), "nothing in /zookeeper"),
            (json!({ "kind": "recipe", "mount": "/" }), "not the root"),
            (json!({ "kind": "recipe", "mount": "/locks/*" }), "no pattern"),
            (json!({ "kind": "recipe", "mount": "/locks", "mode": "audit" }), "mode: a recipe"),
            (json!({ "kind": "recipe", "mount": "/locks", "on_failure": "ignore" }), "on_failure: what a recipe"),
            (json!({ "kind": "recipe", "mount": "/locks", "on": ["create"] }), "on: a recipe"),
            (json!({ "kind": "recipe", "mount": "/locks", "canary": ["/locks/a"] }), "a mount has one recipe"),
            (json!({ "kind": "authenticator", "scheme": "jwt", "canary": ["/a"] }), "a scheme has one authenticator"),
            (json!({ "kind": "authenticator" }), "scheme: an authenticator needs one"),
            (json!({ "kind": "authenticator", "scheme": "digest" }), "the server's own"),
            (json!({ "kind": "authenticator", "scheme": "J" }), "small letter"),
            (json!({ "kind": "policy" }), "paths: at least one"),
        ] {
            let error = with(more).unwrap_err();
            assert!(error.contains(words), "{error}");
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
