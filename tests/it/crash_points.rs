//! The keeper dies by SIGKILL at named points, again and again on its way back; each time it must end where it would have ended
//! without, judged by the provider's own record.
//!
//! A walk through the points is cut into stories of some deaths each, which overlap by one, so that every two neighbours of the
//! walk are a pair: dead at the first, started, dead at the second. After each story the fleet must be whole again. The usual
//! walk passes every point once, in a seeded order; `CRASH_SEED` walks in another, `CRASH_PAIRS=all` through every ordered
//! pair.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use futures_util::future::join_all;
use vast_keeper::crash::Point;

use crate::harness::{Fleet, room};

/// Fleets at once: a recovery mostly waits.
const FLEETS: usize = 8;
/// The same for the long walk, beside which nothing else runs.
const FLEETS_FOR_ALL: usize = 16;
/// Pairs in a story.
const PAIRS: usize = 6;

/// Orders the usual walk.
const SEED: u64 = 1;

/// Where and at which passing to die.
#[derive(Debug, Clone, Copy)]
struct Death {
    point: Point,
    passing: u32,
}

impl Death {
    /// Points that are passed often are died at in a later passing too.
    fn at(point: Point, random: &mut fastrand::Rng) -> Self {
        let often = match point {
            Point::ScriptSent => 8,
            Point::InCommit | Point::Sending("list") | Point::Answered("list") => 4,
            Point::NoticeSending | Point::NoticeTaken => 2,
            _ => 1,
        };
        Self { point, passing: random.u32(1..=often) }
    }
}

/// Has several fleets go through all of these; each takes the next when it is whole again.
async fn go_through(stories: Vec<Vec<Death>>, fleets: usize) {
    let _room = room(fleets as u32).await;
    let fleets = stories.len().min(fleets) as u64;
    let stories = Mutex::new(VecDeque::from(stories));
    join_all((0..fleets).map(|seed| one_fleet(seed, &stories))).await;
}

async fn one_fleet(seed: u64, stories: &Mutex<VecDeque<Vec<Death>>>) {
    let mut fleet = Fleet::small("crash points", seed, 1).await;
    // Hundreds of recoveries: nothing here counts incidents, so none need wait for more silence.
    fleet.settings.edit("failure_threshold = 6", "failure_threshold = 3");
    fleet.start().await;
    fleet.all_serve().await;
    loop {
        let Some(story) = stories.lock().unwrap().pop_front() else { break };
        let named = Named(story.clone());
        for death in story {
            fleet.dies_at(death.point, death.passing).await;
        }
        fleet.is_whole_again().await;
        drop(named);
    }
    fleet.everything_was_told().await;
}

/// Names the deaths of a story that fails.
struct Named(Vec<Death>);

impl Drop for Named {
    #[allow(clippy::print_stderr, reason = "a failed test tells its story")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let words: Vec<String> =
                self.0.iter().map(|death| format!("{} {}", death.point, death.passing)).collect();
            eprintln!("── not whole after dying at {}", words.join(", then at "));
        }
    }
}

/// Every point once, and the first again at the end.
fn each_once(points: &[Point]) -> Vec<Point> {
    points.iter().chain(points.first()).copied().collect()
}

/// Every ordered pair once, those of a point with itself too: a circuit through all edges, by Hierholzer's way.
fn every_pair(points: &[Point]) -> Vec<Point> {
    let mut left: Vec<Vec<usize>> = points.iter().map(|_| (0..points.len()).collect()).collect();
    let mut way = vec![0];
    let mut circuit = Vec::new();
    while let Some(at) = way.last().copied() {
        match left[at].pop() {
            Some(next) => way.push(next),
            None => circuit.extend(way.pop()),
        }
    }
    circuit.into_iter().map(|index| points[index]).collect()
}

/// The same walk each time, so that what fails here fails everywhere; another one for `CRASH_SEED`.
fn seed() -> u64 {
    std::env::var("CRASH_SEED").map_or(SEED, |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "the seed of a walk must be known")]
async fn a_keeper_that_dies_at_any_point_and_again_on_its_way_back_goes_on_where_it_was() {
    let seed = seed();
    eprintln!("CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut points = Point::ALL.to_vec();
    random.shuffle(&mut points);
    let all = std::env::var("CRASH_PAIRS").is_ok_and(|which| which == "all");
    let walk = if all { every_pair(&points) } else { each_once(&points) };
    let walk: Vec<Death> = walk.into_iter().map(|point| Death::at(point, &mut random)).collect();
    let begins = (0..walk.len() - 1).step_by(PAIRS);
    let stories = begins.map(|at| walk[at..walk.len().min(at + PAIRS + 1)].to_vec());
    go_through(stories.collect(), if all { FLEETS_FOR_ALL } else { FLEETS }).await;
}

#[test]
fn the_walk_through_every_pair_has_each_exactly_once() {
    let walk = every_pair(Point::ALL);
    let pairs: BTreeSet<(Point, Point)> = walk.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let count = Point::ALL.len() * Point::ALL.len();
    assert_eq!((pairs.len(), walk.len()), (count, count + 1));
}
