//! One command on one SSH channel: its input, its outputs, its signals, its end.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::shell::Shell;
use super::terminal::Terminal;

/// Input messages waiting for a command that does not read; the channel's window bounds what is behind them.
const INPUT_QUEUE: usize = 64;

/// What a channel asks to run.
#[derive(Debug)]
pub(crate) enum Command {
    /// The login shell, reading its input.
    Login,
    /// A command line for the user's shell.
    Shell(Vec<u8>),
    /// A program of the machine.
    Program(&'static str),
}

/// A command that runs, with its streams.
pub(crate) struct Started {
    child: Child,
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    output: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Absent on a terminal, where both outputs are one.
    errors: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

impl Started {
    /// The command's process group.
    pub(crate) fn group(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()))
    }
}

/// Starts the command with pipes, or on the terminal that was asked for.
pub(crate) fn spawn(
    shell: &Shell,
    command: &Command,
    environment: &[(String, String)],
    terminal: Option<Terminal>,
) -> std::io::Result<Started> {
    let mut process = process(shell, command, environment);
    if let Some(terminal) = terminal {
        let (input, output) = terminal.streams()?;
        let child = terminal.put_on(&process)?.spawn()?;
        return Ok(Started {
            child,
            input: Some(Box::new(input)),
            output: Some(Box::new(output)),
            errors: None,
        });
    }
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(Started {
        input: child.stdin.take().map(|stream| Box::new(stream) as _),
        output: child.stdout.take().map(|stream| Box::new(stream) as _),
        errors: child.stderr.take().map(|stream| Box::new(stream) as _),
        child,
    })
}

fn process(shell: &Shell, command: &Command, environment: &[(String, String)]) -> Process {
    let mut process = match command {
        Command::Login => {
            let mut process = shell.command(Shell::program());
            process.arg("-l");
            process
        }
        Command::Shell(line) => {
            let mut process = shell.command(Shell::program());
            process.arg("-c").arg(OsStr::from_bytes(line));
            process
        }
        Command::Program(path) => shell.command(path),
    };
    process
        .envs(shell.folder.session_environment())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("SSH_CONNECTION", format!("127.0.0.1 40000 {} 22", shell.host))
        .env(super::process::MARK, &shell.mark);
    process
}

/// Runs the conversation until the command has ended and all its output is sent.
///
/// When the connection goes away the command is *not* killed, as with sshd: its pipes close, and a later write
/// gets SIGPIPE.
pub(crate) async fn run(channel: Channel<Msg>, started: Started, handle: Handle, closed: CancellationToken) {
    let id = channel.id();
    let Started { mut child, input, output, errors } = started;
    let (reader, writer) = channel.split();
    // A closed channel ends the copies like a closed connection does.
    let gone = closed.child_token();
    let listening = tokio::spawn(listen(reader, input, gone.clone()));
    let (mut out, mut err) = (writer.make_writer(), writer.make_writer_ext(Some(1)));
    tokio::select! {
        () = gone.cancelled() => {}
        () = async { tokio::join!(copy(output, &mut out), copy(errors, &mut err)); } => {}
    }
    drop((out, err));
    let status = child.wait().await;
    if !gone.is_cancelled() {
        match status.as_ref().map(|status| (status.code(), status.signal())) {
            Ok((_, Some(signal))) => {
                let _ = handle
                    .exit_signal_request(id, signal_name(signal), false, String::new(), String::new())
                    .await;
            }
            Ok((code, None)) => {
                let _ = writer.exit_status(code.unwrap_or(255).cast_unsigned()).await;
            }
            Err(_) => {
                let _ = writer.exit_status(255).await;
            }
        }
        let _ = writer.eof().await;
        let _ = writer.close().await;
    }
    listening.abort();
}

async fn copy(from: Option<impl AsyncRead + Unpin>, to: &mut (impl AsyncWrite + Unpin)) {
    if let Some(mut from) = from {
        let _ = tokio::io::copy(&mut from, to).await;
        let _ = to.flush().await;
    }
}

/// Takes what the client sends: input, its end, the channel's end.
async fn listen(
    mut reader: ChannelReadHalf,
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    gone: CancellationToken,
) {
    let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
    let mut input = Some(sender);
    let feeding = feed(stdin, receiver);
    let hearing = async move {
        loop {
            match reader.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    if let Some(sender) = &input {
                        // A full queue waits here; a command that closed its input ends the feeding.
                        if sender.send(data).await.is_err() {
                            input = None;
                        }
                    }
                }
                Some(ChannelMsg::Eof) => input = None,
                Some(ChannelMsg::Close) | None => {
                    gone.cancel();
                    return;
                }
                Some(_) => {}
            }
        }
    };
    // What has arrived before a cut still reaches the command, then its input ends: that is how a cut upload
    // becomes a short file.
    tokio::join!(feeding, hearing);
}

async fn feed(stdin: Option<impl AsyncWrite + Unpin>, mut receiver: mpsc::Receiver<impl AsRef<[u8]>>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(data) = receiver.recv().await {
        if stdin.write_all(data.as_ref()).await.is_err() {
            return;
        }
    }
}

/// Sends a signal to the command's process group.
pub(crate) fn forward_signal(group: Pid, signal: &Sig) {
    if let Some(signal) = signal_of(signal) {
        // An error means that the command has ended.
        let _ = kill_process_group(group, signal);
    }
}

/// The signals of RFC 4254 §6.10.
fn signal_of(name: &Sig) -> Option<Signal> {
    Some(match name {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(_) => return None,
    })
}

fn signal_name(number: i32) -> Sig {
    let named = [
        Sig::ABRT,
        Sig::ALRM,
        Sig::FPE,
        Sig::HUP,
        Sig::ILL,
        Sig::INT,
        Sig::KILL,
        Sig::PIPE,
        Sig::QUIT,
        Sig::SEGV,
        Sig::TERM,
        Sig::USR1,
    ];
    let found =
        named.into_iter().find(|name| signal_of(name).is_some_and(|signal| signal.as_raw() == number));
    found.unwrap_or_else(|| Sig::Custom(number.to_string()))
}
