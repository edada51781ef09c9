//! The processes of a box: found in `/proc`, signalled safely, killed to the last one.
//!
//! Without root there is no container to delete, so membership is worked out: a process belongs to a box when its
//! environment carries the box's mark, when a member is its parent or its session's leader, or when it runs without
//! a terminal inside the box's folder (that catches `env -i setsid …`). Signals go through a pidfd that was
//! checked after opening, so that a reused pid is never hit.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Environment variable that marks every process of a box.
pub(crate) const MARK: &str = "VAST_SIM_BOX";

/// Scans after which killing gives up; each finds what was forked since the last.
const MOST_ROUNDS: u32 = 200;

/// How long one round waits for the killed to be gone.
const ROUND_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How a box's processes are recognised.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    /// Value of [`MARK`], or the part of it before a slash: a simulator's name takes in all its boxes.
    pub(crate) mark: String,
    /// The box's folder, or the folder of all boxes.
    pub(crate) folder: PathBuf,
}

/// One process, named so that a reused pid is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) session: i32,
    pub(crate) parent: i32,
    started: u64,
}

struct Stat {
    member: Member,
    has_terminal: bool,
    is_zombie: bool,
}

impl Census {
    /// All living processes of the box.
    pub(crate) fn members(&self) -> Vec<Member> {
        let stats = all_stats();
        let by_pid: HashMap<i32, &Stat> = stats.iter().map(|stat| (stat.member.pid, stat)).collect();
        let mut inside: HashSet<i32> =
            stats.iter().filter(|stat| self.is_own(stat)).map(|stat| stat.member.pid).collect();
        loop {
            let joined: Vec<i32> = stats
                .iter()
                .filter(|stat| !inside.contains(&stat.member.pid))
                .filter(|stat| inside.contains(&stat.member.parent) || inside.contains(&stat.member.session))
                .map(|stat| stat.member.pid)
                .collect();
            if joined.is_empty() {
                break;
            }
            inside.extend(joined);
        }
        let living = inside.iter().filter_map(|pid| by_pid.get(pid)).filter(|stat| !stat.is_zombie);
        living.map(|stat| stat.member).collect()
    }

    fn is_own(&self, stat: &Stat) -> bool {
        if stat.member.pid <= 1 || stat.member.pid.unsigned_abs() == std::process::id() {
            return false;
        }
        let proc = PathBuf::from(format!("/proc/{}", stat.member.pid));
        if carries_mark(&proc, &self.mark) {
            return true;
        }
        let lies_inside =
            |link: &str| fs::read_link(proc.join(link)).is_ok_and(|path| path.starts_with(&self.folder));
        !stat.has_terminal && (lies_inside("cwd") || lies_inside("exe"))
    }

    /// Sends a signal to every member; gives those that got it.
    pub(crate) fn signal(&self, signal: Signal) -> Vec<i32> {
        let reached = self.members().into_iter().filter(|member| send(*member, signal).is_some());
        reached.map(|member| member.pid).collect()
    }

    /// Kills every member and waits until none is left; gives all that were killed. Blocks for milliseconds.
    ///
    /// # Errors
    /// The pids that survived all rounds.
    pub(crate) fn kill_all(&self) -> Result<Vec<i32>, Vec<i32>> {
        let mut killed = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let members = self.members();
            if members.is_empty() {
                return Ok(killed);
            }
            let dying: Vec<OwnedFd> =
                members.iter().filter_map(|member| send(*member, Signal::KILL)).collect();
            killed.extend(members.iter().map(|member| member.pid));
            await_exits(&dying);
        }
        Err(self.members().into_iter().map(|member| member.pid).collect())
    }

    /// The members that listen on TCP `port`, at whatever address.
    pub(crate) fn listeners(&self, port: u16) -> Vec<Member> {
        let sockets = listening_sockets(port);
        let listens = |member: &Member| {
            let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", member.pid)) else { return false };
            let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            targets
                .filter_map(|target| target.to_str().map(str::to_owned))
                .any(|name| sockets.contains(&name))
        };
        self.members().into_iter().filter(listens).collect()
    }
}

fn carries_mark(proc: &Path, mark: &str) -> bool {
    let Ok(environment) = fs::read(proc.join("environ")) else { return false };
    environment.split(|byte| *byte == 0).any(|entry| {
        let value = entry.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        let rest = value.and_then(|value| value.strip_prefix(mark.as_bytes()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

fn all_stats() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(read_stat).collect()
}

/// Fields as in proc_pid_stat(5); the command may hold spaces and brackets, so parsing starts after its last one.
fn read_stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok());
    Some(Stat {
        member: Member {
            pid,
            session: i32::try_from(field(3)?).ok()?,
            parent: i32::try_from(field(1)?).ok()?,
            started: fields.get(19)?.parse().ok()?,
        },
        has_terminal: field(4)? != 0,
        is_zombie: matches!(fields.first(), Some(&("Z" | "X"))),
    })
}

/// Signals exactly this process; its pidfd when that worked.
pub(crate) fn send(member: Member, signal: Signal) -> Option<OwnedFd> {
    let descriptor = pidfd_open(Pid::from_raw(member.pid)?, PidfdFlags::empty()).ok()?;
    let still_the_same = read_stat(member.pid).is_some_and(|stat| stat.member.started == member.started);
    if !still_the_same {
        return None;
    }
    pidfd_send_signal(&descriptor, signal).ok()?;
    Some(descriptor)
}

/// A pidfd becomes readable when its process has ended.
fn await_exits(dying: &[OwnedFd]) {
    for descriptor in dying {
        let mut waiting = [PollFd::new(descriptor, PollFlags::IN)];
        if poll(&mut waiting, Some(&ROUND_WAIT)).is_err() {
            return;
        }
    }
}

/// `socket:[inode]` of every TCP listener on `port` (`/proc/net/tcp`, state 0A).
fn listening_sockets(port: u16) -> HashSet<String> {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local_port = fields.get(1).and_then(|local| local.rsplit(':').next());
            let matches_port = local_port.is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(port));
            if let (true, Some(&"0A"), Some(inode)) = (matches_port, fields.get(3), fields.get(9)) {
                sockets.insert(format!("socket:[{inode}]"));
            }
        }
    }
    sockets
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::{Census, MARK, Signal};

    fn census(name: &str) -> (tempfile::TempDir, Census) {
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("test-{}-{name}", std::process::id());
        let census = Census { mark, folder: folder.path().to_owned() };
        (folder, census)
    }

    fn spawn(census: &Census, script: &str) -> std::process::Child {
        Command::new("/bin/sh")
            .args(["-c", script])
            .env(MARK, &census.mark)
            .current_dir(&census.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    #[test]
    fn a_process_that_left_its_session_and_its_environment_is_still_killed() {
        let (_folder, census) = census("escape");
        let script = "setsid sh -c 'sleep 300 & sleep 300' & env -i setsid /bin/sleep 300 & echo up; wait";
        let mut child = spawn(&census, script);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        let killed = census.kill_all().expect("nothing survives");
        assert!(killed.contains(&child.id().cast_signed()), "{killed:?}");
        child.wait().unwrap();
        assert_eq!(census.members(), vec![]);
    }

    #[test]
    fn strangers_are_left_alone() {
        let (_folder, mine) = census("mine");
        let (_other_folder, other) = census("other");
        let mut stranger = spawn(&other, "exec sleep 300");
        assert_eq!(mine.kill_all(), Ok(vec![]));
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
        assert_eq!(other.signal(Signal::KILL).len(), 1);
        stranger.wait().unwrap();
    }
}
