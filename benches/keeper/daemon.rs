//! The real daemon in a process of its own, watched from outside: its CPU and memory by `/proc`, its metrics over its
//! control socket.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{seed::FLEET, world::monotonic_ns};

/// How the nodes of a row are probed and how often the provider is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From one probe to the next, in milliseconds; after a failure too.
    pub interval_ms: u64,
    /// Keep a connection open between probes.
    pub keep_alive: bool,
    /// Between lists while nothing is pending, in milliseconds.
    pub list_ms: u64,
}

/// CPU by thread.
pub type Cpu = BTreeMap<OsString, u64>;

/// A running daemon; ends with its value.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    /// When it was started (`CLOCK_MONOTONIC`, nanoseconds).
    pub started_ns: u64,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A process that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts `vast-keeper run` over the state in `folder`.
    pub fn start(folder: &Path, provider: SocketAddr, nodes: usize, pace: Pace) -> Result<Self> {
        let (file, key, log) = (folder.join("keeper.toml"), folder.join("key"), folder.join("log"));
        let socket = folder.join("control.sock");
        fs::write(&file, settings(folder, provider, nodes, pace))?;
        if !key.exists() {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
            anyhow::ensure!(keygen.status().context("ssh-keygen is needed")?.success(), "ssh-keygen failed");
        }
        let started_ns = monotonic_ns();
        let child = Command::new(env!("CARGO_BIN_EXE_vast-keeper"))
            .args(["run", "--config"])
            .arg(&file)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("VAST_API_KEY", "bench-key")
            .env("ADMIN_CODE", "bench-admin-code")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        Ok(Self { child, socket, log, started_ns })
    }

    /// The end of its log, for a row that fails.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(2000);
        log.get(from..).unwrap_or(&log).to_owned()
    }

    /// Freezes it, so that what is measured next has the machine for itself.
    pub fn pause(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("no process id")?, rustix::process::Signal::STOP)?)
    }

    /// CPU of each of its threads so far, user and system, in nanoseconds.
    pub fn cpu(&self) -> Result<Cpu> {
        let mut threads = Cpu::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            // A thread may end between the two reads.
            let Ok(on_cpu) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let nanos = on_cpu.split_whitespace().next().context("an empty schedstat")?;
            threads.insert(task.file_name(), nanos.parse()?);
        }
        Ok(threads)
    }

    /// CPU since an earlier reading. What a thread did that has ended since is lost: idle ones of a pool, with next to nothing.
    pub fn cpu_since(&self, before: &Cpu) -> Result<Duration> {
        let since = |(thread, nanos): (&OsString, &u64)| {
            nanos.saturating_sub(before.get(thread).copied().unwrap_or_default())
        };
        Ok(Duration::from_nanos(self.cpu()?.iter().map(since).sum()))
    }

    /// Resident memory in MB now, and at its highest so far.
    pub fn rss_mb(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mb = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
        };
        Ok((mb("VmRSS:")?, mb("VmHWM:")?))
    }

    /// Its metrics as text.
    pub fn metrics(&self) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: keeper\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            bail!("no metrics: {}", answer.lines().next().unwrap_or_default());
        }
        Ok(answer)
    }
}

fn settings(folder: &Path, provider: SocketAddr, nodes: usize, pace: Pace) -> String {
    let Pace { interval_ms, keep_alive, list_ms } = pace;
    let (folder, timeout_ms) = (folder.display(), interval_ms * 9 / 10);
    format!(
        r#"
[fleet]
name = "{FLEET}"
nodes = {nodes}
node_name = "n"
[health]
interval = "{interval_ms}ms"
retry_interval = "{interval_ms}ms"
timeout = "{timeout_ms}ms"
keep_alive = {keep_alive}
[rental]
allow_private_addresses = true
[rails]
parallel = 10000
fleet_hourly = 100000
fleet_daily = 100000
warm_up = "0s"
inventory_fresh = "1h"
[inventory]
interval = "{list_ms}ms"
busy_interval = "{busy_ms}ms"
[provider]
base_url = "http://{provider}"
pacing = 0
[ssh]
key_file = "{folder}/key"
[deploy]
file = "{executable}"
gate_steady = "0s"
[http]
listen = "off"
[keeper]
state_dir = "{folder}"
control_socket = "{folder}/control.sock"
"#,
        busy_ms = list_ms.min(5000),
        executable = env!("CARGO_BIN_EXE_vast-keeper"),
    )
}
