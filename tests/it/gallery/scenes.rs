//! The scenes: what is wrong, and how a keeper shows that it noticed.

use serde_json::{Value, json};
use vast_keeper::fleet::view::FleetView;
use vast_sim::TrafficBreak;

use super::front::{Canned, PAGE, Weather};

/// One fault of the world outside.
pub struct Scene {
    pub name: &'static str,
    pub strike: Strike,
    pub bite: Bite,
}

/// How it is brought about.
pub enum Strike {
    /// Between the keeper and the provider.
    Provider(Weather),
    /// Between the keeper and all boxes: their server's port, and SSH where it is named.
    Boxes { server: TrafficBreak, ssh: Option<TrafficBreak> },
    /// Both: nothing that the keeper sends is answered.
    Everything,
    /// The provider's name cannot be looked up.
    Names,
    /// Another keeper of the same fleet works in the same account, with a state of its own.
    Rival,
}

/// What must be seen of it before it counts as having struck.
#[derive(Clone, Copy)]
pub enum Bite {
    /// The view says that the key is refused.
    KeyRefused,
    /// The view tells a fault of the list with one of these words.
    ListFault(&'static [&'static str]),
    /// Lists that lack too much: refused, which is told, or, of a single instance, taken without any consequence.
    Incomplete,
    /// Every node fails well beyond a doubled threshold and is kept back by one of these rails.
    Suspects(&'static [&'static str]),
    /// The same while the lists fail too.
    Blind,
    /// The rival knows of every node and may rent for none.
    RivalBlocked,
}

/// Calls that must have met a fault, before the restart and again after it.
pub const LISTS_HIT: usize = 5;
/// The same for lists that lack too much: more than the nine after which they are believed.
pub const LISTS_BELIEVED: usize = 12;
/// Failures in a row that every node must have: beyond the doubled threshold of six.
pub const FAILURES: u32 = 8;

fn json_answer(status: u16, error: &str, text: &str) -> Canned {
    let body = json!({"success": false, "error": error, "msg": text}).to_string();
    Canned { status, kind: "application/json", body }
}

fn raw(status: u16, kind: &'static str, body: &str) -> Canned {
    Canned { status, kind, body: body.into() }
}

fn page(status: u16) -> Canned {
    raw(status, "text/html", "<html><body><center><h1>Please wait</h1></center><hr>cloudflare</body></html>")
}

pub fn scenes() -> Vec<Scene> {
    let mut all = lists();
    all.extend(answers());
    all.extend(networks());
    all
}

fn lists() -> Vec<Scene> {
    let malformed: &[&str] = &["", "malformed"];
    let scene = |name, weather, bite| Scene { name, strike: Strike::Provider(weather), bite };
    vec![
        scene("an empty list", Weather::Forged(|_, _| (Vec::new(), 0)), Bite::Incomplete),
        scene(
            "a list one page short that counts every row",
            Weather::Forged(|_, rows| {
                let all = rows.len();
                (without_last_page(rows), all)
            }),
            Bite::ListFault(&["the provider counts"]),
        ),
        scene(
            "a list one page short that calls itself complete",
            Weather::Forged(|_, rows| counted(without_last_page(rows))),
            Bite::Incomplete,
        ),
        scene("an html page for a list", Weather::Lists(vec![page(200)]), Bite::ListFault(malformed)),
        scene(
            "an empty text for a list",
            Weather::Lists(vec![raw(200, "application/json", "\"\""), raw(200, "application/json", "")]),
            Bite::ListFault(malformed),
        ),
        scene(
            "a list from before the fleet was rented",
            Weather::Forged(|past, _| counted(past.unrented.clone())),
            Bite::Incomplete,
        ),
        scene(
            "another account's list",
            Weather::Forged(|_, rows| counted(rows.into_iter().map(of_another).collect())),
            Bite::Incomplete,
        ),
    ]
}

fn counted(rows: Vec<Value>) -> (Vec<Value>, usize) {
    let count = rows.len();
    (rows, count)
}

