//! `vast-sim serve`: the simulator as a program. Prints the API's URL on stdout once it listens.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use vast_sim::{LifecycleConfig, MarketConfig, Sim, SimConfig};

/// A simulator of the Vast.ai API whose instances are real SSH boxes on loopback addresses.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the control panel until interrupted.
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address of the API and of the control panel; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// The account's API key.
    #[arg(long, env = "VAST_SIM_API_KEY", hide_env_values = true)]
    api_key: String,
    /// Seed of the market, the stage jitter and the faults' draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated seconds per real second.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Folder of the boxes' homes; a temporary one when absent.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Account credit in dollars.
    #[arg(long, default_value_t = 100.0)]
    credit: f64,
    /// Least number of offers in the market.
    #[arg(long, default_value_t = 600)]
    offers: usize,
    /// Seconds (simulated) of image loading.
    #[arg(long, default_value_t = LifecycleConfig::default().loading_s)]
    loading: f64,
    /// Enforce the published spacing of calls with 429 answers.
    #[arg(long)]
    rate_limits: bool,
    /// Status of the answer to a wrong key: 404 as observed, or 401 as documented.
    #[arg(long, default_value_t = 404)]
    auth_error_status: u16,
    /// Log level on stderr.
    #[arg(long, default_value = "info")]
    log: LevelFilter,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Serve(serve) = Cli::parse().command;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(serve.log).init();
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let sim = Sim::start(serve.config()).await.context("starting the simulator")?;
    announce(&sim)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sim.shutdown().await;
    Ok(())
}

impl Serve {
    fn config(self) -> SimConfig {
        SimConfig {
            listen: self.listen,
            api_key: self.api_key,
            seed: self.seed,
            time_scale: self.time_scale,
            state_dir: self.state,
            market: MarketConfig { min_offers: self.offers, ..MarketConfig::default() },
            lifecycle: LifecycleConfig { loading_s: self.loading, ..LifecycleConfig::default() },
            credit: self.credit,
            rate_limits: self.rate_limits,
            auth_error_status: self.auth_error_status,
            ..SimConfig::default()
        }
    }
}

/// stdout is data: one line with the URL, for scripts that wait for it.
fn announce(sim: &Sim) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", sim.url())?;
    out.flush()?;
    tracing::info!(panel = sim.panel_url(), "ready");
    Ok(())
}
