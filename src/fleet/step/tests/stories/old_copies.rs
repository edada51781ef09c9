//! A journal that comes from a copy of hours ago believes what was true then: nothing that serves by now is condemned, and
//! nothing rented beside it.

use std::time::Duration;

use super::{
    super::{
        super::super::{
            event::{Event, WorkFault},
            guard::Rail,
            name::{InstanceId, OpId},
            probe::{Failure, Verdict},
            provider::{CreateAnswer, Rental, Status},
        },
        story::row,
    },
    Story, node, policy,
    spares::{spare, with_spare},
};

const HOURS: u64 = 2 * 3_600_000;

pub(super) fn nothing_was_changed(s: &Story) {
    for word in ["do       create", "do       destroy", "do       search"] {
        assert!(!s.text.contains(word), "{}", s.text);
    }
    assert!(!s.text.contains("illegal"), "{}", s.text);
}

/// A box of ours with this node's label.
pub(super) fn labelled(id: InstanceId, label: &str, op: &OpId) -> Rental {
    row(id, Some(format!("vk:test:{label}:{op}")))
}

/// The copy is brought back hours later.
pub(super) fn bring_back(s: &mut Story, kept: usize) {
    s.now += HOURS;
    s.restart(kept);
    s.start_telling();
}

/// How far a newcomer was when the copy was made.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Copied {
    Unanswered,
    Booting,
    Deploying,
    Probation,
}

/// A fleet of one whose newcomer was so far when the copy was made.
fn newcomer(copied: Copied) -> (Story, InstanceId) {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(240);
    s.searched(&node(0));
    let (mut kept, op, instance) = (s.journal.len(), s.op(&node(0)), s.next_instance());
    s.answered(&node(0), CreateAnswer::Created(instance));
    if copied != Copied::Unanswered {
        kept = s.journal.len();
    }
    s.pass(20);
    if matches!(copied, Copied::Deploying | Copied::Probation) {
        kept = s.journal.len();
    }
    s.deployed(&node(0));
    if copied == Copied::Probation {
        kept = s.journal.len();
    }
    s.extra.push(labelled(instance, "duel-0", &op));
    bring_back(&mut s, kept);
    s.pass(1);
    (s, instance)
}

const DEFAULT_BOOT: Duration = Duration::from_secs(1200);

/// A newcomer that the copy shows as booting, and lists as not up ever since that was brought back.
fn down_since(status: Status, boot: Duration) -> (Story, InstanceId) {
    let (mut s, instance) = newcomer(Copied::Booting);
    // The first list showed it running; the copy is brought back once more.
    let kept = s.journal.iter().position(|entry| entry.record.kind() == "created").unwrap() + 1;
    let spec = s.policy.nodes.get_mut(&node(0)).unwrap();
    std::sync::Arc::make_mut(spec).deadlines.boot = boot;
    s.status.insert(instance, status);
    bring_back(&mut s, kept);
    (s, instance)
}

/// Its deploy failed, and it was let go of.
fn let_go() -> (Story, InstanceId) {
    let (mut s, instance) = newcomer(Copied::Deploying);
    s.pass(20);
    let fault = WorkFault::Box("the disk is full".into());
    s.tell(Event::DeployEnded { node: node(0), instance, result: Err(fault) });
    s.pass(60);
    assert!(s.fleet.let_go.contains(&instance), "{}", s.text);
    (s, instance)
}

const ALL: [Copied; 4] = [Copied::Unanswered, Copied::Booting, Copied::Deploying, Copied::Probation];

#[test]
fn what_was_on_its_way_and_answers_is_adopted() {
    for copied in ALL {
        let (mut s, instance) = newcomer(copied);
        s.pass(40);
        s.deployed(&node(0));
        s.ok(&node(0));
        s.ok(&node(0));
        assert_eq!(
            (s.state(0).word(), s.instance(&node(0))),
            ("serving", instance),
            "{copied:?}: {}",
            s.text
        );
        nothing_was_changed(&s);
    }
}

