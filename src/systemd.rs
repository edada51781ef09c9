//! Words to systemd: ready, reloading, stopping, alive, and what `systemctl status` shows.
//!
//! Without `$NOTIFY_SOCKET` (a terminal, a container) each of them does nothing. The sign of life is not sent by a timer
//! of its own: whoever calls [`alive`] does so after a completed pass of the engine, so that a stuck engine is restarted.

use std::time::Duration;

use sd_notify::NotifyState;

/// The keeper watches its fleet; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload began; [`ready`] ends it.
pub fn reloading() {
    // systemd compares this stamp with the moment of its signal (sd_notify(3), `Type=notify-reload`).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::warn!(%error, "the monotonic clock cannot be read");
            tell(&[NotifyState::Reloading]);
        }
    }
}

/// The keeper is stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// A sign of life for `WatchdogSec=`.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is due: half of `WatchdogSec=`, as sd_watchdog_enabled(3) recommends; `None` if nobody waits for
/// it.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// A manager that cannot be told is no reason to stop healing.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
