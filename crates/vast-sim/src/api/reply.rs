//! What a call is answered with, broken answers included.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::boxes::canned::{BAD_GATEWAY_PAGE, GARBAGE};
use crate::faults::{ApiBreak, RateLimitBody};

/// An answer, decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// Sent as `application/json`, without a charset: the official CLI refuses any other value on searches.
    Json(u16, Value),
    /// Sent as it is.
    Raw { status: u16, content_type: &'static str, body: Vec<u8>, headers: Vec<(&'static str, String)> },
    /// Never answered.
    Hang,
    /// The connection is reset.
    Reset,
    /// 200 whose body ends early.
    Truncated(Value),
}

impl Reply {
    /// 200 with this body.
    pub(crate) fn ok(body: Value) -> Self {
        Reply::Json(200, body)
    }

    /// The usual error envelope.
    pub(crate) fn error(status: u16, error: &str, message: impl Into<String>) -> Self {
        Reply::Json(status, json!({"success": false, "error": error, "msg": message.into()}))
    }

    pub(crate) fn no_such_instance(id: u64) -> Self {
        Reply::error(404, "no_such_instance", format!("Instance {id} not found."))
    }

    fn html(status: u16, body: String) -> Self {
        Reply::Raw { status, content_type: "text/html", body: body.into_bytes(), headers: Vec::new() }
    }

    /// A page that no API wrote.
    pub(crate) fn html_not_found() -> Self {
        Reply::html(404, BAD_GATEWAY_PAGE.replace("502 Bad Gateway", "404 Not Found"))
    }

    /// The answer of a broken call; `intended` is what it would have been, for a truncated one.
    pub(crate) fn broken(how: ApiBreak, intended: Option<Value>) -> Self {
        match how {
            ApiBreak::Hang => Reply::Hang,
            ApiBreak::Reset => Reply::Reset,
            ApiBreak::Html502 => Reply::html(502, BAD_GATEWAY_PAGE.to_owned()),
            ApiBreak::Html504 => {
                Reply::html(504, BAD_GATEWAY_PAGE.replace("502 Bad Gateway", "504 Gateway Time-out"))
            }
            ApiBreak::Html404 => Reply::html_not_found(),
            ApiBreak::Json500 => Reply::error(500, "server_error", "Internal server error"),
            ApiBreak::Garbage => Reply::Raw {
                status: 200,
                content_type: "application/json",
                body: GARBAGE.to_vec(),
                headers: Vec::new(),
            },
            ApiBreak::Truncated => {
                Reply::Truncated(intended.unwrap_or_else(|| json!({"success": true, "msg": ""})))
            }
            ApiBreak::EmptyObject => Reply::ok(json!({})),
        }
    }

    /// A 429 in one of the documented shapes.
    pub(crate) fn too_frequent(body: RateLimitBody, threshold: f64, retry_after: Option<u32>) -> Self {
        let plain = "API requests too frequent";
        let told = format!("{plain} endpoint threshold={threshold:.1}");
        let (content_type, body) = match body {
            RateLimitBody::Text => ("text/plain", plain.to_owned()),
            RateLimitBody::TextThreshold => {
                ("text/plain", format!("{plain}: endpoint threshold={threshold:.1}"))
            }
            RateLimitBody::Detail => ("application/json", json!({"detail": told}).to_string()),
            RateLimitBody::Envelope => (
                "application/json",
                json!({"success": false, "error": "rate_limit_exceeded", "msg": told}).to_string(),
            ),
        };
        let headers = retry_after.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
        Reply::Raw { status: 429, content_type, body: body.into_bytes(), headers }
    }

    /// The status that will be on the wire; `None` when nothing will.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Reply::Json(status, _) | Reply::Raw { status, .. } => Some(*status),
            Reply::Truncated(_) => Some(200),
            Reply::Hang | Reply::Reset => None,
        }
    }

    /// The body as text, for the record.
    pub(crate) fn text(&self) -> String {
        match self {
            Reply::Json(_, body) => body.to_string(),
            Reply::Raw { body, .. } => String::from_utf8_lossy(body).into_owned(),
            Reply::Truncated(body) => format!("(truncated) {body}"),
            Reply::Hang => "(no answer)".to_owned(),
            Reply::Reset => "(reset)".to_owned(),
        }
    }

    /// The HTTP response of an answer that has one; `Hang` and `Reset` are the transport's business.
    pub(crate) fn into_response(self) -> Response {
        let (status, content_type, body, headers, missing) = match self {
            Reply::Json(status, body) => {
                (status, "application/json", body.to_string().into_bytes(), Vec::new(), 0)
            }
            Reply::Raw { status, content_type, body, headers } => (status, content_type, body, headers, 0),
            Reply::Truncated(body) => {
                let mut bytes = body.to_string().into_bytes();
                let cut = bytes.len() / 2;
                let missing = bytes.len() - cut;
                bytes.truncate(cut);
                (200, "application/json", bytes, Vec::new(), missing)
            }
            Reply::Hang | Reply::Reset => (500, "text/plain", Vec::new(), Vec::new(), 0),
        };
        let length = body.len() + missing;
        let mut response =
            Response::new(if missing > 0 { super::transport::cut_body(body) } else { Body::from(body) });
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
