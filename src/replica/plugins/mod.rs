//! Plugins at work on a member.

pub(crate) mod blame;
pub(crate) mod calls;
pub(crate) mod chores;
pub(crate) mod controllers;
pub(crate) mod prepare;
