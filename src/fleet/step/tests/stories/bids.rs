//! Boxes that the provider stopped: outbid, out of reach of the cap, or stopped for no reason that anybody names.

use std::sync::Arc;

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            bid::{BidPolicy, Bidding},
            command::Command,
            event::Event,
            name::{InstanceId, NodeName},
            offer::Offer,
            policy::{NodeSpec, Policy, Rung},
            provider::{CreateAnswer, Credit, OffersFound, ProviderFault, Rental, StartAnswer, Status},
            state::NodeState,
            units::{Money, Timestamp},
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

const CENT: i64 = 10_000;

fn cents(cents: i64) -> Money {
    Money(cents * CENT)
}

fn changed(mut policy: Policy, change: impl Fn(&mut NodeSpec)) -> Policy {
    for spec in policy.nodes.values_mut() {
        change(Arc::make_mut(spec));
    }
    policy
}

/// Interruptible boxes, for at most 40 cents an hour.
fn interruptible(nodes: usize) -> Policy {
    changed(policy(nodes), |spec| {
        spec.offers.bid = Some(BidPolicy { start: Some(cents(25)), most: cents(40) });
    })
}

/// A serving fleet whose first node has the ladder with a start in it.
fn with_start() -> Story {
    Story::serving_with(changed(policy(2), |spec| spec.ladder = vec![Rung::Start, Rung::Replace]))
}

impl Story {
    /// From now on the lists show the node's box stopped, with this bid of ours and this floor.
    fn stopped(&mut self, name: &NodeName, bidding: Option<(i64, i64)>) -> InstanceId {
        let instance = self.instance(name);
        let (op, price) = {
            let (attempt, _) = self.fleet.nodes[name].state.claim().unwrap();
            (attempt.op.clone(), attempt.price)
        };
        self.extra.retain(|row| row.id != instance);
        self.extra.push(Rental {
            status: Status::Exited,
            stopped: true,
            price,
            bidding: bidding.map(|(bid, floor)| Bidding { bid: cents(bid), floor: Some(cents(floor)) }),
            ..row(instance, Some(format!("vk:test:{name}:{op}")))
        });
        instance
    }

    /// The box runs again, and shows the bid on record.
    fn runs_again(&mut self, name: &NodeName) {
        let instance = self.instance(name);
        self.extra.retain(|row| row.id != instance);
    }

    fn credit(&mut self, dollars: i64) {
        self.tell(Event::CreditRead(Ok(Credit { dollars: Money(dollars * 1_000_000) })));
    }

    /// Offers that win at 20 cents, with four cents of storage.
    fn searched_bids(&mut self, name: &NodeName, first: u64) {
        let bid = |id| Offer {
            floor: Some(cents(20)),
            price: cents(24),
            ..super::super::super::super::offer::tests::offer(id)
        };
        let found = OffersFound { offers: (first..first + 3).map(bid).collect() };
        self.tell(Event::Searched { node: name.clone(), answer: Ok(found) });
    }

    fn started(&mut self, name: &NodeName, answer: StartAnswer) {
        let instance = self.instance(name);
        self.tell(Event::StartAnswered { node: name.clone(), instance, answer });
    }
}

/// Two interruptible boxes that serve.
fn bidding() -> Story {
    let mut s = Story::new(interruptible(2));
    s.boot();
    s.pass(240);
    for i in 0..2 {
        s.searched_bids(&node(i), 1 + 3 * i as u64);
        let instance = s.next_instance();
        s.answered(&node(i), CreateAnswer::Created(instance));
        s.pass(20);
        s.deployed(&node(i));
        s.pass(1);
        s.ok(&node(i));
        s.ok(&node(i));
    }
    s.pass(3600);
    s.start_telling();
    s
}

#[test]
fn an_interruptible_box_is_rented_for_the_bid_with_its_storage() {
    let mut s = Story::new(interruptible(1));
    s.boot();
    s.pass(240);
    s.searched_bids(&node(0), 1);
    assert_snapshot!(s.read());
}

#[test]
fn an_outbid_box_is_no_dead_box_more_is_bid_and_it_is_started() {
    let mut s = bidding();
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    s.started(&node(0), StartAnswer::Starting);
    s.pass(20);
    s.runs_again(&node(0));
    s.pass(20);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_eq!(s.fleet.nodes[&node(0)].state.claim().unwrap().0.price, cents(40));
    assert_snapshot!(s.read());
}

