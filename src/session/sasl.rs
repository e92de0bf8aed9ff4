//! SASL DIGEST-MD5, the server's side (RFC 2831), as ZooKeeper offers it: one realm, and authentication only.
//!
//! The code is pure: it gets random bytes for the nonce as an argument, and returns tokens. `dispatch` carries the
//! tokens in opcode 102.
//!
//! ```text
//! client: (empty)
//! server: realm="zk-sasl-md5",nonce="...",qop="auth",charset=utf-8,algorithm=md5-sess
//! client: username="bob",realm="zk-sasl-md5",nonce="...",cnonce="...",nc=00000001,qop=auth,
//!         digest-uri="zookeeper/zk-sasl-md5",response=...
//! server: rspauth=...
//! ```
//! Promises: an exchange proves at most one user, and cannot be used again. Neither the answer nor the work done tells
//! a wrong user from a wrong password.
//!
//! It does not protect against a listener: who records an exchange can try passwords offline, and the messages behind
//! the exchange are neither encrypted nor signed. Use TLS where that matters.

use crate::config::Sasl;
use crate::limits;
use md5::{Digest as _, Md5};
use std::collections::HashMap;

/// The realm, and ZooKeeper's server name for this mechanism. The name does not depend on the host (SecurityUtils).
const SERVER_NAME: &str = "zk-sasl-md5";

/// The `digest-uri` that clients must send.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// Why an exchange failed. For the log: the client is told only that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SaslError {
    #[error("the first token of DIGEST-MD5 must be empty")]
    InitialResponse,
    #[error("the token is not a list of directives")]
    Malformed,
    #[error("the directive `{0}` is missing or not what the challenge asked for")]
    Directive(&'static str),
    #[error("the client asks to act as somebody else")]
    AuthorizationId,
    #[error("unknown user or wrong password")]
    Credentials,
    #[error("the exchange is over already")]
    Over,
}

/// One exchange. A client that starts again gets a new one.
#[derive(Debug, Default)]
pub(crate) struct DigestMd5 {
    state: State,
}

/// The states of an exchange, in order.
#[derive(Debug, Default)]
enum State {
    /// No token has come.
    #[default]
    Start,
    /// The challenge with this nonce has been sent.
    Challenged { nonce: String },
    /// The exchange has proven a user, or failed.
    Over,
}

/// The server's answer to one token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this. The exchange goes on.
    Challenge(Vec<u8>),
    /// Send this. The client has proven to be `user`.
    Proven { token: Vec<u8>, user: String },
}

impl DigestMd5 {
    /// Takes the client's next token. `nonce`: fresh random bytes, used by the first step only.
    pub(crate) fn step(&mut self, sasl: &Sasl, token: &[u8], nonce: [u8; 16]) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => {
                if !token.is_empty() {
                    return Err(SaslError::InitialResponse);
                }
                let nonce = hex(&nonce);
                let challenge =
                    format!("realm=\"{SERVER_NAME}\",nonce=\"{nonce}\",qop=\"auth\",charset=utf-8,algorithm=md5-sess");
                self.state = State::Challenged { nonce };
                Ok(Step::Challenge(challenge.into_bytes()))
            }
            State::Challenged { nonce } => prove(sasl, token, &nonce),
            State::Over => Err(SaslError::Over),
        }
    }
}

/// Judges the client's response to the challenge with `nonce`.
fn prove(sasl: &Sasl, token: &[u8], nonce: &str) -> Result<Step, SaslError> {
    let directives = directives(token)?;
    let optional = |name: &str| directives.get(name).map(Vec::as_slice);
    let needed = |name: &'static str| optional(name).ok_or(SaslError::Directive(name));
    let must = |name: &'static str, holds: bool| if holds { Ok(()) } else { Err(SaslError::Directive(name)) };

    let user_bytes = needed("username")?;
    must("nonce", needed("nonce")? == nonce.as_bytes())?;
    must("nc", needed("nc")? == b"00000001")?;
    must("qop", optional("qop").is_none_or(|qop| qop == b"auth"))?;
    must("charset", optional("charset").is_none_or(|charset| charset.eq_ignore_ascii_case(b"utf-8")))?;
    must("digest-uri", needed("digest-uri")?.eq_ignore_ascii_case(DIGEST_URI.as_bytes()))?;
    let realm = optional("realm").unwrap_or_default();
    must("realm", realm.is_empty() || realm == SERVER_NAME.as_bytes())?;
    if optional("authzid").is_some_and(|other| !other.is_empty() && other != user_bytes) {
        return Err(SaslError::AuthorizationId);
    }
    let proof = Proof { nonce: nonce.as_bytes(), cnonce: needed("cnonce")?, uri: needed("digest-uri")? };
    let response = needed("response")?;

    let user = String::from_utf8(user_bytes.to_vec()).map_err(|_| SaslError::Credentials)?;
    let password = sasl.users.get(&user).map(String::as_str);
    // The same work is done for a user that does not exist. That user fails below, whatever the response is.
    let hash = credentials(user_bytes, realm, password.unwrap_or_default().as_bytes());
    let right = same(proof.value(&hash, Side::Client).as_bytes(), response);
    // Clients that leave out `charset=utf-8` may hash in ISO 8859-1. That differs only if name or password is not
    // ASCII.
    let latin = latin_1(&user).zip(latin_1(password.unwrap_or_default()));
    let latin_hash = latin.map_or(hash, |(user, password)| credentials(&user, realm, &password));
    let right_latin = same(proof.value(&latin_hash, Side::Client).as_bytes(), response);
    if password.is_none() || !(right || right_latin) {
        return Err(SaslError::Credentials);
    }
    let answer = proof.value(if right { &hash } else { &latin_hash }, Side::Server);
    Ok(Step::Proven { token: format!("rspauth={answer}").into_bytes(), user })
}

