//! Checks Ed25519 signatures (RFC 8032) of keys that are known beforehand.
//!
//! A check with a key that comes with the signature takes 2.2 million fuel, more than the default of a call. This
//! module computes a table of the key's multiples once, when the plugin is configured. A check with that table takes
//! 1.4 million. Points, scalars and tables are those of curve25519-dalek. This module adds the equation, and tests
//! compare it with ed25519-dalek's.

use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable;
use sha2::{Digest, Sha512};

pub struct PublicKey {
    bytes: [u8; 32],
    /// A table of multiples of the negated key.
    negative: Box<EdwardsBasepointTable>,
}

impl PublicKey {
    /// Reads a key. `None` for bytes that are no point on the curve, and for the few points of small order: for such a
    /// key, anybody can make a valid signature.
    pub fn read(bytes: [u8; 32]) -> Option<PublicKey> {
        let point = CompressedEdwardsY(bytes).decompress().filter(|point| !point.is_small_order())?;
        Some(PublicKey { bytes, negative: Box::new(EdwardsBasepointTable::create(&-point)) })
    }

    /// The check of RFC 8032, section 5.1.7, without the cofactor: R = sB - kA compared as bytes, and s below the order
    /// of the group.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let s = s.try_into().ok().and_then(|s| Option::from(Scalar::from_canonical_bytes(s)));
        let Some(s) = s else { return false };
        let hash = Sha512::new().chain_update(r).chain_update(self.bytes).chain_update(message).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&hash.into());
        let expected = ED25519_BASEPOINT_TABLE.mul_base(&s) + self.negative.mul_base(&k);
        expected.compress().as_bytes() == r
    }
}

#[cfg(test)]
mod tests {
    use super::PublicKey;
    use ed25519_dalek::{Signer, SigningKey, Verifier};
    use wasmkeeper_plugin::testing::Random;

    #[test]
    fn it_says_what_the_authors_of_the_curve_say() {
        let mut random = Random::new(1);
        let mut bytes = |count: usize| -> Vec<u8> { (0..count).map(|_| random.below(256) as u8).collect() };
        for turn in 0..60 {
            let theirs = SigningKey::from_bytes(&bytes(32).try_into().unwrap());
            let ours = PublicKey::read(theirs.verifying_key().to_bytes()).unwrap();
            let mut message = bytes(turn);
            let mut signature = theirs.sign(&message).to_bytes();
            assert!(ours.has_signed(&message, &signature));
            message.push(0);
            assert!(!ours.has_signed(&message, &signature));
            message.pop();
            // Flips one bit of either half.
            signature[turn] ^= 1 << (turn % 8);
            let signed = theirs.verifying_key().verify(&message, &signature.into()).is_ok();
            assert_eq!(ours.has_signed(&message, &signature), signed);
            assert!(!signed);
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        let theirs = SigningKey::from_bytes(&[9; 32]);
        let ours = PublicKey::read(theirs.verifying_key().to_bytes()).unwrap();
        let mut signature = theirs.sign(b"m").to_bytes();
        assert!(ours.has_signed(b"m", &signature));
        assert!(!ours.has_signed(b"m", &signature[..63]) && !ours.has_signed(b"m", &[]));
        assert!(!ours.has_signed(b"m", &[&signature[..], &[0]].concat()));
        // s + l means the same scalar. l is the order of the group.
        let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let mut carry = 0u16;
        for (at, byte) in signature[32..].iter_mut().enumerate() {
            carry += u16::from(*byte) + u16::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap();
            *byte = carry as u8;
            carry >>= 8;
        }
        assert!(!ours.has_signed(b"m", &signature));
    }
}
