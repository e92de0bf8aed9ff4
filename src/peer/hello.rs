//! Who is there: the first two frames of each side of a connection.
//!
//! ```text
//! dialer                       acceptor
//!   Hello            ->
//!                    <-  Welcome     who the acceptor is, and its proof; or a refusal
//!   Claim            ->              the dialer's proof
//!                    <-  Admission   or a refusal
//! ```
//!
//! The dialer says who it is, which member it wants, and for what purpose. Each side proves that it has the ensemble's
//! secret (`secret`), if it has one. Nothing that a dialer says is judged by the membership before it has proven
//! itself, and nothing but the log of this exchange remembers it. All frames are bounded by
//! `limits::PEER_HELLO_BYTES_MAX`, because neither side is known yet.
//!
//! This is the only place where two versions of the protocol meet. A hello of every version, past and future, begins
//! with its version as postcard writes a `u16`. The rest is read only if the version is `PROTOCOL`.
//! `Welcome::Refused(HelloRefusal::OtherProtocol)` keeps its bytes (1, 0, and the two versions), so that each version
//! understands why it is refused.

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

use super::frame::{self, FrameError};
use super::secret::{EnsembleSecret, Nonce, Proof, SECRET_FILE, Side};
use crate::environment;
use crate::limits;
use crate::model::ensemble::Incarnation;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of everything that members say to each other. Raised with every change to a message.
pub(crate) const PROTOCOL: u16 = 2;

/// What a connection is for. Each kind of traffic has a connection of its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Questions before there is a membership: who the other member is, whether it is empty, which members it knows.
    Greeting,
    /// Log entries and heartbeats.
    Appends,
    /// Elections.
    Votes,
    /// Forwarded requests with their answers, and reports of sessions.
    Requests,
    /// A checkpoint, in pieces.
    Checkpoint,
}

impl Purpose {
    /// Bytes that a message may have once the hello is accepted.
    pub(super) fn bytes_max(self) -> usize {
        match self {
            Purpose::Greeting => limits::GREETING_BYTES_MAX,
            Purpose::Appends | Purpose::Votes | Purpose::Requests | Purpose::Checkpoint => limits::PEER_FRAME_BYTES_MAX,
        }
    }
}

/// The dialer's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`]. This field is the first one for ever.
    pub(crate) protocol: u16,
    /// The dialer's cluster; 0 if the dialer does not know one yet.
    pub(crate) cluster: u64,
    pub(crate) from: u32,
    /// The incarnation of the dialer's data directory.
    pub(crate) incarnation: Incarnation,
    /// The member that the dialer believes to speak to.
    pub(crate) to: u32,
    pub(crate) purpose: Purpose,
    /// The highest format level that the dialer's program understands.
    pub(crate) format_level: u32,
    pub(crate) nonce: Nonce,
    /// Whether the dialer has the ensemble's secret, and asks the acceptor to prove that it has the secret, too.
    pub(crate) has_secret: bool,
}

/// The acceptor's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    Accepted(Accepted),
    Refused(HelloRefusal),
}

/// Who the acceptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The acceptor's cluster; 0 if the acceptor does not know one yet.
    pub(crate) cluster: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) format_level: u32,
    pub(crate) nonce: Nonce,
    /// The acceptor's clock, Unix milliseconds.
    pub(crate) wall_ms: i64,
    /// None: the acceptor has no secret.
    pub(crate) proof: Option<Proof>,
}

/// The dialer's second frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// None: the dialer has no secret.
    pub(crate) proof: Option<Proof>,
}

/// The acceptor's second frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Admission {
    Admitted,
    Refused(HelloRefusal),
}

/// Why two members do not talk to each other. `Display` is one sentence for the operator. It is the same at both ends,
/// and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloRefusal {
    /// This variant is the first one for ever; the head of this file says why.
    OtherProtocol {
        dialer: u16,
        acceptor: u16,
    },
    OtherCluster {
        from: u32,
        to: u32,
        dialer: u64,
        acceptor: u64,
    },
    /// The address leads to another member.
    NotMe {
        wanted: u32,
        is: u32,
    },
    /// No member has that number.
    UnknownMember {
        id: u32,
    },
    /// The member is known, and its data directory is another one.
    OtherIncarnation {
        id: u32,
        known: Incarnation,
        shown: Incarnation,
    },
    /// The acceptor is starting, or does not know its ensemble yet. The dialer may try again.
    NotReady {
        id: u32,
    },
    /// The program is older than the ensemble's state requires.
    TooOld {
        id: u32,
        format_level: u32,
        needed: u32,
    },
    /// The acceptor has as many connections as it may have. The dialer may try again.
    Full {
        id: u32,
    },
    /// One of the two has the ensemble's secret, and the other has none.
    NoSecret {
        without: u32,
        with: u32,
    },
    /// Both have a secret, and the secrets are different.
    OtherSecret {
        from: u32,
        to: u32,
    },
    /// The dialer's certificate names none of the hosts of its number. `names`: what the certificate names.
    OtherName {
        from: u32,
        to: u32,
        names: String,
    },
}

