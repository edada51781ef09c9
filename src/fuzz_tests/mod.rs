//! Fuzzing of everything that strangers write: provider, boxes, servers, operators, old journals.
//!
//! Each target lives in the tests of the room whose decoder it calls, states an oracle (not only "no panic"), and names
//! outcomes that it must come to see, so that none passes by refusing everything. Inputs are mutations of a small corpus
//! in `tests/fixtures/fuzz/<target>` (bits, bytes, ranges, numbers, words of the format, splices). It runs on the stable
//! toolchain and is therefore not guided by coverage of the code but by behaviour: a target tells what came of an input,
//! and inputs with a new outcome join the pool. The same seed makes the same inputs.
//!
//! A run of the tests takes a few seconds. The long one, whose executions are counted per target:
//!
//! ```sh
//! KEEPER_FUZZ_RUNS=10000000 cargo test -p vast-keeper --release --lib -- fuzz --nocapture
//! ```
//!
//! `step` with arbitrary events has its own generator, which knows the state: `fleet/step/tests/nonsense.rs`.

mod mutate;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use self::mutate::Mutator;
use crate::clock::Clock;

/// Executions of a target in an ordinary run of the tests.
const RUNS: u64 = 12_000;
/// Seeds every target, unless `KEEPER_FUZZ_SEED` says otherwise.
const SEED: u64 = 20_261_120;
/// Most tries to make a failing input smaller.
const SHRINKING: u32 = 2_000;
/// Inputs kept for their outcome; beyond it the pool is good enough.
const POOL_MAX: usize = 2_000;

/// What is fuzzed.
pub(crate) struct Target {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// Words of the format, which chance alone would not spell.
    pub words: &'static [&'static str],
    /// Outcomes that must occur, each the beginning of one that [`fuzz`]'s closure tells.
    pub must: &'static [&'static str],
    /// How many times slower than the quick ones it is: an ordinary run makes so many times fewer executions.
    pub weight: u64,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}={text}`")))
}

/// Runs a target: `run` calls the decoder, asserts its oracle, and tells what came of the input in few words.
pub(crate) fn fuzz(target: &Target, run: impl Fn(&[u8]) -> String) {
    let runs = setting("KEEPER_FUZZ_RUNS").unwrap_or(RUNS / target.weight);
    let seed = setting("KEEPER_FUZZ_SEED").unwrap_or(SEED);
    let mut pool = corpus(target.name);
    let mut mutator = Mutator::new(seed, target.words);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let clock = Clock::new();
    let began = clock.now();
    for execution in 0..runs {
        // The corpus as it is comes first.
        let input = match usize::try_from(execution).ok().and_then(|at| pool.get(at)) {
            Some(input) if execution < 64 => input.clone(),
            _ => mutator.mutant(&pool),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        let outcome = outcome.unwrap_or_else(|_| {
            let smallest = smallest(input.clone(), &run);
            panic!(
                "`{}` failed at execution {execution} of seed {seed}; the smallest input found: {:?}",
                target.name,
                String::from_utf8_lossy(&smallest)
            )
        });
        let seen = outcomes.len();
        *outcomes.entry(outcome).or_default() += 1;
        if outcomes.len() > seen && pool.len() < POOL_MAX {
            pool.push(input);
        }
    }
    report(target, runs, clock.now().since(began), &outcomes);
    for must in target.must {
        let seen = outcomes.keys().any(|outcome| outcome.starts_with(must));
        assert!(seen, "`{}` never came to `{must}`: {outcomes:?}", target.name);
    }
}

fn report(target: &Target, runs: u64, took: Duration, outcomes: &BTreeMap<String, u64>) {
    let mut text = String::new();
    let mut common: Vec<_> = outcomes.iter().collect();
    common.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (outcome, count) in common.iter().take(6) {
        let _ = write!(text, "; {count} {}", outcome.chars().take(40).collect::<String>());
    }
    println!(
        "fuzz {}: {runs} executions in {:.1} s, {} outcomes{text}",
        target.name,
        took.as_secs_f64(),
        outcomes.len()
    );
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus in {}", folder.display());
    inputs
}

/// Takes away ranges, ever smaller ones, as long as it still fails; each try that does says so on stderr.
fn smallest(mut input: Vec<u8>, run: &impl Fn(&[u8]) -> String) -> Vec<u8> {
    let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| run(input))).is_err();
    let (mut size, mut tries) = (input.len() / 2, SHRINKING);
    while size > 0 && tries > 0 {
        let mut at = 0;
        while at < input.len() && tries > 0 {
            tries -= 1;
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            if fails(&shorter) {
                input = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

#[test]
fn a_fault_is_found_and_made_small() {
    let target = Target { name: "label", words: &["needle"], must: &[], weight: 1 };
    let failed = catch_unwind(|| {
        fuzz(&target, |input| {
            assert!(!input.windows(6).any(|six| six == b"needle"), "planted");
            String::new()
        });
    });
    let message = failed.expect_err("the planted fault was not found");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.ends_with("the smallest input found: \"needle\""), "{message}");
}
