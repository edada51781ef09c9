//! Every answer a create can have, doubt settled by looking, and destroys that are chased until gone.

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            event::Event,
            name::{InstanceId, OpId},
            provider::{CreateAnswer, DestroyAnswer, OffersFound, ProviderFault},
            watch::Word,
        },
        story::row,
    },
    Story, node, policy,
};

/// A fresh fleet of one whose create is under way.
fn renting() -> Story {
    let mut s = Story::new(policy(1));
    s.boot();
    s.pass(240);
    s.searched(&node(0));
    s.start_telling();
    s
}

fn detail() -> String {
    "its words".into()
}

#[test]
fn every_answer_of_a_create_has_its_consequence() {
    let answers = [
        CreateAnswer::Created(InstanceId(101)),
        CreateAnswer::CreatedBroken(InstanceId(101), "bid too low".into()),
        CreateAnswer::OfferGone("no_such_ask".into()),
        CreateAnswer::NotSent("the command expired".into()),
        CreateAnswer::Ambiguous("reset".into()),
        CreateAnswer::Refused(ProviderFault::RateLimited { retry_after_ms: Some(9000) }),
        CreateAnswer::Refused(ProviderFault::Credit { detail: detail() }),
        CreateAnswer::Refused(ProviderFault::Auth { detail: detail() }),
        CreateAnswer::Refused(ProviderFault::Refused { detail: detail() }),
        CreateAnswer::Refused(ProviderFault::Unreachable { detail: detail() }),
        CreateAnswer::Refused(ProviderFault::Malformed { detail: detail() }),
    ];
    let mut told = String::new();
    for answer in answers {
        let mut s = renting();
        s.answered(&node(0), answer);
        told += &s.read();
        told += &format!(
            "    then     {} {}\n",
            s.state(0).word(),
            match s.state(0) {
                super::super::super::super::state::NodeState::Recovering(recovery) => recovery.stage.word(),
                _ => "",
            }
        );
    }
    assert_snapshot!(told);
}

#[test]
fn the_next_offer_is_tried_and_a_gone_one_is_passed_over() {
    let mut s = renting();
    for _ in 0..3 {
        s.answered(&node(0), CreateAnswer::OfferGone("no_such_ask".into()));
    }
    // The search goes on showing the same three.
    let found = OffersFound { offers: super::super::offers(1..4) };
    s.tell(Event::Searched { node: node(0), answer: Ok(found) });
    s.pass(50);
    let searches = s.text.matches("do       search").count();
    assert_eq!(searches, 1, "a search that found nothing is not repeated at once");
    assert_snapshot!(s.read());
}

#[test]
fn a_market_in_which_every_offer_is_gone_is_asked_less_and_less() {
    let mut s = renting();
    let (began, mut creates, mut shown) = (s.now, 0, 10_u64);
    while s.now < began + 3_600_000 {
        if s.state(0).claim().is_some() {
            creates += 1;
            s.answered(&node(0), CreateAnswer::OfferGone("no_such_ask".into()));
        } else {
            let found = OffersFound { offers: super::super::offers(shown..shown + 10) };
            shown += 10;
            s.tell(Event::Searched { node: node(0), answer: Ok(found) });
            s.pass(1);
        }
    }
    assert!((6..25).contains(&creates), "{creates} creates in an hour");
}

