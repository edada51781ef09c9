//! Rollouts as stories, and what must hold in every one.

mod killed;

use std::time::Duration;

use proptest::prelude::*;

use super::{judge::Health, *};

const MINUTE: u64 = 60_000;

fn brief(nodes: usize, plan: Plan) -> Brief {
    let member = |number: usize| Member {
        node: format!("duel-{number}").parse().unwrap(),
        host: HostId(100 + number as u64),
    };
    let release = Placed { name: "new-1".into(), digest: "new".into(), commit: "c".into() };
    let (terms, members) = (Terms::default(), (0..nodes).map(member).collect());
    Brief { id: "r1".into(), by: "anna".into(), release, plan, terms, members }
}

fn node(number: usize) -> NodeName {
    format!("duel-{number}").parse().unwrap()
}

/// A rollout with its clock.
struct Story {
    rollout: Rollout,
    now: u64,
    well: Health,
}

impl Story {
    fn new(nodes: usize, plan: Plan) -> Self {
        let well = (0..nodes).map(|number| (node(number), true)).collect();
        Self { rollout: Rollout::new(brief(nodes, plan), Timestamp(0)), now: 0, well }
    }

    fn next(&self) -> Order {
        self.rollout.next(Timestamp(self.now), &self.well)
    }

    fn tell(&mut self, happened: Happened) {
        self.now += 1;
        self.rollout.apply(Timestamp(self.now), &happened).unwrap();
    }

    /// Expects a start of these after whatever wait there is, and begins it.
    #[track_caller]
    fn starts(&mut self, nodes: &[usize]) {
        if let Order::Wait { until } = self.next() {
            self.now = until.0;
        }
        let nodes: Vec<NodeName> = nodes.iter().map(|number| node(*number)).collect();
        assert_eq!(self.next(), Order::Start(nodes.clone()));
        self.tell(Happened::Started { nodes: nodes.clone() });
        assert_eq!(self.next(), Order::Await(nodes));
    }

    fn done(&mut self, number: usize) {
        self.tell(Happened::Ended { node: node(number), result: NodeResult::Done { changed: true } });
    }

    fn fails(&mut self, number: usize, detail: &str, at_fault: bool) {
        let result = NodeResult::Failed { detail: detail.into(), at_fault, left: Left::WentBack };
        self.tell(Happened::Ended { node: node(number), result });
    }

    #[track_caller]
    fn ends(&mut self) -> Ending {
        match self.next() {
            Order::Finish(ending) => {
                self.tell(Happened::Finished { ending: ending.clone() });
                assert_eq!(self.next(), Order::Nothing);
                ending
            }
            other => panic!("{other:?}"),
        }
    }
}

fn quarter() -> Plan {
    Plan { max_failures: Share::Nodes(1), ..Plan::default() }
}

#[test]
fn the_first_node_alone_then_batches_with_a_wait_between() {
    let mut story = Story::new(9, quarter());
    story.starts(&[0]);
    story.done(0);
    assert!(matches!(story.next(), Order::Wait { .. }));
    story.starts(&[1, 2]);
    story.done(1);
    assert_eq!(story.next(), Order::Await(vec![node(2)]), "the batch is waited for");
    story.done(2);
    story.starts(&[3, 4]);
    story.done(3);
    story.done(4);
    story.starts(&[5, 6]);
    story.done(5);
    story.done(6);
    story.starts(&[7, 8]);
    story.done(7);
    story.done(8);
    assert_eq!(story.ends(), Ending::Done);
}

#[test]
fn a_release_that_its_gate_refuses_reaches_nobody_else() {
    let mut story = Story::new(9, quarter());
    story.starts(&[0]);
    story.fails(0, "exited with code 1", true);
    assert!(matches!(story.ends(), Ending::Stopped { why } if why.contains("gate `duel-0`")));
}

#[test]
fn a_dead_box_is_no_bad_release_the_next_one_is_the_gate() {
    let mut story = Story::new(9, quarter());
    story.starts(&[0]);
    story.fails(0, "connection refused", false);
    story.starts(&[1]);
    story.done(1);
    story.starts(&[2, 3]);
    story.fails(2, "connection refused", false);
    story.done(3);
    assert!(matches!(story.ends(), Ending::Stopped { why } if why.contains("2 nodes failed, 1 may")));
}

