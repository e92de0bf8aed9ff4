//! What operators can ask a running server, by four letter words and by HTTP.
//!
//! | file | holds |
//! |---|---|
//! | `fourletter/` | ZooKeeper's four letter words |
//! | `http` | metrics, readiness, plugins, and calls of recipes by HTTP |
//! | `prometheus` | the text of `/metrics` |

pub(crate) mod fourletter;
pub(crate) mod http;
pub(crate) mod prometheus;
