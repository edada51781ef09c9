//! Images that come as archives, for boxes that reach no registry: by the stand-in, and by the real `podman` where it can run a
//! container.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    stage::{LIMIT, Stage, releases},
    stand_ins::{ENGINE, program, wants_archive},
    *,
};

#[tokio::test]
async fn an_image_comes_as_an_archive_where_no_registry_is() {
    let Some(mut stage) = Stage::new().await else { return };
    program(&stage, "engine", ENGINE);
    let archive = |release: usize| {
        let path = &releases()[release];
        (path, format!("sha256:{}", artifact::sha256(&fs::read(path).unwrap())))
    };
    let (file, image) = archive(0);
    wants_archive(&mut stage, file, &image, "aaaa111", vec![]).await;
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Upload) && steps.contains(&Step::Build), "{steps:?}");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    // With other settings it need not be sent again, nor loaded.
    stage.set("ODD", "other settings");
    let steps = stage.deploy().await.unwrap();
    assert!(!steps.contains(&Step::Upload), "{steps:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), "other settings");

    // An archive of another image than the one that is named is found out while the old one serves.
    let before = stage.pid().await;
    let (file, _) = archive(1);
    wants_archive(&mut stage, file, &format!("sha256:{:064}", 7), "bbbb222", vec![]).await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("another image"), "{fault}");
    assert_eq!(stage.pid().await, before);
    let asked = fs::read_to_string(stage.sshd.home().join("engine/asked")).unwrap();
    assert!(!asked.contains("pull"), "{asked}");
}

/// The real engine, with storage of this box's own; its containers end with the test.
struct Podman {
    program: PathBuf,
    home: PathBuf,
    /// What `run` needs here.
    options: Vec<String>,
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.run(&["rm", "-f", "-a"]);
    }
}

impl Podman {
    /// `None` where it cannot run a container, loudly.
    fn new(stage: &Stage, image: &Path) -> Option<Self> {
        // A process that is the first of its container heeds no TERM that it does not expect.
        let plain = ["--network", "host", "--stop-signal", "KILL"].map(str::to_owned).to_vec();
        // Inside another container, not every runtime may do what it is used to.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"].map(str::to_owned);
        let confined = [plain.clone(), limits.to_vec()].concat();
        let mut said = String::new();
        for (runtime, options) in [("", plain), ("--runtime runc --cgroup-manager cgroupfs", confined)] {
            let storage = r#"--root "$HOME/pod" --runroot "$HOME/podrun" --storage-driver vfs"#;
            program(stage, "engine", &format!("#!/bin/sh\nexec podman {storage} {runtime} \"$@\"\n"));
            let path = stage.sshd.folder.path().join("bin/engine");
            let podman = Self { program: path, home: stage.sshd.home(), options };
            match podman.tried(image) {
                Ok(()) => return Some(podman),
                Err(why) => said = why,
            }
        }
        eprintln!("SKIPPED: podman cannot run a container here, so that it was not tried: {said}");
        None
    }

    fn run(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program).args(words).env("HOME", &self.home).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn tried(&self, image: &Path) -> Result<(), String> {
        self.run(&["load", "-i", image.to_str().unwrap()])?;
        let mut words = vec!["run", "--rm"];
        words.extend(self.options.iter().map(String::as_str));
        words.extend(["localhost/duel:aaaa111", "--version"]);
        self.run(&words)?;
        self.run(&["image", "rm", "-f", "-a"]).map(drop)
    }

    /// An image of a fixture that needs nothing but itself, as an archive, and its id.
    fn archive(folder: &Path, commit: &str) -> Option<(PathBuf, String)> {
        let at = folder.join(format!("image-{commit}"));
        fs::create_dir(&at).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"]);
        rustc
            .arg(at.join("server"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/deployed_server.rs"));
        assert!(rustc.env("FIXTURE_COMMIT", commit).status().unwrap().success());
        let script = format!(
            "tar -cf tree.tar server && export HOME=$PWD && engine() {{ podman --root \"$PWD/pod\" --runroot \"$PWD/podrun\" \
             --storage-driver vfs \"$@\"; }} && engine import -q --change 'ENTRYPOINT [\"/server\"]' tree.tar localhost/duel:{commit} && \
             engine save -q -o image.tar localhost/duel:{commit} && engine image inspect --format '{{{{.Id}}}}' localhost/duel:{commit}"
        );
        let made = Command::new("sh").args(["-c", &script]).current_dir(&at).output().ok()?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            eprintln!("SKIPPED: podman makes no image here (apt-get install podman): {said}");
            return None;
        }
        let id = String::from_utf8(made.stdout).unwrap().lines().last()?.trim().to_owned();
        Some((at.join("image.tar"), format!("sha256:{}", id.trim_start_matches("sha256:"))))
    }
}

#[tokio::test]
async fn podman_loads_runs_and_goes_back() {
    let Some(mut stage) = Stage::new().await else { return };
    let folder = stage.sshd.folder.path().to_owned();
    let Some((first, image)) = Podman::archive(&folder, "aaaa111") else { return };
    let Some(podman) = Podman::new(&stage, &first) else { return };
    let options = || podman.options.clone();
    wants_archive(&mut stage, &first, &image, "aaaa111", options()).await;
    let odd = "it's $HOME `id` \\ \n of two lines";
    stage.set("ODD", odd);
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    assert_eq!(stage.get("/odd").await.unwrap(), odd);

    let (second, image) = Podman::archive(&folder, "bbbb222").unwrap();
    wants_archive(&mut stage, &second, &image, "bbbb222", options()).await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |commit| commit == "bbbb222").await, "bbbb222");
    // The image of before stayed, so that the way back needs no archive.
    stage.go_back_to(None).await.unwrap();
    assert_eq!(stage.health("commit", |commit| commit == "aaaa111").await, "aaaa111");
    stop_server(&stage.remote, &stage.request.site.address(), &stage.request.site.node, LIMIT).await.unwrap();
    assert_eq!(stage.get("/health").await, None);
    assert_eq!(podman.run(&["ps", "-a", "-q"]).unwrap(), "");
}
