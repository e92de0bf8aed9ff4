//! The format level: which effects transactions may have, so that every voter's release knows them all.
//!
//! The leader raises the level once the releases of all voters know the next one (`ensemble::format_level`). A member
//! whose release does not know the state's level ends, at its start or while it applies. Guessing what an unknown
//! effect means would make its state differ from the others'.

use super::WriteOrder;
use crate::replica::fatal::die;
use crate::state::State;

/// Why a member does not go on with a state of format level `level`. `known`: the highest level of its release.
pub(in crate::replica) fn too_old(level: u32, known: u32) -> String {
    format!(
        "the ensemble's state has format level {level} and this release knows {known} only: start the release that the \
         other members run"
    )
}

impl WriteOrder {
    /// The format level of the applied state.
    pub(in crate::replica) fn format_level(&self) -> u32 {
        // Readers call this too, while they hold the lock.
        self.state.read_recursive().format_level()
    }

    /// Ends the process if `state` has effects that this release does not know.
    pub(in crate::replica) fn require_known_format(&self, state: &State) {
        let level = state.format_level();
        if level > self.format_level_known {
            die(&too_old(level, self.format_level_known));
        }
    }
}
