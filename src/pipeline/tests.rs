//! The interpreter that drives evaluator and state together, and what both promise jointly.

use super::*;

/// The defaults of a server that stands alone, with TTL nodes.
pub fn rules() -> Rules {
    Rules {
        skip_acl: false,
        extended_types: true,
        enforce_quota: false,
        reconfig: false,
        standalone: true,
        container_never_used_ms: 0,
        deploy_by_anyone: false,
        sasl_scheme_enabled: false,
        x509_scheme_enabled: false,
    }
}
