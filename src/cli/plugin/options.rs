//! Values of options: kinds, modes, grants, durations, byte counts.

use crate::pipeline::Verb;
use crate::plugin::grant::{self, Grant, GrantVerb};
use crate::plugin::manifest::{Kind, Mode, OnFailure, Require};
use anyhow::Context as _;
use serde_json::Value;

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    let known = [Mode::Enforce, Mode::Audit, Mode::Off].into_iter().find(|mode| mode.name() == text);
    known.ok_or_else(|| "enforce, audit or off is required".into())
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, String> {
    let known = [OnFailure::Reject, OnFailure::Ignore].into_iter().find(|policy| policy.name() == text);
    known.ok_or_else(|| "reject or ignore is required".into())
}

pub(super) fn operation(text: &str) -> Result<Verb, String> {
    let known = Verb::ALL.into_iter().find(|operation| operation.name() == text);
    known.ok_or_else(|| "create, set, delete, acl, read, children or call is required".into())
}

pub(super) fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| "validator, policy, authenticator, recipe or controller is required".into())
}

pub(super) fn require(text: &str) -> Result<Require, String> {
    match text {
        "allow" => Ok(Require::Allow),
        "none" => Ok(Require::None),
        _ => Err("allow or none is required".into()),
    }
}

pub(super) fn parse_grant(text: &str) -> Result<Grant, String> {
    let (verbs, path) = text.split_once(':').ok_or("VERB:PATH is required, for example read:/services")?;
    let verbs = verbs.split(',').map(|verb| {
        GrantVerb::from_name(verb)
            .ok_or_else(|| format!("{verb}: read, children, create, set, delete or acl is required"))
    });
    let grant = Grant { path: path.into(), verbs: verbs.collect::<Result<_, _>>()? };
    grant::check(&grant)?;
    Ok(grant)
}

/// A duration in milliseconds: `50ms`, `1s`, or plain milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        (None, None) => (text, 1),
    };
    scaled(digits, factor).ok_or_else(|| "a duration is required, for example 50ms or 1s".into())
}

/// A number of bytes: `16MiB`, `64KiB`, or plain bytes.
pub(super) fn byte_count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1 << 10),
        (None, Some(digits)) => (digits, 1 << 20),
        (None, None) => (text, 1),
    };
    scaled(digits, factor).ok_or_else(|| "a number of bytes is required, for example 16MiB".into())
}

/// Settings: `JSON` or `@FILE`. `option`: the option's name, for messages.
pub(super) fn read_settings(option: &str, text: &str) -> anyhow::Result<Value> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("{option}: read {file}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text)
        .with_context(|| format!("{option}: JSON is required, for example '{{\"max_bytes\":4096}}'"))
}

fn scaled(digits: &str, factor: u64) -> Option<u64> {
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!((milliseconds("50ms"), milliseconds("1s"), milliseconds("7")), (Ok(50), Ok(1000), Ok(7)));
        assert_eq!((byte_count("16MiB"), byte_count("64KiB"), byte_count("7")), (Ok(16 << 20), Ok(64 << 10), Ok(7)));
        assert!(milliseconds("x").is_err() && byte_count("99999999999999999999").is_err());
    }
}
