//! The two times that every transaction carries: wall time, and ensemble time.
//!
//! Ensemble time runs by the leader's monotonic clock, and stands still while there is no leader. Both times are part
//! of the state, so neither ever goes back.

use crate::environment::{self, Instant};
use crate::pipeline::Moment;
use crate::state::State;

/// Gives out the times of transactions. The sequencer owns it.
pub(crate) struct Clocks {
    /// When this member began to lead.
    lead_since: Instant,
    /// Ensemble time at that moment.
    ensemble_ms_then: u64,
    /// The last wall time given out, Unix milliseconds.
    ///
    /// Invariant: it never decreases, whatever this machine's clock does.
    wall_ms: i64,
    /// The term this member leads in, or led in last. 0 before its first leadership.
    ///
    /// Invariant: it never decreases.
    term: u64,
    /// The counter from which `context.seed` of plugins is made. Its values are no secret.
    seed: u64,
}

impl Clocks {
    pub(in crate::replica) fn new() -> std::io::Result<Clocks> {
        let seed = environment::random_u64()?;
        Ok(Clocks { lead_since: Instant::now(), ensemble_ms_then: 0, wall_ms: 0, term: 0, seed })
    }

    /// Starts a chain in `term`. True if the term is new: then the chain opens a new epoch.
    pub(super) fn lead(&mut self, term: u64, state: &State) -> bool {
        assert!(term >= self.term, "the terms of a member's leaderships never decrease: {} before {term}", self.term);
        let new = self.term != term;
        if new {
            self.term = term;
            self.lead_since = Instant::now();
            self.ensemble_ms_then = state.ensemble_ms();
        }
        self.wall_ms = self.wall_ms.max(state.wall_ms());
        new
    }

    /// The times for the next transaction, and a new seed.
    pub(super) fn now(&mut self) -> Moment {
        self.wall_ms = self.wall_ms.max(environment::wall_ms());
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms(), seed: self.next_seed() }
    }

    /// Ensemble time. Only meaningful while this member leads.
    pub(super) fn ensemble_ms(&self) -> u64 {
        let led = u64::try_from(self.lead_since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ensemble_ms_then.saturating_add(led)
    }

    /// splitmix64: counts up, and mixes the bits of the count well.
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
