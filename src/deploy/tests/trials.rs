//! Going back: decided on the box when nobody confirms, done at once when the keeper sees why, and asked for by people.

use std::{fs, path::Path, process::Command, time::Duration};

use tokio::sync::mpsc;

use super::{
    stage::{Stage, eventually},
    *,
};
use crate::remote::sshd::kill;

/// Lets the trial that is open in that folder of a box, if one is, end two seconds from now: until here it may have lasted as long as a
/// slow machine needs. Under the scripts' lock, so that none of them writes the note anew meanwhile.
pub(super) async fn is_over_soon(keeper: &Path) {
    let shorter = r#"[ -f run/pending ] || exit 0
read -r name back _ <run/pending || exit
printf '%s %s %s\n' "$name" "$back" $(($(date +%s) + 2)) >run/pending.new && mv run/pending.new run/pending"#;
    let mut flock = tokio::process::Command::new("flock");
    flock.args(["-w", "120", "run/deploy.lock", "sh", "-c", shorter]).current_dir(keeper);
    assert!(flock.status().await.unwrap().success());
}

/// Keeps what it has `ODD` for, and serves it: a setting that came back proves that settings go back too.
async fn with_a_verified_release() -> Option<(Stage, String)> {
    let mut stage = Stage::new().await?;
    stage.set("ODD", "as it was");
    stage.deploy().await.unwrap();
    let first = stage.release();
    Some((stage, first))
}

#[tokio::test]
async fn a_release_that_fails_its_gate_gives_way_to_the_one_before_with_its_settings() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    stage.set("ODD", "new and wrong");
    stage.set("MODE", "refuse");
    stage.set("TOKEN", "canary-5f1c");
    let fault = stage.deploy().await.unwrap_err();
    let DeployFault::RolledBack { why, to } = &fault else { panic!("{fault:?}") };
    assert!(matches!(&**why, DeployFault::Release(words) if words.contains("JWT_SECRET")), "{why:?}");
    assert_eq!((to, &stage.release()), (&first, &first));
    assert_eq!(stage.get("/odd").await.unwrap(), "as it was");
    assert_eq!(stage.servers(), 1);
    assert!(!stage.keeper("run/pending").exists());
    let told = fs::read_to_string(stage.keeper("log/deploys.log")).unwrap();
    assert!(told.contains("went back from") && !told.contains("canary-5f1c"), "{told}");

    // The pair is shunned, not the program: with other settings it is another release.
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("went back")), "{fault:?}");
    stage.request.env.remove("MODE");
    let steps = stage.deploy().await.unwrap();
    assert_eq!(stage.get("/odd").await.unwrap(), "new and wrong");
    assert!(!steps.contains(&Step::Upload), "the program is there: {steps:?}");
}

#[tokio::test]
async fn other_settings_are_another_release_and_need_no_upload() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.set("ODD", "changed");
    let steps = stage.deploy().await.unwrap();
    assert!(!steps.contains(&Step::Upload) && steps.contains(&Step::Seal), "{steps:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), "changed");
    assert_ne!(stage.release(), first);

    let deployed = stage.go_back_to(None).await.unwrap();
    assert_eq!((&deployed.name, &stage.release()), (&first, &first));
    assert_eq!(stage.get("/odd").await.unwrap(), "as it was");
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn what_serves_already_is_proven_and_left_alone() {
    let Some((mut stage, _)) = with_a_verified_release().await else { return };
    let before = stage.pid().await;
    stage.request.restart = Restart::IfChanged;
    assert_eq!(stage.deploy().await.unwrap(), [Step::Connect, Step::Assess, Step::Gate]);
    assert_eq!(stage.pid().await, before);
}

#[tokio::test]
async fn a_keeper_that_dies_after_the_start_leaves_a_box_that_goes_back_by_itself() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    let patient = stage.request.site.gate.clone();
    stage.request.site.gate.within = Duration::from_secs(1);
    stage.request.site.gate.confirm_within = Duration::from_secs(1);
    // It would never pass the gate, so the keeper dies with the trial open.
    stage.die_after(Step::Start).await;
    let second = stage.named();
    assert_ne!(second, first);
    eventually("the box went back", || stage.release() == first && !stage.keeper("run/pending").exists())
        .await;
    assert_eq!(stage.health("commit", |commit| commit == "aaaa111").await, "aaaa111");
    assert_eq!(stage.servers(), 1);

    // Once may be the keeper's own fault: the next deploy tries again, and stays.
    stage.request.site.gate = Gate { expect_commit: Some("bbbb222".into()), ..patient };
    stage.deploy().await.unwrap();
    assert_eq!(stage.release(), second);
    assert!(!stage.keeper("bad").join(second).exists(), "proven at last");
}

#[tokio::test]
async fn a_confirmation_that_comes_too_late_is_refused() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    let second = stage.named();
    stage.request.site.gate.within = Duration::from_secs(1);
    stage.request.site.gate.confirm_within = Duration::from_secs(1);
    stage.die_after(Step::Start).await;
    eventually("the box went back", || stage.release() == first && !stage.keeper("run/pending").exists())
        .await;
    let (progress, _untaken) = mpsc::channel(1);
    let mut late = run::Run::new(&stage.remote, &stage.request.site, &stage.request.env, &progress);
    let fault = late.confirm(&second).await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("went back")), "{fault:?}");
    late.close().await;
    assert_eq!(stage.health("commit", |commit| commit == "aaaa111").await, "aaaa111");
}

