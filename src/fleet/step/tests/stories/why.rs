//! `why`: at each turn of a story the explanation says what is known, what is in the way, and what comes next.

use std::fmt::Write as _;

use insta::assert_snapshot;

use super::{
    super::super::super::{
        event::Wish,
        provider::{CreateAnswer, Status},
        units::Timestamp,
        watch::Word,
        why::{Evidence, why},
    },
    Story, node,
};

fn explained(s: &Story, moment: &str, text: &mut String) {
    let now = Timestamp(s.now);
    let why = why(&node(0), &s.fleet, &s.memory, &s.policy, now).unwrap();
    let stage = why.node.stage.as_deref().unwrap_or_default();
    let _ = writeln!(text, "{moment}: {} {stage}", why.node.state);
    let mut list = |heading: &str, evidence: &[Evidence]| {
        for piece in evidence {
            let ago = piece.at.map_or_else(String::new, |at| format!(" ({} s ago)", now.since(at).as_secs()));
            let _ = writeln!(text, "    {heading} {}: {}{ago}", piece.source, piece.text);
        }
    };
    list("for", &why.evidence_for);
    list("against", &why.evidence_against);
    for rail in &why.rails {
        let answer = rail.rail.as_deref().unwrap_or("admitted");
        let _ = writeln!(text, "    {}: {answer}: {}", rail.question, rail.why);
    }
    let at = why.next_at.map_or_else(String::new, |at| format!(", in {} s", now.until(at).as_secs()));
    let _ = writeln!(text, "    next {}{at}", why.next);
}

#[test]
fn each_turn_of_a_replacement_is_explained() {
    let mut s = Story::serving(3);
    let text = &mut String::new();
    explained(&s, "all is well", text);
    s.fail(&node(0));
    explained(&s, "one failure", text);
    s.fail(&node(0));
    s.fail(&node(0));
    explained(&s, "the threshold", text);
    s.witness(&node(0), Word::Up("its own health check answers".into()));
    explained(&s, "vetoed", text);
    let old = s.instance(&node(0));
    s.status.insert(old, Status::Offline);
    s.pass(60);
    s.fail(&node(0));
    s.witness(&node(0), Word::Down("no answer on its own port".into()));
    explained(&s, "condemned", text);
    s.destroyed(old);
    s.searched(&node(0));
    explained(&s, "asked", text);
    s.answered(&node(0), CreateAnswer::Ambiguous("timed out".into()));
    s.pass(20);
    explained(&s, "unknown", text);
    let new = s.next_instance();
    s.answered(&node(0), CreateAnswer::Created(new));
    explained(&s, "rented", text);
    s.pass(20);
    explained(&s, "up", text);
    s.deployed(&node(0));
    s.ok(&node(0));
    explained(&s, "deployed", text);
    s.ask(&node(0), Wish::Destroy);
    explained(&s, "emptied by hand", text);
    assert_snapshot!(text);
}

#[test]
fn nobody_is_explained_who_is_not_known() {
    let s = Story::serving(1);
    let stranger = "stranger".parse().unwrap();
    assert_eq!(why(&stranger, &s.fleet, &s.memory, &s.policy, Timestamp(s.now)), None);
}

#[test]
fn asking_why_changes_nothing() {
    let mut s = Story::serving(2);
    s.lose(&node(0));
    let before = (s.fleet.clone(), format!("{:?}", s.memory));
    for i in 0..2 {
        let _ = why(&node(i), &s.fleet, &s.memory, &s.policy, Timestamp(s.now));
    }
    assert_eq!((s.fleet.clone(), format!("{:?}", s.memory)), before);
}
