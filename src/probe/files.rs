//! The limit of open files: every probe in flight holds a socket, and a whole fleet may hang at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left to the rest of the keeper: store, logs, provider, SSH multiplexers, alert sinks, page readers.
const SPARE: u64 = 512;

/// Raises the soft limit to the hard one and returns how many probes may be in flight at once, at least 1. A kernel that
/// refuses is no reason not to probe.
pub(super) fn raise_limit() -> usize {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
    // What counts is what the kernel says afterwards, not what was asked for.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(SPARE)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let capacity = raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(capacity as u64, limit.current.map_or(u64::MAX, |limit| (limit - SPARE).max(1)));
    }
}
