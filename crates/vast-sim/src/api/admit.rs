//! Who may call what, and how often.

use super::Incoming;
use super::reply::Reply;
use super::route::Endpoint;
use crate::clock::SimSeconds;
use crate::faults::RateLimitBody;
use crate::record::fingerprint;
use crate::world::State;

/// Whose key a call carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Principal {
    Account,
    /// A key that may only start, stop, read and destroy its instance.
    Instance(u64),
    Nobody,
}

/// The answer to a wrong key.
pub(super) fn invalid_key(status: u16) -> Reply {
    Reply::error(status, "auth_error", "Invalid user key")
}

/// Checks the key, its scope and the spacing.
pub(super) fn admitted(
    state: &mut State,
    incoming: &Incoming,
    endpoint: &Endpoint,
    now: SimSeconds,
) -> Result<(), Reply> {
    match principal(state, incoming) {
        Principal::Account => {}
        _ if endpoint.is_public() => {}
        Principal::Instance(own) => {
            let allowed = matches!(endpoint, Endpoint::Show(id) | Endpoint::Change(id) | Endpoint::Destroy(id) if *id == own);
            if !allowed {
                return Err(Reply::error(
                    403,
                    "permission_denied",
                    "Permission denied: this key is for its instance only",
                ));
            }
        }
        Principal::Nobody => return Err(invalid_key(state.config.auth_error_status)),
    }
    paced(state, incoming, endpoint, now)
}

/// Enforces the published limits, when the configuration asks for it.
fn paced(state: &mut State, incoming: &Incoming, endpoint: &Endpoint, now: SimSeconds) -> Result<(), Reply> {
    let Some((most, seconds)) = endpoint.limit().filter(|_| state.config.rate_limits) else { return Ok(()) };
    let key = incoming.key.as_deref().map(fingerprint).unwrap_or_default();
    let identity = (format!("{key}@{}", incoming.client), endpoint.name());
    let seen = state.last_seen.entry(identity).or_default();
    seen.retain(|at| now - at < seconds);
    if seen.len() < most {
        seen.push_back(now);
        return Ok(());
    }
    let shapes =
        [RateLimitBody::Text, RateLimitBody::TextThreshold, RateLimitBody::Detail, RateLimitBody::Envelope];
    let shape = shapes[state.rng.usize(0..shapes.len())];
    Err(Reply::too_frequent(shape, seconds / most as f64, None))
}

fn principal(state: &State, incoming: &Incoming) -> Principal {
    let Some(key) = incoming.key.as_deref() else { return Principal::Nobody };
    if key == state.config.api_key {
        return Principal::Account;
    }
    let own = state.instances.values().find(|it| !it.is_destroyed() && it.api_key == key);
    own.map_or(Principal::Nobody, |instance| Principal::Instance(instance.id))
}
