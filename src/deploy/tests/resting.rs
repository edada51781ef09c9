//! Deploys and maintenance: a server that runs comes to rest first, and always goes on afterwards. And the lease.

use std::{fs, time::Duration};

use tokio::sync::mpsc;

use super::{stage::Stage, *};
use crate::{
    fleet::event::Seen,
    maintenance::{Client, Fault},
};

const CODE: &str = "the-admin-code-of-the-test";

/// A box whose server has a maintenance API.
async fn stage() -> Option<(Stage, Client)> {
    let mut stage = Stage::new().await?;
    stage.set("ADMIN_CODE", CODE);
    stage.request.maintenance =
        Some(Maintenance { code: CODE.into(), wait: Duration::from_secs(1), on_timeout: OnTimeout::Abort });
    let client = Client::new(stage.request.site.public, CODE.into()).unwrap();
    Some((stage, client))
}

fn asked(stage: &Stage) -> Vec<String> {
    let text = fs::read_to_string(stage.keeper("data/asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_server_that_runs_is_brought_to_rest_and_the_new_one_goes_on() {
    let Some((mut stage, client)) = stage().await else { return };
    let steps = stage.deploy().await.unwrap();
    assert!(!steps.contains(&Step::Enter), "nothing ran: {steps:?}");
    assert!(asked(&stage).is_empty());

    stage.take(1).await;
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Enter) && steps.contains(&Step::Exit), "{steps:?}");
    assert_eq!(asked(&stage), ["enter", "exit"]);
    assert!(!client.status().await.unwrap().active);
    assert!(!stage.keeper("run/maintenance").exists());
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
}

#[tokio::test]
async fn a_server_that_never_rests_is_left_alone_unless_told_otherwise() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.set("REST", "never");
    stage.deploy().await.unwrap();
    let before = stage.pid().await;
    stage.take(1).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Refused(words) if words.contains("FIGHTING")), "{fault:?}");
    assert_eq!(stage.pid().await, before);
    assert!(!client.status().await.unwrap().active, "it goes on");
    assert!(!stage.keeper("run/maintenance").exists());

    stage.request.maintenance.as_mut().unwrap().on_timeout = OnTimeout::Proceed;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
}

#[tokio::test]
async fn somebody_elses_maintenance_is_theirs() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.deploy().await.unwrap();
    client.enter("a concert", Duration::from_secs(5)).await.unwrap();
    stage.take(1).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Refused(words) if words.contains("a concert")), "{fault:?}");
    let status = client.status().await.unwrap();
    assert_eq!((status.active, status.reason.as_deref()), (true, Some("a concert")));
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
}

#[tokio::test]
async fn a_wrong_code_changes_nothing_and_a_server_without_the_api_is_deployed_to() {
    let Some((mut stage, _)) = stage().await else { return };
    stage.deploy().await.unwrap();
    let before = stage.pid().await;
    stage.take(1).await;
    stage.request.maintenance.as_mut().unwrap().code = "another".into();
    let settings = stage.keeper("current/server.env");
    let known = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, known.replace(CODE, "nor this one")).unwrap();
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Refused(words) if words.contains("admin code")), "{fault:?}");
    assert_eq!(stage.pid().await, before);

    stage.request.env.remove("ADMIN_CODE");
    stage.request.maintenance = None;
    stage.deploy().await.unwrap();
    stage.request.maintenance =
        Some(Maintenance { code: CODE.into(), wait: Duration::from_secs(1), on_timeout: OnTimeout::Abort });
    stage.take(0).await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
}

#[tokio::test]
async fn a_code_that_is_changed_reaches_a_server_that_knows_only_the_one_of_before() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.deploy().await.unwrap();
    stage.take(1).await;
    stage.set("ADMIN_CODE", "the-next-code-of-the-test");
    stage.request.maintenance.as_mut().unwrap().code = "the-next-code-of-the-test".into();
    stage.deploy().await.unwrap();
    assert_eq!(asked(&stage), ["enter", "exit"]);
    assert_eq!(client.status().await.unwrap_err(), Fault::Refused, "the old one is good for nothing now");
    let next = Client::new(stage.request.site.public, "the-next-code-of-the-test".into()).unwrap();
    assert!(!next.status().await.unwrap().active);
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
}

#[tokio::test]
async fn what_a_keeper_that_died_has_entered_the_next_deploy_ends() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.deploy().await.unwrap();
    stage.take(1).await;
    stage.die_after(Step::Enter).await;
    assert!(client.status().await.unwrap().active, "it is held");
    assert!(stage.keeper("run/maintenance").exists(), "and the box knows by whom");

    // Not even the same release: something else is wanted by now.
    stage.set("ODD", "changed meanwhile");
    stage.deploy().await.unwrap();
    assert!(!client.status().await.unwrap().active);
    assert!(!stage.keeper("run/maintenance").exists());
    assert_eq!(asked(&stage), ["enter", "exit", "enter", "exit"]);
}