/// What is hashed besides user and password (RFC 2831 section 2.1.2.1), for `qop=auth` and the first use of the nonce.
struct Proof<'a> {
    nonce: &'a [u8],
    cnonce: &'a [u8],
    uri: &'a [u8],
}

/// Who sends the value: the client as its response, or the server to prove that it knows the password as well.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

impl Proof<'_> {
    fn value(&self, credentials: &[u8; 16], side: Side) -> String {
        let a1 = md5(&[credentials, b":", self.nonce, b":", self.cnonce]);
        let verb: &[u8] = match side {
            Side::Client => b"AUTHENTICATE:",
            Side::Server => b":",
        };
        let a2 = md5(&[verb, self.uri]);
        let (a1, a2) = (hex(&a1), hex(&a2));
        hex(&md5(&[a1.as_bytes(), b":", self.nonce, b":00000001:", self.cnonce, b":auth:", a2.as_bytes()]))
    }
}

fn credentials(user: &[u8], realm: &[u8], password: &[u8]) -> [u8; 16] {
    md5(&[user, b":", realm, b":", password])
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// None: a character outside ISO 8859-1.
fn latin_1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Whether both are equal. The time taken does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Parses `name=value,name="value"`. Each name may occur once, in upper or lower case (RFC 2831 section 2.1.2).
fn directives(token: &[u8]) -> Result<HashMap<String, Vec<u8>>, SaslError> {
    if token.len() > limits::SASL_TOKEN_BYTES_MAX {
        return Err(SaslError::Malformed);
    }
    let mut found = HashMap::new();
    let mut bytes = token.iter().copied().peekable();
    loop {
        while bytes.next_if(|byte| byte.is_ascii_whitespace() || *byte == b',').is_some() {}
        if bytes.peek().is_none() {
            return Ok(found);
        }
        let mut name = String::new();
        while let Some(byte) = bytes.next_if(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        if name.is_empty() || bytes.next() != Some(b'=') {
            return Err(SaslError::Malformed);
        }
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        let mut value = Vec::new();
        if bytes.next_if_eq(&b'"').is_some() {
            loop {
                match bytes.next().ok_or(SaslError::Malformed)? {
                    b'"' => break,
                    b'\\' => value.push(bytes.next().ok_or(SaslError::Malformed)?),
                    byte => value.push(byte),
                }
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| *byte != b',' && !byte.is_ascii_whitespace()) {
                value.push(byte);
            }
        }
        if found.insert(name, value).is_some() {
            return Err(SaslError::Malformed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn users() -> Sasl {
        let users = [("bob", "hunter2"), ("grün", "pässword"), ("q\"uote", "\\")];
        Sasl {
            users: users
                .iter()
                .map(|(user, password)| ((*user).into(), (*password).into()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    /// The example of RFC 2831 section 4.
    #[test]
    fn the_rfcs_example() {
        let hash = credentials(b"chris", b"elwood.innosoft.com", b"secret");
        let proof = Proof { nonce: b"OA6MG9tEQGm2hh", cnonce: b"OA6MHXh6VqTrRk", uri: b"imap/elwood.innosoft.com" };
        assert_eq!(proof.value(&hash, Side::Client), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(proof.value(&hash, Side::Server), "ea40f60335c427b5527b84dbabcdfffd");
    }

    /// A client like kazoo's (pure-sasl). Returns its response to the challenge, and the rspauth that it expects.
    fn client(challenge: &[u8], user: &[u8], password: &[u8]) -> (Vec<u8>, String) {
        let challenge = directives(challenge).unwrap();
        let hash = credentials(user, &challenge["realm"], password);
        let proof = Proof { nonce: &challenge["nonce"], cnonce: b"c", uri: DIGEST_URI.as_bytes() };
        let quoted: Vec<u8> = user
            .iter()
            .flat_map(|byte| if b"\"\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] })
            .collect();
        let mut response = b"qop=auth,realm=\"zk-sasl-md5\",username=\"".to_vec();
        response.extend(quoted);
        response.extend(b"\",nonce=\"");
        response.extend(&challenge["nonce"]);
        response.extend(format!("\",cnonce=\"c\",nc=00000001,digest-uri=\"{DIGEST_URI}\",response=").bytes());
        response.extend(proof.value(&hash, Side::Client).bytes());
        (response, format!("rspauth={}", proof.value(&hash, Side::Server)))
    }

    fn exchange(user: &[u8], password: &[u8]) -> Result<String, SaslError> {
        let (sasl, mut server) = (users(), DigestMd5::default());
        let Step::Challenge(challenge) = server.step(&sasl, b"", [7; 16])? else { panic!("no challenge") };
        let (response, expected) = client(&challenge, user, password);
        let proven = server.step(&sasl, &response, [0; 16])?;
        assert_eq!(server.step(&sasl, &response, [0; 16]), Err(SaslError::Over), "an exchange serves once");
        let Step::Proven { token, user } = proven else { panic!("a second challenge") };
        assert_eq!(token, expected.into_bytes());
        Ok(user)
    }

    #[test]
    fn right_and_wrong_passwords() {
        assert_eq!(exchange(b"bob", b"hunter2").as_deref(), Ok("bob"));
        assert_eq!(exchange(b"q\"uote", b"\\").as_deref(), Ok("q\"uote"));
        assert_eq!(exchange(b"bob", b"hunter3"), Err(SaslError::Credentials));
        assert_eq!(exchange(b"eve", b"hunter2"), Err(SaslError::Credentials));
        assert_eq!(exchange(b"eve", b""), Err(SaslError::Credentials), "an unknown user has no empty password");
    }

    #[test]
    fn names_and_passwords_beyond_ascii_in_either_encoding() {
        assert_eq!(exchange("grün".as_bytes(), "pässword".as_bytes()).as_deref(), Ok("grün"));
        assert_eq!(exchange(b"\xff", b"x"), Err(SaslError::Credentials));
        // The name is sent in UTF-8 and hashed in ISO 8859-1, as RFC 2831 wants it from clients that send
        // charset=utf-8.
        let (sasl, mut server) = (users(), DigestMd5::default());
        let Ok(Step::Challenge(challenge)) = server.step(&sasl, b"", [1; 16]) else { panic!("no challenge") };
        let (response, _) = client(&challenge, "grün".as_bytes(), b"-");
        let text = String::from_utf8(response).unwrap();
        let nonce = hex(&[1; 16]);
        let hash = credentials(b"gr\xfcn", SERVER_NAME.as_bytes(), b"p\xe4ssword");
        let proof = Proof { nonce: nonce.as_bytes(), cnonce: b"c", uri: DIGEST_URI.as_bytes() };
        let (head, _) = text.split_once(",response=").unwrap();
        let response = format!("{head},charset=utf-8,response={}", proof.value(&hash, Side::Client));
        assert!(matches!(server.step(&sasl, response.as_bytes(), [0; 16]), Ok(Step::Proven { .. })));
    }

    #[test]
    fn a_response_that_does_not_fit_the_challenge_is_refused() {
        let judge = |change: &dyn Fn(String) -> String| {
            let (sasl, mut server) = (users(), DigestMd5::default());
            let Ok(Step::Challenge(challenge)) = server.step(&sasl, b"", [7; 16]) else { panic!("no challenge") };
            let (response, _) = client(&challenge, b"bob", b"hunter2");
            server.step(&sasl, change(String::from_utf8(response).unwrap()).as_bytes(), [0; 16])
        };
        assert!(judge(&|text| text).is_ok());
        assert!(judge(&|text| text.replace("qop=auth,", "")).is_ok(), "auth is the default");
        assert_eq!(judge(&|text| text.replace("0707", "0808")), Err(SaslError::Directive("nonce")));
        assert_eq!(judge(&|text| text.replace("nc=00000001", "nc=00000002")), Err(SaslError::Directive("nc")));
        assert_eq!(judge(&|text| text.replace("qop=auth", "qop=auth-conf")), Err(SaslError::Directive("qop")));
        assert_eq!(judge(&|text| text.replace("zookeeper/", "imap/")), Err(SaslError::Directive("digest-uri")));
        assert_eq!(judge(&|text| text + ",authzid=super"), Err(SaslError::AuthorizationId));
        assert_eq!(judge(&|text| text + ",qop=auth"), Err(SaslError::Malformed));
        assert_eq!(judge(&|text| text + ",x=\"open"), Err(SaslError::Malformed));
        assert_eq!(judge(&|_| "=".into()), Err(SaslError::Malformed));
        assert_eq!(judge(&|_| String::new()), Err(SaslError::Directive("username")));
        assert_eq!(judge(&|_| "x=".repeat(4096)), Err(SaslError::Malformed));
        assert_eq!(DigestMd5::default().step(&users(), b"x", [0; 16]), Err(SaslError::InitialResponse));
    }
}
