//! The maintenance API: enter, status, exit, with the bodies its reference fixes.
//!
//! `enter` answers when it is safe to deploy (200) or when the wait was in vain (504, and maintenance stays on). The
//! wait itself belongs to the director, so a client that hangs up changes nothing.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::admin::Verdict;
use super::{App, ClientAddress, body};
use crate::arena::{MAX_REASON_CHARS, MaintenanceStage, Phase, Refusal};
use crate::clock::Millis;
use crate::director::CommandError;
use crate::settings::{DEFAULT_MAINTENANCE_TIMEOUT_MS, MAX_MAINTENANCE_TIMEOUT_MS};
use crate::view::View;

/// The reference's default for `reason`.
const DEFAULT_REASON: &str = "manual";

/// Body of `enter`. Other members are ignored, so that a client written for a later version still works.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnterBody {
    reason: Option<String>,
    timeout_ms: Option<serde_json::Number>,
}

/// A checked `enter` request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterRequest {
    /// Why.
    pub reason: String,
    /// How long to wait for markets, in milliseconds.
    pub timeout_ms: Millis,
}

impl EnterRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// A sentence that names the member and what it must be.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let body: EnterBody = body::parse(bytes)?;
        let reason = body.reason.unwrap_or_else(|| DEFAULT_REASON.to_owned());
        if reason.chars().count() > MAX_REASON_CHARS || reason.contains('\0') {
            return Err(format!("reason must be at most {MAX_REASON_CHARS} characters, without NUL"));
        }
        let timeout_ms = match body.timeout_ms {
            None => DEFAULT_MAINTENANCE_TIMEOUT_MS,
            Some(number) => whole_milliseconds(&number).ok_or_else(|| {
                format!("timeoutMs must be a whole number from 0 to {MAX_MAINTENANCE_TIMEOUT_MS}")
            })?,
        };
        Ok(Self { reason, timeout_ms })
    }
}

/// Accepts `60000` and `60000.0` alike: JSON does not tell them apart, and some clients only know the latter.
fn whole_milliseconds(number: &serde_json::Number) -> Option<Millis> {
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        // Exact below 2^53, far beyond the largest accepted value.
        (float.abs() <= 9e15).then_some(float as i64)
    })?;
    (0..=MAX_MAINTENANCE_TIMEOUT_MS).contains(&whole).then_some(whole)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Safety {
    safe_to_deploy: bool,
    current_phase: Phase,
    market_status: &'static str,
    pending_markets: u32,
}

