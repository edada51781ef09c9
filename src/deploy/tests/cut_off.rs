//! The way to the box is lost in each step: cut, so that both ends know; silent, so that nobody is told; or closed for good. Whatever
//! the step, the deploy ends soon and says what is true, the box has one server that serves, and the next deploy ends well.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{sync::mpsc, time::Instant};

use super::{
    scene::{Kind, Row, Scene},
    trials,
    way::Way,
    *,
};
use crate::remote::{Remote, RemoteConfig};

/// How the way is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Cut,
    Silent,
    Closed,
}

/// What is true of a deploy whose box cannot be reached any more from that step on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing was switched: the box is at fault, and goes on with what it had.
    Unreached,
    /// It was: the box decides by itself.
    Unknown,
    /// What is to serve serves; what was left to do does not matter, or the next one does it.
    Done,
}

/// Every step that works on the box, and the verdict where it cannot be reached any more.
const STEPS: &[(Kind, Step, Verdict)] = &[
    (Kind::Data, Step::Assess, Verdict::Unreached),
    (Kind::Data, Step::Upload, Verdict::Unreached),
    (Kind::Data, Step::Verify, Verdict::Unreached),
    (Kind::Data, Step::Seal, Verdict::Unreached),
    (Kind::Data, Step::Backup, Verdict::Unreached),
    (Kind::Data, Step::Enter, Verdict::Unreached),
    (Kind::Data, Step::Configure, Verdict::Unreached),
    (Kind::Data, Step::Migrate, Verdict::Unreached),
    (Kind::Data, Step::Switch, Verdict::Unknown),
    (Kind::Data, Step::Start, Verdict::Unknown),
    // The gate asks the server and not the box; what follows it meets the closed way.
    (Kind::Data, Step::Gate, Verdict::Unknown),
    (Kind::Data, Step::Smoke, Verdict::Unknown),
    (Kind::Data, Step::Confirm, Verdict::Unknown),
    (Kind::Data, Step::Exit, Verdict::Done),
    (Kind::Data, Step::Prune, Verdict::Done),
    (Kind::Git, Step::Build, Verdict::Unreached),
    (Kind::Docker, Step::Build, Verdict::Unreached),
    (Kind::Docker, Step::Start, Verdict::Unknown),
    (Kind::Systemd, Step::Start, Verdict::Unknown),
];
/// Unanswered tests of a silent connection come this far apart; four of them end it.
const TEST_EVERY: Duration = Duration::from_secs(1);
/// What a step may take beyond noticing that: a new connection, and the step itself, on a machine that does much else.
const AGAIN: Duration = Duration::from_secs(90);
/// Added to a program, so that its upload can be lost half-way.
const BALLAST: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_is_cut_in_any_step_costs_a_repetition() {
    lost_in_each_step(Loss::Cut, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_falls_silent_in_any_step_is_given_up_and_another_one_found() {
    lost_in_each_step(Loss::Silent, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_cannot_be_reached_any_more_is_told_of_rightly_and_decides_by_itself() {
    lost_in_each_step(Loss::Closed, 6).await;
}

async fn lost_in_each_step(loss: Loss, boxes: usize) {
    let parts = (0..boxes).map(async |part| {
        let mut scenes: Vec<(Kind, Scene)> = vec![];
        for (kind, step, verdict) in STEPS.iter().skip(part).step_by(boxes) {
            if !scenes.iter().any(|(of, _)| of == kind) {
                let Some(mut scene) = Scene::new(*kind).await else { continue };
                scene.ballast = BALLAST;
                scene.serves().await;
                scenes.push((*kind, scene));
            }
            let scene = &mut scenes.iter_mut().find(|(of, _)| of == kind).unwrap().1;
            lost_in(scene, loss, *step, *verdict).await;
        }
    });
    join_all(parts).await;
}

async fn lost_in(scene: &mut Scene, loss: Loss, step: Step, verdict: Verdict) {
    let what = format!("{loss:?} in {step}");
    let told = Row(what.clone());
    let way = Way::to(scene.order.ssh_port).await;
    scene.next_release().await;
    let mut request = scene.order.request().await;
    request.site.endpoints[0].port = way.port;
    // A closed way is given up sooner, yet not so soon that a slow machine never gets through an open one.
    request.site.connect_budget = Duration::from_secs(if loss == Loss::Closed { 10 } else { 20 });
    let (sender, mut reports) = mpsc::channel::<StepReport>(256);
    let mut lost_at = None;
    let losing = async {
        while let Some(report) = reports.recv().await {
            // An upload is lost half-way, a command of the configuration's at its begin, which takes its time.
            let phase = if step == Step::Upload { StepPhase::Going } else { StepPhase::Started };
            if lost_at.is_some() || (report.step, report.phase) != (step, phase) {
                continue;
            }
            lost_at = Some(Instant::now());
            match loss {
                Loss::Cut => way.cut(),
                Loss::Silent => way.falls_silent(),
                Loss::Closed => way.close(),
            }
        }
    };
    let remote = remote(scene);
    let work = async {
        let result = deploy(&remote, &request, &sender).await;
        drop(sender);
        (result, Instant::now())
    };
    let ((result, ended), ()) = tokio::join!(work, losing);
    let took = ended - lost_at.unwrap_or_else(|| panic!("{what}: the step was not taken: {result:?}"));
    assert!(took < 4 * TEST_EVERY + AGAIN, "{what}: it took {took:?}");
    let true_of_it = if loss == Loss::Closed { verdict } else { Verdict::Done };
    let right = matches!(
        (&result, true_of_it),
        (Ok(_), Verdict::Done)
            | (Err(DeployFault::Box(_)), Verdict::Unreached)
            | (Err(DeployFault::Unknown(_)), Verdict::Unknown)
    );
    assert!(right, "{what}: {verdict:?} is true, and it tells {result:?}");
    way.open();
    if let Ok(done) = result {
        scene.now_serves(done).await;
        if loss == Loss::Closed {
            // Neither its note nor its lease could be taken away; the next one does it.
            scene.next_release().await;
            scene.work_ends_well().await;
        }
    } else {
        scene.has_one_server().await;
        // A switch that never came leaves the server of before at rest, which is told; whoever comes next lets it go on.
        if verdict == Verdict::Unknown && step != Step::Switch {
            trials::is_over_soon(&scene.order.folder.join("home/keeper")).await;
            scene.decides_by_itself().await;
        }
        scene.is_held_for_a_while_only();
        scene.work_ends_well().await;
    }
    scene.is_clean().await;
    drop(told);
}

/// A way of its own for each loss: it notices silence sooner than one for real boxes.
fn remote(scene: &Scene) -> Remote {
    let folder = &scene.order.folder;
    let mut config = RemoteConfig::new(folder.join("key"), folder.join("state"));
    config.connect_timeout = Duration::from_secs(5);
    config.alive_interval = TEST_EVERY;
    Remote::new(config).unwrap()
}
