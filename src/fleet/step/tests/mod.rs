//! The core on trial: stories with exact outcomes, and arbitrary events. `src/world` is the world full of faults.

mod nonsense;
mod stories;
mod story;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::{
    apply::Misfit,
    journal::Entry,
    name::NodeName,
    offer::{Offer, OfferPolicy, tests::offer},
    policy::{InventoryPolicy, NodeSpec, Policy, Rails, RentalSpec},
    state::Fleet,
};

/// A fleet of `nodes` nodes with the defaults of the configuration, on addresses of this machine.
fn policy(nodes: usize) -> Policy {
    let spec = NodeSpec {
        rental: RentalSpec { allow_private_addresses: true, ..RentalSpec::default() },
        ..NodeSpec::default()
    };
    with_spec(nodes, spec)
}

/// The same with another specification.
fn with_spec(nodes: usize, spec: NodeSpec) -> Policy {
    let spec = Arc::new(spec);
    let nodes: BTreeMap<NodeName, Arc<NodeSpec>> = (0..nodes).map(|i| (node(i), Arc::clone(&spec))).collect();
    Policy {
        fleet: "test".parse().unwrap(),
        nodes,
        spares: BTreeSet::new(),
        // Evidence has stories of its own.
        rails: Rails { evidence: std::time::Duration::ZERO, ..Rails::default() },
        inventory: InventoryPolicy::default(),
        observe_only: false,
        import: false,
        publish: false,
        only: None,
    }
}

fn node(i: usize) -> NodeName {
    format!("duel-{i}").parse().unwrap()
}

/// Offers that pass [`OfferPolicy::default`], each on its own machine.
fn offers(ids: std::ops::Range<u64>) -> Vec<Offer> {
    debug_assert!(OfferPolicy::default().price_cap >= offer(1).price);
    ids.map(offer).collect()
}

/// The state that a journal holds, read back as the store would: through its text.
fn replayed(journal: &[Entry]) -> Result<Fleet, Misfit> {
    let mut fleet = Fleet::default();
    for entry in journal {
        let text = serde_json::to_string(entry).unwrap();
        fleet.apply(&serde_json::from_str(&text).unwrap())?;
    }
    Ok(fleet)
}
