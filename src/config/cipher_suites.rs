//! Cipher suites by their IANA names, as `ssl.ciphersuites` lists them.

use rustls::SupportedCipherSuite;

/// Whether this server has a cipher suite of that name.
pub(crate) fn is_known(name: &str) -> bool {
    rustls::crypto::ring::ALL_CIPHER_SUITES.iter().any(|suite| iana_name(suite) == name)
}

/// The suite's IANA name. The names of rustls have a prefix of their own for TLS 1.3.
pub(crate) fn iana_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_suites_by_name() {
        assert!(is_known("TLS_AES_256_GCM_SHA384"));
        assert!(is_known("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
        assert!(!is_known("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"));
    }
}
