//! Deploys by hand: what healing goes by afterwards, what is quarantined, what is told.

use insta::assert_snapshot;

use super::{
    super::super::super::{
        deployed::{DeployKind, DeployOutcome, DeployReport, Placed, StepTook},
        event::{Event, Wish},
        guard::Rail,
        journal::ReleaseRef,
        name::{InstanceId, NodeName},
        provider::CreateAnswer,
        units::Timestamp,
        view::view,
    },
    Story, node,
};

fn placed(name: &str) -> Placed {
    Placed { name: name.into(), digest: format!("digest-{name}"), commit: format!("commit-{name}") }
}

fn report(s: &Story, name: &NodeName, wanted: &str, outcome: DeployOutcome) -> DeployReport {
    let good = outcome.is_good();
    DeployReport {
        node: name.clone(),
        instance: s.instance(name),
        work: DeployKind::Deploy,
        by: "anna".into(),
        healing: false,
        rollout: None,
        wanted: Some(placed(wanted)),
        serves: Some(placed(if good { wanted } else { "old" })),
        outcome,
        at_fault: !good,
        leaves: None,
        detail: if good { String::new() } else { "exited with code 1".into() },
        closed: None,
        started_at: Timestamp(s.now.saturating_sub(12_000)),
        took_ms: 12_000,
        steps: vec![StepTook { step: "start".into(), took_ms: 1_500, target_ms: 120_000 }],
    }
}

fn tell(s: &mut Story, report: DeployReport) {
    s.tell(Event::DeployReported(Box::new(report)));
}

/// The release that the node's newcomer is given.
fn healed_with(s: &mut Story, name: &NodeName) -> Option<String> {
    let old = s.lose(name);
    s.destroyed(old);
    s.pass(1);
    s.searched(name);
    let instance = s.next_instance();
    s.answered(name, CreateAnswer::Created(instance));
    s.start_telling();
    s.pass(20);
    let ordered = format!("do       deploy {name} on ");
    let line = s.text.lines().find(|line| line.contains(&ordered)).expect("nothing was deployed");
    line.split_once(", release ").map(|(_, release)| release.to_owned())
}

#[test]
fn what_was_verified_by_hand_is_what_healing_brings_again() {
    let mut s = Story::serving(2);
    s.start_telling();
    let done = report(&s, &node(0), "new", DeployOutcome::Verified);
    tell(&mut s, done);
    assert_snapshot!(s.read());
    assert_eq!(s.fleet.nodes[&node(0)].release.as_ref().unwrap().digest, "digest-new");
    assert_eq!(healed_with(&mut s, &node(0)), Some("new".into()));
    assert_eq!(s.fleet.nodes[&node(0)].placed, Some(placed("new")), "the pin outlives its box");
    assert_eq!(healed_with(&mut s, &node(1)), None, "the other node has the configured one");
}

#[test]
fn what_was_gone_back_from_is_quarantined_for_the_whole_fleet() {
    let mut s = Story::serving(2);
    s.start_telling();
    s.tell(Event::ReleaseNamed("bad".into()));
    let failed = report(&s, &node(0), "bad", DeployOutcome::RolledBack);
    tell(&mut s, failed);
    assert_snapshot!(s.read());
    assert_eq!(s.fleet.quarantine["bad"].node, node(0));
    let shown = view(&s.fleet, &s.memory, &s.policy, Timestamp(s.now)).quarantine;
    assert_eq!((shown.len(), shown[0].release.name.as_str(), shown[0].configured), (1, "bad", true));
    assert!(shown[0].next.contains("healing brings old") && shown[0].next.contains("deploy duel-0 --force"));
    // The configured release is the bad one: the node that went back keeps what it has, the other gets the same.
    assert_eq!(healed_with(&mut s, &node(0)), Some("old".into()));
    assert_eq!(healed_with(&mut s, &node(1)), Some("old".into()));
    // By force it may prove itself, and is free again.
    let proven = report(&s, &node(0), "bad", DeployOutcome::Verified);
    let instance = s.fleet.nodes[&node(0)].state.claim().unwrap().1.unwrap();
    tell(&mut s, DeployReport { instance, ..proven });
    assert!(s.fleet.quarantine.is_empty());
}

#[test]
fn where_nothing_else_was_verified_a_quarantined_release_is_waited_for_and_a_person_may_try_it_again() {
    let mut s = Story::serving(1);
    s.tell(Event::ReleaseNamed("bad".into()));
    let configured = ReleaseRef { digest: placed("bad").digest, commit: "c".into() };
    s.tell(Event::ReleasePrepared(Ok(configured)));
    let failed = report(&s, &node(0), "bad", DeployOutcome::RollbackFailed);
    tell(&mut s, DeployReport { serves: None, ..failed });
    s.lose(&node(0));
    s.pass(30);
    let blocked = s.memory.desks[&node(0)].blocked.clone().expect("nothing is in the way");
    assert_eq!(blocked.rail, Rail::Release);
    assert!(blocked.why.contains("quarantined"), "{}", blocked.why);
    assert!(s.fleet.doomed.is_empty(), "nothing is destroyed that could not be deployed to anew");
    s.ask(&node(0), Wish::Resume);
    assert!(s.fleet.quarantine.is_empty());
}

#[test]
fn a_pair_that_another_node_was_verified_with_is_not_condemned_by_one_box() {
    let mut s = Story::serving(2);
    let good = report(&s, &node(1), "new", DeployOutcome::Verified);
    tell(&mut s, good);
    let failed = report(&s, &node(0), "new", DeployOutcome::RolledBack);
    tell(&mut s, failed);
    assert!(s.fleet.quarantine.is_empty());
    // A rollout that takes everybody back says so.
    let back = report(&s, &node(1), "old", DeployOutcome::Verified);
    let back =
        DeployReport { work: DeployKind::Rollback, leaves: Some(placed("new")), at_fault: true, ..back };
    tell(&mut s, back);
    assert!(s.fleet.quarantine.contains_key("new") && !s.fleet.quarantine.contains_key("old"));
}

