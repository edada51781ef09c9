//! The kinds of fault, their parameters, and the catalogue that the panel shows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How an API answer is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiBreak {
    /// No answer for as long as the client waits.
    Hang,
    /// The connection is reset without an answer.
    Reset,
    /// 502 with a proxy's HTML page.
    Html502,
    /// 504 with a proxy's HTML page.
    Html504,
    /// 404 with a proxy's HTML page: not the API's "not found".
    Html404,
    /// 500 with a JSON error.
    Json500,
    /// 200 with bytes that are no JSON.
    Garbage,
    /// 200 whose body ends before its announced length.
    Truncated,
    /// 200 with an empty JSON object.
    EmptyObject,
}

/// How traffic to a box's port is broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficBreak {
    /// Accepted, then silent for as long as the client waits.
    Hang,
    /// Reset as soon as it is accepted.
    Reset,
    /// Closed in order as soon as it is accepted.
    Close,
    /// Cut after this many bytes went from the box to the client.
    CutAfter(u64),
    /// Cut after this many bytes went from the client to the box.
    CutUploadAfter(u64),
    /// Each direction is slowed to this many bytes per second.
    BytesPerSecond(u64),
    /// This many real milliseconds pass before anything is forwarded.
    DelayMs(u64),
    /// The client gets 502 with a proxy's HTML page.
    Html502,
    /// The client gets 200 with bytes that are no JSON.
    Garbage,
    /// The client gets 200 with a JSON body of this many bytes.
    Huge(u64),
    /// The client gets a healthy-looking 200 that another instance would give.
    Stranger,
}

/// Status of a vanished offer's answer; all three are seen live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoneStatus {
    /// 404 `invalid_args`, "error 404/3603: no_such_ask …".
    NotFound,
    /// 410 `no_such_ask`, "error 410/3907 …".
    #[default]
    Gone,
    /// 400 `no_such_ask`.
    BadRequest,
}

/// Shape of a 429 body; all four are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitBody {
    /// Plain text.
    #[default]
    Text,
    /// Plain text that names a threshold.
    TextThreshold,
    /// `{"detail": …}`.
    Detail,
    /// `{"success":false,"error":"rate_limit_exceeded","msg":…}`.
    Envelope,
}

