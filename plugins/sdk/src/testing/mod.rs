//! Unit tests of plugins without a server: a tree in memory that follows ZooKeeper's rules.
//!
//! | type | for |
//! |---|---|
//! | [`Tree`] | nodes, and the circumstances of a call; makes the [`View`] that a validator, a policy or an authenticator gets |
//! | [`Server`] | a recipe at its mount: clients' requests, ends of sessions, timers, recovery |
//! | [`Random`] | random schedules that a seed repeats |
//!
//! ```
//! use wasmkeeper_plugin::testing::Tree;
//! let tree = Tree::new();
//! tree.put("/app/x", "data");
//! assert_eq!(tree.view().get("/app/x").unwrap().unwrap().data, b"data");
//! ```
//!
//! The tree has no fuel, no quotas and no ACL checks. `wasmkeeper plugin test` has them.

mod server;
mod tree;

pub use server::{Mode, Server, create, delete, set};
pub use tree::{Transaction, Tree, View};

/// Random numbers that a seed repeats. If a test fails, its seed is printed.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// The random numbers of this seed.
    pub fn new(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }

    /// One element of the slice. `None` if the slice is empty.
    pub fn choose<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.below(among.len())) }
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the seed was {}", self.seed);
        }
    }
}

/// Prints what a plugin logs. `cargo test` shows the output of tests that fail.
pub fn log(level: crate::Level, message: &str) {
    println!("{level:?}: {message}");
}
