//! One artifact on one box: what a whole deploy leaves there, and what each fault leaves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpSocket, sync::mpsc};

use super::{
    stage::{LIMIT, Stage, alive, eventually, releases},
    *,
};
use crate::{
    fleet::name::OpId,
    remote::{Witnessed, sshd::kill},
};

#[tokio::test]
async fn a_fresh_box_gets_the_release_and_later_ones_take_less() {
    let Some(mut stage) = Stage::new().await else { return };
    let odd = "it's $HOME `id` \"q\" \\ \n second line ♥";
    stage.set("ODD", odd);
    let first = stage.deploy().await.unwrap();
    assert_eq!(first.len(), 11, "every step: {first:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), odd);
    assert_eq!(stage.get("/").await.unwrap(), stage.keeper("data").to_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(stage.keeper("current/server.env")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    // The same again: nothing is sent, yet the server is a new one.
    let before = stage.health("started_at", |_| true).await;
    let again = stage.deploy().await.unwrap();
    assert!(!again.contains(&Step::Upload), "{again:?}");
    assert_ne!(stage.health("started_at", |_| true).await, before);

    // Another release: the former one is the way back, and stays although one is to be kept.
    let old = stage.release();
    stage.take(1).await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert_eq!(fs::read_link(stage.keeper("previous")).unwrap(), PathBuf::from(format!("releases/{old}")));
    let mut both = vec![old, stage.release()];
    both.sort();
    assert_eq!(stage.release_names(), both);
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn a_deploy_killed_after_any_step_and_run_again_converges() {
    let Some(mut stage) = Stage::new().await else { return };
    let steps = [
        Step::Connect,
        Step::Assess,
        Step::Upload,
        Step::Verify,
        Step::Seal,
        Step::Configure,
        Step::Switch,
        Step::Start,
        Step::Gate,
        Step::Confirm,
    ];
    for (round, last) in steps.into_iter().enumerate() {
        stage.take(round % 2).await;
        // The release is not there, whatever an earlier round left.
        let _ = fs::remove_dir_all(stage.keeper("releases").join(stage.named()));
        stage.die_after(last).await;
        stage.deploy().await.unwrap_or_else(|fault| panic!("after {last}: {fault}"));
        let commit = stage.request.artifact.commit.clone();
        assert_eq!(stage.health("commit", |_| true).await, commit, "after {last}");
        assert_eq!(stage.servers(), 1, "after {last}");
        assert!(stage.release_names().iter().all(|name| !name.starts_with('.')), "after {last}");
    }
}

#[tokio::test]
async fn a_connection_cut_in_any_step_costs_a_repetition_only() {
    let Some(stage) = Stage::new().await else { return };
    let (sender, mut reports) = mpsc::channel::<StepReport>(256);
    let cutter = async {
        let mut cuts = 0;
        while let Some(report) = reports.recv().await {
            let cut = [
                Step::Upload,
                Step::Verify,
                Step::Seal,
                Step::Configure,
                Step::Switch,
                Step::Start,
                Step::Confirm,
                Step::Prune,
            ];
            if report.phase == StepPhase::Started && cut.contains(&report.step) {
                stage.sshd.cut_connections();
                cuts += 1;
            }
        }
        cuts
    };
    let work = async {
        let result = deploy(&stage.remote, &stage.request, &sender).await;
        drop(sender);
        result
    };
    let (result, cuts) = tokio::join!(work, cutter);
    result.unwrap();
    assert_eq!(cuts, 8);
    assert_eq!(stage.servers(), 1);
    assert!(stage.keeper("current/.verified").exists());
}

#[tokio::test]
async fn a_server_that_refuses_its_settings_is_the_releases_fault() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.set("MODE", "refuse");
    stage.set("TOKEN", "canary-8d21");
    let fault = stage.deploy().await.unwrap_err();
    let DeployFault::Release(words) = &fault else { panic!("{fault:?}") };
    assert!(words.contains("missing settings: JWT_SECRET") && words.contains("78"), "{words}");
    assert!(!words.contains("canary-8d21"), "{words}");
    assert!(!stage.keeper("current/.verified").exists());

    // The next deploy does not take the one that failed for the way back.
    stage.take(1).await;
    stage.request.env.clear();
    stage.deploy().await.unwrap();
    assert!(!stage.keeper("previous").exists());
    assert_eq!(stage.release_names(), [stage.release()]);
}

#[tokio::test]
async fn a_server_that_a_signal_ends_is_the_boxs_fault() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.set("MODE", "crash");
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("134")), "{fault:?}");
}

