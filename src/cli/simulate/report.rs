//! What a campaign came to, for people and for scripts.

use serde_json::{Value, json};

use super::{
    SimulateArgs,
    bounds::{Bounds, quantile},
    campaign::Campaign,
    failure::Failed,
};
use crate::{
    cli::{
        print::{self, Printed, data},
        show,
    },
    world::Figures,
};

/// The gate's floor of recoveries.
const GATE_RECOVERIES: u64 = 100_000;
/// The gate's floor of keeper crashes, in percent of the recoveries.
const GATE_CRASHES_PERCENT: u64 = 40;

/// One figure of a user's report: its name, how to read it from a run, its digits, and whether more is better.
struct Line {
    name: &'static str,
    key: &'static str,
    of: fn(&Figures) -> f64,
    digits: usize,
}

const LINES: &[Line] = &[
    Line { name: "availability, %", key: "availability_percent", of: |f| f.availability * 100.0, digits: 3 },
    Line { name: "incidents", key: "incidents", of: |f| f.incidents as f64, digits: 0 },
    Line { name: "replacements", key: "replacements", of: |f| f.replacements as f64, digits: 0 },
    Line { name: "false kills", key: "false_kills", of: |f| f.false_kills as f64, digits: 0 },
    Line { name: "dollars", key: "dollars", of: |f| f.dollars, digits: 2 },
    Line { name: "hours paid per hour wanted", key: "paid_per_wanted", of: |f| f.paid_per_wanted, digits: 4 },
    Line { name: "alerts a day", key: "alerts_per_day", of: |f| f.alerts_per_day, digits: 2 },
];

/// The figures of a configuration, beside those of another one.
pub(super) fn expectations(args: &SimulateArgs, first: &Campaign, second: Option<&Campaign>) -> Printed {
    if args.json {
        let mut value = json!({
            "days": args.days, "runs": first.outcomes.len(), "seed": args.seed, "faults": args.faults,
            "policy": figures(first),
        });
        if let (Some(second), Some(object)) = (second, value.as_object_mut()) {
            object.insert("other".into(), figures(second));
        }
        return print::json(&value);
    }
    data(&format!("{} runs of {} days, faults: {}", first.outcomes.len(), args.days, args.faults))?;
    match second {
        None => {
            let rows: Vec<[String; 5]> = LINES.iter().map(|line| row(line, first)).collect();
            show::table(&["of each run", "mean", "p10", "p50", "p90"], &rows)?;
        }
        Some(second) => {
            let rows: Vec<[String; 7]> = LINES.iter().map(|line| compared(line, first, second)).collect();
            let other = ["p50", "p90", "better in runs"];
            show::table(&["of each run", "p50", "p90", "other:", other[0], other[1], other[2]], &rows)?;
        }
    }
    Bounds::of(first).print()?;
    if let Some(second) = second {
        data("of the other:")?;
        Bounds::of(second).print()?;
    }
    broken(first)?;
    speed(first)
}

fn row(line: &Line, campaign: &Campaign) -> [String; 5] {
    let values = values(line, campaign);
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let show = |value: f64| format!("{value:.*}", line.digits);
    [
        line.name.into(),
        show(mean),
        show(quantile(&values, 0.1)),
        show(quantile(&values, 0.5)),
        show(quantile(&values, 0.9)),
    ]
}

/// The same luck for both: run by run, which of them did better by this figure.
fn compared(line: &Line, first: &Campaign, second: &Campaign) -> [String; 7] {
    let show = |value: f64| format!("{value:.*}", line.digits);
    let (one, other) = (values(line, first), values(line, second));
    let more_is_better = line.key == "availability_percent";
    let pairs = first.outcomes.iter().filter_map(|(seed, outcome)| {
        Some(((line.of)(&outcome.figures), (line.of)(&second.outcomes.get(seed)?.figures)))
    });
    let better = pairs.filter(|(one, other)| if more_is_better { other > one } else { other < one }).count();
    let (q, w) = (quantile(&one, 0.5), quantile(&one, 0.9));
    let (r, t) = (quantile(&other, 0.5), quantile(&other, 0.9));
    [
        line.name.into(),
        show(q),
        show(w),
        String::new(),
        show(r),
        show(t),
        format!("{better} of {}", other.len()),
    ]
}

