//! How a release is brought to several nodes, and where the nodes' addresses are published.

use std::path::{Component, Path};

use super::{
    Environment, Publish, Push, Rollouts, check, node::expand, reader::Reader, surroundings::Surroundings,
};
use crate::fleet::rollout::{Manner, Plan, Share};

pub(super) fn rollout(reader: &mut Reader<'_>) -> Rollouts {
    let strategy = reader.text("rollout.strategy");
    let manner = match strategy.as_deref() {
        Some("canary") => Manner::Canary,
        Some("blue-green") => Manner::BlueGreen,
        _ => Manner::Rolling,
    };
    let usual = Plan::default();
    let plan = Plan {
        manner,
        batch: share(reader, "rollout.batch", Share::of_a_batch).unwrap_or(usual.batch),
        max_failures: share(reader, "rollout.max_failures", str::parse).unwrap_or(usual.max_failures),
        wait: reader.duration("rollout.wait"),
        min_healthy_percent: reader.count("rollout.min_healthy"),
        health_within: reader.duration("rollout.health_within"),
        hold: reader.duration("rollout.hold"),
    };
    let parallel = reader.count("rollout.parallel") as usize;
    Rollouts { plan, parallel, keep_old: reader.duration("rollout.keep_old") }
}

fn share(
    reader: &mut Reader<'_>,
    key: &str,
    read: impl FnOnce(&str) -> Result<Share, String>,
) -> Option<Share> {
    let text = reader.text(key)?;
    read(&text).map_err(|why| reader.fault(key, format!("is {why}"))).ok()
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

pub(super) fn environment(reader: &mut Reader<'_>) -> Environment {
    let protected = reader.flag("fleet.protected");
    let order = reader.texts("promote.order").unwrap_or_default();
    Environment { protected, order, push: push(reader) }
}

fn push(reader: &mut Reader<'_>) -> Option<Push> {
    let branch = reader.text("push.branch").unwrap_or_default();
    // A name that git could take for an option or for something else than a branch.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if branch.is_empty()
        || branch.starts_with(['-', '/'])
        || !branch.bytes().all(plain)
        || branch.contains("..")
    {
        reader.fault("push.branch", "is not a branch's name");
    }
    let artifact = reader.text("push.artifact").unwrap_or_default();
    let inside = Path::new(&artifact).components().all(|part| matches!(part, Component::Normal(_)));
    if artifact.is_empty() || !inside {
        reader.fault("push.artifact", "is not a path within the checkout");
    }
    let (every, build_within) = (reader.duration("push.every"), reader.duration("push.build_within"));
    let build = reader.text("push.build").unwrap_or_default();
    let remote = reader.text("push.remote")?;
    if remote.starts_with('-') {
        reader.fault("push.remote", "is no remote");
    }
    Some(Push { remote, branch, every, build, artifact: artifact.into(), build_within })
}
