//! The fleet as a whole: its name, its nodes, its rails.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    check,
    kind::{Parsed, shown},
    node,
    reader::Reader,
};
use crate::fleet::{
    name::{FleetName, MachineId, NodeName},
    policy::{InventoryPolicy, NodeSpec, Policy, Rails},
};

/// Most nodes of one fleet; the prober was measured up to 10,000.
const MOST_NODES: usize = 10_000;

/// Everything the core needs. `None` only beside a fault.
pub(super) fn policy(reader: &mut Reader<'_>, simulated: bool) -> Option<Policy> {
    let fleet = name(reader);
    let base = Arc::new(node::spec(reader, simulated));
    let (nodes, spares) =
        if reader.groups() == 0 { plain_nodes(reader, &base) } else { grouped_nodes(reader, simulated) };
    if nodes.len() > MOST_NODES {
        reader.fault(
            "fleet.nodes",
            format!("{} nodes are more than the {MOST_NODES} of one keeper", nodes.len()),
        );
    }
    let observe_only = reader.flag("fleet.observe_only");
    let import = reader.flag("fleet.import");
    let publish =
        ["publish.file", "publish.command", "publish.url"].iter().any(|key| reader.text(key).is_some());
    let rails = rails(reader);
    let inventory = inventory(reader);
    check::fleet(reader, &nodes, &rails, &inventory, simulated);
    Some(Policy { fleet: fleet?, nodes, spares, rails, inventory, observe_only, import, publish, only: None })
}

fn name(reader: &mut Reader<'_>) -> Option<FleetName> {
    match reader.text("fleet.name").unwrap_or_default().parse() {
        Ok(name) => Some(name),
        Err(error) => {
            reader.fault("fleet.name", error.to_string());
            None
        }
    }
}

type Nodes = BTreeMap<NodeName, Arc<NodeSpec>>;
type Spares = BTreeSet<NodeName>;

/// Adds the spares of the present group: `<stem>-spare-0`, `<stem>-spare-1`, …
fn add_spares(
    reader: &mut Reader<'_>,
    stem: &str,
    spec: &Arc<NodeSpec>,
    nodes: &mut Nodes,
    spares: &mut Spares,
) {
    for number in 0..reader.count("replace.spares") {
        match format!("{stem}-spare-{number}").parse::<NodeName>() {
            Ok(name) if nodes.contains_key(&name) => {
                reader.fault("replace.spares", format!("the node `{name}` is there already"));
            }
            Ok(name) => {
                nodes.insert(name.clone(), Arc::clone(spec));
                spares.insert(name);
            }
            Err(error) => {
                reader.fault("replace.spares", error.to_string());
                break;
            }
        }
    }
}

fn plain_nodes(reader: &mut Reader<'_>, spec: &Arc<NodeSpec>) -> (Nodes, Spares) {
    let stem = reader.text("fleet.node_name").unwrap_or_default();
    let mut nodes = Nodes::new();
    for number in 0..reader.count("fleet.nodes") {
        match format!("{stem}-{number}").parse() {
            Ok(name) => {
                nodes.insert(name, Arc::clone(spec));
            }
            Err(error) => {
                reader.fault("fleet.node_name", error.to_string());
                break;
            }
        }
    }
    let mut spares = Spares::new();
    add_spares(reader, &stem, spec, &mut nodes, &mut spares);
    (nodes, spares)
}

fn grouped_nodes(reader: &mut Reader<'_>, simulated: bool) -> (Nodes, Spares) {
    for key in ["fleet.nodes", "fleet.node_name"] {
        // Both are read all the same, so that `config show` lists them.
        let _ = (reader.count("fleet.nodes"), reader.text("fleet.node_name"));
        if reader.is_set(key) {
            reader.fault_hint(
                key,
                "means nothing beside a `[[group]]`",
                "give the group a `count` or `names` instead",
            );
        }
    }
    let (mut nodes, mut spares) = (Nodes::new(), Spares::new());
    for index in 0..reader.groups() {
        reader.group = Some(index);
        let names = group_names(reader, index);
        let stem = group_stem(reader, index, &names);
        let spec = Arc::new(NodeSpec { group: stem.as_str().into(), ..node::spec(reader, simulated) });
        for name in names {
            match name.parse::<NodeName>() {
                Ok(name) if nodes.contains_key(&name) => {
                    group_fault(reader, index, format!("the node `{name}` is there already"));
                }
                Ok(name) => {
                    nodes.insert(name, Arc::clone(&spec));
                }
                Err(error) => {
                    group_fault(reader, index, error.to_string());
                    break;
                }
            }
        }
        add_spares(reader, &stem, &spec, &mut nodes, &mut spares);
    }
    reader.group = None;
    if nodes.is_empty() {
        let hint = "to give everything back, use `vast-keeper destroy`";
        reader.fault_hint("group", "no group has a node: every rented box would be destroyed", hint);
    }
    (nodes, spares)
}

