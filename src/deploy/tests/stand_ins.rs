//! What the boxes of these tests have besides an SSH server: programs that stand in for managers and engines, which want a machine of
//! their own, with the same command lines; and a repository to build from.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use super::{
    stage::{Stage, releases},
    *,
};

/// Puts a program into the box's `PATH`.
pub(super) fn program(stage: &Stage, name: &str, text: &str) {
    let path = stage.sshd.folder.path().join("bin").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs `$1` again whenever it ends, as long as it is wanted; ends it.
const KEEPING: &str = r#"#!/bin/sh
at=$HOME/managed; mkdir -p "$at"
keep() { echo $$ >"$at/$name.wanted"; (while [ "$(cat "$at/$name.wanted" 2>/dev/null)" = $$ ]; do
    sh -c "echo \$\$ >'$at/$name.pid'; exec $1"; sleep 0.2; done) >/dev/null 2>&1 </dev/null & }
halt() { rm -f "$at/$name.wanted"; [ ! -f "$at/$name.pid" ] || pkill -TERM -P "$(cat "$at/$name.pid")"; kill "$(cat "$at/$name.pid")" 2>/dev/null
  for n in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$(cat "$at/$name.pid" 2>/dev/null)" 2>/dev/null || break; sleep 0.1; done; rm -f "$at/$name.pid"; }
"#;

/// Does what `systemctl` does for one unit.
pub(super) fn systemctl() -> String {
    let verbs = r#"for unit; do case $unit in *.service) break ;; esac; done
name=${unit%.service}
case $1 in
  restart) halt 2>/dev/null; keep "$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$unit")" ;;
  stop) halt 2>/dev/null ;;
  is-active) [ -f "$at/$name.pid" ] && echo active || echo inactive ;;
  show) cat "$at/$name.pid" 2>/dev/null || echo 0 ;;
esac
exit 0
"#;
    format!("{KEEPING}{verbs}")
}

/// Does what `pm2` does for one process.
pub(super) fn pm2() -> String {
    let verbs = r#"case $1 in
  start) name=$4; halt 2>/dev/null; keep "sh '$2' serve" ;;
  delete) name=$2; halt 2>/dev/null ;;
  pid) name=$2; cat "$at/$name.pid" 2>/dev/null ;;
esac
exit 0
"#;
    format!("{KEEPING}{verbs}")
}

/// Commands that keep one server running, and never start it again.
pub(super) fn by_command() -> Manager {
    Manager::Command {
        start: "eval \"exec $KEEPER_SERVE\" </dev/null & echo $! >run/own.pid".into(),
        stop: "kill \"$(cat run/own.pid)\" 2>/dev/null; rm -f run/own.pid".into(),
        status: None,
        pid: "cat run/own.pid".into(),
    }
}

/// A unit of this box's own; `None` where units cannot be written.
pub(super) fn unit(stage: &Stage) -> Option<(String, UnitFile)> {
    let service = format!("vk-test-{}", stage.request.site.server_port);
    let path = PathBuf::from(format!("/etc/systemd/system/{service}.service"));
    if fs::write(&path, "").is_err() {
        eprintln!("SKIPPED: units can be written by root only; the manager `systemd` was not tried");
        return None;
    }
    program(stage, "systemctl", &systemctl());
    Some((service, UnitFile(path)))
}

/// A unit's file, removed at the end of a test.
pub(super) struct UnitFile(pub PathBuf);

impl Drop for UnitFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Keeps containers as `docker` does, one process each, without isolation. Images are folders.
pub(super) const ENGINE: &str = r#"#!/bin/sh
at=$HOME/engine; mkdir -p "$at/images" "$at/run"
echo "$*" >>"$at/asked"
case "$1 $2" in
  "image inspect") [ -d "$at/images/${3##*:}" ]; exit ;;
  "image rm") rm -rf "$at/images/${3##*:}"; exit ;;
