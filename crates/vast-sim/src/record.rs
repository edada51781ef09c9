//! The simulator's own record: what was called, what was rented, what was broken.
//!
//! A judge of a keeper counts from these, never from the keeper's view. Times are real unix milliseconds.
//! Deliberately absent: API keys (a fingerprint stands in) and the per-instance keys in replies.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::faults::FaultId;

/// Longest reply excerpt that a call record keeps, in characters.
const REPLY_EXCERPT: usize = 600;

/// One API call, recorded when its request has been read and completed when the answer is decided.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// 1, 2, 3 … in order of arrival.
    pub seq: u64,
    /// When the request had been read.
    pub at_ms: u64,
    /// When the answer was decided; `None` while it is still open, and for ever when the call was left hanging.
    pub answered_ms: Option<u64>,
    /// First eight hex digits of the SHA-256 of the key; `None` without a key.
    pub key: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path and query, with an `api_key` parameter's value left out.
    pub path: String,
    /// The endpoint's short name (`create`, `destroy`, `list` …), `unknown` outside the API.
    pub endpoint: &'static str,
    /// The request's JSON body; null when empty, a string when it was not JSON.
    pub body: Value,
    /// The status sent; `None` when no answer was sent at all.
    pub status: Option<u16>,
    /// The start of the reply's body, secrets left out.
    pub reply: String,
    /// The instances this call created, destroyed or changed.
    pub instances: Vec<u64>,
    /// The faults that hit this call.
    pub faults: Vec<FaultId>,
}

impl CallRecord {
    /// Completes the record.
    pub(crate) fn answer(&mut self, at_ms: u64, status: Option<u16>, body: &str) {
        self.answered_ms = Some(at_ms);
        self.status = status;
        self.reply = excerpt(body);
    }
}

fn excerpt(body: &str) -> String {
    let mut text: String = body.chars().take(REPLY_EXCERPT).collect();
    for field in ["\"instance_api_key\":\"", "\"api_key\":\"", "\"jupyter_token\":\""] {
        if let Some(start) = text.find(field).map(|at| at + field.len()) {
            let end = text[start..].find('"').map_or(text.len(), |length| start + length);
            text.replace_range(start..end, "***");
        }
    }
    text
}

/// What stands for a key wherever a call is shown.
pub(crate) fn fingerprint(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What ended a rental.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RentalEnd {
    /// A destroy call (its `seq`).
    Call(u64),
    /// The contract expired and its row was deleted.
    Expired,
}

/// One rented instance, from the create to its end.
#[derive(Debug, Clone, Serialize)]
pub struct Rental {
    /// The instance (contract) id.
    pub instance: u64,
    /// The label as it is now, or was at the end.
    pub label: Option<String>,
    /// The offer that was taken.
    pub offer: u64,
    /// The machine it ran on.
    pub machine: u64,
    /// When it was created.
    pub created_ms: u64,
    /// The `seq` of the creating call.
    pub created_by: u64,
    /// When it first reached `running`.
    pub running_ms: Option<u64>,
    /// When a destroy was accepted or the contract was deleted; billing ends here.
    pub ended_ms: Option<u64>,
    /// What ended it.
    pub ended_by: Option<RentalEnd>,
    /// Dollars billed so far.
    pub cost: f64,
}

/// One thing the simulator knows to have happened to a box.
#[derive(Debug, Clone, Serialize)]
pub struct TruthEvent {
    /// When.
    pub at_ms: u64,
    /// Which instance.
    pub instance: u64,
    /// What happened.
    pub what: Truth,
    /// The fault that caused it; `None` for the panel's direct actions and for ordinary life.
    pub fault: Option<FaultId>,
}

/// What can truly happen to a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// Rented.
    Created,
    /// Its processes run and its ports are open.
    Running,
    /// Its main program ended by itself (runtype `args`), or a start-up fault ended it.
    Exited,
    /// The sim killed the server process.
    ServerKilled,
    /// All processes killed, status `exited`.
    InstanceKilled,
    /// All processes stopped by SIGSTOP, network silent.
    Frozen,
    /// The freeze ended.
    Thawed,
    /// Stopped: by a call, by billing, outbid or at the end of the contract.
    Stopped,
    /// It will never reach `running`.
    BootBroken,
    /// The host is unreachable.
    HostLost,
    /// The host came back.
    HostBack,
    /// `authorized_keys` was emptied.
    KeysWiped,
    /// The SSH host key changed.
    HostKeyChanged,
    /// A network fault hit a connection to the named port.
    Network(String),
    /// Destroyed: its processes are dead and its home is gone.
    Gone,
}

impl Truth {
    /// Whether a server that worked before can stop answering its clients because of this.
    pub fn disturbs(&self) -> bool {
        match self {
            Truth::Created | Truth::Running | Truth::Thawed | Truth::HostBack | Truth::Gone => false,
            Truth::KeysWiped | Truth::HostKeyChanged => false,
            Truth::Exited | Truth::ServerKilled | Truth::InstanceKilled | Truth::Frozen => true,
            Truth::Stopped | Truth::BootBroken | Truth::HostLost | Truth::Network(_) => true,
        }
    }
}

/// The whole truth about money and lives.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    /// Every rental ever made, oldest first.
    pub rentals: Vec<Rental>,
    /// Everything that happened to the boxes, oldest first.
    pub truth: Vec<TruthEvent>,
    /// Account credit now, in dollars.
    pub credit: f64,
    /// Dollars billed since the start.
    pub spent: f64,
}

impl Ledger {
    /// Rentals that still bill.
    pub fn live(&self) -> impl Iterator<Item = &Rental> {
        self.rentals.iter().filter(|rental| rental.ended_ms.is_none())
    }

    /// When this instance was first disturbed (see [`Truth::disturbs`]), if it ever was.
    pub fn disturbed_ms(&self, instance: u64) -> Option<u64> {
        let mut events =
            self.truth.iter().filter(|event| event.instance == instance && event.what.disturbs());
        events.next().map(|event| event.at_ms)
    }
}

/// When an instance was first disturbed.
pub(crate) fn first_disturbance(truth: &[TruthEvent], instance: u64) -> Option<u64> {
    let event = truth.iter().find(|event| event.instance == instance && event.what.disturbs())?;
    Some(event.at_ms)
}

#[cfg(test)]
mod tests {
    use super::{excerpt, fingerprint};

    #[test]
    fn a_reply_excerpt_never_holds_an_instance_key() {
        let text = excerpt(r#"{"success":true,"new_contract":7,"instance_api_key":"s3cr3t","x":1}"#);
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("\"new_contract\":7") && text.contains("\"x\":1"), "{text}");
    }

    #[test]
    fn a_fingerprint_is_short_and_stable() {
        assert_eq!(fingerprint("abc"), "ba7816bf");
    }
}
