//! HTTP answers that something else than the box's server gives: a proxy, a stranger, a broken program.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest request head that is read before answering.
const MOST_HEAD: usize = 16 * 1024;

/// A proxy's error page; also what the API answers in an outage.
pub(crate) const BAD_GATEWAY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// Bytes that are neither UTF-8 nor JSON.
pub(crate) const GARBAGE: &[u8] = b"\x00\xff\xfe{\"status\":\"healthy\",\"\x80\x81 not json";

pub(crate) async fn html_502(client: TcpStream) {
    answer(client, "502 Bad Gateway", "text/html", BAD_GATEWAY_PAGE.as_bytes()).await;
}

pub(crate) async fn garbage(client: TcpStream) {
    answer(client, "200 OK", "application/json", GARBAGE).await;
}

/// What another tenant's server on a reused address would say.
pub(crate) async fn stranger(client: TcpStream) {
    let body = br#"{"status":"healthy","instance":"stranger-0","database":"connected","websocket":"running","maintenance":false,"uptime":86400,"started_at":1700000000000,"commit":"0000000","version":"9.9.9"}"#;
    answer(client, "200 OK", "application/json", body).await;
}

/// A JSON string of `bytes` bytes in all, streamed.
pub(crate) async fn huge(mut client: TcpStream, bytes: u64) {
    if read_head(&mut client).await.is_none() {
        return;
    }
    let bytes = bytes.max(2);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n\""
    );
    if client.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let filler = vec![b'a'; 64 * 1024];
    let mut left = bytes - 2;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(filler.len());
        if client.write_all(&filler[..count]).await.is_err() {
            return;
        }
        left -= count as u64;
    }
    let _ = client.write_all(b"\"").await;
    let _ = client.shutdown().await;
}

async fn answer(mut client: TcpStream, status: &str, content_type: &str, body: &[u8]) {
    if read_head(&mut client).await.is_none() {
        return;
    }
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = client.write_all(head.as_bytes()).await;
    let _ = client.write_all(body).await;
    let _ = client.shutdown().await;
}

/// Reads up to the empty line; `None` when the client leaves before or sends too much.
async fn read_head(client: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while head.len() < MOST_HEAD {
        let count = client.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&buffer[..count]);
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Some(());
        }
    }
    None
}
