//! The stage of the deploy tests: a box with an OpenSSH server, a small real server to deploy, and eyes to look.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    fleet::{
        name::{InstanceId, OpId},
        provider::SshEndpoint,
    },
    remote::{
        Remote,
        sshd::{Sshd, free_port, user},
    },
};

/// A deploy's whole time: far more than one takes on a machine that runs thirty at once.
pub(super) const LIMIT: Duration = Duration::from_secs(180);
/// How long a server on a busy machine may take to answer; one that is gone refuses at once.
const ANSWER: Duration = Duration::from_secs(10);

/// The two releases of the fixture server, compiled once.
pub(super) fn releases() -> &'static [PathBuf; 2] {
    static BUILT: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let (_, paths) = BUILT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let paths = ["aaaa111", "bbbb222"].map(|commit| {
            let path = folder.path().join(commit);
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/deployed_server.rs");
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition", "2024", "-C", "strip=symbols", "-o"]).arg(&path).arg(source);
            assert!(rustc.env("FIXTURE_COMMIT", commit).status().unwrap().success());
            path
        });
        (folder, paths)
    });
    paths
}

/// A box, the way to it, and what is asked for.
pub(super) struct Stage {
    pub(super) sshd: Sshd,
    pub(super) remote: Remote,
    pub(super) request: DeployRequest,
}

impl Stage {
    pub(super) async fn new() -> Option<Self> {
        Self::with_shell(Path::new("/bin/sh")).await
    }

    /// On a box whose `sh` is that program.
    pub(super) async fn with_shell(shell: &Path) -> Option<Self> {
        let sshd = Sshd::start_with_shell(shell)?;
        let port = free_port();
        let site = site(sshd.endpoint(), port, "aaaa111");
        let request = DeployRequest {
            site,
            method: Method::default(),
            artifact: artifact(0).await,
            env: BTreeMap::new(),
            restart: Restart::Always,
            force: false,
            maintenance: None,
            smoke: Smoke::default(),
        };
        Some(Self { remote: sshd.remote(), sshd, request })
    }

    pub(super) async fn take(&mut self, release: usize) {
        self.request.artifact = artifact(release).await;
        self.request.site.gate.expect_commit = Some(self.request.artifact.commit.clone());
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.request.env.insert(name.into(), SecretString::from(value.to_owned()));
    }

    /// Deploys and tells the steps that were taken.
    pub(super) async fn deploy(&self) -> Result<Vec<Step>, DeployFault> {
        let (sender, mut reports) = mpsc::channel::<StepReport>(256);
        let deployed = deploy(&self.remote, &self.request, &sender).await?;
        assert_eq!(deployed.release.digest, self.request.artifact.digest);
        reports.close();
        let mut steps = vec![];
        while let Some(report) = reports.recv().await {
            if report.phase == StepPhase::Finished {
                steps.push(report.step);
            }
        }
        Ok(steps)
    }

    /// Deploys, and calls `seen` with every report meanwhile.
    pub(super) async fn watched(
        &self,
        mut seen: impl AsyncFnMut(StepReport),
    ) -> Result<Deployed, DeployFault> {
        let (sender, mut reports) = mpsc::channel::<StepReport>(256);
        let watching = async {
            while let Some(report) = reports.recv().await {
                seen(report).await;
            }
        };
        let work = async {
            let result = deploy(&self.remote, &self.request, &sender).await;
            drop(sender);
            result
        };
        tokio::join!(work, watching).0
    }

    /// Goes back, to the last verified release or to that one.
    pub(super) async fn go_back_to(&self, to: Option<&str>) -> Result<Deployed, DeployFault> {
        let request = RollbackRequest {
            site: self.request.site.clone(),
            to: to.map(str::to_owned),
            env: Default::default(),
            maintenance: None,
        };
        rollback(&self.remote, &request, &mpsc::channel(1).0).await
    }

    /// Restores that backup, or the youngest with a dump.
    pub(super) async fn bring_back(&self, backup: Option<&str>) -> Result<Deployed, DeployFault> {
        let request = RestoreRequest {
            site: self.request.site.clone(),
            backup: backup.map(str::to_owned),
            with: self.request.method.backup.clone(),
            env: Default::default(),
            maintenance: None,
        };
        restore(&self.remote, &request, &mpsc::channel(1).0).await
    }

    /// Deploys until that step has ended, and dies.
    pub(super) async fn die_after(&self, last: Step) {
        let (sender, mut reports) = mpsc::channel::<StepReport>(256);
        let stop = async {
            while let Some(report) = reports.recv().await {
                if report.step == last && report.phase == StepPhase::Finished {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            result = deploy(&self.remote, &self.request, &sender) => {
                panic!("{last} was not reached: {result:?}");
            }
        }
    }

    pub(super) async fn get(&self, path: &str) -> Option<String> {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("http://{}{path}", self.request.site.public);
        client.get(url).timeout(ANSWER).send().await.ok()?.text().await.ok()
    }

    /// The field of `/health`, once there is one that `wanted` accepts.
    pub(super) async fn health(&self, field: &str, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..3000 {
            if let Some(text) = self.get("/health").await {
                let health: serde_json::Value = serde_json::from_str(&text).unwrap();
                let value = health[field].to_string().trim_matches('"').to_owned();
                if wanted(&value) {
                    return value;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("`/health` never gave the `{field}` that was waited for");
    }

    pub(super) async fn pid(&self) -> u32 {
        self.health("pid", |_| true).await.parse().unwrap()
    }

    pub(super) fn keeper(&self, path: &str) -> PathBuf {
        self.sshd.home().join("keeper").join(path)
    }

    /// The release that `current` names.
    pub(super) fn release(&self) -> String {
        let target = fs::read_link(self.keeper("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The name of the release that is asked for.
    pub(super) fn named(&self) -> String {
        forward::name_of(&self.remote, &self.request).unwrap()
    }

    pub(super) fn noted_pid(&self, name: &str) -> u32 {
        fs::read_to_string(self.keeper(name)).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(super) fn release_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.keeper("releases")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Processes that run an executable of this box's releases.
    pub(super) fn servers(&self) -> usize {
        let releases = self.keeper("releases");
        let runs_ours = |entry: &fs::DirEntry| {
            fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(&releases))
        };
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(runs_ours).count()
    }
}

/// A box at that endpoint, whose server listens on loopback and names that commit.
pub(super) fn site(endpoint: SshEndpoint, server_port: u16, commit: &str) -> Site {
    let op = OpId::from_bits(11);
    Site {
        node: "duel-0".parse().unwrap(),
        instance: InstanceId(7),
        op: op.clone(),
        endpoints: vec![endpoint],
        user: user(),
        server_port,
        public: SocketAddr::from(([127, 0, 0, 1], server_port)),
        gate: Gate { interval: Duration::from_millis(50), ..Gate::new(op, Some(commit.into())) },
        keep: 1,
        deadline: LIMIT,
        connect_budget: Duration::from_secs(20),
        by: "a test".into(),
        wait_lock: Duration::ZERO,
    }
}

pub(super) async fn artifact(release: usize) -> Arc<Artifact> {
    Arc::new(Artifact::prepare(&ArtifactSource::File(releases()[release].clone())).await.unwrap())
}

pub(super) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(in crate::deploy) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
