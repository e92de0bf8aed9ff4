//! The format level: which effects transactions may have, so that every voter's release knows them all.
//!
//! The leader raises it (`raise_format_level`) once the releases of all voters know the next one. A member whose release does
//! not know the state's level ends rather than guess what it means: at its start, or while it applies.

use crate::pipeline::Ask;
use crate::replica::Replica;
use crate::replica::process::die;
use crate::state::State;

/// Why a member does not go on with a state of that format level.
pub fn too_old(level: u32, known: u32) -> String {
    format!(
        "the ensemble's state has format level {level} and this release knows {known} only: start the release that the \
         other members run"
    )
}

impl Replica {
    /// The level of effects that transactions may have.
    pub(crate) fn format_level(&self) -> u32 {
        // Also asked by readers, who hold the lock.
        self.state.read_recursive().format_level()
    }

    /// Raises it to what every voter's release knows.
    pub(crate) fn raise_format_level(&self) {
        let membership = self.consensus().membership();
        let known = membership.voters.iter().map(|id| match u32::try_from(*id) {
            Ok(id) if id == self.config.server_id => Some(self.door.peers().me().format_level),
            Ok(id) => self.door.report_of(id).map(|(_, report)| report.format_level),
            Err(_) => None,
        });
        // A voter that was never heard of may know less than any other.
        let level = known.map(Option::unwrap_or_default).min().unwrap_or_default();
        if level > self.format_level() {
            self.ask(Ask::RaiseFormatLevel { level });
        }
    }

    /// Ends the process if the state has effects that this release does not know.
    pub(crate) fn understands(&self, state: &State) {
        let (level, known) = (state.format_level(), self.door.peers().me().format_level);
        if level > known {
            die(&too_old(level, known));
        }
    }
}
