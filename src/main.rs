//! The `restante` program.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// The C library's allocator keeps what a load has needed, hundreds of megabytes of it. This one
/// gives back what has been free for ten seconds, by a thread of its own.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    restante::cli::main()
}
