//! Answers of the provider that do not say what was done, over real sockets, one row each. Judged by what the keeper sent and by
//! what the provider rented and ended.
//!
//! Answers that are lost or broken on the way of an ordinary create or destroy are in `healing`; here somebody between the two
//! carries a call out twice, late or never and says something else.

use std::{collections::BTreeSet, collections::VecDeque, sync::Mutex, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use vast_sim::{Action, RentalEnd};

use crate::harness::{Acts, Fleet, KILL_SERVER, LONG_PATIENCE, Liar, Lie, Says, eventually, room};

/// Fleets at once.
const FLEETS: usize = 5;

/// One ambiguous answer to a call of a replacement, and what must come of it.
struct Row {
    what: &'static str,
    lie: Lie,
    /// Creates that the keeper sends, each with a label of its own.
    creates: usize,
    /// Rentals that the provider makes; one of them is kept.
    rentals: usize,
}

fn row(
    what: &'static str,
    about: &'static str,
    acts: Acts,
    says: Says,
    creates: usize,
    rentals: usize,
) -> Row {
    Row { what, lie: Lie { about, acts, says, times: 1 }, creates, rentals }
}

fn words(status: u16, body: &Value) -> Says {
    Says::Words(status, body.to_string())
}

fn html(status: u16) -> Says {
    Says::Words(status, "<html><body>something between us</body></html>".into())
}

fn rows() -> Vec<Row> {
    let late = |ms| Acts::After(Duration::from_millis(ms));
    let queued = json!({"success": false, "error": "resources_unavailable",
        "msg": "Required resources are currently unavailable, state change queued."});
    let unknown = json!({"success": false, "error": "no_such_instance", "msg": "not found"});
    vec![
        // The slow ones first, so that they do not come last.
        row(
            "destroy acknowledged, not done",
            "destroy",
            Acts::Never,
            words(200, &json!({"success": true})),
            1,
            1,
        ),
        row("destroy of a living box answered 404", "destroy", Acts::Never, words(404, &unknown), 1, 1),
        row("create carried out after it was given up", "create", late(20_000), html(504), 2, 2),
        row("create carried out late", "create", late(200), html(504), 1, 1),
        row("create carried out twice, no answer", "create", Acts::Twice, html(502), 1, 1),
        row("create carried out, its echo refused", "create", Acts::Twice, Says::Truth, 2, 2),
        row("create queued, says the refusal", "create", Acts::Once, words(200, &queued), 1, 1),
        row(
            "create done, a success without a contract",
            "create",
            Acts::Once,
            words(200, &json!({"success": true})),
            1,
            1,
        ),
        row(
            "create done, the answer names the doomed box",
            "create",
            Acts::Once,
            Says::Words(200, "OLD".into()),
            1,
            1,
        ),
        row("create done, a redirect", "create", Acts::Once, html(302), 1, 1),
        row("create stopped by a wall, 403", "create", Acts::Never, html(403), 2, 1),
        row("create stopped by a wall, 429", "create", Acts::Never, html(429), 2, 1),
        row(
            "create timed out before the provider",
            "create",
            Acts::Never,
            words(408, &json!({"error": "timeout"})),
            2,
            1,
        ),
        row("destroy done, no answer", "destroy", Acts::Once, html(504), 1, 1),
        row("destroy not done, 410 of a proxy", "destroy", Acts::Never, html(410), 1, 1),
        row(
            "destroy not done, a success that is none",
            "destroy",
            Acts::Never,
            words(200, &json!({"success": false})),
            1,
            1,
        ),
    ]
}

struct Stage {
    fleet: Fleet,
    liar: Liar,
}

impl Stage {
    async fn new(seed: u64) -> Self {
        let mut fleet = Fleet::small("ambiguous answers", seed, 1).await;
        let liar = Liar::before(&fleet.sim.url()).await;
        fleet.settings.set("provider.base_url", &liar.url());
        fleet.start().await;
        fleet.all_serve().await;
        Self { fleet, liar }
    }

    /// Replaces the box while the row's lie is told, and judges.
    async fn play(&self, row: Row) {
        let (fleet, liar, what) = (&self.fleet, &self.liar, row.what);
        let old = fleet.instance("duel-0").await;
        let (before, sent) = (fleet.sim.ledger().rentals.len(), liar.sent(0).len());
        let mut lie = row.lie;
        if let Says::Words(_, words) = &mut lie.says
            && words == "OLD"
        {
            *words = json!({"success": true, "new_contract": old}).to_string();
        }
        liar.tell(lie);
        fleet.sim.act(old, Action::Do(KILL_SERVER)).await.unwrap();
        eventually(&format!("{what}: replaced, and all rented and ended"), LONG_PATIENCE, async || {
            let Some(view) = fleet.view().await else { return false };
            let node = &view.nodes[0];
            let calm = node.state == "serving" && node.incident.is_none() && view.doomed.is_empty();
            let rentals = fleet.sim.ledger().rentals;
            calm && liar.left() == 0 && rentals.len() - before >= row.rentals && living(&rentals) == 1
        })
        .await;
        let kept = fleet.instance("duel-0").await;
        let rentals = fleet.sim.ledger().rentals;
        let new = &rentals[before..];
        assert_eq!(new.len(), row.rentals, "{what}: rentals");
        assert!(
            new.iter().any(|rental| rental.instance == kept && rental.ended_ms.is_none()),
            "{what}: kept"
        );
        let by_call = |rental: &&vast_sim::Rental| matches!(rental.ended_by, Some(RentalEnd::Call(_)));
        assert_eq!(new.iter().filter(by_call).count(), row.rentals - 1, "{what}: surplus ended");
        let old = rentals.iter().find(|rental| rental.instance == old).unwrap();
        assert!(old.ended_ms.is_some(), "{what}: the old box is gone");
        let sent = liar.sent(sent);
        let labels: Vec<&String> = sent
            .iter()
            .filter(|call| call.about == "create")
            .filter_map(|call| call.label.as_ref())
            .collect();
        let distinct: BTreeSet<&&String> = labels.iter().collect();
        assert_eq!((labels.len(), distinct.len()), (row.creates, row.creates), "{what}: creates sent");
    }

    /// The list is changed while all is well: nothing may be done about it.
    async fn unmoved(&self, what: &str, change: fn(&mut Value)) {
        let (fleet, liar) = (&self.fleet, &self.liar);
        let (call, before) = (fleet.newest_call(), fleet.instance("duel-0").await);
        liar.tell(Lie { about: "list", acts: Acts::Once, says: Says::List(change), times: 4 });
        eventually(&format!("{what}: listed"), LONG_PATIENCE, async || liar.left() == 0).await;
        liar.be_honest();
        fleet.all_serve().await;
        assert_eq!(fleet.instance("duel-0").await, before, "{what}");
        assert_eq!(fleet.calls_of(&["create", "destroy", "reboot"], call), 0, "{what}");
    }
}

fn living(rentals: &[vast_sim::Rental]) -> usize {
    rentals.iter().filter(|rental| rental.ended_ms.is_none()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ambiguous_answer_is_settled_by_looking() {
    let _room = room(6).await;
    let rows = Mutex::new(VecDeque::from(rows()));
    join_all((0..FLEETS as u64).map(|seed| play_some(seed, &rows))).await;
}

async fn play_some(seed: u64, rows: &Mutex<VecDeque<Row>>) {
    let stage = Stage::new(seed).await;
    loop {
        let Some(row) = rows.lock().unwrap().pop_front() else { break };
        stage.play(row).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_complete_and_wrong_move_nobody() {
    let _room = room(6).await;
    let stage = Stage::new(1).await;
    stage
        .unmoved("another account's list", |list| {
            each(list, |row| {
                row["id"] = json!(row["id"].as_u64().unwrap() + 7_000_000);
                row["label"] = json!("somebody else's");
            })
        })
        .await;
    stage.unmoved("labels removed", |list| each(list, |row| row["label"] = Value::Null)).await;
    stage
        .unmoved("labels of another keeper", |list| {
            each(list, |row| row["label"] = json!("vk:other:duel-0:aaaaaaaaaaa"))
        })
        .await;
    stage
        .unmoved("everything stopped", |list| each(list, |row| row["actual_status"] = json!("exited")))
        .await;
    stage
        .unmoved("a word nobody knows", |list| {
            each(list, |row| row["actual_status"] = json!("transmogrifying"))
        })
        .await;
    stage.unmoved("no ports", |list| each(list, |row| row["ports"] = json!({}))).await;
    let told = stage.fleet.receiver.count("webhook", "label");
    assert!(told > 0, "somebody is told that a label is not ours any more");
}

fn each(list: &mut Value, change: fn(&mut Value)) {
    list["instances"].as_array_mut().unwrap().iter_mut().for_each(change);
}
