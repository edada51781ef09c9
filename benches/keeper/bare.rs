//! Yardsticks: the same machine at the same time with nothing of the keeper in it, each in a process of its own.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::world::monotonic_ns;

const SETTLE: Duration = Duration::from_secs(2);
/// Tasks that ask back to back.
const TASKS: usize = 64;

/// CPU of a `reqwest` request in milliseconds: back to back, the body read, nothing judged.
pub async fn requests(targets: &[SocketAddr], keep_alive: bool, time: Duration) -> Result<f64> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("a second TLS provider");
    }
    let targets: Arc<[SocketAddr]> = targets.into();
    let mut client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    if !keep_alive {
        client = client.pool_max_idle_per_host(0);
    }
    let client = client.timeout(Duration::from_secs(5)).build()?;
    let (out, mut done) = mpsc::channel(1024);
    for first in 0..TASKS {
        let (client, targets, out) = (client.clone(), Arc::clone(&targets), out.clone());
        tokio::spawn(async move {
            for target in targets.iter().cycle().skip(first * targets.len() / TASKS) {
                let mut request = client.get(format!("http://{target}/health"));
                if !keep_alive {
                    request = request.header("connection", "close");
                }
                let answer = match request.send().await {
                    Ok(answer) => answer.bytes().await.is_ok_and(|body| !body.is_empty()),
                    Err(_) => false,
                };
                if out.send(answer).await.is_err() {
                    return;
                }
            }
        });
    }
    let opening = monotonic_ns();
    let (mut began, mut checks, mut wrong) = (None, 0_u32, 0_u32);
    while let Some(right) = done.recv().await {
        let elapsed = Duration::from_nanos(monotonic_ns() - opening);
        if elapsed < SETTLE {
            continue;
        }
        let began = *began.get_or_insert_with(process_time);
        checks += 1;
        wrong += u32::from(!right);
        if elapsed >= SETTLE + time {
            if wrong > 0 {
                bail!("{wrong} of {checks} requests failed");
            }
            return Ok((process_time() - began).as_secs_f64() * 1e3 / f64::from(checks));
        }
    }
    bail!("the loop ended")
}

/// How late `count` timers on a 1 s interval wake, in milliseconds: p50 and p99. What the machine itself owes.
pub async fn timers(count: u32, time: Duration) -> Result<(f64, f64)> {
    let (out, mut woken) = mpsc::unbounded_channel();
    let opening = Instant::now();
    for i in 0..count {
        let out = out.clone();
        tokio::spawn(async move {
            let mut due = opening + Duration::from_secs(1) * i / count;
            loop {
                due += Duration::from_secs(1);
                sleep_until(due).await;
                if out.send(due.elapsed()).is_err() {
                    return;
                }
            }
        });
    }
    let mut late = Vec::new();
    while let Some(lateness) = woken.recv().await {
        if opening.elapsed() >= SETTLE {
            late.push(lateness);
        }
        if opening.elapsed() >= SETTLE + time {
            break;
        }
    }
    late.sort_unstable();
    let at =
        |share: usize| late.get(late.len() * share / 100).map_or(f64::NAN, |late| late.as_secs_f64() * 1e3);
    Ok((at(50), at(99)))
}

/// How long `count` durable writes take, in milliseconds: p50 and p99. What the disk itself owes to a commit.
pub fn writes(count: usize) -> Result<(f64, f64)> {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut took = Vec::new();
    for _ in 0..count {
        let began = monotonic_ns();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        took.push((monotonic_ns() - began) as f64 / 1e6);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(f64::NAN);
    Ok((at(50), at(99)))
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
