//! Which members a leader's heartbeats reach, for the operator: one line when one has been silent for
//! `limits::MEMBER_SILENT`, so at most one in that time, and one when it answers again. (openraft has a line for each lost
//! heartbeat, twenty a second.)

use super::connection::PeerError;
use crate::environment::Instant;
use crate::limits;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Of each member that was ever sent a heartbeat, what became of the last ones. The lock is held for a look.
#[derive(Default)]
pub struct Reachability(Mutex<BTreeMap<u64, Silence>>);

impl Reachability {
    pub fn attempt(&self, member: u64) -> HeartbeatAttempt<'_> {
        HeartbeatAttempt { reach: self, member, is_over: false }
    }
}

/// One heartbeat under way. If it is dropped before it is over, no answer came in time.
pub struct HeartbeatAttempt<'a> {
    reach: &'a Reachability,
    member: u64,
    is_over: bool,
}

impl HeartbeatAttempt<'_> {
    pub fn ends(mut self, trouble: Option<&PeerError>) {
        self.is_over = true;
        self.note(trouble.map(|trouble| trouble as &dyn std::fmt::Display));
    }

    fn note(&self, trouble: Option<&dyn std::fmt::Display>) {
        let news = self.reach.0.lock().entry(self.member).or_default().note(trouble.is_none(), Instant::now());
        match (news, trouble) {
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
    /// The first and the last lost heartbeat of a row without an answer in between.
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
            // Without a pause in which this member did not lead, and asked nobody.
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
    use std::time::Duration;

    #[test]
    fn a_silent_member_is_told_of_once_and_so_is_its_return() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let beat = Duration::from_millis(limits::HEARTBEAT_MS);
        let beats = (limits::MEMBER_SILENT.as_millis() / beat.as_millis()) as u32;
        let mut heard = |beats: std::ops::Range<u32>, answered| -> Vec<(u32, Change)> {
            let news = |at| Some((at, silence.note(answered, start + beat * at)?));
            beats.filter_map(news).collect()
        };
        assert_eq!(heard(0..beats, false), [], "a moment of silence is no news");
        assert_eq!(heard(beats..3 * beats, false), [(beats, Change::Silent)]);
        assert_eq!(heard(3 * beats..4 * beats, true), [(3 * beats, Change::AnswersAgain)]);
        // It led no more for a while: what was lost before does not count.
        assert_eq!(heard(4 * beats..5 * beats, false), []);
        assert_eq!(heard(7 * beats..8 * beats, false), []);
        assert_eq!(heard(8 * beats..9 * beats, false), [(8 * beats, Change::Silent)]);
    }
}