#[test]
fn the_same_failure_on_two_hosts_is_the_releases_fault_and_everybody_goes_back() {
    let plan = Plan { max_failures: Share::Percent(100), batch: Share::Nodes(3), ..Plan::default() };
    let mut story = Story::new(12, plan);
    story.starts(&[0]);
    story.done(0);
    story.starts(&[1, 2, 3]);
    story.fails(1, "instance 17 at 10.0.0.1: exited with code 2", true);
    story.done(2);
    story.fails(3, "instance 99 at 10.0.0.77: exited with code 3", true);
    let Order::GoBack { nodes, why } = story.next() else { panic!() };
    assert_eq!(nodes, [node(0), node(2)]);
    assert!(why.contains("failed alike"), "{why}");
    story.tell(Happened::WentBack { node: node(0), fault: None });
    story.tell(Happened::WentBack { node: node(2), fault: Some("cut".into()) });
    assert!(matches!(story.ends(), Ending::AtFault { .. }));
    assert_eq!(story.rollout.failures(), 3, "one that could not go back failed as well");
}

#[test]
fn two_failures_of_one_host_or_of_different_kinds_blame_nobody() {
    let plan = Plan { max_failures: Share::Percent(100), batch: Share::Nodes(3), ..Plan::default() };
    let mut story = Story::new(12, plan);
    story.rollout.brief.members[2].host = HostId(101);
    story.starts(&[0]);
    story.done(0);
    story.starts(&[1, 2, 3]);
    story.fails(1, "exited with code 2", true);
    story.fails(2, "exited with code 2", true);
    story.fails(3, "disk full", true);
    assert_eq!(story.rollout.at_fault(), None);
}

#[test]
fn too_few_healthy_nodes_hold_it_up_and_a_person_must_decide_in_the_end() {
    let mut story = Story::new(8, Plan { health_within: Duration::from_secs(120), ..quarter() });
    story.starts(&[0]);
    story.done(0);
    for number in [5, 6] {
        story.well.insert(node(number), false);
    }
    story.now += MINUTE;
    // Six of eight is the floor; whoever is ill already costs nobody anything.
    story.starts(&[5, 6]);
    story.fails(5, "x", false);
    story.done(6);
    assert!(matches!(story.next(), Order::Wait { .. }));
    story.now += MINUTE;
    assert!(matches!(story.next(), Order::WaitForHealth { .. }), "{:?}", story.next());
    story.now += 3 * MINUTE;
    let Order::Pause { why } = story.next() else { panic!("{:?}", story.next()) };
    story.tell(Happened::Paused { by: "the rollout".into(), why });
    assert_eq!(story.next(), Order::Stand);
    story.well.insert(node(6), true);
    story.tell(Happened::Continued { by: "anna".into() });
    story.starts(&[1]);
}

#[test]
fn a_canary_is_held_compared_and_taken_back_when_it_is_worse() {
    let plan = Plan { manner: Manner::Canary, hold: Duration::from_secs(60), ..quarter() };
    let mut story = Story::new(4, plan);
    story.starts(&[0]);
    story.done(0);
    let Order::Analyse { node: held, others, until } = story.next() else { panic!() };
    assert_eq!((held, others.len(), until.0), (node(0), 3, story.now + MINUTE));

    let why = || "slow".to_owned();
    let mut unclear = Story { rollout: story.rollout.clone(), now: story.now, well: story.well.clone() };
    unclear.tell(Happened::Analysed { verdict: Verdict::Unknown { why: why() } });
    assert!(matches!(unclear.next(), Order::Pause { .. }), "neither let pass nor taken back");
    unclear.tell(Happened::Paused { by: "the rollout".into(), why: why() });
    unclear.tell(Happened::Continued { by: "anna".into() });
    unclear.starts(&[1]);

    let mut good = Story { rollout: story.rollout.clone(), now: story.now, well: story.well.clone() };
    good.tell(Happened::Analysed { verdict: Verdict::Better { why: why() } });
    good.starts(&[1]);

    story.tell(Happened::Analysed { verdict: Verdict::Worse { why: why() } });
    assert_eq!(story.next(), Order::GoBack { nodes: vec![node(0)], why: why() });
    story.tell(Happened::WentBack { node: node(0), fault: None });
    assert_eq!(story.ends(), Ending::Worse { why: why() });
}

