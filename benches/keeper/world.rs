//! The world around the daemon, in the harness' process, so that it costs the daemon nothing but the kernel's share: a
//! server for each node, and a provider that lists them.
//!
//! What the daemon does to it is noted with the time at which it arrived (`CLOCK_MONOTONIC`, nanoseconds).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::seed::Tenant;

/// The threshold of the seeds; the answer that crosses it starts the clock of a kill.
pub const THRESHOLD: u8 = 3;

/// How a node's server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// It answers as the documented server does.
    Well,
    /// It accepts and never answers.
    Hung,
    /// It answers 503.
    Ill,
}

/// Everything the servers share.
#[derive(Debug, Default)]
pub struct World {
    /// The nodes, filled in once their tenants are known.
    pub nodes: OnceLock<Vec<Node>>,
    /// Requests for a health page.
    pub asked: AtomicUsize,
    /// When the first of them came; 0 before.
    pub first_asked_ns: AtomicU64,
    /// Complete lists given to the daemon.
    pub lists: AtomicUsize,
}

/// One node's server and its row at the provider.
#[derive(Debug)]
pub struct Node {
    /// Who serves there.
    pub tenant: Tenant,
    /// Where.
    pub address: SocketAddr,
    /// Whether the provider says `exited` in place of `running`.
    pub exited: AtomicBool,
    /// When it gave the answer that crosses the threshold; 0 before.
    pub crossed_ns: AtomicU64,
    /// When the first DELETE of its instance came; 0 before.
    pub destroyed_ns: AtomicU64,
    mood: AtomicU8,
    ill_answers: AtomicU8,
    page: Box<[u8]>,
}

impl Node {
    fn new(tenant: Tenant, address: SocketAddr) -> Self {
        let page = page("200 OK", &body(&tenant.op));
        Self {
            tenant,
            address,
            page,
            exited: AtomicBool::new(false),
            crossed_ns: AtomicU64::new(0),
            destroyed_ns: AtomicU64::new(0),
            mood: AtomicU8::new(Mood::Well as u8),
            ill_answers: AtomicU8::new(0),
        }
    }

    /// Changes how the server behaves from the next request on.
    pub fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Relaxed);
    }
}

/// A health page in the documented shape, of the usual length.
pub fn body(op: &str) -> String {
    format!(
        r#"{{"status":"healthy","instance":"{op}","database":"connected","websocket":"running","maintenance":false,"uptime":86400000,"version":"1.4.2","commit":"0123456789abcdef0123456789abcdef01234567","streaming":{{"active":true,"phase":"IDLE"}}}}"#
    )
}

fn page(status: &str, body: &str) -> Box<[u8]> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes().into()
}

/// The time that all processes of the machine share, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A listener for each node, each at an address of its own as in earnest: a closed connection blocks its pair of ports
/// for a minute, so with few addresses the kernel would spend the row searching for a free one.
pub async fn listen(nodes: usize) -> Result<Vec<(TcpListener, SocketAddr)>> {
    let mut listeners = Vec::with_capacity(nodes);
    for i in 0..u32::try_from(nodes)? {
        let at = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 9, 0, 0)) + (i / 250) * 256 + i % 250 + 1);
        let listener = TcpListener::bind((at, 0)).await?;
        let address = listener.local_addr()?;
        listeners.push((listener, address));
    }
    Ok(listeners)
}

/// Lets the servers answer.
pub fn open(world: &Arc<World>, listeners: Vec<(TcpListener, SocketAddr)>, tenants: Vec<Tenant>) {
    let (listeners, addresses): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
    let nodes = tenants.into_iter().zip(addresses).map(|(tenant, at)| Node::new(tenant, at)).collect();
    if world.nodes.set(nodes).is_ok() {
        for (i, listener) in listeners.into_iter().enumerate() {
            tokio::spawn(accept(Arc::clone(world), listener, i));
        }
    }
}

async fn accept(world: Arc<World>, listener: TcpListener, i: usize) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(Arc::clone(&world), stream, i))),
            // Out of descriptors for a moment: the daemon sees a server that hangs, and the row says so.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn serve(world: Arc<World>, mut stream: TcpStream, i: usize) {
    let ill = page("503 Service Unavailable", "{}");
    let mut buffer = [0; 1024];
    let mut filled = 0;
    // Nobody asks later than this; an abandoned connection must not stay open for ever.
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(60), stream.read(&mut buffer[filled..])).await
    {
        filled += read;
        let whole = buffer[..filled].ends_with(b"\r\n\r\n");
        if !whole && filled < buffer.len() {
            continue;
        }
        filled = 0;
        if world.asked.fetch_add(1, Relaxed) == 0 {
            world.first_asked_ns.store(monotonic_ns(), Relaxed);
        }
        let Some(node) = world.nodes.get().and_then(|nodes| nodes.get(i)) else { return };
        let mood = node.mood.load(Relaxed);
        let written = if mood == Mood::Well as u8 {
            stream.write_all(&node.page).await
        } else if mood == Mood::Ill as u8 {
            if node.ill_answers.fetch_add(1, Relaxed) + 1 == THRESHOLD {
                node.crossed_ns.store(monotonic_ns(), Relaxed);
            }
            stream.write_all(&ill).await
        } else {
            continue;
        };
        if written.is_err() {
            return;
        }
    }
}

impl World {
    /// The nodes; none before they are known.
    pub fn nodes(&self) -> &[Node] {
        self.nodes.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Notes the first DELETE of an instance.
    pub fn destroy(&self, instance: u64) {
        let now = monotonic_ns();
        if let Some(node) = self.nodes().iter().find(|node| node.tenant.instance == instance) {
            let _ = node.destroyed_ns.compare_exchange(0, now, Relaxed, Relaxed);
        }
    }
}
