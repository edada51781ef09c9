//! Service managers on a real box. Where the real program can be had it is used (`pm2`); `systemctl` wants a machine of its own, so
//! that a stand-in with the same command line takes its place, and the unit is read by the real `systemd-analyze`.

use std::{fs, path::Path, process::Command};

use super::{
    stage::{LIMIT, Stage, alive},
    stand_ins::{by_command, program, unit},
    *,
};
use crate::remote::sshd::kill;

/// Deploys, restarts, kills, rolls back and stops: what must hold whoever keeps the server running.
async fn keeps(stage: &mut Stage) {
    let odd = "it's $HOME `id` \\ \n ♥";
    stage.set("ODD", odd);
    stage.deploy().await.unwrap();
    let first = stage.release();
    assert_eq!(stage.get("/odd").await.unwrap(), odd);
    let pid = stage.pid().await;
    assert_eq!(stage.noted_pid("run/server.pid"), pid, "it is known by its own word");

    stage.take(1).await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert!(!alive(pid), "the old one is gone");
    assert_eq!(stage.servers(), 1);

    let address = stage.request.site.address();
    let before = stage.pid().await;
    restart_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    stage.health("pid", |now| now != before.to_string()).await;
    stage.go_back_to(None).await.unwrap();
    assert_eq!(stage.release(), first);
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    stop_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    assert_eq!(stage.servers(), 0);
    // And from another manager to our own: the old one has to let go.
    stage.request.method.manager = Manager::Supervised;
    start_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    stage.deploy().await.unwrap();
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn commands_keep_a_server_running() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.method.manager = by_command();
    keeps(&mut stage).await;
}

#[tokio::test]
async fn a_server_outlives_the_start_command_that_ends_while_it_begins() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.method.manager = by_command();
    if let Manager::Command { start, .. } = &mut stage.request.method.manager {
        // Its shell ends between the server's first look at its parent and its last.
        *start = format!("rm -f run/address; {start}; while [ ! -e run/address ]; do :; done");
    }
    for release in [0, 1] {
        stage.take(release).await;
        stage.deploy().await.unwrap();
        let pid = stage.pid().await;
        assert!(alive(pid) && stage.servers() == 1);
    }
}

#[tokio::test]
async fn a_manager_whose_stop_does_nothing_is_not_believed() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.method.manager = by_command();
    if let Manager::Command { stop, .. } = &mut stage.request.method.manager {
        *stop = "true".into();
    }
    stage.deploy().await.unwrap();
    let pid = stage.pid().await;
    stage.take(1).await;
    stage.deploy().await.unwrap();
    assert!(!alive(pid) && stage.servers() == 1, "it was ended all the same");

    // One that starts nothing, or the wrong thing, is told at once, and the box goes back.
    let first = stage.release();
    if let Manager::Command { start, .. } = &mut stage.request.method.manager {
        *start = "echo no such service >&2; exit 5".into();
    }
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::RolledBack { to, .. } if *to == first), "{fault:?}");
    assert!(fault.to_string().contains("does not start"), "{fault}");
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
}

#[tokio::test]
async fn a_unit_keeps_a_server_running() {
    let Some(mut stage) = Stage::new().await else { return };
    let Some((service, file)) = unit(&stage) else { return };
    let unit = &file.0;
    stage.request.method.manager = Manager::Systemd { service };
    stage.deploy().await.unwrap();
    if Path::new("/usr/bin/systemd-analyze").exists() {
        let verified = Command::new("systemd-analyze").arg("verify").arg(unit).output().unwrap();
        let told = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(!told.contains(unit.file_name().unwrap().to_str().unwrap()), "{told}");
    }
    // It comes back by the manager's doing, under a new process that notes itself again.
    let before = stage.pid().await;
    kill(before);
    let now = stage.health("pid", |pid| pid != before.to_string()).await;
    assert_eq!(stage.noted_pid("run/server.pid").to_string(), now);
    keeps(&mut stage).await;
}

#[tokio::test]
async fn pm2_keeps_a_server_running() {
    let found = std::env::var("PATH").unwrap_or_default();
    let Some(pm2) = found.split(':').map(|folder| Path::new(folder).join("pm2")).find(|path| path.exists())
    else {
        eprintln!("SKIPPED: pm2 is not installed (npm install -g pm2); the manager `pm2` was not tried");
        return;
    };
    let Some(mut stage) = Stage::new().await else { return };
    let home = stage.sshd.folder.path().join("pm2");
    let node =
        found.split(':').map(|folder| Path::new(folder).join("node")).find(|path| path.exists()).unwrap();
    program(
        &stage,
        "pm2",
        &format!(
            "#!/bin/sh\nPM2_HOME='{}' exec '{}' '{}' \"$@\"\n",
            home.display(),
            node.display(),
            fs::canonicalize(pm2).unwrap().display()
        ),
    );
    stage.request.method.manager = Manager::Pm2 { service: "vk-duel".into() };
    keeps(&mut stage).await;
    // The daemon that pm2 leaves behind is not of this box's processes.
    let daemon = fs::read_to_string(home.join("pm2.pid")).ok().and_then(|text| text.trim().parse().ok());
    if let Some(daemon) = daemon {
        kill(daemon);
    }
}
