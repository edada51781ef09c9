//! Backups, restores and migrations on a real box. The data is a file in the server's folder; its dump is a copy of it.

use std::{fs, time::Duration};

use tokio::sync::mpsc;

use super::{
    stage::{Stage, eventually},
    *,
};
use crate::{fleet::event::Seen, maintenance::Client, remote::sshd::kill};

/// A box with a verified release, data, and commands that dump, check and restore it.
async fn with_data() -> Option<Stage> {
    let mut stage = Stage::new().await?;
    stage.request.method.backup = Backup {
        command: Some("cat rows".into()),
        check: Some("grep -q ^rows".into()),
        restore: Some("cat >rows.new && mv rows.new rows".into()),
        keep: 2,
        limit: Duration::from_secs(20),
    };
    stage.deploy().await.unwrap();
    fs::write(stage.keeper("data/rows"), "rows: one\n").unwrap();
    Some(stage)
}

fn rows(stage: &Stage) -> String {
    fs::read_to_string(stage.keeper("data/rows")).unwrap()
}

async fn kept(stage: &Stage) -> Vec<Kept> {
    backups(&stage.remote, &stage.request.site.address(), Duration::from_secs(20)).await.unwrap()
}

#[tokio::test]
async fn what_was_before_a_deploy_can_be_brought_back_with_its_release_and_its_settings() {
    let Some(mut stage) = with_data().await else { return };
    let first = stage.release();
    stage.take(1).await;
    stage.set("ODD", "second");
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Backup), "{steps:?}");
    fs::write(stage.keeper("data/rows"), "rows: spoilt by the second\n").unwrap();

    let found = kept(&stage).await;
    assert_eq!((found.len(), found[0].release.as_str(), found[0].dump_bytes), (1, first.as_str(), Some(10)));
    let told = fs::read_to_string(stage.keeper(&format!("backups/{}/server.env", found[0].name))).unwrap();
    assert_eq!(told, fs::read_to_string(stage.keeper(&format!("releases/{first}/server.env"))).unwrap());

    let restored = stage.bring_back(None).await.unwrap();
    assert_eq!((restored.name.as_str(), rows(&stage).as_str()), (first.as_str(), "rows: one\n"));
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    assert_eq!(stage.servers(), 1);
    // And back again: what was there before the restore was kept, too.
    let before = kept(&stage).await[0].name.clone();
    stage.bring_back(Some(&before)).await.unwrap();
    assert_eq!(rows(&stage), "rows: spoilt by the second\n");
    assert_eq!(stage.get("/odd").await.unwrap(), "second");
}

#[tokio::test]
async fn a_dump_that_is_empty_or_no_dump_ends_the_deploy_before_anything_changes() {
    let Some(mut stage) = with_data().await else { return };
    let first = stage.release();
    let before = stage.pid().await;
    stage.take(1).await;
    for (data, word) in [("", "empty"), ("garbage\n", "check"), ("", "exit 9")] {
        fs::write(stage.keeper("data/rows"), data).unwrap();
        if word == "exit 9" {
            stage.request.method.backup.command = Some("echo cannot connect >&2; exit 9".into());
        } else {
            let check = (word == "check").then(|| "grep -q ^rows".to_owned());
            stage.request.method.backup.check = check;
        }
        let fault = stage.deploy().await.unwrap_err();
        let told = fault.to_string();
        let wanted = if word == "exit 9" { "cannot connect" } else { word };
        assert!(told.contains(wanted), "{told}");
        assert_eq!((stage.release(), stage.pid().await), (first.clone(), before));
        assert!(kept(&stage).await.is_empty());
    }
}

#[tokio::test]
async fn only_the_youngest_backups_stay() {
    let Some(mut stage) = with_data().await else { return };
    for round in 0..4 {
        stage.set("ODD", &format!("round {round}"));
        stage.deploy().await.unwrap();
    }
    let found = kept(&stage).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].taken_at >= found[1].taken_at);
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_missing_touches_nothing() {
    let Some(mut stage) = with_data().await else { return };
    stage.take(1).await;
    stage.deploy().await.unwrap();
    let before = stage.pid().await;
    let name = kept(&stage).await[0].name.clone();
    let missing = stage.bring_back(Some("2001")).await.unwrap_err();
    assert!(missing.to_string().contains("no backup `2001`"), "{missing}");
    let mut unable = stage.request.method.backup.clone();
    unable.restore = None;
    let with = std::mem::replace(&mut stage.request.method.backup, unable);
    let fault = stage.bring_back(None).await.unwrap_err();
    assert!(fault.to_string().contains("deploy.restore_command"), "{fault}");
    stage.request.method.backup = with;
    fs::write(stage.keeper(&format!("backups/{name}/dump")), "rows: forged\n").unwrap();
    let fault = stage.bring_back(None).await.unwrap_err();
    assert!(fault.to_string().contains("damaged"), "{fault}");
    assert_eq!((stage.pid().await, rows(&stage).as_str()), (before, "rows: one\n"));
}

