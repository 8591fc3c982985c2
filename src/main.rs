//! The `restante` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    restante::cli::main()
}
