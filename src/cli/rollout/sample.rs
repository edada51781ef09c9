//! Asking servers how they are, from here: which nodes are well, and how a canary does beside the others.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    cli::boxes::{Filled, Fleet},
    clock::Clock,
    fleet::{
        name::NodeName,
        rollout::{
            Health, Verdict,
            analysis::{ENOUGH, Series, compare},
        },
        units::Timestamp,
    },
};

/// Longest wait for one answer: the default of `health.timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds of questions to a canary and the others, at most and at least.
const ROUND_MOST: Duration = Duration::from_secs(5);
const ROUND_LEAST: Duration = Duration::from_millis(100);

/// Asks a server once; how long a good answer took.
async fn ask(http: &reqwest::Client, fleet: &Fleet, filled: &Filled) -> Option<u64> {
    let spec = fleet.config.policy.nodes.get(&filled.node)?;
    let began = Instant::now();
    let url = format!("http://{}{}", filled.public, spec.health.path);
    let answer = http.get(url).timeout(TIMEOUT).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    // A stranger on a reused address is nobody's health.
    let named = body.get("instance").and_then(serde_json::Value::as_str);
    let ours = !spec.health.require_identity || named == Some(filled.tenant.rental.op.as_str());
    ours.then(|| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Which nodes answer well now.
pub(super) async fn health(http: &reqwest::Client, fleet: &Fleet) -> Health {
    let asked = fleet
        .nodes
        .iter()
        .map(async |filled| (filled.node.clone(), ask(http, fleet, filled).await.is_some()));
    join_all(asked).await.into_iter().collect()
}

/// Asks a canary and the others again and again until `until`, or until the canary is clearly worse. Where too little was
/// asked by then, for as long again.
pub(super) async fn analyse(
    http: &reqwest::Client,
    fleet: &Fleet,
    node: &NodeName,
    others: &[NodeName],
    until: Timestamp,
) -> Verdict {
    let clock = Clock::new();
    let lasting = clock.now().until(until);
    let pause = (lasting / (ENOUGH * 3)).clamp(ROUND_LEAST, ROUND_MOST);
    let at_most = until.after(lasting.max(pause * (ENOUGH + 5)));
    let (mut held, mut rest) = (Series::default(), Series::default());
    loop {
        let round = fleet.nodes.iter().filter(|filled| filled.node == *node || others.contains(&filled.node));
        let asked = round.map(async |filled| (filled.node == *node, ask(http, fleet, filled).await));
        for (is_held, answer) in join_all(asked).await {
            if is_held { held.add(answer) } else { rest.add(answer) }
        }
        let verdict = compare(&held, (!others.is_empty()).then_some(&rest));
        let now = clock.now();
        let clear = match &verdict {
            Verdict::Worse { .. } => true,
            Verdict::Better { .. } => now >= until,
            Verdict::Unknown { .. } => now >= at_most,
        };
        if clear {
            return verdict;
        }
        tokio::time::sleep(pause).await;
    }
}
