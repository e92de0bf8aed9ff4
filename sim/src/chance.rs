//! Chance of those who do not ask the server's `environment`: std's hash tables, tokio's and other libraries' generators.
//!
//! All of them begin with the C library's `getrandom`. A program may have that function for itself, and this one has:
//! it gives the same bytes in every run, and in every call: whether a run is traced must make no difference to it.

use std::ffi::{c_uint, c_void};
use wasmkeeper::storage::testing::Dice;

/// In place of the C library's.
///
/// # Safety
/// `buffer` must have room for `length` bytes, or `length` be 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    let mut dice = Dice::new(0);
    for at in 0..length {
        // SAFETY: within the caller's buffer.
        unsafe { buffer.cast::<u8>().add(at).write(dice.roll() as u8) };
    }
    length as isize
}
