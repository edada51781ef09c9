//! `offers`: which offer would be taken for a node, and why each other would not.

use secrecy::SecretString;
use serde_json::json;

use super::{
    args::Common,
    exit::{self, Failure, chain},
    known::known,
    print, setup, show,
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    fleet::{ledger::exclusions, name::NodeName, offer::select, provider::ProviderFault},
    vast::{Vast, VastConfig},
};

pub(super) async fn offers(common: &Common, node: Option<NodeName>, json: bool) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Run)?;
    let nodes = &config.policy.nodes;
    let Some(name) = node.or_else(|| nodes.keys().next().cloned()) else {
        return Err(Failure::new(exit::USAGE, "no node is configured"));
    };
    let Some(spec) = nodes.get(&name) else {
        return Err(Failure::new(exit::USAGE, format!("node `{name}` is not configured")));
    };
    let clock = Clock::new();
    let vast = provider(&config, clock)?;
    let found = vast.survey(&spec.offers, spec.rental.disk_gb).await.map_err(provider_failure)?;
    let fleet = known(&config).await?;
    let previous =
        fleet.nodes.get(&name).and_then(|node| node.state.tenant()).map(|tenant| tenant.rental.price);
    let offered = found.offers.iter().map(|offer| (offer.machine, offer.host));
    let excluded = exclusions(&fleet, &config.policy, clock.now(), offered);
    let selection = select(&found.offers, &spec.offers, &excluded, previous, spec.rental.disk_gb);
    if json {
        let taken = selection.ranked.iter().map(|offer| json!({ "offer": offer, "rejected": null }));
        let rejected = selection.rejected.iter();
        let rejected = rejected.map(|(offer, why)| json!({ "offer": offer, "rejected": why.to_string() }));
        print::json(&taken.chain(rejected).collect::<Vec<_>>())?;
    } else {
        let mut rows: Vec<[String; 5]> = Vec::new();
        for (rank, offer) in selection.ranked.iter().enumerate() {
            let word = if rank == 0 { "would be taken".to_owned() } else { format!("choice {}", rank + 1) };
            rows.push([
                offer.id.to_string(),
                offer.machine.to_string(),
                format!("{}/h", offer.price),
                word,
                offer.to_string(),
            ]);
        }
        for (offer, why) in &selection.rejected {
            rows.push([
                offer.id.to_string(),
                offer.machine.to_string(),
                format!("{}/h", offer.price),
                format!("no: {why}"),
                offer.to_string(),
            ]);
        }
        show::table(&["offer", "machine", "price", "for this node", "what"], &rows)?;
    }
    if selection.ranked.is_empty() {
        print::talk(&format!("nothing would be taken for `{name}`: {}", selection.why_none()));
        return Ok(exit::NOTHING);
    }
    Ok(exit::DONE)
}

/// A client for the account of the configuration.
fn provider(config: &Config, clock: Clock) -> Result<Vast, Failure> {
    let api_key = config.provider.api_key.clone().unwrap_or_else(|| SecretString::from(""));
    Vast::new(VastConfig {
        base_url: config.provider.base_url.clone(),
        api_key,
        clock,
        timeout: config.provider.timeout,
        pacing: config.provider.pacing,
    })
    .map_err(|fault| Failure::new(exit::USAGE, chain(&fault)))
}

pub(super) fn provider_failure(fault: ProviderFault) -> Failure {
    Failure::new(exit::UNREACHABLE, fault.to_string())
        .hint("check `VAST_API_KEY` and the network, then try again")
}
