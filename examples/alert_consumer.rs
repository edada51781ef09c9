//! A receiver of the keeper's JSON webhook that believes only what is signed, and acts once on each message.
//!
//! ```text
//! WEBHOOK_SECRET=whsec_… cargo run --example alert_consumer -- 127.0.0.1:9000
//! ```
//!
//! The keeper's side:
//!
//! ```toml
//! [[alerts.sink]]
//! name = "pager"
//! url = "PAGER_WEBHOOK_URL"          # the NAME of the secret that holds http://127.0.0.1:9000/
//! signing_key = "PAGER_SIGNING_KEY"  # the NAME of the secret that holds the same whsec_… key
//! ```
//!
//! It prints one line for each notice: severity, node, title, what to do next. The rules are those of Standard Webhooks
//! (<https://www.standardwebhooks.com>): the signature is over `id.timestamp.body`, a timestamp more than five minutes off is
//! refused, and an id that was seen before is answered with success and not acted on again, since the keeper repeats a
//! message until somebody has answered for it.

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// How far a message's time may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);

struct Consumer {
    key: Vec<u8>,
    /// Ids of the messages that were acted on; a real receiver keeps them for a day, and across restarts.
    seen: Mutex<BTreeSet<String>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".into());
    let secret = std::env::var("WEBHOOK_SECRET").context("set WEBHOOK_SECRET to the `whsec_…` key")?;
    let secret = secret.strip_prefix("whsec_").context("WEBHOOK_SECRET must begin with `whsec_`")?;
    let key = STANDARD.decode(secret).context("WEBHOOK_SECRET must be base64 after `whsec_`")?;
    let consumer = Arc::new(Consumer { key, seen: Mutex::default() });
    let listener =
        tokio::net::TcpListener::bind(&listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    writeln!(std::io::stdout(), "listening on http://{}/", listener.local_addr()?)?;
    axum::serve(listener, Router::new().route("/", post(receive)).with_state(consumer)).await?;
    Ok(())
}

async fn receive(State(consumer): State<Arc<Consumer>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(id) = authentic(&consumer.key, &headers, &body) else { return StatusCode::UNAUTHORIZED };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    let first = consumer.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    if first && act_on(&message).is_err() {
        // Not a success: the keeper sends it again.
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    StatusCode::NO_CONTENT
}

/// The id of a message that was signed with our key, just now.
fn authentic(key: &[u8], headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let (id, at, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    #[expect(clippy::disallowed_methods, reason = "an example has no clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now.abs_diff(at.parse().ok()?) > TOLERANCE.as_secs() {
        return None;
    }
    // Several signatures stand side by side while a key is changed; one of them has to be right.
    let right =
        signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
            let Ok(signature) = STANDARD.decode(signature) else { return false };
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
            mac.update(format!("{id}.{at}.").as_bytes());
            mac.update(body);
            mac.verify_slice(&signature).is_ok()
        });
    right.then(|| id.to_owned())
}

/// One notice, or a fold of several.
fn act_on(message: &Value) -> std::io::Result<()> {
    let data = &message["data"];
    let folded = data["notices"].as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
    let mut out = std::io::stdout().lock();
    for notice in folded {
        let word = |name: &str| notice[name].as_str().unwrap_or("-");
        writeln!(out, "{} {}: {} → {}", word("severity"), word("node"), word("title"), word("next"))?;
    }
    out.flush()
}
