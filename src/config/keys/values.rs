//! How the text of a value becomes a number, a switch, a port and so on.
//!
//! The error of each function is the end of the sentence "`key` ...", such as "must be true or false".

use crate::config::{ClientAuth, StoreFormat, TlsVersions, cipher_suites as suites};
use std::ops::RangeInclusive;

/// Sets `slot` to a whole number within `bounds`.
pub(super) fn number<T: TryFrom<i64>>(value: &str, bounds: RangeInclusive<i64>, slot: &mut T) -> Result<(), String> {
    let refused = || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
    let number: i64 = value.parse().map_err(|_| refused())?;
    if !bounds.contains(&number) {
        return Err(refused());
    }
    *slot = T::try_from(number).map_err(|_| refused())?;
    Ok(())
}

pub(super) fn boolean(value: &str, slot: &mut bool) -> Result<(), String> {
    *slot = match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => true,
        "false" | "no" | "off" => false,
        _ => return Err("must be true or false".into()),
    };
    Ok(())
}

pub(super) fn port(value: &str) -> Result<u16, String> {
    let mut port = 0;
    number(value, 1..=65_535, &mut port)?;
    Ok(port)
}

/// Sets `slot` to a timeout in milliseconds; -1: to None.
pub(super) fn timeout(value: &str, slot: &mut Option<i32>) -> Result<(), String> {
    if value == "-1" {
        *slot = None;
        return Ok(());
    }
    let mut timeout_ms = 0;
    number(value, 1..=i64::from(i32::MAX), &mut timeout_ms)?;
    *slot = Some(timeout_ms);
    Ok(())
}

pub(super) fn store_format(value: &str) -> Result<StoreFormat, String> {
    match value.to_ascii_uppercase().as_str() {
        "PEM" => Ok(StoreFormat::Pem),
        "PKCS12" => Ok(StoreFormat::Pkcs12),
        "JKS" | "BCFKS" => {
            Err("must be PEM or PKCS12; `keytool -importkeystore -deststoretype PKCS12` converts".into())
        }
        _ => Err("must be PEM or PKCS12".into()),
    }
}

pub(super) fn client_auth(value: &str) -> Result<ClientAuth, String> {
    match value.to_ascii_lowercase().as_str() {
        "need" => Ok(ClientAuth::Need),
        "want" => Ok(ClientAuth::Want),
        "none" => Ok(ClientAuth::None),
        _ => Err("must be need, want or none".into()),
    }
}

/// The cipher suites that exist here. And those that do not, as `key=suite` for the warning.
pub(super) fn cipher_suites(key: &str, value: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let names = value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (known, unknown): (Vec<&str>, Vec<&str>) = names.partition(|suite| suites::is_known(suite));
    if known.is_empty() {
        return Err("must name a suite that exists here, such as TLS_AES_256_GCM_SHA384".into());
    }
    let known = known.into_iter().map(str::to_owned).collect();
    Ok((known, unknown.into_iter().map(|suite| format!("{key}={suite}")).collect()))
}

pub(super) fn tls_versions(value: &str) -> Result<TlsVersions, String> {
    let mut versions = TlsVersions { v1_2: false, v1_3: false };
    for word in value.split(',').map(str::trim) {
        match word {
            "TLSv1.2" => versions.v1_2 = true,
            "TLSv1.3" => versions.v1_3 = true,
            // Old ensembles list these beside the safe versions. As in recent JVMs, they are not offered.
            "TLSv1" | "TLSv1.1" => (),
            _ => return Err("must be TLSv1.3, TLSv1.2 or both with a comma".into()),
        }
    }
    if versions.v1_2 || versions.v1_3 { Ok(versions) } else { Err("must contain TLSv1.3 or TLSv1.2".into()) }
}
