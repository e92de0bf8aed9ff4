//! The messages between members, by purpose. `Hello::protocol` is their version. Variants and fields are only ever
//! added at the end.

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

pub(crate) mod greeting;
pub(crate) mod raft;
pub(crate) mod requests;