#[tokio::test]
async fn a_restore_that_fails_half_way_names_the_way_back() {
    let Some(mut stage) = with_data().await else { return };
    stage.take(1).await;
    stage.deploy().await.unwrap();
    stage.request.method.backup.restore =
        Some("head -c 3 >rows; echo lost the connection >&2; exit 1".into());
    let fault = stage.bring_back(None).await.unwrap_err();
    let DeployFault::Halfway { what, forward } = &fault else { panic!("{fault:?}") };
    assert!(what.contains("lost the connection"), "{what}");
    let name = kept(&stage).await[0].name.clone();
    assert!(forward.contains(&name), "{forward}");
    assert!(matches!(stage.go_back_to(None).await, Err(DeployFault::Halfway { .. })));
    stage.request.method.backup.restore = Some("cat >rows".into());
    stage.bring_back(Some(&name)).await.unwrap();
    assert_eq!(rows(&stage), "rows: one\n");
}

/// Migrations of a file `schema` in the server's folder: what is pending is what the settings say.
fn migrating(stage: &mut Stage, run: &str) {
    stage.request.method.migrate = Migrate {
        status: Some("cat schema 2>/dev/null; printf '%s\\n' \"$PENDING\"; exit 1".into()),
        run: Some(run.into()),
        validate: Some("grep -q done schema".into()),
        limit: Duration::from_secs(20),
        ..Migrate::default()
    };
}

#[tokio::test]
async fn the_data_is_migrated_with_the_new_settings_before_the_new_server_starts() {
    let Some(mut stage) = with_data().await else { return };
    migrating(
        &mut stage,
        "echo \"done for $ODD by $(cat ../current/.complete | sed -n 's/^commit //p')\" >schema",
    );
    stage.take(1).await;
    stage.set("ODD", "new");
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Migrate), "{steps:?}");
    let told = fs::read_to_string(stage.keeper("data/schema")).unwrap();
    assert_eq!(told, "done for new by aaaa111\n", "the old one still served");
}

#[tokio::test]
async fn a_migration_that_would_lose_data_waits_for_a_person() {
    let Some(mut stage) = with_data().await else { return };
    let first = stage.release();
    migrating(&mut stage, "echo done >schema");
    stage.take(1).await;
    stage.set("PENDING", "ALTER TABLE users DROP COLUMN email;");
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("DROP COLUMN email"), "{fault}");
    assert_eq!(stage.release(), first);
    assert!(!stage.keeper("data/schema").exists());
    stage.request.method.migrate.risky = true;
    stage.deploy().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_is_told_by_whether_it_changed_something() {
    let Some(mut stage) = with_data().await else { return };
    let first = stage.release();
    let before = stage.pid().await;
    stage.take(1).await;
    migrating(&mut stage, "echo the database is locked >&2; exit 1");
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("changed nothing")), "{fault:?}");
    assert_eq!((stage.release(), stage.pid().await), (first.clone(), before));

    migrating(&mut stage, "echo half >schema; kill -9 $$");
    let fault = stage.deploy().await.unwrap_err();
    let DeployFault::Halfway { what, forward } = &fault else { panic!("{fault:?}") };
    assert!(what.contains("killed") && forward.contains("vast-keeper restore"), "{fault}");
    assert_eq!((stage.release(), stage.pid().await), (first.clone(), before), "nothing was switched");
    // Nor does anybody who goes back let a server meet that data, not even the one that stands there.
    let fault = stage.go_back_to(Some(&first)).await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Halfway { .. }), "{fault:?}");
    assert!(stage.keeper("run/data").exists());
    // Nor does a remedy start it anew, nor a deploy of what stands there, which migrates nothing.
    let address = stage.request.site.address();
    let fault = restart_server(&stage.remote, &address, &stage.request.site.node, Duration::from_secs(20))
        .await
        .unwrap_err();
    assert!(matches!(&fault, DeployFault::Halfway { what, .. } if what.contains("migration")), "{fault:?}");
    stage.take(0).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Halfway { .. }), "{fault:?}");
    assert_eq!(stage.pid().await, before);
    stage.take(1).await;

    migrating(&mut stage, "echo wrong >schema");
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Halfway { what, .. } if what.contains("check")), "{fault:?}");
    migrating(&mut stage, "echo done >schema");
    stage.deploy().await.unwrap();
    assert!(!stage.keeper("run/data").exists());
    stage.go_back_to(Some(&first)).await.unwrap();
}

