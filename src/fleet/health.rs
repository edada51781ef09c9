//! What an answer of `/health` means: this box healthy, this box in maintenance, or a failure.
//!
//! Order matters. *Identity* first, because Vast.ai gives addresses and ports to the next tenant at once: whatever a
//! stranger says of maintenance or health is no news of our box. *Maintenance* next, because a server that drains may
//! well answer 503 or report its database gone, and must not be destroyed for it. *Conditions* last.
//!
//! Deliberately absent: counting (streaks belong to the node's state) and any judgement of a probe without an answer,
//! which is a failure by itself.

use std::time::Duration;

use serde_json::Value;

use super::{
    condition::Answer,
    name::OpId,
    planted::{Bug, planted},
    policy::HealthPolicy,
    probe::{Failure, Verdict},
};

/// The field of the body in which a server echoes the op id from its environment.
pub const IDENTITY_FIELD: &str = "instance";

/// Most characters of a stranger's identity that are repeated in the verdict.
const SHOWN_MAX: usize = 32;

/// One whole answer as it came.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body, bounded by the prober.
    pub body: &'a [u8],
    /// From the start of the probe to the last byte.
    pub took: Duration,
}

/// Judges an answer that was asked of the box `identity`.
pub fn judge(policy: &HealthPolicy, identity: &OpId, response: Response<'_>) -> Verdict {
    let answer = Answer::new(response.status, response.took, response.body);
    let impostor = if policy.require_identity && !planted(Bug::AcceptStranger) {
        impostor(identity, answer.json())
    } else {
        None
    };
    // An answer that names another box is that box's. One that names none may also be an error page in front of ours:
    // a condition that fails says more then, and either way it is a failure.
    if let Some(Failure::Impostor { got: Some(_) }) = &impostor {
        return impostor.map_or(Verdict::Healthy, Verdict::Failing);
    }
    if impostor.is_none() && answer.json().is_some_and(in_maintenance) {
        return Verdict::Maintenance;
    }
    let failed = policy.conditions.iter().find_map(|condition| condition.evaluate(&answer).err());
    match failed.map(|detail| Failure::Condition { detail }).or(impostor) {
        Some(failure) => Verdict::Failing(failure),
        None => Verdict::Healthy,
    }
}

/// The failure of an answer that does not echo `identity`.
fn impostor(identity: &OpId, body: Option<&Value>) -> Option<Failure> {
    let got = match body.and_then(|body| body.get(IDENTITY_FIELD)) {
        None | Some(Value::Null) => None,
        Some(Value::String(got)) if got == identity.as_str() => return None,
        Some(Value::String(got)) => Some(shown(got)),
        Some(other) => Some(shown(&other.to_string())),
    };
    Some(Failure::Impostor { got })
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect()
}

