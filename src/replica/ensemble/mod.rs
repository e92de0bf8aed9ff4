//! What a member has to do with the other members.

pub(crate) mod bootstrap;
pub(crate) mod follower_links;
pub(crate) mod format_level;
pub(crate) mod known_members;
pub(crate) mod leader_link;
pub(crate) mod reconfig;
pub(crate) mod serving_lease;
