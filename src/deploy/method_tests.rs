//! Strategies and service managers on a real box. Where the real program can be had it is used (`git`, `pm2`); `systemctl` and a
//! container engine want a machine of their own, so that stand-ins with the same command lines take their place, and the unit is
//! read by the real `systemd-analyze`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    stage::{LIMIT, Stage, alive, eventually, releases},
    *,
};
use crate::remote::sshd::kill;

/// Puts a program into the box's `PATH`.
fn program(stage: &Stage, name: &str, text: &str) {
    let path = stage.sshd.folder.path().join("bin").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

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
    restart_server(&stage.remote, &address, LIMIT).await.unwrap();
    stage.health("pid", |now| now != before.to_string()).await;
    let request = RollbackRequest {
        site: stage.request.site.clone(),
        to: None,
        env: Default::default(),
        maintenance: None,
    };
    rollback(&stage.remote, &request, &mpsc::channel(1).0).await.unwrap();
    assert_eq!(stage.release(), first);
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    stop_server(&stage.remote, &address, LIMIT).await.unwrap();
    assert_eq!(stage.servers(), 0);
    // And from another manager to our own: the old one has to let go.
    stage.request.method.manager = Manager::Supervised;
    start_server(&stage.remote, &address, LIMIT).await.unwrap();
    stage.deploy().await.unwrap();
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn commands_keep_a_server_running() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.method.manager = Manager::Command {
        start: "eval \"exec $KEEPER_SERVE\" </dev/null & echo $! >run/own.pid".into(),
        stop: "kill \"$(cat run/own.pid)\" 2>/dev/null; rm -f run/own.pid".into(),
        status: None,
        pid: "cat run/own.pid".into(),
    };
    keeps(&mut stage).await;
}

#[tokio::test]
async fn a_manager_whose_stop_does_nothing_is_not_believed() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.request.method.manager = Manager::Command {
        start: "eval \"exec $KEEPER_SERVE\" </dev/null & echo $! >run/own.pid".into(),
        stop: "true".into(),
        status: None,
        pid: "cat run/own.pid".into(),
    };
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

/// Does what `systemctl` does for one unit: it runs `ExecStart` again whenever it ends.
const SYSTEMCTL: &str = r#"#!/bin/sh
at=$HOME/systemd; mkdir -p "$at"
for unit; do case $unit in *.service) break ;; esac; done
name=${unit%.service}
loop() { while [ "$(cat "$at/$name.wanted" 2>/dev/null)" = $$ ]; do
    sh -c "echo \$\$ >'$at/$name.pid'; exec setsid -w $(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$unit")"; sleep 0.2; done; }
halt() { rm -f "$at/$name.wanted"; [ ! -f "$at/$name.pid" ] || pkill -TERM -P "$(cat "$at/$name.pid")"; kill "$(cat "$at/$name.pid")" 2>/dev/null
  for n in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$(cat "$at/$name.pid" 2>/dev/null)" 2>/dev/null || break; sleep 0.1; done; rm -f "$at/$name.pid"; }
case $1 in
  daemon-reload | enable) ;;
  restart) halt 2>/dev/null; echo $$ >"$at/$name.wanted"; (loop) >/dev/null 2>&1 </dev/null & ;;
  stop) halt 2>/dev/null ;;
  is-active) [ -f "$at/$name.pid" ] && echo active || echo inactive ;;
  show) cat "$at/$name.pid" 2>/dev/null || echo 0 ;;
esac
exit 0
"#;