/// Sorted.
fn values(line: &Line, campaign: &Campaign) -> Vec<f64> {
    let mut values: Vec<f64> =
        campaign.outcomes.values().map(|outcome| (line.of)(&outcome.figures)).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn figures(campaign: &Campaign) -> Value {
    let mut object = serde_json::Map::new();
    for line in LINES {
        let values = values(line, campaign);
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let quantiles = json!({
            "mean": mean, "p10": quantile(&values, 0.1), "p50": quantile(&values, 0.5), "p90": quantile(&values, 0.9),
        });
        object.insert(line.key.into(), quantiles);
    }
    object.insert("bounds".into(), Bounds::of(campaign).json());
    object.insert("campaign".into(), common(campaign));
    Value::Object(object)
}

fn common(campaign: &Campaign) -> Value {
    let violations: Vec<Value> = campaign
        .violations()
        .map(|(seed, violation)| json!({ "seed": seed, "violation": violation }))
        .collect();
    json!({
        "runs": campaign.outcomes.len(),
        "node_hours": campaign.node_hours,
        "recoveries": campaign.recoveries,
        "keeper_crashes": campaign.crashes,
        "violations": violations,
        "hash": format!("{:016x}", campaign.hash),
        "wall_s": campaign.wall.as_secs_f64(),
        "cpu_s": campaign.cpu.as_secs_f64(),
        "recoveries_per_cpu_second": campaign.recoveries_per_cpu_second(),
        "happened": campaign.tally,
    })
}

/// The verdict of the gate or of a campaign: whether it proves what it is to prove.
pub(super) fn proof(args: &SimulateArgs, campaign: &Campaign) -> Result<bool, crate::cli::exit::Failure> {
    let floor = args.campaign.unwrap_or(GATE_RECOVERIES);
    let missing = campaign.tally.missing();
    let bounds = Bounds::of(campaign);
    let counted = [
        ("no promise broken", campaign.violations().count() == 0),
        ("enough recoveries", campaign.recoveries >= floor),
        ("enough keeper crashes", campaign.crashes * 100 >= campaign.recoveries * GATE_CRASHES_PERCENT),
        ("every case happened", missing.is_empty()),
    ];
    let checks = || counted.into_iter().chain(bounds.checks());
    let passed = checks().all(|(_, held)| held);
    if args.json {
        let mut value = common(campaign);
        if let Some(object) = value.as_object_mut() {
            object.insert("passed".into(), passed.into());
            object.insert("missing".into(), missing.into());
            object.insert("bounds".into(), bounds.json());
        }
        print::json(&value)?;
        return Ok(passed);
    }
    for (what, held) in checks() {
        data(&format!("{} {what}", if held { "ok    " } else { "FAILED" }))?;
    }
    for what in missing {
        data(&format!("never happened: {what}"))?;
    }
    data(&format!(
        "{} runs, {:.0} node-hours, {} recoveries, {} keeper crashes, {} creates, {} destroys, hash {:016x}",
        campaign.outcomes.len(),
        campaign.node_hours,
        campaign.recoveries,
        campaign.crashes,
        campaign.tally.get("creates"),
        campaign.tally.get("destroys"),
        campaign.hash
    ))?;
    bounds.print()?;
    broken(campaign)?;
    speed(campaign)?;
    Ok(passed)
}

pub(super) fn replayed(failed: &Failed, campaign: &Campaign, json: bool) -> Printed {
    let now = campaign.violations().next().map(|(_, violation)| violation);
    if json {
        let same = now.as_ref() == Some(&failed.violation);
        return print::json(&json!({ "file": failed, "now": now, "same": same }));
    }
    match now {
        Some(violation) if violation == failed.violation => {
            data("the same promise is broken at the same moment")?
        }
        Some(_) => data("another promise is broken now")?,
        None => data("nothing is broken any more")?,
    }
    broken(campaign)
}

fn broken(campaign: &Campaign) -> Printed {
    for (seed, violation) in campaign.violations() {
        let hours = violation.after_ms as f64 / 3_600_000.0;
        data(&format!(
            "seed {seed}: {} broken after {hours:.2} h: {}",
            violation.invariant, violation.detail
        ))?;
    }
    Ok(())
}

fn speed(campaign: &Campaign) -> Printed {
    data(&format!(
        "{:.1} s on the clock, {:.1} s of processors, {:.0} recoveries and {:.0} node-hours per processor second",
        campaign.wall.as_secs_f64(),
        campaign.cpu.as_secs_f64(),
        campaign.recoveries_per_cpu_second(),
        campaign.node_hours / campaign.cpu.as_secs_f64().max(1e-3)
    ))
}
