//! What operators ask a running server: four letter words, HTTP, and the counters behind them.
//!
//! | file | holds |
//! |---|---|
//! | `fourletter` | ZooKeeper's four letter words, text for text |
//! | `http`, `prometheus` | the same figures, readiness and plugins by HTTP |
//! | `metrics` | counters of this process |
//! | `namespaces` | bytes read and written below each child of the root |

pub mod fourletter;
pub mod http;
pub mod metrics;
pub mod namespaces;
pub mod prometheus;
