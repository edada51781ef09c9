//! From the first failed probe to the decision: witnesses, vetoes, silence, ladders, mass failures, stalls, maintenance.

use std::time::Duration;

use insta::assert_snapshot;

use super::{
    super::super::super::{
        breaker::Position,
        command::{Chosen, Command},
        event::{Event, Seen, Wish, WorkFault},
        journal::ReleaseRef,
        memory::SelfCheck,
        name::InstanceId,
        policy::{NodeSpec, Rung},
        probe::{Failure, Observation, Verdict},
        provider::{Credit, Status},
        state::NodeState,
        units::{Money, Timestamp},
        watch::Word,
    },
    Story, node, policy, with_spec,
};

#[test]
fn a_dead_server_is_replaced() {
    let mut s = Story::serving(3);
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.fill(&node(0));
    s.pass(120);
    assert_snapshot!(s.read());
}

#[test]
fn a_server_that_comes_back_in_time_is_left_alone() {
    let mut s = Story::serving(3);
    s.fail_thrice(&node(0));
    s.ok(&node(0));
    s.fail(&node(0));
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn two_failures_are_no_news() {
    let mut s = Story::serving(3);
    s.fail(&node(0));
    s.fail(&node(0));
    s.ok(&node(0));
    s.fail(&node(0));
    s.fail(&node(0));
    assert_eq!(s.text, "");
}

#[test]
fn a_witness_who_says_up_vetoes_and_is_told_once() {
    let mut s = Story::serving(3);
    s.fail_thrice(&node(0));
    for _ in 0..10 {
        s.witness(&node(0), Word::Up("its own health check answers".into()));
        s.pass(15);
        s.fail(&node(0));
    }
    assert_eq!(s.state(0).word(), "suspect");
    assert_snapshot!(s.read());
}

#[test]
fn where_no_witness_answers_the_threshold_doubles() {
    let mut s = Story::serving(3);
    s.fail_thrice(&node(0));
    s.witness(&node(0), Word::Silent("connection refused".into()));
    for _ in 0..16 {
        assert_eq!(s.state(0).word(), "suspect");
        s.pass(10);
        s.fail(&node(0));
        if s.now.is_multiple_of(30_000) {
            s.witness(&node(0), Word::Silent("connection refused".into()));
        }
    }
    // What the others answered before that says nothing of the network since.
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert_eq!((s.state(0).word(), blocked.rail.word()), ("suspect", "self-check"));
    s.ok(&node(1));
    s.pass(10);
    s.fail(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn a_witness_that_never_answers_does_not_keep_a_dead_server_for_ever() {
    let mut s = Story::serving(3);
    s.fail_thrice(&node(0));
    for _ in 0..30 {
        s.pass(10);
        s.fail(&node(0));
    }
    assert_eq!(s.state(0).word(), "recovering");
}

#[test]
fn each_run_of_failures_asks_its_own_witness() {
    let mut s = Story::serving(3);
    let up = || Word::Up("its own health check answers".into());
    s.fail_thrice(&node(0));
    s.witness(&node(0), up());
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
    let asked = s.text.matches("ask-witness").count();
    s.fail_thrice(&node(0));
    assert_eq!(s.text.matches("ask-witness").count(), asked + 1, "asked a moment ago, but about another run");
}

#[test]
fn a_word_that_is_no_longer_fresh_is_no_silence() {
    let mut policy = policy(3);
    policy.rails.witness_fresh = Duration::from_secs(10);
    let mut s = Story::serving_with(policy);
    s.fail_thrice(&node(0));
    s.witness(&node(0), Word::Up("its own health check answers".into()));
    for _ in 0..30 {
        s.pass(12);
        s.fail(&node(0));
        assert_eq!(s.state(0).word(), "suspect", "the box said it is up, and was not asked again in vain");
        s.witness(&node(0), Word::Up("its own health check answers".into()));
    }
}

#[test]
fn the_provider_is_a_witness_after_two_lists() {
    let mut s = Story::serving(3);
    let instance = s.instance(&node(0));
    s.status.insert(instance, Status::Exited);
    s.pass(60);
    assert!(!s.text.contains("journal"), "its word alone moves nothing: {}", s.text);
    s.fail_thrice(&node(0));
    credit(&mut s, 50);
    assert_snapshot!(s.read());
}

fn credit(s: &mut Story, dollars: i64) {
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(dollars * 1_000_000) })));
}

