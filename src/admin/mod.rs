//! What operators ask a running server: four letter words, and the counters behind them.
//!
//! | file | holds |
//! |---|---|
//! | `fourletter` | ZooKeeper's four letter words, text for text |
//! | `metrics` | counters of this process |
//! | `namespaces` | bytes read and written below each child of the root |

pub mod fourletter;
pub mod metrics;
pub mod namespaces;
