//! The two clocks that transactions carry: wall time, and ensemble time, which runs by the
//! leader's monotonic clock and stands still while there is no leader. Both are state, so neither ever goes back.

use crate::environment::{self, Instant};
use crate::pipeline::Moment;
use crate::state::State;

pub struct Clocks {
    /// When this member took the lead, and the ensemble time it took over.
    lead_since: Instant,
    ensemble_ms_then: u64,
    /// The last wall time given out.
    wall_ms: i64,
    term: u64,
    /// Where the row of seeds for plugins' `context.seed`, which are no secret, has got to.
    seed: u64,
}

impl Clocks {
    pub fn new() -> std::io::Result<Clocks> {
        let seed = environment::random_u64()?;
        Ok(Clocks { lead_since: Instant::now(), ensemble_ms_then: 0, wall_ms: 0, term: 0, seed })
    }

    /// Starts a chain in `term`. True if the term is new, so that the chain opens a new epoch.
    pub fn lead(&mut self, term: u64, state: &State) -> bool {
        let new = self.term != term;
        if new {
            self.term = term;
            self.lead_since = Instant::now();
            self.ensemble_ms_then = state.ensemble_ms();
        }
        self.wall_ms = self.wall_ms.max(state.wall_ms());
        new
    }

    pub fn now(&mut self) -> Moment {
        self.wall_ms = self.wall_ms.max(environment::wall_ms());
        Moment { wall_ms: self.wall_ms, ensemble_ms: self.ensemble_ms(), seed: self.next_seed() }
    }

    /// While this member leads.
    pub fn ensemble_ms(&self) -> u64 {
        let led = u64::try_from(self.lead_since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ensemble_ms_then.saturating_add(led)
    }

    /// splitmix64: a counter, well mixed.
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
