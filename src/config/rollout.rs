//! How a release is brought to several nodes, and where the nodes' addresses are published.

use super::{Publish, Rollouts, check, node::expand, reader::Reader, surroundings::Surroundings};
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

pub(super) fn publish(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> Publish {
    let file = reader.text("publish.file").map(|file| expand(&file, around.home()));
    if file.as_ref().is_some_and(|file| !file.is_absolute()) {
        reader.fault("publish.file", "is no absolute path");
    }
    let command = reader.text("publish.command");
    let url = reader.text("publish.url").and_then(|text| {
        check::url(&text, &["https", "http"]).map_err(|why| reader.fault("publish.url", why)).ok()
    });
    Publish { file, command, url }
}
