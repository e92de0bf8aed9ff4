//! Settings of the section `Who may do what`: superusers, digest, SASL, and what clients must prove.

use super::values::boolean;
use super::{Key, key};
use crate::config::DigestAlgorithm;
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "DigestAuthenticationProvider.superDigest",
        "auth.super_digest",
        "",
        "Whoever proves this digest identity is superuser: `super:` and base64 of the hash of `super:PASSWORD` (`printf \
         %s super:PASSWORD | openssl dgst -sha1 -binary | base64`). Without any superuser a server that others can reach \
         accepts no plugins.",
        |draft, _, value| {
            if value.matches(':').count() != 1 || value.ends_with(':') || value.starts_with(':') {
                return Err("must have the form super:BASE64 (base64 of the hash of super:PASSWORD)".into());
            }
            draft.config.auth.super_digest = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "DigestAuthenticationProvider.enabled",
        "auth.digest_enabled",
        "true",
        "Whether the scheme digest exists.",
        |draft, _, value| boolean(value, &mut draft.config.auth.digest_enabled),
    ),
    key(
        "DigestAuthenticationProvider.digestAlg",
        "auth.digest_algorithm",
        "SHA1",
        "Hash of digest identities: SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA3-224 to SHA3-512, MD5. ACLs hold the \
         hashes, so a change locks out whoever is in them.",
        |draft, _, value| {
            let found = DigestAlgorithm::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            let (_, algorithm) = found.ok_or("must be one of SHA1, SHA-256, SHA-512, SHA3-256, SHA3-512, ...")?;
            draft.config.auth.digest_algorithm = *algorithm;
            Ok(())
        },
    ),
    key(
        "java.security.auth.login.config",
        "auth.jaas_file",
        "",
        "JAAS file whose section `Server` holds the users of SASL DIGEST-MD5 (`user_NAME=\"password\"`). A file without \
         that section leaves SASL off.",
        |draft, _, value| {
            draft.login_config = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("sasl.serverconfig", "auth.jaas_section", "Server", "Section of the JAAS file.", |draft, _, value| {
        draft.login_section = Some(value.to_owned());
        Ok(())
    }),
    key(
        "authProvider.*",
        "",
        "",
        "ZooKeeper's own providers: SASL opens the scheme sasl in ACLs; digest, ip and x509 are there anyway. Java \
         classes of others cannot be loaded: they are named in the warning.",
        |draft, name, value| {
            match value.rsplit('.').next().unwrap_or_default() {
                "SASLAuthenticationProvider" => draft.sasl_provider = true,
                "DigestAuthenticationProvider" | "IPAuthenticationProvider" | "X509AuthenticationProvider" => (),
                _ => draft.unused.push(format!("{name}={value}")),
            }
            Ok(())
        },
    ),
    key("superUser", "auth.sasl_super_user", "", "SASL user who is superuser.", |draft, _, value| {
        draft.config.auth.sasl_super_users.insert(value.to_owned());
        Ok(())
    }),
    key(
        "superUser.*",
        "",
        "",
        "More SASL users who are superusers: superUser.1, superUser.2, ...",
        |draft, _, value| {
            draft.config.auth.sasl_super_users.insert(value.to_owned());
            Ok(())
        },
    ),
    key(
        "SASLAuthenticationProvider.superPassword",
        "auth.sasl_super_password",
        "",
        "Password of the SASL user `super`, before the one in the JAAS file.",
        |draft, _, value| {
            draft.sasl_super_password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "X509AuthenticationProvider.superUser",
        "auth.x509_super_user",
        "",
        "Subject (RFC 2253, as in ACLs of the scheme x509) of the client certificate that is superuser.",
        |draft, _, value| {
            draft.config.auth.x509_super_user = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "enforce.auth.enabled",
        "auth.enforce",
        "false",
        "Whether a session must have proven an identity of `enforce.auth.schemes` before it may do anything.",
        |draft, _, value| boolean(value, &mut draft.enforce_auth),
    ),
    key(
        "enforce.auth.schemes",
        "auth.enforce_schemes",
        "",
        "Schemes divided by commas: digest, sasl, x509, ip.",
        |draft, _, value| {
            draft.config.auth.enforce_schemes =
                value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            Ok(())
        },
    ),
    key(
        "sessionRequireClientSASLAuth",
        "auth.require_sasl",
        "false",
        "Requests before a finished SASL exchange are refused with SESSIONCLOSEDREQUIRESASLAUTH.",
        |draft, _, value| boolean(value, &mut draft.config.auth.require_sasl),
    ),
    key(
        "allowSaslFailedClients",
        "auth.allow_sasl_failed",
        "false",
        "A failed SASL exchange leaves the connection open, without an identity.",
        |draft, _, value| boolean(value, &mut draft.config.auth.allow_sasl_failed),
    ),
];
