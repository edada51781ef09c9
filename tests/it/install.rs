//! The steps that the README lists for a service, taken in a folder in the place of `/`: they must end in a configuration that
//! the keeper accepts.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{finish, server_binary};

/// The README's own lines.
fn steps() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("\n## As a service\n").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().map(str::to_owned).collect()
}

/// What `systemd-tmpfiles --create` makes of the shipped lines.
fn make_folders(root: &Path) {
    let lines = fs::read_to_string(root.join("usr/lib/tmpfiles.d/vast-keeper.conf")).unwrap();
    for folder in lines.lines().filter_map(|line| line.strip_prefix("d ")?.split_whitespace().next()) {
        fs::create_dir_all(root.join(folder.trim_start_matches('/'))).unwrap();
    }
}

/// A step as it is taken here: without `sudo`, below `root`, with the programs that are built already.
fn translated(step: &str, root: &Path) -> String {
    let below = root.display();
    step.replace("sudo ", "")
        .replace(" /usr/", &format!(" {below}/usr/"))
        .replace(" /etc/", &format!(" {below}/etc/"))
        .replace("=/etc/", &format!("={below}/etc/"))
        .replace("target/release/vast-keeper", env!("CARGO_BIN_EXE_vast-keeper"))
        .replace(
            "target/$(uname -m)-unknown-linux-gnu/release/duel-server",
            &server_binary().display().to_string(),
        )
}

#[tokio::test]
async fn the_listed_steps_end_in_a_configuration_that_is_accepted() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("home/.ssh")).unwrap();
    fs::write(root.join("home/.ssh/id_ed25519"), "a private key\n").unwrap();
    let mut checked = false;
    for step in steps() {
        if step.contains("cargo build") || step.contains("systemctl") {
            continue;
        }
        if step.contains("systemd-tmpfiles --create") {
            make_folders(root);
            continue;
        }
        let mut command = Command::new("sh");
        command.args(["-euc", &translated(&step, root)]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let path = format!("{}:/usr/bin:/bin", root.join("usr/bin").display());
        command.env_clear().env("PATH", path).env("HOME", root.join("home")).stdin(Stdio::null());
        if step.starts_with("printf") {
            command.env("VAST_API_KEY", "a-key").env("ADMIN_CODE", "a-code");
            command.env("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/x");
        }
        if step.contains(" check") {
            let file = root.join("etc/vast-keeper/keeper.toml");
            let text = fs::read_to_string(&file).unwrap();
            let deployed = format!("file = \"{}/usr/lib/", root.display());
            fs::write(&file, text.replace("file = \"/usr/lib/", &deployed)).unwrap();
            checked = true;
        }
        let ended = finish(command).await;
        assert_eq!(ended.code, 0, "`{step}`: {}", ended.said());
        assert!(!ended.said().contains("warning"), "`{step}`: {}", ended.said());
    }
    assert!(checked, "the steps do not check the configuration before they start the service");
}