impl HelloRefusal {
    /// Whether an acceptor may say this before either end has proven anything. A dialer believes nothing else then.
    pub(super) fn comes_before_proof(&self) -> bool {
        use HelloRefusal::{NoSecret, NotMe, OtherProtocol};
        matches!(self, OtherProtocol { .. } | NotMe { .. } | NoSecret { .. })
    }

    /// Whether the dialer may be accepted later although nobody has done anything.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, HelloRefusal::NotReady { .. } | HelloRefusal::Full { .. })
    }
}

impl std::error::Error for HelloRefusal {}

impl fmt::Display for HelloRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloRefusal::OtherProtocol { dialer, acceptor } => write!(
                f,
                "the members speak different versions of the protocol between members ({dialer} and {acceptor}): bring \
                 both to the same release"
            ),
            HelloRefusal::OtherCluster { from, to, dialer, acceptor } => write!(
                f,
                "member {from} belongs to the cluster {dialer:016x} and member {to} to the cluster {acceptor:016x}: an \
                 address in the `server.N` lines leads into another ensemble, or a data directory comes from one; correct \
                 the address, or give the member an empty data directory"
            ),
            HelloRefusal::NotMe { wanted, is } => write!(
                f,
                "the address of member {wanted} leads to member {is}: correct the `server.N` lines or the file myid, \
                 which must agree on all members"
            ),
            HelloRefusal::UnknownMember { id } => write!(
                f,
                "member {id} is no member of this ensemble: add it with `wasmkeeper cluster add 'server.{id}=host:port:port;port'`, \
                 or stop it if it was removed"
            ),
            HelloRefusal::OtherIncarnation { id, known, shown } => write!(
                f,
                "member {id} is known with another data directory (incarnation {}, and now {}): it was wiped or \
                 swapped; remove it and add it again: `wasmkeeper cluster remove {id}`, then `wasmkeeper cluster add \
                 'server.{id}=host:port:port;port'`",
                Short(known),
                Short(shown)
            ),
            HelloRefusal::NotReady { id } => {
                write!(f, "member {id} is not ready to be spoken to yet: nothing need be done, it is tried again")
            }
            HelloRefusal::TooOld { id, format_level, needed } => write!(
                f,
                "member {id} runs a release that understands format level {format_level}, and the ensemble's state needs \
                 {needed}: bring it to the release of the others"
            ),
            HelloRefusal::Full { id } => write!(
                f,
                "member {id} has as many connections of members as it may have: members, or programs that have the \
                 ensemble's secret or a certificate, hold them; keep its peer port to the members"
            ),
            HelloRefusal::NoSecret { without, with } => write!(
                f,
                "member {with} has the ensemble's secret and member {without} has none: copy the file `{SECRET_FILE}` from \
                 the data directory of member {with} to that of member {without}, and start member {without} again"
            ),
            HelloRefusal::OtherSecret { from, to } => write!(
                f,
                "member {from} and member {to} have different secrets: give both the same file `{SECRET_FILE}` in their \
                 data directories, or the same `peerSecretFile`, and start them again"
            ),
            HelloRefusal::OtherName { from, to, names } => write!(
                f,
                "the certificate of the dialer that calls itself member {from} names {}, and none of the hosts \
                 under which member {to} knows member {from}: give member {from} a certificate with the host of its \
                 `server.{from}` line, or list the name in `ssl.quorum.allowedNames`",
                names.escape_debug()
            ),
        }
    }
}

/// The first bytes of an incarnation, enough to tell two apart.
struct Short<'a>(&'a Incarnation);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who this member is, as it tells other members. Clones are the same member.
#[derive(Clone, Debug)]
pub struct LocalMember {
    pub(crate) id: u32,
    pub(crate) incarnation: Incarnation,
    /// The highest format level that this program understands.
    pub(crate) format_level: u32,
    /// The cluster; 0 until it is known. Invariant: a known cluster never changes.
    cluster: Arc<AtomicU64>,
    /// The ensemble's secret, if this member has one. Both ends of each connection then prove that they have it.
    secret: Option<EnsembleSecret>,
}

impl LocalMember {
    /// A member without a secret. `cluster`: 0 if it is not known yet.
    pub(crate) fn new(id: u32, incarnation: Incarnation, format_level: u32, cluster: u64) -> LocalMember {
        let cluster = Arc::new(AtomicU64::new(cluster));
        LocalMember { id, incarnation, format_level, cluster, secret: None }
    }

