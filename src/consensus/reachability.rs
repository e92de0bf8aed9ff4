//! Which members a leader's heartbeats reach, for the operator. Writes one log line when a member has been silent for
//! `limits::MEMBER_SILENT`, and one line when the member answers again. So there is at most one warning for a member in
//! that time. (openraft writes a line for each lost heartbeat, twenty a second.)

use super::connection::PeerError;
use crate::environment::Instant;
use crate::limits;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The last heartbeats of each member that ever got one. The lock is held for a moment only.
#[derive(Default)]
pub(crate) struct Reachability(Mutex<BTreeMap<u64, Silence>>);

impl Reachability {
    pub(crate) fn attempt(&self, member: u64) -> HeartbeatAttempt<'_> {
        HeartbeatAttempt { reach: self, member, is_over: false }
    }
}

/// A heartbeat that has no answer yet. If this value is dropped before `ends`, no answer came in time.
pub(crate) struct HeartbeatAttempt<'a> {
    reach: &'a Reachability,
    member: u64,
    is_over: bool,
}

impl HeartbeatAttempt<'_> {
    pub(crate) fn ends(mut self, error: Option<&PeerError>) {
        self.is_over = true;
        self.note(error.map(|error| error as &dyn std::fmt::Display));
    }

    fn note(&self, error: Option<&dyn std::fmt::Display>) {
        let news = self.reach.0.lock().entry(self.member).or_default().note(error.is_none(), Instant::now());
        match (news, error) {
            (Some(Change::Silent), Some(why)) => {
                tracing::warn!(member = self.member, %why, "a member cannot be reached")
            }
            (Some(_), _) => tracing::warn!(member = self.member, "a member can be reached again"),
            (None, _) => {}
        }
    }
}

impl Drop for HeartbeatAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.note(Some(&"no answer in time"));
        }
    }
}

#[derive(Default)]
struct Silence {
    /// The first and the last heartbeat of a row that got no answer.
    row: Option<(Instant, Instant)>,
    told: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Silent,
    AnswersAgain,
}

impl Silence {
    fn note(&mut self, answered: bool, now: Instant) -> Option<Change> {
        if answered {
            self.row = None;
            return std::mem::take(&mut self.told).then_some(Change::AnswersAgain);
        }
        let first = match self.row {
            // Heartbeats count as one row only if there was no pause. In a pause this member did not lead and sent
            // none.
            Some((first, last)) if now - last < limits::MEMBER_SILENT => first,
            _ => now,
        };
        self.row = Some((first, now));
        let is_news = !self.told && now - first >= limits::MEMBER_SILENT;
        self.told |= is_news;
        is_news.then_some(Change::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_member_is_told_of_once_and_so_is_its_return() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let beat = limits::HEARTBEAT;
        let beats = (limits::MEMBER_SILENT.as_millis() / beat.as_millis()) as u32;
        let mut heard = |beats: std::ops::Range<u32>, answered| -> Vec<(u32, Change)> {
            let news = |at| Some((at, silence.note(answered, start + beat * at)?));
            beats.filter_map(news).collect()
        };
        assert_eq!(heard(0..beats, false), [], "a moment of silence is no news");
        assert_eq!(heard(beats..3 * beats, false), [(beats, Change::Silent)]);
        assert_eq!(heard(3 * beats..4 * beats, true), [(3 * beats, Change::AnswersAgain)]);
        // A pause without leadership: what was lost before does not count.
        assert_eq!(heard(4 * beats..5 * beats, false), []);
        assert_eq!(heard(7 * beats..8 * beats, false), []);
        assert_eq!(heard(8 * beats..9 * beats, false), [(8 * beats, Change::Silent)]);
    }
}