/// Whether the server says it is in maintenance: `maintenance` as documented, `maintenanceMode` as implemented, either
/// as a truth or as an object with `active`.
fn in_maintenance(body: &Value) -> bool {
    ["maintenance", "maintenanceMode"].iter().filter_map(|field| body.get(field)).any(|value| match value {
        Value::Object(fields) => fields.get("active") == Some(&Value::Bool(true)),
        value => value == &Value::Bool(true),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn op() -> OpId {
        "abc".parse().unwrap()
    }

    fn verdict(status: u16, body: &str) -> Verdict {
        let response = Response { status, body: body.as_bytes(), took: Duration::from_millis(9) };
        judge(&HealthPolicy::default(), &op(), response)
    }

    fn condition(detail: &str) -> Verdict {
        Verdict::Failing(Failure::Condition { detail: detail.into() })
    }

    #[test]
    fn this_box_in_either_shape_is_healthy() {
        for body in [
            r#"{"status":"healthy","instance":"abc","database":"connected","websocket":"running","maintenance":false}"#,
            r#"{"status":"ok","instance":"abc","maintenanceMode":false,"database":{"healthy":null,"status":"skipped"}}"#,
            r#"{"instance":"abc","maintenance":{"active":false}}"#,
            r#"{"instance":"abc","maintenance":"no idea"}"#,
        ] {
            assert_eq!(verdict(200, body), Verdict::Healthy, "{body}");
        }
    }

    #[test]
    fn maintenance_outranks_conditions_in_every_shape() {
        for body in [
            r#"{"instance":"abc","maintenance":true,"database":"disconnected"}"#,
            r#"{"instance":"abc","maintenanceMode":true}"#,
            r#"{"instance":"abc","maintenance":{"active":true,"reason":"deploy"}}"#,
            r#"{"instance":"abc","maintenance":false,"maintenanceMode":{"active":true}}"#,
        ] {
            for status in [200, 503] {
                assert_eq!(verdict(status, body), Verdict::Maintenance, "{body}");
            }
        }
    }

    #[test]
    fn a_stranger_is_a_failure_whatever_it_says() {
        for status in [200, 503] {
            for body in
                [r#"{"instance":"xyz","maintenance":true}"#, r#"{"instance":"xyz","status":"healthy"}"#]
            {
                let impostor = Verdict::Failing(Failure::Impostor { got: Some("xyz".into()) });
                assert_eq!(verdict(status, body), impostor, "{body}");
            }
        }
        assert_eq!(
            verdict(200, r#"{"instance":7}"#),
            Verdict::Failing(Failure::Impostor { got: Some("7".into()) })
        );
    }

    #[test]
    fn an_answer_that_names_no_box_is_a_failure_with_the_most_telling_reason() {
        let nobody = Verdict::Failing(Failure::Impostor { got: None });
        for body in
            ["{}", r#"{"instance":null,"maintenance":true}"#, "ok", "", "[1,", r#""abc""#, r#"["abc"]"#]
        {
            assert_eq!(verdict(200, body), nobody, "{body}");
        }
        assert_eq!(verdict(502, "<html>bad gateway</html>"), condition("[STATUS] (502) == 200"));
        assert_eq!(verdict(503, r#"{"maintenance":true}"#), condition("[STATUS] (503) == 200"));
    }

    #[test]
    fn without_required_identity_any_answer_counts() {
        let policy = HealthPolicy { require_identity: false, ..HealthPolicy::default() };
        let judge = |status, body: &str| {
            judge(&policy, &op(), Response { status, body: body.as_bytes(), took: Duration::ZERO })
        };
        assert_eq!(judge(200, r#"{"instance":"xyz"}"#), Verdict::Healthy);
        assert_eq!(judge(503, r#"{"maintenance":true}"#), Verdict::Maintenance);
        assert_eq!(judge(200, "{}"), Verdict::Healthy);
    }

    #[test]
    fn the_first_condition_that_fails_is_the_reason() {
        assert_eq!(
            verdict(500, r#"{"instance":"abc","database":"disconnected"}"#),
            condition("[STATUS] (500) == 200")
        );
        let slow = Response { status: 200, body: br#"{"instance":"abc"}"#, took: Duration::from_secs(5) };
        let policy = HealthPolicy::default();
        assert_eq!(judge(&policy, &op(), slow), condition("[RESPONSE_TIME] (5000) < 5000"));
    }

    proptest! {
        #[test]
        fn only_the_echoed_identity_is_ever_healthy(status: u16, body in any::<Vec<u8>>(), got in "[a-z]{0,4}") {
            let framed = format!("{{\"instance\":\"{got}\"}}");
            for body in [body.as_slice(), framed.as_bytes()] {
                let verdict = judge(&HealthPolicy::default(), &op(), Response { status, body, took: Duration::ZERO });
                if !matches!(verdict, Verdict::Failing(_)) {
                    prop_assert!(got == "abc" && body == framed.as_bytes());
                }
            }
        }
    }
}
