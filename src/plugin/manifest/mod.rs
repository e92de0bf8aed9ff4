//! The two manifests of a plugin: the one in the tree, which binds a component to paths, and the one inside the
//! component, by which its author says what it is and needs.
//!
//! Both come from outside: parsing them never panics, and an error is a sentence that names the key.

pub mod check;
pub mod grant;
pub mod pattern;
pub mod signature;
pub mod tree;

use crate::limits;
use crate::pipeline::Verb;
use crate::plugin::MODULES;
use grant::Grant;
use pattern::Pattern;
use serde::{Deserialize, Serialize};
use signature::Signature;

pub use check::check_name;

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

impl Manifest {
    /// Whether the other one binds the same, perhaps in another mode.
    pub fn is_but_for_its_mode(&self, other: &Manifest) -> bool {
        *other == Manifest { mode: other.mode, version: other.version, ..self.clone() }
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
    /// The node of that chunk.
    pub fn chunk_path(&self, chunk: u32) -> String {
        format!("{}/{}/{chunk:05}", MODULES, self.sha256)
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
mod tests;
