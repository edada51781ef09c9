//! Bad days: what may go wrong on a box and on the way to it, each with what must be left afterwards.

use std::{fs, process::Command, time::Duration};

use tokio::sync::mpsc;

use super::{
    stage::{Stage, eventually},
    *,
};

/// A box with a verified release, of which every step of the next deploy has something to do.
async fn busy() -> Option<Stage> {
    let mut stage = Stage::new().await?;
    stage.deploy().await.unwrap();
    fs::write(stage.keeper("data/rows"), "rows\n").unwrap();
    let limit = Duration::from_secs(20);
    stage.request.method.backup = Backup {
        command: Some("cat rows".into()),
        check: Some("grep -q rows".into()),
        limit,
        ..Backup::default()
    };
    stage.request.method.migrate = Migrate {
        status: Some("cat done 2>/dev/null".into()),
        run: Some("echo once >>done".into()),
        validate: Some("test -s done".into()),
        limit,
        ..Migrate::default()
    };
    stage.request.smoke.expected = vec!["serving".into()];
    stage.take(1).await;
    Some(stage)
}

#[tokio::test]
async fn a_connection_cut_in_the_steps_around_the_data_costs_a_repetition_only() {
    let Some(stage) = busy().await else { return };
    let mut cuts = vec![];
    let cutting = stage.watched(async |report| {
        let cut = [Step::Assess, Step::Backup, Step::Migrate, Step::Gate, Step::Smoke];
        if report.phase == StepPhase::Started && cut.contains(&report.step) {
            stage.sshd.cut_connections();
            cuts.push(report.step);
        }
    });
    cutting.await.unwrap();
    assert_eq!(cuts, [Step::Assess, Step::Backup, Step::Migrate, Step::Gate, Step::Smoke]);
    assert_eq!(fs::read_to_string(stage.keeper("data/done")).unwrap(), "once\n", "it was migrated once");
    assert_eq!(stage.servers(), 1);
}

#[tokio::test]
async fn a_keeper_that_dies_around_the_data_leaves_a_box_that_the_next_one_finishes() {
    let Some(mut stage) = busy().await else { return };
    for last in [Step::Backup, Step::Migrate, Step::Smoke] {
        stage.set("ODD", last.word());
        stage.die_after(last).await;
        stage.deploy().await.unwrap_or_else(|fault| panic!("after {last}: {fault}"));
        assert_eq!(stage.get("/odd").await.unwrap(), last.word());
        assert_eq!(stage.servers(), 1, "after {last}");
        assert!(!stage.keeper("run/pending").exists(), "after {last}");
    }
}

#[tokio::test]
async fn a_server_that_dies_soon_after_its_start_gives_way_again() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let first = stage.release();
    stage.set("MODE", "late");
    stage.request.site.gate.steady = Duration::from_secs(3);
    let fault = stage.deploy().await.unwrap_err();
    let DeployFault::RolledBack { why, to } = &fault else { panic!("{fault:?}") };
    assert!(matches!(&**why, DeployFault::Release(words) if words.contains("code 9")), "{why:?}");
    assert_eq!((to, &stage.release()), (&first, &first));
}

/// A file system of so many MiB as the home of the box; unmounted at the end.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(stage: &Stage, mebibytes: u32) -> Option<Self> {
        let home = stage.sshd.home();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(&home)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: only root can mount a small file system; a full disk was not tried");
            return None;
        }
        Some(Self(home))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l".as_ref(), self.0.as_os_str()]).status();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_before_or_becomes_full_meanwhile_leaves_what_serves() {
    let Some(mut stage) = Stage::new().await else { return };
    let Some(_small) = Small::mount(&stage, 290) else { return };
    stage.deploy().await.unwrap();
    let (first, pid) = (stage.release(), stage.pid().await);
    stage.take(1).await;
    let ballast = stage.sshd.home().join("ballast");
    for step in [Step::Upload, Step::Seal] {
        let _ = fs::remove_file(&ballast);
        let filling = stage.watched(async |report| {
            if report.phase == StepPhase::Started && report.step == step {
                // As much as there is room for.
                let mut file = fs::File::create(&ballast).unwrap();
                while std::io::Write::write_all(&mut file, &[0; 65536]).is_ok() {}
            }
        });
        let fault = filling.await.unwrap_err();
        assert!(matches!(&fault, DeployFault::Box(_)), "{step}: {fault:?}");
        assert_eq!((stage.release(), stage.pid().await), (first.clone(), pid), "{step}");
    }
    // Full before: refused before anything is sent.
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("MiB needed")), "{fault:?}");
    fs::remove_file(&ballast).unwrap();
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    stop_server(
        &stage.remote,
        &stage.request.site.address(),
        &stage.request.site.node,
        Duration::from_secs(20),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_way_back_that_is_missing_is_told_and_the_box_is_not_left_without_a_server() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let first = stage.release();
    stage.take(1).await;
    stage.deploy().await.unwrap();
    fs::remove_dir_all(stage.keeper("releases").join(&first)).unwrap();
    let before = stage.pid().await;
    let fault = stage.go_back_to(None).await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("no other release")), "{fault:?}");
    assert_eq!(stage.pid().await, before);
}

#[tokio::test]
async fn keys_that_were_wiped_end_a_deploy_before_anything_changes() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    let before = stage.pid().await;
    let keys = stage.sshd.folder.path().join("authorized_keys");
    let held = fs::read(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    stage.take(1).await;
    let usual = std::mem::replace(&mut stage.request.site.connect_budget, Duration::from_secs(1));
    let mut fault = stage.deploy().await.unwrap_err();
    // A machine that is slow may not even say so within that second.
    for _ in 0..20 {
        if !fault.to_string().contains("unreachable") {
            break;
        }
        fault = stage.deploy().await.unwrap_err();
    }
    assert!(matches!(&fault, DeployFault::Box(words) if words.contains("refuses our SSH key")), "{fault:?}");
    assert_eq!(stage.pid().await, before);
    fs::write(&keys, held).unwrap();
    stage.request.site.connect_budget = usual;
    stage.deploy().await.unwrap();
}

#[tokio::test]
async fn large_and_odd_settings_and_noisy_login_files_change_nothing() {
    let Some(mut stage) = Stage::new().await else { return };
    for name in [".bashrc", ".profile", ".bash_profile", ".shrc"] {
        fs::write(stage.sshd.home().join(name), "echo welcome to this box; echo rc=0; echo current=x >&2\n")
            .unwrap();
    }
    let odd = "\"'`$(id)$HOME\\\n\t;&|<>*?~#!%\u{7f} é ♥".repeat(2000);
    assert!(odd.len() > 64 * 1024, "{}", odd.len());
    stage.set("ODD", &odd);
    stage.deploy().await.unwrap();
    assert_eq!(stage.get("/odd").await.unwrap(), odd);
}

#[tokio::test]
async fn a_release_that_serves_already_costs_few_round_trips_and_no_upload() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.deploy().await.unwrap();
    for (restart, most) in [(Restart::IfChanged, 3), (Restart::Always, 10)] {
        stage.request.restart = restart;
        let again = deploy(&stage.remote, &stage.request, &mpsc::channel(1).0).await.unwrap();
        assert!(again.round_trips <= most, "{restart:?}: {}", again.round_trips);
        assert!(again.steps.iter().all(|taken| taken.step != Step::Upload), "{restart:?}");
    }
    eventually("one server", || stage.servers() == 1).await;
}
