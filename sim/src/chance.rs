//! Random numbers of code that does not ask the server's `environment`: std's hash tables, tokio and other libraries.
//!
//! All of them take their seeds from the C library's `getrandom`. This program replaces that function. The replacement
//! returns the same bytes in every run and in every call, so a traced run, which makes more calls, is the same run.

use std::ffi::{c_uint, c_void};
use wasmkeeper::storage::testing::Dice;

/// Replaces the C library's function of this name.
///
/// # Safety
/// `buffer` must have room for `length` bytes, or `length` be 0.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    let mut dice = Dice::new(0);
    for at in 0..length {
        // SAFETY: within the caller's buffer.
        unsafe { buffer.cast::<u8>().add(at).write(dice.roll() as u8) };
    }
    length as isize
}
