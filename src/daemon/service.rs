//! The daemon as a service: readiness, watchdog, reload, stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Daemon, Options, StartError, assemble};
use crate::{
    config::{self, Config, Sources},
    systemd,
    telemetry::Redactor,
};

enum Wake {
    Stop(&'static str),
    Reload,
    Beat,
    Ended,
}

/// Runs until SIGTERM or SIGINT, reloads on SIGHUP, tells the service manager.
///
/// # Errors
/// The daemon cannot start, or a signal cannot be taken.
pub async fn serve(
    mut config: Config,
    sources: &Sources,
    options: Options,
    redactor: &Redactor,
) -> Result<(), StartError> {
    let mut terminate = take(SignalKind::terminate())?;
    let mut interrupt = take(SignalKind::interrupt())?;
    let mut hangup = take(SignalKind::hangup())?;
    let mut daemon = Daemon::start(&config, options).await?;
    if let Some(page) = daemon.page {
        tracing::info!(address = %page, "the page is served");
    }
    systemd::ready(&format!("watching {} nodes", config.policy.nodes.len()));
    let mut beats = daemon.handle.beats();
    loop {
        let wake = tokio::select! {
            _ = terminate.recv() => Wake::Stop("SIGTERM"),
            _ = interrupt.recv() => Wake::Stop("SIGINT"),
            _ = hangup.recv() => Wake::Reload,
            changed = beats.changed() => if changed.is_ok() { Wake::Beat } else { Wake::Ended },
            () = daemon.ended() => Wake::Ended,
        };
        match wake {
            // The engine itself beats, so a stuck engine is restarted even if this loop lives.
            Wake::Beat => systemd::alive(),
            Wake::Reload => config = reload(config, sources, &daemon, redactor).await,
            Wake::Stop(signal) => {
                tracing::info!(signal, "stopping; the fleet stays as it is");
                systemd::stopping();
                daemon.stop().await;
                return Ok(());
            }
            Wake::Ended => {
                return Err(StartError::Setting {
                    what: "the engine ended by itself, which is a defect".into(),
                });
            }
        }
    }
}

fn take(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|source| StartError::Serve { at: "signals".into(), source })
}

/// A bad configuration is refused whole and the old one kept; what only a restart takes over is named.
async fn reload(old: Config, sources: &Sources, daemon: &Daemon, redactor: &Redactor) -> Config {
    systemd::reloading();
    let config = match config::load(sources) {
        // Labels bear the fleet's name: under another one our own boxes would look like somebody else's.
        Ok(new) if new.policy.fleet != old.policy.fleet => {
            tracing::error!(
                "the new configuration is refused and the old one kept: `fleet.name` cannot change from `{}` to `{}` while \
                 the keeper runs; a fleet of another name needs a state folder of its own",
                old.policy.fleet,
                new.policy.fleet
            );
            old
        }
        Ok(new) => {
            redactor.learn(&new.secrets);
            for change in config::changes(&old, &new) {
                let key = change.key.as_str();
                if change.needs_restart {
                    tracing::warn!(key, "changed, but takes effect only after a restart");
                } else {
                    tracing::info!(key, "changed");
                }
            }
            if daemon.handle.reload(assemble::policy(&new)).await.is_ok() {
                tracing::info!(nodes = new.policy.nodes.len(), "the configuration was reloaded");
            }
            new
        }
        Err(faults) => {
            tracing::error!("the new configuration is refused and the old one kept:\n{faults}");
            old
        }
    };
    systemd::ready(&format!("watching {} nodes", config.policy.nodes.len()));
    config
}