#[tokio::test]
async fn the_gate_takes_no_other_answer_for_ours() {
    let Some(mut stage) = Stage::new().await else { return };
    // Time enough for the server to come up, for the last answer is the one that is told.
    stage.request.site.gate.within = Duration::from_secs(10);
    stage.request.site.gate.expect_commit = Some("cccc333".into());
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("aaaa111")), "{fault:?}");

    // The box has not forgotten.
    stage.take(0).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("went back")), "{fault:?}");

    // It serves on the box, but what is published leads nowhere: to a port that is taken and on which nobody listens.
    stage.request.force = true;
    let nowhere = TcpSocket::new_v4().unwrap();
    nowhere.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let public = std::mem::replace(&mut stage.request.site.public, nowhere.local_addr().unwrap());
    let fault = stage.deploy().await.unwrap_err();
    assert!(
        matches!(&fault, DeployFault::Unhealthy(words) if words.contains("refused") && words.contains("alive")),
        "{fault:?}"
    );

    // The box was rented anew: the old identity answers until the new server is up, and then no more.
    stage.request.site.public = public;
    stage.request.site.gate.identity = OpId::from_bits(12);
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Unhealthy(words) if words.contains("another box")), "{fault:?}");
    stage.request.site.op = OpId::from_bits(12);
    stage.request.site.gate.within = Duration::from_secs(60);
    stage.deploy().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_on_our_side_never_touches_the_box() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.set("IFS", "x");
    assert!(matches!(stage.deploy().await, Err(DeployFault::Release(_))));
    assert!(!stage.sshd.home().join("keeper").exists());
    stage.request.env.clear();

    // Rebuilt between the preparation and the deploy.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    fs::copy(&releases()[0], &path).unwrap();
    stage.request.artifact = Arc::new(Artifact::prepare(&ArtifactSource::File(path.clone())).await.unwrap());
    fs::copy(&releases()[1], &path).unwrap();
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("changed")), "{fault:?}");
    assert!(!stage.keeper("current").exists());
}

