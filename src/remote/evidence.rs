//! What a box shows of its end, taken down before it is destroyed: logs, processes, memory, disk, GPU. Read only and bounded.
//!
//! The processes are listed without their arguments, which may hold other people's secrets; what the keeper itself knows as a
//! secret is struck out by whoever stores this.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{config::Remote, connect::BoxAddress, script::Script};

impl Remote {
    /// Takes it down within `limit`, over a fresh connection.
    ///
    /// # Errors
    /// In words: the box cannot be reached in time, or does not answer.
    pub async fn evidence(&self, address: &BoxAddress, limit: Duration) -> Result<String, String> {
        let end = Instant::now() + limit;
        let look = async {
            let session = self.connect(address, limit).await.map_err(|fault| fault.to_string())?;
            let script = Script::new(include_str!("evidence.sh"));
            let left = end.saturating_duration_since(Instant::now());
            let shown = session.run(&script, b"", left).await;
            session.close().await;
            shown.map(|output| output.stdout).map_err(|fault| fault.to_string())
        };
        timeout(limit, look).await.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
    }
}