#[tokio::test]
async fn a_unit_keeps_a_server_running() {
    let Some(mut stage) = Stage::new().await else { return };
    let service = format!("vk-test-{}", stage.request.site.server_port);
    let unit = PathBuf::from(format!("/etc/systemd/system/{service}.service"));
    if fs::write(&unit, "").is_err() {
        eprintln!("SKIPPED: units can be written by root only; the manager `systemd` was not tried");
        return;
    }
    let _remove = scopeguard(&unit);
    // `setsid -w` would be one process more than the manager names.
    program(&stage, "systemctl", &SYSTEMCTL.replace("setsid -w ", ""));
    stage.request.method.manager = Manager::Systemd { service };
    stage.deploy().await.unwrap();
    if Path::new("/usr/bin/systemd-analyze").exists() {
        let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
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

/// Removes a file at the end of a test.
fn scopeguard(path: &Path) -> impl Drop + use<> {
    struct Remove(PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }
    Remove(path.to_owned())
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

/// Keeps containers as `docker` does, one process each, without isolation. Images are folders.
const ENGINE: &str = r#"#!/bin/sh
at=$HOME/engine; mkdir -p "$at/images" "$at/run"
echo "$*" >>"$at/asked"
case "$1 $2" in
  "image inspect") [ -d "$at/images/${3##*:}" ]; exit ;;
  "image rm") rm -rf "$at/images/${3##*:}"; exit ;;
esac
case $1 in
  pull) [ -d "$at/registry/${2##*:}" ] || { echo "manifest unknown" >&2; exit 1; }; cp -r "$at/registry/${2##*:}" "$at/images/" ;;
  run)
    shift; names=
    while [ $# -gt 1 ]; do case $1 in --name) name=$2; shift ;; -e) names="$names $2"; shift ;; --network | --restart) shift ;; esac; shift; done
    [ ! -d "$at/run/$name" ] || { echo "the name is in use" >&2; exit 125; }
    mkdir "$at/run/$name"
    set -- "$at/images/${1##*:}/server"
    for n in $names HOST; do eval "[ -z \"\${$n+x}\" ]" || eval "set -- \"\$@\" \"$n=\$$n\""; done
    program=$1; shift
    env -i "$@" setsid "$program" >"$at/run/$name/log" 2>&1 </dev/null &
    echo $! >"$at/run/$name/pid" ;;
  inspect)
    [ -d "$at/run/${4:-$2}" ] || exit 1
    pid=$(cat "$at/run/${4:-$2}/pid")
    case $3 in *Pid*) kill -0 "$pid" 2>/dev/null && echo "$pid" || echo 0 ;; *RestartCount*) echo "0 0" ;; *Status*) echo running ;; esac ;;
  logs) for name; do :; done; pid=$(cat "$at/run/$name/pid"); exec tail -n +1 --pid="$pid" -f "$at/run/$name/log" ;;
  stop) kill "$(cat "$at/run/$4/pid")" ;;
  rm) pid=$(cat "$at/run/$3/pid" 2>/dev/null) || exit 1; kill -9 "$pid" 2>/dev/null; rm -rf "$at/run/$3" ;;
esac
"#;

fn image(stage: &Stage, release: usize) -> String {
    let digest = format!("{release:064}");
    let folder = stage.sshd.home().join("engine/registry").join(&digest);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(&releases()[release], folder.join("server")).unwrap();
    format!("registry.example.org/duel@sha256:{digest}")
}

async fn wants_image(stage: &mut Stage, image: &str, commit: &str) {
    let recipe = Recipe::Image { image: image.into(), commit: Some(commit.into()) };
    let source = ArtifactSource::Recipe(recipe, stage.sshd.folder.path().join("recipes"));
    stage.request.artifact = Arc::new(Artifact::prepare(&source).await.unwrap());
    stage.request.site.gate.expect_commit = Some(commit.into());
    let engine = "engine".to_owned();
    stage.request.method.strategy = Strategy::Docker(ImagePull {
        engine: engine.clone(),
        image: image.into(),
        limit: Duration::from_secs(20),
    });
    let options = vec!["--network".into(), "host".into()];
    stage.request.method.manager =
        Manager::Docker { engine, service: "duel".into(), image: image.into(), options };
}

#[tokio::test]
async fn images_are_pulled_by_digest_and_the_one_before_stays_for_the_way_back() {
    let Some(mut stage) = Stage::new().await else { return };
    program(&stage, "engine", ENGINE);
    let (one, two) = (image(&stage, 0), image(&stage, 1));
    stage.set("ODD", "a secret\nof two lines");
    wants_image(&mut stage, &one, "aaaa111").await;
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Build), "{steps:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), "a secret\nof two lines");
    let first = stage.pid().await;
    assert_eq!(stage.noted_pid("run/server.pid"), first);
    wants_image(&mut stage, &two, "bbbb222").await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert!(!alive(first), "the container before is gone");
    eventually("its log is the server's", || {
        fs::read_to_string(stage.keeper("log/server.log")).unwrap_or_default().matches("serving as").count()
            >= 2
    })
    .await;
    let asked = fs::read_to_string(stage.sshd.home().join("engine/asked")).unwrap();
    assert!(!asked.contains("a secret"), "a value stood in a command line: {asked}");

    // What cannot be pulled is found out while the old one serves.
    wants_image(&mut stage, &format!("registry.example.org/duel@sha256:{:064}", 7), "cccc333").await;
    let before = stage.pid().await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("manifest unknown"), "{fault}");
    assert_eq!(stage.pid().await, before);

    fs::remove_dir_all(stage.sshd.home().join("engine/registry")).unwrap();
    let request = RollbackRequest {
        site: stage.request.site.clone(),
        to: None,
        env: Default::default(),
        maintenance: None,
    };
    rollback(&stage.remote, &request, &mpsc::channel(1).0).await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    stop_server(&stage.remote, &stage.request.site.address(), LIMIT).await.unwrap();
    assert!(!stage.sshd.home().join("engine/run/duel").exists());
}

