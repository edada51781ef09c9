//! The boxes over the system's OpenSSH client.

use std::io::Write;
use std::process::Stdio;

use crate::bench::{Bench, PATIENCE, lives, output, text, web_server};

#[tokio::test(flavor = "multi_thread")]
async fn a_box_is_a_machine_of_its_own_with_real_ssh() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "env >> /etc/environment; echo up").await;
    let ran = bench.run(id, "echo out; echo err >&2; exit 7").await;
    assert_eq!(
        (text(&ran.stdout).as_str(), text(&ran.stderr).as_str(), ran.status.code()),
        ("out\n", "err\n", Some(7))
    );

    let info = bench.info(id);
    let home = info.home.expect("a home");
    let seen = bench.run(id, "echo $HOME $HOST $USER; pwd; echo \"$APP\"; touch here").await;
    let expected = format!("{0} {1} root\n{0}\nduel\n", home.display(), info.address.expect("an address"));
    assert_eq!(text(&seen.stdout), expected);
    assert!(home.join("here").exists());
    let inherited = bench.run(id, "env | grep -c CARGO_").await;
    assert_eq!(text(&inherited.stdout), "0\n", "nothing of the simulator's environment gets in");
    bench.sim.shutdown().await;
    assert!(!home.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_streams_to_the_command_and_its_end_is_seen() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let payload: Vec<u8> =
        (0..8_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let mut command = bench.ssh(id);
    command.arg("cat > upload; wc -c < upload; exit 3").stdin(Stdio::piped()).stdout(Stdio::piped());
    let sent = payload.clone();
    let talk = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("ssh starts");
        child.stdin.take().expect("a pipe").write_all(&sent).expect("all is taken");
        child.wait_with_output().expect("ssh ends")
    });
    let done = tokio::time::timeout(PATIENCE, talk).await.expect("in time").expect("not cancelled");
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("8000000\n", Some(3)));
    let stored = std::fs::read(bench.info(id).home.expect("a home").join("upload")).expect("the upload");
    assert!(stored == payload, "every byte arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_master_connection_carries_many_commands_at_once() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let socket = bench.folder.path().join("ctl");
    let mut master = bench.ssh(id);
    master
        .args(["-M", "-S"])
        .arg(&socket)
        .args(["-f", "-N", "-o", "ControlPersist=30"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(output(master).await.status.success());
    let runs = (0..20).map(|number| {
        let mut command = bench.ssh(id);
        command.arg("-S").arg(&socket).arg(format!("sleep 0.2; echo {number}; exit {number}"));
        output(command)
    });
    let runs: Vec<_> = runs.map(tokio::spawn).collect();
    for (number, run) in runs.into_iter().enumerate() {
        let ran = run.await.expect("runs");
        assert_eq!(text(&ran.stdout), format!("{number}\n"));
        assert_eq!(ran.status.code(), i32::try_from(number).ok());
    }
    let mut close = bench.ssh(id);
    close.arg("-S").arg(&socket).args(["-O", "exit"]);
    assert!(output(close).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_by_a_signal_is_reported_as_such_and_a_background_child_survives_the_session() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let killed = bench.run(id, "kill -KILL $$").await;
    // OpenSSH's client turns an exit signal into 255.
    assert_eq!(killed.status.code(), Some(255));
    let left = bench.run(id, "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!").await;
    let pid: i32 = text(&left.stdout).trim().parse().expect("a pid");
    assert!(lives(pid));
    bench.sim.shutdown().await;
    assert!(!lives(pid), "the box took its children with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_key_and_the_right_user_get_in() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let address = bench.info(id).ssh.expect("ssh");
    let other = bench.folder.path().join("other");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&other)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
    let mut stranger = bench.ssh(id);
    let args: Vec<_> = stranger.get_args().map(ToOwned::to_owned).collect();
    stranger = std::process::Command::new("ssh");
    let own = bench.folder.path().join("id").into_os_string();
    stranger
        .args(args.into_iter().map(|arg| if arg == own { other.clone().into_os_string() } else { arg }))
        .arg("true");
    let refused = output(stranger).await;
    assert_eq!(refused.status.code(), Some(255));
    assert!(text(&refused.stderr).contains("Permission denied (publickey)"), "{}", text(&refused.stderr));

    let mut wrong_user = bench.ssh_to(id, address);
    let args: Vec<_> = wrong_user.get_args().map(ToOwned::to_owned).collect();
    wrong_user = std::process::Command::new("ssh");
    let swap = |arg: std::ffi::OsString| {
        arg.to_str()
            .and_then(|arg| arg.strip_prefix("root@").map(|host| format!("ubuntu@{host}").into()))
            .unwrap_or(arg)
    };
    wrong_user.args(args.into_iter().map(swap)).arg("true");
    assert_eq!(output(wrong_user).await.status.code(), Some(255));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_box_has_its_own_host_key_and_both_ways_in_show_the_same() {
    let bench = Bench::start().await;
    let (first, second) = (bench.rent("vk:a", "").await, bench.rent("vk:b", "").await);
    assert_ne!(bench.info(first).host_key, bench.info(second).host_key);
    assert_ne!(bench.info(first).address, bench.info(second).address);
    assert!(bench.run(first, "true").await.status.success());
    let proxy = bench.info(first).ssh_proxy.expect("a proxy");
    // The key stored for the direct way must fit, or accept-new would refuse a changed one.
    let mut through = bench.ssh_to(first, proxy);
    through.arg("echo proxied");
    assert_eq!(text(&output(through).await.stdout), "proxied\n");
    let row = bench.row(first).await;
    assert_eq!(
        (row["ssh_host"].as_str(), row["ssh_port"].as_u64()),
        (Some(proxy.ip().to_string().as_str()), Some(proxy.port().into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_and_port_forwarding_work() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", web_server()).await;
    bench.app_up(id).await;
    if std::path::Path::new("/usr/lib/openssh/sftp-server").exists() {
        let source = bench.folder.path().join("file");
        std::fs::write(&source, "by sftp").expect("written");
        let address = bench.info(id).ssh.expect("ssh");
        let mut copy = std::process::Command::new("scp");
        copy.args([
            "-q",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={}", bench.folder.path().join("scp-hosts").display()))
        .arg("-i")
        .arg(bench.folder.path().join("id"))
        .args(["-P", &address.port().to_string()])
        .arg(&source)
        .arg(format!("root@{}:copied", address.ip()));
        let copied = output(copy).await;
        assert!(copied.status.success(), "{}", text(&copied.stderr));
        assert_eq!(text(&bench.run(id, "cat copied").await.stdout), "by sftp");
    }
    let mut forward = bench.ssh(id);
    forward.args(["-W", "localhost:5555"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let talk = tokio::task::spawn_blocking(move || {
        let mut child = forward.spawn().expect("ssh starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").expect("taken");
        let said = child.wait_with_output().expect("ssh ends");
        drop(input);
        said
    });
    let said = tokio::time::timeout(PATIENCE, talk).await.expect("in time").expect("not cancelled");
    assert!(text(&said.stdout).contains("it works"), "{}", text(&said.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_a_terminal() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let mut on_terminal = bench.ssh(id);
    // Job control needs a controlling terminal: `ps` shows it, and /dev/tty can be written.
    on_terminal.args(["-tt", "test -t 0 && test -t 1 && echo said to the terminal > /dev/tty; exit 5"]);
    let ran = output(on_terminal).await;
    assert_eq!(
        (text(&ran.stdout).trim(), ran.status.code()),
        ("said to the terminal", Some(5)),
        "{}",
        text(&ran.stderr)
    );
    let plain = bench.run(id, "test -t 0 || echo no terminal").await;
    assert_eq!(text(&plain.stdout), "no terminal\n");
    let mut typed = bench.ssh(id);
    typed.arg("-tt").stdin(Stdio::piped()).stdout(Stdio::piped());
    let talk = tokio::task::spawn_blocking(move || {
        let mut child = typed.spawn().expect("ssh starts");
        child.stdin.take().expect("a pipe").write_all(b"echo $((6 * 7)); exit 3\n").expect("taken");
        child.wait_with_output().expect("ssh ends")
    });
    let said = tokio::time::timeout(PATIENCE, talk).await.expect("in time").expect("not cancelled");
    assert!(text(&said.stdout).contains("42"), "{}", text(&said.stdout));
    assert_eq!(said.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_does_not_kill_the_command() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let mut command = bench.ssh(id);
    command.arg("echo $$; exec sleep 300").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("ssh starts");
    let mut reader = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).map(|_| line)
    });
    let line =
        tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("not cancelled").expect("a line");
    let pid: i32 = line.trim().parse().expect("a pid");
    bench.sim.act(id, vast_sim::Action::Do(vast_sim::FaultKind::DropSsh)).await.expect("done");
    let ending = tokio::task::spawn_blocking(move || child.wait());
    let ended =
        tokio::time::timeout(PATIENCE, ending).await.expect("the client notices").expect("not cancelled");
    assert_eq!(ended.expect("waited").code(), Some(255));
    assert!(lives(pid));
    assert!(bench.run(id, "true").await.status.success(), "a new connection works");
}
