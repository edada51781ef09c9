//! Where the nodes are reached, as others find it: a file, a command, a hook.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Fleet, KILL_SERVER, PATIENCE, eventually};

/// What a file says, if it is one.
fn published(path: &std::path::Path) -> Option<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).ok()?;
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("half a file: {fault}: {text}"));
    serde_json::from_value(value["nodes"].clone()).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_points_at_the_nodes_follows_them() {
    let mut fleet = Fleet::light("published addresses", 2).await;
    let (file, copy, gate) =
        (fleet.folder().join("nodes.json"), fleet.folder().join("copy.json"), fleet.folder().join("open"));
    fleet.settings.set("publish.file", &file.display().to_string());
    let command = format!(
        "test -e {0} || {{ echo the zone is locked >&2; exit 1; }}; cat >{1}.new; mv {1}.new {1}",
        gate.display(),
        copy.display()
    );
    fleet.settings.set("publish.command", &command);
    fleet.start().await;
    let serving = fleet.all_serve().await;
    eventually("a command that fails is told", PATIENCE, async || {
        fleet.receiver.count("webhook", "cannot be published") == 1
    })
    .await;
    assert_eq!(published(&copy), None);
    std::fs::write(&gate, "").unwrap();
    let addresses = |view: &vast_keeper::fleet::view::FleetView| -> BTreeMap<String, String> {
        let of = |node: &vast_keeper::fleet::view::NodeView| {
            Some((node.node.to_string(), node.address?.to_string()))
        };
        view.nodes.iter().filter_map(of).collect()
    };
    let wanted = addresses(&serving);
    eventually("and tried again until it is done", PATIENCE, async || {
        published(&copy).as_ref() == Some(&wanted)
    })
    .await;
    assert_eq!(published(&file), Some(wanted.clone()));

    let before = fleet.instances().await;
    fleet.hit("duel-0", KILL_SERVER).await;
    fleet.replaced(&["duel-0".into()], &before).await;
    let wanted = addresses(&fleet.all_serve().await);
    for path in [&file, &copy] {
        eventually("the new box's address is published", PATIENCE, async || {
            published(path).as_ref() == Some(&wanted)
        })
        .await;
    }
    fleet.journaled(0, "published", None).await;
}
