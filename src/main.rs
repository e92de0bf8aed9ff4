//! The `wasmkeeper` program: everything it does is in the library's `cli`.

use clap::Parser as _;
use std::process::ExitCode;

/// The system allocator keeps what nine thousand idle connections once needed; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match wasmkeeper::cli::run(wasmkeeper::cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasmkeeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}
