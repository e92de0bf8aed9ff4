//! The `wasmkeeper` program: everything it does is in the library's `cli`.

use clap::Parser as _;
use std::process::ExitCode;

/// Gives back what thousands of idle connections once needed (docs/decisions/0011).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages; a small server would take 25 MiB more for them and gain nothing measurable.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match wasmkeeper::cli::run(wasmkeeper::cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasmkeeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}