    /// This member with the ensemble's secret, or without one.
    pub(crate) fn with_secret(self, secret: Option<EnsembleSecret>) -> LocalMember {
        LocalMember { secret, ..self }
    }

    /// The cluster; 0 if it is not known yet.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Acquire)
    }

    /// Records which cluster this member belongs to. The error is another cluster that this member already belongs to.
    pub(crate) fn set_cluster(&self, cluster: u64) -> Result<(), u64> {
        match self.cluster.compare_exchange(0, cluster, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(known) if known == cluster => Ok(()),
            Err(known) => Err(known),
        }
    }

    pub(super) fn hello(&self, to: u32, purpose: Purpose) -> io::Result<Hello> {
        Ok(Hello {
            protocol: PROTOCOL,
            cluster: self.cluster(),
            from: self.id,
            incarnation: self.incarnation,
            to,
            purpose,
            format_level: self.format_level,
            nonce: nonce()?,
            has_secret: self.secret.is_some(),
        })
    }

    pub(super) fn accepted(&self, hello: &Hello) -> io::Result<Accepted> {
        let (cluster, incarnation, format_level) = (self.cluster(), self.incarnation, self.format_level);
        let wall_ms = environment::wall_ms();
        let accepted = Accepted { cluster, incarnation, format_level, nonce: nonce()?, wall_ms, proof: None };
        let proof = self.secret.as_ref().and_then(|secret| secret.prove(Side::Acceptor, hello, &accepted));
        Ok(Accepted { proof, ..accepted })
    }

    pub(super) fn claim(&self, hello: &Hello, accepted: &Accepted) -> Claim {
        Claim { proof: self.secret.as_ref().and_then(|secret| secret.prove(Side::Dialer, hello, accepted)) }
    }

    /// Checks the proof of the other side. `side`: the side that the proof is of.
    pub(super) fn check_proof(
        &self,
        side: Side,
        hello: &Hello,
        accepted: &Accepted,
        proof: Option<&Proof>,
    ) -> Result<(), HelloRefusal> {
        let other = if side == Side::Dialer { hello.from } else { hello.to };
        match (&self.secret, proof) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(HelloRefusal::NoSecret { without: self.id, with: other }),
            (Some(_), None) => Err(HelloRefusal::NoSecret { without: other, with: self.id }),
            (Some(secret), Some(proof)) if secret.verifies(side, hello, accepted, proof) => Ok(()),
            (Some(_), Some(_)) => Err(HelloRefusal::OtherSecret { from: hello.from, to: hello.to }),
        }
    }

    /// Checks what a dialer learns before it has proven anything: the hello is meant for this member, and both have a
    /// secret or none.
    pub(super) fn check_hello(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        if hello.to != self.id {
            return Err(HelloRefusal::NotMe { wanted: hello.to, is: self.id });
        }
        match (hello.has_secret, self.secret.is_some()) {
            (true, false) => Err(HelloRefusal::NoSecret { without: self.id, with: hello.from }),
            (false, true) => Err(HelloRefusal::NoSecret { without: hello.from, with: self.id }),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Checks that the dialer comes from the same cluster.
    pub(super) fn check_cluster(&self, hello: &Hello) -> Result<(), HelloRefusal> {
        same_cluster((hello.from, hello.cluster), (self.id, self.cluster()))
    }
}

fn nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    environment::fill_random(&mut nonce)?;
    Ok(nonce)
}

/// Checks whether dialer and acceptor, each with its id and cluster, can belong together.
pub(super) fn same_cluster(dialer: (u32, u64), acceptor: (u32, u64)) -> Result<(), HelloRefusal> {
    if dialer.1 == acceptor.1 || dialer.1 == 0 || acceptor.1 == 0 {
        return Ok(());
    }
    Err(HelloRefusal::OtherCluster { from: dialer.0, to: acceptor.0, dialer: dialer.1, acceptor: acceptor.1 })
}

