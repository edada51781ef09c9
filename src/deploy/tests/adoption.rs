//! The first contact with a box: what somebody else left there, and what a plan tells before anything is done.

use std::{fs, io, process::Command};

use super::{
    stage::{LIMIT, Stage, alive, releases},
    *,
};

/// Somebody else's server, started by hand on the box's port.
fn stranger(stage: &Stage) -> std::process::Child {
    let program = stage.sshd.folder.path().join("somebody's server");
    fs::copy(&releases()[1], &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["--flag", "it's an argument"]).env_clear();
    command.env("PORT", stage.request.site.server_port.to_string()).env("HOST", "127.0.0.1");
    command.env("ODD", "it's\ntheirs").current_dir(stage.sshd.folder.path());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let busy = |fault: &io::Error| fault.kind() == io::ErrorKind::ExecutableFileBusy;
    loop {
        match command.spawn() {
            // Another test's child holds the copy open for writing until it is another program.
            Err(fault) if busy(&fault) => std::thread::yield_now(),
            spawned => return spawned.unwrap(),
        }
    }
}

#[tokio::test]
async fn somebody_elses_server_is_refused_or_becomes_release_0() {
    let Some(mut stage) = Stage::new().await else { return };
    let mut theirs = stranger(&stage);
    stage.health("commit", |_| true).await;
    let fault = stage.deploy().await.unwrap_err();
    let words = fault.to_string();
    assert!(words.contains(&theirs.id().to_string()) && words.contains("deploy.adopt"), "{words}");
    assert!(!stage.keeper("current").exists() && alive(theirs.id()));

    stage.request.method.adopt = true;
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Adopt), "{steps:?}");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    theirs.wait().unwrap();

    // And it is what one can go back to, with its arguments and its settings.
    let back = stage.go_back_to(None).await.unwrap();
    assert!(back.name.starts_with("adopted-"), "{}", back.name);
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert_eq!(stage.get("/odd").await.unwrap(), "it's\ntheirs");
    let told = fs::read(format!("/proc/{}/cmdline", stage.pid().await)).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("it's an argument"), "{told:?}");
}

#[tokio::test]
async fn a_stranger_on_the_port_is_named_and_nothing_is_switched() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let first = stage.release();
    stop_server(&stage.remote, &stage.request.site.address(), &stage.request.site.node, LIMIT).await.unwrap();
    let mut theirs = stranger(&stage);
    stage.health("commit", |commit| commit == "bbbb222").await;
    let fault = start_server(&stage.remote, &stage.request.site.address(), &stage.request.site.node, LIMIT)
        .await
        .unwrap_err();
    assert!(fault.to_string().contains(&theirs.id().to_string()), "{fault}");
    stage.set("ODD", "another");
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains(&theirs.id().to_string()), "{fault}");
    assert_eq!(stage.release(), first);
    assert!(alive(theirs.id()));
    theirs.kill().unwrap();
    theirs.wait().unwrap();
    stage.deploy().await.unwrap();
}

#[tokio::test]
async fn what_is_found_and_what_would_change_is_told_without_values() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.set("ODD", "canary-before");
    stage.set("GOING", "x");
    stage.deploy().await.unwrap();
    stage.set("ODD", "canary-after");
    stage.request.env.remove("GOING");
    stage.set("COMING", "x");
    let (_, plan) = dry_run(&stage.remote, &stage.request).await.unwrap();
    let told = plan.found.join("\n");
    for part in [
        "disk ",
        "memory ",
        "load ",
        "files ",
        "server process ",
        "commit aaaa111",
        "settings +COMING ~ODD -GOING",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("canary"), "{told}");
    assert!(plan.steps.contains(&Step::Backup));

    stage.request.method.required = ["JWT_SECRET", "ODD:url"].map(|text| text.parse().unwrap()).into();
    fs::remove_dir_all(stage.keeper("jobs")).unwrap_or(());
    let fault = stage.deploy().await.unwrap_err();
    let words = fault.to_string();
    assert!(
        words.contains("`JWT_SECRET` is not set") && words.contains("`ODD`") && !words.contains("canary"),
        "{words}"
    );
}