impl Safety {
    fn of(view: &View) -> Self {
        Self {
            safe_to_deploy: view.safe_to_deploy(),
            current_phase: view.phase,
            market_status: view.market.maintenance_word(),
            pending_markets: view.pending_markets,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entered {
    success: bool,
    message: &'static str,
    #[serde(flatten)]
    safety: Safety,
    #[serde(skip_serializing_if = "Option::is_none")]
    entered_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<Millis>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody<'a> {
    active: bool,
    entered_at: Option<Millis>,
    reason: Option<&'a str>,
    #[serde(flatten)]
    safety: Safety,
    elapsed_ms: Option<Millis>,
}

/// `POST /admin/maintenance/enter`.
pub async fn enter(State(app): State<App>, client: ClientAddress, request: Request) -> Response {
    if let Err(refusal) = admit(&app, client, &request) {
        return refusal;
    }
    let bytes = match body::json_bytes(request).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem.into_response(),
    };
    let request = match EnterRequest::parse(&bytes) {
        Ok(request) => request,
        Err(message) => return error(StatusCode::BAD_REQUEST, "Bad Request", &message, json!({})),
    };
    let entered_at = match app.arena.enter_maintenance(request.reason, request.timeout_ms).await {
        Ok(entered_at) => entered_at,
        Err(refusal) => return refused(refusal),
    };
    wait_until_settled(&app, entered_at, request.timeout_ms).await
}

async fn wait_until_settled(app: &App, entered_at: Millis, timeout_ms: Millis) -> Response {
    let mut views = app.arena.views();
    let settled = views.wait_for(|view| match &view.maintenance {
        Some(active) if active.entered_at == entered_at => {
            !matches!(active.stage, MaintenanceStage::Waiting { .. })
        }
        _ => true,
    });
    let view = tokio::select! {
        () = app.stopping.cancelled() => return stopping(),
        view = settled => match view {
            Ok(view) => std::sync::Arc::clone(&view),
            Err(_) => return stopping(),
        }
    };
    match view.maintenance.as_ref().filter(|active| active.entered_at == entered_at) {
        None => error(
            StatusCode::CONFLICT,
            "Conflict",
            "Maintenance mode was exited before it was safe to deploy",
            json!({}),
        ),
        Some(active) if active.stage == MaintenanceStage::Safe => Json(Entered {
            success: true,
            message: "Maintenance mode activated",
            safety: Safety::of(&view),
            entered_at: Some(entered_at),
            timeout_ms: None,
        })
        .into_response(),
        Some(_) => {
            let body = Entered {
                success: false,
                message: "Timeout waiting for markets to resolve",
                safety: Safety::of(&view),
                entered_at: None,
                timeout_ms: Some(timeout_ms),
            };
            (StatusCode::GATEWAY_TIMEOUT, Json(body)).into_response()
        }
    }
}

/// `GET /admin/maintenance/status`.
pub async fn status(State(app): State<App>, client: ClientAddress, request: Request) -> Response {
    if let Err(refusal) = admit(&app, client, &request) {
        return refusal;
    }
    let view = app.arena.view();
    let active = view.maintenance.as_ref();
    Json(StatusBody {
        active: active.is_some(),
        entered_at: active.map(|active| active.entered_at),
        reason: active.map(|active| active.reason.as_str()),
        safety: Safety::of(&view),
        elapsed_ms: active.map(|active| app.clock.now() - active.entered_at),
    })
    .into_response()
}

/// `POST /admin/maintenance/exit`.
pub async fn exit(State(app): State<App>, client: ClientAddress, request: Request) -> Response {
    if let Err(refusal) = admit(&app, client, &request) {
        return refusal;
    }
    match app.arena.exit_maintenance().await {
        Ok(duration) => {
            let message = "Maintenance mode deactivated";
            Json(json!({ "success": true, "message": message, "duration": duration })).into_response()
        }
        Err(refusal) => refused(refusal),
    }
}

#[expect(clippy::result_large_err, reason = "the refusal is the response itself")]
fn admit(app: &App, client: ClientAddress, request: &Request) -> Result<(), Response> {
    let code = request.headers().get("x-admin-code").map(HeaderValue::as_bytes);
    match app.gate.judge(client.0, code, app.clock.now()) {
        Verdict::Admitted => Ok(()),
        Verdict::Refused => {
            if code.is_some() {
                tracing::warn!(client = %client.0, "a wrong admin code was given");
            }
            let message = "Invalid or missing admin code";
            Err(error(StatusCode::UNAUTHORIZED, "Unauthorized", message, json!({})))
        }
        Verdict::LockedOut { retry_after } => {
            let message = "Too many wrong admin codes; try again later";
            let extra = json!({ "retryAfter": retry_after });
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", message, extra);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            Err(response)
        }
    }
}

fn refused(refusal: CommandError) -> Response {
    match refusal {
        CommandError::Refused(Refusal::MaintenanceActive { entered_at, reason }) => {
            let extra = json!({ "enteredAt": entered_at, "reason": reason });
            error(StatusCode::CONFLICT, "Conflict", "Maintenance mode already active", extra)
        }
        CommandError::Refused(Refusal::MaintenanceInactive) => {
            error(StatusCode::CONFLICT, "Conflict", "Maintenance mode not active", json!({}))
        }
        CommandError::Stopping => stopping(),
        other @ (CommandError::Refused(_) | CommandError::StoreLost | CommandError::Busy) => {
            error(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", &other.to_string(), json!({}))
        }
    }
}

fn stopping() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", "The server is stopping", json!({}))
}

fn error(status: StatusCode, error: &str, message: &str, extra: Value) -> Response {
    let mut body = json!({ "error": error, "message": message });
    if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
        body.extend(extra);
    }
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_body_is_optional_and_its_defaults_are_the_references() {
        for body in ["", "  \n", "{}", r#"{"reason":null,"timeoutMs":null}"#, r#"{"later":1}"#] {
            let request = EnterRequest::parse(body.as_bytes()).expect(body);
            assert_eq!(
                request,
                EnterRequest { reason: String::from("manual"), timeout_ms: 300_000 },
                "{body}"
            );
        }
    }

    #[test]
    fn timeouts_are_whole_milliseconds_within_an_hour() {
        for (given, read) in [("0", 0), ("60000", 60_000), ("60000.0", 60_000), ("3.6e6", 3_600_000)] {
            let body = format!(r#"{{"timeoutMs":{given}}}"#);
            assert_eq!(EnterRequest::parse(body.as_bytes()).map(|request| request.timeout_ms), Ok(read));
        }
        for given in
            ["-1", "3600001", "1.5", "1e300", "18446744073709551616", "\"60000\"", "true", "[]", "NaN"]
        {
            let body = format!(r#"{{"timeoutMs":{given}}}"#);
            assert!(EnterRequest::parse(body.as_bytes()).is_err(), "{given}");
        }
    }

    #[test]
    fn a_reason_is_bounded() {
        let longest = "x".repeat(MAX_REASON_CHARS);
        assert!(EnterRequest::parse(format!(r#"{{"reason":"{longest}"}}"#).as_bytes()).is_ok());
        assert!(EnterRequest::parse(format!(r#"{{"reason":"{longest}x"}}"#).as_bytes()).is_err());
        assert!(EnterRequest::parse(br#"{"reason":"a\u0000b"}"#).is_err(), "PostgreSQL stores no NUL");
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_accepted_is_in_range(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = EnterRequest::parse(&bytes) {
                prop_assert!((0..=MAX_MAINTENANCE_TIMEOUT_MS).contains(&request.timeout_ms));
            }
        }

        #[test]
        fn no_number_gets_past_the_range(text in "-?[0-9]{1,25}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?") {
            let body = format!("{{\"timeoutMs\":{text}}}");
            let exact = text.parse::<f64>().unwrap_or(f64::NAN);
            if let Ok(request) = EnterRequest::parse(body.as_bytes()) {
                prop_assert_eq!(request.timeout_ms as f64, exact);
            }
        }
    }
}
