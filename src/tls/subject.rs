//! Who a certificate is about: the subject, as ACLs of the scheme x509 name it, and the hosts.

use std::net::IpAddr;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A certificate's subject in RFC 2253's form, exactly as Java's `X500Principal.getName()` writes it.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject().iter_rdn().map(|name| name.iter().map(attribute).collect::<Vec<_>>().join("+"));
    let mut names: Vec<String> = names.collect();
    names.reverse();
    Some(names.join(","))
}

/// The hosts that a certificate names: its subject alternative names that are host names or addresses.
pub(crate) fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// `CN=name`; or `1.2.3=#0c...` if RFC 2253 has no keyword for the type (sun.security.x509.AVA).
fn attribute(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let word = match oid.as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        _ => None,
    };
    let value = attribute.attr_value();
    match (word, text(value.tag().0, value.data)) {
        (Some(word), Some(text)) => format!("{word}={}", escaped(&text)),
        (word, _) => {
            let mut element = vec![u8::try_from(value.tag().0).unwrap_or_default()];
            let length = value.data.len();
            match u8::try_from(length) {
                Ok(short @ 0..0x80) => element.push(short),
                Ok(long) => element.extend([0x81, long]),
                // Names are far shorter than 65,536 bytes. The length of a longer one is wrong, and it matches no ACL.
                Err(_) => element.extend([0x82, (length >> 8 & 0xff) as u8, (length & 0xff) as u8]),
            }
            element.extend(value.data);
            let digits: String = element.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{digits}", word.unwrap_or(&oid))
        }
    }
}

/// The text of an ASN.1 string. None: the value is of another type.
fn text(tag: u32, bytes: &[u8]) -> Option<String> {
    let latin = || bytes.iter().map(|byte| char::from(*byte)).collect();
    match tag {
        12 => Some(String::from_utf8_lossy(bytes).into_owned()),
        19 | 20 | 22 | 27 => Some(latin()),
        28 => bytes
            .chunks(4)
            .map(|unit| <[u8; 4]>::try_from(unit).ok().and_then(|unit| char::from_u32(u32::from_be_bytes(unit))))
            .collect(),
        30 => {
            let units: Option<Vec<u16>> =
                bytes.chunks(2).map(|unit| <[u8; 2]>::try_from(unit).ok().map(u16::from_be_bytes)).collect();
            String::from_utf16(&units?).ok()
        }
        _ => None,
    }
}

/// Escapes the characters that RFC 2253 reserves, and blanks at both ends.
fn escaped(text: &str) -> String {
    let is_pad = |c: &char| matches!(c, ' ' | '\r');
    let chars: Vec<char> = text.chars().collect();
    let lead = chars.iter().take_while(|c| is_pad(c)).count();
    let trail = chars.len() - chars.iter().rev().take_while(|c| is_pad(c)).count();
    let mut out = String::with_capacity(text.len());
    for (at, c) in chars.into_iter().enumerate() {
        match c {
            '\0' => out.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.extend(['\\', c]),
            _ if at < lead || at >= trail => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn subjects_as_java_writes_them() {
        let name = |entries: &[(DnType, &str)]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in entries {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let key = KeyPair::generate().unwrap();
            subject(params.self_signed(&key).unwrap().der()).unwrap()
        };
        assert_eq!(name(&[(DnType::CountryName, "DE"), (DnType::CommonName, "zoo")]), "CN=zoo,C=DE");
        assert_eq!(name(&[(DnType::CommonName, " a=b;\"c\" #")]), "CN=\\ a\\=b\\;\\\"c\\\" \\#");
        assert_eq!(name(&[(DnType::CommonName, "größe ")]), "CN=größe\\ ");
        // An e-mail address has no keyword in RFC 2253. It is written as the type's number and the DER of the value.
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        assert_eq!(name(&[(mail, "a@b")]), "1.2.840.113549.1.9.1=#0c03614062");
        assert_eq!(subject(b"no certificate"), None);
    }
}
