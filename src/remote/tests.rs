//! The SSH path against Debian's OpenSSH server.

use std::{io, time::Duration};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use super::{sshd::Sshd, *};
use crate::fleet::name::{InstanceId, OpId};

const LIMIT: Duration = Duration::from_secs(20);

/// Why a connection is refused. One try has a second, within which a slow machine may not even greet: that says nothing, and it is
/// tried again.
async fn refusal(remote: &Remote, address: &BoxAddress) -> ConnectFault {
    let until = tokio::time::Instant::now() + LIMIT;
    loop {
        let fault = remote.connect(address, Duration::ZERO).await.unwrap_err();
        if !matches!(fault, ConnectFault::Unreachable { .. }) || tokio::time::Instant::now() > until {
            return fault;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_session_runs_scripts_and_tells_their_end() {
    let Some(sshd) = Sshd::start() else { return };
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();

    let script =
        Script::new("cat; printf '%s' \"$v\"; echo oops >&2; exit 9").value("v", "a'b\n$HOME `id` \"\\");
    let output = session.run(&script, b"input ", LIMIT).await.unwrap();
    assert_eq!(
        output,
        Output { rc: 9, stdout: "input a'b\n$HOME `id` \"\\".into(), stderr: "oops\n".into() }
    );

    for (body, rc) in [("no-such-program", 127), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        assert_eq!(session.run(&Script::new(body), b"", LIMIT).await.unwrap().rc, rc, "{body}");
    }
    let much = session.run(&Script::new("yes | head -c 3000000; echo end"), b"", LIMIT).await.unwrap();
    assert!(much.stdout.len() <= 256 * 1024 && much.stdout.ends_with("end\n"));
    session.close().await;
}

#[tokio::test]
async fn more_scripts_than_channels_wait_for_their_turn() {
    let Some(sshd) = Sshd::start() else { return };
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    let script = Script::new("sleep 0.1; echo done");
    let all = (0..30).map(|_| session.run(&script, b"", LIMIT));
    for output in futures_util::future::join_all(all).await {
        assert_eq!(output.unwrap().stdout, "done\n");
    }
}

#[tokio::test]
async fn a_lost_connection_and_a_limit_leave_the_outcome_unknown() {
    let Some(sshd) = Sshd::start() else { return };
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    let slow = Script::new("touch started; sleep 30");
    let short = session.run(&slow, b"", Duration::from_millis(1500)).await.unwrap_err();
    assert!(matches!(short, RunFault::TimedOut { .. }) && short.outcome_unknown());

    let mark = sshd.folder.path().join("home/again");
    let script = Script::new("touch ~/again; sleep 30");
    let cut = async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sshd.cut_connections();
    };
    let (lost, ()) = tokio::join!(session.run(&script, b"", LIMIT), cut);
    assert!(matches!(lost, Err(RunFault::Lost { .. })), "{lost:?}");

    let next = session.run(&Script::new("true"), b"", LIMIT).await.unwrap_err();
    assert!(!next.outcome_unknown(), "a dead connection sends nothing: {next:?}");
}

#[tokio::test]
async fn a_host_key_is_pinned_once_and_never_replaced() {
    let Some(mut sshd) = Sshd::start() else { return };
    let remote = sshd.remote();

    // A stranger at our address, who does not know our key, is not pinned.
    let fault = refusal(&sshd.remote_with("other"), &sshd.address()).await;
    assert!(matches!(fault, ConnectFault::AuthRefused { .. }), "{fault:?}");
    sshd.restart("other");
    remote.connect(&sshd.address(), LIMIT).await.unwrap().close().await;
    remote.connect(&sshd.address(), LIMIT).await.unwrap().close().await;

    sshd.restart("host");
    for _ in 0..2 {
        let fault = remote.connect(&sshd.address(), LIMIT).await.unwrap_err();
        assert!(matches!(fault, ConnectFault::HostKeyChanged { .. }), "{fault:?}");
        assert!(fault.to_string().contains("SHA256:"), "{fault}");
    }
    // Another instance at the same address is another box.
    let other = BoxAddress { instance: InstanceId(8), ..sshd.address() };
    remote.connect(&other, LIMIT).await.unwrap().close().await;
    // Once the instance is gone, so is its pin.
    remote.forget(InstanceId(7));
    remote.connect(&sshd.address(), LIMIT).await.unwrap().close().await;
}

#[tokio::test]
async fn a_cleaner_of_temporary_files_does_not_end_all_connections() {
    let Some(sshd) = Sshd::start() else { return };
    let remote = sshd.remote();
    std::fs::remove_dir_all(remote.inner.sockets.path()).unwrap();
    remote.connect(&sshd.address(), LIMIT).await.unwrap().close().await;
}

#[tokio::test]
async fn a_refused_key_is_tried_again_until_the_box_has_learnt_it() {
    let Some(sshd) = Sshd::start() else { return };
    let keys = sshd.folder.path().join("authorized_keys");
    let key = std::fs::read(&keys).unwrap();
    std::fs::write(&keys, b"").unwrap();
    let (remote, address) = (sshd.remote(), sshd.address());
    let fault = refusal(&remote, &address).await;
    assert!(matches!(fault, ConnectFault::AuthRefused { .. }), "{fault:?}");

    let connect = tokio::spawn(async move { remote.connect(&address, LIMIT).await.map(drop) });
    tokio::task::yield_now().await;
    std::fs::write(&keys, key).unwrap();
    connect.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_next_endpoint_is_taken_when_the_first_is_dead() {
    let Some(sshd) = Sshd::start() else { return };
    // Something that is not an SSH server, and a name that is an option.
    let http = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = http.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            // Accepted and closed at once.
            let _ = http.accept().await;
        }
    });
    let mut address = sshd.address();
    let endpoint = |host: &str, port| crate::fleet::provider::SshEndpoint { host: host.into(), port };
    address.endpoints.insert(0, endpoint("127.0.0.1", port));
    address.endpoints.insert(1, endpoint("-oProxyCommand=touch pwned", 22));
    let session = sshd.remote().connect(&address, LIMIT).await.unwrap();
    assert_eq!(session.endpoint(), &sshd.endpoint());

    address.endpoints.pop();
    let fault = sshd.remote().connect(&address, Duration::ZERO).await.unwrap_err();
    assert!(matches!(fault, ConnectFault::Unreachable { .. }), "{fault:?}");
    assert!(fault.detail().contains("not a host name"), "{fault}");
}

