//! Settings of the section `Behaviour`: four letter words, plugins, rules for requests, containers.

use super::values::{boolean, number};
use super::{Effect, Key, key};
use crate::config::FourLetterWords;
use crate::plugin::signature::Signers;
use std::collections::BTreeSet;

pub(super) const KEYS: &[Key] = &[
    key(
        "4lw.commands.whitelist",
        "four_letter_words",
        "srvr",
        "Four letter words that are answered, separated by commas; `*`: all. The words need no authentication, and \
         some show paths and session ids. Open them only to networks that you trust.",
        |draft, _, value| {
            let words: BTreeSet<String> =
                value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            draft.config.four_letter_words =
                if words.contains("*") { FourLetterWords::All } else { FourLetterWords::Only(words) };
            Ok(())
        },
    ),
    Key {
        name: "",
        toml: "plugins",
        default: "true",
        effect: Effect::Set(|draft, _, value| boolean(value, &mut draft.config.plugins)),
        meaning: "Whether plugins run; also `--plugins on|off`. If they do not, the failure policy of an enforcing plugin \
                  answers in the plugin's place (it refuses, by default), except to the superuser. `off` is for repair.",
    },
    key(
        "pluginSigners",
        "plugin_signers",
        "",
        "Whose signatures plugins need: `name=KEY`, several separated by commas. KEY is an ed25519 public key in \
         base64, as `wasmkeeper plugin keygen` prints it. If it is set, only components that one of these keys has \
         signed are deployed and loaded; that includes the plugins that come with the server. Set it to the same value \
         on all members. If it is not set, no signature is needed, but a signature that a component has must be right. \
         Settings and grants are not signed.",
        |draft, _, value| {
            let signers = Signers::parse(value).map_err(|error| format!("must name signers: {error}"))?;
            draft.config.plugin_signers = signers;
            Ok(())
        },
    ),
    key(
        "extendedTypesEnabled",
        "rules.extended_types",
        "false",
        "Whether TTL nodes exist. If not, creating one is answered with UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.extended_types),
    ),
    key(
        "enforceQuota",
        "rules.enforce_quota",
        "false",
        "Whether hard quotas refuse writes (QUOTAEXCEEDED). Soft quotas are only logged in any case.",
        |draft, _, value| boolean(value, &mut draft.config.rules.enforce_quota),
    ),
    key(
        "reconfigEnabled",
        "rules.reconfig",
        "false",
        "Whether clients may change the ensemble's members (`reconfig`). If not, they get RECONFIGDISABLED. A client \
         needs the right to write `/zookeeper/config`, which only the superuser has unless the ACL of that node is \
         changed. A single server answers UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.reconfig),
    ),
    key(
        "skipACL",
        "rules.skip_acl",
        "no",
        "`yes`: no ACL is checked, and every client may do everything. For repair only.",
        |draft, _, value| boolean(value, &mut draft.config.rules.skip_acl),
    ),
    key(
        "znode.container.checkIntervalMs",
        "containers.check_interval_ms",
        "60000",
        "Milliseconds, 1 to 2^40, between two searches for empty containers and expired TTL nodes.",
        |draft, _, value| number(value, 1..=1 << 40, &mut draft.config.containers.check_interval_ms),
    ),
    key(
        "znode.container.maxPerMinute",
        "containers.per_minute_max",
        "10000",
        "Containers and TTL nodes that are deleted in one minute at most, 1 to 60000000, so that these deletions do \
         not delay clients.",
        |draft, _, value| number(value, 1..=60_000_000, &mut draft.config.containers.per_minute_max),
    ),
    key(
        "znode.container.maxNeverUsedIntervalMs",
        "containers.never_used_ms",
        "0",
        "Milliseconds after which a container that never had a child is deleted; 0: never.",
        |draft, _, value| number(value, 0..=i64::MAX, &mut draft.config.rules.container_never_used_ms),
    ),
    key(
        "readonlymode.enabled",
        "sessions.read_only_mode",
        "false",
        "Whether a member that is cut off from its ensemble serves clients that accept read-only mode. The word `isro` \
         is then always answered. A single server is never cut off.",
        |draft, _, value| boolean(value, &mut draft.config.read_only_mode),
    ),
];
