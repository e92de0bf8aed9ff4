//! What a good manifest in the tree looks like, as far as the manifest alone tells.
//!
//! An error is a sentence that names the key.

use super::grant;
use super::pattern::Pattern;
use super::signature::Signature;
use super::{Component, Kind, Limits, Manifest, Mode, OnFailure, Require};
use crate::limits;
use crate::model::path;
use crate::plugin::PLUGINS;

/// Checks that this can be the name of a plugin. The name is also a node's name, and a part of refusal texts.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
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
    pub(super) fn check(&self) -> Result<(), String> {
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

    /// Checks the keys that say where the plugin applies. Each kind has one of them.
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
                path::validate(mount).map_err(|error| format!("mount {mount:?}: {error}"))?;
                if mount == "/" || path::is_servers_own(mount) || mount.contains('*') {
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

    /// Checks the keys that only some kinds can have.
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

    /// Checks that the manifest may be the data of this node below `/zookeeper/plugins`: `<name>` or `<name>/canary`.
    pub(crate) fn check_node(&self, key: &str) -> Result<(), String> {
        match (key.contains('/'), self.canary.is_empty()) {
            (true, true) => Err("canary: a version on trial says for which paths, such as [\"/services/pay\"]".into()),
            (false, false) => Err(format!("canary: a version on trial stands at {}/{key}/canary", PLUGINS)),
            _ => Ok(()),
        }
    }

    /// Checks that the version can be on trial at its canary paths.
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
            if let Err(error) = path::validate(path) {
                return Err(format!("canary: path {path:?}: {error}"));
            }
            if path.contains('*') {
                return Err(format!("canary: path {path:?}: a node, with all below, and no pattern"));
            }
            if !path::is_within(path, &place) {
                return Err(format!("canary: path {path:?}: it is not within {place}, where the plugin applies"));
            }
        }
        Ok(())
    }
}

/// The schemes that the server proves itself or gives a meaning to.
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

impl Component {
    fn check(&self) -> Result<(), String> {
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("component.sha256: 64 hexadecimal digits in small letters are required".into());
        }
        if self.bytes > limits::COMPONENT_BYTES_MAX as u64 {
            return Err(too_large(self.bytes));
        }
        if self.bytes == 0 {
            return Err("component.bytes: 0 is no component".into());
        }
        // Pieces may be shorter than the maximum. They must not be so short that finding them costs more than reading
        // them.
        if self.chunks == 0 || u64::from(self.chunks) > self.bytes.div_ceil(1024) {
            return Err(format!("component.chunks: {} is not within 1 to one for each KiB", self.chunks));
        }
        Ok(())
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
        within("deadline_ms", self.deadline_ms, 1, limits::ms(limits::PLUGIN_CPU_MAX))?;
        within("memory_bytes", self.memory_bytes, 64 << 10, limits::PLUGIN_MEMORY_BYTES_MAX as u64)
    }
}

/// The refusal of a component of this size, and how to make it smaller.
pub(crate) fn too_large(bytes: u64) -> String {
    let bytes_max = limits::COMPONENT_BYTES_MAX;
    format!(
        "the component has {bytes} bytes, at most {bytes_max} ({} MiB) are allowed: leave out names and debug information (Rust: `strip = true` and \
         `lto = true`; C: `-s`; JavaScript: no --use-debug-build and no --aot) and libraries that it does not need (Python: packages)",
        bytes_max >> 20
    )
}
