//! The prober against real sockets on 127.0.0.1.

mod answers;
mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::mpsc::Receiver,
    time::{Instant, sleep, timeout},
};

use self::server::{Act, ok, serve};
use super::*;
use crate::fleet::{
    policy::{HealthPolicy, NodeSpec, RentalSpec},
    probe::{Failure, Target, Verdict},
};

const WELL: &str = r#"{"status":"healthy","instance":"op","database":"connected","websocket":"running"}"#;
/// Far more than anything here takes, even on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(20);

fn policy() -> HealthPolicy {
    HealthPolicy {
        interval: Duration::from_millis(200),
        retry_interval: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
        ..HealthPolicy::default()
    }
}

fn watched(name: &str, address: SocketAddr, policy: HealthPolicy) -> Watched {
    let target = Target { node: name.parse().unwrap(), address, identity: "op".parse().unwrap() };
    let rental = RentalSpec { allow_private_addresses: true, ..RentalSpec::default() };
    Watched { target, health: Arc::new(NodeSpec { health: policy, rental, ..NodeSpec::default() }) }
}

fn prober(capacity: usize) -> (Prober, Receiver<ProbeReport>) {
    let (out, reports) = mpsc::channel(capacity);
    (Prober::start(Clock::new(), 7, out).unwrap(), reports)
}

async fn next(reports: &mut Receiver<ProbeReport>) -> ProbeReport {
    timeout(PATIENCE, reports.recv()).await.expect("a report in time").expect("the prober runs")
}

async fn next_of(reports: &mut Receiver<ProbeReport>, node: &str) -> Observation {
    loop {
        let report = next(reports).await;
        if report.node.as_str() == node {
            return report.observation;
        }
    }
}

/// What the first probe of a server that acts so means.
async fn verdict_of(act: Act, policy: HealthPolicy) -> Verdict {
    let server = serve(act).await;
    let (prober, mut reports) = prober(8);
    prober.watch(watched("n", server.address, policy)).unwrap();
    next(&mut reports).await.observation.verdict
}

#[tokio::test]
async fn a_server_that_is_well_is_reported_so_on_its_schedule() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(8);
    prober.watch(watched("duel-0", server.address, policy())).unwrap();
    let mut starts = Vec::new();
    for _ in 0..5 {
        let ProbeReport { node, observation } = next(&mut reports).await;
        assert_eq!((node.as_str(), observation.identity.as_str()), ("duel-0", "op"));
        assert_eq!(observation.verdict, Verdict::Healthy);
        starts.push((observation.at, observation.lateness));
    }
    assert_eq!(server.accepted.load(SeqCst), 5, "a fresh connection each");
    // Two successes settle it; from then on it is asked every 200 ms, less what a start itself was late.
    for pair in starts[2..].windows(2) {
        let gap = pair[1].0.since(pair[0].0);
        assert!(gap + pair[0].1 + Duration::from_millis(2) >= Duration::from_millis(200), "{starts:?}");
    }
}

#[tokio::test]
async fn hung_nodes_delay_nobody() {
    let (hung, well) = (serve(Act::Hang).await, serve(Act::Answer(ok(WELL))).await);
    let (prober, mut reports) = prober(64);
    for i in 0..200 {
        prober.watch(watched(&format!("hung-{i}"), hung.address, policy())).unwrap();
    }
    let began = Instant::now();
    prober.watch(watched("well", well.address, policy())).unwrap();
    for _ in 0..6 {
        assert_eq!(next_of(&mut reports, "well").await.verdict, Verdict::Healthy);
    }
    // A sweep would have waited this long for the first hung target alone.
    assert!(began.elapsed() < policy().timeout, "{:?}", began.elapsed());
}

/// The promise: `threshold · interval + timeout + 0.5 s` after the servers hang, each node has failed that often.
async fn detection_of(nodes: usize) {
    let policy = HealthPolicy {
        interval: Duration::from_millis(500),
        retry_interval: Duration::from_millis(500),
        timeout: Duration::from_millis(400),
        require_identity: false,
        ..policy()
    };
    let bound = policy.interval * policy.failure_threshold + policy.timeout + Duration::from_millis(500);
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(64);
    for i in 0..nodes {
        prober.watch(watched(&format!("n-{i}"), server.address, policy.clone())).unwrap();
    }
    let mut well = HashMap::new();
    while well.len() < nodes || well.values().any(|count| *count < 2) {
        *well.entry(next(&mut reports).await.node).or_insert(0) += 1;
    }
    server.hung.store(true, SeqCst);
    let began = Instant::now();
    let worst = Arc::new(AtomicU32::new(0));
    let machine = tokio::spawn(lateness(Arc::clone(&worst)));
    let mut failures: HashMap<NodeName, u32> = HashMap::new();
    while failures.len() < nodes || failures.values().any(|count| *count < policy.failure_threshold) {
        let report = next(&mut reports).await;
        if matches!(report.observation.verdict, Verdict::Failing(Failure::Timeout { .. })) {
            *failures.entry(report.node).or_insert(0) += 1;
        }
    }
    let took = began.elapsed();
    machine.abort();
    // What the machine itself was late by, at most, for each of the waits.
    let late = worst.load(SeqCst) * (policy.failure_threshold + 1);
    let bound = bound + Duration::from_millis(late.into());
    assert!(took <= bound, "{nodes} nodes: {took:?} > {bound:?}, of these {late} ms the machine's");
}

