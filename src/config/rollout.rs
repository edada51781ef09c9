//! How a release is brought to several nodes.

use super::{Rollouts, reader::Reader};
use crate::fleet::rollout::{Manner, Plan, Share};

pub(super) fn rollout(reader: &mut Reader<'_>) -> Rollouts {
    let manner = match reader.text("rollout.strategy").as_deref() {
        Some("canary") => Manner::Canary,
        _ => Manner::Rolling,
    };
    let usual = Plan::default();
    let plan = Plan {
        manner,
        batch: share(reader, "rollout.batch").unwrap_or(usual.batch),
        max_failures: share(reader, "rollout.max_failures").unwrap_or(usual.max_failures),
        wait: reader.duration("rollout.wait"),
        min_healthy_percent: reader.count("rollout.min_healthy"),
        health_within: reader.duration("rollout.health_within"),
        hold: reader.duration("rollout.hold"),
    };
    Rollouts { plan, parallel: reader.count("rollout.parallel") as usize }
}

fn share(reader: &mut Reader<'_>, key: &str) -> Option<Share> {
    let text = reader.text(key)?;
    text.parse().map_err(|why: String| reader.fault(key, format!("is {why}"))).ok()
}
