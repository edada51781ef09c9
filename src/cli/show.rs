//! How things look on a terminal.

use jiff::{Timestamp as Instant, tz::TimeZone};

use super::print::{Colour, Printed, data, paint};
use crate::fleet::{
    deployed::DeployReport,
    tell::span,
    timeline::{IncidentView, Line},
    units::Timestamp,
    view::{FleetView, NodeView, QuarantinedView},
};

/// Prints rows under headings, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> Printed {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| {
            let gap = width - cell.chars().count();
            format!("{cell}{}", " ".repeat(gap))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    data(&paint(&line(&headings.map(str::to_owned)), Colour::Soft))?;
    for row in rows {
        data(&line(row))?;
    }
    Ok(())
}

/// A time of day in the machine's zone.
pub(super) fn clock_time(at: Timestamp) -> String {
    let instant = i64::try_from(at.0).ok().and_then(|ms| Instant::from_millisecond(ms).ok());
    instant.map_or_else(
        || at.0.to_string(),
        |instant| instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Deploys, newest first, one line each; with their steps where it is about one node.
pub(super) fn deploys(deploys: &[DeployReport], steps: bool) -> Printed {
    if !steps {
        let rows: Vec<[String; 7]> = deploys.iter().map(deploy_row).collect();
        return table(&["began", "node", "what", "release", "outcome", "took", "by"], &rows);
    }
    for report in deploys {
        data(&deploy_row(report).join("  "))?;
        for step in &report.steps {
            let span = |ms: u64| span(std::time::Duration::from_millis(ms));
            let over = if step.is_over() { "  over its target" } else { "" };
            data(&format!(
                "    {:<18} {:>12} of {}{over}",
                step.step,
                span(step.took_ms),
                span(step.target_ms)
            ))?;
        }
        if !report.detail.is_empty() {
            data(&format!("    {}", report.detail))?;
        }
        if let Some(closed) = &report.closed {
            data(&format!("    still in maintenance: {closed}"))?;
        }
    }
    Ok(())
}

fn deploy_row(report: &DeployReport) -> [String; 7] {
    let release = report.wanted.as_ref().or(report.serves.as_ref());
    let release =
        release.map_or_else(|| "-".into(), |release| format!("{} ({})", release.name, release.commit));
    [
        clock_time(report.started_at),
        report.node.to_string(),
        report.work.word().into(),
        release,
        report.outcome.word().into(),
        span(report.took()),
        report.by.clone(),
    ]
}

fn tone(word: &str) -> Colour {
    match word {
        "healthy" | "serving" | "normal" => Colour::Good,
        "held" | "failing" | "blind" | "storage-failed" | "hold" => Colour::Bad,
        _ => Colour::Odd,
    }
}

/// The fleet, one line a node and what needs words below.
pub(super) fn fleet(view: &FleetView) -> Printed {
    let credit = view.credit.map_or_else(String::new, |credit| format!(" · credit {credit}"));
    let spares = match view.spares {
        0 => String::new(),
        spares => format!(" · {} of {spares} spares ready", view.spares_ready),
    };
    data(&format!(
        "fleet {} · {} · {} of {} nodes healthy{spares} · {}/h{credit}",
        view.fleet,
        paint(&view.summary, tone(&view.summary)),
        view.healthy,
        view.wanted,
        view.dollars_per_hour,
    ))?;
    let lasts = view.runway_hours.map(|hours| format!(" · the credit lasts {hours:.1} h"));
    data(&format!(
        "wanted: {}/h, {} a day · spent in 24 h: {}{}",
        view.wanted_dollars_per_hour,
        view.wanted_dollars_per_day,
        view.spent_24h,
        lasts.unwrap_or_default(),
    ))?;
    if let Some(plan) = &view.plan {
        let takes = plan.takes_ms.map(|ms| format!(", about {}", span(std::time::Duration::from_millis(ms))));
        let next: Vec<&str> = plan.waiting.iter().take(5).map(|node| node.as_str()).collect();
        let text = format!(
            "{} failed nodes wait{} ({}); next: {}",
            plan.waiting.len(),
            takes.unwrap_or_default(),
            plan.limit,
            next.join(", ")
        );
        data(&paint(&text, Colour::Odd))?;
    }
    if view.observe_only {
        data(&paint("observing only: nothing is changed", Colour::Odd))?;
    }
    if view.breaker != crate::fleet::breaker::Position::Normal {
        data(&paint(&format!("breaker: {}", view.breaker.word()), Colour::Bad))?;
    }
    if !view.key_accepted {
        data(&paint("the provider refuses the api key", Colour::Bad))?;
    }
    if let Some(fault) = &view.list_fault {
        data(&paint(&format!("the provider's list: {fault}"), Colour::Odd))?;
    }
    let rows: Vec<[String; 7]> = view.nodes.iter().map(|node| row(node, view.at)).collect();
    table(&["node", "state", "for", "health", "last probes", "instance", "cost"], &rows)?;
    for node in &view.nodes {
        remarks(node)?;
    }
    for shunned in &view.quarantine {
        data(&paint(&quarantined(shunned, view.at), Colour::Bad))?;
        data(&format!("  {}", shunned.next))?;
    }
    for doomed in &view.doomed {
        let whose = doomed.node.as_ref().map_or_else(String::new, |node| format!(" of {node}"));
        data(&format!(
            "condemned: instance {}{whose}, for {}, {}",
            doomed.instance,
            span(view.at.since(doomed.since)),
            if doomed.acknowledged { "destroyed, not yet proven gone" } else { "destroy not acknowledged" }
        ))?;
    }
    Ok(())
}

fn quarantined(shunned: &QuarantinedView, now: Timestamp) -> String {
    let QuarantinedView { release, node, at, why, .. } = shunned;
    let why = why.lines().next().unwrap_or_default();
    format!(
        "quarantined: release {} (commit {}), since {node} went back from it {} ago: {why}",
        release.name,
        release.commit,
        span(now.since(*at))
    )
}

fn row(node: &NodeView, now: Timestamp) -> [String; 7] {
    let health = &node.health;
    let state =
        node.stage.as_ref().map_or_else(|| node.state.clone(), |stage| format!("{} {stage}", node.state));
    let mut verdict = health.verdict.clone();
    if health.failures > 0 {
        verdict = format!("{verdict} {}/{}", health.failures, health.threshold);
    } else if let Some(took) = health.took_ms {
        verdict = format!("{verdict} {took} ms");
    }
    let recent: String =
        health.history.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
    [
        node.node.to_string(),
        state,
        node.since.map_or_else(String::new, |since| span(now.since(since))),
        verdict,
        recent,
        node.instance.map_or_else(String::new, |id| id.to_string()),
        node.dollars_per_hour.map_or_else(String::new, |price| format!("{price}/h")),
    ]
}

fn remarks(node: &NodeView) -> Printed {
    let name = &node.node;
    if let Some(detail) = &node.health.detail {
        data(&paint(&format!("{name}: {detail}"), Colour::Bad))?;
    }
    if let Some(held) = &node.held {
        // What a person emptied waits for nobody.
        let waits = if held.starts_with("destroyed by") { "" } else { "waits for you: " };
        data(&paint(&format!("{name} {waits}{held}"), Colour::Bad))?;
    }
    if let Some(blocked) = &node.blocked {
        data(&paint(&format!("{name} is kept back by `{}`: {}", blocked.rail, blocked.why), Colour::Odd))?;
    }
    if let Some(kept) = &node.kept {
        data(&paint(&format!("{name} keeps instance {kept} until another has proven itself"), Colour::Odd))?;
    }
    if let Some(by) = &node.paused_by {
        data(&paint(&format!("{name} is paused by {by}"), Colour::Odd))?;
    }
    Ok(())
}

/// A list of incidents.
pub(super) fn incidents(incidents: &[IncidentView]) -> Printed {
    let rows: Vec<[String; 5]> = incidents
        .iter()
        .map(|incident| {
            let lasted = incident
                .closed_at
                .map_or_else(|| "open".to_owned(), |closed| span(closed.since(incident.first_failure_at)));
            [
                incident.id.to_string(),
                clock_time(incident.first_failure_at),
                incident.node.to_string(),
                lasted,
                incident.why.clone(),
            ]
        })
        .collect();
    table(&["id", "since", "node", "lasted", "why"], &rows)
}

/// The story of one incident.
pub(super) fn story(incident: &IncidentView) -> Printed {
    data(&format!("incident {} of {}: {}", incident.id, incident.node, incident.why))?;
    data(&format!("first failed probe {}", clock_time(incident.first_failure_at)))?;
    if let Some(fault) = &incident.fault {
        data(&format!("at fault: {}, {}", fault.culprit, fault.evidence))?;
    }
    milestones(incident)?;
    for entry in &incident.lines {
        line(entry)?;
    }
    Ok(())
}

/// The milestones with their durations, and the whole.
pub(super) fn milestones(incident: &IncidentView) -> Printed {
    let rows: Vec<[String; 3]> = incident
        .milestones
        .iter()
        .map(|milestone| {
            let took = span(std::time::Duration::from_millis(milestone.took_ms));
            [milestone.name.clone(), took, clock_time(milestone.at)]
        })
        .collect();
    table(&["milestone", "took", "at"], &rows)?;
    if let Some(closed) = incident.closed_at {
        data(&format!("whole: {}", span(closed.since(incident.first_failure_at))))?;
    }
    Ok(())
}

/// One journaled fact.
pub(super) fn line(line: &Line) -> Printed {
    let node = line.node.as_ref().map_or_else(String::new, |node| format!("{node}: "));
    data(&format!(
        "{} {} {node}{}",
        paint(&line.seq.to_string(), Colour::Soft),
        clock_time(line.at),
        line.text
    ))
}
