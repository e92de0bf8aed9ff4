//! Paths in the simulated tree.

/// The parent of the registers, whose histories must be linearizable.
pub(crate) const REGISTERS: &str = "/r";

/// The paths at which the plugins `lock`, `queue`, `guard` and `rbac` apply.
pub(crate) const LOCKS: &str = "/locks";
pub(crate) const QUEUES: &str = "/queues";
pub(crate) const GUARDED: &str = "/guarded";
pub(crate) const POLICED: &str = "/policed";

/// The path at which the weak guard applies, which has too little fuel for more than a few hundred bytes of JSON.
pub(crate) const WEAK_GUARDED: &str = "/faulty";

/// The path at which the frail policy applies, which has too little fuel for any question.
pub(crate) const FRAIL_POLICED: &str = "/forlorn";

/// The parent of the roles and subjects of `rbac`. Settings choose between the two folders of roles.
pub(crate) const FACTS: &str = "/rbac";
pub(crate) const ROLES: [&str; 2] = ["/rbac/roles", "/rbac/others"];
pub(crate) const SUBJECTS: &str = "/rbac/subjects";
