//! What operators ask a running server: four letter words, and the counters behind them.
//!
//! | file | holds |
//! |---|---|
//! | `fourletter` | ZooKeeper's four letter words, text for text |
//! | `metrics` | counters of this process |

pub mod fourletter;
pub mod metrics;
