//! Where things lie in a simulated tree.

/// Registers, whose histories must be linearizable.
pub const REGISTERS: &str = "/r";

/// Where the bundled plugins of a run apply.
pub const LOCKS: &str = "/locks";
pub const QUEUES: &str = "/queues";
pub const GUARDED: &str = "/guarded";
pub const POLICED: &str = "/policed";

/// Where the guard applies that has too little fuel for more than a few hundred bytes of JSON.
pub const FAULTY: &str = "/faulty";

/// Where the policy applies that has too little fuel for any question.
pub const FORLORN: &str = "/forlorn";

/// The roles and subjects of `rbac`. Settings choose between the two folders of roles.
pub const FACTS: &str = "/rbac";
pub const ROLES: [&str; 2] = ["/rbac/roles", "/rbac/others"];
pub const SUBJECTS: &str = "/rbac/subjects";
