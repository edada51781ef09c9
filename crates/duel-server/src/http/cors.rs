//! Cross-origin requests: allowed for the pages on the configured list, and for nobody else.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;

/// Request headers that pages of other origins may send. The admin code is not among them: no page needs it.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key";

/// What the origin of a request may do.
pub struct Origin {
    allowed: Option<HeaderValue>,
    preflight: bool,
}

impl Origin {
    /// Looks at a request.
    pub fn of(app: &App, request: &Request) -> Self {
        let origin = request.headers().get(header::ORIGIN);
        let listed = |origin: &&HeaderValue| {
            origin.to_str().is_ok_and(|origin| app.settings.cors_origins.contains(origin))
        };
        let allowed = origin.filter(listed).cloned();
        let preflight = allowed.is_some()
            && request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Self { allowed, preflight }
    }

    /// The answer to an allowed preflight.
    pub fn preflight(&self) -> Option<Response> {
        self.preflight.then(|| StatusCode::NO_CONTENT.into_response())
    }

    /// Sets what this origin needs, and the headers every response carries.
    pub fn mark(self, app: &App, headers: &mut HeaderMap) {
        let set = HeaderValue::from_static;
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
        if !app.settings.cors_origins.is_empty() {
            headers.append(header::VARY, set("origin"));
        }
        let Some(origin) = self.allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, set("retry-after"));
        if self.preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set("GET, POST"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, set(ALLOWED_HEADERS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, set("600"));
        }
    }
}
