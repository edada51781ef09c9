//! Keepers killed by SIGKILL at every boundary of a deploy's steps and inside each, over real SSH. Whatever the point, the box then
//! has exactly one server, the old or the new one; the same work, done again by the next keeper, ends well; and nothing is left:
//! no maintenance, no lease, no trial, nothing half-made.
//!
//! A row is a point and its passing. A step that sends several scripts is died in at each of them: a backup begins, dumps, checks
//! and ends; a migration asks, runs and validates.

use std::{fs, time::Duration};

use futures_util::future::join_all;

use super::{
    order::Work,
    scene::{self, Kind, Scene},
    *,
};
use crate::crash::Point;

type Row = (Point, u32);

const fn inside(step: Step, passing: u32) -> Row {
    (Point::InStep(step.word()), passing)
}

const fn after(step: Step) -> Row {
    (Point::Deployed(step.word()), 1)
}

/// All that an uploaded program goes through, with data to keep and to migrate.
const DATA: &[Row] = &[
    (Point::Authenticated, 1),
    inside(Step::Assess, 1),
    after(Step::Assess),
    (Point::Uploading, 1),
    inside(Step::Upload, 1),
    after(Step::Upload),
    inside(Step::Verify, 1),
    after(Step::Verify),
    inside(Step::Seal, 1),
    after(Step::Seal),
    inside(Step::Backup, 1),
    inside(Step::Backup, 2),
    inside(Step::Backup, 3),
    inside(Step::Backup, 4),
    after(Step::Backup),
    inside(Step::Enter, 1),
    inside(Step::Enter, 2),
    after(Step::Enter),
    inside(Step::Configure, 1),
    after(Step::Configure),
    inside(Step::Migrate, 1),
    inside(Step::Migrate, 2),
    inside(Step::Migrate, 3),
    after(Step::Migrate),
    inside(Step::Switch, 1),
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Start),
    inside(Step::Gate, 2),
    after(Step::Gate),
    inside(Step::Smoke, 1),
    after(Step::Smoke),
    (Point::Authenticated, 2),
    inside(Step::Confirm, 1),
    after(Step::Confirm),
    inside(Step::Exit, 1),
    inside(Step::Exit, 2),
    after(Step::Exit),
    inside(Step::Prune, 1),
    after(Step::Prune),
];
/// What differs where the box makes the release.
const MADE_THERE: &[Row] = &[
    inside(Step::Build, 1),
    inside(Step::Build, 2),
    after(Step::Build),
    inside(Step::Seal, 1),
    after(Step::Seal),
    after(Step::Switch),
    inside(Step::Start, 1),
];
const PULLED: &[Row] = &[
    inside(Step::Build, 1),
    after(Step::Build),
    after(Step::Seal),
    inside(Step::Switch, 1),
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Start),
    after(Step::Gate),
];
/// What differs where somebody else keeps the server running.
const KEPT_BY_OTHERS: &[Row] = &[
    inside(Step::Switch, 1),
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Start),
    inside(Step::Gate, 2),
];
const FETCHED: &[Row] =
    &[(Point::Fetching, 1), (Point::Fetching, 3), (Point::Fetched, 1), inside(Step::Upload, 1)];
const GONE_BACK: &[Row] = &[
    inside(Step::Assess, 1),
    after(Step::Enter),
    inside(Step::Switch, 1),
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Start),
    after(Step::Gate),
    inside(Step::Confirm, 1),
];
const RESTORED: &[Row] = &[
    inside(Step::Verify, 1),
    inside(Step::Verify, 2),
    inside(Step::Backup, 2),
    after(Step::Backup),
    after(Step::Enter),
    inside(Step::Restore, 1),
    inside(Step::Restore, 2),
    after(Step::Restore),
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Gate),
];
const ADOPTED: &[Row] = &[inside(Step::Adopt, 1), after(Step::Adopt), after(Step::Start)];
/// Between the switch and the end of the trial nobody needs to come: the box decides by itself.
const LEFT_ALONE: &[Row] = &[
    after(Step::Switch),
    inside(Step::Start, 1),
    after(Step::Start),
    inside(Step::Gate, 1),
    inside(Step::Confirm, 1),
];

/// Names a row that fails.
fn named(kind: Kind, (point, passing): Row) -> scene::Row {
    scene::Row(format!("{kind:?}: killed at {point}, passing {passing}"))
}