#[test]
fn an_unanswered_create_is_looked_for_and_found_by_its_label() {
    let mut s = renting();
    let op = s.op(&node(0));
    s.pass(61);
    s.extra.push(row(InstanceId(101), Some(format!("vk:test:duel-0:{op}"))));
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn of_two_rentals_of_one_op_the_lower_id_is_kept() {
    let mut s = renting();
    let op = s.op(&node(0));
    s.answered(&node(0), CreateAnswer::Ambiguous("reset".into()));
    for id in [102, 101] {
        s.extra.push(row(InstanceId(id), Some(format!("vk:test:duel-0:{op}"))));
    }
    s.pass(20);
    // Its answer comes late and names the other one, which is condemned already.
    s.tell(Event::CreateAnswered { node: node(0), op, answer: CreateAnswer::Created(InstanceId(102)) });
    assert_snapshot!(s.read());
}

#[test]
fn a_create_that_left_no_trace_is_given_up_and_its_late_rental_destroyed() {
    let mut s = renting();
    let op = s.op(&node(0));
    s.answered(&node(0), CreateAnswer::Ambiguous("reset".into()));
    s.pass(170);
    assert!(!s.text.contains("create-abandoned"), "three lists are not enough before the time has passed");
    s.pass(40);
    s.extra.push(row(InstanceId(105), Some(format!("vk:test:duel-0:{op}"))));
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn an_answer_after_the_node_moved_on_condemns_what_it_rented() {
    let mut s = renting();
    let op = s.op(&node(0));
    s.answered(&node(0), CreateAnswer::Ambiguous("reset".into()));
    s.pass(240);
    s.start_telling();
    let answer = CreateAnswer::Created(InstanceId(105));
    s.tell(Event::CreateAnswered { node: node(0), op, answer: answer.clone() });
    s.tell(Event::CreateAnswered { node: node(0), op: OpId::from_bits(9), answer });
    assert_snapshot!(s.read());
}

#[test]
fn an_answer_that_names_a_known_instance_is_not_believed() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.searched(&node(0));
    let others = s.instance(&node(1));
    s.answered(&node(0), CreateAnswer::Created(others));
    s.answered(&node(0), CreateAnswer::Created(old));
    assert_eq!(s.state(0).claim().unwrap().1, None);
    assert_eq!(s.instance(&node(1)), others);
}

#[test]
fn a_destroy_is_repeated_until_the_instance_is_proven_gone() {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    let fault = ProviderFault::RateLimited { retry_after_ms: Some(7000) };
    s.extra.push(row(old, Some(format!("vk:test:duel-0:{}", "abcdefghijk"))));
    s.tell(Event::DestroyAnswered { instance: old, answer: DestroyAnswer::Failed(fault) });
    s.pass(50);
    s.destroyed(old);
    s.pass(900);
    s.destroyed(old);
    s.extra.clear();
    s.pass(100);
    assert_snapshot!(s.read());
}

#[test]
fn what_bears_anothers_label_is_left_alone() {
    let mut s = Story::serving(2);
    let instance = s.instance(&node(0));
    s.extra.push(row(instance, Some("keep: bob looks at it".into())));
    s.pass(30);
    s.lose(&node(0));
    s.pass(30);
    assert_eq!(s.state(0).word(), "suspect");
    assert_eq!(s.memory.desks[&node(0)].blocked.as_ref().unwrap().rail.word(), "outstanding");
    // Given back, it is ours to replace again.
    s.extra.clear();
    s.fail(&node(0));
    s.pass(20);
    let why = s.memory.desks[&node(0)].blocked.clone().unwrap().why;
    assert!(why.contains("asked once more"), "{why}");
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_eq!(s.state(0).word(), "recovering");
    assert_snapshot!(s.read());
}

#[test]
fn the_label_of_a_box_that_served_long_is_watched_after_its_end() {
    let mut policy = policy(2);
    policy.rails.node_creates = 100;
    let mut s = Story::serving_with(policy);
    let op = s.op(&node(0));
    // It serves for longer than the label of an attempt that came to nothing is watched.
    s.now += 8 * 86_400_000;
    s.pass(120);
    s.ok(&node(0));
    s.ok(&node(1));
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.pass(120);
    assert!(!s.fleet.doomed.contains_key(&old), "said to be gone: {}", s.text);
    // Attempts enough to have the old ones swept.
    for _ in 0..40 {
        s.searched(&node(0));
        s.answered(&node(0), CreateAnswer::OfferGone(detail()));
        s.pass(2_400);
    }
    assert!(s.fleet.ops.len() > 32, "{}", s.text);
    // The destroy had no effect, and the lists were wrong.
    s.extra.push(row(old, Some(format!("vk:test:duel-0:{op}"))));
    s.pass(60);
    assert!(s.fleet.doomed.contains_key(&old), "it is condemned anew: {}", s.text);
}