#[tokio::test]
async fn a_box_that_reboots_during_a_trial_goes_on_with_it() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    stage.die_after(Step::Start).await;
    // Everything dies at once, as when the container ends.
    let home = stage.sshd.home();
    let ours = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains(&*home.join("keeper").to_string_lossy()))
    };
    let pids = || {
        let entries = fs::read_dir("/proc").unwrap();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(ours)
    };
    eventually("everything is dead", || {
        pids().for_each(kill);
        pids().count() == 0
    })
    .await;
    assert_eq!(stage.servers(), 0);
    assert!(stage.keeper("run/pending").exists(), "the trial was open");
    is_over_soon(&stage.keeper("")).await;

    let booted = Command::new("sh")
        .args(["-c", ONSTART])
        .env_clear()
        .env("HOME", &home)
        .env("HOST", "127.0.0.1")
        .env("PATH", "/usr/bin:/bin")
        .status();
    assert!(booted.unwrap().success());
    eventually("the box went back", || stage.release() == first && !stage.keeper("run/pending").exists())
        .await;
    assert_eq!(stage.health("commit", |commit| commit == "aaaa111").await, "aaaa111");
}

#[tokio::test]
async fn a_box_killed_inside_its_way_back_finishes_it() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    stage.die_after(Step::Start).await;
    let second = stage.release();
    // The note of the trial goes last: a revert cut after the link moved leaves exactly this.
    let supervise = |verb: &[&str]| {
        let status = Command::new("sh")
            .arg(stage.keeper("supervise"))
            .args(verb)
            .env("HOME", stage.sshd.home())
            .env("HOST", "127.0.0.1")
            .status();
        status.unwrap().success()
    };
    assert!(supervise(&["stop"]));
    fs::remove_file(stage.keeper("current")).unwrap();
    std::os::unix::fs::symlink(format!("releases/{first}"), stage.keeper("current")).unwrap();
    assert!(supervise(&["revert", &second, "release", "again"]));
    assert_eq!(stage.health("commit", |commit| commit == "aaaa111").await, "aaaa111");
    assert!(!stage.keeper("run/pending").exists());
}

#[tokio::test]
async fn going_back_where_there_is_nothing_changes_nothing() {
    let Some((stage, first)) = with_a_verified_release().await else { return };
    let before = stage.pid().await;
    for (to, why) in [(None, "no other release"), (Some("0000"), "no release")] {
        let fault = stage.go_back_to(to).await.unwrap_err();
        assert!(matches!(&fault, DeployFault::Release(words) if words.contains(why)), "{fault:?}");
    }
    // Whoever was cut off right before the end, and asks again, is there.
    let there = stage.go_back_to(Some(&first)).await.unwrap();
    assert!(there.unchanged && there.name == first, "{there:?}");
    assert_eq!(stage.pid().await, before);
}

#[tokio::test]
async fn the_stock_of_a_box_tells_every_release_and_its_part() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.take(1).await;
    stage.deploy().await.unwrap();
    let found = stock(&stage.remote, &stage.request.site, Duration::from_secs(20)).await.unwrap();
    let parts: Vec<_> = found.releases.iter().map(|release| (release.name.as_str(), release.role)).collect();
    assert!(parts.contains(&(first.as_str(), Role::Previous)), "{parts:?}");
    assert_eq!(found.current().unwrap().commit, "bbbb222");
    assert_eq!(found.current().unwrap().digest, stage.request.artifact.digest);
}

#[tokio::test]
async fn a_smoke_check_or_a_line_of_the_log_can_turn_a_healthy_release_down() {
    let Some((mut stage, first)) = with_a_verified_release().await else { return };
    stage.set("ODD", "new");
    let check = |text: &str| text.parse::<Check>().unwrap();
    let refused = async |stage: &mut Stage, smoke: Smoke, word: &str| {
        stage.request.smoke = smoke;
        stage.request.force = true;
        let fault = stage.deploy().await.unwrap_err();
        let DeployFault::RolledBack { why, .. } = &fault else { panic!("{fault:?}") };
        assert!(matches!(&**why, DeployFault::Release(words) if words.contains(word)), "{why:?}");
        assert_eq!(stage.get("/odd").await.unwrap(), "as it was");
    };
    let checks = vec![check("/health"), check("/odd [BODY] == old")];
    refused(&mut stage, Smoke { checks, ..Smoke::default() }, "/odd").await;
    // The fixture answers everything, but it speaks no WebSocket.
    refused(&mut stage, Smoke { checks: vec![check("ws:/ws")], ..Smoke::default() }, "ws:/ws").await;
    let errors = vec!["serving as".to_owned()];
    refused(&mut stage, Smoke { errors: errors.clone(), ..Smoke::default() }, "serving as").await;
    let expected = vec!["never written".to_owned()];
    refused(&mut stage, Smoke { expected, ..Smoke::default() }, "never written").await;
    assert_eq!(stage.release(), first);

    let checks = vec![check("/odd [STATUS] == 200 and [BODY] == new")];
    let expected = vec!["serving".to_owned()];
    stage.request.smoke = Smoke { checks, expected, errors: errors.clone(), ignored: errors };
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Smoke), "{steps:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), "new");
}
