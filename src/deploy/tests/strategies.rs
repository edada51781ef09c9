//! Strategies on a real box: images by a stand-in for the engine, commits by the real `git`.

use std::{fs, time::Duration};

use tokio::sync::mpsc;

use super::{
    stage::{LIMIT, Stage, alive, eventually},
    stand_ins::{ENGINE, Repository, image, program, wants_commit, wants_image},
    *,
};

#[tokio::test]
async fn images_are_pulled_by_digest_and_the_one_before_stays_for_the_way_back() {
    let Some(mut stage) = Stage::new().await else { return };
    program(&stage, "engine", ENGINE);
    let (one, two) = (image(&stage, 0, 0), image(&stage, 1, 1));
    stage.set("ODD", "a secret\nof two lines");
    wants_image(&mut stage, &one, "aaaa111").await;
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Build), "{steps:?}");
    assert_eq!(stage.get("/odd").await.unwrap(), "a secret\nof two lines");
    let first = stage.pid().await;
    assert_eq!(stage.noted_pid("run/server.pid"), first);
    wants_image(&mut stage, &two, "bbbb222").await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert!(!alive(first), "the container before is gone");
    eventually("its log is the server's", || {
        fs::read_to_string(stage.keeper("log/server.log")).unwrap_or_default().matches("serving as").count()
            >= 2
    })
    .await;
    let asked = fs::read_to_string(stage.sshd.home().join("engine/asked")).unwrap();
    assert!(!asked.contains("a secret"), "a value stood in a command line: {asked}");

    // What cannot be pulled is found out while the old one serves.
    wants_image(&mut stage, &format!("registry.example.org/duel@sha256:{:064}", 7), "cccc333").await;
    let before = stage.pid().await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("manifest unknown"), "{fault}");
    assert_eq!(stage.pid().await, before);

    fs::remove_dir_all(stage.sshd.home().join("engine/registry")).unwrap();
    stage.go_back_to(None).await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    stop_server(&stage.remote, &stage.request.site.address(), &stage.request.site.node, LIMIT).await.unwrap();
    assert!(!stage.sshd.home().join("engine/run/duel").exists());
}

#[tokio::test]
async fn an_engine_starts_no_container_anew_while_its_data_is_changed() {
    let Some(mut stage) = Stage::new().await else { return };
    program(&stage, "engine", ENGINE);
    let policy_file = stage.sshd.home().join("engine/run/duel/policy");
    let policy = || fs::read_to_string(&policy_file).unwrap();
    let migrate = |run: String| Migrate {
        status: Some("cat schema 2>/dev/null".into()),
        run: Some(run),
        limit: Duration::from_secs(20),
        ..Migrate::default()
    };
    let (one, two) = (image(&stage, 0, 0), image(&stage, 1, 1));
    wants_image(&mut stage, &one, "aaaa111").await;
    stage.deploy().await.unwrap();
    assert_eq!(policy(), "unless-stopped\n");

    wants_image(&mut stage, &two, "bbbb222").await;
    stage.request.method.migrate = migrate(format!("cp {} seen; exit 1", policy_file.display()));
    let fault = stage.deploy().await.unwrap_err();
    assert!(matches!(&fault, DeployFault::Release(words) if words.contains("changed nothing")), "{fault:?}");
    assert_eq!(fs::read_to_string(stage.keeper("data/seen")).unwrap(), "no\n");
    assert_eq!(policy(), "unless-stopped\n", "the data is whole again");

    stage.request.method.migrate = migrate("echo half >schema; exit 1".into());
    assert!(matches!(stage.deploy().await, Err(DeployFault::Halfway { .. })));
    assert_eq!(policy(), "no\n");
    stage.request.method.migrate = migrate("echo done >schema".into());
    stage.deploy().await.unwrap();
    assert_eq!(
        (stage.health("commit", |_| true).await.as_str(), policy().as_str()),
        ("bbbb222", "unless-stopped\n")
    );
}

#[tokio::test]
async fn a_commit_is_checked_out_and_built_on_the_box() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    let first = repository.commit(0);
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    assert_eq!(stage.request.artifact.commit, first, "a branch was resolved to its commit");
    let steps = stage.deploy().await.unwrap();
    assert!(steps.contains(&Step::Build), "{steps:?}");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    assert_eq!(
        stage.get("/").await.unwrap(),
        stage.keeper(&format!("releases/{}/tree", stage.release())).to_str().unwrap()
    );

    // The branch moves; what was built is another release, and the one before stays.
    repository.commit(1);
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");
    assert_eq!(stage.release_names().len(), 2);
    let before = stage.pid().await;

    // A build that fails, hangs or is killed is found out while the old one serves.
    for (build, limit, release, word) in [
        ("echo no such header >&2; exit 2", LIMIT, true, "no such header"),
        ("kill -9 $$", LIMIT, false, "killed"),
        // The limit holds for the checkout too.
        ("sleep 60", Duration::from_secs(2), false, "in time"),
    ] {
        wants_commit(&mut stage, &repository, &first, build).await;
        if let Strategy::Git(with) = &mut stage.request.method.strategy {
            with.limit = limit;
        }
        let fault = stage.deploy().await.unwrap_err();
        let blamed = matches!(&fault, DeployFault::Release(_));
        assert!(blamed == release && fault.to_string().contains(word), "{build}: {fault:?}");
        assert_eq!(stage.pid().await, before);
    }
    // Nor is a commit that the repository does not have.
    wants_commit(&mut stage, &repository, &"ab".repeat(20), "true").await;
    assert!(stage.deploy().await.is_err());
    assert_eq!(stage.pid().await, before);
}

