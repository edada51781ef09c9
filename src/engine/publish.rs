//! Tells the outside where the nodes are reached: a file, a command, an HTTP hook, whichever are configured.
//!
//! All get the same JSON, `{"fleet":"prod","nodes":{"duel-0":"203.0.113.7:41055"}}`, whole every time, so that whoever missed one
//! has missed nothing. A failure of one is a failure of all: the next attempt repeats them, and each must bear that.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::fleet::name::{FleetName, NodeName};

/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a hook may take.
const HOOK_LIMIT: Duration = Duration::from_secs(15);
/// Characters of a command's complaint that are passed on.
const COMPLAINT_LENGTH: usize = 300;

/// Where addresses are published.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    /// A file, replaced as a whole.
    pub file: Option<PathBuf>,
    /// A command for the shell, which gets the JSON on its standard input.
    pub command: Option<String>,
    /// A URL that the JSON is posted to.
    pub url: Option<url::Url>,
}

impl Publisher {
    /// Publishes everywhere.
    ///
    /// # Errors
    /// What failed, in words; nothing of the rest was tried then.
    pub async fn publish(
        &self,
        http: &reqwest::Client,
        fleet: &FleetName,
        addresses: &BTreeMap<NodeName, SocketAddr>,
    ) -> Result<(), String> {
        let body = serde_json::json!({ "fleet": fleet, "nodes": addresses });
        let mut text = serde_json::to_vec_pretty(&body).map_err(|fault| fault.to_string())?;
        text.push(b'\n');
        if let Some(file) = &self.file {
            let (path, text) = (file.clone(), text.clone());
            let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
            let written = written.map_err(|fault| fault.to_string())?;
            written.map_err(|fault| format!("`{}`: {fault}", file.display()))?;
        }
        if let Some(command) = &self.command {
            timeout(COMMAND_LIMIT, run(command, &text))
                .await
                .unwrap_or_else(|_| Err(format!("did not end within {} s", COMMAND_LIMIT.as_secs())))
                .map_err(|why| format!("the command: {why}"))?;
        }
        if let Some(url) = &self.url {
            let sent = http.post(url.clone()).json(&body).timeout(HOOK_LIMIT).send().await;
            // The URL may hold a token.
            let answer = sent.map_err(|fault| format!("the hook: {}", super::chain(&fault.without_url())))?;
            if !answer.status().is_success() {
                return Err(format!("the hook answers {}", answer.status()));
            }
        }
        Ok(())
    }
}

/// Readers see the old file or the new one, never a part.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(fresh, path)
}

/// Nothing of the keeper's environment, which may hold its secrets, is lent to the command.
async fn run(command: &str, input: &[u8]) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear().kill_on_drop(true).process_group(0);
    for name in ["PATH", "HOME", "LANG", "TZ"] {
        shell.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|fault| fault.to_string())?;
    let mut stdin = child.stdin.take();
    let fed = async {
        if let Some(stdin) = &mut stdin {
            // A command that does not read is none the worse for it.
            let _ = stdin.write_all(input).await;
        }
        drop(stdin);
    };
    let ((), ended) = tokio::join!(fed, child.wait_with_output());
    let ended = ended.map_err(|fault| fault.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&ended.stderr);
    let complaint: String = complaint.trim().chars().take(COMPLAINT_LENGTH).collect();
    Err(format!("{}: {complaint}", ended.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> BTreeMap<NodeName, SocketAddr> {
        [("duel-0".parse().unwrap(), "127.0.0.1:4555".parse().unwrap())].into()
    }

    async fn publish(publisher: Publisher) -> Result<(), String> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        publisher.publish(&http, &"prod".parse().unwrap(), &addresses()).await
    }

    #[tokio::test]
    async fn a_file_is_replaced_whole_and_a_command_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("nodes.json"), folder.path().join("copy"));
        let command = Some(format!("cat >'{}'; env >'{}.env'", copy.display(), copy.display()));
        publish(Publisher { file: Some(file.clone()), command, url: None }).await.unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, serde_json::json!({ "fleet": "prod", "nodes": { "duel-0": "127.0.0.1:4555" } }));
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
        let env = std::fs::read_to_string(folder.path().join("copy.env")).unwrap();
        assert!(!env.contains("CARGO"), "the keeper's environment leaks: {env}");
    }

    #[tokio::test]
    async fn what_fails_says_why() {
        let failing = |command: &str| Publisher { command: Some(command.into()), ..Publisher::default() };
        let why = publish(failing("echo no such zone >&2; exit 3")).await.unwrap_err();
        assert!(why.contains("no such zone") && why.contains('3'), "{why}");
        publish(failing("exit 0")).await.unwrap();
        let file = Some(PathBuf::from("/nowhere/at/all/nodes.json"));
        assert!(publish(Publisher { file, ..Publisher::default() }).await.unwrap_err().contains("/nowhere"));
        // Nobody listens on the discard port.
        let url = Some("http://127.0.0.1:9/hook?token=secret".parse().unwrap());
        let why = publish(Publisher { url, ..Publisher::default() }).await.unwrap_err();
        assert!(why.starts_with("the hook") && !why.contains("secret"), "{why}");
    }
}
