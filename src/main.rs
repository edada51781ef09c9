//! `vast-keeper`, the command. It prepares the process and exits; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole program, before any client is built; a second install is the same one again.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(vast_keeper::cli::run());
            // A task that hangs in a blocking call must not keep the process alive.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            ExitCode::from(code)
        }
        Err(_) => ExitCode::from(vast_keeper::cli::exit::BUG),
    }
}