/// The fleet's instances are the newest and the rows in the order of their ids, so they are what is lost.
fn without_last_page(mut rows: Vec<Value>) -> Vec<Value> {
    rows.truncate((rows.len() - 1) / PAGE * PAGE);
    rows
}

/// The same row as somebody else has it: another id, another label.
fn of_another(mut row: Value) -> Value {
    row["id"] = json!(row["id"].as_u64().unwrap() + 1_000_000_000);
    row["label"] = json!("somebody's");
    row
}

fn answers() -> Vec<Scene> {
    let storm = |name, answers, bite| Scene { name, strike: Strike::Provider(Weather::Storm(answers)), bite };
    let slow = "API requests too frequent";
    vec![
        storm("401", vec![json_answer(401, "auth_error", "Invalid user key")], Bite::KeyRefused),
        storm("404 auth_error", vec![json_answer(404, "auth_error", "Invalid user key")], Bite::KeyRefused),
        storm(
            "410",
            vec![json_answer(410, "deprecated_endpoint", "This endpoint is deprecated.")],
            Bite::ListFault(&["deprecated"]),
        ),
        storm(
            "429",
            vec![
                raw(429, "text/plain", slow),
                raw(429, "text/plain", "API requests too frequent: endpoint threshold=0.1"),
                raw(
                    429,
                    "application/json",
                    r#"{"detail":"API requests too frequent endpoint threshold=0.1"}"#,
                ),
                json_answer(429, "rate_limit_exceeded", slow),
            ],
            Bite::ListFault(&[""]),
        ),
        storm(
            "5xx",
            vec![
                json_answer(500, "server_error", "Internal server error"),
                page(502),
                raw(503, "text/plain", ""),
                page(504),
                page(520),
            ],
            Bite::ListFault(&[""]),
        ),
    ]
}

fn networks() -> Vec<Scene> {
    // Whoever comes after another that is held waits for that one.
    let held: &[&str] = &["breaker", "self-check", "priority"];
    vec![
        Scene { name: "the keeper offline", strike: Strike::Everything, bite: Bite::Blind },
        Scene {
            name: "probe egress blocked while the api works",
            strike: Strike::Boxes { server: TrafficBreak::Hang, ssh: Some(TrafficBreak::Reset) },
            bite: Bite::Suspects(held),
        },
        Scene {
            name: "all probes failing with the provider saying running and ssh answering",
            strike: Strike::Boxes { server: TrafficBreak::Reset, ssh: None },
            bite: Bite::Suspects(&["witness"]),
        },
        Scene { name: "names not found", strike: Strike::Names, bite: Bite::ListFault(&["lookup", "dns"]) },
        Scene { name: "a second keeper", strike: Strike::Rival, bite: Bite::RivalBlocked },
    ]
}

impl Bite {
    /// Whether a view shows it.
    pub fn shows(self, view: &FleetView) -> bool {
        let told = |words: &[&str]| {
            let fault = view.list_fault.as_deref().unwrap_or_default().to_lowercase();
            view.list_fault.is_some() && words.iter().any(|word| fault.contains(word))
        };
        let fail =
            || view.nodes.iter().all(|node| node.health.failures >= FAILURES && node.state == "suspect");
        let kept = |rails: &[&str]| {
            let by = |node: &vast_keeper::fleet::view::NodeView| {
                node.blocked.as_ref().is_some_and(|blocked| rails.contains(&blocked.rail.as_str()))
            };
            view.nodes.iter().all(by)
        };
        match self {
            Self::KeyRefused => !view.key_accepted,
            Self::ListFault(words) => told(words) && view.healthy == view.wanted,
            Self::Incomplete => true,
            Self::Suspects(rails) => fail() && kept(rails),
            Self::Blind => fail() && told(&[""]),
            Self::RivalBlocked => {
                let vacant = view.nodes.iter().all(|node| node.state == "vacant");
                vacant && kept(&["import"])
            }
        }
    }
}
