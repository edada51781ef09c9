//! The shipped units, judged by systemd's own tools, and the words that reach its socket.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// Exposure that `systemd-analyze security` may find, in tenths; a plain unit has 96.
const EXPOSURE: &str = "--threshold=15";
/// The same of the unit that runs builds, which map writable memory as code.
const FOLLOWER_EXPOSURE: &str = "--threshold=20";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// Runs a tool of systemd, unless this machine has none.
#[expect(
    clippy::print_stderr,
    clippy::panic,
    reason = "a skipped check must be seen, a broken tool must fail"
)]
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: `{tool}` is not installed, so the shipped units are not judged");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A unit with a program that exists here in place of the installed one.
fn unit(folder: &Path, name: &str) -> std::io::Result<String> {
    let program = folder.join("vast-keeper");
    fs::write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let text = fs::read_to_string(shipped(name))?;
    assert!(text.contains("ExecStart=/usr/bin/vast-keeper "));
    let path = folder.join(name);
    fs::write(&path, text.replace("/usr/bin/vast-keeper", &program.display().to_string()))?;
    Ok(path.display().to_string())
}

#[test]
fn the_unit_is_correct_and_little_exposed() {
    judged("vast-keeper.service", EXPOSURE);
}

#[test]
fn the_follower_has_a_unit_of_its_own_that_cannot_take_the_keeper_with_it() {
    judged("vast-keeper-follow.service", FOLLOWER_EXPOSURE);
    let read = |name: &str| fs::read_to_string(shipped(name)).unwrap();
    let (keeper, follower) = (read("vast-keeper.service"), read("vast-keeper-follow.service"));
    for tie in ["Requires=", "BindsTo=", "PartOf=", "Requisite=", "Conflicts=", "RuntimeDirectory="] {
        assert!(!follower.contains(tie), "`{tie}` ties the keeper to builds");
    }
    assert!(!keeper.contains("vast-keeper-follow"), "the keeper waits for nobody");
    let value = |unit: &str, key: &str| {
        unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    for key in ["User", "StateDirectory", "LoadCredential", "WorkingDirectory"] {
        assert_eq!(value(&keeper, key), value(&follower, key), "they work on one state");
    }
    assert!(value(&follower, "RestartPreventExitStatus").unwrap().split(' ').any(|code| code == "20"));
}

/// Has a shipped unit judged by systemd's own tools.
fn judged(name: &str, exposure: &str) {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path(), name).unwrap();
    if let Some(output) = run("systemd-analyze", &["verify", "--man=no", &unit]) {
        let said = said(&output);
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("vast-keeper")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
    }
    if let Some(output) = run("systemd-analyze", &["security", "--offline=true", exposure, &unit]) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_user_and_the_directories_can_be_made() {
    let users = shipped("vast-keeper.sysusers.conf").display().to_string();
    if let Some(output) = run("systemd-sysusers", &["--dry-run", &users]) {
        let said = said(&output);
        assert!(output.status.success() && said.contains("vast-keeper"), "{said}");
    }
    let text = fs::read_to_string(shipped("vast-keeper.tmpfiles.conf")).unwrap();
    let unit = fs::read_to_string(shipped("vast-keeper.service")).unwrap();
    let credentials = unit.lines().find_map(|line| line.strip_prefix("LoadCredential=keeper:")).unwrap();
    assert!(
        text.contains(&format!("d {credentials} 0700 root")),
        "systemd refuses to start without {credentials}"
    );
}

#[test]
fn systemd_hears_what_the_keeper_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "systemd::child_that_speaks", "--ignored"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "30000000")
        .env_remove("WATCHDOG_PID")
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", said(&status));
    let hear = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(hear(), "READY=1\nSTATUS=3 of 3 healthy\n");
    assert_eq!(hear(), "WATCHDOG=1\n");
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear(), "STATUS=2 of 3 healthy\n");
    assert_eq!(hear(), "STOPPING=1\nSTATUS=stopping\n");
}

/// Run by the test above in a process of its own, since the socket is named by the environment.
#[test]
#[ignore = "the child of another test"]
fn child_that_speaks() {
    use vast_keeper::systemd;
    assert_eq!(systemd::watchdog_interval(), Some(Duration::from_secs(15)));
    systemd::ready("3 of 3 healthy");
    systemd::alive();
    systemd::reloading();
    systemd::status("2 of 3 healthy");
    systemd::stopping();
}
