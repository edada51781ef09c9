//! `follow`: what is pushed to a branch is built and deployed. The system's `git` asks the remote; what is built is exactly the
//! commit that was seen, in a checkout of its own. Nothing is deployed while a node has an incident: healing comes first.
//!
//! `<state>/push.json` remembers what was seen last, so that a commit is tried once, whatever came of it: another push, or
//! `deploy` by hand, is the way on. One whose deploy was cut short is taken up by whoever follows next.
//!
//! Deliberately absent: a thread of the daemon. A build runs what others have written, for minutes, and must be able to fail
//! without the keeper; `systemd/vast-keeper-follow.service` runs this beside it.

use std::{path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    args::{Common, Consent, DeployArgs},
    boxes::Fleet,
    consent,
    exit::{self, Failure},
    known::known,
    print::{data, talk},
    release::{self, tell_fleet},
    rollout, setup,
    stop::Stop,
    wanted::Release,
};
use crate::{
    clock::Clock,
    config::{Config, Need, Push},
    deploy::{Artifact, ArtifactSource},
    fleet::{
        notice::{Notice, Severity, Topic},
        tell::span,
    },
};

/// Longest wait for an answer of the remote.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Longest fetch.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// Characters of a command's complaint that are passed on.
const COMPLAINT_LENGTH: usize = 600;
/// How long nodes that heal are waited for before a push counts as tried.
const CALM_WITHIN: Duration = Duration::from_secs(3600);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Digits of a commit's full name, by SHA-1 or SHA-256.
const FULL_NAMES: [usize; 2] = [40, 64];

/// What is asked for by command line.
pub(super) struct Asked {
    pub once: bool,
    pub now: bool,
    pub i_mean: Option<String>,
}

/// What was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    remote: String,
    branch: String,
    commit: String,
    /// What became of it.
    outcome: String,
    /// The release whose deploy began and was not seen to end.
    #[serde(default)]
    under_way: Option<String>,
}

pub(super) async fn follow(common: &Common, asked: Asked) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Run)?;
    let Some(push) = config.environment.push.clone() else {
        return Err(Failure::new(exit::USAGE, "there is nothing to follow").hint("set `push.remote`"));
    };
    let act = format!("deploy to {} whatever is pushed to `{}`", consent::name(&config), push.branch);
    let consent = Consent { yes: asked.i_mean.is_some(), i_mean: asked.i_mean };
    consent::if_protected(&config, &consent, &act)?;
    let mut seen = remembered(&config, &push);
    if seen.is_none() && !asked.now {
        let commit = ask(&push).await.map_err(unreachable)?;
        talk(&format!("`{}` is at {commit}; what is pushed from now on is deployed", push.branch));
        seen = Some(remember(&config, Seen::of(&push, commit, "it was there at first".into()))?);
        if asked.once {
            return Ok(exit::NOTHING);
        }
    }
    let follower = Follower { common, config: &config, push: &push, stop: Stop::listen() };
    let mut last_fault = String::new();
    while !follower.stop.is_asked() {
        match ask(&push).await {
            Ok(commit) if seen.as_ref().is_none_or(|seen| seen.is_open(&commit)) => {
                let Some((code, now)) = follower.bring(commit, seen).await? else { break };
                seen = Some(now);
                if asked.once {
                    return Ok(code);
                }
            }
            Ok(_) if asked.once => return Ok(exit::NOTHING),
            Ok(_) => last_fault.clear(),
            Err(why) if asked.once => return Err(unreachable(why)),
            // A remote that is down is asked again, and named once.
            Err(why) => {
                if why != last_fault {
                    talk(&format!("`{}` cannot be asked: {why}", push.remote));
                }
                last_fault = why;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(push.every) => {}
            () = follower.stop.asked() => {}
        }
    }
    Ok(exit::DONE)
}

impl Seen {
    fn of(push: &Push, commit: String, outcome: String) -> Self {
        Self { remote: push.remote.clone(), branch: push.branch.clone(), commit, outcome, under_way: None }
    }

    /// Whether there is something to do about the commit that the branch is at.
    fn is_open(&self, commit: &str) -> bool {
        self.commit != commit || self.under_way.is_some()
    }
}

/// Whoever follows a branch.
struct Follower<'a> {
    common: &'a Common,
    config: &'a Config,
    push: &'a Push,
    stop: Stop,
}