/// Reads a hello of any version.
pub fn decode_hello(payload: &[u8]) -> Result<Result<Hello, HelloRefusal>, FrameError> {
    let (protocol, _): (u16, _) = postcard::take_from_bytes(payload).map_err(FrameError::Malformed)?;
    if protocol != PROTOCOL {
        return Ok(Err(HelloRefusal::OtherProtocol { dialer: protocol, acceptor: PROTOCOL }));
    }
    frame::decode(payload).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(message: &impl Serialize) -> Vec<u8> {
        postcard::to_stdvec(message).unwrap()
    }

    fn me() -> LocalMember {
        LocalMember::new(2, [7; 16], 1, 0)
    }

    /// Tests the bytes that every version must keep.
    #[test]
    fn other_versions_are_told_so() {
        let sent = me().hello(3, Purpose::Votes).unwrap();
        let mut hello = bytes(&sent);
        assert_eq!(hello.first(), Some(&2), "the protocol comes first");
        assert_eq!(decode_hello(&hello), Ok(Ok(sent)));
        hello.splice(..1, [0x80, 0x02]);
        hello.extend(b"whatever a later version says");
        let refusal = HelloRefusal::OtherProtocol { dialer: 256, acceptor: PROTOCOL };
        assert_eq!(decode_hello(&hello), Ok(Err(refusal.clone())));
        assert_eq!(bytes(&Welcome::Refused(refusal)), [1, 0, 0x80, 0x02, 2]);
        assert!(decode_hello(b"").is_err());
        assert!(decode_hello(&[2, 0]).is_err());
    }

    #[test]
    fn a_cluster_is_learned_once() {
        let (me, clone) = (me(), me());
        let shared = me.clone();
        assert_eq!((me.set_cluster(5), me.set_cluster(5), me.set_cluster(6)), (Ok(()), Ok(()), Err(5)));
        assert_eq!((shared.cluster(), clone.cluster()), (5, 0));
        let hello = |cluster, to| Hello { cluster, to, ..clone.hello(2, Purpose::Appends).unwrap() };
        assert_eq!(me.check_cluster(&hello(0, 2)), Ok(()), "one that knows of no cluster yet");
        assert_eq!(me.check_cluster(&hello(5, 2)), Ok(()));
        assert_eq!(me.check_hello(&hello(5, 2)), Ok(()));
        assert!(matches!(
            me.check_cluster(&hello(6, 2)),
            Err(HelloRefusal::OtherCluster { dialer: 6, acceptor: 5, .. })
        ));
        assert_eq!(me.check_hello(&hello(5, 3)), Err(HelloRefusal::NotMe { wanted: 3, is: 2 }));
    }

    /// A secret is asked for before anything else is said, by either end.
    #[test]
    fn both_have_a_secret_or_none() {
        let (with, without) = (me().with_secret(EnsembleSecret::parse(&"ab".repeat(32)).ok()), me());
        let asked = with.check_hello(&Hello { from: 1, ..without.hello(2, Purpose::Votes).unwrap() });
        assert_eq!(asked, Err(HelloRefusal::NoSecret { without: 1, with: 2 }));
        let asked = without.check_hello(&Hello { from: 1, ..with.hello(2, Purpose::Votes).unwrap() });
        assert_eq!(asked, Err(HelloRefusal::NoSecret { without: 2, with: 1 }));
    }

    /// Each refusal tells the operator what to do.
    #[test]
    fn refusals_name_the_way_out() {
        let (known, shown) = ([0xab; 16], [0xcd; 16]);
        for (refusal, way_out) in [
            (HelloRefusal::OtherProtocol { dialer: 1, acceptor: 2 }, "same release"),
            (HelloRefusal::OtherCluster { from: 1, to: 2, dialer: 3, acceptor: 4 }, "correct the address"),
            (HelloRefusal::NotMe { wanted: 1, is: 2 }, "`server.N` lines"),
            (HelloRefusal::UnknownMember { id: 4 }, "`wasmkeeper cluster add 'server.4="),
            (
                HelloRefusal::OtherIncarnation { id: 2, known, shown },
                "member 2 is known with another data directory (incarnation abababab, and now cdcdcdcd): it was wiped or \
                 swapped; remove it and add it again: `wasmkeeper cluster remove 2`, then `wasmkeeper cluster add 'server.2=",
            ),
            (HelloRefusal::NotReady { id: 1 }, "tried again"),
            (HelloRefusal::TooOld { id: 1, format_level: 1, needed: 2 }, "bring it to the release"),
            (HelloRefusal::Full { id: 1 }, "keep its peer port to the members"),
            (HelloRefusal::NoSecret { without: 1, with: 2 }, "to that of member 1, and start member 1 again"),
            (HelloRefusal::OtherSecret { from: 1, to: 2 }, "`peer-secret`"),
            (HelloRefusal::OtherName { from: 1, to: 2, names: "n".repeat(200) }, "`ssl.quorum.allowedNames`"),
        ] {
            let text = refusal.to_string();
            assert!(text.contains(way_out), "{text}");
            let bytes = bytes(&Welcome::Refused(refusal.clone()));
            assert!(bytes.len() <= crate::limits::PEER_HELLO_BYTES_MAX);
            assert_eq!(frame::decode(&bytes), Ok(Welcome::Refused(refusal)));
        }
    }
}
