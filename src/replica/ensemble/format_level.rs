//! Raises the format level (`ordering::format_level`) on the leader.

use super::Ensemble;
use crate::limits;
use crate::pipeline::Ask;
use crate::replica::ordering::WriteOrder;

impl Ensemble {
    /// Raises the format level to what every voter's release knows, unless the change that needs the level raises it.
    pub(super) fn raise_format_level(&self, order: &WriteOrder) {
        let level = self.format_level_of_voters();
        if level > order.format_level().max(limits::FORMAT_LEVEL_ON_DEMAND) {
            order.ask(Ask::RaiseFormatLevel { level });
        }
    }

    /// The highest format level that every voter's release knows. 0 if a voter has not reported yet.
    pub(in crate::replica) fn format_level_of_voters(&self) -> u32 {
        let membership = self.consensus().membership();
        let known = membership.voters.iter().map(|id| match u32::try_from(*id) {
            Ok(id) if id == self.config.server_id => Some(self.known_members.me().format_level),
            Ok(id) => self.known_members.report_of(id).map(|(_, report)| report.format_level),
            Err(_) => None,
        });
        // A voter that has never reported may know less than any other.
        known.map(Option::unwrap_or_default).min().unwrap_or_default()
    }
}
