//! The keeper's configuration in a test: the settings of earnest, with patience measured in seconds; enough of it for a
//! machine on which any process may stand still for a while: a box of which nothing is heard for some seconds is no incident.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use super::receiver::Receiver;

/// The account's key at the simulator. Its odd words make it a canary: they appear nowhere by accident.
pub const API_KEY: &str = "canary-api-key-7f3a91";
/// The servers' admin code.
pub const ADMIN_CODE: &str = "canary-admin-code-5c20de";

const FILE: &str = r#"
[fleet]
name = "e2e"
node_name = "duel"

[health]
interval = "2s"
retry_interval = "250ms"
timeout = "1500ms"
failure_threshold = 5

[offers]
query = "num_gpus=1 rented=False"
order = ["price", "reliability"]
min_reliability = 0.9
min_cpu_ram_mb = 8000
min_cpu_cores = 4
min_gpu_ram_mb = 8000
price_step_percent = 1000

[rental]
image = "simulated/cuda"
disk_gb = 40
allow_private_addresses = true

[deadlines]
rent = "60s"
boot = "60s"
deploy = "60s"
probation = "20s"
remedy = "40s"

[rails]
parallel = 8
node_creates = 500
fleet_hourly = 500
fleet_daily = 500
attempts = 20
backoff = "300ms"
backoff_max = "1s"
cooldown = "0s"
warm_up = "1s"
witness_fresh = "20s"
breaker_count = 100
unproven_boxes = 500

[inventory]
interval = "2s"
busy_interval = "400ms"
settle = "3s"
create_grace = "4s"

[provider]
timeout = "3s"
pacing = 0

[ssh]
connect_timeout = "3s"
connect_budget = "30s"

[deploy]
gate_within = "30s"
gate_healthy = 2
gate_steady = "0s"

[schedule]
inventory_sweep = "0 0 0 1 1 *"
orphan_check = "0 0 0 1 1 *"
digest = "off"

[http]
listen = "127.0.0.1:0"
"#;

/// What the keeper is started with.
#[derive(Clone)]
pub struct Settings {
    pub scratch: PathBuf,
    /// The text of `keeper.toml`.
    pub file: String,
    /// Settings given by flag, over the file.
    pub flags: BTreeMap<String, String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
}

impl Settings {
    pub fn new(scratch: &Path, nodes: u32, provider: &str, receiver: &Receiver, server: &Path) -> Self {
        let key = scratch.join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        let path = |path: &Path| path.display().to_string();
        let flags = [
            ("provider.base_url", provider.to_owned()),
            ("ssh.key_file", path(&key)),
            ("deploy.file", path(server)),
            ("keeper.state_dir", path(&scratch.join("state"))),
            ("keeper.control_socket", path(&scratch.join("control.sock"))),
        ];
        let environment = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", path(scratch)),
            ("VAST_API_KEY", API_KEY.to_owned()),
            ("ADMIN_CODE", ADMIN_CODE.to_owned()),
            ("SLACK_WEBHOOK_URL", receiver.url("slack")),
            ("DISCORD_WEBHOOK_URL", receiver.url("discord")),
            ("ALERT_WEBHOOK_URL", receiver.url("webhook")),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        Self {
            scratch: scratch.to_path_buf(),
            file: FILE.replace("[fleet]\n", &format!("[fleet]\nnodes = {nodes}\n")),
            flags: flags.into_iter().map(owned).collect(),
            environment: environment.into_iter().map(owned).collect(),
        }
    }

    /// One setting by flag.
    pub fn set(&mut self, key: &str, value: &str) {
        self.flags.insert(key.into(), value.into());
    }

    /// Replaces a line of the file, which must be there.
    pub fn edit(&mut self, line: &str, by: &str) {
        assert!(self.file.contains(line), "no `{line}` in the file");
        self.file = self.file.replace(line, by);
    }

    pub fn path(&self) -> PathBuf {
        self.scratch.join("keeper.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.scratch.join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.scratch.join("control.sock")
    }

    /// At once: a command that is just starting must not read half of it.
    pub fn write(&self) {
        let mut new = tempfile::NamedTempFile::new_in(self.path().parent().unwrap()).unwrap();
        std::io::Write::write_all(&mut new, self.file.as_bytes()).unwrap();
        new.persist(self.path()).unwrap();
    }

    /// What every call of the binary gets after its verb.
    pub fn arguments(&self) -> Vec<String> {
        let flags = self.flags.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let file = ["--config".to_owned(), self.path().display().to_string()];
        file.into_iter().chain(flags).collect()
    }
}
