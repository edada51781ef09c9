//! The rails that count: rentals, recoveries, dollars, credit, time.

use insta::assert_snapshot;

use super::{
    super::super::super::{
        event::{Event, Wish},
        journal::ReleaseRef,
        provider::Credit,
        units::{Money, Timestamp},
        watch::Word,
    },
    Story, node, policy,
};

fn replace(s: &mut Story, i: usize) {
    let old = s.lose(&node(i));
    s.destroyed(old);
    s.fill(&node(i));
}

#[test]
fn a_node_is_not_replaced_twice_in_a_row() {
    let mut s = Story::serving(3);
    replace(&mut s, 0);
    s.start_telling();
    s.lose(&node(0));
    for _ in 0..3 {
        s.pass(20);
        s.fail(&node(0));
        s.witness(&node(0), Word::Down("no answer on its own port".into()));
    }
    assert_eq!(s.state(0).word(), "suspect");
    for _ in 0..60 {
        s.pass(30);
        s.fail(&node(0));
        if s.state(0).word() == "suspect" {
            s.witness(&node(0), Word::Down("no answer on its own port".into()));
        }
    }
    assert_snapshot!(s.read());
}

#[test]
fn nothing_is_destroyed_that_could_not_be_replaced() {
    let mut policy = policy(3);
    policy.rails.cooldown = std::time::Duration::ZERO;
    let mut s = Story::serving_with(policy);
    replace(&mut s, 0);
    s.pass(60);
    replace(&mut s, 0);
    s.pass(60);
    s.start_telling();
    s.lose(&node(0));
    for _ in 0..6 {
        s.pass(10);
        s.fail(&node(0));
        s.witness(&node(0), Word::Down("no answer on its own port".into()));
    }
    assert_snapshot!(s.read());
}

#[test]
fn the_fleets_hourly_cap_counts_what_is_still_to_be_rented() {
    let mut policy = policy(5);
    policy.rails.fleet_hourly = 2;
    policy.rails.parallel = Some(5);
    policy.rails.breaker_count = 9;
    let mut s = Story::serving_with(policy);
    for i in 0..3 {
        s.lose(&node(i));
        s.ok(&node(4));
    }
    let doomed = s.fleet.doomed.len();
    assert_eq!(doomed, 2, "the third would have no replacement within the hour");
    s.pass(40);
    for _ in 0..3 {
        s.fail(&node(2));
        s.witness(&node(2), Word::Down("no answer on its own port".into()));
        s.pass(20);
    }
    assert!(s.text.contains("the rail `fleet-hourly`"), "{}", s.text);
}

#[test]
fn only_so_many_recover_at_once() {
    let mut policy = policy(5);
    policy.rails.breaker_count = 9;
    let mut s = Story::serving_with(policy);
    for i in 0..3 {
        s.lose(&node(i));
        s.ok(&node(4));
    }
    assert_eq!(s.fleet.doomed.len(), 2);
    assert_eq!(s.memory.desks[&node(2)].blocked.as_ref().unwrap().rail.word(), "parallel");
}

#[test]
fn dollars_per_hour_and_per_day_stop_a_rental() {
    for (hour, day) in [(Some(Money(800_000)), None), (None, Some(Money(1_000_000)))] {
        let mut policy = policy(3);
        policy.rails.dollars_per_hour = hour;
        policy.rails.dollars_per_day = day;
        let mut s = Story::new(policy);
        s.boot();
        s.pass(240);
        s.fill(&node(0));
        s.fill(&node(1));
        s.searched(&node(2));
        s.pass(120);
        assert!(s.state(2).claim().is_none(), "{}", s.text);
        let word = if hour.is_some() { "dollars-per-hour" } else { "dollars-per-day" };
        assert_eq!(s.text.matches(&format!("the rail `{word}`")).count(), 1, "{}", s.text);
    }
}