#[test]
fn what_was_on_its_way_may_serve_so_that_lists_and_a_failing_deploy_condemn_it_no_more() {
    for copied in ALL {
        let (mut s, instance) = newcomer(copied);
        s.pass(20);
        // Lists lack it for a minute, or call it dead.
        s.absent.insert(instance);
        s.pass(60);
        s.absent.clear();
        s.status.insert(instance, Status::Offline);
        s.pass(60);
        // Its host restarts it.
        s.status.insert(instance, Status::Starting);
        s.pass(40);
        s.status.clear();
        s.pass(20);
        assert_eq!(s.instance(&node(0)), instance, "{copied:?}: {}", s.text);
        let fault = WorkFault::Box("the disk is full".into());
        s.tell(Event::DeployEnded { node: node(0), instance, result: Err(fault) });
        for _ in 0..40 {
            s.probed(&node(0), Verdict::Failing(Failure::Impostor { got: None }));
            s.pass(10);
        }
        s.pass(3600);
        assert_eq!(s.state(0).word(), "vacant", "{copied:?}: {}", s.text);
        nothing_was_changed(&s);
        assert!(s.fleet.doomed.is_empty() && s.fleet.unknown.contains_key(&instance));
        assert_eq!(s.text.matches("is not seen to serve").count(), 1, "{copied:?}: {}", s.text);
        // Once a person ended it, another one is rented.
        s.extra.clear();
        s.pass(400);
        assert!(s.text.contains("do       search"), "{copied:?}: {}", s.text);
    }
}

#[test]
fn what_the_provider_never_saw_running_is_given_up_as_ever() {
    let (mut s, instance) = down_since(Status::Starting, DEFAULT_BOOT);
    s.pass(1300);
    assert!(s.fleet.doomed.contains_key(&instance), "{}", s.text);
}

#[test]
fn what_may_serve_is_let_go_and_not_destroyed_where_the_provider_calls_it_offline_all_the_time() {
    let (mut s, instance) = down_since(Status::Offline, DEFAULT_BOOT);
    s.pass(1300);
    assert!(s.fleet.doomed.is_empty() && s.fleet.let_go.contains(&instance), "{}", s.text);
    nothing_was_changed(&s);
}

#[test]
fn what_was_let_go_and_is_not_taken_over_either_stays_on_the_bill_and_in_the_way_of_its_own_node() {
    let (mut s, instance) = let_go();
    s.pass(300);
    s.policy.import = true;
    let journal = s.journal.len();
    s.restart(journal);
    s.pass(60);
    assert_eq!(s.state(0).word(), "recovering", "on probation: {}", s.text);
    for _ in 0..40 {
        s.probed(&node(0), Verdict::Failing(Failure::Impostor { got: None }));
        s.pass(10);
    }
    assert_eq!(s.state(0).word(), "vacant", "{}", s.text);
    assert!(s.fleet.let_go.contains(&instance) && s.fleet.bills[&instance].to.is_none(), "{}", s.text);
    nothing_was_changed(&s);
}

#[test]
fn what_was_let_go_is_in_the_way_of_the_node_that_its_label_names() {
    let mut s = Story::new(with_spare(1));
    s.boot();
    s.pass(360);
    s.fill(&node(0));
    s.searched(&spare());
    let instance = s.next_instance();
    s.answered(&spare(), CreateAnswer::Created(instance));
    let (kept, op) = (s.journal.len(), s.op(&spare()));
    // It was promoted since, so that it is the first node's by its label.
    let mut shown = labelled(instance, "duel-0", &op);
    s.extra.push(shown.clone());
    bring_back(&mut s, kept);
    s.pass(20);
    s.tell(Event::DeployEnded {
        node: spare(),
        instance,
        result: Err(WorkFault::Box("the disk is full".into())),
    });
    s.pass(40);
    assert_eq!(s.fleet.unknown.get(&instance), Some(&node(0)), "{}", s.text);
    assert!(s.fleet.let_go.contains(&instance), "{}", s.text);
    // A spare's label is no news.
    shown.label = Some(format!("vk:test:{}:{op}", spare()));
    s.extra = vec![shown];
    s.pass(40);
    assert_eq!(s.fleet.unknown.get(&instance), Some(&node(0)), "{}", s.text);
}

