//! What operators ask a running server: four letter words, HTTP.
//!
//! | file | holds |
//! |---|---|
//! | `fourletter` | ZooKeeper's four letter words, text for text |
//! | `http`, `prometheus` | the same figures, readiness and plugins by HTTP |

pub mod fourletter;
pub mod http;
pub mod prometheus;
