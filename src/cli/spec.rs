//! `spec`: what a node must be, by configuration and journal, and in what it differs from that now, as provider and box show.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    args::Common,
    boxes::Fleet,
    exit::{self, Failure},
    print::{self, data},
    wanted::Release,
};
use crate::{
    deploy::{self, Role, Stock},
    fleet::{name::NodeName, policy::NodeSpec, tell::span},
};

/// How long a box may take to tell what stands on it.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

pub(super) async fn spec(common: &Common, node: &NodeName, as_json: bool) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, node).await?;
    let filled = &fleet.nodes[at];
    let spec = fleet.config.policy.nodes.get(node).cloned();
    let spec = spec.ok_or_else(|| Failure::new(exit::USAGE, format!("node `{node}` is not configured")))?;
    let configured = Release::configured(&fleet).await;
    let journal = fleet.known.nodes.get(node);
    let placed = journal.and_then(|node| node.placed.clone());
    let site = fleet.site(filled, Duration::ZERO);
    let stock = match &site {
        Some(site) => {
            deploy::stock(&fleet.edges.remote, site, LOOK_LIMIT).await.map_err(|fault| fault.to_string())
        }
        None => Err("it is not configured".into()),
    };
    let wanted_release = match (&placed, &configured) {
        (Some(placed), _) => Some(placed.clone()),
        (None, Ok(configured)) => Some(configured.placed.clone()),
        (None, Err(_)) => None,
    };
    let mut drift = Vec::new();
    let configured_name = configured.as_ref().map(|release| release.placed.name.as_str());
    match (&wanted_release, &stock) {
        (Some(wanted), Ok(stock)) => drift.extend(release_drift(&wanted.name, stock)),
        (Some(_), Err(why)) => drift.push(format!("what runs on the box cannot be seen: {why}")),
        (None, _) => drift.push("the configured release cannot be had, and nothing else was verified".into()),
    }
    if let (Some(placed), Ok(name)) = (&placed, configured_name)
        && placed.name != name
    {
        drift.push(format!(
            "release {name} is configured and was not deployed; healing brings {}",
            placed.name
        ));
    }
    if filled.tenant.rental.price > spec.offers.price_cap {
        drift
            .push(format!("it costs {}/h, the cap is {}", filled.tenant.rental.price, spec.offers.price_cap));
    }
    if filled.public != filled.tenant.address {
        drift.push(format!("the provider lists {}, the journal {}", filled.public, filled.tenant.address));
    }
    let published = fleet.known.published.as_ref().map(|all| all.get(node));
    if published.is_some_and(|address| address != Some(&filled.public)) {
        drift.push("its address is published otherwise".into());
    }
    if let Some(pause) = journal.and_then(|node| node.paused.as_ref()) {
        drift.push(format!("its healing is paused by {}", pause.by));
    }
    let names: Vec<&String> = fleet.edges.access.server_env.keys().collect();
    let wanted = wanted(&spec, wanted_release.as_ref().map(|release| release.name.as_str()), &names);
    let running = stock.as_ref().ok().and_then(Stock::current);
    let runs = json!({
        "instance": filled.tenant.instance, "machine": filled.tenant.rental.machine, "offer": filled.tenant.rental.text,
        "dollars_per_hour": filled.tenant.rental.price, "address": filled.public,
        "release": running.map(|release| &release.name), "commit": running.map(|release| &release.commit),
    });
    if as_json {
        print::json(&json!({ "node": node, "wanted": wanted, "runs": runs, "drift": drift }))?;
        return Ok(exit::DONE);
    }
    section("wanted", &wanted)?;
    section("runs", &runs)?;
    data("drift")?;
    if drift.is_empty() {
        data("  none")?;
    }
    drift.iter().try_for_each(|line| data(&format!("  {line}")))?;
    Ok(exit::DONE)
}

/// Everything a node must be; of its settings only the names, since some are secrets.
fn wanted(spec: &NodeSpec, release: Option<&str>, env: &[&String]) -> Value {
    let (rental, health, deadlines) = (&spec.rental, &spec.health, &spec.deadlines);
    let conditions: Vec<String> = health.conditions.iter().map(ToString::to_string).collect();
    json!({
        "group": *spec.group, "release": release, "image": rental.image, "disk_gb": rental.disk_gb, "port": rental.port,
        "settings": env, "offers": spec.offers.query.to_string(), "price_cap": spec.offers.price_cap,
        "health": health.path, "interval": span(health.interval), "failure_threshold": health.failure_threshold,
        "conditions": conditions, "ladder": spec.ladder.iter().map(|rung| rung.word()).collect::<Vec<_>>(),
        "deploy_within": span(deadlines.deploy), "boot_within": span(deadlines.boot),
    })
}

fn release_drift(wanted: &str, stock: &Stock) -> Vec<String> {
    let mut drift = Vec::new();
    match stock.current() {
        None => drift.push(format!("it runs no release; {wanted} is wanted")),
        Some(current) => {
            if current.name != wanted {
                drift.push(format!("it runs {}, {wanted} is wanted", current.name));
            }
            if current.role == Role::Trial {
                drift.push(format!("{} is on trial and not confirmed", current.name));
            }
            if current.verified_at.is_none() {
                drift.push(format!("{} was never verified there", current.name));
            }
        }
    }
    drift
}

fn section(title: &str, value: &Value) -> print::Printed {
    data(title)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            Value::Array(all) => {
                let words: Vec<String> = all
                    .iter()
                    .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
                    .collect();
                words.join(", ")
            }
            other => other.to_string(),
        };
        data(&format!("  {name:<18} {text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_compared_with_what_is_wanted() {
        let stock = |lines: &str| Stock::read(lines);
        let serving = stock("release=new\td\tc\t10\tcurrent\t0\t\n");
        assert!(release_drift("new", &serving).is_empty());
        assert_eq!(release_drift("other", &serving), ["it runs new, other is wanted"]);
        let trial = stock("release=new\td\tc\t-\ttrial\t0\t\n");
        assert_eq!(release_drift("new", &trial).len(), 2);
        assert_eq!(release_drift("new", &stock("")).len(), 1);
    }
}