#[tokio::test]
async fn the_supervisor_brings_the_server_back_and_two_never_run() {
    let Some(stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let address = stage.request.site.address();
    let first = stage.pid().await;
    kill(first);
    stage.health("pid", |pid| pid != first.to_string()).await;

    // Its supervisor killed, the server lives on as nobody's; a start replaces it.
    let orphan = stage.pid().await;
    kill(stage.noted_pid("run/supervisor.pid"));
    assert!(alive(orphan));
    let start = || start_server(&stage.remote, &address, &stage.request.site.node, LIMIT);
    let (a, b, c) = tokio::join!(start(), start(), start());
    for started in [a, b, c] {
        started.unwrap();
    }
    stage.health("pid", |pid| pid != orphan.to_string()).await;
    eventually("one server", || stage.servers() == 1).await;

    let before = stage.pid().await;
    restart_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    stage.health("pid", |pid| pid != before.to_string()).await;
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn a_stop_ends_the_server_with_its_children_and_nobody_else() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.set("MODE", "child");
    stage.deploy().await.unwrap();
    let (server, supervisor) = (stage.pid().await, stage.noted_pid("run/supervisor.pid"));
    let child: u32 = fs::read_to_string(stage.keeper("data/child")).unwrap().parse().unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    assert!(alive(server) && alive(supervisor) && alive(child));

    let address = stage.request.site.address();
    stop_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    for pid in [server, supervisor, child] {
        eventually("it is gone", || !alive(pid)).await;
    }
    assert!(alive(stranger.id()));

    // A note that names a stranger by a reused id does not get it killed.
    fs::write(stage.keeper("run/server.pid"), format!("{} 1\n", stranger.id())).unwrap();
    stop_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
    assert!(alive(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn nothing_deployed_is_nothing_to_restart() {
    let Some(stage) = Stage::new().await else { return };
    let address = stage.request.site.address();
    let fault = restart_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap_err();
    assert!(
        matches!(&fault, DeployFault::Box(words) if words.contains("no server was deployed")),
        "{fault:?}"
    );
    stop_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
}

#[tokio::test]
async fn the_witness_knows_the_supervised_server() {
    let Some(stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let address = stage.request.site.address();
    let look = || {
        stage.remote.witness(
            &address,
            stage.request.site.server_port,
            "/health",
            Some(&stage.request.site.op),
            LIMIT,
        )
    };
    assert_eq!(look().await, Witnessed::ServerUp);

    // Frozen: it holds the port and answers nobody.
    let server = stage.pid().await;
    let signal = |name: &str, pid: u32| {
        assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
    };
    signal("STOP", server);
    let frozen = look().await;
    assert!(matches!(&frozen, Witnessed::ServerDown(words) if words.contains("stopped")), "{frozen:?}");
    signal("CONT", server);
    assert_eq!(look().await, Witnessed::ServerUp);

    kill(stage.noted_pid("run/supervisor.pid"));
    kill(server);
    eventually("the server is dead", || !alive(server)).await;
    let dead = look().await;
    assert!(matches!(&dead, Witnessed::ServerDown(words) if words.contains("dead")), "{dead:?}");
}

#[tokio::test]
async fn a_deadline_tells_how_far_it_came() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.site.endpoints.clear();
    stage.request.site.deadline = Duration::from_millis(300);
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("connect")), "{fault:?}");

    stage.request.site.endpoints = vec![stage.sshd.endpoint()];
    stage.request.site.gate.expect_commit = Some("cccc333".into());
    // It comes to the gate long before that, and never through it.
    stage.request.site.deadline = Duration::from_secs(60);
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Unknown(words) if words.contains("gate")), "{fault:?}");
}

#[tokio::test]
async fn the_scripts_run_under_every_shell_that_a_box_may_have() {
    for shell in ["/bin/dash", "/bin/bash", "/bin/busybox"].map(Path::new) {
        if !shell.exists() {
            eprintln!("SKIPPED: {} is not installed; the scripts were not tried under it", shell.display());
            continue;
        }
        let Some(mut stage) = Stage::with_shell(shell).await else { return };
        stage.set("MODE", "child");
        stage.set("ODD", "it's $HOME `id` \\ \n ♥ \u{81}\u{88}");
        stage.deploy().await.unwrap_or_else(|fault| panic!("{}: {fault}", shell.display()));
        assert_eq!(
            stage.get("/odd").await.unwrap(),
            "it's $HOME `id` \\ \n ♥ \u{81}\u{88}",
            "{}",
            shell.display()
        );

        let (address, server) = (stage.request.site.address(), stage.pid().await);
        let witnessed = stage
            .remote
            .witness(&address, stage.request.site.server_port, "/health", Some(&stage.request.site.op), LIMIT)
            .await;
        assert_eq!(witnessed, Witnessed::ServerUp, "{}", shell.display());
        kill(server);
        stage.health("pid", |pid| pid != server.to_string()).await;
        kill(stage.noted_pid("run/supervisor.pid"));
        start_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
        eventually("one server", || stage.servers() == 1).await;
        restart_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
        let written = || fs::read_to_string(stage.keeper("data/child")).ok()?.parse::<u32>().ok();
        eventually("the server has written its child down", || written().is_some()).await;
        let child = written().unwrap();
        stop_server(&stage.remote, &address, &stage.request.site.node, LIMIT).await.unwrap();
        assert_eq!(stage.servers(), 0, "{}", shell.display());
        eventually("the child is gone", || !alive(child)).await;
    }
}