impl Follower<'_> {
    /// Builds and deploys one commit, or takes up its deploy, and remembers what came of it; none when it is to end.
    async fn bring(&self, commit: String, seen: Option<Seen>) -> Result<Option<(u8, Seen)>, Failure> {
        let left = seen.filter(|seen| seen.commit == commit).and_then(|seen| seen.under_way);
        let result = match left {
            Some(release) if rollout::is_open(self.config, &release)? => {
                talk(&format!("the deploy of {commit} was cut short: taking it up"));
                rollout::take_up(self.common).await
            }
            Some(_) | None => self.deploy(&commit).await,
        };
        // What was cut short is remembered as under way.
        if self.stop.is_asked() && result.is_err() {
            return Ok(None);
        }
        let (code, outcome) = match result {
            Ok(code) => (code, format!("exit code {code}")),
            Err(failure) => {
                talk(&failure.to_string());
                let notice = failed(self.config, self.push, &commit, failure.message());
                tell_fleet(self.config, notice).await;
                (failure.code(), failure.message().to_owned())
            }
        };
        data(&format!("{commit} of `{}`: {outcome}", self.push.branch))?;
        Ok(Some((code, remember(self.config, Seen::of(self.push, commit, outcome))?)))
    }

    async fn deploy(&self, commit: &str) -> Result<u8, Failure> {
        talk(&format!("`{}` is at {commit}: building it", self.push.branch));
        let ended = || Failure::new(exit::UNKNOWN, "interrupted: nothing was deployed");
        let artifact = tokio::select! {
            built = build(self.config, self.push, commit) => built?,
            () = self.stop.asked() => return Err(ended()),
        };
        tokio::select! {
            calm = calm(self.config) => calm?,
            () = self.stop.asked() => return Err(ended()),
        }
        let fleet = Fleet::find(self.common, &[]).await?;
        let env = fleet.edges.access.server_env.clone();
        let release = Release::of(&fleet, artifact.into(), env)?;
        let under_way = Some(release.placed.name.clone());
        let outcome = "its deploy has begun".into();
        remember(self.config, Seen { under_way, ..Seen::of(self.push, commit.to_owned(), outcome) })?;
        release::put(&fleet, release, DeployArgs { fleet: true, ..DeployArgs::default() }).await
    }
}

/// Waits until no node has an incident: a deploy would keep its healing away.
async fn calm(config: &Config) -> Result<(), Failure> {
    let clock = Clock::new();
    let end = clock.now().after(CALM_WITHIN);
    let mut said = String::new();
    loop {
        let fleet = known(config).await?;
        let troubled = fleet.nodes.iter().filter(|(_, node)| node.incident.is_some());
        let troubled: Vec<&str> = troubled.map(|(name, _)| name.as_str()).collect();
        if troubled.is_empty() {
            return Ok(());
        }
        let names = troubled.join(", ");
        if clock.now() >= end {
            let message = format!("not deployed: {names} had an incident for {}", span(CALM_WITHIN));
            return Err(Failure::new(exit::REFUSED, message)
                .hint("`vast-keeper deploy --fleet` deploys by hand; another push is tried anew"));
        }
        if said != names {
            talk(&format!("the deploy waits for the healing of {names}"));
            said = names;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn unreachable(why: String) -> Failure {
    Failure::new(exit::UNREACHABLE, format!("the remote cannot be asked: {why}"))
}

/// The commit that the branch is at.
async fn ask(push: &Push) -> Result<String, String> {
    let reference = format!("refs/heads/{}", push.branch);
    let told = git(Path::new("."), &["ls-remote", "--", &push.remote, &reference], ASK_LIMIT).await?;
    let commit = told.lines().find_map(|line| {
        let (commit, name) = line.split_once('\t')?;
        (name == reference).then(|| commit.to_owned())
    });
    let commit = commit.ok_or_else(|| format!("it has no branch `{}`", push.branch))?;
    let full = FULL_NAMES.contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if full { Ok(commit) } else { Err(format!("`{commit}` is no commit")) }
}

/// Fetches and builds one commit.
async fn build(config: &Config, push: &Push, commit: &str) -> Result<Artifact, Failure> {
    let refused = |why: String| Failure::new(exit::REFUSED, format!("{commit}: {why}"));
    let source = config.state_dir.join("source");
    checkout(&source, push, commit).await.map_err(refused)?;
    // What an earlier build left must not be taken for what this one made.
    let _ = std::fs::remove_file(source.join(&push.artifact));
    let built = limited(shell(&source, &push.build, commit), push.build_within).await;
    built.map_err(|why| refused(format!("the build failed: {why}")))?;
    let artifact = Artifact::prepare(&ArtifactSource::File(source.join(&push.artifact))).await;
    artifact.map_err(|fault| refused(fault.to_string()))
}

/// A checkout of exactly this commit, with nothing left of an earlier one but what cargo keeps to build the next sooner.
async fn checkout(source: &Path, push: &Push, commit: &str) -> Result<(), String> {
    if !source.join(".git").is_dir() {
        std::fs::create_dir_all(source).map_err(|fault| fault.to_string())?;
        git(source, &["init", "--quiet"], ASK_LIMIT).await?;
    }
    // By the branch: not every server hands out a commit by its name. Which one came is looked at afterwards.
    let reference = format!("refs/heads/{}", push.branch);
    git(source, &["fetch", "--quiet", "--force", "--", &push.remote, &reference], FETCH_LIMIT).await?;
    git(source, &["checkout", "--quiet", "--force", "--detach", commit], ASK_LIMIT).await?;
    git(source, &["clean", "--quiet", "-fdx", "-e", "/target"], ASK_LIMIT).await?;
    let at = git(source, &["rev-parse", "HEAD"], ASK_LIMIT).await?;
    if at.trim() == commit { Ok(()) } else { Err(format!("the checkout is at {}", at.trim())) }
}

/// Never asks a person anything: nobody is there.
async fn git(folder: &Path, words: &[&str], limit: Duration) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "safe.directory=*"]).args(words);
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20");
    limited(run(command), limit).await
}

