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
        "Four letter words that are answered: words divided by commas, or `*`. They need no authentication and tell \
         paths and session ids, so open them to networks you trust only.",
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
        meaning: "Whether plugins run; also `--plugins on|off`. Off, a path under an enforcing plugin refuses everyone \
                  but the superuser: it is for repair.",
    },
    key(
        "pluginSigners",
        "plugin_signers",
        "",
        "Whose signatures plugins need: `name=KEY`, several separated by commas; KEY is an ed25519 public key in base64, as \
         `wasmkeeper plugin keygen` prints it. Set, no component is deployed or loaded that none of them has signed, those \
         that come with the server among them; set it to the same on all members. Unset, a signature is not needed, and \
         one that is there has to fit. Settings and grants are not signed.",
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
        "TTL nodes. Off, creating one is UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.extended_types),
    ),
    key(
        "enforceQuota",
        "rules.enforce_quota",
        "false",
        "Hard quotas refuse (QUOTAEXCEEDED). Soft ones are logged either way.",
        |draft, _, value| boolean(value, &mut draft.config.rules.enforce_quota),
    ),
    key(
        "reconfigEnabled",
        "rules.reconfig",
        "false",
        "Whether clients may ask for a change of members (`reconfig`); RECONFIGDISABLED otherwise. Only who may write \
         `/zookeeper/config` can: the superuser, unless its ACL is changed. A single server answers UNIMPLEMENTED.",
        |draft, _, value| boolean(value, &mut draft.config.rules.reconfig),
    ),
    key(
        "skipACL",
        "rules.skip_acl",
        "no",
        "`yes`: no ACL is checked. Everyone may do everything; for repair only.",
        |draft, _, value| boolean(value, &mut draft.config.rules.skip_acl),
    ),
    key(
        "znode.container.checkIntervalMs",
        "containers.check_interval_ms",
        "60000",
        "Milliseconds, 1 to 2^40, between two looks for empty containers and TTL nodes that have outlived their time.",
        |draft, _, value| number(value, 1..=1 << 40, &mut draft.config.containers.check_interval_ms),
    ),
    key(
        "znode.container.maxPerMinute",
        "containers.per_minute_max",
        "10000",
        "Containers and TTL nodes deleted in a minute at most, 1 to 60000000, so that they do not crowd out clients.",
        |draft, _, value| number(value, 1..=60_000_000, &mut draft.config.containers.per_minute_max),
    ),
    key(
        "znode.container.maxNeverUsedIntervalMs",
        "containers.never_used_ms",
        "0",
        "A container that never had a child goes after this many milliseconds; 0: never.",
        |draft, _, value| number(value, 0..=i64::MAX, &mut draft.config.rules.container_never_used_ms),
    ),
    key(
        "readonlymode.enabled",
        "sessions.read_only_mode",
        "false",
        "A member cut off from its ensemble serves clients that accept it, and the word `isro` is answered. A single \
         server is never cut off.",
        |draft, _, value| boolean(value, &mut draft.config.read_only_mode),
    ),
];
