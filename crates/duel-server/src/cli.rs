//! The command line: what can be asked of the program, and the one place that prints.

use std::io::Write;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::Server;
use crate::settings::Settings;
use crate::store::{self, MigrationState};
use crate::telemetry::{self, Redactor};
use crate::{build_info, error_chain};

/// Exit code: everything went well.
pub const DONE: u8 = 0;
/// Exit code: something failed while running.
pub const FAILED: u8 = 1;
/// Exit code: the command line or the settings cannot be used.
pub const MISUSED: u8 = 2;

/// The streaming duel server.
#[derive(Debug, Parser)]
#[command(name = "duel-server", version = build_info::VERSION_LINE, after_help = "Settings come from the environment; the README lists them.")]
pub struct Arguments {
    /// Enter maintenance before the first duel, so that the doors open only on request [env: START_IN_MAINTENANCE]
    #[arg(long)]
    start_in_maintenance: bool,
    /// Address to bind [env: HOST] [default: 0.0.0.0]
    #[arg(long)]
    host: Option<String>,
    /// Port to bind; 0 lets the system choose [env: PORT] [default: 5555]
    #[arg(long)]
    port: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without a command)
    Serve,
    /// Look after the database's schema
    Migrate {
        #[command(subcommand)]
        step: Migrate,
    },
    /// Print the books and the audit trail of the database as JSON; fails when a cent is missing
    Audit,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Migrate {
    /// Show which migrations are applied
    Status,
    /// Apply what is pending
    Run,
    /// Fail unless exactly the migrations of this program are applied
    Validate,
}

/// Runs the program and says how to exit.
pub async fn run(arguments: Arguments) -> u8 {
    let settings = match read_settings(&arguments) {
        Ok(settings) => settings,
        Err(faults) => return fail(MISUSED, &faults.to_string()),
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(settings).await,
        Command::Migrate { step } => migrate(&settings, step).await,
        Command::Audit => audit(&settings).await,
    }
}

fn read_settings(arguments: &Arguments) -> Result<Settings, crate::settings::Faults> {
    Settings::read(|name| match name {
        "HOST" if arguments.host.is_some() => arguments.host.clone(),
        "PORT" if arguments.port.is_some() => arguments.port.clone(),
        "START_IN_MAINTENANCE" if arguments.start_in_maintenance => Some(String::from("true")),
        // A value that is not Unicode is taken with marks in place of the bad bytes, and then refused where it matters.
        _ => std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
    })
}

async fn serve(settings: Settings) -> u8 {
    telemetry::start(&settings.log, Redactor::new(&settings.secrets()));
    warn_about_gaps(&settings);
    // Listened for before anything starts, so that an early signal is not lost.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return fail(FAILED, "cannot listen for signals");
    };
    let environment = settings.environment.as_str();
    let database = settings.database.kind();
    let server = match Server::start(settings).await {
        Ok(server) => server,
        Err(error) => return fail(FAILED, &error_chain(&error)),
    };
    let (version, commit) = (build_info::VERSION, build_info::COMMIT);
    let address = server.address();
    tracing::info!(%address, version, commit, environment, database, "listening");
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal, "stopping");
    // A second signal means that somebody does not want to wait for the drain.
    tokio::select! {
        () = server.stop() => {}
        _ = terminate.recv() => tracing::warn!("a second signal cut the drain short"),
        _ = interrupt.recv() => tracing::warn!("a second signal cut the drain short"),
    }
    DONE
}

fn warn_about_gaps(settings: &Settings) {
    if settings.admin_code.is_none() {
        tracing::warn!("ADMIN_CODE is not set: the admin endpoints refuse everybody");
    }
    if settings.tokens.secret.is_none() {
        tracing::warn!("JWT_SECRET is not set: players' tokens end with this process");
    }
    if !settings.rate_limited {
        tracing::warn!("rate limits are off");
    }
}

async fn migrate(settings: &Settings, step: Migrate) -> u8 {
    let statuses = match step {
        Migrate::Status | Migrate::Validate => store::migration_status(&settings.database).await,
        Migrate::Run => store::migrate(&settings.database).await,
    };
    let statuses = match statuses {
        Ok(statuses) => statuses,
        Err(error) => return fail(FAILED, &error_chain(&error)),
    };
    let settled = statuses.iter().all(|status| status.state == MigrationState::Applied);
    print(&serde_json::json!({ "migrations": statuses, "upToDate": settled }));
    if matches!(step, Migrate::Validate) && !settled { FAILED } else { DONE }
}

async fn audit(settings: &Settings) -> u8 {
    let books = async { store::open_read_only(&settings.database).await?.audit().await };
    match books.await {
        Ok(books) => {
            let balanced = books.balanced();
            print(&serde_json::json!({ "balanced": balanced, "books": books }));
            if balanced { DONE } else { FAILED }
        }
        Err(error) => fail(FAILED, &error_chain(&error)),
    }
}

fn print(value: &serde_json::Value) {
    // A reader that closed its end has seen enough.
    let _ = writeln!(std::io::stdout(), "{value:#}");
}

fn fail(code: u8, what: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "duel-server: {what}");
    code
}
