//! Two scenes of the zero-destroy gallery that need a clock nobody can set from outside: a suspend of eight hours, and a wall
//! clock that somebody moved by an hour before the keeper was started again. At one, three and fifty nodes, all healthy.
//!
//! While it runs the keeper counts on the boot-time clock, which a step of the wall clock does not move (see `clock`); what
//! a step can reach is the next start, which reads the wall clock anew and finds its own records an hour away in either
//! direction. The other scenes are played by the real binary in `tests/it/gallery`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::super::super::{
        event::Event,
        name::{InstanceId, NodeName},
        provider::ProviderFault,
        units::Timestamp,
        view::view,
        watch::Word,
    },
    Story,
};

const HOUR: u64 = 3_600_000;
const FLEETS: [usize; 3] = [1, 3, 50];

/// A fleet that serves, and who filled it.
fn scene(nodes: usize) -> (Story, BTreeMap<NodeName, InstanceId>) {
    let s = Story::serving(nodes);
    let before = names(&s).into_iter().map(|name| (name.clone(), s.instance(&name))).collect();
    (s, before)
}

fn names(s: &Story) -> Vec<NodeName> {
    s.policy.nodes.keys().cloned().collect()
}

/// Nothing that leaves the machine comes back for three minutes: no probe, no witness, no list.
fn cut_off(s: &mut Story) {
    s.lists_fail = true;
    for _ in 0..18 {
        for name in names(s) {
            s.fail(&name);
            s.witness(&name, Word::Silent("no route to host".into()));
        }
        s.tell(Event::Listed(Err(ProviderFault::Unreachable { detail: "no route to host".into() })));
        s.pass(10);
    }
    for (name, watch) in &s.memory.watches {
        assert!(watch.failures >= 12, "{name} fails far beyond a doubled threshold");
    }
    let seen = view(&s.fleet, &s.memory, &s.policy, Timestamp(s.now));
    assert!(seen.nodes.iter().all(|node| node.state == "suspect" && node.blocked.is_some()));
}

/// The network is back: all answer as before.
fn back(s: &mut Story) {
    s.lists_fail = false;
    s.list();
    for _ in 0..2 {
        for name in names(s) {
            s.ok(&name);
        }
        s.pass(60);
    }
}

/// The same instances serve, nothing was decided against them or ordered, and a truly dead box is still replaced.
fn judge(mut s: Story, before: &BTreeMap<NodeName, InstanceId>, since: usize, what: &str) {
    let decided = |s: &Story, since: usize| -> Vec<&'static str> {
        let kinds = s.journal.iter().skip(since).map(|entry| entry.record.kind());
        kinds
            .filter(|kind| ["doomed", "recovery-started", "remedy-started", "intent", "held"].contains(kind))
            .collect()
    };
    assert_eq!(decided(&s, since), Vec::<&str>::new(), "{what}");
    for command in ["destroy", "create", "reboot", "deploy"] {
        assert!(!s.text.contains(&format!("do       {command} ")), "{what}: {}", s.text);
    }
    for (name, instance) in before {
        assert_eq!(s.fleet.nodes[name].state.word(), "serving", "{what}: {name}");
        assert_eq!(s.instance(name), *instance, "{what}");
        assert_eq!(s.fleet.nodes[name].incident, None, "{what}: {name}");
    }
    let after = s.journal.len();
    s.pass(120);
    let first = names(&s).remove(0);
    s.lose(&first);
    assert_eq!(decided(&s, after), ["recovery-started", "doomed"], "{what}: {}", s.text);
}

#[test]
fn a_suspend_of_eight_hours_destroys_nothing() {
    for nodes in FLEETS {
        let (mut s, before) = scene(nodes);
        let since = s.journal.len();
        // Two of three failures were counted when the lid closed.
        for _ in 0..2 {
            for name in names(&s) {
                s.fail(&name);
            }
        }
        s.now += 8 * HOUR;
        s.tell(Event::Stalled { gap: Duration::from_millis(8 * HOUR) });
        assert!(s.memory.watches.values().all(|watch| watch.failures == 0), "what was seen before is stale");
        cut_off(&mut s);
        // And the keeper is started again in the middle of it.
        s.restart(s.journal.len());
        cut_off(&mut s);
        back(&mut s);
        judge(s, &before, since, &format!("{nodes} nodes"));
    }
}

#[test]
fn a_wall_clock_moved_by_an_hour_destroys_nothing() {
    for nodes in FLEETS {
        for forward in [true, false] {
            let (mut s, before) = scene(nodes);
            let since = s.journal.len();
            s.now = if forward { s.now + HOUR } else { s.now - HOUR };
            s.restart(s.journal.len());
            back(&mut s);
            cut_off(&mut s);
            s.now = if forward { s.now - HOUR } else { s.now + HOUR };
            s.restart(s.journal.len());
            cut_off(&mut s);
            back(&mut s);
            judge(s, &before, since, &format!("{nodes} nodes, forward {forward}"));
        }
    }
}
