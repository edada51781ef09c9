//! The keeper dies at every point of a recovery that leaves a different journal behind. Told is what the next keeper does
//! with it over the next minutes.

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            journal::Record,
            name::InstanceId,
            provider::CreateAnswer,
            state::{NodeState, Stage},
            watch::Word,
        },
        story::row,
    },
    Story, node,
};

/// A whole replacement of one node, to be cut off anywhere.
fn replacement() -> Story {
    let mut s = Story::serving(2);
    let old = s.lose(&node(0));
    s.destroyed(old);
    s.searched(&node(0));
    s.answered(&node(0), CreateAnswer::Created(InstanceId(150)));
    s.pass(20);
    s.deployed(&node(0));
    s.pass(1);
    s.ok(&node(0));
    s.ok(&node(0));
    s
}

/// The keeper died right after the last record that `is` the point, in the story told since.
fn died_after(is: fn(&Record) -> bool) -> Story {
    let mut s = replacement();
    let kept = s.journal.iter().rposition(|entry| is(&entry.record)).unwrap() + 1;
    s.now += 5000;
    s.start_telling();
    s.restart(kept);
    s
}

fn stage(s: &Story) -> &'static str {
    match s.state(0) {
        NodeState::Recovering(recovery) => recovery.stage.word(),
        state => state.word(),
    }
}

#[test]
fn c1_before_the_decision_the_evidence_is_taken_anew() {
    let mut s = died_after(|record| matches!(record, Record::IncidentOpened { .. }));
    assert_eq!(stage(&s), "suspect");
    s.lose(&node(0));
    assert_eq!(stage(&s), "suspect", "the warm-up holds");
    s.pass(70);
    assert_eq!(stage(&s), "suspect", "its word is old by now: it is asked once more");
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    assert_eq!(stage(&s), "started");
    assert_snapshot!(s.read());
}

#[test]
fn c2_c3_c4_an_intent_is_settled_by_looking_whether_it_was_sent_or_not() {
    let mut s = died_after(|record| matches!(record, Record::Intent { .. }));
    assert_eq!(stage(&s), "unresolved");
    s.pass(220);
    let never_sent = s.read();
    let mut s = died_after(|record| matches!(record, Record::Intent { .. }));
    let op = s.op(&node(0));
    s.extra.push(row(InstanceId(150), Some(format!("vk:test:duel-0:{op}"))));
    s.pass(20);
    assert_snapshot!(format!(
        "not sent, or without effect\n{never_sent}\nsent, its answer not on record\n{}",
        s.read()
    ));
}

#[test]
fn c5_a_rental_on_record_goes_on() {
    let mut s = died_after(|record| matches!(record, Record::Created { .. }));
    assert_eq!(stage(&s), "booting");
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn c6_a_deploy_is_begun_anew() {
    let mut s = died_after(|record| matches!(record, Record::InstanceUp { .. }));
    assert_eq!(stage(&s), "deploying");
    // Only a list tells the way to the box.
    s.pass(20);
    assert_snapshot!(s.read());
}

#[test]
fn c7_probation_is_probed_again() {
    let mut s = died_after(|record| matches!(record, Record::Deployed { .. }));
    assert_eq!(stage(&s), "probation");
    s.ok(&node(0));
    s.ok(&node(0));
    assert_snapshot!(s.read());
}

#[test]
fn c8_c9_a_condemned_instance_is_destroyed_again_before_anything_is_rented() {
    let mut s = died_after(|record| matches!(record, Record::Doomed { .. }));
    assert!(
        matches!(s.state(0), NodeState::Recovering(recovery) if matches!(recovery.stage, Stage::Started { .. }))
    );
    s.extra.push(row(InstanceId(101), Some("vk:test:duel-0:abcdefghijk".into())));
    s.pass(60);
    assert_snapshot!(s.read());
}

#[test]
fn c10_an_acknowledged_destroy_is_proven_by_lists() {
    let mut s = died_after(|record| matches!(record, Record::DestroyAcknowledged { .. }));
    s.pass(60);
    assert_snapshot!(s.read());
}
