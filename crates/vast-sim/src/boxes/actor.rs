//! The one owner of a box: takes its commands in order, reports to the state what came of them.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::launch::{self, Place, Running};
use super::process::{Census, Member, send};
use super::{Boot, BoxCommand, Deed, Folder};
use crate::engine::Shared;
use crate::faults::FaultId;
use crate::record::Truth;

/// Looks for processes that were forked while a freeze went round.
const MOST_STOP_ROUNDS: u32 = 10;

/// Owns a box from its first command to its destroy.
pub(crate) struct Actor {
    shared: Arc<Shared>,
    instance: u64,
    folder: Folder,
    census: Census,
    /// Address, ports and host key; kept over restarts.
    place: Option<Place>,
    running: Option<Running>,
    frozen: bool,
    /// The host is lost.
    silenced: bool,
}

impl Actor {
    pub(crate) fn new(shared: Arc<Shared>, instance: u64) -> Self {
        let folder = Folder::of(&shared.root, instance);
        let mark = shared.mark(instance);
        let census = Census { mark, folder: folder.base().to_owned() };
        Actor { shared, instance, folder, census, place: None, running: None, frozen: false, silenced: false }
    }

    /// Runs until the box is destroyed or the simulator stops.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<BoxCommand>) {
        let stop = self.shared.stop.clone();
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => break,
                command = commands.recv() => command,
            };
            match command {
                Some(BoxCommand::Boot(boot)) => self.boot(&boot).await,
                Some(BoxCommand::Halt) => self.halt().await,
                Some(BoxCommand::Wipe) => self.wipe().await,
                Some(BoxCommand::Silence(silenced)) => {
                    self.silenced = silenced;
                    self.set_line();
                }
                Some(BoxCommand::Do { deed, fault, reply }) => {
                    let pids = self.act(&deed, fault).await;
                    if let Some(reply) = reply {
                        let _ = reply.send(pids);
                    }
                }
                Some(BoxCommand::Destroy) | None => break,
            }
        }
        self.halt().await;
        self.wipe().await;
        self.shared.with(|state, _| {
            state.boxes.remove(&self.instance);
            state.note(self.instance, Truth::Gone, None);
        });
    }

    async fn boot(&mut self, boot: &Boot) {
        self.halt().await;
        let outcome =
            launch::start(&self.shared, self.instance, &self.folder, &self.census, self.place.take(), boot);
        let report = match outcome.await {
            Ok((place, running)) => {
                let endpoints = place.endpoints.clone();
                self.shared.with(|state, _| {
                    state.boxes.insert(self.instance, place.summary(&self.folder));
                });
                self.place = Some(place);
                self.running = Some(running);
                self.set_line();
                Ok(endpoints)
            }
            Err(error) => Err(error.to_string()),
        };
        self.shared.with(|state, now| state.box_started(self.instance, boot.number, report, now));
    }

    /// Kills every process of the box; its ports close.
    async fn halt(&mut self) {
        if let Some(running) = self.running.take() {
            running.down.cancel();
            for gate in running.gates {
                // Until a gate has ended its port is taken, and a restart takes the same ports.
                let _ = gate.await;
            }
        }
        let census = self.census.clone();
        let killed = tokio::task::spawn_blocking(move || census.kill_all()).await;
        match killed {
            Ok(Ok(_)) => {}
            Ok(Err(survivors)) => tracing::error!(instance = self.instance, ?survivors, "processes survived"),
            Err(error) => tracing::error!(instance = self.instance, %error, "killing was interrupted"),
        }
        self.frozen = false;
    }

    /// The container's disk is lost, and with it the SSH host key.
    async fn wipe(&mut self) {
        let folder = self.folder.clone();
        let removed = tokio::task::spawn_blocking(move || folder.remove()).await;
        if let Ok(Err(error)) = removed {
            tracing::error!(instance = self.instance, %error, "the box's folder was not removed");
        }
        if let Some(place) = &mut self.place {
            place.host_seed = self.shared.with(|state, _| launch::seed(state));
        }
    }

    fn set_line(&self) {
        if let Some(running) = &self.running {
            let silent = self.frozen || self.silenced;
            running.silence.send_if_modified(|now| std::mem::replace(now, silent) != silent);
        }
    }

    /// Does a deed to a running box; gives the pids it hit. A box that is down has nothing to suffer.
    async fn act(&mut self, deed: &Deed, fault: Option<FaultId>) -> Vec<i32> {
        let Some(running) = &self.running else {
            // Keys are on the disk, which a stopped box keeps.
            return self.act_on_keys(deed);
        };
        let (truth, pids) = match deed {
            Deed::KillServer { whole_session } => {
                let pids = self.kill_server(&running.app_ports.clone(), *whole_session).await;
                if let Some(fault) = fault.filter(|_| pids.is_empty()) {
                    // No server listens yet: the rule waits for one.
                    self.shared.with(|state, _| state.faults.refund(fault));
                }
                ((!pids.is_empty()).then_some(Truth::ServerKilled), pids)
            }
            Deed::Freeze => {
                self.frozen = true;
                self.set_line();
                (Some(Truth::Frozen), self.stop_all().await)
            }
            Deed::Thaw => {
                let was_frozen = std::mem::take(&mut self.frozen);
                let pids = self.signal(Signal::CONT).await;
                self.set_line();
                (was_frozen.then_some(Truth::Thawed), pids)
            }
            Deed::ChangeHostKey => {
                let seed = self.shared.with(|state, _| launch::seed(state));
                if let (Some(ssh), Some(place)) = (&running.ssh, &mut self.place) {
                    ssh.change_key(seed);
                    place.host_seed = seed;
                    place.fingerprint = ssh.fingerprint();
                    let summary = place.summary(&self.folder);
                    self.shared.with(|state, _| state.boxes.insert(self.instance, summary));
                }
                (Some(Truth::HostKeyChanged), Vec::new())
            }
            Deed::DropSsh => {
                running.ssh_cuts.send_modify(|cuts| *cuts += 1);
                (Some(Truth::Network("port 22: connections dropped".to_owned())), Vec::new())
            }
            Deed::ResetKeys { .. } => (Some(Truth::KeysWiped), self.act_on_keys(deed)),
            Deed::AddKey(_) | Deed::RemoveKey(_) | Deed::Nothing => (None, self.act_on_keys(deed)),
        };
        let frozen = self.frozen;
        self.shared.with(|state, _| {
            if let Some(summary) = state.boxes.get_mut(&self.instance) {
                summary.frozen = frozen;
            }
            if let Some(truth) = truth {
                state.note(self.instance, truth, fault);
            }
        });
        pids
    }

    fn act_on_keys(&self, deed: &Deed) -> Vec<i32> {
        let done = match deed {
            Deed::ResetKeys { keys } => self.folder.reset_keys(keys),
            Deed::AddKey(key) => self.folder.add_keys(std::slice::from_ref(key)),
            Deed::RemoveKey(key) => self.folder.remove_key(key),
            Deed::KillServer { .. } | Deed::Freeze | Deed::Thaw => Ok(()),
            Deed::ChangeHostKey | Deed::DropSsh | Deed::Nothing => Ok(()),
        };
        // A folder that does not exist yet gets its keys at the boot.
        if let Err(error) = done {
            tracing::debug!(instance = self.instance, %error, "authorized_keys not changed");
        }
        Vec::new()
    }

    async fn signal(&self, signal: Signal) -> Vec<i32> {
        let census = self.census.clone();
        tokio::task::spawn_blocking(move || census.signal(signal)).await.unwrap_or_default()
    }

    /// Stops every process; what was forked meanwhile is found by looking again.
    async fn stop_all(&self) -> Vec<i32> {
        let mut stopped = self.signal(Signal::STOP).await;
        for _ in 0..MOST_STOP_ROUNDS {
            let again = self.signal(Signal::STOP).await;
            if again.len() <= stopped.len() {
                break;
            }
            stopped = again;
        }
        stopped
    }

    async fn kill_server(&self, ports: &[u16], whole_session: bool) -> Vec<i32> {
        let (census, ports) = (self.census.clone(), ports.to_vec());
        let kill = move || {
            let servers: Vec<_> = ports.iter().flat_map(|port| census.listeners(*port)).collect();
            let mut doomed = servers.clone();
            if whole_session {
                // A supervisor gives its server a session of its own, so that of the server's parent falls too.
                let members = census.members();
                let parent_of = |server: &Member| members.iter().find(|member| member.pid == server.parent);
                let sessions: Vec<i32> = servers
                    .iter()
                    .flat_map(|server| [Some(server.session), parent_of(server).map(|parent| parent.session)])
                    .flatten()
                    .collect();
                doomed.extend(members.iter().filter(|member| sessions.contains(&member.session)));
                doomed.sort_unstable_by_key(|member| member.pid);
                doomed.dedup();
            }
            let hit = doomed.into_iter().filter(|member| send(*member, Signal::KILL).is_some());
            hit.map(|member| member.pid).collect()
        };
        tokio::task::spawn_blocking(kill).await.unwrap_or_default()
    }
}
