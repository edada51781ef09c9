//! One connected box: scripts and uploads over a shared connection.

use std::{sync::Arc, time::Duration};

use openssh::Stdio;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

use super::{
    config::Inner,
    script::{Script, Unframed, command_line, unframe},
};
use crate::fleet::provider::SshEndpoint;

/// Channels at once per box: below the ten sessions that OpenSSH's server allows by default, with room for a person.
const CHANNELS: usize = 8;
/// How often, and how far apart, a refused channel is asked for again.
const CHANNEL_TRIES: u32 = 40;
const CHANNEL_WAIT: Duration = Duration::from_millis(25);
/// Most bytes kept of each output stream; what comes earlier is dropped, for the end tells how it went.
const OUTPUT_MAX: usize = 256 * 1024;
/// Bytes handed to `ssh` at once during an upload.
const CHUNK: usize = 256 * 1024;

/// A connection to a box. Dropping it closes it.
#[derive(Debug)]
pub struct Session {
    mux: openssh::Session,
    channels: Semaphore,
    endpoint: SshEndpoint,
    /// The sockets' directory must outlive the master's socket; fields are dropped in order.
    _sockets: Arc<Inner>,
}

/// What a script printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 + n for a signal.
    pub rc: i32,
    /// Its standard output, at most the last 256 KiB.
    pub stdout: String,
    /// Its standard error, at most the last 256 KiB.
    pub stderr: String,
}

impl Output {
    /// The last lines of the standard error in one line, for a message.
    #[must_use]
    pub fn reason(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ");
        if tail.is_empty() { format!("exit code {}", self.rc) } else { tail.chars().take(500).collect() }
    }
}

/// Why the outcome of a script is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunFault {
    /// The script never reached the box; safe to repeat.
    #[error("the command was not sent: {detail}")]
    NotSent {
        /// Why.
        detail: String,
    },
    /// The connection ended, or the box did, before the script's end was told.
    #[error("the connection was lost during the command: {detail}")]
    Lost {
        /// What is known.
        detail: String,
    },
    /// No end in time. The box ends the script itself a few seconds later.
    #[error("the command did not end within {} s", limit.as_secs())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
}

impl RunFault {
    /// Whether the script may have run: connect again and look.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        !matches!(self, Self::NotSent { .. })
    }
}

/// A file on its way: where it goes and what proves that it arrived.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Where it ends, relative to the login's home directory.
    target: String,
    /// Where it is until it is proven.
    part: String,
    size: u64,
    sha256: String,
}

impl Upload {
    /// An upload to `target`, relative to the login's home directory, of `size` bytes with that SHA-256 in lower-case hex.
    #[must_use]
    pub fn new(target: String, size: u64, sha256: String) -> Self {
        let part = format!("{target}.{:016x}.part", fastrand::u64(..));
        Self { target, part, size, sha256 }
    }
}

impl Session {
    pub(super) fn new(folder: TempDir, endpoint: SshEndpoint, sockets: Arc<Inner>) -> Self {
        let mux = openssh::Session::new_native_mux(folder);
        Self { mux, channels: Semaphore::new(CHANNELS), endpoint, _sockets: sockets }
    }

    /// By which way the box was reached.
    #[must_use]
    pub fn endpoint(&self) -> &SshEndpoint {
        &self.endpoint
    }

    /// Where the master listens.
    #[cfg(test)]
    pub(super) fn control_socket(&self) -> &std::path::Path {
        self.mux.control_socket()
    }

    /// Runs a script with `input` on its stdin.
    ///
    /// # Errors
    /// [`RunFault`] when its end is not known; a non-zero exit code is an [`Output`].
    pub async fn run(&self, script: &Script, input: &[u8], limit: Duration) -> Result<Output, RunFault> {
        let mut input = input;
        self.run_streaming(script, &mut input, &mut |_| {}, limit).await
    }

    /// Sends a file into a temporary name, where its size is compared. `progress` is told the bytes sent so far.
    ///
    /// # Errors
    /// [`RunFault`] when the end is not known. An [`Output`] with a non-zero code means that it was cut short (exit code
    /// 65) or that the box could not store it (its `stderr` tells).
    pub async fn send(
        &self,
        source: &mut (dyn AsyncRead + Unpin + Send),
        upload: &Upload,
        progress: &mut (dyn FnMut(u64) + Send),
        limit: Duration,
    ) -> Result<Output, RunFault> {
        let script = Script::new(include_str!("upload.sh"))
            .of("upload")
            .value("target", upload.target.as_str())
            .value("part", upload.part.as_str())
            .value("size", upload.size.to_string());
        self.run_streaming(&script, source, progress, limit).await
    }

