//! Quotas: limits that clients write below /zookeeper/quota, and what is used of them.

/// The quota of one subtree: limits (-1: none) and what is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota<'a> {
    /// The root of the subtree.
    pub path: &'a str,
    pub limits: Amounts,
    pub used: Used,
}

/// Limits; -1 stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Amounts {
    pub count: i64,
    pub bytes: i64,
    pub count_hard: i64,
    pub bytes_hard: i64,
}

/// Znodes (the root of the subtree included) and bytes of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    pub count: i64,
    pub bytes: i64,
}

/// What a change would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// To be logged only.
    Soft,
    /// QUOTAEXCEEDED.
    Hard,
}

impl Quota<'_> {
    /// What the quota says to `count` more nodes and `bytes` more bytes (either may be negative or 0).
    pub fn check(&self, _count: i64, _bytes: i64) -> Option<Excess> {
        unimplemented!()
    }
}