esac
case $1 in
  pull) [ -d "$at/registry/${2##*:}" ] || { echo "manifest unknown" >&2; exit 1; }; cp -r "$at/registry/${2##*:}" "$at/images/" ;;
  load) id=$(sha256sum <"$3"); mkdir -p "$at/images/${id%% *}"; cp "$3" "$at/images/${id%% *}/server"; chmod 755 "$at/images/${id%% *}/server" ;;
  run)
    shift; names=
    while [ $# -gt 1 ]; do case $1 in --name) name=$2; shift ;; -e) names="$names $2"; shift ;; --restart) policy=$2; shift ;; --network) shift ;; esac; shift; done
    [ ! -d "$at/run/$name" ] || { echo "the name is in use" >&2; exit 125; }
    mkdir "$at/run/$name"; echo "$policy" >"$at/run/$name/policy"
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
  update) echo "$3" >"$at/run/$4/policy" ;;
  stop) kill "$(cat "$at/run/$4/pid")" ;;
  rm) pid=$(cat "$at/run/$3/pid" 2>/dev/null) || exit 1; kill -9 "$pid" 2>/dev/null; rm -rf "$at/run/$3" ;;
esac
"#;

/// An image in the registry: one of the fixtures, under a digest of that number.
pub(super) fn image(stage: &Stage, release: usize, number: usize) -> String {
    let digest = format!("{number:064}");
    let folder = stage.sshd.home().join("engine/registry").join(&digest);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(&releases()[release], folder.join("server")).unwrap();
    format!("registry.example.org/duel@sha256:{digest}")
}

pub(super) async fn wants_image(stage: &mut Stage, image: &str, commit: &str) {
    let recipe = Recipe::Image { image: image.into(), commit: Some(commit.into()) };
    let options = ["--network", "host"].map(str::to_owned).into();
    wants_recipe(stage, recipe, image, options).await;
}

/// An image whose archive is that file.
pub(super) async fn wants_archive(
    stage: &mut Stage,
    file: &Path,
    image: &str,
    commit: &str,
    options: Vec<String>,
) {
    let recipe = Recipe::Archive { file: file.to_owned(), commit: Some(commit.into()) };
    wants_recipe(stage, recipe, image, options).await;
}

async fn wants_recipe(stage: &mut Stage, recipe: Recipe, image: &str, options: Vec<String>) {
    let archive = matches!(recipe, Recipe::Archive { .. });
    let source = ArtifactSource::Recipe(recipe, stage.sshd.folder.path().join("recipes"));
    stage.request.artifact = Arc::new(Artifact::prepare(&source).await.unwrap());
    stage.request.site.gate.expect_commit = Some(stage.request.artifact.commit.clone());
    let (engine, image) = ("engine".to_owned(), image.to_owned());
    let limit = Duration::from_secs(60);
    stage.request.method.strategy =
        Strategy::Docker(ImagePull { engine: engine.clone(), image: image.clone(), archive, limit });
    stage.request.method.manager = Manager::Docker { engine, service: "duel".into(), image, options };
}

/// A repository with the fixture server's source as two commits.
pub(super) struct Repository(pub tempfile::TempDir);

impl Repository {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self(folder);
        repository.run("git init -q -b main . && git config user.name a && git config user.email a@b.c");
        repository
    }

    pub(super) fn run(&self, script: &str) -> String {
        let output = Command::new("sh").args(["-c", script]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit whose build copies one of the compiled fixtures.
    pub(super) fn commit(&self, release: usize) -> String {
        fs::write(self.0.path().join("build.sh"), format!("cp '{}' server", releases()[release].display()))
            .unwrap();
        self.run("git add -A && git commit -qm change && git rev-parse HEAD")
    }

    pub(super) fn url(&self) -> String {
        self.0.path().display().to_string()
    }
}

pub(super) async fn wants_commit(stage: &mut Stage, repository: &Repository, rev: &str, build: &str) {
    let (url, build) = (repository.url(), Some(build.to_owned()));
    let source = Source { url: url.clone(), rev: rev.into(), build: build.clone() };
    let recipe = Recipe::Tree { source, run: "exec ./server".into() };
    let source = ArtifactSource::Recipe(recipe, stage.sshd.folder.path().join("recipes"));
    stage.request.artifact = Arc::new(Artifact::prepare(&source).await.unwrap());
    // The fixture names the commit it was compiled with.
    stage.request.site.gate.expect_commit = None;
    stage.request.method.strategy = Strategy::Git(TreeBuild { url, build, limit: Duration::from_secs(20) });
}