/// Keeps in `worst` by how many milliseconds a bare timer was late at most: other tests share the processors.
async fn lateness(worst: Arc<AtomicU32>) {
    const BEAT: Duration = Duration::from_millis(10);
    loop {
        let began = Instant::now();
        sleep(BEAT).await;
        let late = began.elapsed().saturating_sub(BEAT).as_millis();
        worst.fetch_max(u32::try_from(late).unwrap_or(u32::MAX), SeqCst);
    }
}

#[tokio::test]
async fn one_hung_server_is_detected_in_the_promised_time() {
    detection_of(1).await;
}

#[tokio::test]
async fn two_hundred_hung_servers_are_detected_in_the_promised_time() {
    detection_of(50).await;
    detection_of(200).await;
}

#[tokio::test]
async fn a_newcomer_to_a_running_fleet_is_asked_at_once() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(64);
    for i in 0..40 {
        prober.watch(watched(&format!("n-{i}"), server.address, policy())).unwrap();
    }
    let mut heard = HashMap::new();
    while heard.len() < 40 {
        heard.insert(next(&mut reports).await.node, ());
    }
    let rare = HealthPolicy { interval: Duration::from_secs(3600), ..policy() };
    // One that would wait long if the fleet were starting.
    let would_wait = |name: &String| first_wait(&rare, 7, &name.parse().unwrap(), 40) > PATIENCE;
    let newcomer = (0..).map(|i| format!("newcomer-{i}")).find(would_wait).unwrap();
    prober.watch(watched(&newcomer, server.address, rare)).unwrap();
    let asked = timeout(PATIENCE, next_of(&mut reports, &newcomer));
    assert_eq!(asked.await.expect("it does not wait its turn").verdict, Verdict::Healthy);
}

#[tokio::test]
async fn a_new_address_is_asked_at_once_and_the_old_question_abandoned() {
    let (hung, well) = (serve(Act::Hang).await, serve(Act::Answer(ok(WELL))).await);
    let slow =
        HealthPolicy { interval: Duration::from_secs(3600), timeout: Duration::from_secs(1800), ..policy() };
    let (prober, mut reports) = prober(8);
    prober.watch(watched("n", hung.address, slow.clone())).unwrap();
    until(|| hung.requests.load(SeqCst) == 1).await;
    prober.watch(watched("n", well.address, slow)).unwrap();
    assert_eq!(next(&mut reports).await.observation.verdict, Verdict::Healthy);
}

/// Waits for something other tasks bring about.
async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it holds in time");
}

#[tokio::test]
async fn a_probe_on_demand_does_not_wait_for_its_turn() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let rare = HealthPolicy {
        interval: Duration::from_secs(3600),
        retry_interval: Duration::from_secs(3600),
        ..policy()
    };
    let (prober, mut reports) = prober(8);
    prober.watch(watched("n", server.address, rare)).unwrap();
    next(&mut reports).await;
    prober.probe_now(&"n".parse().unwrap());
    next(&mut reports).await;
    prober.probe_now(&"unknown".parse().unwrap());
    assert_eq!(server.requests.load(SeqCst), 2);
}

#[tokio::test]
async fn a_changed_policy_counts_from_the_next_probe_and_the_same_one_changes_nothing() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let rare = HealthPolicy {
        interval: Duration::from_secs(3600),
        retry_interval: Duration::from_secs(3600),
        ..policy()
    };
    let (prober, mut reports) = prober(8);
    let first = watched("n", server.address, rare.clone());
    prober.watch(first.clone()).unwrap();
    assert_eq!(next(&mut reports).await.observation.verdict, Verdict::Healthy);
    prober.watch(first).unwrap();
    let strict = HealthPolicy { conditions: vec!["[STATUS] == 418".parse().unwrap()], ..rare };
    prober.watch(watched("n", server.address, strict)).unwrap();
    prober.probe_now(&"n".parse().unwrap());
    let expected = Failure::Condition { detail: "[STATUS] (200) == 418".into() };
    assert_eq!(next(&mut reports).await.observation.verdict, Verdict::Failing(expected));
    assert_eq!(server.requests.load(SeqCst), 2);
}

