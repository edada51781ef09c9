//! A fleet that others depend on: every verb that changes what serves there wants its name, and healing wants nobody's.

use crate::harness::{Fleet, KILL_SERVER, Run, next_server};

const FIRST: &str = "aaaa111";
const NEXT: &str = "bbbb222";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_changes_what_serves_wants_the_fleets_name_and_healing_does_not() {
    let mut fleet = Fleet::released_with("a protected fleet", 1, &[("fleet.protected", "true")]).await;
    let instances = fleet.instances().await;
    fleet.gives(next_server());
    let verbs: [&[&str]; 7] = [
        &["deploy", "duel-0"],
        &["deploy", "--fleet", "--strategy", "canary"],
        &["deploy", "--fleet", "--strategy", "blue-green"],
        &["rollback", "duel-0", "--to", FIRST],
        &["restore", "duel-0"],
        &["reprovision", "duel-0"],
        &["destroy", "duel-0"],
    ];
    // A rollback that leads nowhere is refused before anybody is asked, so there is something to go back from.
    fleet.cli(&["deploy", "duel-0", "--yes", "--i-mean", "e2e"]).await.exits(0);
    let calls = fleet.newest_call();
    for verb in verbs {
        for more in [&[][..], &["--yes"], &["--i-mean", "e2e"]] {
            let refused = fleet.cli(&[verb, more].concat()).await.exits(20);
            assert!(refused.stderr.contains("--yes --i-mean e2e"), "{verb:?}: {}", refused.stderr);
        }
        let other = fleet.cli(&[verb, &["--yes", "--i-mean", "staging"]].concat()).await.exits(20);
        assert!(other.stderr.contains("this is `e2e`"), "{verb:?}: {}", other.stderr);
    }
    for verb in [&["rollout", "continue"][..], &["rollout", "abort", "--back"]] {
        fleet.cli(verb).await.exits(20);
        fleet.cli(&[verb, &["--yes", "--i-mean", "e2e"]].concat()).await.exits(10);
    }
    // What only looks, or ends something, needs no name.
    fleet.cli(&["deploy", "duel-0", "--dry-run"]).await.exits(10);
    fleet.cli(&["rollback", "duel-0", "--dry-run"]).await.exits(0);
    fleet.cli(&["rollout", "abort"]).await.exits(10);
    assert_eq!(fleet.calls_of(&["create", "destroy"], calls), 0);
    assert_eq!((fleet.instances().await, fleet.commit_of("duel-0").await), (instances.clone(), NEXT.into()));

    fleet.cli(&["rollback", "duel-0", "--yes", "--i-mean", "e2e"]).await.exits(0);
    assert_eq!(fleet.commit_of("duel-0").await, FIRST);
    fleet.all_serve().await;
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &instances).await;
    fleet.verdict(&[]).await.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_another_fleet_is_refused_everywhere() {
    let fleet = Fleet::released("another fleet's name", 1).await;
    let other = fleet.cli(&["deploy", "duel-0", "--restart", "--i-mean", "production"]).await.exits(20);
    assert!(other.stderr.contains("--profile production"), "{}", other.stderr);
    fleet.cli(&["deploy", "duel-0", "--restart"]).await.exits(0);
}
