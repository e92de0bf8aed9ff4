//! Misbehaviour that any call can show.

use std::sync::atomic::{AtomicU32, Ordering};
use wasmkeeper_plugin::{Level, View, log};

/// Does `what`, if `what` names one of the misbehaviours in this file.
pub fn act(what: &str, view: &View) {
    match what {
        "spin" => spin(),
        "panic" => panic!("told to"),
        "trap" => trap(),
        "overflow" => drop(std::hint::black_box(descend(1))),
        "nest" => nest(&AtomicU32::new(0)),
        "grow" => grow(),
        "chat" => (0..10_000).for_each(|line| log(Level::Info, &format!("line {line}"))),
        "long-line" => log(Level::Info, &"ä".repeat(400_000)),
        "forge" => forge(),
        "read-all" => {
            while view.stat("/").is_ok() || view.fact("xid").is_some() {
                std::hint::black_box(view.identities());
            }
        }
        _ => {}
    }
}

pub fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn grow() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1u8; 1 << 20]);
        std::hint::black_box(&kept);
    }
}

/// Reads memory that does not exist.
fn trap() {
    let nowhere = std::hint::black_box(usize::MAX - 15) as *const u8;
    // SAFETY: none. In WebAssembly this is a trap, which the test wants.
    std::hint::black_box(unsafe { nowhere.read_volatile() });
}

/// Overflows the stack that the compiler keeps in linear memory for variables. Most Rust programs that recurse without
/// end do this.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the misbehaviour")]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    descend(depth + 1) + frame[(depth % 64) as usize]
}

/// Overflows the engine's call stack. The function has no variables, so the stack in linear memory does not grow.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the misbehaviour")]
fn nest(depth: &AtomicU32) {
    depth.fetch_add(1, Ordering::Relaxed);
    nest(depth);
    depth.fetch_sub(1, Ordering::Relaxed);
}

/// Uses a handle that nobody has lent.
#[cfg(target_family = "wasm")]
fn forge() {
    // SAFETY: none. The host checks handles, and this tests that.
    let forged = unsafe { View::from_handle(77) };
    std::hint::black_box(forged.context());
    std::mem::forget(forged);
}

#[cfg(not(target_family = "wasm"))]
fn forge() {}