#[tokio::test]
async fn the_keeper_ends_what_work_that_died_has_entered_and_nothing_else() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.deploy().await.unwrap();
    let ended = async |stage: &Stage| {
        let site = Site { by: "the keeper".into(), ..stage.request.site.clone() };
        let (env, maintenance) = (stage.request.env.clone(), stage.request.maintenance.clone());
        let request = RollbackRequest { site, to: None, env, maintenance };
        end_forgotten(&stage.remote, &request).await
    };
    let address = stage.request.site.address();
    client.enter("a concert", Duration::from_secs(5)).await.unwrap();
    let seen = ended(&stage).await.unwrap();
    assert!(matches!(&seen, Seen::Stays(why) if why.contains("no deploy")), "{seen:?}");
    assert!(client.status().await.unwrap().active, "it is a person's");
    client.exit(Duration::from_secs(5)).await.unwrap();

    stage.take(1).await;
    stage.die_after(Step::Enter).await;
    let fault = ended(&stage).await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Locked(_)), "it may be at work still: {fault:?}");
    lock_break(&stage.remote, &address, Duration::from_secs(20)).await.unwrap();
    fs::write(stage.keeper("run/data"), "the migration to x\n").unwrap();
    let seen = ended(&stage).await.unwrap();
    assert_eq!(seen, Seen::Halfway("the migration to x".into()));
    fs::remove_file(stage.keeper("run/data")).unwrap();
    assert!(client.status().await.unwrap().active);
    // A note that is left of work which ended, and a person who entered since.
    let owed = fs::read_to_string(stage.keeper("run/maintenance")).unwrap();
    client.exit(Duration::from_secs(5)).await.unwrap();
    client.enter("a concert", Duration::from_secs(5)).await.unwrap();
    let seen = ended(&stage).await.unwrap();
    assert!(matches!(&seen, Seen::Stays(why) if why.contains("a concert")), "{seen:?}");
    client.exit(Duration::from_secs(5)).await.unwrap();
    client.enter(owed.trim().split_once(' ').unwrap().1, Duration::from_secs(5)).await.unwrap();
    // What stands there was never verified.
    let verified = stage.keeper("current/.verified");
    fs::rename(&verified, stage.keeper("run/verified")).unwrap();
    let seen = ended(&stage).await.unwrap();
    assert!(matches!(&seen, Seen::Stays(why) if why.contains("never verified")), "{seen:?}");
    fs::rename(stage.keeper("run/verified"), &verified).unwrap();
    // Its server knows the code of before, and only that one.
    stage.request.maintenance.as_mut().unwrap().code = "the-next-code-of-the-test".into();
    let seen = ended(&stage).await.unwrap();
    assert!(matches!(&seen, Seen::Ended(reason) if reason.contains("deploy ")), "{seen:?}");
    assert!(!client.status().await.unwrap().active, "it goes on");
    assert!(!stage.keeper("run/maintenance").exists());
    assert_eq!(lock_show(&stage.remote, &address, Duration::from_secs(20)).await.unwrap(), None);
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    assert_eq!(asked(&stage), ["enter", "exit"].repeat(4));
}

#[tokio::test]
async fn a_release_that_fails_leaves_a_server_that_goes_on() {
    let Some((mut stage, client)) = stage().await else { return };
    stage.deploy().await.unwrap();
    stage.take(1).await;
    stage.set("MODE", "refuse");
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(fault, DeployFault::RolledBack { .. }), "{fault:?}");
    assert!(!client.status().await.unwrap().active);
    assert!(!stage.keeper("run/maintenance").exists());
}

#[tokio::test]
async fn whoever_holds_the_box_keeps_others_away_until_the_lock_is_broken() {
    let Some(mut stage) = Stage::new().await else { return };
    let address = stage.request.site.address();
    let limit = Duration::from_secs(20);
    stage.request.site.by = "the first".into();
    // It dies, and its lease lives on for a while.
    stage.die_after(Step::Seal).await;
    stage.request.site.by = "the second".into();
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Locked(words) if words.contains("the first")), "{fault:?}");
    assert!(!stage.keeper("current").exists(), "nothing was switched");

    // The same holder, come back, need not wait.
    stage.request.site.by = "the first".into();
    stage.deploy().await.unwrap();
    assert_eq!(lock_show(&stage.remote, &address, limit).await.unwrap(), None, "given back");

    stage.take(1).await;
    stage.die_after(Step::Seal).await;
    stage.request.site.by = "the second".into();
    let broken = lock_break(&stage.remote, &address, limit).await.unwrap().unwrap();
    assert_eq!(broken.who, "the first");
    stage.deploy().await.unwrap();
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn a_deploy_whose_lock_was_broken_changes_nothing_any_more() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let before = stage.release();
    stage.take(1).await;
    let (sender, mut reports) = mpsc::channel::<StepReport>(256);
    let address = stage.request.site.address();
    // The gate of a commit that never comes holds the deploy up for long enough.
    stage.request.site.gate.expect_commit = Some("cccc333".into());
    stage.request.site.gate.within = Duration::from_secs(15);
    let thief = async {
        while let Some(report) = reports.recv().await {
            if report.step == Step::Gate && report.phase == StepPhase::Started {
                lock_break(&stage.remote, &address, Duration::from_secs(20)).await.unwrap();
            }
        }
    };
    let work = async {
        let result = deploy(&stage.remote, &stage.request, &sender).await;
        drop(sender);
        result
    };
    let (result, ()) = tokio::join!(work, thief);
    let fault = result.unwrap_err();
    let DeployFault::RollbackFailed { detail, .. } = &fault else { panic!("{fault:?}") };
    assert!(detail.contains("lease was lost"), "{detail}");
    assert_ne!(stage.release(), before, "whoever has the box now decides; its own guard goes back in time");
    assert!(stage.keeper("run/pending").exists());
}