#[test]
fn a_bid_never_goes_beyond_its_cap_and_then_the_box_is_replaced_without_blaming_its_machine() {
    let mut s = bidding();
    s.stopped(&node(0), Some((25, 38)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    assert_eq!(s.fleet.nodes[&node(0)].state.claim().unwrap().0.bid, Some(cents(40)), "the cap, no more");
    s.stopped(&node(0), Some((40, 41)));
    s.pass(310);
    s.fail_thrice(&node(0));
    s.pass(20);
    assert_eq!(s.state(0).word(), "recovering");
    assert!(s.fleet.blamed.is_empty(), "{:?}", s.fleet.blamed);
    assert_snapshot!(s.read());
}

#[test]
fn a_raise_counts_in_the_spending_and_the_rail_of_dollars_keeps_it_back() {
    let mut s = bidding();
    // Two boxes at 29 cents: a raise by eleven cents would break it.
    s.policy.rails.dollars_per_hour = Some(cents(68));
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(60);
    s.credit(50);
    assert_eq!(s.state(0).word(), "suspect");
    s.policy.rails.dollars_per_hour = Some(cents(100));
    let before = s.fleet.spent(Timestamp(0), Timestamp(s.now));
    s.pass(10);
    assert_eq!(s.state(0).word(), "remedying");
    s.pass(60);
    // Storage included 29 and 40 cents an hour, for 60 to 70 s.
    let spent = s.fleet.spent(Timestamp(0), Timestamp(s.now)).minus(before);
    assert!(spent >= Money(69 * CENT / 60) && spent <= Money(69 * CENT / 51), "{spent:?}");
    assert_snapshot!(s.read());
}

#[test]
fn without_credit_nothing_is_bid() {
    let mut s = bidding();
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(0);
    s.pass(120);
    assert!(!s.text.contains("bid-raised"), "{}", s.text);
    assert_eq!(s.state(0).word(), "suspect");
}

#[test]
fn a_raise_that_a_crash_interrupted_is_asked_for_again_from_its_record() {
    let mut s = bidding();
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    assert_eq!(s.state(0).word(), "remedying");
    // Whether it was sent nobody knows.
    let kept = s.journal.len();
    s.restart(kept);
    s.start_telling();
    s.pass(40);
    assert_snapshot!(s.read());
}

#[test]
fn a_doubtful_or_queued_answer_is_no_verdict_the_provider_is_asked_again() {
    let mut s = bidding();
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    let fault = ProviderFault::Unreachable { detail: "reset".into() };
    s.started(&node(0), StartAnswer::Failed(fault));
    s.pass(60);
    s.started(&node(0), StartAnswer::Queued("state change queued".into()));
    s.pass(60);
    assert_eq!(s.state(0).word(), "remedying");
    assert_snapshot!(s.read());
}

#[test]
fn a_newcomer_that_is_outbid_before_it_serves_is_bid_more_for_as_well() {
    let mut s = Story::new(interruptible(1));
    s.boot();
    s.pass(240);
    s.searched_bids(&node(0), 1);
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.start_telling();
    s.stopped(&node(0), Some((25, 30)));
    s.pass(120);
    s.runs_again(&node(0));
    s.pass(20);
    assert_eq!(s.instance(&node(0)), instance);
    assert_snapshot!(s.read());
}

#[test]
fn what_one_list_both_starts_and_condemns_is_not_started() {
    let mut s = Story::new(interruptible(1));
    s.boot();
    s.pass(240);
    s.searched_bids(&node(0), 1);
    let instance = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(instance));
    s.stopped(&node(0), Some((25, 30)));
    let mut asked = 0;
    while s.fleet.doomed.is_empty() {
        // Each list asks anew, and so does the first one after the boot's deadline.
        s.memory.desk(&node(0)).start_asked_at = Timestamp::default();
        s.list();
        let starts = |command: &Command| matches!(command, Command::Start { .. });
        let started = s.last.commands.iter().any(starts);
        assert!(!started || s.fleet.doomed.is_empty(), "{:?}", s.last.commands);
        asked += u32::from(started);
        s.now += 20_000;
        assert!(s.now < 10_000_000, "the boot has a deadline");
    }
    assert!(asked > 10, "{asked}");
}

#[test]
fn who_only_observes_tells_the_raise_and_makes_none() {
    let mut s = bidding();
    s.policy.observe_only = true;
    s.stopped(&node(0), Some((25, 30)));
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn a_box_that_the_provider_stopped_is_started_where_the_ladder_says_so() {
    let mut s = with_start();
    s.stopped(&node(0), None);
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    s.started(&node(0), StartAnswer::Starting);
    s.runs_again(&node(0));
    s.pass(60);
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn a_start_that_stays_queued_ends_in_a_replacement() {
    let mut s = with_start();
    let old = s.stopped(&node(0), None);
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    s.started(&node(0), StartAnswer::Queued("state change queued".into()));
    s.pass(290);
    s.fail_thrice(&node(0));
    s.pass(30);
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);
    assert_snapshot!(s.read());
}

#[test]
fn a_queued_start_that_came_through_at_the_last_moment_is_seen_before_anything_is_destroyed() {
    let mut s = with_start();
    s.stopped(&node(0), None);
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    s.started(&node(0), StartAnswer::Queued("state change queued".into()));
    s.fail_thrice(&node(0));
    while let NodeState::Remedying { deadline, .. } = *s.state(0) {
        s.ok(&node(1));
        if deadline.0 < s.now + 1500 {
            s.runs_again(&node(0));
        }
        s.pass(1);
    }
    s.pass(20);
    s.fail(&node(0));
    assert_eq!((s.state(0).word(), s.fleet.doomed.len()), ("suspect", 0), "lists of before are no evidence");
    s.witness(&node(0), Word::Up("its process lives".into()));
    s.fail_thrice(&node(0));
    assert_eq!((s.state(0).word(), s.fleet.doomed.len()), ("suspect", 0));
}

#[test]
fn a_start_that_is_refused_goes_to_the_next_rung_at_once() {
    let mut s = with_start();
    let old = s.stopped(&node(0), None);
    s.fail_thrice(&node(0));
    s.pass(20);
    s.credit(50);
    let fault = ProviderFault::Refused { detail: "the contract has expired".into() };
    s.started(&node(0), StartAnswer::Failed(fault));
    s.fail_thrice(&node(0));
    s.pass(20);
    assert!(s.fleet.doomed.contains_key(&old), "{}", s.text);
    assert_snapshot!(s.read());
}

#[test]
fn a_box_whose_program_ended_is_not_taken_for_stopped() {
    let mut s = with_start();
    let old = s.stopped(&node(0), None);
    s.extra.last_mut().unwrap().stopped = false;
    s.fail_thrice(&node(0));
    s.pass(40);
    s.credit(50);
    assert!(s.fleet.doomed.contains_key(&old), "it is replaced, not started: {}", s.text);
}
