//! The same deploys to boxes of the simulated provider: another SSH server, and faults that a real one cannot be asked for.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use vast_sim::{Action, BoxInfo, Fault, FaultKind, LifecycleConfig, Sim, SimConfig, TrafficBreak};

use super::{
    stage::{LIMIT, artifact, releases},
    *,
};
use crate::{
    fleet::{
        name::{InstanceId, OpId},
        provider::SshEndpoint,
    },
    remote::{Remote, RemoteConfig, Witnessed, sshd::keygen},
};

const KEY: &str = "sim-key";

/// A provider with one running box.
struct Rented {
    sim: Sim,
    instance: u64,
    remote: Remote,
    request: DeployRequest,
    _folder: tempfile::TempDir,
}

impl Rented {
    async fn new() -> Self {
        // Compiles the release first, so that nothing of the box's time goes by meanwhile.
        let _ = releases();
        let folder = tempfile::tempdir().unwrap();
        keygen(&folder.path().join("key"));
        let mut config = RemoteConfig::new(folder.path().join("key"), folder.path().join("state"));
        config.connect_timeout = Duration::from_secs(3);
        let remote = Remote::new(config).unwrap();
        let lifecycle = LifecycleConfig::all(0.02);
        let sim =
            Sim::start(SimConfig { api_key: KEY.into(), lifecycle, ..SimConfig::default() }).await.unwrap();
        let op = OpId::from_bits(21);

        call(&sim, "POST", "/api/v0/ssh/", json!({ "ssh_key": remote.public_key() })).await;
        let query = json!({ "num_gpus": { "eq": 1 }, "disk_space": { "gte": 20 }, "limit": 1 });
        let offers = call(&sim, "POST", "/api/v0/bundles/", query).await;
        let body = json!({ "client_id": "me", "image": "vastai/base", "disk": 10, "label": format!("vk:t:n:{op}"),
            "runtype": "ssh_direct", "env": { "-p 5555:5555": "1" }, "onstart": ONSTART });
        let created = call(&sim, "PUT", &format!("/api/v0/asks/{}/", offers["offers"][0]["id"]), body).await;
        let instance = created["new_contract"].as_u64().unwrap();
        let info = running(&sim, instance).await;
        let endpoint = |at: std::net::SocketAddr| SshEndpoint { host: at.ip().to_string(), port: at.port() };
        let artifact = artifact(0).await;
        let site = Site {
            node: "duel-0".parse().unwrap(),
            instance: InstanceId(instance),
            op: op.clone(),
            endpoints: info.ssh.into_iter().chain(info.ssh_proxy).map(endpoint).collect(),
            user: "root".into(),
            gate: Gate {
                interval: Duration::from_millis(50),
                ..Gate::new(op, Some(artifact.commit.clone()))
            },
            server_port: 5555,
            public: info.ports["5555/tcp"],
            keep: 2,
            deadline: LIMIT,
            connect_budget: Duration::from_secs(20),
            by: "a test".into(),
            wait_lock: Duration::ZERO,
        };
        let request = DeployRequest {
            site,
            method: Method::default(),
            artifact,
            env: BTreeMap::new(),
            restart: Restart::Always,
            force: false,
            maintenance: None,
            smoke: Smoke::default(),
        };
        Self { sim, instance, remote, request, _folder: folder }
    }

    async fn deploy(&self) -> Result<(), DeployFault> {
        deploy(&self.remote, &self.request, &mpsc::channel(1).0).await.map(drop)
    }

    async fn witness(&self) -> Witnessed {
        self.witness_within(LIMIT).await
    }

    async fn witness_within(&self, limit: Duration) -> Witnessed {
        self.remote
            .witness(&self.request.site.address(), 5555, "/health", Some(&self.request.site.op), limit)
            .await
    }

    async fn act(&self, kind: FaultKind) {
        self.sim.act(self.instance, Action::Do(kind)).await.unwrap();
    }