#[tokio::test]
async fn a_migration_in_the_releases_own_files_that_would_lose_data_waits_for_a_person() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    let migration = |name: &str, text: &str| {
        let folder = repository.0.path().join("migrations").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("migration.sql"), text).unwrap();
    };
    migration("1_init", "-- DROP TABLE users; came later\nINSERT INTO log VALUES ('TRUNCATE users');\n");
    repository.commit(0);
    stage.request.method.migrate = Migrate {
        run: Some("cat migrations/*/migration.sql >../../../data/applied".into()),
        files: Some("migrations/*/migration.sql".into()),
        limit: LIMIT,
        ..Migrate::default()
    };
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    stage.deploy().await.unwrap();

    // What came with this release is looked through, and what was there before is not.
    migration("1_init", "DROP TABLE users; -- it ran long ago\n");
    migration("2_shorter", "ALTER TABLE users ADD a int;\nALTER TABLE users DROP COLUMN email;\n");
    repository.commit(1);
    wants_commit(&mut stage, &repository, "main", "sh build.sh").await;
    let fault = stage.deploy().await.unwrap_err();
    let words = fault.to_string();
    assert!(words.contains("migrations/2_shorter/migration.sql line 2: DROP COLUMN email"), "{words}");
    assert!(!words.contains("1_init") && words.contains("deploy.migrate.risky=true"), "{words}");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
    // The status knows better.
    stage.request.method.migrate.status = Some("echo pending: 1_init".into());
    let words = stage.deploy().await.unwrap_err().to_string();
    assert!(words.contains("1_init/migration.sql line 1: DROP TABLE users"), "{words}");
    stage.request.method.migrate.risky = true;
    stage.deploy().await.unwrap();
    assert_eq!(stage.health("commit", |_| true).await, "bbbb222");

    // A look at nothing would find nothing, for ever.
    stage.request.method.migrate.risky = false;
    stage.request.method.migrate.files = Some("schema/*.sql".into());
    stage.set("ODD", "another");
    let words = stage.deploy().await.unwrap_err().to_string();
    assert!(words.contains("no file of the release"), "{words}");
}

#[tokio::test]
async fn a_tree_that_is_dirty_after_its_checkout_is_refused() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    // Line endings that the checkout cannot keep: the tree differs from its own commit.
    repository.run("printf 'a\\r\\n' >file && git add -A && git commit -qm one && printf '* text eol=lf\\n' >.gitattributes && git add .gitattributes && git commit -qm two");
    wants_commit(&mut stage, &repository, "main", "true").await;
    let fault = stage.deploy().await.unwrap_err();
    assert!(fault.to_string().contains("dirty"), "{fault}");
    assert!(!stage.keeper("current").exists());
}

#[tokio::test]
async fn a_build_goes_on_when_its_connection_is_cut_and_the_keeper_dies() {
    let Some(mut stage) = Stage::new().await else { return };
    let repository = Repository::new();
    repository.commit(0);
    let build =
        "echo x >>../../../data/builds; while [ ! -f ../../../data/go ]; do sleep 0.1; done; sh build.sh";
    wants_commit(&mut stage, &repository, "main", build).await;
    let began = stage.keeper("data/builds");
    let dying = async {
        eventually("the build began", || began.exists()).await;
        stage.sshd.cut_connections();
        // The look is repeated over another connection, and then the keeper dies for good.
        eventually("it is looked for again", || stage.keeper("jobs/build/lock").exists()).await;
    };
    let (progress, _untaken) = mpsc::channel(1);
    tokio::select! {
        () = dying => {}
        result = deploy(&stage.remote, &stage.request, &progress) => panic!("{result:?}"),
    }
    fs::write(stage.keeper("data/go"), "").unwrap();
    stage.deploy().await.unwrap();
    assert_eq!(fs::read_to_string(began).unwrap(), "x\n", "it was built once");
    assert_eq!(stage.health("commit", |_| true).await, "aaaa111");
}