#[tokio::test]
async fn an_unwatched_node_is_left_alone_and_a_dropped_prober_is_silent() {
    let (left, kept) = (serve(Act::Answer(ok(WELL))).await, serve(Act::Answer(ok(WELL))).await);
    let (prober, mut reports) = prober(8);
    prober.watch(watched("left", left.address, policy())).unwrap();
    prober.watch(watched("kept", kept.address, policy())).unwrap();
    next_of(&mut reports, "left").await;
    prober.unwatch(&"left".parse().unwrap());
    let asked = left.requests.load(SeqCst);
    for _ in 0..5 {
        next_of(&mut reports, "kept").await;
    }
    assert!(left.requests.load(SeqCst) <= asked + 1, "at most the one in flight was still counted");
    drop(prober);
    let silent = async { while reports.recv().await.is_some() {} };
    timeout(PATIENCE, silent).await.expect("every sender is gone");
}

#[tokio::test]
async fn nobody_listening_holds_a_node_back_without_losing_its_report() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(1);
    for i in 0..20 {
        prober.watch(watched(&format!("n-{i}"), server.address, policy())).unwrap();
    }
    // One report fills the channel, yet every node is asked its first time…
    until(|| server.requests.load(SeqCst) >= 20).await;
    // …and each of them is heard once somebody listens.
    let mut heard = HashMap::new();
    while heard.len() < 20 {
        let report = next(&mut reports).await;
        heard.insert(report.node, report.observation.verdict);
    }
    assert!(heard.values().all(|verdict| *verdict == Verdict::Healthy));
}

#[tokio::test]
async fn a_private_address_is_never_connected_to_unless_allowed() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(8);
    let mut watched = watched("n", server.address, policy());
    watched.health = Arc::new(NodeSpec { health: policy(), ..NodeSpec::default() });
    prober.watch(watched).unwrap();
    for _ in 0..3 {
        let verdict = next(&mut reports).await.observation.verdict;
        let Verdict::Failing(Failure::Unreachable { detail }) = verdict else { panic!("{verdict:?}") };
        assert!(detail.contains("not globally routable"), "{detail}");
    }
    assert_eq!(server.accepted.load(SeqCst), 0);
}

#[tokio::test]
async fn a_kept_connection_is_reused_and_renewed() {
    let server = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(8);
    let policy = HealthPolicy { keep_alive: true, interval: Duration::from_millis(10), ..policy() };
    prober.watch(watched("n", server.address, policy)).unwrap();
    for _ in 0..25 {
        assert_eq!(next(&mut reports).await.observation.verdict, Verdict::Healthy);
    }
    let (connections, requests) = (server.accepted.load(SeqCst), server.requests.load(SeqCst));
    assert_eq!(connections, requests.div_ceil(10), "ten probes each");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_no_failure() {
    // It promises to keep the connection and closes it after every answer.
    let server = serve(Act::AnswerThenClose(ok(WELL))).await;
    let (prober, mut reports) = prober(8);
    prober.watch(watched("n", server.address, HealthPolicy { keep_alive: true, ..policy() })).unwrap();
    for _ in 0..5 {
        assert_eq!(next(&mut reports).await.observation.verdict, Verdict::Healthy);
    }
}

#[tokio::test]
async fn a_kept_connection_with_more_than_the_answer_in_it_is_not_asked_again() {
    let server = serve(Act::AnswerThenMore(ok(WELL), b"x".to_vec())).await;
    let other = serve(Act::Answer(ok(WELL))).await;
    let (prober, mut reports) = prober(8);
    let rare = HealthPolicy {
        interval: Duration::from_secs(3600),
        retry_interval: Duration::from_secs(3600),
        ..policy()
    };
    let keeping = HealthPolicy { keep_alive: true, ..rare.clone() };
    prober.watch(watched("n", server.address, keeping)).unwrap();
    for round in 1..=3 {
        assert_eq!(next_of(&mut reports, "n").await.verdict, Verdict::Healthy);
        until(|| server.more.load(SeqCst) == round).await;
        // Whoever has heard a newcomer that was asked after that knows what has come on the other connections too.
        let newcomer = format!("newcomer-{round}");
        prober.watch(watched(&newcomer, other.address, rare.clone())).unwrap();
        next_of(&mut reports, &newcomer).await;
        prober.probe_now(&"n".parse().unwrap());
    }
}

#[tokio::test]
async fn a_path_no_request_can_carry_is_refused() {
    let (prober, _reports) = prober(8);
    for path in ["", "health", "http://elsewhere/", "/he alth", "/\r\nx: y", "/#", "/ü"] {
        let policy = HealthPolicy { path: path.into(), ..policy() };
        let error = prober.watch(watched("n", "127.0.0.1:1".parse().unwrap(), policy)).unwrap_err();
        assert!(error.to_string().contains("of node `n`"), "{error}");
    }
}