    /// Waits until `/health` from outside answers, and tells when that server was started.
    async fn started_at(&self, wanted: impl Fn(u64) -> bool) -> u64 {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        for _ in 0..3000 {
            let public = running(&self.sim, self.instance).await.ports["5555/tcp"];
            if let Ok(answer) = client.get(format!("http://{public}/health")).send().await
                && let Ok(health) = answer.json::<Value>().await
                && let Some(at) = health["started_at"].as_u64().filter(|at| wanted(*at))
            {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server never answered");
    }
}

async fn call(sim: &Sim, method: &str, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{}{path}", sim.url()));
    request.bearer_auth(KEY).json(&body).send().await.unwrap().json().await.unwrap()
}

async fn running(sim: &Sim, instance: u64) -> BoxInfo {
    for _ in 0..3000 {
        let mut boxes = sim.boxes().into_iter().filter(|info| info.instance == instance);
        let up = boxes.next().filter(|info| info.actual_status.as_deref() == Some("running"));
        if let Some(info) = up.filter(|info| info.ssh.is_some() && info.ports.contains_key("5555/tcp")) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("instance {instance} never ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rented_box_gets_its_server_and_keeps_it_through_a_reboot() {
    let rented = Rented::new().await;
    rented.deploy().await.unwrap();
    assert_eq!(rented.witness().await, Witnessed::ServerUp);
    let first = rented.started_at(|_| true).await;

    rented.act(FaultKind::KillServer { whole_session: false }).await;
    let second = rented.started_at(|at| at > first).await;

    let reboot = format!("/api/v0/instances/reboot/{}/", rented.instance);
    assert_eq!(call(&rented.sim, "PUT", &reboot, json!({})).await["success"], true);
    rented.started_at(|at| at > second).await;

    // With its supervisor it stays dead.
    rented.act(FaultKind::KillServer { whole_session: true }).await;
    let down = rented.witness().await;
    assert!(matches!(down, Witnessed::ServerDown(_)), "{down:?}");
    rented.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_or_refuse_at_first_do_not_stop_a_deploy() {
    let rented = Rented::new().await;
    // Right after boot the box refuses our key; then the upload is cut, again on the way round, and a banner never comes.
    rented.sim.inject(Fault::once(FaultKind::SshAuthRefused).times(2)).unwrap();
    let traffic = |how| Fault::once(FaultKind::SshTraffic { how, path: None });
    rented.sim.inject(traffic(TrafficBreak::CutUploadAfter(150_000)).times(2)).unwrap();
    rented.sim.inject(traffic(TrafficBreak::Reset)).unwrap();
    rented.sim.inject(traffic(TrafficBreak::Hang)).unwrap();
    rented.deploy().await.unwrap();
    assert_eq!(rented.witness().await, Witnessed::ServerUp);
    rented.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_not_the_one_it_was_is_never_touched() {
    let rented = Rented::new().await;
    rented.deploy().await.unwrap();
    rented.act(FaultKind::ChangeHostKey).await;
    rented.act(FaultKind::DropSsh).await;
    let fault = rented.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::HostKeyChanged(words) if words.contains("SHA256:")), "{fault:?}");
    let silent = rented.witness().await;
    assert!(matches!(silent, Witnessed::Silent(_)), "{silent:?}");
    rented.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_box_is_silent_and_a_stranger_in_front_of_it_passes_no_gate() {
    let mut rented = Rented::new().await;
    let usual = std::mem::replace(&mut rented.request.site.gate.within, Duration::from_secs(2));
    let stranger = FaultKind::HttpTraffic { how: TrafficBreak::Stranger };
    let id = rented.sim.inject(Fault::lasting(stranger)).unwrap();
    let fault = rented.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Unhealthy(_)), "{fault:?}");
    rented.sim.clear_fault(id);
    rented.request.site.gate.within = usual;
    rented.deploy().await.unwrap();

    rented.act(FaultKind::Freeze).await;
    let silent = rented.witness_within(Duration::from_secs(10)).await;
    assert!(matches!(silent, Witnessed::Silent(_)), "{silent:?}");
    rented.request.site.connect_budget = Duration::from_secs(1);
    let fault = rented.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("unreachable")), "{fault:?}");
    rented.sim.shutdown().await;
}
