//! Create-first: the tenant keeps its node until a newcomer has proven itself beside it.

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            breaker::Position,
            event::{Event, Wish},
            journal::ReleaseRef,
            policy::{Policy, ReplaceOrder},
            provider::{CreateAnswer, Status},
            units::Money,
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

fn create_first(nodes: usize) -> Policy {
    let mut policy = policy(nodes);
    for spec in policy.nodes.values_mut() {
        std::sync::Arc::make_mut(spec).order = ReplaceOrder::CreateFirst;
    }
    policy
}

/// A fleet of three whose first node is being replaced create-first, with its create under way.
fn replacing() -> Story {
    let mut s = Story::serving_with(create_first(3));
    s.lose(&node(0));
    s.searched(&node(0));
    s
}

#[test]
fn the_tenant_is_kept_until_the_newcomer_has_proven_itself() {
    let mut s = Story::serving_with(create_first(3));
    let old = s.lose(&node(0));
    s.fill(&node(0));
    s.destroyed(old);
    s.pass(100);
    assert_ne!(s.instance(&node(0)), old);
    assert_snapshot!(s.read());
}

#[test]
fn a_comeback_calls_the_replacement_off_and_the_newcomer_is_condemned() {
    let mut s = replacing();
    let old = s.tenant(&node(0)).instance;
    s.answered(&node(0), CreateAnswer::Created(super::super::super::super::name::InstanceId(104)));
    s.pass(20);
    s.fail(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "recovering", "one healthy answer is not enough");
    s.ok(&node(0));
    assert_eq!(s.instance(&node(0)), old);
    // Its deploy ends all the same, and changes nothing.
    s.pass(40);
    assert_snapshot!(s.read());
}

#[test]
fn what_a_newcomer_failed_with_is_not_what_a_tenant_of_unknown_release_serves() {
    let mut s = Story::serving_with(create_first(3));
    // As if it had been taken over.
    for fleet in [&mut s.fleet, &mut s.folded] {
        fleet.nodes.get_mut(&node(0)).unwrap().release = None;
    }
    let old = s.lose(&node(0));
    s.searched(&node(0));
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.pass(20);
    let release = ReleaseRef { digest: "bad".into(), commit: "c".into() };
    s.tell(Event::DeployEnded { node: node(0), instance, result: Ok(release) });
    while s.fleet.doomed.is_empty() {
        s.fail(&node(0));
        s.pass(10);
        assert!(s.text.len() < 100_000, "{}", s.text);
    }
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!((s.state(0).word(), s.instance(&node(0))), ("serving", old), "{}", s.text);
    assert!(!s.fleet.is_proven("bad"), "it was never seen serving: {}", s.text);
}

#[test]
fn nothing_more_is_rented_while_the_old_one_seems_to_come_back() {
    let mut s = Story::serving_with(create_first(3));
    s.lose(&node(0));
    s.ok(&node(0));
    s.searched(&node(0));
    assert!(!s.text.contains("do       create"), "one good answer holds the rental back: {}", s.text);
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert!(blocked.why.contains("answers well again"), "{}", blocked.why);
    // It was nothing: the replacement goes on.
    s.fail(&node(0));
    s.pass(60);
    s.searched(&node(0));
    assert!(s.text.contains("create"), "{}", s.text);
}

#[test]
fn a_create_in_doubt_is_settled_before_the_comeback_counts() {
    let mut s = replacing();
    let (op, old) = (s.op(&node(0)), s.tenant(&node(0)).instance);
    s.answered(&node(0), CreateAnswer::Ambiguous("reset".into()));
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "recovering");
    let late = super::super::super::super::name::InstanceId(104);
    s.extra.push(row(late, Some(format!("vk:test:duel-0:{op}"))));
    s.pass(20);
    assert_eq!(s.instance(&node(0)), old);
    assert!(s.fleet.doomed.contains_key(&late), "{}", s.text);
}

#[test]
fn a_newcomer_that_fails_costs_itself_alone_and_the_node_is_held_with_its_tenant() {
    let mut policy = create_first(3);
    policy.rails.attempts = 1;
    let mut s = Story::serving_with(policy);
    let old = s.lose(&node(0));
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.pass(20);
    s.deployed(&node(0));
    s.fail(&node(0));
    s.pass(320);
    assert_eq!(s.state(0).word(), "held");
    assert_eq!(s.instance(&node(0)), old, "what the node has it keeps");
    assert!(s.fleet.doomed.contains_key(&new) && !s.fleet.doomed.contains_key(&old));
    // And when that comes back, nobody needs to look any more.
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving");
    assert_snapshot!(s.read());
}

#[test]
fn a_newcomer_that_never_came_up_takes_nothing_from_what_is_known_of_the_tenant() {
    let mut s = Story::serving_with(create_first(6));
    s.lose(&node(0));
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    for i in 0..3 {
        s.fail(&node(i));
        s.fail(&node(i));
    }
    s.fail(&node(2));
    assert_eq!(s.fleet.breaker, Position::Slow, "{}", s.text);
    s.status.insert(new, Status::Broken);
    s.pass(20);
    assert!(s.fleet.doomed.contains_key(&new), "{}", s.text);
    assert_eq!(s.memory.watches[&node(0)].failures, 2, "the tenant fails as before");
    assert_eq!(s.fleet.breaker, Position::Slow, "three of six are still many");
}

