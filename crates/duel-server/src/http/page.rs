//! The watch page: three static files, no build step, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Only this server's own script and style run, and only this server is talked to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

/// `GET /`.
pub async fn html() -> Response {
    file("text/html; charset=utf-8", include_str!("page/watch.html"))
}

/// `GET /watch.css`.
pub async fn css() -> Response {
    file("text/css; charset=utf-8", include_str!("page/watch.css"))
}

/// `GET /watch.js`.
pub async fn js() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/watch.js"))
}