#[test]
fn a_keeper_that_is_restarted_while_a_box_boots_for_long_does_not_doubt_its_journal() {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(240);
    s.searched(&node(0));
    let instance = s.next_instance();
    s.status.insert(instance, Status::Starting);
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.beats = true;
    s.pass(1000);
    let journal = s.journal.len();
    s.now += 5_000;
    s.restart(journal);
    assert!(!s.fleet.doubted, "{}", s.text);
    s.status.insert(instance, Status::Offline);
    s.pass(120);
    assert!(s.fleet.doomed.contains_key(&instance), "{}", s.text);
}

#[test]
fn what_boots_for_long_after_a_doubt_and_then_dies_is_given_up_as_ever() {
    let (mut s, instance) = down_since(Status::Starting, DEFAULT_BOOT);
    s.pass(500);
    s.status.insert(instance, Status::Offline);
    s.pass(120);
    assert!(s.fleet.doomed.contains_key(&instance), "{}", s.text);
}

#[test]
fn two_lists_with_an_outage_between_them_prove_no_long_boot() {
    let (mut s, _) = down_since(Status::Starting, DEFAULT_BOOT);
    s.pass(20);
    s.lists_fail = true;
    s.pass(900);
    s.lists_fail = false;
    s.pass(100);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
}

#[test]
fn what_comes_back_at_the_deadline_of_its_boot_is_not_destroyed() {
    let (mut s, instance) = down_since(Status::Offline, DEFAULT_BOOT);
    s.pass(590);
    s.status.insert(instance, Status::Starting);
    s.pass(100);
    s.status.clear();
    s.pass(3600);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    nothing_was_changed(&s);
}

#[test]
fn what_was_let_go_keeps_its_own_node_alone_from_renting() {
    let (mut s, instance) = let_go();
    s.policy = policy(2);
    s.tell(Event::PolicyChanged);
    s.pass(300);
    assert!(!s.fleet.doubted, "{}", s.text);
    assert!(s.text.contains("duel-1") && s.text.contains("do       search"), "{}", s.text);
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert!(matches!(blocked.rail, Rail::Import | Rail::Outstanding), "{blocked:?}");
    assert!(s.fleet.bills[&instance].to.is_none(), "it goes on costing");
    s.extra.clear();
    s.pass(400);
    assert!(s.fleet.bills[&instance].to.is_some() && s.fleet.let_go.is_empty(), "{}", s.text);
}

#[test]
fn a_create_that_lists_deny_by_a_lie_leaves_its_box_to_a_person() {
    let (mut s, instance) = newcomer(Copied::Unanswered);
    let journal = s.journal.iter().rposition(|entry| entry.record.kind() == "intent").unwrap() + 1;
    s.absent.insert(instance);
    s.restart(journal);
    s.start_telling();
    s.pass(170);
    nothing_was_changed(&s);
    s.pass(60);
    s.absent.clear();
    s.pass(3600);
    assert!(s.fleet.doomed.is_empty() && !s.text.contains("do       destroy"), "{}", s.text);
    assert_eq!(s.text.matches("the journal does not know it").count(), 1, "{}", s.text);
}

#[test]
fn boxes_that_died_while_the_keeper_was_down_are_replaced_within_minutes() {
    let mut s = Story::serving(4);
    let journal = s.journal.len();
    let dead = [s.instance(&node(0)), s.instance(&node(1))];
    s.absent.extend(dead);
    bring_back(&mut s, journal);
    for _ in 0..40 {
        s.fail(&node(0));
        s.fail(&node(1));
        s.pass(5);
        s.ok(&node(2));
        s.ok(&node(3));
        s.pass(5);
    }
    assert!(!s.fleet.doubted, "{}", s.text);
    assert!(dead.iter().any(|id| s.fleet.doomed.contains_key(id)), "{}", s.text);
}

#[test]
fn lists_that_lack_what_answers_settle_no_doubt() {
    let mut s = Story::serving(3);
    let rows = s.rows();
    let adopted = |entry: &super::super::super::super::journal::Entry| entry.record.kind() == "adopted";
    let kept = s.journal.iter().enumerate().filter(|(_, entry)| adopted(entry)).nth(1).unwrap().0 + 1;
    bring_back(&mut s, kept);
    // All boxes serve, and lists are another account's.
    s.absent.extend(rows.iter().map(|row| row.id));
    for _ in 0..150 {
        s.ok(&node(0));
        s.ok(&node(1));
        s.pass(10);
    }
    nothing_was_changed(&s);
    assert!(s.fleet.doubted, "{}", s.text);
    s.absent.clear();
    s.extra = rows;
    s.pass(3600);
    nothing_was_changed(&s);
    assert_eq!(s.memory.desks[&node(2)].blocked.as_ref().unwrap().rail, Rail::Import, "{}", s.text);
}

