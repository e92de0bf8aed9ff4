//! Settings of the section `Sessions`: ticks, timeouts, local sessions.

use super::values::{boolean, number, timeout};
use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "tickTime",
        "sessions.tick_ms",
        "3000",
        "Milliseconds of a tick, 10 to 3600000. Sessions expire at multiples of a tick, and the defaults of the two \
         timeouts below are counted in ticks.",
        |draft, _, value| number(value, 10..=3_600_000, &mut draft.config.sessions.tick_ms),
    ),
    key(
        "minSessionTimeout",
        "sessions.timeout_ms_min",
        "2 ticks",
        "Shortest session timeout in milliseconds. A client that asks for less gets this; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_min),
    ),
    key(
        "maxSessionTimeout",
        "sessions.timeout_ms_max",
        "20 ticks",
        "Longest session timeout in milliseconds. A client that asks for more gets this; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_max),
    ),
    key(
        "localSessionsEnabled",
        "sessions.local",
        "false",
        "Whether new sessions are local: only the member that the client is connected to knows the session. A client \
         that only reads then causes no write in the ensemble. A local session ends with its member, and cannot own \
         ephemeral nodes. Without effect on a single server.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local),
    ),
    key(
        "localSessionsUpgradingEnabled",
        "sessions.local_upgrade",
        "false",
        "Whether a local session that creates an ephemeral node becomes a global session first. Otherwise that create \
         is refused.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local_upgrade),
    ),
];