#[test]
fn by_hand_a_healthy_tenant_is_replaced_without_a_gap_and_its_health_calls_nothing_off() {
    let mut s = Story::serving_with(create_first(2));
    let old = s.instance(&node(0));
    s.ask(&node(0), Wish::Reprovision);
    s.ok(&node(0));
    s.ok(&node(0));
    s.searched(&node(0));
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.ok(&node(0));
    s.pass(20);
    s.deployed(&node(0));
    s.ok(&node(0));
    assert!(!s.fleet.doomed.contains_key(&old), "not before the newcomer has proven itself");
    s.ok(&node(0));
    assert!(s.fleet.doomed.contains_key(&old));
    assert_eq!(s.instance(&node(0)), new);
    assert_snapshot!(s.read());
}

#[test]
fn both_are_paid_for_so_the_rails_count_both() {
    let mut policy = create_first(2);
    // Room for two boxes at $0.35, not for a third beside them.
    policy.rails.dollars_per_hour = Some(Money(1_000_000));
    let mut s = Story::serving_with(policy);
    s.lose(&node(0));
    assert_eq!(s.state(0).word(), "recovering");
    s.searched(&node(0));
    assert!(s.state(0).claim().is_none(), "{}", s.text);
    assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail.word(), "dollars-per-hour");
}

#[test]
fn every_crash_point_leads_to_one_of_the_two() {
    let mut whole = Story::serving_with(create_first(2));
    let begin = whole.journal.len();
    let old = whole.lose(&node(0));
    whole.fill(&node(0));
    let journal = whole.journal.clone();
    for kept in begin..=journal.len() {
        let mut s = Story::serving_with(create_first(2));
        s.journal = journal.clone();
        s.now = whole.now;
        s.restart(kept);
        s.pass(120);
        let claims: Vec<_> = s.fleet.nodes[&node(0)].state.claims().map(|(_, id)| id).collect();
        assert!(!claims.is_empty(), "after {kept} of {} records the node forgot both", journal.len());
        let condemned = s.fleet.doomed.contains_key(&old);
        assert!(condemned || claims.contains(&Some(old)), "after {kept} records {old} leaked");
    }
}

#[test]
fn a_destroy_by_hand_takes_both() {
    let mut s = replacing();
    let old = s.tenant(&node(0)).instance;
    s.ask(&node(0), Wish::Destroy);
    assert!(s.fleet.doomed.is_empty(), "a create in doubt comes first");
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.ask(&node(0), Wish::Destroy);
    assert!(s.fleet.doomed.contains_key(&old) && s.fleet.doomed.contains_key(&new));
    assert_eq!(s.state(0).claims().count(), 0);
}

#[test]
fn a_word_of_the_old_box_says_nothing_of_the_newcomer_on_probation() {
    let mut s = replacing();
    let old = s.tenant(&node(0)).instance;
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    s.pass(20);
    s.deployed(&node(0));
    let asked_at = super::super::super::super::units::Timestamp(s.now);
    let word = Word::Down("late".into());
    s.tell(Event::Witnessed { node: node(0), instance: old, asked_at, word });
    assert!(s.memory.watches[&node(0)].ssh.is_none());
}

/// A newcomer beside the tenant was given release `d2`, and its server never serves.
fn given_another_release() -> Story {
    let mut s = replacing();
    s.tell(Event::ReleasePrepared(Ok(release("d2"))));
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.pass(20);
    s.tell(Event::DeployEnded { node: node(0), instance, result: Ok(release("d2")) });
    s
}

fn release(digest: &str) -> ReleaseRef {
    ReleaseRef { digest: digest.into(), commit: "c".into() }
}

#[test]
fn a_release_is_not_proven_by_a_newcomer_that_has_still_to_prove_itself() {
    let mut s = given_another_release();
    assert_eq!(s.state(0).word(), "recovering");
    assert!(!s.fleet.is_proven("d2"), "the tenant that is kept beside it runs another");
    s.ok(&node(0));
    s.ok(&node(0));
    assert!(s.fleet.is_proven("d2"));
}

#[test]
fn a_tenant_that_is_kept_keeps_its_release_on_record_when_the_newcomer_fails() {
    let mut s = given_another_release();
    let newcomer = s.instance(&node(0));
    while s.fleet.doomed.is_empty() {
        s.fail(&node(0));
        s.pass(10);
    }
    s.destroyed(newcomer);
    let on_record =
        |s: &Story| s.fleet.nodes[&node(0)].release.as_ref().map(|release| release.digest.clone());
    assert_eq!(on_record(&s).as_deref(), Some("d1"));
    s.pass(20);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.state(0).word(), "serving", "the tenant came back");
    assert_eq!(on_record(&s).as_deref(), Some("d1"));
    assert!(!s.fleet.is_proven("d2"), "what never served anywhere is tried on few boxes still");
}
