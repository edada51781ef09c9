//! Cross-origin requests: allowed for the pages on the configured list, and for nobody else.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;

/// Request headers that pages of other origins may send. The admin code is not among them: no page needs it.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key";

/// Answers preflights and marks responses for allowed origins; also sets the headers every response carries.
pub async fn cross_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin
        .filter(|origin| origin.to_str().is_ok_and(|origin| app.settings.cors_origins.contains(origin)));
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&allowed, preflight) {
        (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !app.settings.cors_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if preflight {
            let set = |text| HeaderValue::from_static(text);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set("GET, POST"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, set(ALLOWED_HEADERS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, set("600"));
        }
    }
    response
}
