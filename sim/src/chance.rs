//! Chance of those who do not ask the server's `environment`: std's hash tables, tokio's and other libraries' generators.
//!
//! All of them begin with the C library's `getrandom`. A program may have that function for itself, and this one has:
//! it gives the same bytes in every run.

use std::ffi::{c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmkeeper::storage::testing::Dice;

static ASKED: AtomicU64 = AtomicU64::new(0);

/// In place of the C library's.
///
/// # Safety
/// `buffer` must have room for `length` bytes, or `length` be 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    let mut dice = Dice::new(ASKED.fetch_add(1, Ordering::Relaxed));
    for at in 0..length {
        // SAFETY: within the caller's buffer.
        unsafe { buffer.cast::<u8>().add(at).write(dice.roll() as u8) };
    }
    length as isize
}
