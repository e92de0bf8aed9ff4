//! One simulated run.
mod linear;
mod net;
mod trace;
fn main() {}