#[test]
fn boxes_stopped_for_want_of_credit_are_kept_until_somebody_pays() {
    let mut s = Story::serving(3);
    for i in 0..3 {
        let instance = s.instance(&node(i));
        s.status.insert(instance, Status::Exited);
    }
    // What was read before they stopped tells nothing, so it is asked for.
    s.memory.credit.as_mut().unwrap().0 = Timestamp(0);
    s.list();
    assert_eq!(s.memory.credit_asked_at, Some(Timestamp(s.now)));
    s.list();
    s.fail_thrice(&node(0));
    assert!(s.fleet.doomed.is_empty(), "not before the answer: {}", s.text);
    credit(&mut s, 0);
    s.fail_thrice(&node(1));
    s.fail_thrice(&node(2));
    s.pass(1800);
    assert!(!s.text.contains("doomed"), "{}", s.text);
    assert!(s.fleet.doomed.is_empty());
    // Paid: whoever does not come back by itself in a while is replaced.
    credit(&mut s, 50);
    for i in 1..3 {
        let instance = s.instance(&node(i));
        s.status.remove(&instance);
        s.ok(&node(i));
        s.ok(&node(i));
    }
    s.pass(200);
    assert_snapshot!(s.read());
}

#[test]
fn absence_alone_is_never_death() {
    let mut s = Story::serving(3);
    let instance = s.instance(&node(0));
    s.absent.insert(instance);
    for _ in 0..20 {
        s.pass(20);
        s.ok(&node(0));
    }
    assert!(!s.text.contains("journal"), "{}", s.text);
    s.fail_thrice(&node(0));
    credit(&mut s, 50);
    assert!(s.fleet.doomed.is_empty(), "a list may be another account's, so the box is asked: {}", s.text);
    s.witness(&node(0), Word::Silent("no route to host".into()));
    assert_snapshot!(s.read());
}

#[test]
fn a_box_that_answers_is_kept_though_lists_lack_it() {
    let mut s = Story::serving(3);
    let instance = s.instance(&node(0));
    s.absent.insert(instance);
    s.pass(200);
    credit(&mut s, 50);
    s.fail_thrice(&node(0));
    for _ in 0..10 {
        s.witness(&node(0), Word::Up("its own health check answers".into()));
        s.fail(&node(0));
        s.pass(20);
    }
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
}

