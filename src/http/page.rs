//! The page: the view as one self-contained HTML document, no script, refreshed by the browser.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::fleet::{
    tell::span,
    timeline::IncidentView,
    units::Timestamp,
    view::{FleetView, NodeView},
};

/// Seconds between two refreshes.
const REFRESH: u32 = 2;

const STYLE: &str = "
:root { color-scheme: light dark; --ok: #15803d; --bad: #b91c1c; --odd: #b45309; --soft: #6b7280; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8883; vertical-align: top; }
th { color: var(--soft); font-weight: 500; } code, .hist { font-family: ui-monospace, monospace; }
.ok { color: var(--ok); } .bad { color: var(--bad); } .odd { color: var(--odd); } .soft { color: var(--soft); }
.hist { letter-spacing: -1px; white-space: pre; }
";

/// Renders the page.
pub(super) fn render(view: &FleetView, incidents: &[IncidentView], players: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                title { (view.fleet) ": " (view.summary) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "fleet " (view.fleet) ": " span class=(tone(&view.summary)) { (view.summary) } }
                p {
                    (view.healthy) " of " (view.wanted) " nodes healthy · " (view.dollars_per_hour) "/h"
                    @if let Some(credit) = view.credit { " · credit " (credit) }
                    " · breaker " (view.breaker.word())
                    @if view.observe_only { " · " span class="odd" { "observing only" } }
                    @if !view.key_accepted { " · " span class="bad" { "the provider refuses the api key" } }
                }
                @if let Some(players) = players { p { "players: " a href=(players) { (players) } } }
                @if let Some(fault) = &view.list_fault { p class="odd" { "the provider's list: " (fault) } }
                (nodes(view))
                (quarantine(view))
                (doomed(view))
                (story(incidents))
                p class="soft" { a href="/metrics" { "metrics" } " · " a href="/api/v1/fleet" { "json" } }
            }
        }
    }
}

fn tone(word: &str) -> &'static str {
    match word {
        "healthy" | "serving" | "normal" => "ok",
        "held" | "failing" | "storage-failed" | "blind" => "bad",
        "suspect" | "recovering" | "remedying" | "healing" | "maintenance" => "odd",
        _ => "soft",
    }
}

fn nodes(view: &FleetView) -> Markup {
    html! {
        table {
            thead { tr { th { "node" } th { "state" } th { "health" } th { "last probes" } th { "instance" } th { "cost" } } }
            tbody { @for node in &view.nodes { (row(node, view.at)) } }
        }
    }
}

fn row(node: &NodeView, now: Timestamp) -> Markup {
    let health = &node.health;
    html! {
        tr {
            td { strong { (node.node) } @if let Some(by) = &node.paused_by { br; span class="odd" { "paused by " (by) } } }
            td {
                span class=(tone(&node.state)) { (node.state) }
                @if let Some(stage) = &node.stage { " · " (stage) }
                @if let Some(since) = node.since { br; span class="soft" { "for " (span(now.since(since))) } }
                @if let Some(held) = &node.held { br; span class="bad" { (held) } }
                @if let Some(blocked) = &node.blocked { br; span class="odd" { (blocked.rail) ": " (blocked.why) } }
            }
            td {
                span class=(tone(&health.verdict)) { (health.verdict) }
                @if let Some(took) = health.took_ms { span class="soft" { " " (took) " ms" } }
                @if health.failures > 0 { br; span class="bad" { (health.failures) " of " (health.threshold) " failures" } }
                @if let Some(detail) = &health.detail { br; span class="soft" { (detail) } }
            }
            td class="hist" { (health.history) }
            td {
                @if let Some(instance) = node.instance { (instance) }
                @if let Some(offer) = &node.offer { br; span class="soft" { (offer) } }
                @if let Some(address) = node.address { br; code { (address) } }
            }
            td { @if let Some(price) = node.dollars_per_hour { (price) "/h" } }
        }
    }
}

fn quarantine(view: &FleetView) -> Markup {
    html! {
        @if !view.quarantine.is_empty() {
            h2 { "quarantined releases" }
            ul { @for shunned in &view.quarantine {
                li {
                    code { (shunned.release.name) } " (commit " (shunned.release.commit) ")"
                    span class="soft" { " · " (shunned.node) " went back from it " (span(view.at.since(shunned.at))) " ago" }
                    br; span class="bad" { (shunned.why) }
                    br; (shunned.next)
                }
            } }
        }
    }
}

fn doomed(view: &FleetView) -> Markup {
    html! {
        @if !view.doomed.is_empty() {
            h2 { "condemned, not yet proven gone" }
            ul { @for doomed in &view.doomed {
                li {
                    "instance " (doomed.instance)
                    @if let Some(node) = &doomed.node { " of " (node) }
                    ", for " (span(view.at.since(doomed.since)))
                    @if doomed.acknowledged { ", destroyed says the provider" }
                }
            } }
        }
    }
}

fn story(incidents: &[IncidentView]) -> Markup {
    html! {
        h2 { "incidents" }
        @if incidents.is_empty() { p class="soft" { "none on record" } }
        ul { @for incident in incidents {
            li {
                a href={ "/api/v1/incidents/" (incident.id) } { "#" (incident.id) } " " strong { (incident.node) } " " (incident.why)
                @match incident.closed_at {
                    Some(closed) => span class="ok" { " · over after " (span(closed.since(incident.first_failure_at))) },
                    None => span class="bad" { " · open" },
                }
            }
        } }
    }
}