#[test]
fn what_took_too_long_and_what_was_left_closed_is_told() {
    let mut s = Story::serving(1);
    s.start_telling();
    let late = report(&s, &node(0), "new", DeployOutcome::Verified);
    let steps = vec![
        StepTook { step: "start".into(), took_ms: 180_000, target_ms: 120_000 },
        StepTook { step: "gate".into(), took_ms: 1, target_ms: 300_000 },
    ];
    tell(&mut s, DeployReport { steps, closed: Some("401 Unauthorized".into()), healing: true, ..late });
    assert_snapshot!(s.read());
    assert_eq!(s.fleet.nodes[&node(0)].placed, None, "healing pins nothing");
}

#[test]
fn data_that_stopped_halfway_is_never_replaced_by_the_keeper() {
    let mut s = Story::serving(2);
    let instance = s.instance(&node(0));
    s.ask(&node(0), Wish::PauseFor(60));
    s.start_telling();
    let detail = "restoring `b7` failed; `vast-keeper restore duel-0 --backup b6` undoes it";
    let halfway = report(&s, &node(0), "new", DeployOutcome::Halfway);
    tell(&mut s, DeployReport { work: DeployKind::Restore, serves: None, detail: detail.into(), ..halfway });
    assert_eq!(s.state(0).word(), "held");
    assert!(s.text.contains("--backup b6"), "{}", s.text);
    // Whoever tries something else that fails gives the pause back, not the hold.
    s.ask(&node(0), Wish::PauseOver);
    for _ in 0..20 {
        s.fail(&node(0));
        s.ok(&node(1));
        s.pass(30);
    }
    assert!(s.fleet.doomed.is_empty() && s.instance(&node(0)) == instance, "{}", s.text);
    // The way on was gone, and the server is well again.
    for _ in 0..5 {
        s.ok(&node(0));
        s.pass(5);
    }
    assert_eq!(s.state(0).word(), "serving");
}

#[test]
fn a_pause_for_work_ends_by_itself_and_a_persons_own_outlasts_it() {
    let mut s = Story::serving(2);
    s.ask(&node(0), Wish::PauseFor(60));
    s.ask(&node(1), Wish::Pause);
    s.ask(&node(1), Wish::PauseFor(60));
    let paused = |s: &Story| [0, 1].map(|i| s.fleet.nodes[&node(i)].paused.is_some());
    s.pass(50);
    s.tell(Event::Beat);
    assert_eq!(paused(&s), [true, true]);
    s.ask(&node(0), Wish::PauseFor(60));
    s.pass(50);
    s.tell(Event::Beat);
    assert_eq!(paused(&s), [true, true], "the work asked for more time");
    s.pass(20);
    s.tell(Event::Beat);
    assert_eq!(paused(&s), [false, true]);
}

#[test]
fn of_two_commands_that_work_on_one_box_each_has_its_own_pause() {
    let mut s = Story::serving(1);
    let ask = |s: &mut Story, wish: Wish, by: &str| {
        s.tell(Event::Asked { node: node(0), wish, by: by.into() });
        s.fleet.nodes[&node(0)].paused.as_ref().map(|pause| pause.by.clone())
    };
    let (first, second) = ("anna (process 1)", "anna (process 2)");
    assert_eq!(ask(&mut s, Wish::PauseFor(60), first).as_deref(), Some(first));
    assert_eq!(ask(&mut s, Wish::PauseFor(60), second).as_deref(), Some(first), "it asks again later");
    assert_eq!(ask(&mut s, Wish::WorkDone, second).as_deref(), Some(first));
    assert_eq!(ask(&mut s, Wish::WorkDone, first), None);
    assert_eq!(ask(&mut s, Wish::PauseFor(60), second).as_deref(), Some(second));
    assert_eq!(ask(&mut s, Wish::PauseOver, first).as_deref(), Some(second));
    // A person who pauses the node meanwhile means it.
    assert_eq!(ask(&mut s, Wish::Pause, "berta").as_deref(), Some("berta"));
    assert_eq!(ask(&mut s, Wish::WorkDone, second).as_deref(), Some("berta"));
    assert_eq!(ask(&mut s, Wish::Resume, "berta"), None);
}

#[test]
fn failures_while_a_box_is_worked_on_are_nobodys_incident_unless_they_outlast_it() {
    let mut s = Story::serving(1);
    s.ask(&node(0), Wish::PauseFor(60));
    s.fail_thrice(&node(0));
    assert!(s.fleet.nodes[&node(0)].incident.is_none());
    s.pass(40);
    s.fail(&node(0));
    s.tell(Event::Beat);
    assert!(s.fleet.nodes[&node(0)].incident.is_some(), "nobody came back to it");
}

#[test]
fn a_report_about_another_box_or_node_changes_nothing_that_serves() {
    let mut s = Story::serving(1);
    let before = s.fleet.nodes[&node(0)].clone();
    let other = report(&s, &node(0), "new", DeployOutcome::Verified);
    tell(&mut s, DeployReport { instance: InstanceId(999_999), ..other.clone() });
    assert_eq!(s.fleet.nodes[&node(0)], before);
    let records = s.journal.len();
    tell(&mut s, DeployReport { node: "nobody".parse().unwrap(), ..other });
    assert_eq!(s.journal.len(), records, "a node that is not known has no history");
}
