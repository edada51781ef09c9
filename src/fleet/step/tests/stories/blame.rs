//! Who is at fault: hosts that are left, releases that are stopped before they cost a third box, and the ledger over all.

use std::{collections::BTreeMap, time::Duration};

use insta::assert_snapshot;

use super::{
    super::super::super::{
        culprit::Culprit,
        event::{Event, Reply, WorkFault},
        guard::Rail,
        journal::{DoomReason, Entry, Record, ReleaseRef},
        ledger::{self, Export, LedgerWish, Strike, exclusions},
        memory::SelfCheck,
        name::{HostId, MachineId, NodeName},
        policy::Rung,
        provider::{CreateAnswer, Status},
        state::{Blame, Fleet},
        units::Timestamp,
    },
    Story, node, policy,
};

const DAY: u64 = 24 * 3600 * 1000;

fn release(digest: &str) -> Event {
    Event::ReleasePrepared(Ok(ReleaseRef { digest: digest.into(), commit: "c".into() }))
}

/// The node's newcomer is rented, comes up, takes the release, and its server does not serve.
fn fails_with_release(s: &mut Story, name: &NodeName) {
    s.searched(name);
    let instance = s.next_instance();
    s.answered(name, CreateAnswer::Created(instance));
    s.pass(20);
    let detail = format!("not healthy within 30 s: connection refused at 127.0.1.{}:45555", instance.0);
    let result = Err(WorkFault::Unhealthy(detail));
    s.tell(Event::DeployEnded { node: name.clone(), instance, result });
    s.destroyed(instance);
}

/// The newcomers of the first two nodes take the release, and it does not serve on either.
fn fail_alike(s: &mut Story) {
    for i in 0..2 {
        let instance = s.instance(&node(i));
        let detail = format!("not healthy within 30 s: connection refused at 127.0.1.{}:45555", instance.0);
        s.tell(Event::DeployEnded { node: node(i), instance, result: Err(WorkFault::Unhealthy(detail)) });
        s.destroyed(instance);
    }
}

fn rentals(s: &Story) -> usize {
    s.journal.iter().filter(|entry| matches!(entry.record, Record::Intent { .. })).count()
}

fn culprits(s: &Story) -> Vec<Culprit> {
    let of = |entry: &Entry| match &entry.record {
        Record::Attributed { culprit, .. } => Some(*culprit),
        _ => None,
    };
    s.journal.iter().filter_map(of).collect()
}

