//! The gate: fleets, rails and habits drawn anew for each run, under the whole storm. The keeper's promises hold for any
//! setting, so none is fixed here that a user may choose.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Base, Menu, Setting};
use crate::fleet::{
    bid::BidPolicy,
    name::NodeName,
    offer::OfferPolicy,
    policy::{HealthPolicy, InventoryPolicy, NodeSpec, Policy, Rails, ReplaceOrder, Rung},
    units::Money,
};

/// In millionths of a dollar.
const CENT: i64 = 10_000;
/// How long faults strike in a run of the gate, in simulated hours.
pub const HOURS: u64 = 168;

/// The run of the gate that a seed draws.
///
/// # Errors
/// Never, unless a name in this file is none.
pub fn setting(seed: u64, hours: u64) -> Result<Setting, crate::fleet::name::NameError> {
    // Another stream than the run's own, so that both seem independent.
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x6761_7465);
    Ok(Setting { policy: policy(&mut rng)?, menu: Menu::of(Base::Storm), seed, hours })
}

fn policy(rng: &mut fastrand::Rng) -> Result<Policy, crate::fleet::name::NameError> {
    let spec = Arc::new(spec(rng));
    let count = rng.usize(3..18);
    let nodes =
        (0..count).map(|number| Ok((format!("duel-{number}").parse::<NodeName>()?, Arc::clone(&spec))));
    let mut nodes: BTreeMap<_, _> = nodes.collect::<Result<_, _>>()?;
    let inventory = InventoryPolicy {
        interval: Duration::from_secs(rng.u64(20..60)),
        busy_interval: Duration::from_secs(rng.u64(10..30)),
        ..InventoryPolicy::default()
    };
    let mut spares = BTreeSet::new();
    if rng.u32(0..3) == 0 {
        for number in 0..rng.u32(1..3) {
            let name: NodeName = format!("duel-spare-{number}").parse()?;
            nodes.insert(name.clone(), Arc::clone(&spec));
            spares.insert(name);
        }
    }
    let rails = rails(rng, nodes.len(), &inventory);
    if rng.u32(0..3) == 0 {
        let mut with_start = NodeSpec::clone(&spec);
        with_start.ladder.insert(with_start.ladder.len() - 1, Rung::Start);
        let with_start = Arc::new(with_start);
        nodes.values_mut().for_each(|spec| *spec = Arc::clone(&with_start));
    }
    Ok(Policy {
        fleet: "gate".parse()?,
        rails,
        nodes,
        spares,
        inventory,
        observe_only: false,
        import: false,
        publish: false,
        only: None,
    })
}

fn spec(rng: &mut fastrand::Rng) -> NodeSpec {
    let interval = Duration::from_secs(rng.u64(30..120));
    let health = HealthPolicy {
        interval,
        retry_interval: Duration::from_secs(rng.u64(5..20)),
        failure_threshold: rng.u32(2..5),
        success_threshold: rng.u32(1..4),
        ..HealthPolicy::default()
    };
    let softer = [Rung::RestartServer, Rung::Redeploy, Rung::Reboot];
    let mut ladder: Vec<Rung> = softer.into_iter().filter(|_| rng.u32(0..4) == 0).collect();
    ladder.push(Rung::Replace);
    let order = if rng.bool() { ReplaceOrder::CreateFirst } else { ReplaceOrder::DestroyFirst };
    NodeSpec {
        health,
        ladder,
        order,
        offers: OfferPolicy { bid: bid(rng), ..OfferPolicy::default() },
        ..NodeSpec::default()
    }
}

/// A third of all fleets is interruptible, some with a first bid that wins little.
fn bid(rng: &mut fastrand::Rng) -> Option<BidPolicy> {
    (rng.u32(0..3) == 0).then(|| {
        let most = rng.i64(80..160) * CENT;
        BidPolicy { start: rng.bool().then_some(Money(most / 2)), most: Money(most) }
    })
}

/// Wide enough that much healing is tried, tight enough that each rail is met now and then.
fn rails(rng: &mut fastrand::Rng, nodes: usize, inventory: &InventoryPolicy) -> Rails {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let (tight, poor) = (rng.u32(0..4) == 0, rng.u32(0..4) == 0);
    // What the fleet costs at the dearest offers; each spare box beyond is in the way of the caps.
    let most_price = 1_750_000 * i64::from(nodes);
    Rails {
        parallel: Some(if tight { rng.u32(1..3) } else { rng.u32(nodes.div_ceil(2)..=nodes) }),
        node_creates: if tight { rng.u32(3..6) } else { rng.u32(12..40) },
        node_window: Duration::from_secs(rng.u64(1..7) * 3600),
        fleet_hourly: if tight { rng.u32(6..20) } else { 8 * nodes + 20 },
        fleet_daily: if tight { rng.u32(40..400) } else { 150 * nodes },
        held_retry: Duration::from_secs(rng.u64(0..8) * 3600),
        remedy_again: Duration::from_secs(rng.u64(0..24) * 3600),
        cooldown: Duration::from_secs(if tight { rng.u64(60..1200) } else { rng.u64(30..240) }),
        dollars_per_hour: poor.then_some(Money(most_price + 500_000)),
        dollars_per_day: poor.then_some(Money(most_price * 23)),
        breaker_spacing: Duration::from_secs(if tight { rng.u64(60..600) } else { rng.u64(20..90) }),
        canaries: if rng.bool() {
            vec!["https://example.com".into(), "https://example.org".into()]
        } else {
            Vec::new()
        },
        inventory_fresh: inventory.interval * 3,
        exclude_for: Duration::from_secs(rng.u64(1..24) * 3600),
        ..Rails::default()
    }
}
