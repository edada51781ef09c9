//! The world on trial.

use super::*;

#[test]
fn probe_speed() {
    let mut tally = Tally::default();
    for seed in 0..6 {
        let t = std::time::Instant::now();
        let s = gate::setting(seed, 24).unwrap();
        let n = s.policy.nodes.len();
        let outcome = run(&s);
        eprintln!(
            "seed {seed}: {n} nodes {:?} {} rec {} crashes {:?}",
            t.elapsed(),
            outcome.figures.recoveries,
            outcome.figures.crashes,
            outcome.violation
        );
        tally.join(&outcome.tally);
    }
    for (what, count) in tally.iter() {
        println!("{count:8} {what}");
    }
    println!("missing: {:?}", tally.missing());
}