#[tokio::test]
async fn a_silent_peer_costs_no_more_than_the_connect_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    sshd::keygen(&folder.path().join("key"));
    let mut config = RemoteConfig::new(folder.path().join("key"), folder.path().join("state"));
    config.connect_timeout = Duration::from_secs(1);
    let endpoints = vec![crate::fleet::provider::SshEndpoint { host: "127.0.0.1".into(), port }];
    let address = BoxAddress { instance: InstanceId(7), endpoints, user: "root".into() };
    let connect = Remote::new(config).unwrap();
    let fault =
        tokio::time::timeout(LIMIT, connect.connect(&address, Duration::ZERO)).await.unwrap().unwrap_err();
    assert!(matches!(fault, ConnectFault::Unreachable { .. }), "{fault:?}");
}

/// Yields some bytes and then waits for ever.
struct Stalling(Vec<u8>);

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        if self.0.is_empty() {
            return std::task::Poll::Pending;
        }
        let count = buffer.remaining().min(self.0.len());
        let bytes: Vec<u8> = self.0.drain(..count).collect();
        buffer.put_slice(&bytes);
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_upload_is_whole_or_not_there() {
    let Some(sshd) = Sshd::start() else { return };
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let upload = Upload::new("up/it's $x".into(), bytes.len() as u64, hex(&bytes));
    let target = sshd.home().join("up/it's $x");

    // Cut in the middle: nothing under the final name.
    let mut half = Stalling(bytes[..1_500_000].to_vec());
    let cut = async {
        let mut sent = false;
        while !sent {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let parts = std::fs::read_dir(sshd.home().join("up")).into_iter().flatten().flatten();
            sent = parts.filter_map(|part| part.metadata().ok()).any(|meta| meta.len() >= 1_000_000);
        }
        sshd.cut_connections();
    };
    let mut nothing = |_| {};
    let (lost, ()) = tokio::join!(session.send(&mut half, &upload, &mut nothing, LIMIT), cut);
    assert!(lost.unwrap_err().outcome_unknown());

    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    // Ended early, and damaged on the way: refused, and nothing under the final name.
    let short = session.send(&mut &bytes[..2_999_999], &upload, &mut |_| {}, LIMIT).await.unwrap();
    assert_eq!(short.rc, 65, "{}", short.stderr);
    let mut damaged = bytes.clone();
    damaged[77] ^= 1;
    assert_eq!(session.send(&mut &damaged[..], &upload, &mut |_| {}, LIMIT).await.unwrap().rc, 0);
    assert_eq!(session.settle(&upload, LIMIT).await.unwrap().rc, 65);
    assert_eq!(session.settle(&upload, LIMIT).await.unwrap().rc, 65, "nothing was sent");
    assert!(!target.exists());

    let mut last = 0;
    let sent = session.send(&mut &bytes[..], &upload, &mut |sent| last = sent, LIMIT).await.unwrap();
    assert_eq!((sent.rc, last), (0, bytes.len() as u64), "{}", sent.stderr);
    assert!(!target.exists(), "what is not proven has no name");
    for _ in 0..2 {
        let settled = session.settle(&upload, LIMIT).await.unwrap();
        assert_eq!(settled.rc, 0, "{}", settled.stderr);
    }
    assert_eq!(std::fs::read(&target).unwrap(), bytes);
    let left = std::fs::read_dir(sshd.home().join("up")).unwrap().count();
    assert_eq!(left, 1, "parts of cut uploads are removed");
}

