//! The keeper as its own patient, and what the view says meanwhile.

use std::time::Duration;

use super::{
    super::super::super::{
        event::{Event, Wish},
        probe::{Failure, Verdict},
        units::Timestamp,
        view::{FleetView, NodeView, view},
    },
    Story, node,
};

fn seen(s: &Story) -> FleetView {
    view(&s.fleet, &s.memory, &s.policy, Timestamp(s.now))
}

fn seen_node(s: &Story, i: usize) -> NodeView {
    seen(s).nodes.into_iter().find(|seen| seen.node == node(i)).unwrap()
}

#[test]
fn a_dead_prober_leaves_no_node_healthy_and_is_told_once_and_once_when_it_is_over() {
    let mut s = Story::serving(3);
    s.beats = true;
    s.pass(600);
    assert_eq!(s.text, "", "who is probed each minute is observed");
    assert_eq!((seen(&s).summary.as_str(), seen(&s).healthy), ("healthy", 3));
    s.no_probes = true;
    s.pass(130);
    assert_eq!(seen(&s).healthy, 3, "two probes may be lost");
    s.pass(600);
    let view = seen(&s);
    assert_eq!((view.summary.as_str(), view.healthy), ("blind", 0));
    assert_eq!(view.nodes[0].health.verdict, "unknown");
    assert_eq!(s.text.matches("the keeper cannot probe: 3 nodes unobserved").count(), 1, "{}", s.text);
    for i in 0..3 {
        s.ok(&node(i));
    }
    s.no_probes = false;
    s.pass(600);
    assert_eq!(s.text.matches("the keeper probes every node again").count(), 1, "{}", s.text);
    assert_eq!(s.text.matches("tell").count(), 2, "{}", s.text);
    assert_eq!(seen(&s).summary, "healthy");
}

#[test]
fn a_keeper_whose_prober_never_starts_tells_so() {
    let mut s = Story::serving(2);
    (s.no_probes, s.beats) = (true, true);
    s.restart(s.journal.len());
    s.pass(170);
    assert!(!s.text.contains("cannot probe"), "{}", s.text);
    s.pass(60);
    assert_eq!(s.text.matches("the keeper cannot probe: 2 nodes").count(), 1, "{}", s.text);
    // A person who makes the intervals longer or shorter restarts the wait, not the alarm.
    s.tell(Event::PolicyChanged);
    s.pass(20);
    assert_eq!(seen(&s).healthy, 0);
}

#[test]
fn a_node_that_fails_below_the_threshold_is_not_called_healthy() {
    let mut s = Story::serving(2);
    s.fail(&node(0));
    assert_eq!((seen(&s).summary.as_str(), seen(&s).healthy), ("healing", 1));
    s.ok(&node(0));
    assert_eq!(seen(&s).summary, "healthy");
}

#[test]
fn what_was_seen_of_a_destroyed_box_is_not_said_of_its_empty_node() {
    let mut s = Story::serving(2);
    assert_eq!(seen_node(&s, 0).health.verdict, "healthy");
    s.ask(&node(0), Wish::Destroy);
    let empty = seen_node(&s, 0);
    assert_eq!((empty.health.verdict.as_str(), empty.health.took_ms), ("unknown", None));
    assert_eq!(empty.held.as_deref(), Some("destroyed by ann; it stays empty until `resume`"));
}

#[test]
fn probes_that_start_late_count_for_nothing_and_nothing_begins_for_a_while() {
    let mut s = Story::serving(3);
    let failed = || Verdict::Failing(Failure::Timeout { limit_ms: 5000 });
    let began = s.now;
    for round in 0..10 {
        for i in 0..3 {
            s.probed_late(&node(i), failed(), Duration::from_secs(14));
            assert_eq!(s.state(i).word(), "serving", "round {round}: a starved keeper judges nobody");
        }
        s.pass(10);
    }
    let told = "the keeper's own probes start late";
    assert_eq!(s.text.matches(told).count(), 1, "{}", s.text);
    assert!(s.memory.trust_from.0 > began + 90_000, "{:?}", s.memory.trust_from);

    // On time again: what fails now is judged, but nothing is begun before the keeper is trusted.
    s.pass(300);
    s.start_telling();
    s.lose(&node(0));
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn what_fell_due_during_a_stall_is_not_counted_as_late_once_more() {
    let mut s = Story::serving(3);
    s.now += 40_000;
    s.tell(Event::Stalled { gap: Duration::from_secs(40) });
    for i in 0..3 {
        for second in 1..10 {
            s.probed_late(&node(i), Verdict::Healthy, Duration::from_secs(second * 4));
        }
    }
    assert_eq!(s.text.matches("start late").count(), 0, "{}", s.text);
}
