//! Work on a box by a process of its own, which can be killed as a keeper can: the test program starts itself with one test, that
//! does what a file tells it, and dies at the crash point that another file names.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::{process::Command, sync::mpsc, time::timeout};

use super::{stage, *};
use crate::{
    crash::{FILE_VARIABLE, Point},
    fleet::provider::SshEndpoint,
    remote::{Remote, RemoteConfig},
};

/// Names the file that tells what is to be done.
const ORDER: &str = "VAST_KEEPER_TEST_ORDER";
/// The test that does it.
const DOES_IT: &str = "deploy::tests::order::work_that_is_killed";
/// Longest life of one that is to be killed: as long as a deploy may take.
const LIFE: Duration = stage::LIMIT;
/// The servers' admin code.
pub(super) const CODE: &str = "the-admin-code-of-the-killed";

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    Deploy,
    GoBack(Option<String>),
    Restore(String),
}

/// Where the program comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Program {
    File(PathBuf),
    Url { url: String, sha256: String, folder: PathBuf },
}

/// Everything that one who knows nothing of the test needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// Of the box: its SSH server's folder and ports.
    pub folder: PathBuf,
    pub ssh_port: u16,
    pub server_port: u16,
    pub work: Work,
    pub program: Program,
    pub commit: String,
    /// The commit that `/health` will name, where it is one of the program's own.
    pub named: Option<String>,
    pub method: Method,
    pub backup: Backup,
    pub adopt: bool,
    pub odd: String,
    /// What must stand in the server's log.
    pub logged: Vec<String>,
    /// Limits of the gate and of the confirmation.
    pub trial: (Duration, Duration),
}

impl Order {
    pub(super) async fn request(&self) -> DeployRequest {
        let endpoint = SshEndpoint { host: "127.0.0.1".into(), port: self.ssh_port };
        let mut site = stage::site(endpoint, self.server_port, &self.commit);
        site.gate.expect_commit.clone_from(&self.named);
        (site.gate.within, site.gate.confirm_within) = self.trial;
        let artifact = match &self.program {
            Program::File(path) => Artifact::known(path, self.commit.clone()).await.unwrap(),
            Program::Url { url, sha256, folder } => {
                let (url, sha256, folder) = (url.parse().unwrap(), sha256.clone(), folder.clone());
                Artifact::prepare(&ArtifactSource::Url(Download { url, sha256, folder })).await.unwrap()
            }
        };
        let text = |value: &str| SecretString::from(value.to_owned());
        let env = BTreeMap::from([("ODD".into(), text(&self.odd)), ("ADMIN_CODE".into(), text(CODE))]);
        let maintenance =
            Maintenance { code: CODE.into(), wait: Duration::from_secs(5), on_timeout: OnTimeout::Abort };
        let method = Method { backup: self.backup.clone(), adopt: self.adopt, ..self.method.clone() };
        DeployRequest {
            site,
            method,
            artifact: Arc::new(artifact),
            env,
            restart: Restart::Always,
            force: false,
            maintenance: Some(maintenance),
            smoke: Smoke { expected: self.logged.clone(), ..Smoke::default() },
        }
    }

    /// Does it, here.
    pub(super) async fn carry_out(&self, remote: &Remote) -> Result<Deployed, DeployFault> {
        let request = self.request().await;
        let (progress, _untaken) = mpsc::channel(1);
        let DeployRequest { site, env, maintenance, .. } = request.clone();
        match &self.work {
            Work::Deploy => deploy(remote, &request, &progress).await,
            Work::GoBack(to) => {
                let request = RollbackRequest { site, to: to.clone(), env, maintenance };
                rollback(remote, &request, &progress).await
            }
            Work::Restore(backup) => {
                let (backup, with) = (Some(backup.clone()), request.method.backup);
                restore(remote, &RestoreRequest { site, backup, with, env, maintenance }, &progress).await
            }
        }
    }

    /// Has a process begin it that is killed at that passing of the point.
    pub(super) async fn dies_at(&self, point: Point, passing: u32) {
        let file = |name: &str| self.folder.join(name);
        fs::write(file("order"), serde_json::to_vec(self).unwrap()).unwrap();
        fs::write(file("crash"), format!("{point} {passing}")).unwrap();
        fs::create_dir_all(file("tmp")).unwrap();
        let said = fs::File::create(file("said")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", DOES_IT, "--nocapture", "--test-threads=1"]);
        child.env(ORDER, file("order")).env(FILE_VARIABLE, file("crash"));
        // What it leaves behind goes with the box's folder.
        child.env("TMPDIR", file("tmp")).env_remove("XDG_RUNTIME_DIR");
        child.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).kill_on_drop(true);
        let ended = timeout(LIFE, child.status()).await;
        let status = ended.unwrap_or_else(|_| panic!("it lives on: {}", said_in(&self.folder))).unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "{point} was not passed {passing} times: {}",
            said_in(&self.folder)
        );
    }
}

fn said_in(folder: &Path) -> String {
    fs::read_to_string(folder.join("said")).unwrap_or_default()
}

#[tokio::test]
#[ignore = "a part of other tests, which start it as a process of its own"]
async fn work_that_is_killed() {
    let Some(order) = std::env::var_os(ORDER) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let order: Order = serde_json::from_slice(&fs::read(order).unwrap()).unwrap();
    let config = RemoteConfig::new(order.folder.join("key"), order.folder.join("state"));
    let result = order.carry_out(&Remote::new(config).unwrap()).await;
    panic!("it ended by itself: {result:?}");
}