/// Nothing of the keeper's environment, which may hold its secrets, is lent to what is built.
async fn shell(folder: &Path, command: &str, commit: &str) -> Result<String, String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(folder).env_clear().env("GIT_COMMIT", commit);
    for name in ["PATH", "HOME", "LANG", "TZ", "CARGO_HOME", "RUSTUP_HOME"] {
        shell.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    run(shell).await
}

async fn run(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|fault| fault.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<char> = said.trim().chars().collect();
    let end: String =
        said.get(said.len().saturating_sub(COMPLAINT_LENGTH)..).unwrap_or_default().iter().collect();
    Err(format!("{}: {end}", output.status))
}

async fn limited(
    work: impl Future<Output = Result<String, String>>,
    limit: Duration,
) -> Result<String, String> {
    let ended = tokio::time::timeout(limit, work).await;
    ended.unwrap_or_else(|_| Err(format!("it did not end within {} s", limit.as_secs())))
}

fn place(config: &Config) -> std::path::PathBuf {
    config.state_dir.join("push.json")
}

/// What was seen last of this very branch.
fn remembered(config: &Config, push: &Push) -> Option<Seen> {
    let text = std::fs::read(place(config)).ok()?;
    let seen: Seen = serde_json::from_slice(&text).ok()?;
    (seen.remote == push.remote && seen.branch == push.branch).then_some(seen)
}

fn remember(config: &Config, seen: Seen) -> Result<Seen, Failure> {
    let path = place(config);
    let fresh = path.with_extension("json.new");
    let written = serde_json::to_vec_pretty(&seen)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, &path));
    written.map_err(|fault| {
        let message = format!("what was seen cannot be remembered in `{}`: {fault}", path.display());
        Failure::new(exit::UNKNOWN, message)
    })?;
    Ok(seen)
}

fn failed(config: &Config, push: &Push, commit: &str, why: &str) -> Notice {
    Notice {
        at: Clock::new().now(),
        severity: Severity::Critical,
        topic: Topic::Deploy,
        node: None,
        incident: None,
        title: format!("what was pushed to `{}` is not deployed to {}", push.branch, config.policy.fleet),
        facts: vec![
            ("commit".into(), commit.into()),
            ("why".into(), why.chars().take(COMPLAINT_LENGTH).collect()),
        ],
        next: "push a commit that mends it; this one is not tried again".into(),
    }
}
