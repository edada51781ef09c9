//! The catalogue of fault kinds that the panel shows, with an example rule of each.

use serde::Serialize;
use serde_json::{Value, json};

/// One line of the catalogue.
#[derive(Debug, Clone, Serialize)]
pub struct KindDoc {
    /// The `kind` member.
    pub kind: &'static str,
    /// What one firing is.
    pub fires_per: &'static str,
    /// What happens.
    pub what: &'static str,
    /// A complete rule.
    pub example: Value,
}

/// Every kind of fault with an example, as `GET /panel/` shows it.
pub fn catalogue() -> Vec<KindDoc> {
    let mut all = api_kinds();
    all.extend(life_kinds());
    all.extend(box_kinds());
    all
}

fn doc(kind: &'static str, fires_per: &'static str, what: &'static str, mut example: Value) -> KindDoc {
    example["kind"] = json!(kind);
    KindDoc { kind, fires_per, what, example }
}

fn api_kinds() -> Vec<KindDoc> {
    vec![
        doc(
            "api_outage",
            "call",
            "answered broken, not handled; `how`: hang, reset, html502, html504, html404, json500, garbage, truncated, empty_object",
            json!({"how":"html502","times":null}),
        ),
        doc(
            "lost_reply",
            "call",
            "handled, answer lost; `how` as above",
            json!({"how":"hang","endpoint":"create"}),
        ),
        doc(
            "rate_limited",
            "call",
            "429; `body`: text, text_threshold, detail, envelope",
            json!({"body":"detail","retry_after":2,"times":3}),
        ),
        doc("search_quota", "search", "429 search_quota_exceeded", json!({"times":null})),
        doc("auth_error", "call", "answered as with a revoked key", json!({"times":null})),
        doc(
            "offer_gone",
            "create",
            "`status`: gone (410), not_found (404), bad_request (400)",
            json!({"status":"not_found"}),
        ),
        doc("create_error_with_contract", "create", "rents a stopped box and answers an error", json!({})),
        doc("create_twice", "create", "rents two boxes under one label and answers one", json!({})),
        doc("insufficient_credit", "create", "400 insufficient_credit", json!({})),
        doc("spend_rate_limit", "create", "400 spend_rate_limit", json!({})),
        doc("unreadable_row", "create", "the new row stays invisible to reads", json!({"for_s":60.0})),
        doc(
            "list_page_fails",
            "call for that page",
            "one page of the list is broken",
            json!({"page":2,"how":"html502"}),
        ),
        doc("list_short", "list call", "shows fewer rows and claims to be complete", json!({"rows":0})),
        doc("destroy_refused", "destroy", "200 success:false, nothing done", json!({"instance":20_000_001})),
        doc("destroy_ignored", "destroy", "success:true, nothing done", json!({})),
        doc("destroy_lingers", "destroy", "the row stays readable", json!({"for_s":30.0})),
        doc("queued_start", "start", "200 success:false, resources_unavailable", json!({"after_s":20.0})),
        doc(
            "stale_status",
            "row read",
            "reads report another actual_status",
            json!({"status":"exited","times":null}),
        ),
        doc("overcharged", "deed", "the charges show more than the box cost", json!({"dollars":5.0})),
        doc("zero_credit", "deed", "credit becomes 0; every instance stops", json!({})),
    ]
}

fn life_kinds() -> Vec<KindDoc> {
    vec![
        doc("stuck_loading", "boot", "stays in loading", json!({"label_prefix":"vk:"})),
        doc("oci_failure", "boot", "created, OCI error, cur_state stopped", json!({})),
        doc("image_fault", "boot", "loading, manifest unknown", json!({})),
        doc("exits_in_boot", "boot", "exited instead of running", json!({})),
        doc("ports_missing", "boot", "running without ports", json!({"for_s":20.0})),
        doc("address_changes", "restart", "another public address and other ports", json!({})),
    ]
}

fn box_kinds() -> Vec<KindDoc> {
    vec![
        doc(
            "kill_server",
            "deed",
            "SIGKILL to the listener on the app port",
            json!({"whole_session":true,"instance":20_000_001}),
        ),
        doc(
            "kill_instance",
            "deed",
            "all processes killed, status exited",
            json!({"probability":0.01,"times":null}),
        ),
        doc("freeze", "deed", "all processes stopped, network silent", json!({})),
        doc(
            "host_offline",
            "deed",
            "network silent, `status` offline or unknown",
            json!({"for_s":30.0,"status":"unknown"}),
        ),
        doc(
            "wipe_authorized_keys",
            "deed",
            "logins refused until a key is attached",
            json!({"keep_attached":false}),
        ),
        doc("change_host_key", "deed", "another SSH host key", json!({})),
        doc(
            "outbid",
            "deed",
            "stopped without a word; a bid above `min_bid` and a start bring it back",
            json!({"min_bid":0.4}),
        ),
        doc("contract_ends", "deed", "the contract's end is near", json!({"in_s":5.0})),
        doc("drop_ssh", "deed", "every SSH connection is cut", json!({})),
        doc(
            "http_traffic",
            "connection",
            "`how`: hang, reset, close, {cut_after:N}, {cut_upload_after:N}, {bytes_per_second:N}, {delay_ms:N}, html502, garbage, {huge:N}, stranger",
            json!({"how":{"cut_after":10},"times":null}),
        ),
        doc(
            "ssh_traffic",
            "connection",
            "`how` as above; `path`: direct or proxy",
            json!({"how":"hang","path":"direct"}),
        ),
        doc("ssh_auth_refused", "login", "Permission denied whatever the key", json!({"times":3})),
    ]
}