#[tokio::test]
async fn nothing_secret_stands_in_an_argument_list() {
    let Some(sshd) = Sshd::start() else { return };
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    // The script reads every command line of the machine while it holds the secret itself.
    let script =
        Script::new("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c -F \"$secret\"; true")
            .value("secret", "canary-5b1e");
    // `grep` alone has it in its own argument list, which is the script's doing.
    let output = session.run(&script, b"", LIMIT).await.unwrap();
    let seen: u32 = output.stdout.trim().parse().unwrap();
    assert!(seen <= 1, "{}", output.stdout);
}

#[tokio::test]
async fn the_witness_sees_what_is_really_there() {
    let Some(sshd) = Sshd::start() else { return };
    let (remote, address, op) = (sshd.remote(), sshd.address(), OpId::from_bits(3));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = remote.witness(&address, closed, "/health", Some(&op), LIMIT).await;
    assert!(matches!(down, Witnessed::ServerDown(_)), "{down:?}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let instance = op.to_string();
    let health =
        move || async move { axum::Json(serde_json::json!({ "status": "healthy", "instance": instance })) };
    // Another path, which neither the shell nor its tool must read, of a server that names no identity.
    let path = "/alive/it's?deep=$(id)&of[]={a,b}";
    let elsewhere = move |uri: axum::http::Uri| async move {
        if uri == *path { axum::http::StatusCode::OK } else { axum::http::StatusCode::NOT_FOUND }
    };
    let app = axum::Router::new().route("/health", axum::routing::get(health)).fallback(elsewhere);
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(remote.witness(&address, port, "/health", Some(&op), LIMIT).await, Witnessed::ServerUp);
    let stranger = remote.witness(&address, port, "/health", Some(&OpId::from_bits(4)), LIMIT).await;
    assert!(matches!(stranger, Witnessed::Silent(_)), "{stranger:?}");

    assert_eq!(remote.witness(&address, port, path, None, LIMIT).await, Witnessed::ServerUp);
    let nobody = remote.witness(&address, port, path, Some(&op), LIMIT).await;
    assert!(matches!(nobody, Witnessed::Silent(_)), "{nobody:?}");
    let elsewhere = remote.witness(&address, port, "/elsewhere", None, LIMIT).await;
    assert!(matches!(elsewhere, Witnessed::Silent(_)), "{elsewhere:?}");

    // Connections are accepted by the kernel and never answered.
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent =
        remote.witness(&address, hung.local_addr().unwrap().port(), "/health", Some(&op), LIMIT).await;
    assert!(matches!(silent, Witnessed::Silent(_)), "{silent:?}");
    // So is a box that cannot be reached.
    let gone = BoxAddress { endpoints: vec![], ..address };
    let silent = remote.witness(&gone, port, "/health", Some(&op), Duration::from_secs(1)).await;
    assert!(matches!(silent, Witnessed::Silent(_)), "{silent:?}");
}

/// The transfer alone, by `cat` over a channel, against `scp`.
#[tokio::test]
#[ignore = "a measurement; run it alone, optimised: cargo test --release -- --ignored --nocapture as_fast"]
async fn an_upload_is_nearly_as_fast_as_scp() {
    let Some(sshd) = Sshd::start() else { return };
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(50 << 20).collect();
    let file = sshd.folder.path().join("big");
    std::fs::write(&file, &bytes).unwrap();
    let upload = Upload::new("big".into(), bytes.len() as u64, hex(&bytes));
    let session = sshd.remote().connect(&sshd.address(), LIMIT).await.unwrap();
    let (mut ours, mut scp) = (vec![], vec![]);
    for _ in 0..7 {
        let began = tokio::time::Instant::now();
        let mut source = tokio::fs::File::open(&file).await.unwrap();
        assert_eq!(session.send(&mut source, &upload, &mut |_| {}, LIMIT).await.unwrap().rc, 0);
        ours.push(began.elapsed());

        // Over a connection that stands already, as ours does.
        let began = tokio::time::Instant::now();
        let mut command = tokio::process::Command::new("scp");
        command.arg("-q").arg("-o").arg(format!("ControlPath={}", session.control_socket().display()));
        command
            .arg("-P")
            .arg(sshd.port.to_string())
            .arg(&file)
            .arg(format!("127.0.0.1:{}/copy", sshd.home().display()));
        assert!(command.status().await.unwrap().success());
        scp.push(began.elapsed());
    }
    ours.sort();
    scp.sort();
    eprintln!(
        "upload {:?}, scp {:?}, ratio {:.2}",
        ours[3],
        scp[3],
        scp[3].as_secs_f64() / ours[3].as_secs_f64()
    );
}