/// What the group's spares are called before `-spare-0`: the group's name, or its first node's.
fn group_stem(reader: &Reader<'_>, index: usize, names: &[String]) -> String {
    let table = reader.group_table(index);
    let name = table.get("name").and_then(|name| name.as_str()).map(str::to_owned);
    name.or_else(|| names.first().cloned()).unwrap_or_default()
}

fn group_names(reader: &mut Reader<'_>, index: usize) -> Vec<String> {
    let table = reader.group_table(index);
    let name = reader.field("group", index, &table, "name");
    let count = reader.field("group", index, &table, "count");
    let names = reader.field("group", index, &table, "names");
    match (name, names, count) {
        (_, Some(Parsed::Texts(_)), Some(_)) => {
            group_fault(reader, index, "has both `count` and `names`");
            Vec::new()
        }
        (_, Some(Parsed::Texts(names)), None) => names,
        (Some(Parsed::Text(name)), None, count) => {
            let count = if let Some(Parsed::Count(count)) = count { count } else { 1 };
            (0..count).map(|number| format!("{name}-{number}")).collect()
        }
        _ => {
            group_fault(reader, index, "needs a `name`, or the `names` of its nodes");
            Vec::new()
        }
    }
}

fn group_fault(reader: &mut Reader<'_>, index: usize, message: impl Into<String>) {
    let table = reader.group_table(index);
    let field =
        ["names", "name", "count"].into_iter().find(|field| table.contains_key(*field)).unwrap_or("name");
    reader.field_fault("group", index, &table, field, message);
}

fn rails(reader: &mut Reader<'_>) -> Rails {
    let fallback = Rails::default();
    Rails {
        parallel: reader.optional_count("rails.parallel"),
        node_creates: reader.count("rails.node_creates"),
        node_window: reader.duration("rails.node_window"),
        fleet_hourly: reader.count("rails.fleet_hourly"),
        fleet_daily: reader.count("rails.fleet_daily"),
        attempts: reader.count("rails.attempts"),
        held_retry: reader.duration("rails.held_retry"),
        backoff: reader.duration("rails.backoff"),
        backoff_max: reader.duration("rails.backoff_max"),
        cooldown: reader.duration("rails.cooldown"),
        remedy_again: reader.duration("rails.remedy_again"),
        dollars_per_hour: reader.dollars("rails.dollars_per_hour"),
        dollars_per_day: reader.dollars("rails.dollars_per_day"),
        credit_floor: reader.dollars("rails.credit_floor").unwrap_or(fallback.credit_floor),
        credit_lasts: reader.duration("rails.credit_lasts"),
        runway: reader.duration("rails.runway"),
        billing_check: reader.duration("rails.billing_check"),
        billing_tolerance: reader.count("rails.billing_tolerance"),
        warm_up: reader.duration("rails.warm_up"),
        stall: reader.duration("rails.stall"),
        inventory_fresh: reader.duration("rails.inventory_fresh"),
        canaries: canaries(reader),
        breaker_count: reader.count("rails.breaker_count"),
        breaker_percent: reader.count("rails.breaker_percent"),
        breaker_spacing: reader.duration("rails.breaker_spacing"),
        command_expiry: reader.duration("rails.command_expiry"),
        unproven_boxes: reader.count("rails.unproven_boxes"),
        evidence: reader.duration("rails.evidence"),
        exclude_for: reader.duration("rails.exclude_for"),
        excluded_machines: excluded_machines(reader),
        witness_fresh: reader.duration("rails.witness_fresh"),
    }
}

fn canaries(reader: &mut Reader<'_>) -> Vec<String> {
    let urls = reader.texts("rails.canaries").unwrap_or_default();
    for url in &urls {
        if let Err(why) = check::url(url, &["https", "http"]) {
            reader.fault("rails.canaries", format!("`{}`: {why}", shown(url)));
        }
    }
    urls
}

fn excluded_machines(reader: &mut Reader<'_>) -> Vec<MachineId> {
    let mut machines = Vec::new();
    for text in reader.texts("rails.excluded_machines").unwrap_or_default() {
        match text.parse() {
            Ok(number) => machines.push(MachineId(number)),
            Err(_) => {
                reader.fault("rails.excluded_machines", format!("`{}` is not a machine id", shown(&text)))
            }
        }
    }
    machines
}

fn inventory(reader: &mut Reader<'_>) -> InventoryPolicy {
    InventoryPolicy {
        interval: reader.duration("inventory.interval"),
        busy_interval: reader.duration("inventory.busy_interval"),
        gone_lists: reader.count("inventory.gone_lists"),
        settle_lists: reader.count("inventory.settle_lists"),
        settle: reader.duration("inventory.settle"),
        create_grace: reader.duration("inventory.create_grace"),
        implausible_lists: reader.count("inventory.implausible_lists"),
    }
}