#[tokio::test]
async fn a_deploy_killed_between_its_migration_and_its_switch_leaves_the_server_closed_until_the_data_fits() {
    let Some(mut stage) = with_data().await else { return };
    stage.set("ADMIN_CODE", "the-code");
    stage.deploy().await.unwrap();
    let (site, env) = (stage.request.site.clone(), stage.request.env.clone());
    let with =
        Maintenance { code: "the-code".into(), wait: Duration::from_secs(5), on_timeout: OnTimeout::Abort };
    stage.request.maintenance = Some(with.clone());
    let client = Client::new(site.public, with.code.clone()).unwrap();
    stage.take(1).await;
    migrating(&mut stage, "echo done >schema");
    stage.die_after(Step::Migrate).await;
    assert!(client.status().await.unwrap().active);

    // Whatever fails on that box from here on opens it for nobody.
    let back = |to: &str| RollbackRequest {
        site: site.clone(),
        to: Some(to.to_owned()),
        env: env.clone(),
        maintenance: Some(with.clone()),
    };
    for to in ["ffff", &stage.release()] {
        rollback(&stage.remote, &back(to), &mpsc::channel(1).0).await.unwrap_err();
        assert!(client.status().await.unwrap().active, "after `rollback --to {to}`");
    }
    let seen = end_forgotten(&stage.remote, &back("")).await.unwrap();
    assert!(matches!(&seen, Seen::Halfway(what) if what.contains("migration")), "{seen:?}");
    migrating(&mut stage, "kill -9 $$");
    assert!(matches!(stage.deploy().await, Err(DeployFault::Halfway { .. })));
    assert!(client.status().await.unwrap().active, "what changes nothing the second time proves nothing");
    // Nor does the box start a server by itself.
    kill(stage.pid().await);
    let log = stage.keeper("log/server.log");
    eventually("the supervisor tries", || fs::read_to_string(&log).unwrap().contains("no server is started"))
        .await;
    assert_eq!(stage.servers(), 0);

    migrating(&mut stage, "echo done >schema");
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert!(!client.status().await.unwrap().active && !stage.keeper("run/data").exists());
}

#[tokio::test]
async fn a_restore_mends_what_a_killed_migration_left_under_maintenance() {
    let Some(mut stage) = with_data().await else { return };
    stage.set("ADMIN_CODE", "the-code");
    stage.deploy().await.unwrap();
    let first = stage.release();
    let with =
        Maintenance { code: "the-code".into(), wait: Duration::from_secs(5), on_timeout: OnTimeout::Abort };
    stage.request.maintenance = Some(with.clone());
    stage.take(1).await;
    migrating(&mut stage, "echo half >rows; echo done >schema");
    stage.die_after(Step::Migrate).await;
    let request = RestoreRequest {
        site: stage.request.site.clone(),
        backup: None,
        with: stage.request.method.backup.clone(),
        env: stage.request.env.clone(),
        maintenance: Some(with.clone()),
    };
    let restored = restore(&stage.remote, &request, &mpsc::channel(1).0).await.unwrap();
    assert_eq!((restored.name, rows(&stage).as_str()), (first, "rows: one\n"));
    assert!(!stage.keeper("run/data").exists() && !stage.keeper("run/maintenance").exists());
    let client = Client::new(stage.request.site.public, with.code).unwrap();
    assert!(!client.status().await.unwrap().active);
}

#[tokio::test]
async fn a_schema_that_forbids_going_back_blocks_it_with_a_named_way_forward() {
    let Some(mut stage) = with_data().await else { return };
    stage.request.method.schema = Some(Schema { version: 3, floor: 3 });
    stage.set("ODD", "third");
    stage.deploy().await.unwrap();
    let third = stage.release();

    // Going back by itself: to a release that knows the schema, and to none that does not.
    stage.request.method.schema = Some(Schema { version: 4, floor: 4 });
    stage.take(1).await;
    stage.set("MODE", "refuse");
    let fault = stage.deploy().await.unwrap_err();
    let DeployFault::Halfway { what, forward } = &fault else { panic!("{fault:?}") };
    assert!(what.contains(&third) && forward.contains("restore duel-0 --backup"), "{fault}");
    stage.request.env.remove("MODE");
    stage.deploy().await.unwrap();

    // Nor by hand, nor by deploying the old code as if it were new.
    let fault = stage.go_back_to(None).await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("hint:")), "{fault:?}");
    stage.request.method.schema = Some(Schema { version: 3, floor: 3 });
    stage.take(0).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("schema 4")), "{fault:?}");
}
