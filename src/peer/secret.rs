//! The secret of an ensemble, and what members prove with it.
//!
//! The secret is 32 random bytes that all members have and nobody else. Each end of a connection proves that it has the
//! secret, and keeps the secret to itself: it sends an HMAC-SHA-256 over everything that the two ends have said of
//! themselves, both nonces among it. So a proof counts for one connection, one direction and these two members only.
//!
//! ```text
//! HMAC-SHA-256(secret, side | hello | accepted)
//!
//! side      "wasmkeeper peer dialer  " (two blanks) or "wasmkeeper peer acceptor": 24 bytes each
//! hello     the dialer's hello, as it is sent
//! accepted  the acceptor's answer without its proof, as it is sent
//! ```
//!
//! As text the secret is a token of 64 hexadecimal digits. A member keeps the token in the file `peer-secret` of its
//! data directory, or reads it from the file that `peerSecretFile` names.
//!
//! What this does not protect from: somebody who can change packets between two members may let them prove themselves,
//! and then speak in their place. Nor does it hide anything. Both need TLS between members.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

use super::hello::{Accepted, Hello};
use crate::config::Config;
use crate::environment;
use anyhow::Context;
use ring::hmac;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file in the data directory that holds the token.
pub(crate) const SECRET_FILE: &str = "peer-secret";

const SECRET_BYTES: usize = 32;

/// Random bytes of one end of one connection.
pub(crate) type Nonce = [u8; 32];

/// An HMAC-SHA-256.
pub(crate) type Proof = [u8; 32];

/// Which end of a connection proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

/// The ensemble's secret. `Debug` does not print it.
#[derive(Clone)]
pub struct EnsembleSecret {
    bytes: [u8; SECRET_BYTES],
    key: hmac::Key,
}

impl PartialEq for EnsembleSecret {
    fn eq(&self, other: &EnsembleSecret) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for EnsembleSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnsembleSecret(..)")
    }
}