    /// Reads what was sent back from the box's disk, compares its SHA-256, and only then gives it its name. May be
    /// repeated.
    ///
    /// # Errors
    /// As [`Session::send`]; exit code 65 means that it is damaged, and it is gone then.
    pub async fn settle(&self, upload: &Upload, limit: Duration) -> Result<Output, RunFault> {
        let script = Script::new(include_str!("settle.sh"))
            .of("verify")
            .value("target", upload.target.as_str())
            .value("part", upload.part.as_str())
            .value("digest", upload.sha256.as_str());
        self.run(&script, b"", limit).await
    }

    /// Closes the connection; scripts that still run on the box are not ended by it.
    pub async fn close(self) {
        if let Err(error) = self.mux.close().await {
            tracing::debug!(error = %error, "the SSH master was gone before it was closed");
        }
    }

    async fn run_streaming(
        &self,
        script: &Script,
        source: &mut (dyn AsyncRead + Unpin + Send),
        progress: &mut (dyn FnMut(u64) + Send),
        limit: Duration,
    ) -> Result<Output, RunFault> {
        let work = async {
            let _permit = self.channels.acquire().await.map_err(|error| not_sent(&error))?;
            self.exchange(script, source, progress, limit).await
        };
        // Dropping the exchange closes our ends of the streams; `timeout` on the box ends the script.
        timeout(limit, work).await.unwrap_or(Err(RunFault::TimedOut { limit }))
    }

    /// A channel for one script. The box counts a channel until it has seen its end, which may be a moment after we have: a
    /// refusal for too many is asked again for a while. The script follows on stdin, so nothing has run if this fails.
    async fn open_channel(&self, command: &str) -> Result<openssh::Child<&openssh::Session>, RunFault> {
        let mut refusals = 0;
        loop {
            let mut channel = self.mux.raw_command(command);
            channel.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            match channel.spawn().await.map_err(|error| chain(&error)) {
                Ok(child) => return Ok(child),
                Err(why) if why.contains("Session open refused") && refusals < CHANNEL_TRIES => {
                    refusals += 1;
                    tokio::time::sleep(CHANNEL_WAIT).await;
                }
                Err(why) => return Err(not_sent(&why)),
            }
        }
    }

    async fn exchange(
        &self,
        script: &Script,
        source: &mut (dyn AsyncRead + Unpin + Send),
        progress: &mut (dyn FnMut(u64) + Send),
        limit: Duration,
    ) -> Result<Output, RunFault> {
        let nonce = format!("vk{:016x}", fastrand::u64(..));
        let framed = script
            .framed(&nonce)
            .ok_or_else(|| RunFault::NotSent { detail: "a value of the script holds NUL".into() })?;
        let mut child = self.open_channel(&command_line(framed.len(), limit)).await?;
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let send = async {
            let Some(mut stdin) = stdin else { return };
            // A script may end without reading its input; what it says in its trailer counts, not the broken pipe.
            if let Err(error) = feed(&mut stdin, framed.as_bytes(), source, progress).await {
                tracing::debug!(error = %error, "the script did not take all of its input");
            }
            script.sent();
        };
        let ((), out, err) = tokio::join!(send, drain(stdout), drain(stderr));
        let ended = child.wait().await;
        let Unframed { text: stdout, rc } = unframe(&out, &nonce);
        let stderr = unframe(&err, &nonce).text;
        match rc {
            Some(rc) => Ok(Output { rc, stdout, stderr }),
            None => Err(RunFault::Lost { detail: lost(ended, &stderr) }),
        }
    }
}

fn not_sent(error: &impl ToString) -> RunFault {
    RunFault::NotSent { detail: error.to_string() }
}

/// An error with its causes; those of `ssh` say nothing in their first line.
fn chain(error: &openssh::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn lost(ended: Result<std::process::ExitStatus, openssh::Error>, stderr: &str) -> String {
    let said = stderr.trim();
    match ended {
        Err(openssh::Error::Remote(_)) => format!("the box lacks `timeout` or `sh`: {said}"),
        Err(error) => chain(&error),
        Ok(status) if said.is_empty() => format!("no end was told ({status})"),
        Ok(status) => format!("no end was told ({status}): {}", said.chars().take(300).collect::<String>()),
    }
}

async fn feed(
    stdin: &mut openssh::ChildStdin,
    script: &[u8],
    source: &mut (dyn AsyncRead + Unpin + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> std::io::Result<()> {
    stdin.write_all(script).await?;
    let mut buffer = vec![0; CHUNK];
    let mut sent = 0;
    loop {
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stdin.write_all(buffer.get(..count).unwrap_or_default()).await?;
        sent += count as u64;
        progress(sent);
    }
}

/// Reads to the end, keeping the last [`OUTPUT_MAX`] bytes.
async fn drain(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = [0; 16 * 1024];
    // A read error is an end like any other: the trailer tells whether it was the right one.
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if kept.len() > 2 * OUTPUT_MAX {
            kept.drain(..kept.len() - OUTPUT_MAX);
        }
    }
    let surplus = kept.len().saturating_sub(OUTPUT_MAX);
    kept.drain(..surplus);
    kept
}