#[test]
fn a_bad_release_costs_two_boxes_however_many_nodes_want_it() {
    let mut s = Story::new(policy(5));
    s.boot();
    s.tell(release("bad"));
    s.pass(240);
    s.start_telling();
    // Two nodes try it; the others wait for what becomes of it.
    s.searched(&node(0));
    s.searched(&node(1));
    s.searched(&node(2));
    assert_eq!(rentals(&s), 2);
    assert_eq!(s.memory.desk(&node(2)).blocked.as_ref().unwrap().rail, Rail::Unproven);
    for i in 0..2 {
        let instance = s.next_instance();
        s.answered(&node(i), CreateAnswer::Created(instance));
    }
    s.pass(20);
    fail_alike(&mut s);
    assert_eq!((s.state(0).word(), s.state(1).word()), ("held", "held"));
    for _ in 0..60 {
        for i in 0..5 {
            s.searched(&node(i));
        }
        s.pass(120);
    }
    assert_eq!(rentals(&s), 2, "no third box for a release at fault");
    assert_eq!(s.text.matches("tell     Critical deploy: the release is at fault").count(), 1, "{}", s.text);
    assert!(s.fleet.blamed.len() <= 1, "the second machine is not blamed: {:?}", s.fleet.blamed);

    // Another release, and everything goes on by itself.
    s.tell(release("good"));
    s.pass(60);
    for i in 0..5 {
        s.fill(&node(i));
    }
    assert!((0..5).all(|i| s.state(i).word() == "serving"));
    assert_snapshot!(s.read().lines().filter(|line| !line.contains("offers")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_serves_elsewhere_is_not_the_releases_fault() {
    let mut s = Story::serving(4);
    s.tell(release("d1"));
    let old = s.lose(&node(0));
    s.destroyed(old);
    for _ in 0..2 {
        fails_with_release(&mut s, &node(0));
        s.pass(600);
        for i in 1..4 {
            s.ok(&node(i));
        }
    }
    assert_eq!(s.state(0).word(), "recovering", "another box may well serve it");
    assert!(culprits(&s).iter().all(|culprit| *culprit == Culprit::Host), "{:?}", culprits(&s));
    assert!(s.fleet.releases["d1"].condemned.is_none());
}

#[test]
fn two_failures_on_one_host_or_of_two_kinds_condemn_no_release() {
    let mut s = Story::new(policy(1));
    s.boot();
    s.tell(release("new"));
    s.pass(240);
    fails_with_release(&mut s, &node(0));
    s.pass(600);
    s.searched(&node(0));
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.pass(20);
    let result = Err(WorkFault::Unhealthy("not healthy within 30 s: 503, the database is gone".into()));
    s.tell(Event::DeployEnded { node: node(0), instance, result });
    assert_eq!(s.state(0).word(), "recovering", "{}", s.text);
    // What never came up was never given the release.
    s.destroyed(instance);
    s.pass(600);
    s.searched(&node(0));
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.status.insert(instance, Status::Broken);
    s.pass(20);
    assert_eq!(s.fleet.releases["new"].failures.len(), 2);
}

#[test]
fn a_condemned_release_can_be_tried_again_although_nobody_is_held_for_it_any_more() {
    use super::super::super::super::event::Wish;
    let mut s = Story::new(policy(2));
    s.boot();
    s.tell(release("d1"));
    s.pass(240);
    fails_with_release(&mut s, &node(0));
    s.pass(120);
    fails_with_release(&mut s, &node(1));
    for i in 0..2 {
        // Whoever is emptied by hand is held for that, and no longer for the release.
        s.ask(&node(i), Wish::Destroy);
        s.pass(20);
    }
    s.ask(&node(0), Wish::Resume);
    s.pass(60);
    if s.fleet.releases["d1"].condemned.is_some() {
        assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail.word(), "release", "{}", s.text);
        s.ask(&node(0), Wish::Resume);
    }
    assert!(s.fleet.releases.get("d1").is_none_or(|standing| standing.condemned.is_none()), "{}", s.text);
}

#[test]
fn a_person_may_have_a_condemned_release_tried_again() {
    let mut s = Story::new(policy(2));
    s.boot();
    s.tell(release("d1"));
    s.pass(240);
    fails_with_release(&mut s, &node(0));
    s.pass(120);
    fails_with_release(&mut s, &node(1));
    assert_eq!((s.state(0).word(), s.state(1).word()), ("held", "held"), "{}", s.text);
    s.ask(&node(0), super::super::super::super::event::Wish::Resume);
    s.pass(60);
    s.fill(&node(0));
    assert_eq!(s.state(0).word(), "serving", "{}", s.text);
    assert!(s.fleet.releases["d1"].proven_at.is_some());
}

#[test]
fn each_culprit_is_found_by_comparing() {
    // The host: the others are healthy.
    let mut s = Story::serving(3);
    s.lose(&node(0));
    assert_eq!(culprits(&s), [Culprit::Host]);
    assert_eq!(s.fleet.blamed.len(), 1);

    // The keeper: nobody is healthy and most canaries are silent; a hand replaces all the same, and no machine is blamed.
    let mut s = Story::serving(1);
    s.policy.rails.canaries = vec!["http://127.0.0.1:1/".into()];
    s.fail_thrice(&node(0));
    s.tell(Event::SelfChecked(SelfCheck { at: Timestamp(s.now), answered: 0, asked: 1 }));
    s.status.insert(s.instance(&node(0)), Status::Running);
    for _ in 0..12 {
        s.fail(&node(0));
        s.pass(10);
    }
    assert_eq!(s.state(0).word(), "suspect", "the canaries say that it is us");

    // Nothing to compare with.
    let mut s = Story::serving(1);
    s.lose(&node(0));
    assert_eq!(culprits(&s), [Culprit::Unknown]);
    assert_eq!(s.fleet.blamed.len(), 1, "in doubt the machine is left for a day");

    // The provider's word outweighs any comparison.
    let mut s = Story::serving(2);
    let instance = s.instance(&node(0));
    s.status.insert(instance, Status::Offline);
    s.pass(60);
    s.fail_thrice(&node(0));
    assert_eq!(culprits(&s), [Culprit::Host]);
    let evidence = s.journal.iter().find_map(|entry| match &entry.record {
        Record::Attributed { evidence, .. } => Some(evidence.as_str()),
        _ => None,
    });
    assert!(evidence.unwrap().contains("the provider confirms"), "{evidence:?}");
}

/// A fleet that knows of these failures: machine, host, day.
fn struck(failures: &[(u64, u64, u64)]) -> Fleet {
    let mut fleet = Fleet::default();
    for (machine, host, day) in failures {
        let at = Timestamp(day * DAY);
        let machine = MachineId(*machine);
        let earlier = fleet.blamed.get(&machine).map_or(0, |blame| blame.counting(at));
        let days = if earlier + 1 >= ledger::REPEAT_OFFENDER { 30 } else { 1 };
        let record = Record::MachineBlamed {
            machine,
            host: HostId(*host),
            detail: "died".into(),
            until: at.after(Duration::from_secs(days * 24 * 3600)),
            node: None,
            instance: None,
            culprit: Culprit::Host,
        };
        fleet.apply(&Entry { at, record }).unwrap();
    }
    fleet
}

#[test]
fn failures_of_a_machine_add_up_within_a_month_and_fade_after_it() {
    let policy = policy(1);
    let excluded = |fleet: &Fleet, day: u64| {
        exclusions(fleet, &policy, Timestamp(day * DAY), [(MachineId(7), HostId(1))])
            .machines
            .contains_key(&MachineId(7))
    };
    let thrice = struck(&[(7, 1, 1), (7, 1, 5), (7, 1, 9)]);
    assert!(excluded(&thrice, 38) && !excluded(&thrice, 40), "the third within a month: a month");
    let spread = struck(&[(7, 1, 1), (7, 1, 5), (7, 1, 40)]);
    assert_eq!(spread.blamed[&MachineId(7)].count, 1, "two were forgotten");
    assert!(!excluded(&spread, 42), "a day");
}

#[test]
fn a_host_is_left_with_all_its_machines_once_two_of_them_failed() {
    let policy = policy(1);
    let others = [(MachineId(70), HostId(1)), (MachineId(71), HostId(2))];
    let hosts = |fleet: &Fleet, day: u64| exclusions(fleet, &policy, Timestamp(day * DAY), others).hosts;
    let one = struck(&[(7, 1, 1), (7, 1, 2)]);
    assert!(hosts(&one, 2).is_empty(), "one machine says nothing of the others");
    let two = struck(&[(7, 1, 1), (8, 1, 2), (9, 2, 2)]);
    assert_eq!(hosts(&two, 2).into_keys().collect::<Vec<_>>(), [HostId(1)]);
    assert!(hosts(&two, 3).is_empty(), "for a day");
    let three = struck(&[(7, 1, 1), (8, 1, 2), (7, 1, 3)]);
    assert!(!hosts(&three, 30).is_empty() && hosts(&three, 34).is_empty(), "from the third on for a month");
}

#[test]
fn a_ledger_carried_over_loses_nothing_and_cannot_exclude_for_ever() {
    let mut s = Story::serving(2);
    let now = s.now;
    let blame = |until: u64, at: u64| Blame {
        host: HostId(5),
        count: 1,
        detail: "never\u{7} came up".into(),
        until: Timestamp(until),
        strikes: vec![Strike {
            at: Timestamp(at),
            node: None,
            instance: None,
            detail: "never came up".into(),
            culprit: Culprit::Host,
        }],
    };
    let ledger = Export {
        machines: BTreeMap::from([
            (MachineId(1), blame(u64::MAX, u64::MAX)),
            (MachineId(2), blame(now + 1000, now - 1000)),
        ]),
        ..ledger::export(&s.fleet, Timestamp(now))
    };
    let wish = |ledger: &Export| LedgerWish::Import { ledger: ledger.clone() };
    s.tell(Event::LedgerAsked { wish: wish(&ledger), by: "ann".into() });
    assert_eq!(s.last.reply, Some(Reply::Accepted("2 machines were taken over".into())));
    let taken = &s.fleet.blamed[&MachineId(1)];
    assert_eq!(taken.until, Timestamp(now).after(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!((taken.detail.as_str(), taken.strikes[0].at), ("never came up", Timestamp(now)));
    s.tell(Event::LedgerAsked { wish: wish(&ledger), by: "ann".into() });
    assert!(matches!(&s.last.reply, Some(Reply::NothingToDo(_))), "{:?}", s.last.reply);
    let newer = Export { version: 2, ..ledger };
    s.tell(Event::LedgerAsked { wish: wish(&newer), by: "ann".into() });
    assert!(matches!(&s.last.reply, Some(Reply::Refused(why)) if why.contains("version 2")));

    let forgive = || LedgerWish::Forgive { machine: MachineId(1) };
    s.tell(Event::LedgerAsked { wish: forgive(), by: "ann".into() });
    assert!(!s.fleet.blamed.contains_key(&MachineId(1)));
    s.tell(Event::LedgerAsked { wish: forgive(), by: "ann".into() });
    assert!(matches!(&s.last.reply, Some(Reply::NothingToDo(_))));
}

#[test]
fn a_record_of_an_older_keeper_is_still_read() {
    let old = r#"{"kind":"machine-blamed","machine":3,"host":4,"detail":"died","until":99}"#;
    let record: Record = serde_json::from_str(old).unwrap();
    assert!(matches!(record, Record::MachineBlamed { node: None, culprit: Culprit::Unknown, .. }));
    let old = r#"{"kind":"held","node":"duel-0","reason":{"reason":"release-at-fault","detail":"x"}}"#;
    assert!(serde_json::from_str::<Record>(old).is_ok());
    let snapshot = r#"{"host":4,"count":2,"detail":"died","until":99}"#;
    let blame: Blame = serde_json::from_str(snapshot).unwrap();
    assert_eq!(blame.counting(Timestamp(100)), 2);
}

#[test]
fn a_condemned_release_holds_only_the_nodes_that_tried_it() {
    let mut policy = policy(3);
    policy.rails.unproven_boxes = 3;
    let mut s = Story::new(policy);
    s.boot();
    s.tell(release("bad"));
    s.pass(240);
    // The third node's box never came up: that was no fault of the release.
    s.searched(&node(2));
    let broken = s.next_instance();
    s.answered(&node(2), CreateAnswer::CreatedBroken(broken, "bid too low".into()));
    s.destroyed(broken);
    fails_with_release(&mut s, &node(0));
    fails_with_release(&mut s, &node(1));
    assert_eq!((s.state(0).word(), s.state(1).word()), ("held", "held"));
    s.pass(120);
    assert_eq!(s.state(2).word(), "recovering", "it never saw the release");
    assert_eq!(
        s.memory.desk(&node(2)).blocked.as_ref().unwrap().rail,
        Rail::Release,
        "and is not rented for"
    );
    s.tell(release("good"));
    s.pass(30);
    s.fill(&node(2));
    assert_eq!(s.state(2).word(), "serving");
}

#[test]
fn the_first_message_and_why_say_who_is_most_likely_at_fault() {
    let mut s = Story::serving(3);
    s.fail(&node(0));
    s.fail(&node(0));
    let why = |s: &Story, i| {
        let now = Timestamp(s.now);
        super::super::super::super::why::why(&node(i), &s.fleet, &s.memory, &s.policy, now).unwrap()
    };
    assert_eq!(why(&s, 0).fault.unwrap().culprit, Culprit::Host);
    assert_eq!(why(&s, 1).fault, None, "nothing speaks for a fault");
    s.fail(&node(0));
    let facts = &s.last.notices.first().expect("the incident is told").facts;
    let fault = facts.iter().find(|(name, _)| name == "likely at fault").map(|(_, text)| text.as_str());
    assert_eq!(fault, Some("host: the same release serves on 2 other hosts"), "{facts:?}");
}

#[test]
fn a_failing_box_that_was_given_a_release_does_not_prove_it() {
    let mut policy = policy(3);
    for spec in policy.nodes.values_mut() {
        std::sync::Arc::make_mut(spec).ladder = vec![Rung::Redeploy, Rung::Replace];
    }
    let mut s = Story::serving_with(policy);
    s.tell(release("d2"));
    s.lose(&node(0));
    assert_eq!(s.state(0).word(), "remedying");
    let given = ReleaseRef { digest: "d2".into(), commit: "c".into() };
    s.remedied(&node(0), Rung::Redeploy, Ok(Some(given)));
    assert!(!s.fleet.is_proven("d2"), "nobody has seen it serve yet");
    s.pass(5);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
    assert!(s.fleet.is_proven("d2"));
}

/// Four boxes are on their way up when a release is wanted that was never seen serving.
fn wanted_while_four_come_up() -> Story {
    let mut s = Story::new(policy(4));
    s.boot();
    s.pass(240);
    for i in 0..4 {
        s.searched(&node(i));
        let instance = s.next_instance();
        s.answered(&node(i), CreateAnswer::Created(instance));
    }
    s.tell(release("bad"));
    s.pass(20);
    s
}

fn working(s: &Story) -> Vec<bool> {
    (0..4).map(|i| s.memory.desks.get(&node(i)).is_some_and(|desk| desk.working)).collect()
}

#[test]
fn a_release_that_is_wanted_while_boxes_come_up_reaches_two_of_them_first() {
    let mut s = wanted_while_four_come_up();
    assert_eq!(working(&s), [true, true, false, false]);
    assert_eq!(s.memory.desk(&node(2)).blocked.as_ref().unwrap().rail, Rail::Unproven);
    fail_alike(&mut s);
    s.pass(1000);
    assert_eq!(working(&s)[2..], [false, false], "it is condemned by now");
    assert_eq!(s.memory.desk(&node(2)).blocked.as_ref().unwrap().rail, Rail::Release);

    // Another one, and the boxes that waited longer than a deploy may take are no worse for it.
    s.tell(release("good"));
    assert_eq!(working(&s)[2..], [true, true]);
    for i in 2..4 {
        s.deployed(&node(i));
        s.pass(1);
        s.ok(&node(i));
        s.ok(&node(i));
        assert_eq!(s.state(i).word(), "serving");
    }
    assert_eq!(dooms(&s).len(), 2, "{:?}", dooms(&s));
}

#[test]
fn what_was_brought_is_blamed_and_not_what_is_wanted_by_then() {
    let mut s = wanted_while_four_come_up();
    s.tell(release("good"));
    fail_alike(&mut s);
    let failed = s.journal.iter().filter_map(|entry| match &entry.record {
        Record::ReleaseFailed { digest, .. } => Some(digest.as_str()),
        _ => None,
    });
    assert_eq!(failed.collect::<Vec<_>>(), ["bad", "bad"]);
    assert!(s.fleet.releases.get("good").is_none_or(|standing| standing.condemned.is_none()));
    assert!(s.fleet.releases["bad"].condemned.is_some());
}

/// Why boxes were condemned, those included that are gone by now.
fn dooms(s: &Story) -> Vec<&DoomReason> {
    fn of(entry: &Entry) -> Option<&DoomReason> {
        match &entry.record {
            Record::Doomed { reason, .. } => Some(reason),
            _ => None,
        }
    }
    s.journal.iter().filter_map(of).collect()
}

#[test]
fn a_box_waits_while_a_keeper_that_just_started_reads_its_release() {
    let mut s = wanted_while_four_come_up();
    s.restart(s.journal.len());
    s.memory.release_missing = Some("it is being prepared".into());
    s.pass(60);
    assert_eq!(working(&s), [false; 4], "nobody knows yet whether it was ever seen serving");
    assert_eq!(s.memory.desk(&node(0)).blocked.as_ref().unwrap().rail, Rail::Release);
    s.tell(release("bad"));
    s.pass(10);
    assert_eq!(working(&s), [true, true, false, false]);
}

#[test]
fn a_box_does_not_wait_for_a_release_for_ever() {
    let mut s = wanted_while_four_come_up();
    fail_alike(&mut s);
    s.pass(1000);
    assert_eq!((s.state(2).word(), dooms(&s).len()), ("recovering", 2));
    s.pass(1000);
    for i in 2..4 {
        assert_eq!(s.state(i).word(), "held");
    }
    let unneeded = |reason: &&&DoomReason| matches!(reason, DoomReason::Unneeded { .. });
    assert_eq!(dooms(&s).iter().filter(unneeded).count(), 2, "{:?}", dooms(&s));
    assert!(s.fleet.blamed.len() <= 1, "no machine is blamed for it: {:?}", s.fleet.blamed);
}