impl EnsembleSecret {
    fn new(bytes: [u8; SECRET_BYTES]) -> EnsembleSecret {
        EnsembleSecret { bytes, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    fn random() -> std::io::Result<EnsembleSecret> {
        let mut bytes = [0; SECRET_BYTES];
        environment::fill_random(&mut bytes)?;
        Ok(EnsembleSecret::new(bytes))
    }

    /// Reads a token. The error completes the sentence "... holds no token: ".
    pub fn parse(token: &str) -> Result<EnsembleSecret, String> {
        let token = token.trim();
        let mut bytes = [0; SECRET_BYTES];
        let (digits, rest) = token.as_bytes().as_chunks::<2>();
        if digits.len() != SECRET_BYTES || !rest.is_empty() {
            return Err(format!("it has {} characters instead of {}", token.len(), 2 * SECRET_BYTES));
        }
        for (byte, digits) in bytes.iter_mut().zip(digits) {
            let value = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
            let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            *byte = value.ok_or("it has characters that are no hexadecimal digits")?;
        }
        Ok(EnsembleSecret::new(bytes))
    }

    /// The secret as text.
    pub(crate) fn token(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn prove(&self, side: Side, hello: &Hello, accepted: &Accepted) -> Option<Proof> {
        let tag = hmac::sign(&self.key, &transcript(side, hello, accepted)?);
        tag.as_ref().try_into().ok()
    }

    /// Takes the same time for every wrong proof.
    pub(super) fn verifies(&self, side: Side, hello: &Hello, accepted: &Accepted, proof: &Proof) -> bool {
        transcript(side, hello, accepted).is_some_and(|said| hmac::verify(&self.key, &said, proof).is_ok())
    }
}

/// What a proof covers. None: a message cannot be encoded, which does not happen.
fn transcript(side: Side, hello: &Hello, accepted: &Accepted) -> Option<Vec<u8>> {
    let said: &[u8; 24] = match side {
        Side::Dialer => b"wasmkeeper peer dialer  ",
        Side::Acceptor => b"wasmkeeper peer acceptor",
    };
    let said = postcard::to_extend(hello, said.to_vec()).ok()?;
    postcard::to_extend(&Accepted { proof: None, ..*accepted }, said).ok()
}

/// The secret that this member has: in the file of `peerSecretFile`, or in the data directory. Two different secrets
/// are refused. None: there is no secret. Blocks on files. An error is a sentence for the operator.
pub(crate) fn find(config: &Config) -> anyhow::Result<Option<EnsembleSecret>> {
    let own = config.storage.data_dir.join(SECRET_FILE);
    let kept = read(&own)?;
    let Some(path) = &config.ensemble.secret_file else { return Ok(kept) };
    let shown = path.display();
    let named = read(path)?.with_context(|| {
        format!(
            "the file of `peerSecretFile`, {shown}, does not exist: it must hold what `wasmkeeper cluster token` prints at \
             another member"
        )
    })?;
    anyhow::ensure!(
        kept.is_none_or(|kept| kept == named),
        "{shown} and {} hold two different secrets: remove the one that the other members do not have",
        own.display()
    );
    Ok(Some(named))
}

/// Writes a new secret into this data directory. An existing one is an error, and stays. Blocks on files. An error is a
/// sentence for the operator.
pub(crate) fn make(data_dir: &Path) -> anyhow::Result<EnsembleSecret> {
    let path = data_dir.join(SECRET_FILE);
    anyhow::ensure!(
        !path.try_exists()?,
        "{} exists: it holds the secret of an ensemble, and is not replaced; move it away to make another one",
        path.display()
    );
    let secret = EnsembleSecret::random()?;
    write(&path, &secret)?;
    Ok(secret)
}

/// The secret in that file. None: there is no such file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<EnsembleSecret>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read the ensemble's secret from {}", path.display())),
    };
    let secret = EnsembleSecret::parse(&text).map_err(|why| {
        anyhow::anyhow!(
            "{} holds no token of an ensemble: {why}; `wasmkeeper cluster token` prints the token at another member",
            path.display()
        )
    })?;
    Ok(Some(secret))
}

/// Writes the token durably, readable for this user only. A crash leaves the whole file or none.
fn write(path: &Path, secret: &EnsembleSecret) -> anyhow::Result<()> {
    let mut beside: PathBuf = path.to_owned();
    beside.set_extension("tmp");
    let written = (|| {
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        writeln!(file, "{}", secret.token())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.with_context(|| format!("write the ensemble's secret to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::hello::{LocalMember, Purpose};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn secret(byte: u8) -> EnsembleSecret {
        EnsembleSecret::new([byte; SECRET_BYTES])
    }

    /// A proof counts for one connection, one direction, one secret.
    #[test]
    fn a_proof_covers_everything_that_was_said() {
        let hello = LocalMember::new(1, [1; 16], 1, 7).hello(2, Purpose::Votes).unwrap();
        let accepted = LocalMember::new(2, [2; 16], 1, 7).accepted(&hello).unwrap();
        let proof = secret(5).prove(Side::Dialer, &hello, &accepted).unwrap();
        let counts = |secret: &EnsembleSecret, side, hello: &Hello, accepted: &Accepted| {
            secret.verifies(side, hello, accepted, &proof)
        };
        assert!(counts(&secret(5), Side::Dialer, &hello, &accepted));
        assert!(counts(&secret(5), Side::Dialer, &hello, &Accepted { proof: Some(proof), ..accepted }));
        assert!(!counts(&secret(6), Side::Dialer, &hello, &accepted));
        assert!(!counts(&secret(5), Side::Acceptor, &hello, &accepted), "a proof that is sent back");
        for hello in [
            Hello { nonce: [0; 32], ..hello.clone() },
            Hello { from: 3, ..hello.clone() },
            Hello { to: 3, ..hello.clone() },
            Hello { purpose: Purpose::Appends, ..hello.clone() },
            Hello { cluster: 8, ..hello.clone() },
            Hello { incarnation: [9; 16], ..hello.clone() },
        ] {
            assert!(!counts(&secret(5), Side::Dialer, &hello, &accepted), "{hello:?}");
        }
        assert!(!counts(&secret(5), Side::Dialer, &hello, &Accepted { nonce: [0; 32], ..accepted }));
        assert!(!counts(&secret(5), Side::Dialer, &hello, &Accepted { incarnation: [0; 16], ..accepted }));
    }

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let made = EnsembleSecret::random().unwrap();
        assert_eq!(EnsembleSecret::parse(&format!(" {}\n", made.token())), Ok(made.clone()));
        assert_eq!(format!("{made:?}"), "EnsembleSecret(..)");
        for (text, why) in [("", "0 characters"), ("ab", "2 characters"), (&"+1".repeat(32), "hexadecimal")] {
            assert!(EnsembleSecret::parse(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn all_places_that_hold_a_secret_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let (file, own) = (folder.path().join("elsewhere"), folder.path().join(SECRET_FILE));
        let config = |with: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            config.storage.data_dir = folder.path().to_owned();
            with(&mut config);
            config
        };
        assert_eq!(find(&config(&|_| ())).unwrap(), None);
        let named = config(&|config| config.ensemble.secret_file = Some(file.clone()));
        assert!(find(&named).unwrap_err().to_string().contains("elsewhere, does not exist"));
        std::fs::write(&file, secret(1).token()).unwrap();
        assert_eq!(find(&named).unwrap(), Some(secret(1)));
        std::fs::write(&own, secret(1).token()).unwrap();
        assert_eq!((find(&named).unwrap(), find(&config(&|_| ())).unwrap()), (Some(secret(1)), Some(secret(1))));
        std::fs::write(&file, secret(3).token()).unwrap();
        assert!(find(&named).unwrap_err().to_string().contains("two different secrets"));
        std::fs::write(&own, "nonsense").unwrap();
        assert!(find(&config(&|_| ())).unwrap_err().to_string().contains("peer-secret holds no token"));
        std::fs::remove_file(&own).unwrap();
        let made = make(folder.path()).unwrap();
        assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make(folder.path()).unwrap_err().to_string().contains("is not replaced"));
        assert_eq!(read(&own).unwrap(), Some(made));
    }
}
