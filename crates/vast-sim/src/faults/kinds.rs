//! The kinds of fault and their parameters.

use serde::{Deserialize, Serialize};

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
    SearchQuota {
        /// `X-RateLimit-Reset` this many seconds from now; absent: no header.
        #[serde(default)]
        resets_in_s: Option<u32>,
    },
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
    /// A create is executed twice, as by a proxy that repeats it: another offer is rented under the same label, and the answer
    /// names one of the two. One firing: one create.
    CreateTwice,
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
        /// Also kill every process of the listener's session and of its parent's: the supervisor that would restart it.
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
    /// Outbid: stopped without a word, and an interruptible machine's floor rises above our bid. One firing: one deed.
    Outbid {
        /// What wins it from now on, in dollars per hour; absent: a tenth more than our bid.
        #[serde(default)]
        min_bid: Option<f64>,
    },
    /// The contract's end moves to this far from now. One firing: one deed.
    ContractEnds {
        /// How far.
        in_s: f64,
    },
    /// The account's credit becomes zero. One firing: one deed.
    ZeroCredit,
    /// The instance is charged this much more than it cost. One firing: one deed.
    Overcharged {
        /// How much, in dollars.
        dollars: f64,
    },
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
                | FaultKind::Outbid { .. }
                | FaultKind::ContractEnds { .. }
                | FaultKind::ZeroCredit
                | FaultKind::Overcharged { .. }
                | FaultKind::DropSsh
        )
    }
}

fn offline() -> String {
    "offline".to_owned()
}
