//! The two manifests of a plugin. The one in the tree binds a component to paths. The one inside the component is the
//! author's, and says what the component is and needs.
//!
//! Both come from outside: parsing never panics, and an error is a sentence that names the key.
//!
//! | file | what |
//! |---|---|
//! | (this one) | the two manifests, and how they are parsed |
//! | `check` | what a good manifest looks like |
//! | `pattern`, `grant`, `signature` | parts of a manifest: which paths, which powers, which signer |
//! | `tree` | manifests and components in the tree |

pub(crate) mod check;
pub mod grant;
pub(crate) mod pattern;
pub(crate) mod signature;
pub mod tree;

use crate::limits;
use crate::pipeline::Verb;
use crate::plugin::MODULES;
use grant::Grant;
use pattern::Pattern;
use serde::{Deserialize, Serialize};
use signature::Signature;

pub(crate) use check::check_name;

/// The manifest in the tree: the data of `/zookeeper/plugins/<name>` (docs/plugins.md, "In the tree").
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form: 1.
    pub format: u32,
    /// The number of the deployment. It counts the deployments of this name, from 1.
    pub version: u32,
    pub component: Component,
    #[serde(default)]
    pub kind: Kind,
    /// For validators, policies and controllers: patterns of the paths that the plugin is asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// For recipes: the root of the subtree that the recipe owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// For authenticators: the scheme of the identities that the plugin proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// For validators and policies: the operations that the plugin is asked about. Empty: all that its kind can be
    /// asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Verb>,
    /// For policies: whether one policy must allow.
    #[serde(default, skip_serializing_if = "Require::is_none")]
    pub require: Require,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Only for a version on trial (`/zookeeper/plugins/<name>/canary`): the roots of the subtrees where the version is
    /// asked. The other keys are those that bind the version once it is promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<String>,
    /// Who has signed the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    #[serde(default = "no_settings")]
    pub settings: serde_json::Value,
    #[serde(default)]
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub limits: Limits,
}

/// Where the component is stored: in pieces `/zookeeper/modules/<sha256>/00000` and so on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// 64 hexadecimal digits in lower case.
    pub sha256: String,
    pub bytes: u64,
    pub chunks: u32,
    /// Where the component came from, for people: `bundled:guard`, or a file name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// A component and its signature: what is needed to run the component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code<'a> {
    pub(crate) component: &'a Component,
    pub(crate) signature: Option<&'a Signature>,
}

impl Code<'_> {
    /// The key of the program in this process. The signature is part of it, because the same component with another
    /// signature must be checked again.
    pub(crate) fn key(&self) -> String {
        match self.signature {
            None => self.component.sha256.clone(),
            Some(signature) => format!("{} {} {}", self.component.sha256, signature.signer, signature.ed25519),
        }
    }
}

/// The kind of a plugin: which exported interface of the contract its binding uses.
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

/// What it means that no policy has allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Nothing: only a deny decides.
    #[default]
    None,
    /// Denied: one of the policies that are asked must allow.
    Allow,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A refusal refuses the request.
    #[default]
    Enforce,
    /// A refusal is counted and logged, and the request goes on.
    Audit,
    /// The plugin is not called.
    Off,
}

/// What becomes of a request if the plugin fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    #[default]
    Reject,
    Ignore,
}

/// Bounds of a call. None: the server's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Milliseconds of CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Calls that take longer are noted in the plugin's log. They are not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
}

/// The author's manifest: the custom section `wasmkeeper:manifest`. Unknown keys are ignored, since a later version may
/// define them.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Section {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: String,
    /// The answers do not depend on earlier calls, so instances may be reused.
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

/// Parses and checks a manifest by itself. `check_deployment` checks what the manifest names.
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

/// Parses the author's manifest.
pub fn parse_section(bytes: &[u8]) -> Result<Section, String> {
    let section: Section = serde_json::from_slice(bytes)
        .map_err(|error| format!("its section wasmkeeper:manifest cannot be read: {error}"))?;
    if section.grants.len() > limits::PLUGIN_GRANTS_MAX {
        return Err(format!("its section wasmkeeper:manifest asks for more than {} grants", limits::PLUGIN_GRANTS_MAX));
    }
    Ok(section)
}

impl Manifest {
    /// Whether the other manifest binds the same, apart from mode and version.
    pub(crate) fn is_but_for_its_mode(&self, other: &Manifest) -> bool {
        *other == Manifest { mode: other.mode, version: other.version, ..self.clone() }
    }

    pub(crate) fn code(&self) -> Code<'_> {
        Code { component: &self.component, signature: self.signature.as_ref() }
    }

    pub(crate) fn patterns(&self) -> Result<Vec<Pattern>, String> {
        self.paths.iter().map(|path| Pattern::parse(path)).collect()
    }

    /// The operations that the plugin is asked about, as bits by `Verb`.
    pub(crate) fn operations(&self) -> u8 {
        let asked = if self.on.is_empty() { self.kind.operations() } else { &self.on };
        asked.iter().fold(0, |bits, operation| bits | 1 << *operation as u8)
    }

    /// The `mount` argument of `configure`: the mount, the scheme, or the deepest path that all patterns share.
    pub(crate) fn place(&self, patterns: &[Pattern]) -> String {
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
    /// The path of a piece's node.
    pub fn chunk_path(&self, chunk: u32) -> String {
        format!("{}/{}/{chunk:05}", MODULES, self.sha256)
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] =
        [Kind::Validator, Kind::Policy, Kind::Authenticator, Kind::Recipe, Kind::Controller];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Validator => "validator",
            Kind::Policy => "policy",
            Kind::Authenticator => "authenticator",
            Kind::Recipe => "recipe",
            Kind::Controller => "controller",
        }
    }

    /// The exported interface of the contract that makes a component of this kind.
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Kind::Validator => "validation",
            Kind::Policy => "authorization",
            Kind::Authenticator => "authentication",
            Kind::Recipe => "behavior",
            Kind::Controller => "reconciliation",
        }
    }

    /// The operations that a plugin of this kind can be asked about. A validator judges changes, a policy all
    /// operations. Empty for other kinds.
    pub(crate) fn operations(self) -> &'static [Verb] {
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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
            Mode::Off => "off",
        }
    }
}

impl OnFailure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            OnFailure::Reject => "reject",
            OnFailure::Ignore => "ignore",
        }
    }
}

#[cfg(test)]
mod tests;