#[test]
fn the_days_budget_counts_what_each_box_cost_until_it_was_destroyed() {
    let mut policy = policy(2);
    policy.rails.dollars_per_day = Some(Money(3_000_000));
    let mut s = Story::serving_with(policy);
    let spent = |s: &Story| s.fleet.spent(Timestamp(s.now.saturating_sub(86_400_000)), Timestamp(s.now));
    let per_hour = Money(700_000).dollars();
    assert!((spent(&s).dollars() - per_hour).abs() < 0.05, "an hour of two boxes: {}", spent(&s));
    s.pass(3 * 3600);
    assert!((spent(&s).dollars() - 4.0 * per_hour).abs() < 0.05, "{}", spent(&s));
    // $2.80 spent and $0.70 to come: nothing more is rented, so nothing is destroyed to be replaced either.
    s.lose(&node(0));
    s.pass(40);
    s.fail(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_eq!(s.state(0).word(), "suspect", "{}", s.text);
    assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail.word(), "dollars-per-day");
    // What is destroyed costs nothing from its acknowledgement on, and what it cost lapses after a day.
    for i in 0..2 {
        let instance = s.instance(&node(i));
        s.ask(&node(i), Wish::Destroy);
        s.destroyed(instance);
    }
    let before = spent(&s);
    s.pass(3600);
    assert_eq!(spent(&s), before);
    s.pass(24 * 3600);
    assert_eq!(spent(&s), Money(0));
}

#[test]
fn a_snapshot_from_before_the_bills_is_read() {
    let s = Story::serving(1);
    let mut snapshot = serde_json::to_value(&s.fleet).unwrap();
    assert!(snapshot.as_object_mut().unwrap().remove("bills").is_some());
    let fleet: super::super::super::super::state::Fleet = serde_json::from_value(snapshot).unwrap();
    assert_eq!(fleet.nodes, s.fleet.nodes);
}

#[test]
fn low_credit_is_asked_for_again_until_it_is_topped_up() {
    let mut s = Story::new(policy(3));
    s.tell(Event::Booted { version: "1".into() });
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(500_000) })));
    s.memory.credit.as_mut().unwrap().1.dollars = Money(500_000);
    s.pass(400);
    assert!(s.fleet.nodes.is_empty(), "nothing begins");
    s.tell(Event::CreditRead(Ok(Credit { dollars: Money(50_000_000) })));
    s.pass(10);
    assert_snapshot!(s.read());
}

#[test]
fn a_replacement_may_not_cost_much_more_than_what_it_replaces() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    let mut dear = super::super::offers(50..52);
    dear[0].price = Money(700_000);
    dear[1].price = Money(2_600_000);
    let found = super::super::super::super::provider::OffersFound { offers: dear };
    s.tell(Event::Searched { node: node(0), answer: Ok(found) });
    s.pass(40);
    assert!(s.state(0).claim().is_none());
    let blocked = s.memory.desks[&node(0)].blocked.clone().unwrap();
    assert_snapshot!(blocked.why, @"2 offers found, none acceptable: 1 × $0.70/h is above $0.525/h, the most for a replacement of $0.35/h; 1 × $2.60/h is above the cap of $2.50/h");
}

#[test]
fn a_slow_rental_is_told_once() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    for _ in 0..40 {
        s.pass(30);
        if s.text.ends_with("do       search duel-0\n") {
            let none = super::super::super::super::provider::OffersFound { offers: Vec::new() };
            s.tell(Event::Searched { node: node(0), answer: Ok(none) });
        }
    }
    assert_eq!(s.text.matches("nothing could be rented yet").count(), 1, "{}", s.text);
    assert_eq!(s.text.matches("the rail `offers`").count(), 1, "{}", s.text);
    s.ask(&node(0), Wish::Pause);
    s.pass(120);
    assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail.word(), "paused");
}

#[test]
fn nothing_is_destroyed_for_want_of_a_release() {
    let mut s = Story::serving(3);
    s.tell(Event::ReleasePrepared(Err("the build failed".into())));
    s.start_telling();
    s.lose(&node(0));
    for _ in 0..6 {
        s.pass(10);
        s.fail(&node(0));
        s.witness(&node(0), Word::Down("no answer on its own port".into()));
    }
    assert_eq!(s.state(0).word(), "suspect");
    s.tell(Event::ReleasePrepared(Ok(ReleaseRef { digest: "d1".into(), commit: "c1".into() })));
    assert_eq!(s.state(0).word(), "recovering");
    assert_snapshot!(s.read());
}
