//! The dead man's switch: a box to which no keeper ever came destroys itself, with the one key that it was given.
//!
//! It covers the keeper that dies for good between a create and the end of its first deploy, when nobody else knows that the box
//! is billed. The box stays as soon as a release on it was verified: the keeper's gate has seen its server healthy, and a node
//! is never filled by one that was not. So whoever serves or ever served is never destroyed by itself, whatever becomes of the
//! keeper, and a box on which a server was only installed is. It counts its own seconds; a clock that is set cannot make it fire
//! early.
//!
//! Deliberately absent: a word of the keeper's own for it. A box whose adoption it failed to confirm would end while it serves.

use std::time::Duration;

use url::Url;

/// How often the box looks, at most; a short limit, as in trials, is looked at in twelfths.
const LOOK_MOST_S: u64 = 30;

/// The part of `onstart` that destroys the box `after` this long without a verified release. `CONTAINER_API_KEY` can do nothing else but
/// start, stop and destroy its own instance (Vast.ai API); it is passed on standard input, never in a command line.
#[must_use]
pub fn dead_mans_switch(after: Duration, base_url: &Url) -> String {
    let after = after.as_secs().max(1);
    let look = (after / 12).clamp(1, LOOK_MOST_S);
    let base = base_url.as_str().trim_end_matches('/').replace('\'', "%27");
    format!(
        r#"(
[ -n "$CONTAINER_API_KEY" ] && [ -n "$CONTAINER_ID" ] || exit 0
left={after}
until set -- "$HOME"/keeper/releases/*/.verified && [ -f "$1" ]; do
  if [ "$left" -le 0 ]; then
    url='{base}/api/v0/instances/'"$CONTAINER_ID/"
    printf 'header = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\n' "$CONTAINER_API_KEY" |
      curl -sS -m 30 -X DELETE -d '{{}}' -K - "$url" ||
      URL=$url python3 -c 'import os,urllib.request as u
u.urlopen(u.Request(os.environ["URL"],b"{{}}",{{"Authorization":"Bearer "+os.environ["CONTAINER_API_KEY"],"Content-Type":"application/json"}},method="DELETE"),timeout=30)'
    left={look}
  fi
  sleep {look}
  left=$((left - {look}))
done
) >/dev/null 2>&1 </dev/null &"#
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        process::{Command, Stdio},
    };

    use super::*;

    /// What the switch finds on its box.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Found {
        Nothing,
        Installed,
        Verified,
    }

    /// Runs the switch in a home of its own and tells what it asked of the provider, if anything, before `patience` is over.
    fn asked(after: u64, found: Found, patience: Duration) -> Option<String> {
        let home = tempfile::tempdir().unwrap();
        let release = home.path().join("keeper/releases/r1");
        if found != Found::Nothing {
            std::fs::create_dir_all(&release).unwrap();
            std::fs::write(home.path().join("keeper/supervise"), "#!/bin/sh\n").unwrap();
            std::fs::write(release.join(".complete"), "").unwrap();
        }
        if found == Found::Verified {
            std::fs::write(release.join(".verified"), "1").unwrap();
        }
        let provider = TcpListener::bind("127.0.0.1:0").unwrap();
        let base: Url = format!("http://{}", provider.local_addr().unwrap()).parse().unwrap();
        // `wait` keeps the shell there, so that its end is the switch's end.
        let script = format!("{}\nwait", dead_mans_switch(Duration::from_secs(after), &base));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).env("HOME", home.path()).env("CONTAINER_ID", "77");
        shell.env("CONTAINER_API_KEY", "own-key").stdin(Stdio::null());
        let mut shell = std::os::unix::process::CommandExt::process_group(&mut shell, 0).spawn().unwrap();
        let (told, answer) = std::sync::mpsc::channel();
        let listening = provider.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listening.accept().unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            let _ = told.send(String::from_utf8_lossy(&request[..read]).into_owned());
        });
        let asked = answer.recv_timeout(patience).ok();
        let group = rustix::process::Pid::from_raw(i32::try_from(shell.id()).unwrap()).unwrap();
        // With a server installed the switch has ended by itself, and there is no group to kill.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = shell.wait();
        asked
    }

    #[test]
    fn a_box_that_nobody_came_to_destroys_itself_and_nothing_else() {
        for found in [Found::Nothing, Found::Installed] {
            let asked = asked(1, found, Duration::from_secs(60));
            let asked = asked.unwrap_or_else(|| panic!("it asked for nothing where it found {found:?}"));
            assert!(asked.starts_with("DELETE /api/v0/instances/77/ HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("Authorization: Bearer own-key\r\n"), "{asked}");
        }
    }

    #[test]
    fn a_box_with_a_verified_release_never_does() {
        assert_eq!(asked(1, Found::Verified, Duration::from_secs(5)), None);
    }

    #[test]
    fn it_leaves_room_for_a_persons_own_script() {
        let base: Url = "https://console.vast.ai".parse().unwrap();
        let script = dead_mans_switch(Duration::from_secs(3600), &base);
        assert!(script.len() < 1200, "{}", script.len());
        assert!(
            script.contains("left=3600") && script.contains("'https://console.vast.ai/api/v0/instances/'")
        );
    }
}
