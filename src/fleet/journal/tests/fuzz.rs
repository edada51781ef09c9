//! Fuzzing of the journal's records, as an old, a foreign or a damaged store would hold them.
//!
//! The oracle: what is read is written and read again as the same; whatever folds, folds into a state that is stored and
//! read as the same, that can be viewed, and from which a keeper boots; what does not fold is an error, never a panic.

use crate::{
    fleet::{
        event::{Context, Event, IllegalEvent},
        journal::Entry,
        memory::Memory,
        policy::{InventoryPolicy, NodeSpec, Policy, Rails},
        state::Fleet,
        step::step,
        units::Timestamp,
        view,
    },
    fuzz_tests::{Target, fuzz},
};

const WORDS: &[&str] = &[
    "\"kind\":\"booted\"",
    "\"kind\":\"adopted\"",
    "\"kind\":\"gone\"",
    "\"kind\":\"retired\"",
    "\"kind\":\"held\"",
    "\"kind\":\"released\"",
    "\"kind\":\"created\"",
    "\"kind\":\"create-unresolved\"",
    "\"kind\":\"create-abandoned\"",
    "\"kind\":\"attempt-failed\"",
    "\"kind\":\"doomed\"",
    "\"kind\":\"incident-closed\"",
    "\"node\":\"duel-0\"",
    "\"node\":\"duel-1\"",
    "\"node\":null",
    "\"op\":\"aaaaaaaaaaa\"",
    "\"op\":\"bbbbbbbbbbb\"",
    "\"instance\":101",
    "\"instance\":102",
    "\"incident\":1",
    "\"price\":-0.5",
    "\"price\":9e12",
    "\"retry_at\":18446744073709551615",
    "\"until\":0",
    "\n",
    ",",
    "null",
];

fn policy() -> Policy {
    let spec = std::sync::Arc::new(NodeSpec::default());
    let nodes = ["duel-0", "duel-1"].map(|name| (name.parse().unwrap(), std::sync::Arc::clone(&spec)));
    Policy {
        fleet: "prod".parse().unwrap(),
        nodes: nodes.into_iter().collect(),
        spares: Default::default(),
        rails: Rails::default(),
        inventory: InventoryPolicy::default(),
        observe_only: false,
        import: false,
        publish: false,
        only: None,
    }
}

#[test]
fn fuzz_journal() {
    let policy = policy();
    let must = &["folds 4", "folds 7", "folds 22", "misfit", "unreadable"];
    fuzz(&Target { name: "journal", words: WORDS, must, weight: 12 }, |input| {
        let mut fleet = Fleet::default();
        let (mut folded, mut last) = (0_u32, Timestamp(0));
        let mut kinds = String::new();
        let mut end = "";
        for line in input.split(|byte| *byte == b'\n') {
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
                end = "unreadable after ";
                break;
            };
            let written = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&written).unwrap(), entry, "{written}");
            let mut next = fleet.clone();
            if next.apply(&entry).is_err() {
                end = "misfit after ";
                break;
            }
            fleet = next;
            folded += 1;
            last = last.max(entry.at);
            kinds = entry.record.kind().to_owned();
        }
        let stored = serde_json::to_string(&fleet).unwrap();
        assert_eq!(serde_json::from_str::<Fleet>(&stored).unwrap(), fleet, "{stored}");
        let mut memory = Memory::starting(last, policy.rails.warm_up);
        let seen = view::view(&fleet, &memory, &policy, last);
        serde_json::to_string(&seen).unwrap();
        let context = Context { now: Timestamp(last.0.saturating_add(1000)), policy: &policy, random: 7 };
        let booted = step(&mut fleet, &mut memory, Event::Booted { version: "2".into() }, &context);
        assert!(!matches!(booted, Err(IllegalEvent::Misfit(_))), "no keeper boots from {stored}: {booted:?}");
        if folded == 0 { format!("{end}none") } else { format!("{end}folds {folded}, {kinds}") }
    });
}
