//! Settings of the section `Sessions`: ticks, timeouts, local sessions.

use super::values::{boolean, number, timeout};
use super::{Key, key};

pub(super) const KEYS: &[Key] = &[
    key(
        "tickTime",
        "sessions.tick_ms",
        "3000",
        "Milliseconds of a tick, 10 to 3600000: the grain in which sessions expire, and the unit of the two defaults \
         below.",
        |draft, _, value| number(value, 10..=3_600_000, &mut draft.config.sessions.tick_ms),
    ),
    key(
        "minSessionTimeout",
        "sessions.timeout_ms_min",
        "2 ticks",
        "Shortest session timeout in milliseconds a client gets, whatever it asks for; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_min),
    ),
    key(
        "maxSessionTimeout",
        "sessions.timeout_ms_max",
        "20 ticks",
        "Longest session timeout in milliseconds a client gets; -1: the default.",
        |draft, _, value| timeout(value, &mut draft.timeout_ms_max),
    ),
    key(
        "localSessionsEnabled",
        "sessions.local",
        "false",
        "Sessions live on the member that a client is connected to until they need more: no write of the ensemble for a \
         client that only reads. They end with the member, and cannot own ephemeral nodes. Without effect on a single \
         server.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local),
    ),
    key(
        "localSessionsUpgradingEnabled",
        "sessions.local_upgrade",
        "false",
        "A local session that creates an ephemeral node becomes a global one first. Without it, that create is refused.",
        |draft, _, value| boolean(value, &mut draft.config.sessions.local_upgrade),
    ),
];
