//! The two times that every transaction carries: wall time, and ensemble time.
//!
//! Ensemble time runs by the leader's monotonic clock, and stands still while there is no leader. Both times are part
//! of the state, so neither goes back, except that an operator may set wall time back (docs/decisions/0021).

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
    /// Invariant: it decreases only by `set_back`, and to the applied state's when a chain starts.
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
        self.wall_ms = state.wall_ms();
        new
    }

    /// Wall time may fall to `wall_ms`.
    pub(super) fn set_back(&mut self, wall_ms: i64) {
        self.wall_ms = self.wall_ms.min(wall_ms);
    }

    /// The last wall time given out.
    pub(super) fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// The times for the next transaction, and a new seed. `wall_ms`: this machine's clock, within its bound.
    pub(super) fn now(&mut self, wall_ms: i64) -> Moment {
        self.wall_ms = self.wall_ms.max(wall_ms);
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