#[test]
fn a_pause_and_an_abort_wait_for_what_is_under_way() {
    let mut story = Story::new(4, quarter());
    story.starts(&[0]);
    story.tell(Happened::Paused { by: "anna".into(), why: "lunch".into() });
    assert!(matches!(story.next(), Order::Await(_)));
    story.done(0);
    assert_eq!(story.next(), Order::Stand);
    story.tell(Happened::Aborted { by: "anna".into(), back: true });
    assert!(matches!(story.next(), Order::GoBack { .. }), "an abort ends a pause");
    story.tell(Happened::WentBack { node: node(0), fault: None });
    assert_eq!(story.ends(), Ending::Aborted { by: "anna".into() });
}

#[test]
fn second_boxes_come_one_at_a_time() {
    let mut story =
        Story::new(5, Plan { manner: Manner::BlueGreen, batch: Share::Percent(100), ..quarter() });
    for number in 0..5 {
        story.starts(&[number]);
        story.done(number);
    }
    assert_eq!(story.ends(), Ending::Done);
}

#[test]
fn shares_are_read_and_counted() {
    let share = |text: &str| text.parse::<Share>();
    assert_eq!((share("2"), share(" 25% ")), (Ok(Share::Nodes(2)), Ok(Share::Percent(25))));
    for wrong in ["", "%", "101%", "-1", "2.5", "a", "1e3", "+3"] {
        assert!(share(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        (Share::Percent(25).batch(10), Share::Percent(1).batch(10), Share::Nodes(0).batch(3)),
        (2, 1, 1)
    );
    assert_eq!((Share::Percent(20).at_most(4), Share::Percent(20).at_most(5)), (0, 1));
    assert_eq!(serde_json::to_string(&Share::Percent(5)).unwrap(), "\"5%\"");
    let plan = |percent| Plan { min_healthy_percent: percent, ..Plan::default() };
    assert_eq!((plan(75).floor(8), plan(100).floor(8), plan(50).floor(1)), (6, 7, 0));
}

/// What a node's deploy comes to, drawn.
fn outcome() -> impl Strategy<Value = (u8, bool)> {
    (0_u8..12, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_comes_of_each_node_no_promise_is_broken(
        nodes in 1_usize..24,
        batch in 1_u32..6,
        budget in 0_u32..4,
        percent in 0_u32..=100,
        manner in prop_oneof![Just(Manner::Rolling), Just(Manner::Canary), Just(Manner::BlueGreen)],
        outcomes in proptest::collection::vec(outcome(), 24),
        ill in proptest::collection::vec(0_u8..8, 24),
        killed in 0_usize..40,
    ) {
        let plan = Plan {
            manner,
            batch: Share::Nodes(batch),
            max_failures: Share::Nodes(budget),
            min_healthy_percent: percent,
            ..Plan::default()
        };
        let floor = plan.floor(nodes);
        let mut story = Story::new(nodes, plan);
        for (number, ill) in ill.iter().take(nodes).enumerate() {
            story.well.insert(node(number), *ill != 0);
        }
        let mut told: Vec<(u64, Happened)> = Vec::new();
        let mut pauses = 0;
        let number = |name: &NodeName| name.as_str().trim_start_matches("duel-").parse::<usize>().unwrap();
        for turn in 0.. {
            prop_assert!(turn < 500, "it never ends: {:?}", story.rollout);
            let tell = |story: &mut Story, told: &mut Vec<(u64, Happened)>, happened: Happened| {
                story.tell(happened.clone());
                told.push((story.now, happened));
            };
            if turn == killed && story.rollout.ending.is_none() {
                tell(&mut story, &mut told, Happened::TakenUp);
            }
            match story.next() {
                Order::Start(chosen) => {
                    let passed = story.rollout.progress.values().any(|one| matches!(one, Progress::Done { .. }));
                    let most = if passed { batch as usize } else { 1 };
                    prop_assert!(chosen.len() <= most, "too many at once");
                    prop_assert!(story.rollout.failures() <= budget);
                    let healthy = story.well.values().filter(|well| **well).count();
                    let disturbed = chosen.iter().filter(|node| story.well[*node]).count();
                    let again = chosen.iter().all(|node| story.rollout.cut_short.contains(node));
                    prop_assert!(again || disturbed == 0 || healthy - disturbed >= floor);
                    tell(&mut story, &mut told, Happened::Started { nodes: chosen });
                }
                Order::Await(working) => {
                    let name = working[0].clone();
                    let (kind, changed) = outcomes[number(&name)];
                    let failed = |detail: &str, at_fault, left| NodeResult::Failed { detail: detail.into(), at_fault, left };
                    let result = match kind {
                        0 => failed("exited with code 1", true, Left::WentBack),
                        1 => failed("no route to host", false, Left::AsItWas),
                        2 => failed("the disk is full", true, Left::Broken),
                        _ => NodeResult::Done { changed },
                    };
                    story.well.insert(name.clone(), matches!(result, NodeResult::Done { .. }));
                    tell(&mut story, &mut told, Happened::Ended { node: name, result });
                }
                Order::Wait { until } | Order::WaitForHealth { until, .. } => {
                    prop_assert!(until.0 > story.now, "waiting for the past");
                    story.now = until.0;
                }
                Order::Analyse { node, .. } => {
                    let why = String::from("x");
                    let verdict = match outcomes[number(&node)].0 {
                        9 => Verdict::Worse { why },
                        10 => Verdict::Unknown { why },
                        _ => Verdict::Better { why },
                    };
                    tell(&mut story, &mut told, Happened::Analysed { verdict });
                }
                Order::Pause { why } => tell(&mut story, &mut told, Happened::Paused { by: "it".into(), why }),
                Order::Stand => {
                    pauses += 1;
                    let by = String::from("anna");
                    let wish = if pauses < 3 {
                        Happened::Continued { by }
                    } else {
                        Happened::Aborted { by, back: pauses % 2 == 0 }
                    };
                    tell(&mut story, &mut told, wish);
                }
                Order::GoBack { nodes, .. } => {
                    prop_assert!(!nodes.is_empty());
                    tell(&mut story, &mut told, Happened::WentBack { node: nodes[0].clone(), fault: None });
                }
                Order::Settle(nodes) => {
                    prop_assert!(!nodes.is_empty());
                    let name = nodes[0].clone();
                    let detail = "its deploy was cut short".into();
                    let (kind, changed) = outcomes[number(&name)];
                    let result = match kind {
                        0..6 => NodeResult::Failed { detail, at_fault: false, left: Left::WentBack },
                        _ => NodeResult::Done { changed },
                    };
                    tell(&mut story, &mut told, Happened::Ended { node: name, result });
                }
                Order::Finish(ending) => tell(&mut story, &mut told, Happened::Finished { ending }),
                Order::Nothing => break,
            }
        }
        let bare = |progress: &Progress| matches!(progress, Progress::Done { changed: true, .. });
        let progress = || story.rollout.progress.values();
        let (has_it, waits) = (progress().any(bare), progress().any(|one| *one == Progress::Waiting));
        let works = progress().any(|one| *one == Progress::Working);
        match story.rollout.ending.as_ref().unwrap() {
            Ending::AtFault { .. } | Ending::Worse { .. } => prop_assert!(!has_it, "somebody still has it"),
            Ending::Done => prop_assert!(!waits, "somebody was forgotten"),
            Ending::Stopped { .. } | Ending::Aborted { .. } => {}
        }
        prop_assert!(!works, "it ended over somebody's work");
        prop_assert!(story.rollout.cut_short.is_empty(), "it ended over what somebody had left half-way");
        // Who reads what was written down, through JSON, knows the same.
        let mut again = Rollout::new(story.rollout.brief.clone(), Timestamp(0));
        for (at, happened) in &told {
            let text = serde_json::to_string(happened).unwrap();
            again.apply(Timestamp(*at), &serde_json::from_str(&text).unwrap()).unwrap();
        }
        prop_assert_eq!(again, story.rollout);
    }
}
