//! Rollouts whose runner died, and what whoever takes them up is told to do.

use super::*;

#[test]
fn a_runner_that_was_killed_is_followed_by_one_who_begins_the_same_nodes_again() {
    let mut story = Story::new(4, quarter());
    story.starts(&[0]);
    story.tell(Happened::TakenUp);
    story.starts(&[0]);
    story.done(0);
    let lost = Happened::Ended { node: node(3), result: NodeResult::Done { changed: true } };
    story.tell(lost);
    assert!(story.rollout.apply(Timestamp(1), &Happened::Started { nodes: vec![node(3)] }).is_err());
    assert!(story.rollout.apply(Timestamp(1), &Happened::Started { nodes: vec![node(77)] }).is_err());
}

#[test]
fn what_a_killed_runner_brought_counts_as_brought_and_goes_back_with_the_rest() {
    let mut story = Story::new(8, Plan { batch: Share::Nodes(2), ..quarter() });
    story.starts(&[0]);
    story.done(0);
    story.starts(&[1, 2]);
    story.tell(Happened::TakenUp);
    story.well.insert(node(1), false);
    assert_eq!(story.next(), Order::Start(vec![node(1), node(2)]), "ill or not, before any wait");
    story.starts(&[1, 2]);
    for number in [1, 2] {
        let result = NodeResult::Done { changed: number == 2 };
        story.tell(Happened::Ended { node: node(number), result });
    }
    story.tell(Happened::Aborted { by: "anna".into(), back: true });
    let Order::GoBack { nodes, .. } = story.next() else { panic!("{:?}", story.next()) };
    assert_eq!(nodes, [node(0), node(1), node(2)], "node 1 served it already when it was begun again");
}

#[test]
fn nothing_ends_over_a_node_that_was_left_half_way() {
    let mut story = Story::new(8, Plan { batch: Share::Nodes(2), ..quarter() });
    story.starts(&[0]);
    story.done(0);
    story.starts(&[1, 2]);
    story.done(1);
    story.tell(Happened::TakenUp);
    story.tell(Happened::Aborted { by: "anna".into(), back: true });
    assert_eq!(story.next(), Order::Settle(vec![node(2)]));
    story.fails(2, "its deploy was cut short", false);
    assert!(matches!(story.next(), Order::GoBack { nodes, .. } if nodes == [node(0), node(1)]));
}

#[test]
fn a_canary_whose_runner_died_is_held_anew() {
    let plan = Plan { manner: Manner::Canary, hold: Duration::from_secs(60), ..quarter() };
    let mut story = Story::new(4, plan);
    story.starts(&[0]);
    story.done(0);
    story.now += 10 * MINUTE;
    story.tell(Happened::TakenUp);
    let Order::Analyse { until, .. } = story.next() else { panic!() };
    assert_eq!(until.0, story.now + MINUTE, "what was seen of it died with the runner");
}

#[test]
fn a_brief_of_before_terms_were_kept_is_read_as_one_without() {
    let whole = brief(1, Plan::default());
    let mut value = serde_json::to_value(&whole).unwrap();
    value.as_object_mut().unwrap().remove("terms").unwrap();
    assert_eq!(serde_json::from_value::<Brief>(value).unwrap(), whole);
    let terms = Terms {
        force: true,
        restart: true,
        unrest: Some(Unrest::Proceed),
        wait_lock: Duration::from_secs(90),
    };
    let whole = Brief { terms, ..whole };
    let text = serde_json::to_string(&whole).unwrap();
    assert_eq!(serde_json::from_str::<Brief>(&text).unwrap(), whole);
}
