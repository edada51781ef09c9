//! The boxes over the `openssh` crate, which speaks to one master connection.

use openssh::{KnownHosts, SessionBuilder, Stdio};
use tokio::io::AsyncWriteExt;
use vast_sim::{Action, FaultKind};

use crate::bench::{Bench, PATIENCE, text};

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_share_one_session_and_see_its_end() {
    let bench = Bench::start().await;
    let id = bench.rent("vk:a", "").await;
    let address = bench.info(id).ssh.expect("ssh");
    let control =
        tempfile::Builder::new().prefix("c").tempdir_in("/tmp").expect("a short path for the socket");
    let session = SessionBuilder::default()
        .user("root".to_owned())
        .port(address.port())
        .keyfile(bench.folder.path().join("id"))
        .known_hosts_check(KnownHosts::Add)
        .user_known_hosts_file(bench.known_hosts(id))
        .control_directory(control.path())
        .connect_mux(address.ip().to_string())
        .await
        .expect("connected");

    let runs = (0..8).map(|number| {
        let session = &session;
        async move {
            let done =
                session.shell(format!("echo out {number}; echo err >&2; exit {number}")).output().await;
            let done = done.expect("ran");
            assert_eq!(
                (text(&done.stdout), text(&done.stderr)),
                (format!("out {number}\n"), "err\n".to_owned())
            );
            assert_eq!(done.status.code(), Some(number));
        }
    });
    for run in runs {
        run.await;
    }

    let mut child = session
        .command("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .await
        .expect("spawned");
    let mut input = child.stdin().take().expect("a pipe");
    input.write_all(&vec![b'x'; 3_000_000]).await.expect("taken");
    drop(input);
    let digest = child.wait_with_output().await.expect("ended");
    let expected = "e55b8bdf621ddaa8f462c74745db9680d3bb7536a9cf854f8d6668b34a287890  -\n";
    assert_eq!(text(&digest.stdout), expected);

    // The quoting of arguments survives the trip.
    let quoted =
        session.command("printf").args(["%s|", "a b", "$HOME", "it's", "`id`"]).output().await.expect("ran");
    assert_eq!(text(&quoted.stdout), "a b|$HOME|it's|`id`|");

    bench.sim.act(id, Action::Do(FaultKind::DropSsh)).await.expect("done");
    let lost = tokio::time::timeout(PATIENCE, session.command("true").status()).await.expect("no hang");
    assert!(lost.is_err(), "{lost:?}");
}