#[test]
fn the_ladder_is_climbed_rung_by_rung() {
    let ladder = vec![Rung::RestartServer, Rung::Redeploy, Rung::Reboot, Rung::Replace];
    let mut s =
        Story::serving_with(with_spec(3, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    let down = || Word::Down("no answer on its own port".into());
    s.fail_thrice(&node(0));
    s.witness(&node(0), down());
    // The restart is done, but does not help.
    s.pass(5);
    s.remedied(&node(0), Rung::RestartServer, Ok(None));
    s.fail_thrice(&node(0));
    s.pass(300);
    s.witness(&node(0), down());
    // The redeploy fails by itself.
    let fault = WorkFault::Box("disk full".into());
    s.remedied(&node(0), Rung::Redeploy, Err(fault));
    s.fail_thrice(&node(0));
    s.witness(&node(0), down());
    // The reboot helps.
    s.remedied(&node(0), Rung::Reboot, Ok(None));
    s.pass(30);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn a_remedy_that_helps_for_a_while_is_tried_once_a_day_and_then_comes_the_next() {
    let ladder = vec![Rung::RestartServer, Rung::Replace];
    let mut s =
        Story::serving_with(with_spec(3, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    let down = || Word::Down("no answer on its own port".into());
    let crash_and_restart = |s: &mut Story| {
        s.fail_thrice(&node(0));
        s.witness(&node(0), down());
        assert_eq!(s.state(0).word(), "remedying", "{}", s.text);
        s.remedied(&node(0), Rung::RestartServer, Ok(None));
        s.pass(10);
        s.ok(&node(0));
        s.ok(&node(0));
        assert_eq!(s.state(0).word(), "serving");
    };
    crash_and_restart(&mut s);
    let old = s.instance(&node(0));
    // A day later it may be tried again, and what was tried is known after a restart of the keeper.
    s.pass(25 * 3600);
    crash_and_restart(&mut s);
    let journal = s.journal.len();
    s.restart(journal);
    s.pass(3600);
    s.ok(&node(0));
    s.fail_thrice(&node(0));
    s.witness(&node(0), down());
    s.pass(40);
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);
    assert_eq!(s.text.matches("do       remedy").count(), 2, "{}", s.text);
    // The box that follows has tried nothing yet.
    s.destroyed(old);
    s.pass(60);
    s.fill(&node(0));
    s.pass(7200);
    crash_and_restart(&mut s);
}

#[test]
fn a_box_that_is_well_for_a_moment_is_not_restarted_without_end() {
    let ladder = vec![Rung::RestartServer];
    let mut s =
        Story::serving_with(with_spec(3, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    for _ in 0..4 {
        s.fail_thrice(&node(0));
        s.witness(&node(0), Word::Down("no answer on its own port".into()));
        if s.state(0).word() == "remedying" {
            s.remedied(&node(0), Rung::RestartServer, Ok(None));
        }
        s.pass(600);
        s.ok(&node(0));
        s.ok(&node(0));
        assert_eq!(s.state(0).word(), "serving", "{}", s.text);
        s.pass(1200);
    }
    assert_eq!(s.text.matches("do       remedy").count(), 1, "{}", s.text);
    assert!(s.text.contains("every remedy of its ladder was tried"), "{}", s.text);
}

#[test]
fn remedies_over_ssh_are_skipped_where_the_box_does_not_answer() {
    let ladder = vec![Rung::RestartServer, Rung::Redeploy, Rung::Reboot];
    let mut s =
        Story::serving_with(with_spec(3, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    let instance = s.instance(&node(0));
    s.status.insert(instance, Status::Offline);
    s.pass(60);
    s.fail_thrice(&node(0));
    s.pass(400);
    s.fail_thrice(&node(0));
    assert_eq!(s.state(0).word(), "held");
    assert_snapshot!(s.read());
}

#[test]
fn an_answer_during_the_work_is_the_old_servers() {
    let ladder = vec![Rung::RestartServer, Rung::Replace];
    let mut s =
        Story::serving_with(with_spec(3, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    s.fail_thrice(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "remedying");
    // Late news of an earlier tenant's restart is no news of this one's.
    let (earlier, rung) = (InstanceId(1), Rung::RestartServer);
    s.tell(Event::RemedyWorked { node: node(0), instance: earlier, rung, result: Ok(None) });
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "remedying");
    s.remedied(&node(0), Rung::RestartServer, Ok(None));
    assert_eq!(s.state(0).word(), "remedying");
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
}

#[test]
fn many_failing_at_once_slow_healing_down_and_all_of_them_hold_it() {
    let mut s = Story::serving(4);
    for i in 0..3 {
        s.fail_thrice(&node(i));
        s.ok(&node(3));
    }
    for i in 0..3 {
        s.fail(&node(i));
        s.witness(&node(i), Word::Silent("connection refused".into()));
    }
    for _ in 0..3 {
        s.fail(&node(3));
    }
    for i in 0..4 {
        s.witness(&node(i), Word::Silent("connection refused".into()));
    }
    s.pass(600);
    assert_eq!(s.fleet.doomed.len(), 0, "nothing is destroyed while all of them fail");
    for i in 0..4 {
        s.ok(&node(i));
        s.ok(&node(i));
    }
    assert_snapshot!(s.read());
}

#[test]
fn the_last_node_is_replaced_only_when_canaries_answer() {
    let mut policy = policy(1);
    policy.rails.canaries = vec!["https://example.org".into()];
    let mut s = Story::serving_with(policy);
    s.lose(&node(0));
    s.tell(Event::SelfChecked(SelfCheck { at: Timestamp(s.now), answered: 0, asked: 1 }));
    s.pass(40);
    s.fail(&node(0));
    s.tell(Event::SelfChecked(SelfCheck { at: Timestamp(s.now), answered: 1, asked: 1 }));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_snapshot!(s.read());
}

#[test]
fn the_only_node_is_never_destroyed_on_our_own_probes_alone() {
    let mut s = Story::serving(1);
    s.fail_thrice(&node(0));
    for _ in 0..60 {
        s.witness(&node(0), Word::Silent("connection timed out".into()));
        s.pass(10);
        s.fail(&node(0));
    }
    assert_eq!(s.state(0).word(), "suspect", "{}", s.text);
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert_eq!(blocked.rail.word(), "self-check");
    assert!(blocked.why.contains("`rails.canaries`"), "{}", blocked.why);
    assert_eq!(s.text.matches("the rail `self-check`").count(), 1, "{}", s.text);
    // The provider's word or the box's own is enough at once.
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn the_only_node_is_destroyed_unwitnessed_where_canaries_answer() {
    let mut policy = policy(1);
    policy.rails.canaries = vec!["https://example.org".into()];
    let mut s = Story::serving_with(policy);
    s.fail_thrice(&node(0));
    for _ in 0..30 {
        s.witness(&node(0), Word::Silent("connection timed out".into()));
        s.tell(Event::SelfChecked(SelfCheck { at: Timestamp(s.now), answered: 1, asked: 1 }));
        s.pass(10);
        if s.state(0).word() == "suspect" {
            s.fail(&node(0));
        }
        if s.state(0).word() != "suspect" {
            break;
        }
    }
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn maintenance_suspends_the_count_and_alarms_once() {
    let mut s = Story::serving(2);
    s.fail(&node(0));
    s.fail(&node(0));
    for _ in 0..15 {
        s.probed(&node(0), Verdict::Maintenance);
        s.pass(60);
    }
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn maintenance_that_died_with_its_work_is_ended_and_a_persons_is_not() {
    let mut s = Story::serving(3);
    let asks = |s: &Story| s.text.matches("end-maintenance").count();
    let maintained = |s: &mut Story, i: usize| {
        s.probed(&node(i), Verdict::Maintenance);
        s.pass(60);
    };
    (0..3).for_each(|_| maintained(&mut s, 0));
    assert_eq!(asks(&s), 1, "after a fifth of the time until a person is told");
    let seen = |s: &mut Story, i: usize, seen: Seen| {
        let instance = s.instance(&node(i));
        s.tell(Event::LeftBehind { node: node(i), instance, seen });
    };
    seen(&mut s, 0, Seen::Unclear("the box is held by ann for 20 s more".into()));
    (0..2).for_each(|_| maintained(&mut s, 0));
    assert_eq!(asks(&s), 2, "and again, as long as that is not known");
    seen(&mut s, 0, Seen::Ended("deploy r2".into()));
    s.ok(&node(0));

    (0..3).for_each(|_| maintained(&mut s, 1));
    seen(&mut s, 1, Seen::Stays("no deploy entered it: whoever did ends it".into()));
    (0..10).for_each(|_| maintained(&mut s, 1));
    assert_eq!(asks(&s), 4, "the box has told whose it is, and is asked again as late as a person is told");

    let seen_late = |s: &mut Story| seen(s, 1, Seen::Stays("of the one before".into()));
    s.ok(&node(1));
    maintained(&mut s, 1);
    seen_late(&mut s);
    (0..2).for_each(|_| maintained(&mut s, 1));
    assert_eq!(asks(&s), 5, "another one is asked about anew, whatever was said of the last");

    s.ask(&node(2), Wish::Pause);
    (0..6).for_each(|_| maintained(&mut s, 2));
    assert_eq!(asks(&s), 5, "a person keeps the keeper away");
    assert_snapshot!(s.read());
}

#[test]
fn a_box_whose_data_is_half_way_is_neither_opened_nor_replaced() {
    let halfway = || Seen::Halfway("the migration to r2".into());
    let mut s = Story::serving(3);
    (0..3).for_each(|_| {
        s.probed(&node(0), Verdict::Maintenance);
        s.pass(60);
    });
    let instance = s.instance(&node(0));
    s.tell(Event::LeftBehind { node: node(0), instance, seen: halfway() });
    // The second one's server is dead, and the box is asked for that reason.
    s.fail_thrice(&node(1));
    let instance = s.instance(&node(1));
    s.tell(Event::LeftBehind { node: node(1), instance, seen: halfway() });
    for _ in 0..30 {
        s.fail(&node(1));
        s.pass(30);
    }
    assert_eq!((s.state(0).word(), s.state(1).word()), ("held", "held"));
    assert!(s.fleet.doomed.is_empty(), "nobody else has that data");
    assert_snapshot!(s.read());
}

#[test]
fn a_stall_makes_all_evidence_stale() {
    let mut s = Story::serving(2);
    s.fail(&node(0));
    s.fail(&node(0));
    let before = s.now;
    s.now += 30_000;
    s.tell(Event::Stalled { gap: Duration::from_secs(30) });
    // A probe that began before the stall ends after it.
    let observation = Observation {
        at: Timestamp(before),
        lateness: Duration::ZERO,
        took: Duration::from_secs(5),
        identity: s.op(&node(0)),
        verdict: Verdict::Failing(Failure::Timeout { limit_ms: 5000 }),
    };
    s.tell(Event::Probed { node: node(0), observation });
    assert_eq!(s.memory.watches[&node(0)].failures, 0);
    // Within the warm-up nothing begins, whatever is seen.
    s.lose(&node(0));
    assert_eq!(s.state(0).word(), "suspect");
    s.pass(40);
    s.fail(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    s.pass(40);
    assert_snapshot!(s.read());
}

#[test]
fn a_probe_of_the_tenant_before_says_nothing_of_the_present_one() {
    let mut s = Story::serving(2);
    let earlier = s.op(&node(0));
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.fill(&node(0));
    s.start_telling();
    for _ in 0..5 {
        let observation = Observation {
            at: Timestamp(s.now),
            lateness: Duration::ZERO,
            took: Duration::from_secs(5),
            identity: earlier.clone(),
            verdict: Verdict::Failing(Failure::Timeout { limit_ms: 5000 }),
        };
        s.tell(Event::Probed { node: node(0), observation });
    }
    assert_eq!(s.text, "");
    assert_eq!(s.state(0).word(), "serving");
}

#[test]
fn a_remedy_that_finds_the_release_at_fault_hands_over_and_a_recovery_takes_back() {
    let ladder = vec![Rung::Redeploy, Rung::Replace];
    let mut s =
        Story::serving_with(with_spec(2, NodeSpec { ladder, ..policy(1).nodes[&node(0)].as_ref().clone() }));
    s.fail_thrice(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    let fault = WorkFault::Release("checksum differs".into());
    s.remedied(&node(0), Rung::Redeploy, Err(fault));
    s.pass(600);
    assert!(matches!(s.state(0), NodeState::Held { tenant: Some(_), .. }));
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn a_planned_redeploy_needs_no_incident_unless_it_fails() {
    let mut s = Story::serving(2);
    let release = ReleaseRef { digest: "d2".into(), commit: "c2".into() };
    s.ask(&node(0), Wish::Redeploy);
    s.ok(&node(0));
    s.ok(&node(0));
    s.remedied(&node(0), Rung::Redeploy, Ok(Some(release)));
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
    s.ask(&node(0), Wish::Redeploy);
    let fault = WorkFault::Box("disk full".into());
    s.remedied(&node(0), Rung::Redeploy, Err(fault));
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn what_failed_before_the_box_said_it_was_up_is_no_evidence_once_it_is_silent() {
    let mut s = Story::serving(2);
    // A way that loses most probes: the box itself answers, and vetoes.
    let beside = |s: &mut Story, word: Word| {
        s.fail(&node(0));
        s.ok(&node(1));
        s.witness(&node(0), word);
        s.pass(15);
    };
    for _ in 0..12 {
        beside(&mut s, Word::Up("its own health check answers".into()));
    }
    // Then it is silent: only what fails from now on can speak against it, and for as long as ever.
    for _ in 0..5 {
        beside(&mut s, Word::Silent("no connection".into()));
        assert_eq!(s.state(0).word(), "suspect");
    }
    for _ in 0..12 {
        if s.state(0).word() == "suspect" {
            beside(&mut s, Word::Silent("no connection".into()));
        }
    }
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn what_fails_after_a_peers_last_good_answer_is_judged_with_its_next() {
    let mut s = Story::serving(2);
    s.no_probes = true;
    let silent = |s: &mut Story| {
        s.fail(&node(0));
        s.witness(&node(0), Word::Silent("no connection".into()));
        s.pass(10);
    };
    // A box that does not answer, and a person who keeps healing away for long.
    s.fail_thrice(&node(0));
    s.ask(&node(0), Wish::Pause);
    for i in 0..60 {
        if i % 6 == 0 {
            s.ok(&node(1));
        }
        silent(&mut s);
    }
    // The pause ends, and since the peer's last answer our own way may be cut: the box may be well by now.
    (0..3).for_each(|_| silent(&mut s));
    s.ask(&node(0), Wish::Resume);
    for _ in 0..5 {
        assert_eq!(s.state(0).word(), "suspect", "{}", s.text);
        silent(&mut s);
    }
    s.ok(&node(1));
    s.fail(&node(0));
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
}

#[test]
fn a_redeploy_that_another_release_overtook_brings_that_one_or_leaves_the_node_alone() {
    let mut s = Story::serving(2);
    let newer = ReleaseRef { digest: "d2".into(), commit: "c2".into() };
    s.ask(&node(0), Wish::Redeploy);
    s.tell(Event::ReleasePrepared(Ok(newer)));
    let superseded = || WorkFault::Superseded("another release is configured".into());
    s.remedied(&node(0), Rung::Redeploy, Err(superseded()));
    let anew = Chosen::Configured(Some("d2".into()));
    let brings = |command: &Command| matches!(command, Command::Remedy { release, .. } if *release == anew);
    assert!(s.last.commands.iter().any(brings), "{:?}", s.last.commands);
    s.tell(Event::ReleasePrepared(Err("the build failed".into())));
    s.remedied(&node(0), Rung::Redeploy, Err(superseded()));
    assert_eq!(s.state(0).word(), "serving");
    assert!(s.fleet.nodes[&node(0)].incident.is_none(), "nothing was wrong with it");
}

#[test]
fn the_first_answer_after_a_blackout_proves_nothing_against_the_others() {
    let mut s = Story::serving(3);
    s.no_probes = true;
    for _ in 0..25 {
        for i in 0..3 {
            s.fail(&node(i));
            s.witness(&node(i), Word::Silent("no connection".into()));
        }
        s.pass(10);
    }
    assert_eq!(s.fleet.breaker, Position::Hold);
    s.ok(&node(0));
    s.pass(30);
    assert_eq!(s.fleet.breaker, Position::Normal);
    for i in 1..3 {
        assert!(matches!(s.state(i), NodeState::Suspect { .. }), "{}", s.text);
    }
    // Whoever goes on failing beside a healthy peer is judged by that.
    let old = s.instance(&node(1));
    for _ in 0..25 {
        s.ok(&node(0));
        s.fail(&node(1));
        if s.fleet.doomed.contains_key(&old) {
            return;
        }
        s.witness(&node(1), Word::Silent("no connection".into()));
        s.pass(10);
    }
    panic!("it is never replaced: {}", s.text);
}
