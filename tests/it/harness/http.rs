//! One HTTP exchange as any other program on the account would make it: a fresh connection, the whole answer.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{API_KEY, Fleet};

/// A whole answer.
pub struct Answer {
    pub status: u16,
    /// The `Content-Type`, empty where none was sent.
    pub kind: String,
    pub body: Vec<u8>,
}

/// Asks once, with the account's key.
pub async fn exchange(at: SocketAddr, method: &str, target: &str, body: &[u8]) -> io::Result<Answer> {
    let key = format!("Bearer {API_KEY}");
    exchange_with(at, method, target, &[("Authorization", key)], body).await
}

/// Asks once, with these headers.
pub async fn exchange_with(
    at: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(at).await?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    read(&answer).ok_or_else(|| io::Error::other("no whole answer"))
}

fn read(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .next()
    };
    let body = answer[end + 4..].to_vec();
    let whole = header("content-length").is_none_or(|length| length.parse() == Ok(body.len()));
    whole.then(|| Answer { status, kind: header("content-type").unwrap_or_default(), body })
}

impl Fleet {
    /// Rents as another program on the same account would, one instance for each label.
    pub async fn rent_foreign(&self, labels: &[String]) -> Vec<u64> {
        let ask = async |method: &str, target: &str, body: String| {
            let answer = exchange(self.sim.address(), method, target, body.as_bytes()).await.unwrap();
            serde_json::from_slice::<Value>(&answer.body).unwrap()
        };
        let search = r#"{"limit":200,"rentable":{"eq":true},"num_gpus":{"eq":1}}"#;
        let found = ask("POST", "/api/v0/bundles/", search.to_owned()).await;
        let mut asks = found["offers"].as_array().unwrap().iter().filter_map(|ask| ask["id"].as_u64());
        let mut rented = Vec::new();
        for label in labels {
            let body = format!(
                r#"{{"client_id":"me","image":"other/image","disk":16,"runtype":"ssh","label":"{label}"}}"#
            );
            let contract = loop {
                let offer = asks.next().expect("the market is too small");
                let answer = ask("PUT", &format!("/api/v0/asks/{offer}/"), body.clone()).await;
                if let Some(contract) = answer["new_contract"].as_u64() {
                    break contract;
                }
            };
            rented.push(contract);
        }
        rented
    }
}
