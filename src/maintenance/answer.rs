//! What a server says, in both shapes.

use serde::{Deserialize, Serialize};

/// Longest text of a server that is shown.
const TEXT_LENGTH: usize = 200;

/// Where a server stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether maintenance is on.
    pub active: bool,
    /// When it was entered, in milliseconds of the server's clock.
    pub entered_at: Option<u64>,
    /// Why.
    pub reason: Option<String>,
    /// What the server itself concludes. `true` also when nothing is on, so it proves nothing alone.
    pub safe_to_deploy: bool,
    /// The duel's phase; `None` where there is none.
    pub phase: Option<String>,
    /// The state of the markets.
    pub market: Option<String>,
    /// Markets that wait for their result.
    pub pending: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    active: Option<bool>,
    entered_at: Option<serde_json::Number>,
    reason: Option<String>,
    safe_to_deploy: Option<bool>,
    current_phase: Option<String>,
    market_status: Option<String>,
    pending_markets: Option<serde_json::Number>,
}

impl Status {
    /// Reads a body of either shape; `None` if it tells nothing about safety. `active_unless_told` is what an answer
    /// without `active` means: the documented answer to `enter` has none.
    pub(super) fn read(body: &serde_json::Value, active_unless_told: bool) -> Option<Self> {
        let inner = body.get("status").filter(|status| status.is_object()).unwrap_or(body);
        let wire = Wire::deserialize(inner).ok()?;
        Some(Self {
            active: wire.active.unwrap_or(active_unless_told),
            entered_at: wire.entered_at.as_ref().and_then(whole),
            reason: wire.reason.map(short),
            safe_to_deploy: wire.safe_to_deploy?,
            phase: wire.current_phase.map(short),
            market: wire.market_status.map(short),
            // A count that makes no sense is not zero.
            pending: wire.pending_markets.map_or(0, |number| whole(&number).unwrap_or(u64::MAX)),
        })
    }

    /// Whether nothing is going on and nothing new begins: maintenance is on, no duel runs or is being settled, no market
    /// waits. A server without duels or markets says so by `null` or `none`.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let idle = self.phase.as_deref().is_none_or(|phase| phase == "IDLE");
        let resolved = self.market.as_deref().is_none_or(|market| matches!(market, "resolved" | "none"));
        self.active && self.safe_to_deploy && idle && resolved && self.pending == 0
    }

    /// In one line, for people.
    #[must_use]
    pub fn words(&self) -> String {
        if !self.active {
            return "not in maintenance".into();
        }
        let phase = self.phase.as_deref().unwrap_or("none");
        let market = self.market.as_deref().unwrap_or("none");
        let rest = if self.is_at_rest() { "at rest" } else { "not at rest yet" };
        let reason = self.reason.as_deref().unwrap_or("no reason told");
        format!(
            "in maintenance ({reason}), {rest}: phase {phase}, markets {market}, {} pending",
            self.pending
        )
    }
}

/// JSON does not tell `1709000000000` and `1709000000000.0` apart, and some servers write the latter.
fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        (0.0..=9e15).contains(&float).then_some(float as u64)
    })
}

pub(super) fn short(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn documented() -> serde_json::Value {
        json!({ "active": true, "enteredAt": 1_709_000_000_000_u64, "reason": "deployment", "safeToDeploy": true,
            "currentPhase": "IDLE", "marketStatus": "resolved", "pendingMarkets": 0, "elapsedMs": 45000 })
    }

    #[test]
    fn both_shapes_say_the_same() {
        let flat = Status::read(&documented(), false).unwrap();
        let nested = Status::read(&json!({ "success": true, "status": documented() }), false).unwrap();
        assert_eq!(flat, nested);
        assert!(flat.is_at_rest());
        assert_eq!(flat.entered_at, Some(1_709_000_000_000));
        let mut answer = documented();
        answer.as_object_mut().unwrap().remove("active");
        assert!(Status::read(&answer, true).unwrap().active);
    }

    #[test]
    fn only_complete_rest_is_rest() {
        let with = |key: &str, value: serde_json::Value| {
            let mut body = documented();
            body[key] = value;
            Status::read(&body, false).unwrap().is_at_rest()
        };
        // Not active and yet "safe": what a server says after a crash.
        assert!(!with("active", json!(false)));
        assert!(!with("safeToDeploy", json!(false)));
        for phase in ["COUNTDOWN", "FIGHTING", "ANNOUNCEMENT", "RESOLUTION", "ACTIVE", ""] {
            assert!(!with("currentPhase", json!(phase)), "{phase}");
        }
        assert!(!with("marketStatus", json!("locked")) && !with("marketStatus", json!("active")));
        assert!(!with("pendingMarkets", json!(1)) && !with("pendingMarkets", json!(-1)));
        assert!(!with("pendingMarkets", json!(0.5)));
        assert!(with("currentPhase", json!(null)) && with("marketStatus", json!("none")));
        assert!(with("pendingMarkets", json!(0.0)));
    }

    #[test]
    fn nonsense_is_no_status() {
        for body in [json!(null), json!([]), json!("ok"), json!({}), json!({ "safeToDeploy": "yes" })] {
            assert_eq!(Status::read(&body, true), None, "{body}");
        }
    }
}
