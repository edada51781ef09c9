//! Request bodies, bounded in size and in time before anything is parsed.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// No body of this API is larger.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Of a body that is too large, this much is read and thrown away before the answer.
const MAX_DISCARDED_BYTES: usize = 512 * 1024;

/// A body that takes longer to arrive is given up: slow senders must not pin memory.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body; an absent one is read as `{}`, so that all-optional bodies may be left out.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// The bytes of a body that claims to be JSON or claims nothing.
pub async fn json_bytes(request: Request) -> Result<Bytes, Problem> {
    if !is_json_or_unsaid(request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "send application/json",
        ));
    }
    read(request.into_body()).await
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(body)).await {
        Ok(Ok(bytes)) if bytes.len() <= MAX_BODY_BYTES => Ok(bytes),
        Ok(Ok(_)) => {
            let detail = format!("a body has at most {MAX_BODY_BYTES} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail))
        }
        Ok(Err(_)) => Err(Problem::malformed("the body broke off")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "the body took too long to arrive",
        )),
    }
}

/// Gathers a body, keeping little more than may be used.
///
/// A body that is too large is read on for a while and thrown away: a client that is still writing when the
/// connection closes would see a broken pipe instead of the answer.
async fn collect(mut body: Body) -> Result<Bytes, axum::Error> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen += data.len();
        if kept.len() <= MAX_BODY_BYTES {
            kept.extend_from_slice(&data);
        }
        if seen > MAX_DISCARDED_BYTES {
            break;
        }
    }
    Ok(kept.into())
}

fn is_json_or_unsaid(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Parses a JSON object; nothing at all is read as `{}`. Says what is wrong and where.
///
/// Other kinds of JSON are refused first: deserialising would also take an array, member by member.
///
/// # Errors
/// A sentence for the client.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let object = match bytes.trim_ascii_start() {
        [] => b"{}",
        [b'{', ..] => bytes,
        _ => return Err(String::from("the body is not a JSON object")),
    };
    serde_json::from_slice(object).map_err(|error| format!("the body is not valid: {error}"))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&json_bytes(request).await?).map(Self).map_err(Problem::malformed)
    }
}