/// Every other row, so that two boxes share a table.
fn shared(rows: &[Row], part: usize, parts: usize) -> Vec<Row> {
    rows.iter().skip(part).step_by(parts).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_killed_at_any_point_of_a_deploy_leaves_a_box_that_serves_and_takes_the_next_one() {
    const BOXES: usize = 4;
    let data = (0..BOXES).map(|part| deploys(Kind::Data, shared(DATA, part, BOXES)));
    let others = [
        (Kind::Git, MADE_THERE),
        (Kind::Docker, PULLED),
        (Kind::Systemd, KEPT_BY_OTHERS),
        (Kind::Pm2, KEPT_BY_OTHERS),
        (Kind::Command, KEPT_BY_OTHERS),
        (Kind::Url, FETCHED),
    ];
    let others = others.map(|(kind, rows)| deploys(kind, rows.to_vec()));
    tokio::join!(join_all(data), join_all(others));
}

async fn deploys(kind: Kind, rows: Vec<Row>) {
    let Some(mut scene) = Scene::new(kind).await else { return };
    scene.serves().await;
    for (point, passing) in rows {
        let told = named(kind, (point, passing));
        scene.next_release().await;
        scene.order.dies_at(point, passing).await;
        scene.has_one_server().await;
        scene.is_held_for_a_while_only();
        scene.work_ends_well().await;
        scene.is_clean().await;
        drop(told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_killed_on_the_way_back_leaves_a_box_that_the_next_one_takes_there() {
    let going_back = async {
        let Some(mut scene) = Scene::new(Kind::Data).await else { return };
        scene.serves().await;
        scene.next_release().await;
        scene.serves().await;
        for (point, passing) in GONE_BACK.iter().copied() {
            let told = named(Kind::Data, (point, passing));
            scene.wants_the_other();
            scene.order.dies_at(point, passing).await;
            scene.has_one_server().await;
            scene.is_held_for_a_while_only();
            if (point, passing) != inside(Step::Confirm, 1) {
                // Whoever only knows that somebody wanted the way back comes to the same end, also where the switch is done.
                scene.order.work = Work::GoBack(None);
            }
            scene.work_ends_well().await;
            scene.is_clean().await;
            drop(told);
        }
    };
    let restoring = async {
        let Some(mut scene) = Scene::new(Kind::Data).await else { return };
        scene.serves().await;
        let (first, odd) = (fs::read(scene.rows()).unwrap(), scene.order.odd.clone());
        scene.next_release().await;
        scene.serves().await;
        let backup = scene.youngest_backup().await;
        for (point, passing) in RESTORED.iter().copied() {
            let told = named(Kind::Data, (point, passing));
            fs::write(scene.rows(), format!("rows: spoilt before {point}\n")).unwrap();
            scene.order.work = Work::Restore(backup.clone());
            scene.order.dies_at(point, passing).await;
            // The server stays down while its data may be in between; two of them there never are.
            assert!(scene.servers() <= 1);
            scene.is_held_for_a_while_only();
            scene.after.clone_from(&odd);
            scene.work_ends_well().await;
            scene.is_clean().await;
            assert_eq!(fs::read(scene.rows()).unwrap(), first);
            drop(told);
        }
    };
    let adopting = join_all(ADOPTED.iter().map(async |&(point, passing)| {
        let Some(mut scene) = Scene::new(Kind::Adopted).await else { return };
        let told = named(Kind::Adopted, (point, passing));
        scene.order.dies_at(point, passing).await;
        scene.has_one_server().await;
        scene.work_ends_well().await;
        scene.is_clean().await;
        drop(told);
    }));
    tokio::join!(going_back, restoring, adopting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_whose_keeper_was_killed_after_the_switch_ends_the_trial_without_one() {
    join_all(LEFT_ALONE.iter().map(async |&(point, passing)| {
        let Some(mut scene) = Scene::new(Kind::Command).await else { return };
        scene.serves().await;
        let told = named(Kind::Command, (point, passing));
        scene.next_release().await;
        // Long enough to come to the point on a machine that does much else, and then over soon.
        scene.order.trial = (Duration::from_secs(45), Duration::from_secs(15));
        scene.order.dies_at(point, passing).await;
        scene.decides_by_itself().await;
        drop(told);
    }))
    .await;
}
