//! The `wasmkeeper` program. All of it is in the library's `cli`.

use clap::Parser as _;
use std::process::ExitCode;

/// An allocator that returns memory to the system after thousands of connections have ended (docs/decisions/0011).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages. They would cost a small server 25 MiB and bring no measurable gain.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match wasmkeeper::cli::run(wasmkeeper::cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasmkeeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}