#[test]
fn the_time_in_which_lists_lacked_several_counts_for_none_of_them() {
    let mut s = Story::serving(2);
    s.policy = policy(3);
    s.extra.push(labelled(InstanceId(600), "duel-2", &OpId::from_bits(78)));
    s.list();
    s.tell(Event::PolicyChanged);
    s.start_telling();
    // The stranger and the first node's box are missing together, then the stranger alone.
    let both = [InstanceId(600), s.instance(&node(0))];
    s.absent.extend(both);
    for _ in 0..60 {
        s.ok(&node(0));
        s.ok(&node(1));
        s.pass(10);
    }
    s.absent.remove(&both[1]);
    s.pass(100);
    assert!(s.fleet.unknown.contains_key(&both[0]), "{}", s.text);
    nothing_was_changed(&s);
    s.pass(120);
    assert!(!s.fleet.unknown.contains_key(&both[0]), "{}", s.text);
}

#[test]
fn failures_of_before_a_node_left_the_configuration_count_no_more_when_it_is_back() {
    let mut s = Story::serving(3);
    s.fail_thrice(&node(0));
    s.fail_thrice(&node(0));
    let spec = s.policy.nodes.remove(&node(0)).unwrap();
    s.tell(Event::PolicyChanged);
    s.pass(600);
    s.policy.nodes.insert(node(0), spec);
    s.tell(Event::PolicyChanged);
    s.fail(&node(0));
    assert_eq!(s.memory.watches[&node(0)].failures, 1);
}

#[test]
fn a_halt_begins_the_agreement_of_lists_anew_and_lateness_drops_none() {
    let mut lists = super::super::super::super::lists::Lists::default();
    let now = super::super::super::super::units::Timestamp(1_000_000);
    lists.count(now, false);
    lists.start_over(now, Duration::ZERO);
    assert_eq!((lists.steady, lists.steady_from, lists.valid_from.0), (0, None, 0));
    lists.start_over(now, Duration::from_secs(60));
    assert_eq!(lists.valid_from, now);
}

#[test]
fn what_was_let_go_and_loses_its_label_keeps_its_node_from_renting() {
    for label in [None, Some(String::new())] {
        let (mut s, instance) = let_go();
        s.extra = vec![row(instance, label)];
        s.pass(3600);
        nothing_was_changed(&s);
        assert!(s.fleet.let_go.contains(&instance) && s.fleet.bills[&instance].to.is_none(), "{}", s.text);
        // Under somebody else's label it is somebody else's.
        s.extra = vec![row(instance, Some("another's".into()))];
        s.pass(400);
        assert!(s.fleet.let_go.is_empty() && s.text.contains("do       search"), "{}", s.text);
    }
}

#[test]
fn what_was_let_go_and_comes_back_after_lists_denied_it_is_told_again() {
    let (mut s, instance) = let_go();
    s.absent.insert(instance);
    s.pass(400);
    assert!(s.fleet.let_go.is_empty(), "{}", s.text);
    assert_eq!(s.text.matches("the journal does not know it").count(), 1, "{}", s.text);
    s.absent.clear();
    s.pass(60);
    assert_eq!(s.text.matches("the journal does not know it").count(), 2, "{}", s.text);
}

#[test]
fn what_never_comes_up_after_a_doubt_is_given_up_under_a_short_deadline_too() {
    let (mut s, instance) = down_since(Status::Starting, Duration::from_secs(300));
    s.pass(900);
    assert!(s.fleet.doomed.contains_key(&instance), "{}", s.text);
}

#[test]
fn a_box_that_its_host_starts_anew_is_not_given_up_for_a_short_deadline() {
    let (mut s, _) = down_since(Status::Starting, Duration::from_secs(300));
    s.pass(160);
    s.status.clear();
    s.pass(600);
    assert!(s.fleet.doomed.is_empty(), "{}", s.text);
    nothing_was_changed(&s);
}
