//! Connections, bounded in number and in time, so that idle or slow clients can never eat the file descriptors that probes
//! and the provider's client need.
//!
//! One beyond the bound is closed at once rather than queued: a monitor that is refused knows it, one that waits does not.
//! No request line of this site carries much, so there is no limit per client beside the one for all.

use std::{pin::pin, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for a request's whole head, an idle connection's next one included. A scraper that comes less often connects
/// anew.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// After this a connection takes no further request; well beyond the 30 s that the command line waits for an answer.
const LIFE: Duration = Duration::from_secs(60);
/// How long a request under way may still take when its connection ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// Serves until `stop`, at most `most` connections at once.
pub(super) async fn serve<L: Listener>(mut listener: L, site: Router, most: usize, stop: CancellationToken) {
    let mut open = JoinSet::new();
    loop {
        // Both waits keep their place when the other is first; the listener waits a second by itself when descriptors
        // have run out.
        let (io, _) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        while open.try_join_next().is_some() {}
        if open.len() < most {
            open.spawn(connection(io, site.clone(), stop.clone()));
        } else {
            tracing::debug!(open = open.len(), "a connection is refused: too many are open");
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection<I>(io: I, site: Router, stop: CancellationToken)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let mut served = pin!(server.serve_connection(TokioIo::new(io), TowerToHyperService::new(site)));
    tokio::select! {
        ended = served.as_mut() => {
            if let Err(fault) = ended {
                tracing::debug!(%fault, "a connection ended badly");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    served.as_mut().graceful_shutdown();
    if timeout(FAREWELL, served).await.is_err() {
        tracing::debug!("a client takes its answer too slowly and is cut off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use super::*;

    const MOST: usize = 8;

    async fn page(at: std::net::SocketAddr) -> Option<String> {
        let mut stream = TcpStream::connect(at).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.contains("here I am").then_some(text)
    }

    /// How many of these connections the server has not closed.
    fn alive(clients: &[TcpStream]) -> usize {
        let open = |client: &&TcpStream| {
            let mut byte = [0; 1];
            client.try_read(&mut byte).is_err_and(|fault| fault.kind() == std::io::ErrorKind::WouldBlock)
        };
        clients.iter().filter(open).count()
    }

    #[tokio::test]
    async fn idle_connections_cost_few_descriptors_and_give_way() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let site = Router::new().route("/", get(async || "here I am"));
        let serving = tokio::spawn(serve(listener, site, MOST, stop.clone()));
        assert!(page(at).await.is_some());
        let mut idle = Vec::new();
        for _ in 0..500 {
            idle.push(TcpStream::connect(at).await.unwrap());
        }
        // Half of them talk slowly.
        for stream in idle.iter_mut().step_by(2) {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nx: ").await;
        }
        // Well before the end of their lives, which would make room too.
        let late = Instant::now() + HEAD_WITHIN + Duration::from_secs(30);
        while alive(&idle) > MOST {
            assert!(Instant::now() < late, "{} connections cost descriptors", alive(&idle));
            sleep(Duration::from_millis(50)).await;
        }
        while page(at).await.is_none() {
            assert!(Instant::now() < late, "idle connections never give way");
            sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        timeout(FAREWELL + Duration::from_secs(30), serving).await.expect("it stops").unwrap();
    }
}
