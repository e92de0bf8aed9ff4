//! Paths in the simulated tree.

/// The parent of the registers, whose histories must be linearizable.
pub const REGISTERS: &str = "/r";

/// The paths at which the plugins `lock`, `queue`, `guard` and `rbac` apply.
pub const LOCKS: &str = "/locks";
pub const QUEUES: &str = "/queues";
pub const GUARDED: &str = "/guarded";
pub const POLICED: &str = "/policed";

/// The path at which the weak guard applies, which has too little fuel for more than a few hundred bytes of JSON.
pub const WEAK_GUARDED: &str = "/faulty";

/// The path at which the frail policy applies, which has too little fuel for any question.
pub const FRAIL_POLICED: &str = "/forlorn";

/// The parent of the roles and subjects of `rbac`. Settings choose between the two folders of roles.
pub const FACTS: &str = "/rbac";
pub const ROLES: [&str; 2] = ["/rbac/roles", "/rbac/others"];
pub const SUBJECTS: &str = "/rbac/subjects";
