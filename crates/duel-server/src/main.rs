//! The binary: reads the command line, runs it, exits.

use std::process::ExitCode;

use clap::Parser;
use duel_server::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One TLS provider for the whole program; an error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(arguments));
            // A worker that hangs on a dead disk must not hold up the exit.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(_) => ExitCode::from(cli::FAILED),
    }
}
