//! Whether a person means what they typed.
//!
//! What cannot be undone is asked about on a terminal, and needs `--yes` elsewhere. A fleet that others depend on
//! (`fleet.protected`) wants its profile's name, typed back or given by `--i-mean`, before any verb changes what serves there.
//! Only people are asked: healing is nobody's verb, and nothing here stands in its way.

use super::{
    args::Consent,
    exit::{self, Failure},
    print,
};
use crate::config::Config;

/// The name that a person types who means this fleet: its profile's, or the fleet's where there is none.
pub(super) fn name(config: &Config) -> String {
    config.profile.clone().unwrap_or_else(|| config.policy.fleet.to_string())
}

/// Consent to what cannot be undone.
///
/// # Errors
/// It was not given, or another fleet is meant.
pub(super) fn given(config: &Config, consent: &Consent, act: &str) -> Result<(), Failure> {
    if_protected(config, consent, act)?;
    let agreed = config.environment.protected
        || consent.yes
        || (print::can_ask() && print::confirmed(&format!("{act}?")));
    if agreed { Ok(()) } else { Err(refused(act).hint("add `--yes`")) }
}

/// Consent to what goes back by itself when it fails: asked for where others depend on the fleet.
///
/// # Errors
/// As [`given`].
pub(super) fn if_protected(config: &Config, consent: &Consent, act: &str) -> Result<(), Failure> {
    let name = name(config);
    if let Some(meant) = consent.i_mean.as_ref().filter(|meant| **meant != name) {
        let message = format!("not done: `--i-mean {meant}`, and this is `{name}`");
        return Err(Failure::new(exit::REFUSED, message)
            .hint(format!("another fleet is chosen by `--profile {meant}`")));
    }
    if !config.environment.protected {
        return Ok(());
    }
    let typed = || print::can_ask() && print::typed(&format!("{act}: type `{name}`"), &name);
    match (consent.yes, &consent.i_mean) {
        (true, Some(_)) => Ok(()),
        (false, None) if typed() => Ok(()),
        _ => Err(refused(act).hint(format!(
            "`{name}` is protected: type its name when asked, or add `--yes --i-mean {name}`"
        ))),
    }
}

fn refused(act: &str) -> Failure {
    Failure::new(exit::REFUSED, format!("not confirmed: would {act}"))
}