/// A repository with the fixture server's source as two commits.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self(folder);
        repository.run("git init -q -b main . && git config user.name a && git config user.email a@b.c");
        repository
    }

    fn run(&self, script: &str) -> String {
        let output = Command::new("sh").args(["-c", script]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit whose build copies one of the compiled fixtures.
    fn commit(&self, release: usize) -> String {
        fs::write(self.0.path().join("build.sh"), format!("cp '{}' server", releases()[release].display()))
            .unwrap();
        self.run("git add -A && git commit -qm change && git rev-parse HEAD")
    }

    fn url(&self) -> String {
        self.0.path().display().to_string()
    }
}

async fn wants_commit(stage: &mut Stage, repository: &Repository, rev: &str, build: &str) {
    let (url, build) = (repository.url(), Some(build.to_owned()));
    let source = Source { url: url.clone(), rev: rev.into(), build: build.clone() };
    let recipe = Recipe::Tree { source, run: "exec ./server".into() };
    let source = ArtifactSource::Recipe(recipe, stage.sshd.folder.path().join("recipes"));
    stage.request.artifact = Arc::new(Artifact::prepare(&source).await.unwrap());
    // The fixture names the commit it was compiled with.
    stage.request.site.gate.expect_commit = None;
    stage.request.method.strategy = Strategy::Git(TreeBuild { url, build, limit: Duration::from_secs(20) });
}

#[tokio::test]
async fn a_commit_is_checked_out_and_built_on_the_box() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    let first = repository.commit(0);
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    assert_eq!(stage.request.artifact.commit, first, "a branch was resolved to its commit");
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Build), "{steps:?}");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    assert_eq!(
        stage.get("/").await.unwrap(),
        stage.keeper(&format!("releases/{}/tree", stage.release())).to_str().unwrap()
    );

    // The branch moves; what was built is another release, and the one before stays.
    repository.commit(1);
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert_eq!(stage.release_names().len(), 2);
    let before = stage.pid().await;

    // A build that fails, hangs or is killed is found out while the old one serves.
    for (build, release, word) in [
        ("echo no such header >&2; exit 2", true, "no such header"),
        ("kill -9 $$", false, "killed"),
        ("sleep 60", false, "in time"),
    ] {
        wants_commit(&mut stage, &repository, &first, build).await;
        if let Strategy::Git(with) = &mut stage.request.method.strategy {
            with.limit = Duration::from_secs(2);
        }
        let fault = stage.deploy().await.unwrap_err();
        let blamed = matches!(&fault, DeployFault::Release(_));
        assert!(blamed == release && fault.to_string().contains(word), "{build}: {fault:?}");
        assert_eq!(stage.pid().await, before);
    }
    // Nor is a commit that the repository does not have.
    wants_commit(&mut stage, &repository, &"ab".repeat(20), "true").await;
    assert!(stage.deploy().await.is_err());
    assert_eq!(stage.pid().await, before);
}

#[tokio::test]
async fn a_tree_that_is_dirty_after_its_checkout_is_refused() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    // Line endings that the checkout cannot keep: the tree differs from its own commit.
    repository.run("printf 'a\\r\\n' >file && git add -A && git commit -qm one && printf '* text eol=lf\\n' >.gitattributes && git add .gitattributes && git commit -qm two");
    wants_commit(&mut stage, &repository, "main", "true").await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("dirty"), "{fault}");
    assert!(!stage.keeper("current").exists());
}

#[tokio::test]
async fn a_build_goes_on_when_its_connection_is_cut_and_the_keeper_dies() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    repository.commit(0);
    let build =
        "echo x >>../../../data/builds; while [ ! -f ../../../data/go ]; do sleep 0.1; done; sh build.sh";
    wants_commit(&mut stage, &repository, "main", build).await;
    let began = stage.keeper("data/builds");
    let dying = async {
        eventually("the build began", || began.exists()).await;
        stage.sshd.cut_connections();
        // The look is repeated over another connection, and then the keeper dies for good.
        eventually("it is looked for again", || stage.keeper("jobs/build/lock").exists()).await;
    };
    let (progress, _untaken) = mpsc::channel(1);
    tokio::select! {
        () = dying => {}
        result = deploy(&stage.remote, &stage.request, &progress) => panic!("{result:?}"),
    }
    fs::write(stage.keeper("data/go"), "").unwrap();
    stage.deploy().await.unwrap();
    assert_eq!(fs::read_to_string(began).unwrap(), "x\n", "it was built once");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
}

/// Somebody else's server, started by hand on the box's port.
fn stranger(stage: &Stage) -> std::process::Child {
    let program = stage.sshd.folder.path().join("somebody's server");
    fs::copy(&releases()[1], &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["--flag", "it's an argument"]).env_clear();
    command.env("PORT", stage.request.site.server_port.to_string()).env("HOST", "127.0.0.1");
    command.env("ODD", "it's\ntheirs").current_dir(stage.sshd.folder.path());
    std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap()
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
    let request = RollbackRequest {
        site: stage.request.site.clone(),
        to: None,
        env: Default::default(),
        maintenance: None,
    };
    let back = rollback(&stage.remote, &request, &mpsc::channel(1).0).await.unwrap();
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
    stop_server(&stage.remote, &stage.request.site.address(), LIMIT).await.unwrap();
    let mut theirs = stranger(&stage);
    stage.health("commit", |commit| commit == "bbbb222").await;
    let fault = start_server(&stage.remote, &stage.request.site.address(), LIMIT).await.unwrap_err();
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
