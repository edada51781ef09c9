//! Talks to the running daemon over its unix socket.

use std::{io::ErrorKind, path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::exit::{self, Failure};

/// The daemon answers from memory; longer means it is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the daemon.
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// A client for the daemon at `socket`; `None` when no daemon listens there, which only a missing or deserted socket
    /// proves. Anything else, such as a socket of another user, may hide one that runs.
    pub async fn find(socket: &Path) -> Result<Option<Self>, Failure> {
        match tokio::net::UnixStream::connect(socket).await {
            Ok(_) => {}
            Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(fault) => {
                let message = format!("cannot talk to the keeper on `{}`: {fault}", socket.display());
                return Err(Failure::new(exit::UNREACHABLE, message)
                    .hint("the socket is open to the keeper's own user only, e.g. `sudo -u vast-keeper …`"));
            }
        }
        let http = reqwest::Client::builder().unix_socket(socket).no_proxy().timeout(PATIENCE).build();
        let http = http.map_err(|fault| Failure::new(exit::BUG, exit::chain(&fault)))?;
        Ok(Some(Self { http }))
    }

    /// Like [`find`](Self::find), but nobody there is a failure.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        Self::find(socket).await?.ok_or_else(|| {
            let message = format!("no keeper listens on `{}`", socket.display());
            Failure::new(exit::UNREACHABLE, message).hint("start it with `vast-keeper run`")
        })
    }

    /// Reads a path such as `/api/v1/fleet`; `None` for what does not exist.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        self.send(self.http.get(format!("http://keeper{path}"))).await
    }

    /// Sends a wish.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Option<T>, Failure> {
        self.send(self.http.post(format!("http://keeper{path}")).json(body)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Option<T>, Failure> {
        let unreachable = |fault: reqwest::Error| {
            Failure::new(
                exit::UNREACHABLE,
                format!("the keeper does not answer: {}", exit::chain(&fault.without_url())),
            )
        };
        let answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            status if status.is_success() => answer.json().await.map(Some).map_err(unreachable),
            reqwest::StatusCode::NOT_FOUND => Ok(None),
            status => {
                let text = answer.text().await.unwrap_or_default();
                let detail = serde_json::from_str::<serde_json::Value>(&text).ok();
                let detail =
                    detail.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or(&text);
                Err(Failure::new(exit::UNREACHABLE, format!("the keeper answers {status}: {detail}")))
            }
        }
    }
}