/// What goes wrong. Seconds are simulated ones unless a name says `_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// A call is answered like this instead of being handled. One firing: one call.
    ApiOutage {
        /// How it is broken.
        how: ApiBreak,
    },
    /// A call is handled, then its answer is lost. One firing: one call.
    LostReply {
        /// How it is broken.
        how: ApiBreak,
    },
    /// A call is answered 429. One firing: one call.
    RateLimited {
        /// Shape of the body.
        #[serde(default)]
        body: RateLimitBody,
        /// `Retry-After` in seconds; absent: no header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// A search is answered 429 `search_quota_exceeded`. One firing: one search.
    SearchQuota,
    /// A call is answered as with a revoked key. One firing: one call.
    AuthError,
    /// A create is answered as if its offer had just gone. One firing: one create.
    OfferGone {
        /// Which of the three answers.
        #[serde(default)]
        status: GoneStatus,
    },
    /// A create rents a stopped instance and answers an error that carries `new_contract`. One firing: one create.
    CreateErrorWithContract,
    /// A create is refused for lack of credit. One firing: one create.
    InsufficientCredit,
    /// A create is refused by the spend cap of new accounts. One firing: one create.
    SpendRateLimit,
    /// A new row stays unreadable for this long. One firing: one create.
    UnreadableRow {
        /// For how long.
        for_s: f64,
    },
    /// A page of the list fails. One firing: one call for that page.
    ListPageFails {
        /// 1 is the first page.
        page: u32,
        /// How it fails.
        how: ApiBreak,
    },
    /// The list shows only this many rows and calls itself complete, `total_instances` included. One firing: one call.
    ListShort {
        /// Rows shown.
        rows: usize,
    },
    /// A destroy is answered 200 `success:false` and does nothing. One firing: one call.
    DestroyRefused,
    /// A destroy is answered `success:true` and does nothing. One firing: one call.
    DestroyIgnored,
    /// A destroyed row stays readable for this long. One firing: one destroy.
    DestroyLingers {
        /// For how long.
        for_s: f64,
    },
    /// A start is answered 200 `success:false`, "state change queued". One firing: one start.
    QueuedStart {
        /// When the start fires after all; absent: never.
        #[serde(default)]
        after_s: Option<f64>,
    },
    /// An instance stays in `loading`. One firing: one boot.
    StuckLoading,
    /// `created`, an OCI error in `status_msg`, `cur_state` stopped. One firing: one boot.
    OciFailure,
    /// `loading` with "manifest unknown" in `status_msg`, for ever. One firing: one boot.
    ImageFault,
    /// `exited` instead of `running`. One firing: one boot.
    ExitsInBoot,
    /// `running` without `ports` for this long. One firing: one boot.
    PortsMissing {
        /// For how long.
        for_s: f64,
    },
    /// A restart comes up with another public address and other ports. One firing: one restart.
    AddressChanges,
    /// Reads report this `actual_status`, whatever is true. One firing: one row read.
    StaleStatus {
        /// The reported status.
        status: String,
    },
    /// SIGKILL to the server: the process listening on the app port. One firing: one deed.
    KillServer {
        /// Also kill every process of the listener's session: the supervisor that would restart it.
        #[serde(default)]
        whole_session: bool,
    },
    /// The container dies: all processes killed, status `exited`; a reboot brings it back. One firing: one deed.
    KillInstance,
    /// All processes stopped, SSH and app ports silent. One firing: one deed.
    Freeze,
    /// The host is lost: network silent, this status; it comes back after a while. One firing: one deed.
    HostOffline {
        /// For how long; absent: for ever.
        #[serde(default)]
        for_s: Option<f64>,
        /// `offline` or `unknown`.
        #[serde(default = "offline")]
        status: String,
    },
    /// `authorized_keys` is emptied (or reset to the API's keys). One firing: one deed.
    WipeAuthorizedKeys {
        /// Keep the keys known to the API: a refresh by Vast.ai, which drops only what `onstart` wrote.
        #[serde(default)]
        keep_attached: bool,
    },
    /// The SSH server gets a new host key. One firing: one deed.
    ChangeHostKey,
    /// Outbid: stopped without a word. One firing: one deed.
    Outbid,
    /// The contract's end moves to this far from now. One firing: one deed.
    ContractEnds {
        /// How far.
        in_s: f64,
    },
    /// The account's credit becomes zero. One firing: one deed.
    ZeroCredit,
    /// All SSH connections are cut. One firing: one deed; new connections work (see `ssh_traffic`).
    DropSsh,
    /// A connection to an app port is broken. One firing: one connection.
    HttpTraffic {
        /// How.
        how: TrafficBreak,
    },
    /// A connection to the SSH port is broken. One firing: one connection.
    SshTraffic {
        /// How.
        how: TrafficBreak,
        /// `direct` or `proxy`; absent: both ways.
        #[serde(default)]
        path: Option<String>,
    },
    /// An SSH login is refused whatever its key. One firing: one login.
    SshAuthRefused,
}

impl FaultKind {
    /// Whether this is done to a running box of its own accord, rather than hitting a call, a boot or a connection.
    pub fn is_deed(&self) -> bool {
        matches!(
            self,
            FaultKind::KillServer { .. }
                | FaultKind::KillInstance
                | FaultKind::Freeze
                | FaultKind::HostOffline { .. }
                | FaultKind::WipeAuthorizedKeys { .. }
                | FaultKind::ChangeHostKey
                | FaultKind::Outbid
                | FaultKind::ContractEnds { .. }
                | FaultKind::ZeroCredit
                | FaultKind::DropSsh
        )
    }
}

fn offline() -> String {
    "offline".to_owned()
}

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
        doc("outbid", "deed", "stopped without a word", json!({})),
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
